//! Repeating the decisions recorded in a log.
//!
//! A record with a decision has the request as well, with every fact that the decision depends on. So
//! [`Replayer::again`] is a pure function of the record and of the policy whose hash the decision names: it
//! must come to the same decision, to the byte. [`under`] asks another policy instead, and says
//! what that one would change; so a change of policy can be reviewed against real requests.
//!
//! This does not verify the log: [`crate::log`] says whether it is intact and complete. A decision that
//! was rewritten by somebody with the log's key is found only here.

mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{Anomaly, Answer, EventType};
use aegis_policy::decide::{Policy, decide};
use aegis_policy::decision::{Decision, Opinion};
use aegis_policy::model::Verdict;
use aegis_policy::request::{Request, What};
use aegis_profile::hash::Hash;

/// The fields of a record that a replay needs, borrowed from its line.
#[derive(Clone, Debug, Deserialize)]
pub struct Recorded<'l> {
    /// What was decided.
    #[serde(borrow, default)]
    pub decision: Option<&'l RawValue>,
    /// Further details.
    #[serde(borrow, default)]
    pub detail: Option<&'l RawValue>,
    /// The policy in force.
    #[serde(default)]
    pub policy: Hash,
    /// What was asked for.
    #[serde(borrow, default)]
    pub request: Option<&'l RawValue>,
    /// The run.
    #[serde(borrow)]
    pub run: Cow<'l, str>,
    /// The number in the log.
    pub seq: u64,
    /// When it was recorded.
    #[serde(borrow)]
    pub time: Cow<'l, str>,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
}

impl<'l> Recorded<'l> {
    /// Reads a line of a log.
    pub fn parse(line: &'l [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// Whether a record like this always has a request and a decision. That is how one shows that they were taken out.
    fn is_of_a_decision(&self) -> bool {
        /// What tells apart the records of one type.
        #[derive(Default, Deserialize)]
        struct Detail {
            #[serde(default)]
            answer: Option<Answer>,
            #[serde(default)]
            asked: Option<IgnoredAny>,
            #[serde(default)]
            from: Option<IgnoredAny>,
        }
        let detail = || -> Detail {
            let detail = self.detail.map(|detail| serde_json::from_str(detail.get()));
            detail.and_then(Result::ok).unwrap_or_default()
        };
        match self.kind {
            EventType::Anomaly
            | EventType::FileAccess
            | EventType::NetReq
            | EventType::SecretUse
            | EventType::ToolExec => true,
            EventType::Approval => detail().answer != Some(Answer::Revoked),
            EventType::PolicyViolation => {
                let detail = detail();
                detail.from.is_some() || detail.asked.is_some()
            }
            EventType::Checkpoint
            | EventType::LogMissing
            | EventType::LogPruned
            | EventType::LogRecovered
            | EventType::RunEnd
            | EventType::RunStart => false,
        }
    }
}

/// The result of looking for a policy by its hash.
#[derive(Clone, Debug)]
pub enum Found {
    /// The policy with that hash.
    Same(Arc<Policy>),
    /// The same documents, compiled by another engine than the one that decided; its name and version.
    OtherEngine(Arc<Policy>, String),
    /// No policy was found, and why.
    No(String),
}

/// Why a decision cannot be repeated, in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(transparent)]
#[error("{0}")]
pub struct Undecidable(String);

/// Something that differs from the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The value now.
    pub now: String,
    /// The value recorded.
    pub then: String,
    /// What differs.
    pub what: &'static str,
}

/// The result of repeating the decision of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the fields say what the variants do")]
pub enum Outcome {
    /// The record has no decision.
    #[serde(rename = "none")]
    NoDecision,
    /// The same decision.
    Same,
    /// Another decision.
    Differs { differences: Vec<Difference> },
    /// The decision cannot be repeated.
    Undecidable { why: Undecidable },
}

/// A change of opinion under another policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was asked for: the request, or one grant of it.
    pub what: What,
    /// The recorded opinion.
    pub then: Opinion,
    /// The opinion of the other policy.
    pub now: Opinion,
    /// Whether it is one of several grants that a run asked for.
    pub is_part: bool,
}

