//! Why a policy decides a request as it does, rule by rule, and what would let it through.
//!
//! Rules are not evaluated a second time: the evaluation that decides reports how each pattern and each rule
//! relates to the request.

mod remedy;

use serde::Serialize;

use crate::decide::{Policy, RuleTrace, Trace, Traced, decide, traced};
use crate::decision::{Decision, Opinion};
use crate::model::Verdict;
use crate::request::{Request, What};

pub use crate::decide::{PatternNote, Relation};

/// A decision, explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The decision that is explained.
    pub decision: Decision,
    /// One for each thing that was asked for: for a run each of its grants, and then the run itself.
    pub parts: Vec<Part>,
}

/// The opinion of one thing, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The opinion of each document of the policy: each has to let it through.
    pub documents: Vec<OfDocument>,
    /// The resulting opinion.
    pub opinion: Opinion,
    /// What was asked for.
    pub what: What,
}

/// One document's opinion of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OfDocument {
    /// The document's name.
    pub name: String,
    /// All that would have to change for it to let this through; empty where it does.
    pub needs: Vec<String>,
    /// What it says.
    pub opinion: Opinion,
    /// Each of its rules about this action, by id.
    pub rules: Vec<RuleNote>,
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
    /// Its verdict on the request; `None`: it does not apply.
    pub says: Option<Verdict>,
    /// How it relates to the request.
    pub stands: Relation,
    /// Its verdict, as written.
    pub verdict: Verdict,
}

/// Explains a policy's decision about a request.
pub fn explain(policy: &Policy, request: &Request) -> Explanation {
    let part = |traced: Traced<'_, '_>| {
        let request = Request {
            what: traced.what.clone(),
            ..request.clone()
        };
        let documents = traced.documents.iter();
        Part {
            documents: documents
                .map(|trace| of_document(trace, &request))
                .collect(),
            opinion: traced.opinion,
            what: request.what,
        }
    };
    Explanation {
        decision: decide(policy, request),
        parts: traced(policy, request).into_iter().map(part).collect(),
    }
}

fn of_document(trace: &Trace<'_>, request: &Request) -> OfDocument {
    let covers = |rule: &&RuleTrace| {
        !rule.otherwise && rule.relation == Relation::Contains && !rule.on_trial
    };
    let covered = trace.rules.iter().find(covers).map(|rule| &*rule.id);
    let rules: Vec<RuleNote> = (trace.rules.iter())
        .map(|rule| note(rule, covered.filter(|_| rule.otherwise)))
        .collect();
    OfDocument {
        name: trace.name.to_owned(),
        needs: match trace.opinion.verdict.lets_through() {
            true => Vec::new(),
            false => remedy::needs(trace, request, &rules),
        },
        opinion: trace.opinion.clone(),
        rules,
    }
}

/// How a rule takes part. `silenced`: by the rule that contains the request.
fn note(rule: &RuleTrace, silenced: Option<&str>) -> RuleNote {
    let (softest, mode) = match rule.on_trial {
        true => (
            Verdict::Warn,
            "; in mode warn, where it says at worst `warn` and lets nothing through by itself",
        ),
        false => (Verdict::Block, ""),
    };
    let verdict = rule.verdict.min(softest);
    let held_back = |otherwise: &str| rule.held_back.unwrap_or(otherwise).to_owned();
    let (says, note) = match (rule.relation, silenced) {
        (Relation::Disjoint, _) => (None, rule.why_disjoint.clone()),
        (_, Some(by)) => (
            None,
            format!("it speaks only where no other rule covers the request, and `{by}` does"),
        ),
        _ if rule.over_budget => {
            let why = "its budget is used up, or the request does not say what it uses";
            (Some(softest), format!("{why}{mode}"))
        }
        (Relation::Overlaps, _) if verdict == Verdict::Allow || rule.only_opens => (
            None,
            held_back("only some of what is asked for is in it; what allows has to cover all of it"),
        ),
        _ if rule.only_opens => (
            Some(Verdict::Allow),
            "it is about single requests: the connection may be opened, each request on it is decided by itself".into(),
        ),
        (Relation::Overlaps, _) => {
            let why = held_back(match rule.patterns.is_empty() {
                true => "it applies; a rule in Rego lets something through only by `allow`",
                false => "some of what is asked for is in it, or may be",
            });
            (Some(verdict), format!("{why}{mode}"))
        }
        (Relation::Contains, _) => {
            (Some(verdict), format!("all of what is asked for is in it{mode}"))
        }
    };
    let mut patterns = rule.patterns.clone();
    // A stable sort: equal ones stay in the order of their texts.
    patterns.sort_by_key(|note| std::cmp::Reverse(note.stands));
    RuleNote {
        id: rule.id.clone(),
        note,
        patterns,
        says,
        stands: rule.relation,
        verdict: rule.verdict,
    }
}

/// A rule in YAML's flow form that lets a thing through; `None` where no rule alone can.
pub fn suggestion(request: &Request) -> Option<String> {
    remedy::rule(request).map(|(_, yaml)| yaml)
}
