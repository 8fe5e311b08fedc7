//! [`decide`]: what a policy says of a request. Total and pure: no clock, no randomness, no environment,
//! no files, and no order but that of names. `clippy.toml` keeps it so, and the tests of `tests/` show it.
//!
//! **Which rules speak.** A rule's patterns stand to a request in one of three ways: apart, touching it
//! (something of what is asked for is in the pattern), covering it (all of it is). `allow` speaks when it
//! covers. `warn`, `review` and `block` speak when they touch: a profile that asks for `$HOME` asks for
//! `$HOME/.ssh`. Rules marked `otherwise` speak only when no other rule covers the request.
//!
//! **What comes of it.** The worst verdict of all that speak; but a request that no rule covers with
//! `allow`, `warn` or `review` is blocked. A rule in mode `warn` says at worst `warn`, and lets nothing
//! through by itself. So adding a rule that blocks, or removing one that allows, never allows more; and
//! the order of rules means nothing.
//!
//! **Patterns, by action.**
//!
//! | action | a pattern is |
//! |---|---|
//! | `files.read`, `files.write` | a path from `/`, `$WORK`, `$SKILL` or `$HOME`; `*` is any part of a name, `**` any number of directories, also none |
//! | `shell.exec` | such a path; or a program's name (`git`, `python3*`), which covers programs in the system's directories alone, and touches a program of that name anywhere |
//! | `net.listen` | a port or a range |
//! | `tool.exec` | a path that holds `$SKILL`; `sha256:` and the profile's hash; or a name that the profile gives itself |
//! | `net.host` | `host` |
//! | others | a name with `*` |
//!
//! **Limits** take away, so a limit without a ceiling is allowed; above a ceiling it is blocked. The
//! launcher lowers what a profile asks for to the ceiling ([`Policy::ceiling`]) and then asks.
//!
//! **Connections.** A request to `http` or `https` without a method asks for the connection alone: rules
//! with methods or paths let it be opened, unless they block, and each request on it is then decided.

mod address;
mod compile;
mod pattern;
mod tally;

use std::sync::Arc;

use crate::decision::{Decision, Opinion};
use crate::hash::Hash;
use crate::model::{Document, OnAuditFailure, Verdict};
use crate::request::{Approval, Context, Request, What};
use compile::Layer;

pub use compile::{BadPolicy, ENGINE, Engine};
pub use pattern::BadPattern;

/// A policy ready to decide: one document, or several of which each has to let a request through.
#[derive(Debug)]
pub struct Policy {
    layers: Vec<Layer>,
    hash: Hash,
}

impl Policy {
    /// Compiles documents, those of the system first. What of a document is wrong is an error: nothing
    /// is left out.
    pub fn new(documents: Vec<Document>) -> Result<Self, BadPolicy> {
        compile::policy(documents)
    }

    /// SHA-256 over the canonical form of all documents, of the engine's name and version, and of what it
    /// was built with.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The documents.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.layers.iter().map(|layer| &layer.document)
    }

    /// The names of the documents, as one.
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.documents().map(|d| d.name.as_str()).collect();
        names.join(" and ")
    }

    /// The lowest ceiling on a limit, with the name of the policy that sets it.
    pub fn ceiling(&self, limit: &str) -> Option<(u64, &str)> {
        self.documents()
            .filter_map(|d| Some((*d.limits.get(limit)?, d.name.as_str())))
            .min()
    }

    /// Whether a host may lack a layer: all documents say so.
    pub fn may_be_missing(&self, layer: &str) -> bool {
        !self.layers.is_empty() && self.documents().all(|d| d.may_be_missing.contains(layer))
    }

    /// What happens when the audit log cannot be written: the strictest that a document says.
    pub fn on_audit_failure(&self) -> OnAuditFailure {
        let goes_on = |d: &Document| d.audit_failure == OnAuditFailure::Continue;
        match !self.layers.is_empty() && self.documents().all(goes_on) {
            true => OnAuditFailure::Continue,
            false => OnAuditFailure::Stop,
        }
    }
}

/// What the policy says of the request. The same policy and the same request give the same answer, to the
/// byte of its canonical form.
pub fn decide(policy: &Policy, request: &Request) -> Decision {
    let (opinion, parts) = match &request.what {
        What::Tool { grants, .. } => tool(policy, request, grants),
        what => (
            opinion(policy, &request.context, &request.approvals, what),
            Vec::new(),
        ),
    };
    Decision {
        input: request.hash(),
        parts,
        policy: policy.hash,
        reason: opinion.reason,
        rules: opinion.rules,
        verdict: opinion.verdict,
    }
}

/// A run as a whole is what is said of the worst of its grants, and of itself.
fn tool(policy: &Policy, request: &Request, grants: &[What]) -> (Opinion, Vec<Opinion>) {
    let parts: Vec<Opinion> = grants
        .iter()
        .map(|grant| opinion(policy, &request.context, &request.approvals, grant))
        .collect();
    if parts.is_empty() {
        let nothing =
            tally::refusal("nothing is asked for, not even the command: no rule covers it");
        return (nothing, parts);
    }
    let own = opinion(policy, &request.context, &request.approvals, &request.what);
    // Of equals the first.
    let worst = (parts.iter()).fold(&own, |a, b| if b.verdict > a.verdict { b } else { a });
    (worst.clone(), parts)
}

/// What is said of one thing.
fn opinion(policy: &Policy, context: &Context, approvals: &[Approval], what: &What) -> Opinion {
    if let Err(reason) = compile::well_formed(what) {
        return tally::refusal(reason);
    }
    let approval = approvals.iter().find(|a| binds(a, context, what));
    let several = policy.layers.len() > 1;
    let mut all: Option<Opinion> = None;
    for layer in &policy.layers {
        let mut said = layer.opinion(context, what, approval);
        if several {
            for rule in &mut said.rules {
                *rule = Arc::from(format!("{}/{rule}", layer.document.name));
            }
        }
        all = Some(match all {
            None => said,
            Some(mut before) => {
                if said.verdict > before.verdict {
                    before.verdict = said.verdict;
                    before.reason = said.reason;
                }
                before.rules.append(&mut said.rules);
                before
            }
        });
    }
    all.unwrap_or_else(|| tally::refusal("there is no policy"))
}

/// Whether an approval is for this: the same skill, profile and thing, and not over.
fn binds(approval: &Approval, context: &Context, what: &What) -> bool {
    approval.at < approval.expires
        && approval.profile_hash == context.profile_hash
        && approval.skill == context.skill
        && approval.what == what.hash()
}

impl Verdict {
    /// The past participle, for reasons.
    fn done(self) -> &'static str {
        match self {
            Self::Allow => "allowed",
            Self::Warn => "let through with a warning",
            Self::Review => "for a person to approve",
            Self::Block => "blocked",
        }
    }
}
