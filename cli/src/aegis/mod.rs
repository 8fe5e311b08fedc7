//! `aegis`: the host, running sandboxes, profiles, policies, the record, completions, manual pages.
//!
//! Exit statuses: 0 yes or done; 1 no (wrong, differs, incomplete) or failed; 2 the command line was
//! wrong.

mod approvals;
mod audit;
mod check;
mod complete;
mod export;
mod in_place;
mod kill;
mod observe;
mod pages;
mod policy;
mod profile;
mod ps;
mod replay;
mod secrets;
mod show;
mod suggest;
mod top;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use aegis_observation::Tier;
use anyhow::Context as _;
use clap::builder::Styles;
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::terminal::{self, colour, complain, harmless};
use crate::text;

/// Keeps commands to what their profiles declare.
#[derive(Debug, Parser)]
#[command(
    name = "aegis",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    styles = Styles::plain(),
    after_help = "\
Examples:
  aegis doctor                            what this host can enforce, and how to fix what it cannot
  aegis ps                                what runs now?
  aegis show pr-review                    what does it do?
  aegis profile check skill.yaml          is the profile right?
  aegis profile show skill.yaml           the whole of it, with what it extends
  aegis profile diff old.yaml new.yaml    what may the one do that the other may not?

Exit status: 0 yes or done, 1 no (wrong, differs, incomplete, failed), 2 the command line is wrong."
)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Says what this host can enforce, and how to fix what it cannot
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
    /// Lists the sandboxes that run now
    Ps(ps::Options),
    /// Shows what a run does or did: processes, sockets, open files, grants, limits, what was denied
    Show(Box<show::Options>),
    /// Suggests what a profile lacks, by what was denied in a run
    Suggest(suggest::Options),
    /// Lists the sandboxes that run now, again and again, on the whole terminal
    Top(top::Options),
    /// Ends running sandboxes, or sends their commands a signal
    Kill(kill::Options),
    /// Observes sandboxes for whoever runs them: the service behind `aegis-run --record`
    #[command(after_help = observe::HELP)]
    Observe(observe::Options),
    /// Checks, shows and compares profiles
    #[command(
        subcommand,
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
        after_help = "\
A policy is a file or a directory (with a `/` in its name, or ending in .yaml), `-` for standard input, or
the name of a template: strict, standard, permissive.

Examples:
  aegis policy new -o policy.yaml
  aegis policy check policy.yaml
  aegis policy show standard"
    )]
    Policy(policy::Action),
    /// Lists and revokes what was approved on the terminal
    #[command(
        subcommand,
        after_help = "\
Examples:
  aegis approvals list
  aegis approvals revoke --profile pr-review"
    )]
    Approvals(approvals::Action),
    /// Stores, lists, checks, rotates and removes secrets, which no sandbox is shown
    #[command(
        subcommand,
        after_help = "\
A profile names a secret by its alias, and the sandbox has a placeholder for it: what the broker puts in its place comes
from the store, which age encrypts, or from the source that ~/.config/aegis/secrets.yaml names.

Examples:
  aegis secrets init
  aegis secrets set github
  aegis secrets list
  aegis secrets check"
    )]
    Secrets(secrets::Action),
    /// Decides again what a log says was decided
    #[command(after_help = replay::HELP)]
    Replay(replay::Options),
    /// Shows, follows, verifies, exports and prunes the audit log
    #[command(
        subcommand,
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
    /// Prints shell completions for aegis, aegis-run and aegis-learn
    #[command(after_help = "\
Examples:
  aegis completions bash > ~/.local/share/bash-completion/completions/aegis
  ln -s aegis ~/.local/share/bash-completion/completions/aegis-run
  ln -s aegis ~/.local/share/bash-completion/completions/aegis-learn
  aegis completions fish > ~/.config/fish/conf.d/aegis.fish
  aegis completions zsh aegis > ~/.zfunc/_aegis
  aegis completions zsh aegis-run > ~/.zfunc/_aegis-run
  aegis completions zsh aegis-learn > ~/.zfunc/_aegis-learn")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
        /// The program; without it, all in one script
        #[arg(value_parser = ["aegis", "aegis-run", "aegis-learn"])]
        program: Option<String>,
    },
    /// Says what the last word can become, for the scripts of `completions`
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words of the command line, the program's name first
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Writes the manual pages to a directory, or lists them
    #[command(after_help = "\
