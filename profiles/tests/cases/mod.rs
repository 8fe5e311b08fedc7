//! Good and bad files in tables, by subject: what the parser says of each, and that the schema
//! agrees.

mod files;
mod limits;
mod network;
mod sections;
mod whole;

use crate::support;

use aegis_profile::parse_str;

/// The cases of one subject. `aegis: 1` is put before each.
struct Cases {
    /// Files that parser and schema accept.
    good: &'static [&'static str],
    /// Files that parser and schema refuse, and a part of the parser's message.
    bad: &'static [(&'static str, &'static str)],
}

const CASES: [Cases; 4] = [sections::CASES, files::CASES, network::CASES, limits::CASES];

fn refusal(text: &str) -> String {
    match parse_str(text, "x.yaml") {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn good_files_are_accepted_by_parser_and_schema() {
    for body in CASES.iter().flat_map(|cases| cases.good) {
        let text = format!("aegis: 1\n{body}\n");
        if let Err(error) = parse_str(&text, "x.yaml") {
            panic!("{text}{error}");
        }
        let json = aegis_profile::yaml_to_json(&text, "x.yaml").unwrap();
        if let Err(error) = support::VALIDATOR.validate(&json) {
            panic!("the schema refuses:\n{text}{error}");
        }
    }
}

#[test]
fn bad_files_are_refused_by_parser_and_schema_with_the_fix() {
    let bodies = CASES
        .iter()
        .flat_map(|cases| cases.bad)
        .map(|(body, said)| (format!("aegis: 1\n{body}\n"), said));
    let versions = whole::BAD_VERSION
        .iter()
        .map(|(text, said)| ((*text).to_owned(), said));
    let mut wrong = String::new();
    for (text, said) in bodies.chain(versions) {
        let error = refusal(&text);
        if !error.contains(said) {
            wrong += &format!("`{said}` is not said of:\n{text}{error}\n\n");
        }
        if support::schema_accepts(&text) != Some(false) {
            wrong += &format!("the schema does not refuse:\n{text}\n\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_a_schema_cannot_say_is_refused_by_the_parser() {
    let mut wrong = String::new();
    for (text, said) in whole::BEYOND_THE_SCHEMA {
        let error = refusal(text);
        if !error.contains(said) {
            wrong += &format!("`{said}` is not said of:\n{text}{error}\n\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