/// Repeats decisions. `find` gives policies by their hash and is called once for each.
pub struct Replayer<F> {
    find: F,
    found: BTreeMap<Hash, Found>,
    /// Whether decisions of other engines are repeated too, and compared except for the policy's hash.
    force: bool,
    buffer: Vec<u8>,
}

/// Runs that have begun, to find those whose decision was taken out.
#[derive(Default)]
pub struct Undecided(BTreeMap<String, u64>);

impl Undecided {
    /// Takes the next record. Gives the number of the `run.start` of a run that has ended and was never decided. A run
    /// whose records were torn by a crash has no end.
    pub fn next(&mut self, record: &Recorded<'_>) -> Option<u64> {
        match record.kind {
            EventType::RunStart => {
                self.0.insert(record.run.clone().into_owned(), record.seq);
                None
            }
            // With details, it is of a program that was refused at run time.
            EventType::ToolExec if record.detail.is_none() && record.decision.is_some() => {
                self.0.remove(&*record.run);
                None
            }
            EventType::RunEnd => self.0.remove(&*record.run),
            _ => None,
        }
    }
}

impl<F: FnMut(Hash) -> Found> Replayer<F> {
    /// Takes policies from `find`; with `force`, decisions of other engines are repeated too.
    pub fn new(find: F, force: bool) -> Self {
        Self {
            find,
            found: BTreeMap::new(),
            force,
            buffer: Vec::new(),
        }
    }

    /// The policy with a hash.
    pub fn find(&mut self, hash: Hash) -> Found {
        let found = self.found.entry(hash);
        found.or_insert_with(|| (self.find)(hash)).clone()
    }

    /// Repeats the decision of a record under the policy that it names.
    pub fn again(&mut self, record: &Recorded<'_>) -> Outcome {
        match self.try_again(record) {
            Ok(Some(differences)) if differences.is_empty() => Outcome::Same,
            Ok(Some(differences)) => Outcome::Differs { differences },
            Ok(None) => Outcome::NoDecision,
            Err(why) => Outcome::Undecidable { why },
        }
    }

    fn try_again(&mut self, record: &Recorded<'_>) -> Result<Option<Vec<Difference>>, Undecidable> {
        let Some((request, decision)) = halves(record)? else {
            return Ok(None);
        };
        let named = policy_of(decision)?;
        let (policy, same_engine) = match self.find(named) {
            Found::Same(policy) => (policy, true),
            Found::OtherEngine(policy, _) if self.force => (policy, false),
            Found::OtherEngine(_, engine) => {
                return Err(Undecidable(format!(
                    "decided by {engine} under policy {named}: it cannot be decided again by this version"
                )));
            }
            Found::No(why) => {
                return Err(Undecidable(format!("made under policy {named}: {why}")));
            }
        };
        let request = read_request(request)?;
        let mut now = decide(&policy, &request);
        if !same_engine {
            now.policy = named;
        }
        let mut differences = Vec::new();
        // The record has the canonical form: mostly nothing else needs to be compared.
        self.buffer.clear();
        let written = serde_json::to_writer(&mut self.buffer, &now);
        if written.is_err() || self.buffer != decision.get().as_bytes() {
            compare(&read_decision(decision)?, &now, &mut differences);
        }
        if let (What::Anomaly { kind, .. }, Some(detail)) = (&request.what, record.detail) {
            let done: Anomaly = serde_json::from_str(detail.get()).map_err(unreadable("detail"))?;
            let blocked = policy.documents().on_blocked_anomaly();
            if !done.follows(now.verdict, *kind, blocked) {
                differences.push(Difference {
                    now: format!("{}, and blocked anomalies: {blocked}", now.verdict),
                    then: detail.get().to_owned(),
                    what: "what was done",
                });
            }
        }
        if record.policy != named {
            differences.push(Difference {
                now: named.to_string(),
                then: record.policy.to_string(),
                what: "the policy in force, against the one of the decision",
            });
        }
        Ok(Some(differences))
    }
}

