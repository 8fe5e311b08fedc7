//! The options of `aegis-run`: help, manual page and completions come from here.
//!
//! `aegis-run` itself parses with [`crate::run::args`] and prints `run/help.txt`, which is the rendered help of
//! [`AegisRun`]; tests compare both with this.

use std::ffi::OsString;

use clap::builder::Styles;
use clap::{Parser, ValueHint};

use crate::names;

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

/// Runs a command with exactly the authority that its profile declares
#[derive(Debug, Parser)]
#[command(
    name = "aegis-run",
    version,
    styles = Styles::plain(),
    override_usage = "aegis-run [OPTIONS] [--] [COMMAND [ARG]...]",
    after_help = RUN_EXAMPLES
)]
pub struct AegisRun {
    /// What the command may do: a file, `-`, or a built-in profile's name
    #[arg(long, value_name = "FILE|NAME", value_hint = ValueHint::FilePath, add = names::profiles())]
    pub profile: Option<String>,
    /// Adds to the profile, as in limits.memory=1G; may be repeated
    #[arg(long, value_name = "KEY=VALUE", add = names::sets())]
    pub set: Vec<String>,
    /// What may be granted: a file, a directory, or a template's name; in place of the user's policy
    #[arg(long, value_name = "PATH|NAME", value_hint = ValueHint::AnyPath, add = names::policies())]
    pub policy: Option<String>,
    /// Where the run is recorded: the directory of the log; `none` where the policy permits that
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub audit: Option<String>,
    /// Shows the plan, as `text` or `json`, and starts nothing
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub explain: Option<String>,
    /// Writes a report of the run, as JSON; `-` is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "explain")]
    pub report: Option<String>,
    /// Observes the command, and writes what it was seen to do, as JSON; `-` is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "explain")]
    pub record: Option<String>,
    /// What the command has as 0, 1, 2: the caller's own, or only what is passed on
    #[arg(long, value_name = "MODE", value_parser = ["inherit", "relay"])]
    pub stdio: Option<String>,
    /// Passes on an open descriptor beside 0, 1, 2; may be repeated
    #[arg(long = "keep-fd", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub keep_fds: Vec<i32>,
    /// Says nothing of what was refused, held back, left behind or lost to the run; the report has it
    #[arg(long, overrides_with = "quiet")]
    pub quiet: bool,
    /// The command and its arguments; without it, the profile's `run`
    #[arg(value_name = "COMMAND", num_args = 0.., trailing_var_arg = true)]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}