Examples:
  aegis man                    the names of the pages
  aegis man ~/.local/share/man/man1")]
    Man {
        /// The directory to write to; made if missing
        #[arg(value_hint = clap::ValueHint::DirPath)]
        directory: Option<PathBuf>,
    },
}

/// Yes or no, or an error.
type CommandResult = anyhow::Result<bool>;

/// The command line of `aegis`.
#[must_use]
pub fn command() -> Command {
    Cli::command()
}

/// Runs the program: `words` are its arguments, its own name first. Returns the exit status.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    let parsed = command()
        .try_get_matches_from(words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let answer = match parsed {
        Ok(cli) => cli.action.run(),
        // Help on request is not an error.
        Err(error) if !error.use_stderr() => print(&error.render().to_string()).map(|()| true),
        Err(error) => {
            complain(&error.render().to_string());
            return 2;
        }
    };
    match answer {
        Ok(yes) => u8::from(!yes),
        Err(error) => {
            complain(&terminal::failure("aegis", &error));
            1
        }
    }
}

impl Action {
    fn run(self) -> CommandResult {
        match self {
            Self::Doctor { json } => doctor(json),
            Self::Ps(options) => options.run(),
            Self::Show(options) => options.run(),
            Self::Suggest(options) => options.run(),
            Self::Top(options) => options.run(),
            Self::Kill(options) => options.run(),
            Self::Observe(options) => options.run(),
            Self::Profile(action) => action.run(),
            Self::Policy(action) => action.run(),
            Self::Approvals(action) => action.run(),
            Self::Secrets(action) => action.run(),
            Self::Replay(options) => options.run(),
            Self::Audit(action) => action.run(),
            Self::Completions { shell, program } => pages::completions(shell, program.as_deref()),
            Self::Complete { words } => complete::complete(words),
            Self::Man { directory } => pages::man(directory.as_deref()),
        }
    }
}

fn doctor(json: bool) -> CommandResult {
    let report = aegis_runtime::doctor::examine();
    let policy = policy::held::in_force();
    let probes = aegis_launch::who_has_probes();
    let complete = report.complete() && policy.is_ok();
    if json {
        let policy = match &policy {
            Ok(policy) => json!(policy),
            Err(error) => json!({"error": error.to_string()}),
        };
        let aegis_runtime::doctor::Report {
            kernel,
            user,
            checks,
        } = report;
        print_json(
            &json!({"complete": complete, "kernel": kernel, "user": user, "checks": checks,
                "observing": match &probes {
                    Ok((who, tier)) => json!({"by": "probes", "tier": tier, "who": who}),
                    Err(help) => json!({"by": "listener", "help": help}),
                },
                "policy": policy}),
        )?;
    } else {
        print_bytes(text::doctor::text(&report, colour(&io::stdout())).as_bytes())?;
        print(&match &probes {
            Ok((who, Tier::BpfLsm)) => format!(
                "Observing (--record): by probes and hooks of BPF LSM, which can refuse, {who}\n"
            ),
            Ok((who, _)) => format!("Observing (--record): by probes, {who}\n"),
            Err(help) => {
                format!("Observing (--record): by seccomp (slower, and less is seen): {help}\n")
            }
        })?;
        match &policy {
            Ok(policy) => {
                let lines = policy.lines().into_iter().map(|line| format!("  {line}\n"));
                print(&format!(
                    "The policy in force:\n{}",
                    lines.collect::<String>()
                ))?;
            }
            Err(error) => {
                print("No policy can be read, so nothing is started:\n")?;
                print_bytes(terminal::profile_error("aegis", error).as_bytes())?;
            }
        }
    }
    Ok(complete)
}

/// Prints a value as JSON, or as text for people.
fn answer(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    match json {
        true => print_json(value),
        false => print(&text()),
    }
}

/// Prints a value as JSON for people and programs alike.
fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(value).context("there is no JSON form")?;
    text.push(b'\n');
    print_bytes(&text)
}

/// Prints text for people; nothing in it steers a terminal.
fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(harmless(text).as_bytes())
}

/// Prints output for programs, unchanged.
fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    Ok(terminal::print(bytes)?)
}

/// Of several references at most one may be standard input, which is read once.
fn one_stdin<'r>(references: impl IntoIterator<Item = &'r str>) -> anyhow::Result<()> {
    let stdins = references.into_iter().filter(|reference| *reference == "-");
    anyhow::ensure!(stdins.count() < 2, "standard input can be read once only");
    Ok(())
}
