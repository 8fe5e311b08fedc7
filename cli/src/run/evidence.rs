//! What is recorded of a run, and where. The log is written by this process alone, outside the sandbox.
//!
//! Before the command starts: that it does, with all that it was granted and what the policy said of each.
//! After it has ended: what was refused it, and how it ended. What the policy does not let start is
//! recorded too, and is on the disk before the program says so; so is a profile that asks for what cannot be
//! granted at all, by its end alone.

use std::path::{Path, PathBuf};

use aegis_audit::event::{Event, EventType};
use aegis_audit::log::{Log, Receipt};
use aegis_audit::places::State;
use aegis_policy::model::OnAuditFailure;
use aegis_policy::{Context, Decision, Hash, Policy, Request, Verdict, What, decide};
use aegis_runtime::Error;
use aegis_runtime::plan::Plan;
use aegis_runtime::supervise::denials::Denial;
use aegis_runtime::supervise::report::{Recorded, Report};
use serde::Serialize;

use crate::terminal::{complain, open_log};

/// What `--audit` says for no log at all.
const NONE: &str = "none";

/// The record of one run. Nothing is opened before there is something to record: the sandbox's PID 1, which
/// is cloned before, has neither the log nor the key in its memory.
pub(super) struct Evidence<'p> {
    place: Place,
    run: String,
    policy: &'p Policy,
    /// Whether a run goes on unrecorded.
    goes_on: bool,
    recorded: Recorded,
}

/// Where to record.
enum Place {
    Nowhere,
    At { dir: PathBuf, keys: PathBuf },
    Open(Box<Log>),
}

/// What `run.start` tells beside the decision, which is in the `tool.exec` that follows.
#[derive(Serialize)]
struct Start<'a> {
    aegis: &'static str,
    argv: Vec<String>,
    degraded: &'a [aegis_runtime::plan::Degradation],
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "<[i32]>::is_empty")]
    keep_fds: &'a [i32],
    pid: u32,
    policy: String,
    profile: &'a str,
    profile_hash: Hash,
    uid: u32,
}

/// What `run.end` tells.
#[derive(Serialize)]
struct End<'a> {
    cause: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    exit_status: u8,
    limits_met: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rss_kib: Option<u64>,
    plan_hash: &'a str,
    planted: &'a [String],
    refused: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_us: Option<u64>,
}

/// What is told of a refusal at run time.
#[derive(Serialize)]
struct Refused<'a> {
    outcome: &'static str,
    #[serde(flatten)]
    denial: &'a Denial,
}

/// What is told of a profile that asks for what cannot be granted, whatever the policy says: there is no
/// plan that a policy could be asked about.
#[derive(Serialize)]
struct NoPlan<'a> {
    /// `None`: it was refused before that was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a Context>,
    error: &'a str,
    file: Option<&'a str>,
    outcome: &'static str,
}

impl<'p> Evidence<'p> {
    /// In the log that `place` names, else the default one.
    pub fn of(
        place: Option<&Path>,
        state: Option<&State>,
        policy: &'p Policy,
        run: &str,
    ) -> Result<Self, String> {
        let mut evidence = Self {
            place: Place::Nowhere,
            run: run.to_owned(),
            policy,
            goes_on: policy.on_audit_failure() == OnAuditFailure::Continue,
            recorded: Recorded::default(),
        };
        if place == Some(Path::new(NONE)) {
            let why = "--audit none: the run is not recorded";
            return match evidence.goes_on {
                true => {
                    evidence.recorded.unrecorded = Some(why.to_owned());
                    Ok(evidence)
                }
                false => Err(format!(
                    "{why}, which the policy {} does not permit\n  help: name a directory, or write `audit-failure: continue` in the policy",
                    policy.name()
                )),
            };
        }
        match state {
            Some(state) => {
                evidence.place = Place::At {
                    dir: place.unwrap_or(&state.audit).to_owned(),
                    keys: state.keys.clone(),
                };
            }
            None => evidence.failed("there is no home directory to keep the keys of the log in")?,
        }
        Ok(evidence)
    }

