//! `aegis policy test`: a policy and the table of requests and verdicts beside it.

use std::path::{Path, PathBuf};

use aegis_policy::table::{Outcome, Table};
use aegis_policy::{load, templates};
use aegis_profile::{Diagnostic, Error, Files, ReadError, Source};
use serde_json::json;

use super::super::{Answer, Failure, print_json};
use super::{compiled, document};
use crate::terminal::{harmless, print};

/// A table's file and text.
type Text = (String, String);

pub(super) fn test(reference: &str, table: Option<&str>, json: bool) -> Answer {
    if let Some(table) = table {
        super::refuse_two_stdins(&[reference, table])?;
    }
    let policy = compiled(document(reference)?)?;
    let mut tables = Vec::new();
    for (file, text) in texts(reference, table)? {
        let table = Table::parse(&text, &file)?;
        tables.push((file, table.run(&policy)));
    }
    let outcomes = || tables.iter().flat_map(|(_, outcomes)| outcomes);
    let failed = outcomes().filter(|outcome| !outcome.ok).count();
    if json {
        let tables: Vec<_> = (tables.iter())
            .map(|(file, outcomes)| json!({"table": file, "cases": outcomes}))
            .collect();
        print_json(&json!({
            "ok": failed == 0,
            "policy": policy.hash(),
            "failed": failed,
            "tables": tables,
        }))?;
        return Ok(failed == 0);
    }
    let mut text = String::new();
    for (file, outcomes) in &tables {
        for outcome in outcomes.iter().filter(|outcome| !outcome.ok) {
            text.push_str(&mismatch(file, outcome));
        }
    }
    let total = outcomes().count();
    text.push_str(&match failed {
        0 => format!("{reference}: {total} requests decided as expected\n"),
        1 => format!("{reference}: 1 of {total} requests is not decided as expected\n"),
        _ => format!("{reference}: {failed} of {total} requests are not decided as expected\n"),
    });
    print(harmless(&text).as_bytes())?;
    Ok(failed == 0)
}

fn mismatch(file: &str, outcome: &Outcome) -> String {
    let by = |rules: &[String]| match rules {
        [] => String::new(),
        rules => format!(" by {}", rules.join(", ")),
    };
    let spoke: Vec<String> = outcome.rules.iter().map(|rule| rule.to_string()).collect();
    format!(
        "{file}:{}: {}\n  expected {}{}\n  got      {}{}: {}\n",
        outcome.line,
        outcome.asked,
        outcome.expect,
        by(&outcome.by),
        outcome.verdict,
        by(&spoke),
        outcome.reason
    )
}

/// The tables that belong to a policy: the one that is named, or those beside it.
fn texts(reference: &str, table: Option<&str>) -> Result<Vec<Text>, Failure> {
    if let Some(table) = table {
        let bytes = match table {
            "-" => Files.read_stdin(),
            file => Files.read(Path::new(file)),
        };
        return Ok(vec![text(table, bytes)?]);
    }
    if let Some(template) = templates::find(reference) {
        let file = format!("builtin:{reference}.test.yaml");
        return Ok(vec![(file, template.table.to_owned())]);
    }
    let missing = |file: &str| {
        let help = "write one that begins with `aegis-policy-test: 1`, or name one: `aegis policy test POLICY TABLE`";
        Failure::Profile(
            Diagnostic::of_file(file, "there is no table of tests beside the policy")
                .with_help(help)
                .into(),
        )
    };
    let path = Path::new(reference);
    let found = load::Source::look(&Files, path).is_ok_and(|found| found.is_directory);
    let files: Vec<PathBuf> = match found {
        true => {
            let mut names = load::Source::names(&Files, path)
                .map_err(|error| Failure::Other(format!("{reference} cannot be read: {error}")))?;
            names.retain(|name| name.ends_with(".test.yaml") && !name.starts_with('.'));
            names.sort();
            names.iter().map(|name| path.join(name)).collect()
        }
        false => vec![path.with_extension("test.yaml")],
    };
    if files.is_empty() {
        return Err(missing(reference));
    }
    (files.iter())
        .map(|file| {
            let shown = file.to_string_lossy();
            match Files.read(file) {
                Err(ReadError::NotFound) => Err(missing(&shown)),
                bytes => text(&shown, bytes),
            }
        })
        .collect()
}

fn text(file: &str, bytes: Result<Vec<u8>, ReadError>) -> Result<Text, Failure> {
    let fail = |message: String| {
        let error: Error = Diagnostic::of_file(file, message)
            .with_help("a table is a YAML file that begins with `aegis-policy-test: 1`")
            .into();
        Failure::Profile(error)
    };
    let bytes = bytes.map_err(|error| match error {
        ReadError::NotFound => fail("there is no such file".into()),
        ReadError::NotAFile(what) => fail(format!("this is {what}")),
        ReadError::Io(error) => fail(format!("the table cannot be read: {error}")),
        _ => fail("the table cannot be read".into()),
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((file.to_owned(), text)),
        Err(_) => Err(fail("not UTF-8 text".into())),
    }
}
