//! Connections whose requests nobody sees: TLS that passes through, and TCP, over which anything may be said.

use std::sync::Arc;

use super::Policy;
use super::combine::{Combiner, RuleOutcome};
use super::compiled::{Compiled, add_rego, is_inside};
use super::pattern::Relation;
use super::{Asked, Opinion};
use crate::model::Verdict;
use crate::request::{Approval, Context, Destination, Request, What};

/// With these, rules in Rego are tried: nobody can tell by looking at a module which of its rules are about requests.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The rules because of which a connection that is let through may not pass unseen, since a request on it may be refused, warned of, counted or
/// asked about where the connection is not. None: whatever is said on it, they say the same.
///
/// Those are rules with methods, paths or a budget: where they say anything worse than `allow`, or where without them the
/// connection would not be let through. And rules in Rego: where one of a set of methods, at the path `/`, has a worse verdict than the connection.
pub fn about_requests(policy: &Policy, request: &Request) -> Vec<Arc<str>> {
    let What::Net(to) = &request.what else {
        return Vec::new();
    };
    let asked = Asked::new(policy, request);
    let approval = asked.approval(&request.what);
    let of_layer = |layer: &Compiled| {
        let rules = in_document(layer, &request.context, to, approval);
        let named = |rule: Arc<str>| match &*policy.layers {
            [_] => rule,
            _ => Arc::from(format!("{}/{rule}", layer.name)),
        };
        rules.into_iter().map(named).collect::<Vec<_>>()
    };
    policy.layers.iter().flat_map(of_layer).collect()
}

fn in_document(
    layer: &Compiled,
    context: &Context,
    to: &Destination,
    approval: Option<&Approval>,
) -> Vec<Arc<str>> {
    let hits = layer.egress_hits(to, ());
    let rules = hits.by_rule().filter(|(_, of)| *of != Relation::Disjoint);
    let rules = rules.filter_map(|(rule, of)| Some((layer.egress.1.get(rule)?, of)));
    let (about_requests, others): (Vec<_>, Vec<_>) =
        rules.partition(|(rule, _)| rule.tells_requests_apart(to));
    let named = |limits| {
        let rules = about_requests.iter().map(|(rule, _)| rule);
        let rules = rules.filter(move |rule| rule.limits_requests() == limits);
        rules.map(|rule| rule.id().clone()).collect::<Vec<_>>()
    };
    let limiting = named(true);
    if !limiting.is_empty() {
        return limiting;
    }
    // What the document says without the rules about requests, all of which allow.
    let opinion = |what: &What, approval| -> Opinion {
        let said = layer.rego(context, what, 1);
        let said: Vec<(RuleOutcome, Relation)> = said.iter().map(RuleOutcome::of_rego).collect();
        let mut combiner = Combiner::default();
        for (rule, of) in &others {
            rule.speak(to, *of, is_inside(to), &mut combiner);
        }
        add_rego(what, &said, &mut combiner);
        combiner.opinion(approval)
    };
    let connection = What::Net(to.clone());
    if opinion(&connection, approval).verdict >= Verdict::Review {
        return named(false);
    }
    if layer.rego.is_none() {
        return Vec::new();
    }
    let unanswered = opinion(&connection, None);
    let requests = METHODS.iter().map(|method| {
        What::Net(Destination {
            method: Some((*method).to_owned()),
            path: Some("/".to_owned()),
            ..to.clone()
        })
    });
    let said = requests.map(|request| opinion(&request, None));
    // A yes to the connection is one to what its own rules ask.
    let is_asked = |rule: &Arc<str>| unanswered.rules.contains(rule);
    let worse = said.filter(|said| {
        said.verdict > unanswered.verdict
            || said.verdict >= Verdict::Review && !said.rules.iter().all(is_asked)
    });
    worse
        .max_by_key(|said| said.verdict)
        .map_or(Vec::new(), |said| said.rules)
}
