//! `aegis policy`: what the crate `aegis-policy` has to say, printed. One file for each group of commands.

mod check;
mod new;
mod show;

use std::path::PathBuf;

use aegis_policy::{Document, Hash, Policy, load};
use aegis_profile::{Diagnostic, Error, Files};
use clap::{Subcommand, ValueHint};

use super::{Answer, Failure};

/// Subcommands of `aegis policy`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Says whether policies are right, and how to mend them
    #[command(after_help = "\
Examples:
  aegis policy check policy.yaml
  aegis policy check --json /etc/aegis/policy.d/
  aegis policy check --format github policies/*.yaml     annotations of a pull request")]
    Check {
        /// Files, directories, `-`, or names of templates
        #[arg(required = true, value_name = "POLICY", value_hint = ValueHint::AnyPath)]
        references: Vec<String>,
        /// Prints JSON: for each policy its name, hash and mistakes
        #[arg(long, conflicts_with = "format")]
        json: bool,
        /// How mistakes are told
        #[arg(long, value_enum, default_value_t = check::Format::Text)]
        format: check::Format,
    },
    /// Prints a policy as canonical YAML
    #[command(after_help = "\
Examples:
  aegis policy show standard
  aegis policy show --json policy.yaml | jq -r .hash")]
    Show {
        /// A file, a directory, `-`, or the name of a template
        #[arg(value_name = "POLICY", value_hint = ValueHint::AnyPath)]
        reference: String,
        /// Prints JSON: the policy and its hash
        #[arg(long)]
        json: bool,
    },
    /// Prints a policy's hash: 64 hex digits
    #[command(after_help = "\
Two policies of the same hash decide alike: comments and the order of rules make no difference, a rule does.

Example:
  test \"$(aegis policy hash policy.yaml)\" = \"$(cat policy.sha256)\"")]
    Hash {
        /// A file, a directory, `-`, or the name of a template
        #[arg(value_name = "POLICY", value_hint = ValueHint::AnyPath)]
        reference: String,
    },
    /// Writes a new policy, with comments, to begin with
    #[command(after_help = "\
Templates: strict, standard, permissive.

Examples:
  aegis policy new -o policy.yaml
  aegis policy new --template strict > policy.yaml")]
    New {
        /// What to begin with
        #[arg(long, value_name = "NAME", default_value = aegis_policy::templates::DEFAULT)]
        template: String,
        /// The file to write; it must not be there yet
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
}

pub(super) fn policy(action: &Action) -> Answer {
    match action {
        Action::Check {
            references,
            json,
            format,
        } => check::check(references, *json, *format),
        Action::Show { reference, json } => show::show(reference, *json),
        Action::Hash { reference } => show::hash(reference),
        Action::New { template, output } => new::new(template, output.as_deref()),
    }
}

/// The document of a reference.
fn document(reference: &str) -> Result<Document, Failure> {
    Ok(load::load(reference, &Files)?)
}

/// A document, compiled.
fn compiled(document: Document) -> Result<Policy, Failure> {
    Policy::new(vec![document])
        .map_err(|bad| Error::from(Diagnostic::of_file(&bad.document, bad.to_string())).into())
}

/// The hash of a document alone.
fn hash_of(document: &Document) -> Result<Hash, Failure> {
    Ok(compiled(document.clone())?.hash())
}

/// Standard input is read once.
fn refuse_two_stdins(references: &[&str]) -> Result<(), Failure> {
    match references.iter().filter(|r| **r == "-").count() {
        0 | 1 => Ok(()),
        _ => Err(Failure::Other("standard input can be read once only".into())),
    }
}
