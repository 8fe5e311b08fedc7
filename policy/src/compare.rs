//! Comparing policies by what they decide, not by their text.
//!
//! [`diff`] makes requests from the patterns of both policies (`witness`), asks both, and reports where they
//! differ. Every reported difference is real: it has a request that shows it. For native rules none is missed
//! within the bounds ([`Diff::complete`]), since the requests stand for every way in which a request can relate
//! to the patterns. But variables of paths have only the values of [`contexts`], nothing is known of what
//! Rego distinguishes, and a tree in which something is hidden is tried only where no simpler request of the action
//! differs: that there is a difference is found then, and not each list of rules that it has.

mod explore;
mod names;
mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::decide::{Policy, decide};
use crate::decision::Opinion;
use crate::model::Verdict;
use crate::path::HostPath;
use crate::request::{Context, Request};
use aegis_profile::LimitKey;
use aegis_profile::hash::Hash;

/// What two policies decide differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Whether the requests that were tried stand for all there are, as far as native rules go.
    pub complete: bool,
    /// Sorted by how much more the second lets through than the first: the widest first.
    pub differences: Vec<Difference>,
    /// Whether they have the same hash, and so are one policy: nothing is tried.
    pub same: bool,
    /// Settings: ceilings, to which the limits of a profile are lowered, passphrases, layers that may be missing, and what happens when
    /// the audit log cannot be written.
    pub settings: Vec<Setting>,
    /// How many requests were tried.
    pub tried: u64,
}

/// Requests of one action for which the same rules apply, with different verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The first policy's opinion of the example.
    pub a: Opinion,
    /// As in a policy.
    pub action: &'static str,
    /// The second policy's opinion of the example.
    pub b: Opinion,
    /// How many tried requests show it.
    pub count: u64,
    /// The simplest of them.
    pub example: Request,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The first policy's value.
    pub a: String,
    /// The second policy's value.
    pub b: String,
    /// As in a policy.
    pub name: String,
}

impl Diff {
    /// Whether no difference was found.
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

/// The default contexts: a user whose work and skills are in the home directory, outside it, or in one
/// directory; and a built-in profile.
pub fn contexts() -> Vec<Context> {
    let context = |work: &str, skill: Option<&str>| Context {
        aliases: Vec::new(),
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

/// What `b` decides differently from `a`, for requests in these contexts.
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
        let place = request.what.place();
        if place.is_some_and(|place| !place.except.is_empty())
            && found.keys().any(|key| key.1 == request.what.action())
        {
            // It would show once more what simpler requests have shown.
            return;
        }
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
                // Keeps the simplest request; of equally simple ones the first.
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

/// The ids of the rules that speak on some request; rules in Rego, and those beyond the bounds of the search, are all
/// taken to speak.
pub(crate) fn that_speak(policy: &Policy) -> BTreeSet<Arc<str>> {
    let mut spoke: BTreeSet<Arc<str>> = BTreeSet::new();
    let complete = witness::each(policy, policy, &contexts(), &mut |request| {
        for rule in decide(policy, &request).rules {
            let id = rule.rsplit('/').next().unwrap_or(&rule);
            if !spoke.contains(id) {
                spoke.insert(id.into());
            }
        }
    });
    if !complete {
        let documents = policy.documents().iter();
        spoke.extend(documents.flat_map(|document| {
            document
                .heads()
                .map(|head| head.id.into())
                .collect::<Vec<_>>()
        }));
    }
    spoke
}

/// The order in which changes are reported: newly let through, otherwise milder, no longer let through,
/// otherwise stricter.
pub fn rank(a: Verdict, b: Verdict) -> (u8, Verdict, Verdict) {
    let class = match (a.lets_through(), b.lets_through()) {
        (false, true) => 0,
        _ if b < a => 1,
        (true, false) => 2,
        _ => 3,
    };
    (class, b, a)
}

/// How complex a request is: one file is simpler than a tree, which overlaps many rules.
fn size(request: &Request) -> (bool, usize) {
    let tree = request.what.place().is_some_and(|place| place.tree);
    (tree, request.what.to_string().len())
}

fn settings(a: &Policy, b: &Policy) -> Vec<Setting> {
    let missing = |policy: &Policy| {
        let layers: Vec<&str> = policy.documents().may_be_missing().collect();
        layers.join(", ")
    };
    let insisted = |policy: &Policy| {
        let keys = policy.documents().must_hold();
        let keys: Vec<&str> = keys.map(|(key, _)| key.name()).collect();
        keys.join(", ")
    };
    let failure = |policy: &Policy| policy.documents().on_audit_failure().to_string();
    let odd = |policy: &Policy| policy.documents().on_blocked_anomaly().to_string();
    let ceiling = |policy: &Policy, key: LimitKey| {
        let ceiling = policy.documents().ceiling(key);
        ceiling
            .map(|(value, _)| key.show(value))
            .unwrap_or_default()
    };
    let limits = LimitKey::ALL.iter().map(|key| {
        let name = format!("limits.{key}");
        (name, ceiling(a, *key), ceiling(b, *key))
    });
    let passphrase = |policy: &Policy| {
        let wanted = policy.documents().passphrases();
        let wanted: Vec<&str> = wanted.map(|(_, passphrase)| passphrase.as_str()).collect();
        wanted.join(", ")
    };
    let others = [
        (
            "approval-passphrase".to_owned(),
            passphrase(a),
            passphrase(b),
        ),
        ("may-be-missing".to_owned(), missing(a), missing(b)),
        ("limits.must-hold".to_owned(), insisted(a), insisted(b)),
        ("audit-failure".to_owned(), failure(a), failure(b)),
        ("blocked-anomaly".to_owned(), odd(a), odd(b)),
    ];
    (limits.chain(others))
        .filter(|(_, a, b)| a != b)
        .map(|(name, a, b)| Setting { a, b, name })
        .collect()
}
