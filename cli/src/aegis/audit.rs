//! `aegis audit`: shows, follows, verifies, exports and prunes the audit log.

mod prune;
mod runs;
pub(super) mod show;
mod tail;
mod verify;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aegis_audit::event::{EventType, Record};
use aegis_audit::log::{Error, Line, Reader};
use aegis_audit::ocsf;
use aegis_audit::places::State;
use aegis_policy::Hash;
use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use serde::Serialize;

use super::CommandResult;
use crate::names;
use crate::terminal::{complain, harmless};
use show::Style;

/// Subcommands of `aegis audit`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Shows what was recorded, a line for each record
    #[command(after_help = "\
Status 1 says that something in the log could not be read; the rest is shown all the same.

Examples:
  aegis audit show --since 2h
  aegis audit show -n 20 --type policy.violation
  aegis audit show --run 20260102T030405-17f3 --type policy.violation
  aegis audit show --json | jq -r 'select(.decision.verdict == \"block\") | .request.what'")]
    Show {
        #[command(flatten)]
        log: LogArg,
        #[command(flatten)]
        filter: Filter,
        /// Only the last so many
        #[arg(short = 'n', long, value_name = "N")]
        lines: Option<usize>,
        /// Prints JSON: a record on each line, with its hash
        #[arg(long)]
        json: bool,
    },
    /// Lists the runs, a line for each
    #[command(after_help = "\
Examples:
  aegis audit runs --since 7days
  aegis audit runs -n 20 --profile pr-review
  aegis audit runs --json | jq '.[] | select(.exit_status != 0)'")]
    Runs(runs::Options),
    /// Shows the last records, and those to come
    #[command(after_help = "\
Examples:
  aegis audit tail -n 50
  aegis audit tail -f --json | jq .type")]
    Tail {
        #[command(flatten)]
        log: LogArg,
        /// How many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        lines: usize,
        /// Continues with new records, until interrupted
        #[arg(short, long)]
        follow: bool,
        /// Prints JSON: a record on each line, with its hash
        #[arg(long)]
        json: bool,
    },
    /// Says whether the log is intact, and whether it is complete
    #[command(after_help = "\
Intact: nothing within the log was changed, removed, inserted, or signed by somebody else. Complete: the log
is there to its end and signed to its end. Status 0 means both.

If the end was cut off exactly at a checkpoint, only what remembers a later one shows it. The last one is
remembered beside the key. Against whoever can write there, keep the checkpoint that this prints, NUMBER:HASH,
elsewhere, and name it the next time. The number alone no longer shows it once the log has grown again to a
checkpoint of that number.

Quarantined torn ends are listed: a crash leaves one behind, and so does whoever writes zeros over the end.

