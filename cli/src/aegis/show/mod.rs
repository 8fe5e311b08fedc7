//! `aegis show`: what a run does or did.

mod inside;
pub(in crate::aegis) mod record;
pub(in crate::aegis) mod text;
pub(in crate::aegis) mod used;

use std::io;
use std::path::PathBuf;

use aegis_launch::registry::{Inside, Running};
use aegis_observation::Observation;
use aegis_policy::What;
use aegis_profile::LimitKey;
use aegis_runtime::supervise::report;
use anyhow::{bail, ensure};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::{CommandResult, audit, print_bytes, print_json, ps};
use crate::host::observation;
use crate::names;
use crate::terminal::{colour, complain, harmless};
use record::Recorded;
use used::Observed;

/// The command line.
#[derive(Debug, Args)]
#[command(
    override_usage = "aegis show [OPTIONS] <RUN>\n       aegis show [OPTIONS] --record <FILE> [RUN]"
)]
#[command(after_help = "\
Of a run that goes on: its processes, sockets and open files as they are now. Of every run: what its records in the audit log
say. With --record also which lines of its profile were used, and for what, and which never. Names and command lines of
processes are the sandbox's own word.

Examples:
  aegis show 7104-19c0d3e7a51
  aegis show pr-review
  aegis show 7104 --json | jq '.inside.sockets'
  aegis show --record seen.json")]
pub(super) struct Options {
    /// The id of a run, or enough of its beginning to tell it from others; or the name of a profile under which one sandbox
    /// runs. Without it, the run of --record
    #[arg(value_name = "RUN", add = names::shown(), required_unless_present = "record")]
    run: Option<String>,
    /// What the run was seen to do, as `aegis-run --record` has saved it; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    record: Option<PathBuf>,
    /// The profile that the run had, where its file is elsewhere than the record says
    #[arg(long, value_name = "PROFILE", requires = "record", add = names::profiles(), value_hint = ValueHint::FilePath)]
    profile: Option<String>,
    /// The audit log: its directory, or a segment; without it, that of the run, or this user's
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    log: Option<PathBuf>,
    /// Looks for RUN among the sandboxes of all users; for root only
    #[arg(long)]
    all: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// A run, as far as it is known.
#[derive(Debug, Serialize)]
pub(in crate::aegis) struct Shown {
    /// Its id.
    pub run: String,
    /// How it stands.
    pub state: State,
    /// Its entry in the registry, while it runs.
    pub running: Option<Running>,
    /// What is inside, while it runs.
    pub inside: Option<Inside>,
    /// What the audit log says. `None`: it has nothing of the run.
    pub record: Option<Recorded>,
    /// The limits, and what of each is used now.
    pub limits: Vec<Limit>,
    /// What it was seen to do.
    pub observed: Option<Observed>,
    /// When this was looked at, in microseconds since 1970.
    pub now_us: u64,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::aegis) enum State {
    /// It goes on.
    Running,
    /// It is ending.
    Ending,
    /// It has ended.
    Ended,
    /// It was not started.
    Refused,
    /// It does not run, and its end was not recorded: what watched it was killed.
    Lost,
    /// Nothing is known of it but what was seen.
    Unrecorded,
}

/// A limit.
#[derive(Debug, Serialize)]
pub(in crate::aegis) struct Limit {
    /// Its key.
    pub limit: String,
    /// Its value, in the unit of a profile's. `None`: there is none.
    pub value: Option<u64>,
    /// What is used of it now, in the same unit. `None`: that is not known.
    pub used: Option<u64>,
}

impl Options {
    pub(super) fn run(self) -> CommandResult {
        let seen = self.record.as_deref().map(observation).transpose()?;
        let word = match (&self.run, &seen) {
            (Some(run), _) => run.clone(),
            (None, Some(seen)) => only_run(seen)?,
            (None, None) => unreachable!("clap requires one of them"),
        };
        ensure!(!word.is_empty(), "an id must not be empty");
        let (running, complete) = ps::running(self.all)?;
        let running: Vec<Running> = running.into_iter().filter(|run| !run.stale).collect();
        let running = ps::one(&running, &word)?.cloned();
        // Before the record, which then has the end of what was not there any more.
        let inside = running.as_ref().and_then(Running::look);
        let record = self.recorded(running.as_ref(), &word, seen.is_some())?;
        let run = match (&running, &record) {
            (Some(running), _) => running.id.clone(),
            (None, Some(record)) => record.run.clone(),
            (None, None) if seen.is_some() => word.clone(),
            (None, None) => bail!(
                "{word}: neither a running sandbox nor the audit log has a run whose id begins so\n  help: aegis ps lists what runs, aegis audit runs what has ended; --log names another log"
            ),
        };
        let observed = match (&self.record, &seen) {
            (Some(file), Some(seen)) => {
                let of_it = seen.runs.iter().any(|seen| seen.id == run);
                let shown = file.display();
                ensure!(of_it, "{shown} was not recorded of the run {run}");
                Some(used::of(
                    file,
                    seen,
                    self.profile.as_deref(),
                    record.as_ref(),
                )?)
            }
            _ => None,
        };
        let now_us = report::now();
        let shown = Shown {
            state: state(running.is_some(), inside.is_some(), record.as_ref()),
            limits: limits(running.as_ref(), inside.as_ref(), record.as_ref(), now_us),
            run,
            running,
            inside,
            record,
            observed,
            now_us,
        };
        match self.json {
            true => print_json(&shown)?,
            false => print_bytes(text::text(&shown, colour(&io::stdout())).as_bytes())?,
        }
        Ok(complete)
    }

