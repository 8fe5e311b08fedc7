//! What is recorded: events of a run, each with the decision about it.
//!
//! An [`Event`] is passed in to be recorded; a [`Record`] is the same event as a line of the audit log
//! ([`crate::log`]). Time and place in the log are not part of the request, and so never part of what
//! is hashed for a decision.
//!
//! **To add an event**: (1) a variant of [`EventType`], in the order of names; (2) the struct of its
//! detail, here in `event/`, its fields in the order of their names in JSON, and a
//! variant of [`Detail`] with its line in `Detail::read`; (3) a constructor of [`Event`] that takes it;
//! (4) the type and its detail in `schemas/events.schema.json`; (5) its class in [`crate::ocsf`]. The tests in
//! `tests/log_schema.rs` check that all of these agree.

mod anomaly;
mod approval;
mod denial;
mod log;
mod run;
mod secret;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use aegis_policy::decision::Decision;
use aegis_policy::model::Verdict;
use aegis_policy::request::{Context, Request, What};
use aegis_policy::{Policy, decide};
use aegis_profile::Hash;

pub use anomaly::{Anomaly, Reaction};
pub use approval::{Answer, Answered, ApprovalRef, Person, Revoked};
pub use denial::{Denial, Evidence, Grant, NoPlan, Refused};
pub use log::{Checkpoint, LastSigned, Missing, Pruned, PublicKey, Recovered, TornFile};
pub use run::{Cause, Degraded, RunEnd, RunStart};
pub use secret::SecretUse;

/// The version of the format of records: `v`.
pub const VERSION: u32 = 1;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// Something outside the learnt or declared behaviour.
    #[serde(rename = "anomaly")]
    Anomaly,
    /// A person's answer to `review`, or the revocation of an approval.
    #[serde(rename = "approval")]
    Approval,
    /// The log up to here, signed.
    #[serde(rename = "checkpoint")]
    Checkpoint,
    /// A file was opened, or its opening refused.
    #[serde(rename = "file.access")]
    FileAccess,
    /// Records that were signed were found to be missing.
    #[serde(rename = "log.missing")]
    LogMissing,
    /// The oldest records were removed.
    #[serde(rename = "log.pruned")]
    LogPruned,
    /// A torn line was found at the end of the log, and quarantined.
    #[serde(rename = "log.recovered")]
    LogRecovered,
    /// A destination was asked for.
    #[serde(rename = "net.req")]
    NetReq,
    /// The policy warned of, sent to review or blocked something, or something cannot be granted at all.
    #[serde(rename = "policy.violation")]
    PolicyViolation,
    /// A run has ended.
    #[serde(rename = "run.end")]
    RunEnd,
    /// A run begins.
    #[serde(rename = "run.start")]
    RunStart,
    /// A secret was inserted into outgoing data, or that was refused.
    #[serde(rename = "secret.use")]
    SecretUse,
    /// A command under a profile, with everything it asks for; or a program that it tried to execute.
    #[serde(rename = "tool.exec")]
    ToolExec,
}

/// The part of an event beside its request and decision. Each form belongs to one type of event, except
/// [`Denial`], which several have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each is described where it is declared")]
pub enum Detail {
    Anomaly(Anomaly),
    Answered(Box<Answered>),
    Checkpoint(Checkpoint),
    Denial(Denial),
    Grant(Grant),
    Missing(Missing),
    NoPlan(NoPlan),
    Pruned(Pruned),
    Recovered(Recovered),
    RunEnd(RunEnd),
    RunStart(Box<RunStart>),
    Secret(SecretUse),
}

