//! The options of `aegis-run` and `aegis-learn`: help, manual pages and completions come from here.
//!
//! `aegis-run` itself parses with [`crate::run::args`] and prints `run/help.txt`, which is the rendered help of
//! [`AegisRun`]; tests compare both with this.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, Styles};
use clap::{Command, CommandFactory as _, Parser, ValueHint};

use crate::names;

/// The programs that run one command: beside `aegis` itself.
pub fn programs() -> [Command; 2] {
    [AegisRun::command(), AegisLearn::command()]
}

const LEARN_EXAMPLES: &str = "\
The command runs confined: of the host it is shown what the policy lets a profile have, and never the keys,
credentials and passwords that the policy blocks. What it writes in the working directory and in the home
directory stays in memory. There is no network. Then it runs once more, under the profile that was
made of what it did.

Without -o the profile goes to standard output, and the command's own output to standard error.

Examples:
  aegis-learn -o skill.yaml -- python3 main.py             a profile for a skill, beside its files
  aegis-learn --runs 3 -o skill.yaml -- ./skill.sh         of what three runs did
  aegis-learn --against skill.yaml -- python3 main.py      what does it lack, what was not used?
  aegis-run --profile skill.yaml --record day1.json; aegis-learn --from day1.json -o skill.yaml
  aegis-learn --rules                                      how single files become lines of a profile

Exit status:
  0       the profile was written, and the command ran under it as it did before; with --no-verify and --from,
          which do not run it again: written, and nothing that was seen was lost
  1       it was written, and is not verified, as when a signal (Control-C, SIGTERM) has ended the command; or
          the profile given with --against lacks something
  125     nothing was written: the command line or the policy is wrong, or the command could not be observed
  126     nothing was written: the command cannot be executed
  127     nothing was written: the command was not found
  128+N   nothing was written: signal N came before the command had started";

/// Runs a command to see what it needs, and writes the smallest profile that it runs under
#[derive(Debug, Parser)]
#[command(
    name = "aegis-learn",
    version,
    styles = Styles::plain(),
    override_usage = "aegis-learn [OPTIONS] [--] COMMAND [ARG]...\n       aegis-learn [OPTIONS] --from FILE...",
    after_help = LEARN_EXAMPLES
)]
pub struct AegisLearn {
    /// Where the profile is written, and its baseline beside it; its directory is `$SKILL`. `-` is standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Replaces the file, if it is there
    #[arg(long, requires = "output")]
    pub force: bool,
    /// How often the command is run to be learnt from
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Learns from what `aegis-run --record` saved, and runs nothing; `-` is standard input; may be repeated
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath, conflicts_with = "runs")]
    pub from: Vec<PathBuf>,
    /// Says what this profile lacks of what was seen, and what of it no run used; writes nothing else
    #[arg(long, value_name = "PROFILE", value_hint = ValueHint::FilePath, add = names::profiles())]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub against: Option<String>,
    /// With --against: writes that profile without what no run used
    #[arg(long, requires = "against")]
    pub trim: bool,
    /// The network that the command has: `host`
    #[arg(long, value_name = "WHAT", value_parser = ["host"])]
    pub allow_net: Option<String>,
    /// Shows the command this too, which the policy wants a person to review, and asks on the terminal: a directory to be read,
    /// a program to be executed as well; may be repeated
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, conflicts_with = "from")]
    pub show: Vec<PathBuf>,
    /// What is written in the working directory is kept: the policy must let a profile write there
    #[arg(long, conflicts_with = "from")]
    pub keep_changes: bool,
    /// Passes on a variable of the environment, which must be set where the command is run; may be repeated
    #[arg(long, value_name = "NAME")]
    pub pass: Vec<String>,
    /// The profile's name; without it, the file's
    #[arg(long, value_name = "NAME", conflicts_with = "against", value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Lists the system calls that were seen, and those that do the same, in place of the default set: needs probes
    #[arg(long)]
    pub tight: bool,
    /// Does not run the command under the profile
    #[arg(long, conflicts_with_all = ["from", "against"])]
    pub no_verify: bool,
    /// Who observes the runs: `probes` in the kernel, the run's own seccomp `listener`, or `auto`: whichever can
    #[arg(long, value_name = "WHO", value_parser = ["auto", "probes", "listener"], conflicts_with = "from")]
    pub observe_by: Option<String>,
    /// What may be shown and granted: a file, a directory, or a template's name; in place of the user's policy
    #[arg(long, value_name = "PATH|NAME", value_hint = ValueHint::AnyPath, add = names::policies())]
    pub policy: Option<String>,
    /// Where the runs are recorded: the directory of the log
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub audit: Option<PathBuf>,
    /// Prints what was learnt as JSON, the profile in it
    #[arg(long)]
    pub json: bool,
    /// Says nothing but errors
    #[arg(long)]
    pub quiet: bool,
    /// Prints the rules by which a profile is made of what was seen
    #[arg(long, exclusive = true)]
    pub rules: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", num_args = 0.., trailing_var_arg = true)]
    #[arg(value_hint = ValueHint::CommandWithArguments)]
    #[arg(required_unless_present_any = ["from", "rules"], conflicts_with = "from")]
    pub command: Vec<OsString>,
}

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
    /// Holds what the command does against what is ordinary, and reacts to the rest as the policy says
    #[arg(long, conflicts_with = "explain")]
    pub observe: bool,
    /// Observes the command, and writes what it was seen to do, as JSON; `-` is standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "explain")]
    pub record: Option<String>,
    /// Who observes it: `probes` in the kernel, the run's own seccomp `listener`, or `auto`: whichever can
    #[arg(long, value_name = "WHO", value_parser = ["auto", "probes", "listener"])]
    pub observe_by: Option<String>,
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
