//! Rules about destinations: what there is to them beside their hosts.

use crate::model::{Budget, EgressRule, Scheme, Verdict};
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

impl Egress {
    pub fn new(rule: &EgressRule, paths: Option<Forest>) -> Self {
        let voice = |verdict, why| Voice::new(&rule.id, verdict, rule.mode, rule.otherwise, why);
        let own = voice(rule.verdict, rule.reason.as_deref());
        let why = "each request on the connection is decided for itself";
        Self {
            over_budget: voice(Verdict::Block, Some("its budget is used up")),
            opens: (own.permits()).then(|| voice(Verdict::Allow, Some(why))),
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
        let scheme = self.schemes.is_empty() || self.schemes.contains(&to.scheme);
        let port = self.ports.is_empty() || self.ports.contains(&to.port);
        if !scheme || !port {
            return;
        }
        let (voice, mut relation) = match &to.method {
            Some(method) => self.of_request(method, to, host),
            None => self.of_connection(to, host),
        };
        if relation == Relation::Covers && voice.permits() {
            if inside && !self.private_addresses {
                tally.hold_back("it stands for an address that is not public, and no rule that covers it has `private-addresses`");
                relation = Relation::Touches;
            }
            if !to.scheme.has_requests() && self.budget != Budget::default() {
                tally.hold_back("a budget is held against requests, and a rule with one lets through what has requests alone: `http`, `https`");
                relation = Relation::Touches;
            }
        }
        tally.hear_next(voice, relation);
    }

    fn of_connection(&self, to: &Destination, host: Relation) -> (&Voice, Relation) {
        // It speaks of single requests only: each on the connection will be asked about.
        let narrow = !self.methods.is_empty() || self.paths.is_some();
        match &self.opens {
            _ if !narrow => (&self.voice, host),
            Some(opens) if to.scheme.has_requests() => (opens, host),
            _ => (&self.voice, Relation::Apart),
        }
    }

    fn of_request(&self, method: &String, to: &Destination, host: Relation) -> (&Voice, Relation) {
        if !self.methods.is_empty() && !self.methods.contains(method) {
            return (&self.voice, Relation::Apart);
        }
        match self.of_url(to.path.as_deref()) {
            Relation::Apart => (&self.voice, Relation::Apart),
            path if self.within_budget(to) => (&self.voice, host.min(path)),
            path => (&self.over_budget, host.min(path)),
        }
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
        let mut hits = Hits::of(1, Actions::ALL);
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
