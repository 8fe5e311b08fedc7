//! `aegis policy test`: runs a policy on the table of requests and verdicts beside it.

use std::path::{Path, PathBuf};

use aegis_policy::table::{Outcome, Table};
use aegis_policy::{load, templates};
use aegis_profile::{Diagnostic, Error, Files, ReadError, Source};
use aegis_runtime::facts::{self, names};
use serde_json::json;

use super::{as_text, compiled, document};
use crate::aegis::{CommandResult, answer, one_stdin};

pub(super) fn test(reference: &str, table: Option<&str>, json: bool) -> CommandResult {
    one_stdin([reference].into_iter().chain(table))?;
    let policy = compiled(document(reference)?)?;
    let caller = facts::this_caller();
    let mut tables = Vec::new();
    for (file, text) in texts(reference, table)? {
        let mut table = Table::parse(&text, &file)?;
        for case in &mut table.cases {
            names::resolve(&mut case.request, policy.documents(), &caller)?;
        }
        tables.push((file, table.run(&policy)));
    }
    let outcomes = tables.iter().flat_map(|(_, outcomes)| outcomes);
    let (total, failed) = (outcomes.clone().count(), outcomes.filter(|o| !o.ok).count());
    let value = json!({
        "ok": failed == 0,
        "policy": policy.hash(),
        "failed": failed,
        "tables": tables.iter()
            .map(|(file, outcomes)| json!({"table": file, "cases": outcomes}))
            .collect::<Vec<_>>(),
    });
    answer(json, &value, || {
        let mut text = String::new();
        for (file, outcomes) in &tables {
            let failed = outcomes.iter().filter(|outcome| !outcome.ok);
            text.extend(failed.map(|outcome| mismatch(file, outcome)));
        }
        text + &match failed {
            0 => format!("{reference}: {total} requests decided as expected\n"),
            1 => format!("{reference}: 1 of {total} requests is not decided as expected\n"),
            _ => format!("{reference}: {failed} of {total} requests are not decided as expected\n"),
        }
    })?;
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

/// The tables of a policy, by file and text: the named one, or those beside the policy.
fn texts(reference: &str, table: Option<&str>) -> Result<Vec<(String, String)>, Error> {
    let path = Path::new(reference);
    let files: Vec<PathBuf> = match (table, templates::find(reference)) {
        (Some(table), _) => vec![table.into()],
        (None, Some(template)) => {
            let file = format!("builtin:{reference}.test.yaml");
            return Ok(vec![(file, template.table.to_owned())]);
        }
        (None, None) if path.is_dir() => {
            let mut names = load::Source::names(&Files, path)
                .map_err(|error| wrong(reference, format!("cannot be read: {error}"), A_TABLE))?;
            names.retain(|name| name.ends_with(".test.yaml") && !name.starts_with('.'));
            names.sort();
            names.iter().map(|name| path.join(name)).collect()
        }
        (None, None) => vec![path.with_extension("test.yaml")],
    };
    if files.is_empty() {
        return Err(wrong(reference, MISSING, WRITE_ONE));
    }
    let text = |file: &PathBuf| {
        let shown = file.to_string_lossy().into_owned();
        let bytes = match &*shown {
            "-" => Files.read_stdin(),
            _ => Files.read(file),
        };
        match bytes {
            Err(ReadError::NotFound) if table.is_none() => Err(wrong(&shown, MISSING, WRITE_ONE)),
            bytes => match as_text(bytes) {
                Ok(text) => Ok((shown, text)),
                Err(why) => Err(wrong(&shown, format!("cannot be read: {why}"), A_TABLE)),
            },
        }
    };
    files.iter().map(text).collect()
}

const MISSING: &str = "there is no table of tests beside the policy";
const WRITE_ONE: &str = "write one that begins with `aegis-policy-test: 1`, or name one: `aegis policy test POLICY TABLE`";
const A_TABLE: &str = "a table is a YAML file that begins with `aegis-policy-test: 1`";

fn wrong(file: &str, message: impl Into<String>, help: &str) -> Error {
    Diagnostic::of_file(file, message).with_help(help).into()
}
