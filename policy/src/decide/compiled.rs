//! One compiled document.

use std::sync::Arc;

use smallvec::SmallVec;

use super::address::is_public;
use super::combine::{Combiner, RuleOutcome};
use super::egress::Egress;
use super::index::hosts::HostRules;
use super::index::paths::Forest;
use super::index::{Actions, Claim, Collect, Hits};
use super::names::{self, Name};
use super::pattern::{Ports, Relation, address, glob_matches};
use crate::decision::Opinion;
use crate::model::{Document, Inject, Verdict};
use crate::path::program;
use crate::rego::{Rego, RegoOutcome};
use crate::request::{Approval, Context, Destination, Place, What};
use aegis_profile::hash::Hash;

/// A document, compiled. Rules are numbered by their place in their contract: by id.
#[derive(Debug)]
pub(super) struct Compiled {
    pub document: Arc<Document>,
    /// The document's name; where another one has that too, with the beginning of its hash.
    pub name: String,
    pub capabilities: Capabilities,
    pub egress: (HostRules, Vec<Egress>),
    pub secrets: (HostRules, Vec<Secret>),
    pub rego: Option<Rego>,
}

/// The capability rules of all actions: hits are filtered by the action of the request.
#[derive(Debug)]
pub(super) struct Capabilities {
    pub outcomes: Vec<RuleOutcome>,
    /// Paths and names.
    pub patterns: Forest,
    pub ports: Vec<(Ports, Claim)>,
    /// By hash.
    pub profiles: Vec<(Hash, Claim)>,
}

/// A rule about a secret, without its hosts.
#[derive(Debug)]
pub(super) struct Secret {
    pub outcome: RuleOutcome,
    /// A pattern of names.
    pub alias: String,
    pub inject: Vec<Inject>,
}

impl Secret {
    pub fn is_about(&self, alias: &str) -> bool {
        glob_matches(&self.alias, alias.as_bytes())
    }

    pub fn puts_into(&self, inject: Option<Inject>) -> bool {
        inject.is_none_or(|inject| self.inject.contains(&inject))
    }
}

impl Compiled {
    /// This document's opinion of one well-formed thing.
    /// `among`: how many things share what Rego may take.
    pub fn opinion(
        &self,
        context: &Context,
        what: &What,
        among: usize,
        approval: Option<&Approval>,
    ) -> Opinion {
        if let What::Limit { limit, value } = what {
            return self.limit(limit, *value);
        }
        let said = self.rego(context, what, among);
        let said: Vec<(RuleOutcome, Relation)> = said.iter().map(RuleOutcome::of_rego).collect();
        let mut combiner = Combiner::default();
        self.evaluate(context, what, &mut combiner, ());
        add_rego(what, &said, &mut combiner);
        conclude(what, combiner, approval)
    }

    /// The outcomes of the rules in Rego. A second home directory is asked about as well, but nothing is let through by
    /// it.
    pub fn rego(&self, context: &Context, what: &What, among: usize) -> Vec<RegoOutcome> {
        let Some(rego) = &self.rego else {
            return Vec::new();
        };
        let mut said = rego.ask(context, what, among);
        for alias in context
            .aliases
            .iter()
            .filter(|alias| alias.name == context.home)
        {
            let second = Context {
                home: alias.place.clone(),
                ..context.clone()
            };
            for other in rego.ask(&second, what, among) {
                match said.iter_mut().find(|known| known.id == other.id) {
                    Some(known) if known.verdict < other.verdict => *known = other,
                    None if other.verdict > Verdict::Allow => said.push(other),
                    Some(_) | None => {}
                }
            }
        }
        said
    }