/// What `policy` would decide otherwise than recorded: for the request, and for each grant of a run. `None`:
/// the record has no decision.
pub fn under(policy: &Policy, record: &Recorded<'_>) -> Result<Option<Vec<Change>>, Undecidable> {
    let Some((request, decision)) = halves(record)? else {
        return Ok(None);
    };
    let request = read_request(request)?;
    let now = decide(policy, &request);
    // Mostly nothing changes, and then only the verdicts have to be read.
    if let Ok(then) = serde_json::from_str::<Verdicts>(decision.get())
        && then.verdict == now.verdict
        && (then.parts.iter().map(|part| part.verdict)).eq(now.parts.iter().map(|p| p.verdict))
    {
        return Ok(Some(Vec::new()));
    }
    let then = read_decision(decision)?;
    let mut changes = Vec::new();
    let mut note = |what: &What, then: &Opinion, now: &Opinion, is_part| {
        if then.verdict != now.verdict {
            changes.push(Change {
                what: what.clone(),
                then: then.clone(),
                now: now.clone(),
                is_part,
            });
        }
    };
    if let What::Tool { grants, .. } = &request.what {
        for ((grant, then), now) in grants.iter().zip(&then.parts).zip(&now.parts) {
            note(grant, then, now, true);
        }
    }
    note(&request.what, &then.into(), &now.into(), false);
    Ok(Some(changes))
}

/// Only the verdicts of a decision.
#[derive(Deserialize)]
struct Verdicts {
    #[serde(default)]
    parts: Vec<OneVerdict>,
    verdict: Verdict,
}

#[derive(Deserialize)]
struct OneVerdict {
    verdict: Verdict,
}

fn halves<'l>(record: &Recorded<'l>) -> Result<Option<(&'l RawValue, &'l RawValue)>, Undecidable> {
    match (record.request, record.decision) {
        (Some(request), Some(decision)) => Ok(Some((request, decision))),
        (None, None) if record.is_of_a_decision() => Err(Undecidable(
            "its request and decision were taken out: a record like this has them".into(),
        )),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Undecidable("a request without a decision".into())),
        (None, Some(_)) => Err(Undecidable("a decision without a request".into())),
    }
}

fn policy_of(decision: &RawValue) -> Result<Hash, Undecidable> {
    #[derive(Deserialize)]
    struct Named {
        policy: Hash,
    }
    let named: Named = serde_json::from_str(decision.get()).map_err(unreadable("decision"))?;
    Ok(named.policy)
}

/// The whole decision of a record.
pub fn read_decision(decision: &RawValue) -> Result<Decision, Undecidable> {
    serde_json::from_str(decision.get()).map_err(unreadable("decision"))
}

/// The request of a record.
pub fn read_request(request: &RawValue) -> Result<Request, Undecidable> {
    read::request(request.get()).map_err(unreadable("request"))
}

fn unreadable(what: &'static str) -> impl Fn(serde_json::Error) -> Undecidable {
    move |error| Undecidable(format!("this version cannot read its {what}: {error}"))
}

/// Every difference between two decisions, in words.
fn compare(then: &Decision, now: &Decision, out: &mut Vec<Difference>) {
    let mut note = |what, then: &dyn Display, now: &dyn Display| {
        let (then, now) = (then.to_string(), now.to_string());
        if then != now {
            out.push(Difference { now, then, what });
        }
    };
    note("verdict", &then.verdict, &now.verdict);
    note("rules", &then.rules.join(", "), &now.rules.join(", "));
    note("reason", &then.reason, &now.reason);
    note("input hash", &then.input, &now.input);
    note("policy hash", &then.policy, &now.policy);
    note("number of grants", &then.parts.len(), &now.parts.len());
    let said = |o: &Opinion| format!("{} by [{}]: {}", o.verdict, o.rules.join(", "), o.reason);
    for (then, now) in then.parts.iter().zip(&now.parts) {
        note("what was said of a grant", &said(then), &said(now));
    }
    if out.is_empty() && then != now {
        out.push(Difference {
            now: format!("{now:?}"),
            then: format!("{then:?}"),
            what: "decision",
        });
    }
}