impl Detail {
    /// Reads the detail of an event of that type. `None`: this version does not know its form.
    fn read(kind: EventType, value: &Value) -> Option<Self> {
        use EventType as T;
        match kind {
            T::Anomaly => exact(value).map(Self::Anomaly),
            T::Approval => exact(value).map(Self::Answered),
            T::Checkpoint => exact(value).map(Self::Checkpoint),
            T::FileAccess | T::NetReq | T::ToolExec => exact(value).map(Self::Denial),
            T::LogMissing => exact(value).map(Self::Missing),
            T::LogPruned => exact(value).map(Self::Pruned),
            T::LogRecovered => exact(value).map(Self::Recovered),
            T::PolicyViolation => None
                .or_else(|| exact(value).map(Self::Denial))
                .or_else(|| exact(value).map(Self::Grant))
                .or_else(|| exact(value).map(Self::NoPlan)),
            T::RunEnd => exact(value).map(Self::RunEnd),
            T::RunStart => exact(value).map(Self::RunStart),
            T::SecretUse => None
                .or_else(|| exact(value).map(Self::Denial))
                .or_else(|| exact(value).map(Self::Secret)),
        }
    }
}

/// Reads a value without loss. Serde reads more forms than it writes, and only the written form was signed.
fn exact<T: DeserializeOwned + Serialize>(value: &Value) -> Option<T> {
    let read = T::deserialize(value).ok()?;
    (serde_json::to_value(&read).ok()? == *value).then_some(read)
}

fn is_none(policy: &Hash) -> bool {
    *policy == Hash::default()
}

/// One line of the log, without its own hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The policy's decision on `request`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Further details, as written: see [`Record::detail`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
    /// The hash of the policy in force. Zeros, which are not written: there is none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub policy: Hash,
    /// The hash of the record before; zeros in the first.
    pub prev: Hash,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// The correlation id: of the run, or of the command that wrote the record.
    pub run: String,
    /// The place in the log, from 0, without gaps.
    pub seq: u64,
    /// RFC 3339, UTC, with microseconds.
    pub time: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// [`VERSION`].
    pub v: u32,
}

impl Record {
    /// The detail. `None`: the record has none, or this version does not know its form.
    pub fn detail(&self) -> Option<Detail> {
        Detail::read(self.kind, self.detail.as_ref()?)
    }
}

/// An event to be recorded: a [`Record`] without its number and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventType,
    /// The correlation id: of the run, or of the command that writes it.
    pub run: String,
    /// The hash of the policy in force.
    pub policy: Hash,
    /// What was asked for.
    pub request: Option<Request>,
    /// The policy's decision on the request.
    pub decision: Option<Decision>,
    /// Further details.
    pub detail: Option<Detail>,
}

impl Event {
    /// An event without decision and detail.
    pub fn new(kind: EventType, run: &str, policy: Hash) -> Self {
        Self {
            kind,
            run: run.to_owned(),
            policy,
            request: None,
            decision: None,
            detail: None,
        }
    }

    /// Adds what was asked for and the decision on it.
    pub fn decided(mut self, request: Request, decision: Decision) -> Self {
        self.request = Some(request);
        self.decision = Some(decision);
        self
    }

    fn detailed(mut self, detail: Detail) -> Self {
        self.detail = Some(detail);
        self
    }

    /// A run begins.
    pub fn run_start(run: &str, policy: Hash, start: RunStart) -> Self {
        Self::new(EventType::RunStart, run, policy).detailed(Detail::RunStart(Box::new(start)))
    }

    /// A run has ended, or was not permitted to start.
    pub fn run_end(run: &str, policy: Hash, end: RunEnd) -> Self {
        Self::new(EventType::RunEnd, run, policy).detailed(Detail::RunEnd(end))
    }

    /// A command under a profile was asked for.
    pub fn tool_exec(run: &str, request: Request, decision: Decision) -> Self {
        Self::new(EventType::ToolExec, run, decision.policy).decided(request, decision)
    }

    /// A grant was requested that the policy warns of, wants reviewed or blocks.
    pub fn violation(run: &str, request: Request, decision: Decision, grant: Grant) -> Self {
        Self::new(EventType::PolicyViolation, run, decision.policy)
            .decided(request, decision)
            .detailed(Detail::Grant(grant))
    }

