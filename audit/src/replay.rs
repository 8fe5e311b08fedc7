//! Deciding again what a log says was decided.
//!
//! A record that has a decision has the request as well, with every fact that the decision depends on. So
//! [`Replayer::again`] is a pure function of the record and of the policy whose hash the decision names: it
//! must come to the same decision, to the byte. [`under`] asks another policy instead, and says
//! what that one would change; so a change of policy is reviewed against what has really been asked for.
//!
//! Not for the log itself: whether it is intact and complete is the answer of [`crate::log`]. A decision that
//! somebody with the log's key has rewritten is found here and only here.

mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::EventType;
use aegis_policy::decide::{Policy, decide};
use aegis_policy::decision::{Decision, Opinion};
use aegis_policy::model::Verdict;
use aegis_policy::request::{Request, What};
use aegis_profile::hash::Hash;

/// A record as far as it takes part in a replay, borrowed from its line.
#[derive(Clone, Debug, Deserialize)]
pub struct Recorded<'l> {
    /// What was decided.
    #[serde(borrow, default)]
    pub decision: Option<&'l RawValue>,
    /// The policy in force.
    pub policy: Hash,
    /// What was asked for.
    #[serde(borrow, default)]
    pub request: Option<&'l RawValue>,
    /// The run.
    #[serde(borrow)]
    pub run: Cow<'l, str>,
    /// The place in the log.
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
}

/// A policy that was found by its hash.
#[derive(Clone, Debug)]
pub enum Found {
    /// This one: it has the hash.
    Same(Arc<Policy>),
    /// Its documents, compiled by an engine that is not the one that decided; its name and version.
    OtherEngine(Arc<Policy>, String),
    /// None, and why.
    No(String),
}

/// Why a record cannot be decided again, in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(transparent)]
#[error("{0}")]
pub struct Undecidable(String);

/// Something that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Now.
    pub now: String,
    /// As recorded.
    pub then: String,
    /// Of what.
    pub what: &'static str,
}

/// What came of deciding a record again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the fields say what the variants do")]
pub enum Outcome {
    /// Nothing was decided in it.
    #[serde(rename = "none")]
    NoDecision,
    /// The same.
    Same,
    /// Something else.
    Differs { differences: Vec<Difference> },
    /// It cannot be said.
    Undecidable { why: Undecidable },
}

/// What another policy would say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was asked for: the request, or one grant of it.
    pub what: What,
    /// What was said.
    pub then: Opinion,
    /// What would be said.
    pub now: Opinion,
    /// Whether it is one grant of several that a run asked for.
    pub is_part: bool,
}

/// Decides again. `find` gives policies by their hash and is asked once for each.
pub struct Replayer<F> {
    find: F,
    found: BTreeMap<Hash, Found>,
    /// Whether decisions of other engines are decided again, and compared but for the policy's hash.
    force: bool,
    buffer: Vec<u8>,
}

impl<F: FnMut(Hash) -> Found> Replayer<F> {
    /// With a source of policies; with `force` what other engines have decided is decided again, too.
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

    /// Decides a record again under the policy that it names.
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
        let mut now = decide(&policy, &read_request(request)?);
        if !same_engine {
            now.policy = named;
        }
        let mut differences = Vec::new();
        // The canonical form is what was recorded: mostly this is all there is to compare.
        self.buffer.clear();
        let written = serde_json::to_writer(&mut self.buffer, &now);
        if written.is_err() || self.buffer != decision.get().as_bytes() {
            compare(&read_decision(decision)?, &now, &mut differences);
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

/// What `policy` would say otherwise than is recorded: of the request, and of each grant of a run. `None`:
/// nothing was decided in the record.
pub fn under(policy: &Policy, record: &Recorded<'_>) -> Result<Option<Vec<Change>>, Undecidable> {
    let Some((request, decision)) = halves(record)? else {
        return Ok(None);
    };
    let request = read_request(request)?;
    let now = decide(policy, &request);
    // Mostly nothing changes, and then the verdicts are all that has to be read.
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

/// A decision, as far as its verdicts go.
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

/// The decision of a record, whole.
pub fn read_decision(decision: &RawValue) -> Result<Decision, Undecidable> {
    serde_json::from_str(decision.get()).map_err(unreadable("decision"))
}

/// The request of a record.
pub fn read_request(request: &RawValue) -> Result<Request, Undecidable> {
    read::request(request.get()).map_err(unreadable("request"))
}

fn unreadable(what: &'static str) -> impl Fn(serde_json::Error) -> Undecidable {
    move |error| Undecidable(format!("its {what} is not read by this version: {error}"))
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