    /// Opens the log, unless that has been done; with a copy of the policy beside it.
    fn open(&mut self) -> Result<(), String> {
        let Place::At { dir, keys } = &self.place else {
            return Ok(());
        };
        let opened = open_log("aegis-run", dir, keys).map_err(|error| error.to_string());
        let opened = opened.and_then(|log| {
            (log.keep_policy(self.policy)).map_err(|error| error.to_string())?;
            Ok(log)
        });
        match opened {
            Ok(log) => {
                self.recorded.log = Some(log.dir().to_string_lossy().into_owned());
                self.place = Place::Open(Box::new(log));
                Ok(())
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Where the run is recorded, for its report.
    pub fn recorded(&self) -> Recorded {
        self.recorded.clone()
    }

    /// Records events of one moment, together.
    pub fn record(&mut self, events: &[Event]) -> Result<(), String> {
        self.write(|log| log.append(events))
    }

    /// The same for the last events of a run, signed.
    fn record_and_sign(&mut self, events: &[Event]) -> Result<(), String> {
        self.write(|log| log.append_and_sign(events))
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut Log) -> Result<Receipt, aegis_audit::log::Error>,
    ) -> Result<(), String> {
        self.open()?;
        let Place::Open(log) = &mut self.place else {
            return Ok(());
        };
        match write(log) {
            Ok(receipt) => {
                let first = receipt.seqs.first().copied();
                self.recorded.first = self.recorded.first.or(first);
                self.recorded.last = receipt.seqs.last().copied().or(self.recorded.last);
                Ok(())
            }
            // That it is too long is no failure of the disk, and the profile's doing: it is never excused.
            Err(error @ aegis_audit::log::Error::BadEvent(_)) => {
                Err(format!("the run cannot be recorded: {error}"))
            }
            Err(error) => self.failed(&error.to_string()),
        }
    }

    /// The log cannot be written: the end of it, or of the record.
    fn failed(&mut self, error: &str) -> Result<(), String> {
        self.place = Place::Nowhere;
        if !self.goes_on {
            return Err(format!("the run cannot be recorded: {error}"));
        }
        let why = format!("the run is not recorded from here on, as the policy permits: {error}");
        complain(&format!("aegis-run: warning: {why}\n"));
        self.recorded.unrecorded = Some(why);
        Ok(())
    }

    fn event(&self, kind: EventType) -> Event {
        Event::new(kind, &self.run, self.policy.hash())
    }

    /// The events of the start of a run, or of what was not let start.
    pub fn start(
        &self,
        plan: &Plan,
        file: Option<&str>,
        request: &Request,
        decision: &Decision,
    ) -> Vec<Event> {
        let context = &request.context;
        let start = Start {
            aegis: env!("CARGO_PKG_VERSION"),
            argv: text(plan.argv.iter().map(|word| word.to_string_lossy())),
            degraded: &plan.degraded,
            file,
            keep_fds: &plan.keep_fds,
            pid: std::process::id(),
            policy: self.policy.name(),
            profile: &context.profile,
            profile_hash: context.profile_hash,
            uid: context.uid,
        };
        let mut events = vec![
            self.event(EventType::RunStart).detailed(&start),
            self.event(EventType::ToolExec)
                .decided(request.clone(), decision.clone()),
        ];
        for grant in &plan.grants {
            let said = grant.decision.as_ref();
            if said.is_some_and(|said| said.verdict > Verdict::Allow) {
                let hash = grant.what.hash();
                let approvals = request.approvals.iter();
                let request = Request {
                    approvals: approvals.filter(|a| a.what == hash).cloned().collect(),
                    context: context.clone(),
                    what: grant.what.clone(),
                };
                let decision = decide(self.policy, &request);
                events.push(
                    self.event(EventType::PolicyViolation)
                        .decided(request, decision)
                        .detailed(&serde_json::json!({"from": grant.from})),
                );
            }
        }
        events
    }

    /// Records the end of a run that has been started, and signs.
    pub fn end(
        &mut self,
        result: &Result<Report, Error>,
        hash: &str,
        context: &Context,
    ) -> Result<(), String> {
        let mut events = Vec::new();
        let end = match result {
            Ok(report) => {
                events.extend(report.denials.iter().map(|d| self.refused(d, context)));
                End {
                    cause: report.cause.name(),
                    error: None,
                    exit_status: report.exit_status,
                    limits_met: &report.limits_met,
                    max_rss_kib: Some(report.resources.max_rss_kib),
                    plan_hash: hash,
                    planted: &report.planted,
                    refused: report.denials.len(),
                    wall_us: Some(report.resources.wall_us),
                }
            }
            Err(error) => End {
                cause: "failed",
                error: Some(error.to_string()),
                exit_status: error.exit_status(),
                limits_met: &[],
                max_rss_kib: None,
                plan_hash: hash,
                planted: &[],
                refused: 0,
                wall_us: None,
            },
        };
        events.push(self.event(EventType::RunEnd).detailed(&end));
        self.record_and_sign(&events)
    }

    /// Records the end of what the policy did not let start, and signs.
    pub fn not_started(&mut self, events: Vec<Event>) -> Result<(), String> {
        self.ends_early(events, "policy", None, super::FAILED)
    }

    /// Records that the profile asked for what cannot be granted or enforced, and signs. Other errors, such
    /// as a command that is not there, are no refusals.
    pub fn no_plan(
        &mut self,
        error: &Error,
        file: Option<&str>,
        context: Option<&Context>,
    ) -> Result<(), String> {
        if !matches!(
            error,
            Error::Descriptor(_)
                | Error::Grant { .. }
                | Error::OwnPlace { .. }
                | Error::TooMuch { .. }
                | Error::Unenforceable { .. }
        ) {
            return Ok(());
        }
        let (error, status) = (error.to_string(), error.exit_status());
        let event = self.event(EventType::PolicyViolation).detailed(&NoPlan {
            context,
            error: &error,
            file,
            outcome: "refused",
        });
        self.ends_early(vec![event], "refused", Some(error), status)?;
        let Place::Open(log) = &mut self.place else {
            return Ok(());
        };
        match log.sync() {
            Ok(()) => Ok(()),
            Err(error) => self.failed(&error.to_string()),
        }
    }

    /// Records the end of what was not started, and signs.
    fn ends_early(
        &mut self,
        mut events: Vec<Event>,
        cause: &str,
        error: Option<String>,
        exit_status: u8,
    ) -> Result<(), String> {
        events.push(self.event(EventType::RunEnd).detailed(&End {
            cause,
            error,
            exit_status,
            limits_met: &[],
            max_rss_kib: None,
            plan_hash: "",
            planted: &[],
            refused: 0,
            wall_us: None,
        }));
        self.record_and_sign(&events)
    }

    /// A refusal at run time, with what the policy would say of it.
    fn refused(&self, denial: &Denial, context: &Context) -> Event {
        let kind = match &denial.asked {
            Some(What::Read { .. } | What::Write { .. }) => EventType::FileAccess,
            Some(What::Exec { .. }) => EventType::ToolExec,
            Some(What::NetHost {} | What::Net(_)) => EventType::NetReq,
            _ => EventType::PolicyViolation,
        };
        let event = self.event(kind).detailed(&Refused {
            outcome: "refused",
            denial,
        });
        match &denial.asked {
            None => event,
            Some(what) => {
                let request = Request {
                    approvals: Vec::new(),
                    context: context.clone(),
                    what: what.clone(),
                };
                let decision = decide(self.policy, &request);
                event.decided(request, decision)
            }
        }
    }
}

/// Directories that the command must not reach: the log's, and those of keys and approvals.
pub(super) fn places(log: Option<&Path>, state: Option<&State>) -> Vec<PathBuf> {
    let log = log.filter(|log| *log != Path::new(NONE));
    let own = |state: &State| [state.audit.clone(), state.dir.clone(), state.keys.clone()];
    let state = state.map(own).into_iter().flatten();
    log.map(Path::to_path_buf)
        .into_iter()
        .chain(state)
        .collect()
}

fn text<S: Into<String>>(words: impl Iterator<Item = S>) -> Vec<String> {
    words.map(Into::into).collect()
}
