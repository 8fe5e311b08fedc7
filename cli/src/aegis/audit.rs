//! `aegis audit`: the audit log, shown, followed, verified, exported.

mod export;
mod show;
mod tail;
mod verify;

use std::io::{self, BufWriter, StdoutLock, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aegis_audit::event::{EventType, Record};
use aegis_audit::log::{Error, Reader, Remembered};
use aegis_audit::places::State;
use clap::{Args, Subcommand, ValueHint};

use super::{Answer, Failure};
use crate::terminal::{complain, harmless};

/// Subcommands of `aegis audit`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Shows what was recorded, a line for each record
    #[command(after_help = "\
Status 1 says that something in the log could not be read; the rest is shown all the same.

Examples:
  aegis audit show --since 2h
  aegis audit show --run 20260102T030405-17f3 --type policy.violation
  aegis audit show --json | jq -r 'select(.decision.verdict == \"block\") | .request.what'")]
    Show {
        #[command(flatten)]
        log: Place,
        #[command(flatten)]
        filter: Filter,
        /// Prints JSON: a record on each line
        #[arg(long)]
        json: bool,
    },
    /// Shows the last records, and those to come
    #[command(after_help = "\
Examples:
  aegis audit tail -n 50
  aegis audit tail -f --json | jq .type")]
    Tail {
        #[command(flatten)]
        log: Place,
        /// How many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        lines: usize,
        /// Goes on with what is appended, until it is interrupted
        #[arg(short, long)]
        follow: bool,
        /// Prints JSON: a record on each line
        #[arg(long)]
        json: bool,
    },
    /// Says whether the log is intact, and whether it is complete
    #[command(after_help = "\
Intact: nothing of what is there was changed, left out, put in, or signed by somebody else. Complete: it
is there to its end and signed to its end. Status 0 says that it is both.

An end that was cut off exactly at a checkpoint is noticed by somebody who remembers a later one: keep the
one that this prints, NUMBER:HASH, elsewhere, and name it the next time. With the number alone it is not
noticed any more once the log has grown again to a checkpoint of that number.

What was set aside as torn is listed: a crash leaves it, and so does who writes zeros over the end.

Examples:
  aegis audit verify
  aegis audit verify --min-checkpoint 1042:84ec16272ae3c410b8ef9842e022ceb9a96d8dc64a24d6985c8f8499ca88d962
  aegis audit verify /mnt/host7/audit --key host7.pub --json
  cat archive/*.jsonl audit/*.jsonl | aegis audit verify -
  aegis audit verify --first 250000         what is left, with all before archived")]
    Verify {
        #[command(flatten)]
        log: Place,
        /// Whose signature counts: a file such as audit.pub, or 64 hex digits; may be repeated; without
        /// it, the key that this user's logs are signed with
        #[arg(long = "key", value_name = "FILE|HEX", value_hint = ValueHint::FilePath)]
        keys: Vec<String>,
        /// A checkpoint that has to be there; without its hash, it or a later one
        #[arg(long, value_name = "N[:HASH]")]
        min_checkpoint: Option<Remembered>,
        /// The first record, where all before were verified and archived
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        first: u64,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Prints the log for other programs
    #[command(after_help = "\
jsonl: the lines as they are, hashes and all, which `aegis audit verify -` can check.
ocsf: events of the Open Cybersecurity Schema Framework 1.3, one on each line.

Examples:
  aegis audit export > log.jsonl
  aegis audit export --format ocsf --since 2026-01-01 | vector --config collect.toml")]
    Export {
        #[command(flatten)]
        log: Place,
        #[command(flatten)]
        filter: Filter,
        /// The form
        #[arg(long, value_enum, default_value_t = export::Format::Jsonl)]
        format: export::Format,
        /// In ocsf, the name of the host where the log was written; without it, of this one
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
    },
}

/// Which log.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// A log's directory, a segment, or `-`; without it, this user's log
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: Option<PathBuf>,
}

/// Which records.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only what belongs to a run, by its id or the beginning of it
    #[arg(long, value_name = "ID")]
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
        let run = self
            .run
            .as_ref()
            .is_none_or(|run| record.run.starts_with(run));
        let kind = self.types.is_empty() || self.types.contains(&record.kind);
        // What has no time that can be read is rather shown than not.
        let since = self.since.is_none_or(|since| {
            humantime::parse_rfc3339(&record.time).is_ok_and(|time| time >= since)
                || humantime::parse_rfc3339(&record.time).is_err()
        });
        run && kind && since
    }
}

impl Place {
    /// The path, or where this user's log is.
    fn resolve(&self) -> Result<PathBuf, Failure> {
        match &self.path {
            Some(path) => Ok(path.clone()),
            None => Ok(state()?.audit),
        }
    }

    fn reader(&self) -> Result<Reader, Failure> {
        let path = self.resolve()?;
        match path == Path::new("-") {
            true => Ok(Reader::stream("standard input", Box::new(io::stdin()))),
            false => Reader::open(&path).map_err(|error| failed(&path, &error)),
        }
    }
}

/// The places of whoever runs this.
fn state() -> Result<State, Failure> {
    let uid = rustix::process::geteuid().as_raw();
    let lookup = |name: &str| std::env::var_os(name);
    State::of(uid, &lookup).ok_or_else(|| {
        Failure::Other("there is no $HOME to look for the audit log in: name its directory".into())
    })
}

fn failed(path: &Path, error: &Error) -> Failure {
    let hint = match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "; aegis-run makes it with the first run that is recorded"
        }
        _ => "",
    };
    Failure::Other(match hint {
        "" => error.to_string(),
        _ => format!("there is no audit log at {}{hint}", path.display()),
    })
}

/// Tells of a line that cannot be read.
fn tell(error: &Error) {
    complain(&format!("aegis: {}\n", harmless(&error.to_string())));
}

/// Standard output, in large pieces. A reader that has had enough ends it without an error.
struct Out {
    inner: BufWriter<StdoutLock<'static>>,
}

/// Whether anybody is still reading.
type Going = Result<bool, Failure>;

impl Out {
    fn new() -> Self {
        Self {
            inner: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Going {
        going(self.inner.write_all(bytes))
    }

    fn flush(&mut self) -> Going {
        going(self.inner.flush())
    }
}

fn going(result: io::Result<()>) -> Going {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn audit(action: &Action) -> Answer {
    match action {
        Action::Show { log, filter, json } => show::show(log, filter, *json),
        Action::Tail {
            log,
            lines,
            follow,
            json,
        } => tail::tail(log, *lines, *follow, *json),
        Action::Verify {
            log,
            keys,
            min_checkpoint,
            first,
            json,
        } => verify::verify(log, keys, *min_checkpoint, *first, *json),
        Action::Export {
            log,
            filter,
            format,
            host,
        } => export::export(log, filter, *format, host.as_deref()),
    }
}
