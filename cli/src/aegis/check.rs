//! `aegis profile check` and `aegis policy check`.

use std::collections::BTreeMap;

use aegis_profile::{Diagnostic, Error, Hash};
use clap::ValueEnum;
use serde::Serialize;

use super::{CommandResult, one_stdin, print, print_bytes, print_json};
use crate::terminal::{self, complain, harmless};

/// How mistakes are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people, on standard error
    Text,
    /// As workflow commands of GitHub Actions, on standard output
    Github,
}

#[derive(Serialize)]
struct Checked<'r> {
    /// The kind, and the name on the command line.
    #[serde(flatten)]
    reference: BTreeMap<&'static str, &'r str>,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<Hash>,
    #[serde(flatten)]
    error: Option<Error>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Diagnostic>,
}

/// What is right.
pub(super) struct Valid {
    pub name: String,
    pub hash: Hash,
    /// What has no effect, or another one than it seems to have.
    pub warnings: Vec<Diagnostic>,
}

/// Checks files of a `kind`. Without a format, prints JSON.
pub(super) fn check(
    kind: &'static str,
    references: &[String],
    format: Option<Format>,
    load: impl Fn(&str) -> Result<Valid, Error>,
) -> CommandResult {
    one_stdin(references.iter().map(String::as_str))?;
    let mut results = Vec::new();
    for reference in references {
        let (loaded, error) = match load(reference) {
            Ok(loaded) => (Some(loaded), None),
            Err(error) => (None, Some(error)),
        };
        match (&error, format) {
            (_, None) => {}
            (None, Some(format)) => {
                for warning in loaded.iter().flat_map(|valid| &valid.warnings) {
                    match format {
                        Format::Text => complain(&told(warning)),
                        Format::Github => {
                            print_bytes(annotation("warning", kind, warning).as_bytes())?;
                        }
                    }
                }
                print(&format!("{reference}: ok\n"))?;
            }
            (Some(error), Some(Format::Text)) => complain(&terminal::profile_error("aegis", error)),
            (Some(error), Some(Format::Github)) => {
                let lines = error.diagnostics().iter();
                let lines: String = lines
                    .map(|mistake| annotation("error", kind, mistake))
                    .collect();
                print_bytes(lines.as_bytes())?;
            }
        }
        let (name, hash, warnings) = match loaded {
            Some(valid) => (Some(valid.name), Some(valid.hash), valid.warnings),
            None => (None, None, Vec::new()),
        };
        results.push(Checked {
            reference: BTreeMap::from([(kind, reference.as_str())]),
            ok: error.is_none(),
            name,
            hash,
            error,
            warnings,
        });
    }
    if format.is_none() {
        print_json(&results)?;
    }
    Ok(results.iter().all(|result| result.ok))
}

/// A warning, for people.
fn told(warning: &Diagnostic) -> String {
    let place = match warning.origin.line {
        0 => warning.origin.file.to_string(),
        _ => warning.origin.to_string(),
    };
    let help = warning.help.iter().map(|help| format!("  help: {help}\n"));
    let text = format!("aegis: warning: {place}: {}\n", warning.message);
    harmless(&(text + &help.collect::<String>()))
}

/// A mistake in the form that GitHub shows beside the line in a pull request. Special characters are
/// escaped as the runner's own toolkit does it (`actions/toolkit`, `packages/core/src/command.ts`).
fn annotation(weight: &str, kind: &str, diagnostic: &Diagnostic) -> String {
    let data = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let origin = &diagnostic.origin;
    let mut place = format!("file={}", property(&origin.file));
    if origin.line > 0 {
        let end = origin.column + diagnostic.span_len.saturating_sub(1);
        place.push_str(&format!(
            ",line={},col={},endColumn={end}",
            origin.line, origin.column
        ));
    }
    let mut text = diagnostic.message.clone();
    for (what, more) in [
        ("expected", &diagnostic.expected),
        ("help", &diagnostic.help),
    ] {
        if let Some(more) = more {
            text.push_str(&format!("\n{what}: {more}"));
        }
    }
    format!("::{weight} {place},title=aegis {kind}::{}\n", data(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_to_the_runner_is_escaped() {
        let diagnostic = Diagnostic::of_file("a,b:c%.yaml", "50%\nof").with_help("none, really");
        assert_eq!(
            annotation("error", "policy", &diagnostic),
            "::error file=a%2Cb%3Ac%25.yaml,title=aegis policy::50%25%0Aof%0Ahelp: none, really\n"
        );
    }
}
