//! Why a policy says what it says of a request, rule by rule, and what would have let it through.
//!
//! There is no second reading of rules here that could come to differ from [`decide`](crate::decide()):
//! how a rule stands to a request is found by asking `decide` about that rule alone, or about one pattern of
//! it. That is slow, some microseconds for each pattern, and meant for people.

mod alone;
mod remedy;

use serde::Serialize;

use crate::decide::{Policy, decide, opinion};
use crate::decision::{Decision, Opinion};
use crate::model::{Document, Verdict};
use crate::request::{Request, What};

/// A decision, explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What is explained.
    pub decision: Decision,
    /// Of each thing that was asked for: of a run each of its grants, and the run itself at the end.
    pub parts: Vec<Part>,
}

/// What was said of one thing, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What each document of the policy says of it: each has to let it through.
    pub documents: Vec<OfDocument>,
    /// What came of it.
    pub opinion: Opinion,
    /// What was asked for.
    pub what: What,
}

/// What one document says of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfDocument {
    /// The document's name.
    pub name: String,
    /// All that would have to be otherwise for it to let this through; empty where it does.
    pub needs: Vec<String>,
    /// What it says.
    pub opinion: Opinion,
    /// Each of its rules that is about such a thing at all, by id.
    pub rules: Vec<RuleNote>,
}

/// How a rule or a pattern stands to a request; see [`crate::decide()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stands {
    /// They have nothing in common.
    Apart,
    /// Some of what is asked for is in it.
    Touches,
    /// All of it is.
    Covers,
}

/// How one rule takes part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleNote {
    /// Its id.
    pub id: String,
    /// In words: how it takes part, or why it does not.
    pub note: String,
    /// Its patterns, the closest first.
    pub patterns: Vec<PatternNote>,
    /// What it says of the request; `None`: it does not speak.
    pub says: Option<Verdict>,
    /// How it stands to the request.
    pub stands: Stands,
    /// Its verdict, as written.
    pub verdict: Verdict,
}

/// How one pattern of a rule stands to a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PatternNote {
    /// As written.
    pub pattern: String,
    /// How it stands.
    pub stands: Stands,
}

impl Stands {
    /// In a sentence, after the name of a rule.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apart => "apart",
            Self::Touches => "touches",
            Self::Covers => "covers",
        }
    }
}

/// Explains what a policy says of a request.
pub fn explain(policy: &Policy, request: &Request) -> Explanation {
    let decision = decide(policy, request);
    let mut parts = Vec::new();
    if let What::Tool { grants, .. } = &request.what {
        for (grant, said) in grants.iter().zip(&decision.parts) {
            parts.push(part(policy, request, grant, said.clone()));
        }
        let own = opinion(policy, request);
        parts.push(part(policy, request, &request.what, own));
    } else {
        let said = opinion(policy, request);
        parts.push(part(policy, request, &request.what, said));
    }
    Explanation { decision, parts }
}

fn part(policy: &Policy, request: &Request, what: &What, opinion: Opinion) -> Part {
    let request = asking(request, what);
    let documents = policy
        .documents()
        .filter_map(|document| of_document(policy, document, &request))
        .collect();
    Part {
        documents,
        opinion,
        what: what.clone(),
    }
}

fn of_document(policy: &Policy, document: &Document, request: &Request) -> Option<OfDocument> {
    let alone = Policy::new(vec![document.clone()]).ok()?;
    let opinion = opinion(&alone, &approved_alike(request, policy, &alone));
    let mut rules = alone::rules(document, request);
    tell(&mut rules);
    let needs = match opinion.verdict.lets_through() {
        true => Vec::new(),
        false => remedy::needs(document, request, &opinion, &rules),
    };
    let rules = rules.into_iter().map(|heard| heard.note).collect();
    Some(OfDocument {
        name: document.name.clone(),
        needs,
        opinion,
        rules,
    })
}

/// The same, where what was approved to all documents was approved to one of them.
fn approved_alike(request: &Request, policy: &Policy, alone: &Policy) -> Request {
    let mut request = request.clone();
    for approval in &mut request.approvals {
        if approval.policy == policy.hash() {
            approval.policy = alone.hash();
        }
    }
    request
}

/// The same, of another thing.
fn asking(request: &Request, what: &What) -> Request {
    Request {
        what: what.clone(),
        ..request.clone()
    }
}

/// Says of each rule how it takes part, now that all are known.
fn tell(rules: &mut [alone::Heard]) {
    let covered = rules
        .iter()
        .find(|rule| !rule.otherwise && rule.note.stands == Stands::Covers && !rule.on_trial)
        .map(|rule| rule.note.id.clone());
    for rule in rules {
        let silenced = match &covered {
            Some(by) if rule.otherwise => Some(by),
            _ => None,
        };
        let verdict = match rule.on_trial {
            true => rule.note.verdict.min(Verdict::Warn),
            false => rule.note.verdict,
        };
        let mode = match rule.on_trial {
            true => {
                "; in mode warn, where it says at worst `warn` and lets nothing through by itself"
            }
            false => "",
        };
        let (says, note) = match (rule.note.stands, silenced) {
            (Stands::Apart, _) => (None, rule.apart.clone()),
            (_, Some(by)) => (
                None,
                format!("it speaks only where no other rule covers the request, and `{by}` does"),
            ),
            (_, None) if rule.over_budget => {
                let says = if rule.on_trial { Verdict::Warn } else { Verdict::Block };
                let why = "its budget is used up, or the request does not say what it uses";
                (Some(says), format!("{why}{mode}"))
            }
            (Stands::Touches, None) if verdict == Verdict::Allow || rule.only_opens => {
                let part = "only some of what is asked for is in it; what allows has to cover all of it";
                (None, rule.held_back.clone().unwrap_or_else(|| part.into()))
            }
            (_, None) if rule.only_opens => (
                Some(Verdict::Allow),
                "it speaks of single requests: the connection may be opened, each request on it is decided for itself".into(),
            ),
            (Stands::Touches, None) => {
                let part = match rule.note.patterns.is_empty() {
                    true => "it speaks of it; a rule in Rego lets nothing through but by `allow`",
                    false => "some of what is asked for is in it, or may be",
                };
                let why = rule.held_back.clone().unwrap_or_else(|| part.into());
                (Some(verdict), format!("{why}{mode}"))
            }
            (Stands::Covers, None) => {
                (Some(verdict), format!("all of what is asked for is in it{mode}"))
            }
        };
        rule.note.says = says;
        rule.note.note = note;
    }
}

/// A rule in YAML's flow form that lets a thing through; `None` where no rule of its own could.
pub fn suggestion(request: &Request) -> Option<String> {
    remedy::rule(request).map(|rule| rule.yaml())
}
