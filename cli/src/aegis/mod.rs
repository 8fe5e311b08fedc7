//! `aegis`: the host, profiles, completions, manual pages.
//!
//! Exit statuses: 0 yes or done; 1 no (wrong, differs, incomplete) or failed; 2 the command line was
//! wrong.

mod approvals;
mod audit;
mod doctor;
mod pages;
mod policy;
mod profile;
mod replay;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use clap::{FromArgMatches, Parser, Subcommand};

use crate::terminal::{complain, harmless, print};

/// Keeps commands to what their profiles declare.
#[derive(Debug, Parser)]
#[command(
    name = "aegis",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Says what this host can enforce, and how to mend what it cannot
    #[command(after_help = "\
Status 1 says that something is missing or only partly there.

Examples:
  aegis doctor
  aegis doctor --json | jq '.checks[] | select(.status != \"ok\")'")]
    Doctor {
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Checks, shows and compares profiles
    #[command(
        subcommand,
        disable_help_subcommand = true,
        arg_required_else_help = true,
        after_help = "\
A profile is a file (with a `/` in its name, or ending in .yaml), `-` for standard input, or the
name of a built-in one: see `aegis profile list`.

Examples:
  aegis profile check *.yaml
  aegis profile show python --origins
  aegis profile diff old.yaml new.yaml"
    )]
    Profile(profile::Action),
    /// Checks, shows, tests and changes policies
    #[command(
        subcommand,
        disable_help_subcommand = true,
        arg_required_else_help = true,
        after_help = "\
A policy is a file or a directory (with a `/` in its name, or ending in .yaml), `-` for standard input, or
the name of a template: strict, standard, permissive.

Examples:
  aegis policy new -o policy.yaml
  aegis policy check policy.yaml
  aegis policy show standard"
    )]
    Policy(policy::Action),
    /// Lists what was approved on the terminal, and takes it back
    #[command(
        subcommand,
        disable_help_subcommand = true,
        arg_required_else_help = true,
        after_help = "\
Examples:
  aegis approvals list
  aegis approvals revoke --profile pr-review"
    )]
    Approvals(approvals::Action),
    /// Decides again what a log says was decided
    #[command(after_help = replay::HELP)]
    Replay(replay::Options),
    /// Shows, follows, verifies and exports the audit log
    #[command(
        subcommand,
        disable_help_subcommand = true,
        arg_required_else_help = true,
        after_help = "\
The log is a directory, of root /var/log/aegis/audit, of others ~/.local/state/aegis/audit; `-` is standard
input.

Examples:
  aegis audit show --since 1day --type policy.violation
  aegis audit tail -f
  aegis audit verify
  aegis audit export --format ocsf"
    )]
    Audit(audit::Action),
    /// Prints completions of aegis and aegis-run for a shell
    #[command(after_help = "\
Examples:
  aegis completions bash > ~/.local/share/bash-completion/completions/aegis
  ln -s aegis ~/.local/share/bash-completion/completions/aegis-run
  aegis completions fish > ~/.config/fish/conf.d/aegis.fish
  aegis completions zsh aegis > ~/.zfunc/_aegis
  aegis completions zsh aegis-run > ~/.zfunc/_aegis-run")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
        /// Of which program; without it, of both in one script
        program: Option<pages::Program>,
    },
    /// Writes the manual pages to a directory, or lists them
    #[command(after_help = "\
Examples:
  aegis man                    the names of the pages
  aegis man ~/.local/share/man/man1")]
    Man {
        /// Where to; made when it is not there
        #[arg(value_hint = clap::ValueHint::DirPath)]
        directory: Option<PathBuf>,
    },
}

/// Why there is no answer.
enum Failure {
    /// The profile is wrong.
    Profile(aegis_profile::Error),
    /// Something else.
    Other(String),
}

impl From<aegis_profile::Error> for Failure {
    fn from(error: aegis_profile::Error) -> Self {
        Self::Profile(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(format!("standard output cannot be written: {error}"))
    }
}

/// Yes, no, or no answer.
type Answer = Result<bool, Failure>;

/// Runs the program: `words` are its arguments, its own name first. Gives the exit status.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    let parsed = crate::options::aegis()
        .try_get_matches_from(words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let answer = match cli.action {
        Action::Doctor { json } => doctor::doctor(json),
        Action::Profile(action) => profile::profile(&action),
        Action::Policy(action) => policy::policy(&action),
        Action::Approvals(action) => approvals::approvals(&action),
        Action::Replay(options) => replay::replay(&options),
        Action::Audit(action) => audit::audit(&action),
        Action::Completions { shell, program } => pages::completions(shell, program),
        Action::Man { directory } => pages::man(directory.as_deref()),
    };
    match answer {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(failure) => {
            failure.tell();
            1
        }
    }
}

/// Help that was asked for is an answer; what clap says of a wrong command line is not.
fn usage(error: &clap::Error) -> u8 {
    let text = error.render().to_string();
    if error.use_stderr() {
        complain(&text);
        return 2;
    }
    match print(text.as_bytes()) {
        Ok(()) => 0,
        Err(error) => {
            Failure::from(error).tell();
            1
        }
    }
}

impl Failure {
    fn tell(self) {
        match self {
            Self::Profile(error) => complain(&crate::terminal::profile_error("aegis", &error)),
            Self::Other(text) => complain(&format!("aegis: error: {}\n", harmless(&text))),
        }
    }
}

/// Prints a value as JSON for people and programs alike.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(io::Error::from)?;
    text.push(b'\n');
    Ok(print(&text)?)
}
