//! `aegis policy check`.

use aegis_policy::load;
use aegis_profile::{Diagnostic, Error, Files};
use clap::ValueEnum;
use serde::Serialize;

use super::super::{Answer, Failure, print_json};
use super::{hash_of, refuse_two_stdins};
use crate::terminal::{self, complain, harmless, print};

/// How mistakes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::aegis) enum Format {
    /// For people, on standard error
    Text,
    /// As workflow commands of GitHub Actions, on standard output
    Github,
}

#[derive(Serialize)]
struct Checked<'r> {
    policy: &'r str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(flatten)]
    error: Option<Error>,
}

pub(super) fn check(references: &[String], json: bool, format: Format) -> Answer {
    refuse_two_stdins(&references.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut results = Vec::new();
    for reference in references {
        let (name, hash, error) = match load::load(reference, &Files) {
            Ok(document) => {
                let hash = hash_of(&document)?;
                (Some(document.name), Some(hash.to_string()), None)
            }
            Err(error) => (None, None, Some(error)),
        };
        if !json {
            tell(reference, error.as_ref(), format)?;
        }
        results.push(Checked {
            policy: reference,
            ok: error.is_none(),
            name,
            hash,
            error,
        });
    }
    if json {
        print_json(&results)?;
    }
    Ok(results.iter().all(|result| result.ok))
}

fn tell(reference: &str, error: Option<&Error>, format: Format) -> Result<(), Failure> {
    match (error, format) {
        (None, _) => print(format!("{}: ok\n", harmless(reference)).as_bytes())?,
        (Some(error), Format::Text) => complain(&terminal::profile_error("aegis", error)),
        (Some(error), Format::Github) => {
            let lines: String = error.diagnostics().iter().map(annotation).collect();
            print(lines.as_bytes())?;
        }
    }
    Ok(())
}

/// A mistake as GitHub shows it beside the line in a pull request. What has a meaning in such a line is
/// escaped as the runner's own toolkit does it (`actions/toolkit`, `packages/core/src/command.ts`).
fn annotation(diagnostic: &Diagnostic) -> String {
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
    format!("::error {place},title=aegis policy::{}\n", data(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_to_the_runner_is_escaped() {
        let diagnostic = Diagnostic::of_file("a,b:c%.yaml", "50%\nof").with_help("none, really");
        assert_eq!(
            annotation(&diagnostic),
            "::error file=a%2Cb%3Ac%25.yaml,title=aegis policy::50%25%0Aof%0Ahelp: none, really\n"
        );
    }
}