Examples:
  aegis audit verify
  aegis audit verify --min-checkpoint 1042:84ec16272ae3c410b8ef9842e022ceb9a96d8dc64a24d6985c8f8499ca88d962
  aegis audit verify /mnt/host7/audit --key host7.pub --json
  cat archive/*.jsonl audit/*.jsonl | aegis audit verify -
  aegis audit verify --first 250000         what is left, with all before archived")]
    Verify(verify::Options),
    /// Removes the oldest records; the log says so, and is verified as before
    #[command(after_help = "\
What is removed ends with a checkpoint. A record of it, log.pruned, is signed and on the disk before. What
only removed records referred to is removed with them. A log that is not intact is left as it is.

Examples:
  aegis audit prune --keep 90d --max 1G
  aegis audit export > /mnt/archive/log.jsonl && aegis audit prune --keep 7d")]
    Prune(prune::Options),
    /// Prints the log for other programs
    #[command(after_help = "\
jsonl: the lines as they are, hashes and all, each after what it refers to. `aegis audit` and `aegis replay` read
that as a log.
ocsf: events of the Open Cybersecurity Schema Framework 1.3, one on each line.

Examples:
  aegis audit export > log.jsonl
  aegis audit export --format ocsf --since 2026-01-01 | vector --config collect.toml")]
    Export {
        #[command(flatten)]
        log: LogArg,
        #[command(flatten)]
        filter: Filter,
        /// The form
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        /// For ocsf, the name of the host that wrote the log; without it, this host
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
    },
}

/// A form to export in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The log's own lines
    Jsonl,
    /// Events of the Open Cybersecurity Schema Framework
    Ocsf,
}

/// The log to read.
#[derive(Debug, Args)]
pub(super) struct LogArg {
    /// A log's directory, a segment, or `-`; without it, this user's log
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: Option<PathBuf>,
}

/// Which records to show.
#[derive(Debug, Default, Args)]
pub(super) struct Filter {
    /// Only what belongs to a run, by its id or the beginning of it
    #[arg(long, value_name = "ID", add = names::runs())]
    run: Option<String>,
    /// Only records of a type, such as tool.exec; may be repeated
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    types: Vec<EventType>,
    /// Only what was recorded since: a date, a time in UTC, or so long ago (2h, 3days)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<SystemTime>,
}

fn event_type(text: &str) -> Result<EventType, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|error| error.to_string())
}

fn since(text: &str) -> Result<SystemTime, String> {
    let midnight = format!("{text}T00:00:00Z");
    let time =
        humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&midnight));
    if let Ok(time) = time {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok();
    ago.and_then(|ago| SystemTime::now().checked_sub(ago))
        .ok_or_else(|| {
            "expected a date (2026-01-31), a time (2026-01-31T12:00:00Z) or a duration (2h)".into()
        })
}

impl Filter {
    fn takes(&self, record: &Record) -> bool {
        let run = (self.run.as_ref()).is_none_or(|run| record.run.starts_with(run));
        let kind = self.types.is_empty() || self.types.contains(&record.kind);
        // A record without a readable time is shown rather than left out.
        let since = self.since.is_none_or(|since| {
            humantime::parse_rfc3339(&record.time).map_or(true, |time| time >= since)
        });
        run && kind && since
    }
}

impl LogArg {
    /// The path, or this user's log.
    pub(super) fn resolve(&self) -> anyhow::Result<PathBuf> {
        match &self.path {
            Some(path) => Ok(path.clone()),
            None => Ok(state()?.audit),
        }
    }

    pub(super) fn reader(&self) -> anyhow::Result<Reader> {
        open(&self.resolve()?)
    }
}

/// Opens a log to read it; `-` is standard input.
pub(super) fn open(path: &Path) -> anyhow::Result<Reader> {
    match path == Path::new("-") {
        true => Ok(Reader::stream("standard input", Box::new(io::stdin()))),
        false => Reader::open(path).map_err(|error| failed(path, &error)),
    }
}

/// A record with its hash, as printed.
#[derive(Serialize)]
pub(super) struct Recorded {
    hash: Hash,
    #[serde(flatten)]
    record: Record,
}

/// The records of a log.
fn recorded(reader: &mut Reader) -> impl Iterator<Item = Result<Recorded, Error>> {
    std::iter::from_fn(|| {
        let recorded = reader.next_line()?.and_then(|line| {
            let (hash, record) = (line.hash, line.record()?);
            Ok(Recorded { hash, record })
        });
        Some(recorded)
    })
}

/// The last so many.
fn last<T>(all: impl Iterator<Item = T>, lines: usize) -> VecDeque<T> {
    let mut last = VecDeque::new();
    for one in all {
        last.push_back(one);
        if last.len() > lines {
            last.pop_front();
        }
    }
    last
}

/// The directories of this user.
pub(super) fn state() -> anyhow::Result<State> {
    State::here().context("there is no $HOME to look for the audit log in: name its directory")
}

fn failed(path: &Path, error: &Error) -> anyhow::Error {
    match error {
        Error::File(aegis_sys::private::Error::Io { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            anyhow!(
                "there is no audit log at {}; aegis-run makes it with the first run that is recorded",
                path.display()
            )
        }
        _ => anyhow!("{error}"),
    }
}

/// Standard output, in large pieces. If its reader stops, output ends without an error.
struct Out {
    to: BufWriter<StdoutLock<'static>>,
    /// No line to be printed had an error.
    right: bool,
}

impl Out {
    fn new() -> Self {
        Self {
            to: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
            right: true,
        }
    }

    /// Prints lines in order: errors go to standard error. Returns whether somebody
    /// still reads.
    fn lines(
        &mut self,
        lines: impl Iterator<Item = Result<String, String>>,
    ) -> anyhow::Result<bool> {
        let all = || -> io::Result<()> {
            for line in lines {
                match line {
                    Ok(line) => self.to.write_all(line.as_bytes())?,
                    Err(error) => {
                        self.to.flush()?;
                        complain(&format!("aegis: {}\n", harmless(&error)));
                        self.right = false;
                    }
                }
            }
            self.to.flush()
        };
        match all() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            result => result
                .map(|()| true)
                .map_err(|error| crate::terminal::unwritten(error).into()),
        }
    }

    /// Prints all lines. Returns whether none had an error.
    fn all(mut self, lines: impl Iterator<Item = Result<String, String>>) -> CommandResult {
        self.lines(lines)?;
        Ok(self.right)
    }
}

impl Action {
    pub(super) fn run(self) -> CommandResult {
        match self {
            Self::Show {
                log,
                filter,
                lines,
                json,
            } => {
                let style = Style::of_output(json);
                let taken = |recorded: &Result<Recorded, _>| {
                    (recorded.as_ref()).map_or(true, |recorded| filter.takes(&recorded.record))
                };
                let mut reader = log.reader()?;
                let records = recorded(&mut reader).filter(taken);
                match lines {
                    Some(lines) => {
                        let last = last(records, lines).into_iter();
                        Out::new().all(last.map(|record| style.line(record)))
                    }
                    None => Out::new().all(records.map(|record| style.line(record))),
                }
            }
            Self::Tail {
                log,
                lines,
                follow,
                json,
            } => tail::tail(&log, lines, follow, json),
            Self::Verify(options) => options.run(),
            Self::Runs(options) => options.run(),
            Self::Prune(options) => options.run(),
            Self::Export {
                log,
                filter,
                format,
                host,
            } => export(&log, &filter, format, host),
        }
    }
}

fn export(log: &LogArg, filter: &Filter, format: Format, host: Option<String>) -> CommandResult {
    let host = host.unwrap_or_else(|| {
        let system = rustix::system::uname();
        system.nodename().to_string_lossy().into_owned()
    });
    let mut reader = log.reader()?;
    let mut referred = BTreeSet::new();
    let all = std::iter::from_fn(|| {
        let line = reader.next_line()?.map_err(|error| error.to_string());
        Some(line.and_then(|line| exported(&line, filter, format, &host, &mut referred)))
    });
    Out::new().all(all.filter_map(Result::transpose))
}

/// A line in that format, before it what it refers to, if that is not among `referred` yet. `None` if it was not requested.
fn exported(
    line: &Line<'_>,
    filter: &Filter,
    format: Format,
    host: &str,
    referred: &mut BTreeSet<Hash>,
) -> Result<Option<String>, String> {
    let record = line.record().map_err(|error| error.to_string())?;
    if !filter.takes(&record) {
        return Ok(None);
    }
    let text = match format {
        Format::Jsonl => {
            let text = std::str::from_utf8(line.record).map_err(|error| error.to_string())?;
            let repeated = line.repeated().map_err(|error| error.to_string())?;
            let repeated = repeated.filter(|(hash, _)| referred.insert(*hash));
            let before = repeated.map(|(_, line)| line).unwrap_or_default();
            format!("{before}{{\"hash\":\"{}\",\"record\":{text}}}\n", line.hash)
        }
        Format::Ocsf => match ocsf::event(&record, host) {
            Ok(event) => format!("{event}\n"),
            Err(error) => return Err(error.to_string()),
        },
    };
    Ok(Some(text))
}
