//! [`decide`]: a policy's decision about a request. Total and pure: no clock, no randomness, no environment,
//! no files, and no order except that of names.
//!
//! **Which rules apply.** A pattern is disjoint from a request, overlaps it (some of what is asked for is in
//! the pattern, or may be), or contains it (all of it is). `allow` applies when it contains. `warn`, `review`
//! and `block` apply when they overlap: a profile that asks for `$HOME` asks for
//! `$HOME/.ssh`. Rules marked `otherwise` apply only when no other rule contains the request.
//!
//! **The verdict** is the worst of all rules that apply; but a request that no rule contains with `allow`, `warn`
//! or `review` is blocked. So adding a rule that blocks, or removing one that allows, never allows more, and the
//! order of rules means nothing. (A rule with a budget also blocks what is over its budget.)
//!
//! **Mode `warn`** tries a rule out. Such a rule reports its verdict, at worst `warn`. It lets nothing through,
//! blocks nothing, and does not silence rules marked `otherwise`: it never changes what is let through.
//!
//! **Patterns, by action.**
//!
//! | action | a pattern is |
//! |---|---|
//! | `files.read`, `files.write` | a path from `/`, `$WORK`, `$SKILL` or `$HOME`; `*` is any part of a name, `**` any number of directories, also none |
//! | `shell.exec` | such a path; or a program's name (`git`, `python3*`), which contains programs in the system's directories alone, and overlaps a program of that name anywhere, and so every tree |
//! | `net.listen` | a port or a range |
//! | `tool.exec` | a path that holds `$SKILL`; `sha256:` and the profile's hash; or a name that the profile gives itself |
//! | `net.host` | `host` |
//! | others | a name with `*` |
//! | `hosts`, `to` | a name, `*.` and a name (all below it), an IP address, which also overlaps names that stand for it, and IPv6 addresses that lead to it; `*`, any host, where the rule does not say `allow` |
//!
//! A variable that stands for `/` would make a rule about one place one about every place: such a pattern
//! only overlaps. A pattern with a variable that the run does not have (no `$SKILL`, an empty `$HOME`) is
//! disjoint from every request.
//!
//! **Below.** A rule that blocks a path blocks what lies below it, as the same words in a profile ask for a tree; one that
//! warns or asks does so below it too, but lets nothing through there. A rule that allows a path allows that file or
//! directory itself; `/**` allows what lies below.
//!
//! **Names.** A request has one path, free of links. A pattern that matches another name of the same place
//! ([`Context::aliases`]) matches it; where somebody other than the system's administrator may have made that name, it only
//! overlaps.
//!
//! **Rules in Rego** come after those: see [`crate::rego`].
//!
//! **Limits** take away, so a limit without a ceiling is allowed, by any policy; above a ceiling it is
//! blocked. The caller lowers what a profile asks for to the ceiling ([`Documents::ceiling`]) before it asks.
//!
//! **Connections.** A request to `http` or `https` without a method asks for the connection alone: rules
//! with methods or paths let it be opened, unless they block, and each request on it is then decided. A budget
//! counts requests; for `tcp` and `udp`, which have none, a rule with a budget lets nothing through. A rule
//! without `private-addresses` lets nothing through to an address that is not public.
//!
//! **What is ill-formed is blocked**, by any policy: paths that are relative or have `..`, hosts and
//! methods in a second spelling, numbers that not every reader of JSON represents exactly.
//!
//! **How it stays pure.** `decide` takes two shared references and returns a value. Native rules have no
//! inner mutability; Rego keeps its interpreter from one evaluation to the next, but no results.
//! `clippy.toml` names everything in the standard library that reaches clocks, randomness, the
//! environment, files, sockets, threads, hash maps and floats, and this module *forbids* their use, so that
//! no exception can be made below it; nor may it panic: unwrapping, indexing and the like are denied.
//! `tests/determinism.rs` decides a million requests in two processes that have nothing in common but the
//! input, and compares all bytes; `tests/laws.rs` has the laws above as properties.
//!
//! **How it is quick.** Each document has an index (`index`) of its patterns: what a decision costs depends
//! on the length of the request and on the rules that match it, not on how many rules there are.
//! A test compares every answer with that of asking each pattern in turn (`tests/reference.rs`).

#![forbid(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::float_arithmetic
)]
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

mod address;
mod combine;
mod compile;
mod compiled;
mod egress;
mod index;
mod names;
mod pattern;
mod trace;
mod unseen;
mod well_formed;

use std::sync::Arc;

