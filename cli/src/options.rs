//! What `aegis-run` says about its options: help, manual page and completions come from here.
//!
//! It parses with [`crate::run::args`] and prints `run/help.txt`, which is the rendered help of
//! [`aegis_run`]; tests hold both against this.

use clap::builder::{Styles, ValueHint};
use clap::{Arg, ArgAction, Command};

const RUN_ABOUT: &str = "Runs a command with exactly the authority that its profile declares";

const RUN_EXAMPLES: &str = "\
Without --profile a command may read the current directory, $WORK, beside what the built-in
profile `base` has: shared libraries, locale, certificates. The command begins at the
first word that is not an option.

Whatever the profile asks for is held against the policy: the system's in /etc/aegis, and the user's
in ~/.config/aegis; without either, the template `standard`. What it blocks stops the run before
it starts; what it wants reviewed is asked on the terminal. Each run is recorded (`aegis audit`).

Examples:
  aegis-run ls -l                                    nothing but reading $WORK
  aegis-run --profile skill.yaml                     the command that the profile names in `run`
  aegis-run --profile skill.yaml -- ./skill.sh -v    another one, under the same profile
  aegis-run --profile python --set limits.time=1m python3 main.py
  aegis-run --profile skill.yaml --explain           what it could do, and which line says so
  aegis-run --profile skill.yaml --report run.json ./skill.sh
  aegis-run --profile skill.yaml --policy strict ./skill.sh

Exit status:
  0-255   the command's own
  128+N   signal N ended the command, or a limit did so with signal N
  124     the command met its time limit
  125     the command line, profile or policy is wrong, the policy does not let the command start,
          or Aegis failed before it did
  126     the command cannot be executed
  127     the command was not found";

/// The command line of `aegis-run`.
#[must_use]
pub fn aegis_run() -> Command {
    let option = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    Command::new("aegis-run")
        .about(RUN_ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .styles(Styles::plain())
        .override_usage("aegis-run [OPTIONS] [--] [COMMAND [ARG]...]")
        .after_help(RUN_EXAMPLES)
        .arg(
            option(
                "profile",
                "What the command may do: a file, `-`, or a built-in profile's name",
            )
            .value_name("FILE|NAME")
            .value_hint(ValueHint::FilePath),
        )
        .arg(
            option(
                "set",
                "Adds to the profile, as in limits.memory=1G; may be repeated",
            )
            .value_name("KEY=VALUE")
            .action(ArgAction::Append),
        )
        .arg(
            option(
                "policy",
                "What may be granted: a file, a directory, or a template's name; in place of the user's policy",
            )
            .value_name("PATH|NAME")
            .value_hint(ValueHint::AnyPath),
        )
        .arg(
            option(
                "audit",
                "Where the run is recorded: the directory of the log; `none` where the policy permits that",
            )
            .value_name("PATH")
            .value_hint(ValueHint::DirPath),
        )
        .arg(
            option(
                "explain",
                "Shows the plan, as `text` or `json`, and starts nothing",
            )
            .value_name("FORMAT")
            .value_parser(["text", "json"])
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("text"),
        )
        .arg(
            option(
                "report",
                "Writes a report of the run, as JSON; `-` is standard output",
            )
            .value_name("FILE")
            .value_hint(ValueHint::FilePath)
            .conflicts_with("explain"),
        )
        .arg(
            option(
                "keep-fd",
                "Hands on an open descriptor beside 0, 1, 2; may be repeated",
            )
            .value_name("N")
            .value_parser(clap::value_parser!(i32).range(0..))
            .action(ArgAction::Append),
        )
        .arg(
            option(
                "quiet",
                "Does not tell what was refused when the command fails",
            )
            .action(ArgAction::SetTrue)
            .overrides_with("quiet"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .help("The command and its arguments; without it, the profile's `run`")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(clap::value_parser!(std::ffi::OsString))
                .value_hint(ValueHint::CommandWithArguments),
        )
}
