//! The records of a run. The log is written by this process alone, outside the sandbox.
//!
//! Before the command starts: the start, with everything it was granted and the policy's opinion on each grant.
//! After it has ended: what was denied, and how it ended. A run that the policy refuses is recorded
//! too, and is on the disk before the caller learns of it. A profile that asks for what cannot be granted at
//! all has only a record of its end.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use aegis_audit::event::{self, Cause, Denial, Event, Evidence, NoPlan, RunEnd};
use aegis_audit::log::{self, Log, Receipt};
use aegis_audit::places::State;
use aegis_policy::model::OnAuditFailure;
use aegis_policy::{Context, Hash, Opinion, Policy, Request, What, decide};
use aegis_runtime::supervise::denials;
use aegis_runtime::supervise::report::{self, Recorded, Report};
use aegis_sys::walk;

use crate::broker::Refused;
use crate::{Error, FrontEnd};

/// The value of `--audit` that records nothing.
const NONE: &str = "none";

/// Records one run. Nothing is opened before there is something to record: the sandbox's PID 1, which
/// is cloned earlier, has neither the log nor the key in its memory.
pub(crate) struct Recorder<'a> {
    pub front_end: &'a mut dyn FrontEnd,
    destination: Destination,
    run: String,
    policy: Rc<Policy>,
    /// Where the run is recorded, for the report.
    pub recorded: Recorded,
    log_is_locked: fn(&Path),
}

/// Where to record.
enum Destination {
    Nowhere,
    At { dir: PathBuf, keys: PathBuf },
    Open(Box<Log>),
}