use crate::decision::{Decision, Opinion};
use crate::model::{Document, Documents, Verdict};
use crate::rego;
use crate::request::{Approval, Context, Request, What};
use aegis_profile::hash::{Hash, canonical};
use compiled::Compiled;

pub use address::embedded_v4;
pub(crate) use compile::hash;
pub use compile::{BadPolicy, ENGINE, Engine};
pub(crate) use pattern::Base;
pub use pattern::Relation;
pub(crate) use pattern::name_matches;
pub use trace::PatternNote;
pub(crate) use trace::{RuleTrace, Trace};
pub use unseen::about_requests;

/// A policy ready to decide: one document, or several, each of which has to let a request through.
#[derive(Debug)]
pub struct Policy {
    documents: Documents,
    layers: Vec<Compiled>,
    hash: Hash,
    /// The length of the hashed form, in bytes.
    length: usize,
}

impl Policy {
    /// Compiles documents, those of the system first. Anything wrong in a document is an error: nothing is left
    /// out.
    pub fn new(documents: Vec<Document>) -> Result<Self, BadPolicy> {
        Self::of(Documents::new(documents))
    }

    /// The same, from [`Documents`].
    pub fn of(documents: Documents) -> Result<Self, BadPolicy> {
        compile::policy(documents)
    }

    /// SHA-256 over the canonical form of all documents, of the engine's name and version, and of what it
    /// was built with.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The canonical JSON that is hashed.
    pub fn canonical(&self) -> Vec<u8> {
        canonical(&compile::Hashed::of(&self.documents))
    }

    /// The length of that JSON in bytes.
    pub fn canonical_length(&self) -> usize {
        self.length
    }

    /// The documents, and what they say of limits, the host and the log.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The names of the documents, joined. Documents of one name are told apart by the beginning of their hashes.
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.layers.iter().map(|layer| &*layer.name).collect();
        names.join(" and ")
    }
}

