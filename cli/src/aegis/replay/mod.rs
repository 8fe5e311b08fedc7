//! `aegis replay`: repeats the decisions recorded in a log. There is one file for each mode.

mod again;
mod known;
mod one;
mod under;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aegis_audit::replay::Recorded;
use clap::{Args, ValueHint};

use super::{CommandResult, audit};
use crate::names;
use crate::terminal::complain;
use known::Known;

/// Maximum number of findings listed, unless all are requested.
const FEW: usize = 20;

/// The command line.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    log: audit::LogArg,
    /// Lists what this policy, alone, would decide otherwise than was decided
    #[arg(long, value_name = "PATH|NAME", value_hint = ValueHint::AnyPath, conflicts_with = "force", add = names::policies())]
    policy: Option<String>,
    /// Explains a record (its number, or RUN/NUMBER) or what was decided for a run
    #[arg(long, value_name = "ID", value_parser = one::id, conflicts_with = "policy", add = names::runs())]
    id: Option<one::Id>,
    /// Where copies of policies are; without it, in `policies` beside the log
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    policies: Option<PathBuf>,
    /// Decides again what another version of Aegis decided, too
    #[arg(long)]
    force: bool,
    /// Lists every finding, not only the first ones
    #[arg(long)]
    all: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(super) const HELP: &str = "\
Each record with a decision has the request with all facts, and names its policy by hash; copies of
the policies are beside the log. The same policy must come to the same decision: status 1 means that
a decision differs, or that a record cannot be decided again. With --policy, status 1 means that
something would change. `aegis audit verify` says whether the log itself is intact.

Examples:
  aegis replay                                all of this user's log
  aegis replay LOG --policy new.yaml          what would a change of the policy have changed?
  aegis replay LOG --id 1234                  who asked for what, and why it was decided so
  aegis replay LOG --id 4711-197c2f5          the same, for each decision of a run
  aegis replay --json LOG | jq .differing";

impl Options {
    pub(super) fn run(self) -> CommandResult {
        let known = Known::new(&self)?;
        match (&self.id, &self.policy) {
            (Some(id), _) => one::tell(&self, id, &known),
            (None, Some(reference)) => under::list(&self, reference),
            (None, None) => again::check(&self, &known),
        }
    }
}

/// A record in a list.
#[derive(serde::Serialize)]
struct At {
    run: String,
    seq: u64,
    what: String,
}

impl At {
    fn of(record: &Recorded<'_>) -> Self {
        let what = (record.request)
            .and_then(|request| aegis_audit::replay::read_request(request).ok())
            .map_or_else(|| "nothing that is readable".into(), |r| r.what.to_string());
        Self {
            run: record.run.clone().into_owned(),
            seq: record.seq,
            what,
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {} (run {}): {}", self.seq, self.run, self.what)
    }
}

/// Passes each record of the log to `each`. Returns the lines that are not records, and the errors of `each`.
fn records(
    options: &Options,
    mut each: impl FnMut(&Recorded<'_>) -> Result<(), String>,
) -> anyhow::Result<Vec<String>> {
    let mut reader = options.log.reader()?;
    let mut progress = Progress::new();
    let mut wrong = Vec::new();
    while let Some(line) = reader.next_line() {
        progress.step();
        let read = line.map_err(|error| error.to_string()).and_then(|line| {
            let whole = line.whole().map_err(|error| error.to_string())?;
            let record = Recorded::parse(&whole)
                .map_err(|error| format!("{}: not a record: {error}", line.place))?;
            each(&record)
        });
        wrong.extend(read.err());
    }
    Ok(wrong)
}

/// `1 decision`, `2 decisions`.
fn counted(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    }
}

/// A progress line on standard error, if that is a terminal and it takes longer than a second. Dropping
/// this removes the line.
struct Progress {
    steps: u64,
    told: Instant,
    is_shown: bool,
}

impl Progress {
    /// Reading the clock is expensive, so it is done once in so many steps.
    const STEPS: u64 = 4096;

    fn new() -> Self {
        Self {
            steps: 0,
            told: Instant::now(),
            is_shown: false,
        }
    }

    /// Counts one more record.
    fn step(&mut self) {
        self.steps += 1;
        let look = self.steps.is_multiple_of(Self::STEPS);
        if look && self.told.elapsed() >= Duration::from_secs(1) && io::stderr().is_terminal() {
            self.told = Instant::now();
            self.is_shown = true;
            complain(&format!("\r{} records", self.steps));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            complain("\r\x1b[K");
        }
    }
}
