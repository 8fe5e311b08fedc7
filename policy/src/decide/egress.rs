//! Rules about destinations: everything except their hosts.

use std::sync::Arc;

use crate::model::{Budget, EgressRule, Head, Rule, Scheme, Verdict};
use crate::request::Destination;

use super::combine::{Combiner, RuleOutcome};
use super::compile::is_plain_in_urls;
use super::compiled::split;
use super::index::paths::Forest;
use super::index::{Actions, Hits};
use super::pattern::Relation;

/// A rule, compiled.
#[derive(Debug)]
pub(super) struct Egress {
    outcome: RuleOutcome,
    /// The outcome when the budget is used up.
    over_budget: RuleOutcome,
    /// The outcome for a connection, where the rule is about single requests only; `None`: it does not apply.
    opens: Option<RuleOutcome>,
    /// From [`EgressRule`], as it is.
    schemes: Vec<Scheme>,
    ports: Vec<u16>,
    methods: Vec<String>,
    /// `None`: all.
    paths: Option<Forest>,
    private_addresses: bool,
    budget: Budget,
}

/// How a rule relates to a destination, and its outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stance<'e> {
    outcome: &'e RuleOutcome,
    pub relation: Relation,
    /// Why it lets nothing through though it contains the request, if so.
    pub held_back: Option<&'static str>,
    pub over_budget: bool,
}

impl Egress {
    pub fn new(rule: &EgressRule, paths: Option<Forest>) -> Self {
        let own = RuleOutcome::new(rule.head());
        let instead = |verdict, why| {
            RuleOutcome::new(Head {
                verdict,
                reason: Some(why),
                ..rule.head()
            })
        };
        let why = "each request on the connection is decided for itself";
        Self {
            over_budget: instead(Verdict::Block, "its budget is used up"),
            opens: (own.permits()).then(|| instead(Verdict::Allow, why)),
            outcome: own,
            schemes: rule.schemes.iter().copied().collect(),
            ports: rule.ports.iter().copied().collect(),
            methods: rule.methods.iter().cloned().collect(),
            paths,
            private_addresses: rule.private_addresses,
            budget: rule.budget.clone(),
        }
    }

    /// Adds the rule's outcome for a destination; `host`: how the rule's hosts relate to it. `inside`: its
    /// address is not public.
    pub fn speak<'e>(
        &'e self,
        to: &Destination,
        host: Relation,
        inside: bool,
        combiner: &mut Combiner<'e>,
    ) {
        let stance = self.stance(to, host, inside);
        if let Some(reason) = stance.held_back {
            combiner.hold_back(reason);
        }
        combiner.add_next(stance.outcome, stance.relation);
    }

    /// How the rule relates to a destination.
    #[inline]
    pub fn stance(&self, to: &Destination, host: Relation, inside: bool) -> Stance<'_> {
        let stance = |outcome, relation| Stance {
            outcome,
            relation,
            held_back: None,
            over_budget: false,
        };
        if !self.has_scheme(to) || !self.has_port(to) {
            return stance(&self.outcome, Relation::Disjoint);
        }
        let mut stance = match &to.method {
            Some(_) if !self.has_method(to) => stance(&self.outcome, Relation::Disjoint),
            Some(_) => match self.of_url(to.path.as_deref()) {
                Relation::Disjoint => stance(&self.outcome, Relation::Disjoint),
                path if self.within_budget(to) => stance(&self.outcome, host.min(path)),
                path => Stance {
                    over_budget: true,
                    ..stance(&self.over_budget, host.min(path))
                },
            },
            None if !self.is_narrow() => stance(&self.outcome, host),
            None => match &self.opens {
                Some(opens) if to.scheme.has_requests() => stance(opens, host),
                _ => stance(&self.outcome, Relation::Disjoint),
            },
        };
        if stance.relation == Relation::Contains && stance.outcome.permits() {
            if inside && !self.private_addresses {
                stance.held_back = Some(
                    "it stands for an address that is not public, and no rule that covers it has `private-addresses`",
                );
                stance.relation = Relation::Overlaps;
            }
            if !to.scheme.has_requests() && self.budget != Budget::default() {
                stance.held_back = Some(
                    "a budget counts requests, so a rule with a budget lets through only `http` and `https`",
                );
                stance.relation = Relation::Overlaps;
            }
        }
        stance
    }

    /// Which of its keys do not match a destination that its hosts match.
    pub fn mismatched_keys(&self, to: &Destination) -> Vec<&'static str> {
        let connection = to.method.is_none() && to.scheme.has_requests();
        let keys = [
            ("schemes", self.has_scheme(to)),
            ("ports", self.has_port(to)),
            ("methods", connection || self.has_method(to)),
            (
                "paths",
                connection || self.of_url(to.path.as_deref()) != Relation::Disjoint,
            ),
        ];
        let mismatched = keys.into_iter().filter(|(_, has)| !has);
        mismatched.map(|(key, _)| key).collect()
    }

    /// Whether it is about single requests only: each request on a connection is then decided by itself.
    pub fn is_narrow(&self) -> bool {
        !self.methods.is_empty() || self.paths.is_some()
    }

    /// Whether what it says of a connection may be another thing than what it says of a request on it, in force, and for that scheme and
    /// port.
    pub fn tells_requests_apart(&self, to: &Destination) -> bool {
        let apart = self.is_narrow() || self.budget != Budget::default();
        apart && !self.outcome.is_on_trial() && self.has_scheme(to) && self.has_port(to)
    }

    /// Whether it has more to say of requests than that they are allowed.
    pub fn limits_requests(&self) -> bool {
        self.outcome.is_loud() || self.budget != Budget::default()
    }

    /// Its name.
    pub fn id(&self) -> &Arc<str> {
        &self.outcome.id
    }

    fn has_scheme(&self, to: &Destination) -> bool {
        self.schemes.is_empty() || self.schemes.contains(&to.scheme)
    }

    fn has_port(&self, to: &Destination) -> bool {
        self.ports.is_empty() || self.ports.contains(&to.port)
    }

    fn has_method(&self, to: &Destination) -> bool {
        let method = to.method.as_ref();
        self.methods.is_empty() || method.is_some_and(|method| self.methods.contains(method))
    }

    /// A path that is unknown, or that a server may read differently, only overlaps.
    fn of_url(&self, path: Option<&str>) -> Relation {
        let Some(paths) = &self.paths else {
            return Relation::Contains;
        };
        let path = path.unwrap_or_default();
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let plain = path.starts_with('/')
            && !path.contains("//")
            && path.chars().all(is_plain_in_urls)
            && path.split('/').all(|part| part != "." && part != "..");
        if !plain {
            return Relation::Overlaps;
        }
        let mut hits = Hits::of(1, Actions::ALL, ());
        paths.ask_url(&split(path.as_bytes()), &mut hits);
        match hits.count() {
            0 => Relation::Disjoint,
            _ => Relation::Contains,
        }
    }

    /// Unknown values are over the budget.
    fn within_budget(&self, to: &Destination) -> bool {
        let Budget {
            request_size,
            requests_per_minute,
            response_size,
        } = &self.budget;
        let size = |limit: &Option<u64>, told: Option<u64>| {
            limit.is_none_or(|limit| told.is_some_and(|told| told <= limit))
        };
        let rate = |limit: &Option<u64>, told: Option<u64>| {
            limit.is_none_or(|limit| told.is_some_and(|told| told < limit))
        };
        size(request_size, to.request_size)
            && rate(requests_per_minute, to.requests_last_minute)
            // The size of a response is unknown before it arrives.
            && to.response_size.is_none_or(|told| size(response_size, Some(told)))
    }
}