    /// Adds the outcomes of the rules of the contracts.
    pub fn evaluate<'l>(
        &'l self,
        context: &Context,
        what: &What,
        combiner: &mut Combiner<'l>,
        collect: impl Collect,
    ) {
        match what {
            What::Net(to) => return self.evaluate_egress(to, combiner, collect),
            What::Secret {
                alias,
                host,
                inject,
            } => return self.evaluate_secrets(alias, host, *inject, combiner, collect),
            _ => {}
        }
        let Some(action) = what.capability() else {
            return;
        };
        let rules = &self.capabilities;
        let mut hits = Hits::of(rules.outcomes.len(), Actions::of(action), collect);
        rules.ask(context, what, &mut hits);
        combiner.expect(hits.count());
        for (rule, relation) in hits.by_rule() {
            if let Some(outcome) = rules.outcomes.get(rule) {
                combiner.add_next(outcome, relation);
            }
        }
    }

    fn evaluate_egress<'l>(
        &'l self,
        to: &Destination,
        combiner: &mut Combiner<'l>,
        collect: impl Collect,
    ) {
        let inside = is_inside(to);
        let hits = self.egress_hits(to, collect);
        combiner.expect(hits.count());
        for (rule, relation) in hits.by_rule() {
            if let Some(rule) = self.egress.1.get(rule) {
                rule.speak(to, relation, inside, combiner);
            }
        }
    }

    /// The rules about destinations whose hosts match one.
    pub(super) fn egress_hits<C: Collect>(&self, to: &Destination, collect: C) -> Hits<C> {
        let (hosts, rules) = &self.egress;
        let mut hits = Hits::of(rules.len(), Actions::ALL, collect);
        hosts.ask(&to.host, &mut hits);
        if let Some(address) = to.address {
            hosts.ask_address(address, &mut hits);
        }
        hits
    }

    fn evaluate_secrets<'l>(
        &'l self,
        alias: &str,
        host: &str,
        inject: Option<Inject>,
        combiner: &mut Combiner<'l>,
        collect: impl Collect,
    ) {
        let (hosts, rules) = &self.secrets;
        let mut hits = Hits::of(rules.len(), Actions::ALL, collect);
        hosts.ask(host, &mut hits);
        combiner.expect(hits.count());
        for (rule, relation) in hits.by_rule() {
            let Some(rule) = rules.get(rule) else {
                continue;
            };
            if rule.is_about(alias) && rule.puts_into(inject) {
                combiner.add_next(&rule.outcome, relation);
            }
        }
    }

    /// Whether a rule is about single requests: it lets a connection be opened, and asks about each request.
    pub(super) fn is_about_requests(&self, id: &str) -> bool {
        let mut rules = self.document.network_egress.iter().zip(&self.egress.1);
        rules.any(|(rule, compiled)| rule.id == id && compiled.is_narrow())
    }

    pub(super) fn limit(&self, limit: &str, value: Option<u64>) -> Opinion {
        let Some(ceiling) = self.document.limits.get(limit) else {
            return Opinion {
                reason: "a limit only takes away, and there is no ceiling".into(),
                rules: Vec::new(),
                verdict: Verdict::Allow,
            };
        };
        let within = value.is_some_and(|value| value <= *ceiling);
        let (reason, verdict) = match within {
            true => (
                format!("within the ceiling `limits.{limit}`"),
                Verdict::Allow,
            ),
            false => (
                format!("above the ceiling `limits.{limit}`, which is {ceiling}"),
                Verdict::Block,
            ),
        };
        Opinion {
            reason: reason.into(),
            rules: vec![format!("limits.{limit}").into()],
            verdict,
        }
    }
}

/// A run is about its skill's directory.
pub(super) fn skill<'r>(context: &'r Context, what: &What) -> Option<Place<'r>> {
    let skill = context.skill.as_ref();
    let skill = skill.filter(|_| matches!(what, What::Tool { .. }));
    skill.map(|path| Place {
        except: &[],
        path,
        tree: false,
    })
}

/// The components of a path.
pub(super) fn split(path: &[u8]) -> SmallVec<[&[u8]; 16]> {
    let mut components = SmallVec::new();
    let mut from = 0;
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    for at in slashes.map(|(at, _)| at).chain([path.len()]) {
        match path.get(from..at) {
            None | Some([]) => {}
            Some(component) => components.push(component),
        }
        from = at + 1;
    }
    components
}

