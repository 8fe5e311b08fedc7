//! Comparing policies by what they decide, not by their text.
//!
//! [`diff`] makes requests from the patterns of both policies (`witness`), asks both, and reports where they
//! differ. What it reports is so: each difference has a request that shows it. What it may miss: for native
//! rules nothing, short of bounds that are told ([`Diff::complete`]), as the requests stand for every way in
//! which a request can stand to the patterns; but variables of paths stand for the places of [`contexts`],
//! and no one can tell what Rego may tell apart.

mod explore;
mod names;
mod witness;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::decide::{Policy, decide};
use crate::decision::Opinion;
use crate::model::Verdict;
use crate::path::HostPath;
use crate::request::{Context, Request, What};
use aegis_profile::hash::Hash;

/// What two policies decide otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Whether the requests that were tried stand for all there are, as far as native rules go.
    pub complete: bool,
    /// By how much the second lets through that the first does not: the widest first.
    pub differences: Vec<Difference>,
    /// Whether they have the same hash, and so are one policy: there is nothing to try.
    pub same: bool,
    /// What has no requests: layers that may be missing, and what happens when the log cannot be written.
    pub settings: Vec<Setting>,
    /// Requests that were tried.
    pub tried: u64,
}

/// Requests of one action for which the same rules speak and come to different verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What the first says of the example.
    pub a: Opinion,
    /// As in a policy.
    pub action: &'static str,
    /// What the second says of the example.
    pub b: Opinion,
    /// How many of the requests that were tried.
    pub count: u64,
    /// The first of them.
    pub example: Request,
}

/// A setting that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Of the first.
    pub a: String,
    /// Of the second.
    pub b: String,
    /// As in a policy.
    pub name: &'static str,
}

impl Diff {
    /// Whether they are the same, as far as was found.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty() && self.settings.is_empty()
    }
}

impl Difference {
    /// Whether the second lets more happen than the first.
    pub fn widens(&self) -> bool {
        self.b.verdict < self.a.verdict
    }
}

/// Whose requests are tried where nothing better is known: a person's, whose work and skills are in the home
/// directory, apart from it, or one and the same; and one under a profile that is built in.
pub fn contexts() -> Vec<Context> {
    let context = |work: &str, skill: Option<&str>| Context {
        home: "/home/user".into(),
        profile: "skill".into(),
        profile_hash: Hash::default(),
        skill: skill.map(HostPath::from),
        uid: 1000,
        work: work.into(),
    };
    vec![
        context("/home/user/work", Some("/home/user/skills/skill")),
        context("/srv/work", Some("/opt/skill")),
        context("/home/user/skill", Some("/home/user/skill")),
        context("/home/user", None),
    ]
}

/// What `b` decides otherwise than `a`, of requests in these contexts.
pub fn diff(a: &Policy, b: &Policy, contexts: &[Context]) -> Diff {
    type Key = (
        (u8, Verdict, Verdict),
        &'static str,
        Vec<Arc<str>>,
        Vec<Arc<str>>,
    );
    if a.hash() == b.hash() {
        return Diff {
            complete: true,
            differences: Vec::new(),
            same: true,
            settings: Vec::new(),
            tried: 0,
        };
    }
    let mut found: BTreeMap<Key, ((bool, usize), Difference)> = BTreeMap::new();
    let mut tried = 0_u64;
    let complete = witness::each(a, b, contexts, &mut |request| {
        tried += 1;
        let (one, other) = (decide(a, &request), decide(b, &request));
        if one.verdict == other.verdict {
            return;
        }
        let (one, other) = (Opinion::from(one), Opinion::from(other));
        let key = (
            rank(one.verdict, other.verdict),
            request.what.action(),
            one.rules.clone(),
            other.rules.clone(),
        );
        let size = size(&request);
        match found.get_mut(&key) {
            None => {
                let difference = Difference {
                    action: request.what.action(),
                    a: one,
                    b: other,
                    count: 1,
                    example: request,
                };
                found.insert(key, (size, difference));
            }
            Some((least, difference)) => {
                difference.count += 1;
                // The simplest request shows it best; of equals the first.
                if size < *least {
                    *least = size;
                    difference.a = one;
                    difference.b = other;
                    difference.example = request;
                }
            }
        }
    });
    let differences = found.into_values().map(|(_, found)| found).collect();
    Diff {
        complete,
        differences,
        same: false,
        settings: settings(a, b),
        tried,
    }
}

/// The order in which changes are told: what is let through that was not, what is otherwise milder, what is
/// no longer let through, what is otherwise stricter.
pub fn rank(a: Verdict, b: Verdict) -> (u8, Verdict, Verdict) {
    let class = match (a.lets_through(), b.lets_through()) {
        (false, true) => 0,
        _ if b < a => 1,
        (true, false) => 2,
        _ => 3,
    };
    (class, b, a)
}

/// How much there is to grasp in a request: one file is less than a tree, which overlaps many rules.
fn size(request: &Request) -> (bool, usize) {
    let tree = match &request.what {
        What::Read { tree, .. } | What::Write { tree, .. } | What::Exec { tree, .. } => *tree,
        _ => false,
    };
    (tree, request.what.to_string().len())
}

fn settings(a: &Policy, b: &Policy) -> Vec<Setting> {
    let missing = |policy: &Policy| {
        let layers: Vec<&str> = policy.documents().may_be_missing().collect();
        layers.join(", ")
    };
    let failure = |policy: &Policy| policy.documents().on_audit_failure().to_string();
    [
        ("may-be-missing", missing(a), missing(b)),
        ("audit-failure", failure(a), failure(b)),
    ]
    .into_iter()
    .filter(|(_, a, b)| a != b)
    .map(|(name, a, b)| Setting { a, b, name })
    .collect()
}
