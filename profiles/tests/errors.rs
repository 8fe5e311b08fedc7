//! How mistakes are reported.

use aegis_profile::{Error, parse_str};

fn error(text: &str) -> Error {
    parse_str(text, "skill.yaml").unwrap_err()
}

#[test]
fn a_mistake_is_shown_with_its_line_and_the_fix() {
    let text = "aegis: 1\nname: x\ncapabilities:\n  file.read: [/a]\n";
    assert_eq!(
        error(text).to_string(),
        r#"error: unknown key "file.read"
  --> skill.yaml:4:3
   |
 4 |   file.read: [/a]
   |   ^^^^^^^^^ not a key here
   = help: did you mean `files.read`?"#
    );
}

#[test]
fn all_mistakes_of_a_file_are_told_in_the_order_of_the_file() {
    let text = "aegis: 1\nlimits: {time: 5, memory: 0M}\nname: a\nname: b\nrun: []\nnope: 1\n";
    let error = error(text);
    let lines: Vec<u32> = error.diagnostics().iter().map(|d| d.origin.line).collect();
    assert_eq!(lines, [2, 2, 4, 5, 6]);
}

#[test]
fn more_than_twenty_mistakes_are_counted() {
    let keys: String = (0..50).map(|i| format!("key{i}: x\n")).collect();
    let error = error(&format!("aegis: 1\n{keys}"));
    assert_eq!((error.diagnostics().len(), error.omitted()), (20, 30));
    assert!(error.to_string().ends_with("... and 30 more"));
}

#[test]
fn a_refused_value_makes_no_second_error() {
    let error = error("aegis: 1\nrun: &a [x, *a]\nlimits: !t {time: 5}\n");
    let said: Vec<&str> = error
        .diagnostics()
        .iter()
        .map(|d| d.message.as_str())
        .collect();
    assert_eq!(
        said.len(),
        4,
        "an anchor, an alias, a tag, a time: {said:?}"
    );
}

#[test]
fn columns_are_counted_in_characters() {
    let error = error("aegis: 1\nrun: [ünï, null]\n");
    let place = &error.diagnostics()[0];
    assert_eq!((place.origin.column, place.span_len), (12, 4));
}

#[test]
fn json_has_place_message_and_help() {
    let json = serde_json::to_value(error("aegis: 1\nlimits: {time: 5}\n")).unwrap();
    let first = &json["diagnostics"][0];
    assert_eq!(first["file"], "skill.yaml");
    assert_eq!((&first["line"], &first["column"]), (&2.into(), &16.into()));
    assert_eq!(first["message"], "a time needs a unit: `5`");
    assert_eq!(first["help"], "write `5s` for seconds");
    let json = serde_json::to_value(error("")).unwrap();
    assert!(
        json["diagnostics"][0]["line"].is_null(),
        "the whole file has no line"
    );
}

#[test]
fn colour_changes_nothing_but_colour() {
    let error = error("aegis: 1\nnmae: x\n");
    let coloured = error.render(true);
    assert!(coloured.contains("\x1b["));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find('\x1b') {
        plain += &rest[..at];
        rest = rest[at..].split_once('m').unwrap().1;
    }
    assert_eq!(plain + rest, error.render(false));
}