    /// A profile asks for what cannot be granted or enforced.
    pub fn no_plan(run: &str, policy: Hash, no_plan: NoPlan) -> Self {
        Self::new(EventType::PolicyViolation, run, policy).detailed(Detail::NoPlan(no_plan))
    }

    /// The sandbox denied something at run time; with what the policy would have decided on it.
    pub fn denied(run: &str, policy: &Policy, context: &Context, denial: Denial) -> Self {
        let kind = match &denial.asked {
            Some(What::Read { .. } | What::Write { .. }) => EventType::FileAccess,
            Some(What::Exec { .. }) => EventType::ToolExec,
            Some(What::NetHost {} | What::Net(_)) => EventType::NetReq,
            _ => EventType::PolicyViolation,
        };
        let event = Self::new(kind, run, policy.hash());
        let event = match denial.asked.clone() {
            None => event,
            Some(what) => {
                let request = Request {
                    approvals: Vec::new(),
                    context: context.clone(),
                    what,
                };
                let decision = decide(policy, &request);
                event.decided(request, decision)
            }
        };
        event.detailed(Detail::Denial(denial))
    }

    /// A connection or a request was asked for, and decided. `denial`: it was refused.
    pub fn net_request(run: &str, request: Request, decision: Decision) -> Self {
        Self::new(EventType::NetReq, run, decision.policy).decided(request, decision)
    }

    /// The policy refused what was about to leave: a connection, a request, or a secret in one.
    pub fn refused(run: &str, request: Request, decision: Decision, denial: Denial) -> Self {
        let kind = match request.what {
            What::Secret { .. } => EventType::SecretUse,
            _ => EventType::NetReq,
        };
        Self::new(kind, run, decision.policy)
            .decided(request, decision)
            .detailed(Detail::Denial(denial))
    }

    /// The policy was asked whether a secret may be put into what leaves.
    pub fn secret_use(run: &str, request: Request, decision: Decision, version: String) -> Self {
        Self::new(EventType::SecretUse, run, decision.policy)
            .decided(request, decision)
            .detailed(Detail::Secret(SecretUse { version }))
    }

    /// An observed command did something out of the ordinary.
    pub fn anomaly(run: &str, request: Request, decision: Decision, anomaly: Anomaly) -> Self {
        Self::new(EventType::Anomaly, run, decision.policy)
            .decided(request, decision)
            .detailed(Detail::Anomaly(anomaly))
    }

    /// A person has answered, or taken an approval back.
    pub fn approval(run: &str, policy: Hash, answered: Answered) -> Self {
        Self::new(EventType::Approval, run, policy).detailed(Detail::Answered(Box::new(answered)))
    }

    /// The log is signed up to here. It belongs to no run.
    pub(crate) fn checkpoint(checkpoint: Checkpoint) -> Self {
        Self::new(EventType::Checkpoint, "log", Hash::default())
            .detailed(Detail::Checkpoint(checkpoint))
    }

    /// A torn end was quarantined. It belongs to no run.
    pub(crate) fn recovered(recovered: Recovered) -> Self {
        Self::new(EventType::LogRecovered, "log", Hash::default())
            .detailed(Detail::Recovered(recovered))
    }

    /// The oldest records are to be removed. It belongs to no run.
    pub(crate) fn pruned(pruned: Pruned) -> Self {
        Self::new(EventType::LogPruned, "log", Hash::default()).detailed(Detail::Pruned(pruned))
    }

    /// What was signed is not there any more. It belongs to no run.
    pub(crate) fn missing(missing: Missing) -> Self {
        Self::new(EventType::LogMissing, "log", Hash::default()).detailed(Detail::Missing(missing))
    }

    /// Whether the run waits until the record is on the disk: approvals, secrets, and everything not let through.
    pub fn waits_for_the_disk(&self) -> bool {
        let refused = (self.decision.as_ref()).is_some_and(|d| d.verdict >= Verdict::Review)
            || matches!(self.detail, Some(Detail::NoPlan(_)));
        refused || matches!(self.kind, EventType::Approval | EventType::SecretUse)
    }
}