/// Decides a request by a policy. The same policy and the same request give the same answer, to the
/// byte of its canonical form.
pub fn decide(policy: &Policy, request: &Request) -> Decision {
    let asked = Asked::new(policy, request);
    let (opinion, parts) = match &request.what {
        What::Tool { grants, .. } => asked.tool(&request.what, grants),
        what => (asked.opinion(what), Vec::new()),
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

/// The opinion of each thing that a request asks for, with a trace of each document: for a run its grants, and
/// then the run itself.
pub(crate) fn traced<'p, 'r>(policy: &'p Policy, request: &'r Request) -> Vec<Traced<'p, 'r>> {
    let asked = Asked::new(policy, request);
    let traced = request.what.parts().map(|what| {
        let fault = asked.fault(what);
        let approval = asked.approval(what);
        let among = asked.among(what);
        let trace = |layer| Trace::of(layer, fault, &request.context, what, among, approval);
        Traced {
            what,
            opinion: asked.opinion(what),
            documents: policy.layers.iter().map(trace).collect(),
        }
    });
    traced.collect()
}

/// The opinion of one thing, with its traces.
pub(crate) struct Traced<'p, 'r> {
    pub what: &'r What,
    pub opinion: Opinion,
    pub documents: Vec<Trace<'p>>,
}

/// What all parts of a request share.
struct Asked<'r> {
    policy: &'r Policy,
    context: &'r Context,
    /// What is wrong with the context.
    fault: Option<&'static str>,
    /// The approvals that are [`bound`] to the request.
    approvals: Vec<&'r Approval>,
    /// How many things Rego is asked about, beside the run itself.
    things: usize,
}

impl<'r> Asked<'r> {
    fn new(policy: &'r Policy, request: &'r Request) -> Self {
        Self {
            policy,
            context: &request.context,
            fault: well_formed::context(&request.context).err(),
            approvals: bound(policy, request),
            things: match &request.what {
                What::Tool { grants, .. } => {
                    grants.iter().filter(|what| rego::is_asked(what)).count()
                }
                _ => 1,
            },
        }
    }

    /// How many things share what Rego may take for this one.
    fn among(&self, what: &What) -> usize {
        match what {
            What::Tool { .. } => 1,
            _ => self.things,
        }
    }

    /// What is wrong with the request, if this is asked for.
    fn fault(&self, what: &What) -> Option<&'static str> {
        let fault = self.fault.or(well_formed::what(what).err());
        fault.or_else(|| {
            if self.context.aliases.is_empty() {
                return None;
            }
            let place = what
                .place()
                .or_else(|| compiled::skill(self.context, what))?;
            let all = names::each(self.context, place, |_| {});
            (!all).then_some(names::TOO_MANY)
        })
    }

    /// The opinion of a whole run is the worst of its grants' and its own.
    fn tool(&self, what: &What, grants: &[What]) -> (Opinion, Vec<Opinion>) {
        let parts: Vec<Opinion> = grants.iter().map(|grant| self.opinion(grant)).collect();
        // Limits grant nothing: a run that asks for nothing else has not even a command.
        if (grants.iter()).all(|grant| matches!(grant, What::Limit { .. })) {
            let nothing =
                combine::blocked("nothing is asked for, not even the command: no rule covers it");
            return (nothing, parts);
        }
        let own = self.opinion(what);
        // Of equally bad ones the first.
        let worst = (parts.iter()).fold(&own, |a, b| if b.verdict > a.verdict { b } else { a });
        (worst.clone(), parts)
    }

    /// The opinion of one thing.
    fn opinion(&self, what: &What) -> Opinion {
        if let Some(fault) = self.fault(what) {
            return combine::blocked(fault);
        }
        let approval = self.approval(what);
        let say = |layer: &Compiled| layer.opinion(self.context, what, self.among(what), approval);
        if let [layer] = &*self.policy.layers {
            return say(layer);
        }
        let said = self.policy.layers.iter().map(|layer| {
            let mut said = say(layer);
            for rule in &mut said.rules {
                *rule = Arc::from(format!("{}/{rule}", layer.name));
            }
            said
        });
        let worse = |mut before: Opinion, mut said: Opinion| {
            if said.verdict > before.verdict {
                before.verdict = said.verdict;
                before.reason = said.reason;
            }
            before.rules.append(&mut said.rules);
            before
        };
        let all = said.reduce(worse);
        all.unwrap_or_else(|| combine::blocked("there is no policy"))
    }

    /// The approval of this thing, if any. That of a destination as a profile names it is also of each connection and request
    /// to it about which no rule asks but those that a person was asked because of.
    fn approval(&self, what: &What) -> Option<&Approval> {
        if self.approvals.is_empty() {
            return None;
        }
        self.approval_of(what).or_else(|| {
            let What::Net(to) = what else { return None };
            to.named_by().find_map(|named| {
                let named = What::Net(named);
                let approval = self.approval_of(&named)?;
                let mut layers = self.policy.layers.iter();
                let asks_no_more = |layer: &Compiled| {
                    let said = |what| layer.opinion(self.context, what, self.among(what), None);
                    let (asked, asks) = (said(&named), said(what));
                    // A rule about single requests lets each connection through; one in Rego may be about anything.
                    let is_request = to.method.is_some();
                    let is_known = |rule: &Arc<str>| {
                        let of_request =
                            is_request && (rego::has(rule) || layer.is_about_requests(rule));
                        asked.rules.contains(rule) && !of_request
                    };
                    asks.verdict < Verdict::Review || asks.rules.iter().all(is_known)
                };
                layers.all(asks_no_more).then_some(approval)
            })
        })
    }

    /// The approval of exactly this.
    fn approval_of(&self, what: &What) -> Option<&Approval> {
        let hash = what.hash();
        let first = (self.approvals).partition_point(|approval| approval.what < hash);
        let approval = self.approvals.get(first).copied();
        approval.filter(|approval| approval.what == hash)
    }
}

/// The approvals bound to this very request: for this policy, the same command, skill and profile, and not
/// expired. Sorted by what they approve: a run may ask for thousands of things.
fn bound<'r>(policy: &Policy, request: &'r Request) -> Vec<&'r Approval> {
    if request.approvals.is_empty() {
        return Vec::new();
    }
    let context = &request.context;
    let command = match &request.what {
        what @ What::Tool { .. } => Some(what.command_hash()),
        // Only a request for a run names its command.
        _ => None,
    };
    let holds = |approval: &&Approval| {
        approval.at < approval.expires
            && approval.expires <= compile::MAX_NUMBER
            && approval.policy == policy.hash
            && approval.command == approval.held_for
            && command.is_none_or(|command| command == approval.command)
            && approval.profile_hash == context.profile_hash
            && approval.skill == context.skill
    };
    let mut bound: Vec<&Approval> = request.approvals.iter().filter(holds).collect();
    // A stable sort: of several for the same thing, the first stays first.
    bound.sort_by_key(|approval| approval.what);
    bound
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

#[cfg(test)]
mod tests;