/// Whether a destination stands for an address that is not public.
pub(super) fn is_inside(to: &Destination) -> bool {
    let at = [to.address, address(&to.host)];
    at.iter().flatten().any(|address| !is_public(*address))
}

/// Why a rule in Rego is held back.
pub(super) const NOT_PUBLIC: &str = "it stands for an address that is not public, and no native rule that covers it has `private-addresses`";

/// Adds the outcomes of rules in Rego. They cannot let anything through to an address that is not public: only a
/// rule with `private-addresses` can.
pub(super) fn add_rego<'l>(
    what: &What,
    said: &'l [(RuleOutcome, Relation)],
    combiner: &mut Combiner<'l>,
) {
    let inside = matches!(what, What::Net(to) if is_inside(to));
    for (outcome, relation) in said {
        if inside && outcome.permits() && *relation == Relation::Contains {
            combiner.hold_back(NOT_PUBLIC);
            continue;
        }
        combiner.add(outcome, *relation);
    }
}

/// The opinion of a document, from the outcomes of its rules.
pub(super) fn conclude(
    what: &What,
    combiner: Combiner<'_>,
    approval: Option<&Approval>,
) -> Opinion {
    if !matches!(what, What::Tool { .. }) {
        return combiner.opinion(approval);
    }
    // A run itself needs no rule to let it through; rules can only make the verdict worse.
    let said = combiner.opinion_unless_silent(approval);
    said.unwrap_or_else(|| Opinion {
        reason: "all that it asks for is let through".into(),
        rules: Vec::new(),
        verdict: Verdict::Allow,
    })
}

impl Capabilities {
    fn ask<C: Collect>(&self, context: &Context, what: &What, hits: &mut Hits<C>) {
        let name = |name: &str, hits: &mut Hits<C>| {
            self.patterns
                .ask_name(name.as_bytes(), Relation::Contains, hits);
        };
        if let Some(place) = what.place().or_else(|| skill(context, what)) {
            names::each(context, place, |name| {
                self.patterns.ask(context, name, hits);
                if matches!(what, What::Exec { .. }) {
                    self.ask_program(name, hits);
                }
            });
        }
        match what {
            What::Exec {
                name: Some(own),
                tree: false,
                ..
            } => name(own, hits),
            What::Listen { port } => {
                for (ports, rule) in &self.ports {
                    if ports.contains(*port) {
                        hits.add(*rule, Relation::Contains);
                    }
                }
            }
            What::NetHost {} => name("host", hits),
            What::Anomaly { kind, .. } => name(kind.name(), hits),
            What::Device { device: own }
            | What::Environment { name: own }
            | What::Sockets { name: own }
            | What::Syscall { name: own } => name(own, hits),
            What::Tool { .. } => {
                name(&context.profile, hits);
                let own = &context.profile_hash;
                let from = self.profiles.partition_point(|(hash, _)| hash < own);
                let same = self.profiles.iter().skip(from);
                for (_, rule) in same.take_while(|(hash, _)| hash == own) {
                    hits.add(*rule, Relation::Contains);
                }
            }
            What::Exec { .. }
            | What::Limit { .. }
            | What::Net(_)
            | What::Read { .. }
            | What::Secret { .. }
            | What::Write { .. } => {}
        }
    }

    /// Finds the rules that name programs.
    fn ask_program(&self, name: &Name<'_>, hits: &mut Hits<impl Collect>) {
        if name.tree {
            // It may hold a program of any name.
            return self.patterns.overlap_names(hits);
        }
        let (of_system, own_name) = program(name.components.iter().copied());
        let relation = match of_system {
            true => name.closest,
            false => Relation::Overlaps,
        };
        self.patterns.ask_name(own_name, relation, hits);
    }
}
