//! Rules about destinations: what there is to them beside their hosts.

use crate::model::{Budget, EgressRule, Head, Rule, Scheme, Verdict};
use crate::request::Destination;

use super::compile::is_plain_in_urls;
use super::index::paths::Forest;
use super::index::{Actions, Hits};
use super::layer::split;
use super::pattern::Relation;
use super::tally::{Tally, Voice};

/// A rule, compiled.
#[derive(Debug)]
pub(super) struct Egress {
    voice: Voice,
    /// Said instead when the budget is used up.
    over_budget: Voice,
    /// Said of a connection, where it speaks of single requests only; `None`: nothing.
    opens: Option<Voice>,
    /// Of [`EgressRule`]: what needs no compiling.
    schemes: Vec<Scheme>,
    ports: Vec<u16>,
    methods: Vec<String>,
    /// `None`: all.
    paths: Option<Forest>,
    private_addresses: bool,
    budget: Budget,
}

/// How a rule stands to a destination, and what it says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stance<'e> {
    voice: &'e Voice,
    pub relation: Relation,
    /// Why it lets nothing through though it covers, if so.
    pub held_back: Option<&'static str>,
    pub over_budget: bool,
}

impl Egress {
    pub fn new(rule: &EgressRule, paths: Option<Forest>) -> Self {
        let own = Voice::new(rule.head());
        let instead = |verdict, why| {
            Voice::new(Head {
                verdict,
                reason: Some(why),
                ..rule.head()
            })
        };
        let why = "each request on the connection is decided for itself";
        Self {
            over_budget: instead(Verdict::Block, "its budget is used up"),
            opens: (own.permits()).then(|| instead(Verdict::Allow, why)),
            voice: own,
            schemes: rule.schemes.iter().copied().collect(),
            ports: rule.ports.iter().copied().collect(),
            methods: rule.methods.iter().cloned().collect(),
            paths,
            private_addresses: rule.private_addresses,
            budget: rule.budget.clone(),
        }
    }

    /// Tells the tally what it says of a destination, to whose host it stands so. `inside`: it is at an
    /// address that is not public.
    pub fn speak<'e>(
        &'e self,
        to: &Destination,
        host: Relation,
        inside: bool,
        tally: &mut Tally<'e>,
    ) {
        let stance = self.stance(to, host, inside);
        if let Some(reason) = stance.held_back {
            tally.hold_back(reason);
        }
        tally.hear_next(stance.voice, stance.relation);
    }

    /// How the rule stands to a destination.
    pub fn stance(&self, to: &Destination, host: Relation, inside: bool) -> Stance<'_> {
        let stance = |voice, relation| Stance {
            voice,
            relation,
            held_back: None,
            over_budget: false,
        };
        if !self.has_scheme(to) || !self.has_port(to) {
            return stance(&self.voice, Relation::Apart);
        }
        let mut stance = match &to.method {
            Some(_) if !self.has_method(to) => stance(&self.voice, Relation::Apart),
            Some(_) => match self.of_url(to.path.as_deref()) {
                Relation::Apart => stance(&self.voice, Relation::Apart),
                path if self.within_budget(to) => stance(&self.voice, host.min(path)),
                path => Stance {
                    over_budget: true,
                    ..stance(&self.over_budget, host.min(path))
                },
            },
            None if !self.is_narrow() => stance(&self.voice, host),
            None => match &self.opens {
                Some(opens) if to.scheme.has_requests() => stance(opens, host),
                _ => stance(&self.voice, Relation::Apart),
            },
        };
        if stance.relation == Relation::Covers && stance.voice.permits() {
            if inside && !self.private_addresses {
                stance.held_back = Some(
                    "it stands for an address that is not public, and no rule that covers it has `private-addresses`",
                );
                stance.relation = Relation::Touches;
            }
            if !to.scheme.has_requests() && self.budget != Budget::default() {
                stance.held_back = Some(
                    "a budget is held against requests, and a rule with one lets through what has requests alone: `http`, `https`",
                );
                stance.relation = Relation::Touches;
            }
        }
        stance
    }

    /// Which of its keys keep it apart from a destination that its hosts have to do with.
    pub fn apart(&self, to: &Destination) -> Vec<&'static str> {
        let connection = to.method.is_none() && to.scheme.has_requests();
        let keys = [
            ("schemes", self.has_scheme(to)),
            ("ports", self.has_port(to)),
            ("methods", connection || self.has_method(to)),
            (
                "paths",
                connection || self.of_url(to.path.as_deref()) != Relation::Apart,
            ),
        ];
        let apart = keys.into_iter().filter(|(_, has)| !has);
        apart.map(|(key, _)| key).collect()
    }

    /// Whether it speaks of single requests only: each on a connection will be asked about.
    pub fn is_narrow(&self) -> bool {
        !self.methods.is_empty() || self.paths.is_some()
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

    /// A path that is not told, or that a server may read in another way than we do, is in no pattern for
    /// sure.
    fn of_url(&self, path: Option<&str>) -> Relation {
        let Some(paths) = &self.paths else {
            return Relation::Covers;
        };
        let path = path.unwrap_or_default();
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let plain = path.starts_with('/')
            && !path.contains("//")
            && path.chars().all(is_plain_in_urls)
            && path.split('/').all(|part| part != "." && part != "..");
        if !plain {
            return Relation::Touches;
        }
        let mut hits = Hits::of(1, Actions::ALL, ());
        paths.ask_url(&split(path.as_bytes()), &mut hits);
        match hits.count() {
            0 => Relation::Apart,
            _ => Relation::Covers,
        }
    }

    /// What is not told cannot be held against a budget, and is over it.
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
            // Not known before it comes.
            && to.response_size.is_none_or(|told| size(response_size, Some(told)))
    }
}