impl<'a> Recorder<'a> {
    /// A recorder that records nothing.
    pub fn nowhere(policy: &Rc<Policy>, run: &str, front_end: &'a mut dyn FrontEnd) -> Self {
        Self {
            front_end,
            destination: Destination::Nowhere,
            run: run.to_owned(),
            policy: policy.clone(),
            recorded: Recorded::default(),
            log_is_locked: |_| (),
        }
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The policy that decides about it.
    pub fn policy(&self) -> &Rc<Policy> {
        &self.policy
    }

    /// Chooses the log: the one of the launch, else the default.
    pub fn name_log(
        &mut self,
        place: Option<&Path>,
        log_is_locked: Option<fn(&Path)>,
        state: Option<&State>,
    ) -> Result<(), Error> {
        self.log_is_locked = log_is_locked.unwrap_or(self.log_is_locked);
        if place == Some(Path::new(NONE)) {
            let why = "--audit none: the run is not recorded";
            return match self.policy.documents().on_audit_failure() {
                OnAuditFailure::Continue => {
                    self.recorded.unrecorded = Some(why.to_owned());
                    Ok(())
                }
                _ => Err(Error::Unrecorded(format!(
                    "{why}, which the policy {} does not permit\n  help: name a directory, or write `audit-failure: continue` in the policy",
                    self.policy.name()
                ))),
            };
        }
        if let Some(place) = place
            && let Err(error) = walk::directory(place, true)
        {
            return self.failed(&format!("{}: {error}", place.display()));
        }
        match state {
            Some(state) => {
                self.destination = Destination::At {
                    dir: place.unwrap_or(&state.audit).to_owned(),
                    keys: state.keys.clone(),
                };
                Ok(())
            }
            None => self.failed("there is no home directory to keep the keys of the log in"),
        }
    }

    /// Opens the log, unless it is open, and archives the policy beside it.
    fn open(&mut self) -> Result<(), Error> {
        let Destination::At { dir, keys } = &self.destination else {
            return Ok(());
        };
        let options = log::Options {
            waiting: self.log_is_locked,
            ..log::Options::default()
        };
        let opened = Log::open_with(dir, keys, options).map_err(|error| error.to_string());
        let opened = opened.and_then(|log| {
            if let Some(keys) = log.new_key() {
                self.front_end.event(&crate::Event::NewKey(keys.to_owned()));
            }
            (log.archive_policy(&self.policy)).map_err(|error| error.to_string())?;
            Ok(log)
        });
        match opened {
            Ok(log) => {
                self.recorded.log = Some(log.dir().to_string_lossy().into_owned());
                self.destination = Destination::Open(Box::new(log));
                Ok(())
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Records events at the same time, together.
    pub fn record(&mut self, events: &[Event]) -> Result<(), Error> {
        self.write(|log| log.append(events))
    }

    /// Records events before there is a sandbox, and lets go of the log and its key again: PID 1 is to have neither.
    pub fn record_early(&mut self, events: &[Event]) -> Result<(), Error> {
        let closed = match &self.destination {
            Destination::At { dir, keys } => Some((dir.clone(), keys.clone())),
            _ => None,
        };
        self.record(events)?;
        if let (Some((dir, keys)), Destination::Open(_)) = (closed, &self.destination) {
            self.destination = Destination::At { dir, keys };
        }
        Ok(())
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut Log) -> Result<Receipt, log::Error>,
    ) -> Result<(), Error> {
        self.open()?;
        let Destination::Open(log) = &mut self.destination else {
            return Ok(());
        };
        let written = write(log);
        if let Some(missing) = log.take_missing() {
            let warning = missing.warning(log.dir());
            self.front_end.event(&crate::Event::LogMissing(warning));
        }
        match written {
            Ok(receipt) => {
                let first = receipt.seqs.first().copied();
                self.recorded.first = self.recorded.first.or(first);
                self.recorded.last = receipt.seqs.last().copied().or(self.recorded.last);
                Ok(())
            }
            // Too long an event is the profile's doing, not a failure of the disk: it is never excused.
            Err(error @ log::Error::BadEvent(_)) => Err(Error::Unrecorded(format!(
                "the run cannot be recorded: {error}"
            ))),
            Err(error) => self.failed(&error.to_string()),
        }
    }

    /// The log cannot be written: the run ends, or only its recording, as the policy says.
    fn failed(&mut self, error: &str) -> Result<(), Error> {
        self.destination = Destination::Nowhere;
        if self.policy.documents().on_audit_failure() != OnAuditFailure::Continue {
            let why = format!("the run cannot be recorded: {error}");
            self.recorded.unrecorded = Some(why.clone());
            return Err(Error::Unrecorded(why));
        }
        let why = format!("the run is not recorded from here on, as the policy permits: {error}");
        (self.front_end).event(&crate::Event::Unrecorded(why.clone()));
        self.recorded.unrecorded = Some(why);
        Ok(())
    }

    /// Records the end of a run that was started, and signs.
    pub fn end(
        &mut self,
        result: &Result<&Report, &aegis_runtime::Error>,
        plan_hash: Option<Hash>,
        context: &Context,
    ) -> Result<(), Error> {
        let mut events = Vec::new();
        let end = match result {
            Ok(report) => {
                // What the broker refuses is recorded when it does.
                let denials = report.denials.iter();
                let denials = denials.filter(|denial| denial.evidence != Evidence::Broker);
                events.extend(denials.map(|denial| self.denied(denial, context)));
                RunEnd {
                    cause: cause(report.cause),
                    error: None,
                    exit_status: report.exit_status,
                    limits_met: text(report.limits_met.iter().copied()),
                    max_rss_kib: Some(report.resources.max_rss_kib),
                    plan_hash,
                    planted: report.planted.clone(),
                    denials: report.denials.len() as u64,
                    traffic: report.traffic.clone(),
                    wall_us: Some(report.resources.wall_us),
                }
            }
            Err(error) => RunEnd {
                plan_hash,
                ..RunEnd::not_started(Cause::Failed, Some(error.to_string()), error.exit_status())
            },
        };
        events.push(Event::run_end(&self.run, self.policy.hash(), end));
        self.write(|log| log.append_and_sign(&events))
    }

    /// Records that the profile asked for what cannot be granted or enforced, and signs. Other errors, such
    /// as a missing command, are not refusals.
    pub fn no_plan(
        &mut self,
        error: &aegis_runtime::Error,
        file: Option<&str>,
        context: Option<&Context>,
    ) -> Result<(), Error> {
        use aegis_runtime::Error as E;
        if !matches!(
            error,
            E::Descriptor(_)
                | E::Grant { .. }
                | E::OwnPlace { .. }
                | E::TooMuch { .. }
                | E::Unenforceable { .. }
        ) {
            return Ok(());
        }
        let (error, status) = (error.to_string(), error.exit_status());
        let no_plan = NoPlan {
            context: context.cloned(),
            error: error.clone(),
            file: file.map(str::to_owned),
            outcome: event::Refused::Refused,
        };
        let event = Event::no_plan(&self.run, self.policy.hash(), no_plan);
        self.ends_early(vec![event], Cause::Refused, Some(error), status)
    }

    /// Records a run that was not started, with its end, and signs.
    pub fn ends_early(
        &mut self,
        mut events: Vec<Event>,
        cause: Cause,
        error: Option<String>,
        exit_status: u8,
    ) -> Result<(), Error> {
        let end = RunEnd::not_started(cause, error, exit_status);
        events.push(Event::run_end(&self.run, self.policy.hash(), end));
        self.write(|log| log.append_and_sign(&events))
    }

    /// What the policy would say if this were declared.
    pub fn opinion(&self, what: What, context: &Context) -> Opinion {
        let request = Request {
            approvals: Vec::new(),
            context: context.clone(),
            what,
        };
        decide(&self.policy, &request).into()
    }

    /// A denial at run time, with what the policy would decide about it.
    fn denied(&self, denial: &denials::Denial, context: &Context) -> Event {
        Event::denied(&self.run, &self.policy, context, detail(denial))
    }

    /// What the broker of the run has refused, as often as it was since it was last recorded.
    pub fn refused(&self, refused: &Refused, context: &Context) -> Event {
        let denial = Denial {
            times: refused.times,
            ..detail(&refused.denial)
        };
        match refused.decided.clone() {
            Some((request, decision)) => Event::refused(&self.run, request, decision, denial),
            None => Event::denied(&self.run, &self.policy, context, denial),
        }
    }
}

fn detail(denial: &denials::Denial) -> Denial {
    Denial {
        allow: denial.allow.clone(),
        asked: denial.asked.clone(),
        evidence: denial.evidence,
        layer: denial.layer.into(),
        outcome: event::Refused::Refused,
        times: denial.times,
        what: denial.what.clone(),
    }
}

fn cause(cause: report::Cause) -> Cause {
    match cause {
        report::Cause::Exited { .. } => Cause::Exited,
        report::Cause::Killed { .. } => Cause::Killed,
        report::Cause::TimeLimit => Cause::TimeLimit,
        report::Cause::MemoryLimit => Cause::MemoryLimit,
        report::Cause::OutputLimit => Cause::OutputLimit,
        report::Cause::FileSizeLimit => Cause::FileSizeLimit,
        report::Cause::OutputLost => Cause::OutputLost,
        report::Cause::Anomaly => Cause::Anomaly,
    }
}

/// The directories that the command must not reach: the log's, and those of keys and approvals.
pub(crate) fn places(log: Option<&Path>, state: Option<&State>) -> Vec<PathBuf> {
    let log = log.filter(|log| *log != Path::new(NONE));
    let own = |state: &State| [state.audit.clone(), state.dir.clone(), state.keys.clone()];
    let state = state.map(own).into_iter().flatten();
    log.map(Path::to_path_buf)
        .into_iter()
        .chain(state)
        .collect()
}

pub(crate) fn text<S: Into<String>>(words: impl Iterator<Item = S>) -> Vec<String> {
    words.map(Into::into).collect()
}