    /// What the log says of the run.
    fn recorded(
        &self,
        running: Option<&Running>,
        word: &str,
        seen: bool,
    ) -> anyhow::Result<Option<Recorded>> {
        let own = || audit::state().map(|state| state.audit);
        let log = match (&self.log, running) {
            (Some(log), _) => log.clone(),
            // What another user wrote says nothing of where to read as root.
            (None, Some(running)) if running.uid != rustix::process::geteuid().as_raw() => {
                complain(
                    "aegis: note: the audit log of another user is read where --log names it\n",
                );
                return Ok(None);
            }
            (None, Some(running)) => match &running.log {
                Some(log) => PathBuf::from(log),
                // It is not recorded.
                None => return Ok(None),
            },
            (None, None) => match own()? {
                log if log.exists() => log,
                _ => return Ok(None),
            },
        };
        let id = running.map_or(word, |running| &running.id);
        let found = record::find(&log, id);
        match found {
            // What is known without it is shown all the same, unless it was asked for.
            Err(error) if self.log.is_none() && (running.is_some() || seen) => {
                let note = format!("aegis: note: {error}\n");
                complain(&harmless(&note));
                Ok(None)
            }
            found => found,
        }
    }
}

/// The id of the one run that was observed.
fn only_run(seen: &Observation) -> anyhow::Result<String> {
    match seen.runs.as_slice() {
        [run] => Ok(run.id.clone()),
        [] => bail!("the observation is of no run"),
        runs => {
            let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
            bail!(
                "the observation is of several runs: name one of {}",
                ids.join(", ")
            )
        }
    }
}

fn state(listed: bool, inside: bool, record: Option<&Recorded>) -> State {
    match record {
        _ if inside => State::Running,
        None if listed => State::Ending,
        None => State::Unrecorded,
        Some(record) if record.start.is_none() => State::Refused,
        Some(record) if record.end.is_some() => State::Ended,
        Some(_) if listed => State::Ending,
        Some(_) => State::Lost,
    }
}

/// The limits in force, and what of each is used.
fn limits(
    running: Option<&Running>,
    inside: Option<&Inside>,
    record: Option<&Recorded>,
    now_us: u64,
) -> Vec<Limit> {
    let of_record = || {
        let grants = record.iter().flat_map(|record| &record.grants);
        let limit = |what: &What| match what {
            What::Limit { limit, value } => Some((limit.clone(), *value)),
            _ => None,
        };
        grants.filter_map(limit).collect::<Vec<_>>()
    };
    let set = match running {
        Some(running) => {
            let limits = running.limits.iter();
            limits
                .map(|(key, value)| (key.clone(), Some(*value)))
                .collect()
        }
        None => of_record(),
    };
    let used = |key: &str| {
        let inside = inside?;
        match LimitKey::named(key)? {
            LimitKey::Time => running.map(|run| now_us.saturating_sub(run.started_us) / 1000),
            LimitKey::Pids => Some(inside.usage.threads),
            LimitKey::Files => {
                let open = inside.processes.iter().map(|process| process.descriptors);
                open.max().flatten()
            }
            LimitKey::Memory => running.and_then(Running::group_memory),
            LimitKey::Tmp => running.and_then(Running::tmp),
            _ => None,
        }
    };
    let limit = |(limit, value): (String, Option<u64>)| Limit {
        used: used(&limit),
        limit,
        value,
    };
    set.into_iter().map(limit).collect()
}
