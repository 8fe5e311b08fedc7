//! What is recorded: events of a run, each with the decision about it.
//!
//! A record is one line of the audit log ([`crate::log`]). Its time and its place in the log are no part
//! of the request, and so of nothing that is hashed for a decision.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use aegis_policy::decision::Decision;
use aegis_policy::request::Request;
use aegis_profile::hash::Hash;

/// The version of the format of records: `v`.
pub const VERSION: u32 = 1;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// Something that the learnt or declared behaviour does not have.
    #[serde(rename = "anomaly")]
    Anomaly,
    /// A person's answer to `review`, or the end of one.
    #[serde(rename = "approval")]
    Approval,
    /// The log up to here, signed.
    #[serde(rename = "checkpoint")]
    Checkpoint,
    /// A file was opened, or its opening refused.
    #[serde(rename = "file.access")]
    FileAccess,
    /// A torn line was found at the end of the log, and set aside.
    #[serde(rename = "log.recovered")]
    LogRecovered,
    /// A destination was asked for.
    #[serde(rename = "net.req")]
    NetReq,
    /// What the policy warns of, wants reviewed or blocks was asked for, or what cannot be granted at all.
    #[serde(rename = "policy.violation")]
    PolicyViolation,
    /// A run has ended.
    #[serde(rename = "run.end")]
    RunEnd,
    /// A run begins.
    #[serde(rename = "run.start")]
    RunStart,
    /// A secret was put into what left, or that was refused.
    #[serde(rename = "secret.use")]
    SecretUse,
    /// A command under a profile, with all that it asks for; or a program that it tried to execute.
    #[serde(rename = "tool.exec")]
    ToolExec,
}

/// One line of the log, less its own hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What the policy said, of what `request` has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// What else there is to say; its form belongs to the type, see `schemas/events.schema.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
    /// The hash of the policy in force; of none, zeros.
    pub policy: Hash,
    /// The hash of the record before; of the first, zeros.
    pub prev: Hash,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// The correlation id: of the run, or of the command that wrote it.
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

/// What is to be recorded: a [`Record`] before it has its place and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventType,
    /// Of the run, or of the command that writes it.
    pub run: String,
    /// The hash of the policy in force.
    pub policy: Hash,
    /// What was asked for.
    pub request: Option<Request>,
    /// What the policy said of that.
    pub decision: Option<Decision>,
    /// What else there is to say.
    pub detail: Option<Value>,
}

impl Event {
    /// An event without a decision.
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

    /// With what was asked for and what was said of it.
    pub fn decided(mut self, request: Request, decision: Decision) -> Self {
        self.request = Some(request);
        self.decision = Some(decision);
        self
    }

    /// With what else there is to say: plain data, without fractions and without numbers above 2^53.
    pub fn detailed(mut self, detail: &impl Serialize) -> Self {
        self.detail = serde_json::to_value(detail).ok();
        self
    }

    /// Whether the run waits until it is on the disk: approvals, secrets, and all that is refused.
    pub fn waits_for_the_disk(&self) -> bool {
        use aegis_policy::model::Verdict;
        let refused = (self.decision.as_ref()).is_some_and(|d| d.verdict >= Verdict::Review);
        refused || matches!(self.kind, EventType::Approval | EventType::SecretUse)
    }
}
