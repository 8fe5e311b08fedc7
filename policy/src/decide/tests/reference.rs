//! The reference for the index: every pattern of every rule asked in turn, in the simplest way.
//!
//! It shares with the decision what is not a search: parsing, the parts of egress rules except hosts, and
//! combining outcomes.

use std::net::IpAddr;

use super::super::address::{embedded_v4, is_public};
use super::super::combine::{Combiner, RuleOutcome};
use super::super::compile::{self, PatternKind};
use super::super::compiled::{Compiled, conclude, skill};
use super::super::egress::Egress;
use super::super::names::{self, Name};
use super::super::pattern::{self, Base, HostPattern, Part, Ports, Relation, glob_matches};
use crate::decision::Opinion;
use crate::model::{Action, Rule};
use crate::path::HostPath;
use crate::request::{Approval, Context, Place, What};
use aegis_profile::hash::Hash;

/// A pattern of a capability rule.
enum Pattern<'t> {
    Path(Base, Vec<Part<'t>>),
    Name(&'t str),
    Ports(Ports),
    Profile(Hash),
}

impl<'t> Pattern<'t> {
    fn parse(action: Action, text: &'t str) -> Self {
        match PatternKind::of(action, text).unwrap() {
            PatternKind::Path => {
                let mut parts = Vec::new();
                Self::Path(pattern::path(text, &mut parts).unwrap(), parts)
            }
            PatternKind::Name => Self::Name(text),
            PatternKind::Ports => Self::Ports(Ports::parse(text).unwrap()),
            PatternKind::Profile => Self::Profile(compile::profile(text).unwrap()),
        }
    }
}

/// The document's opinion of one well-formed thing.
pub(super) fn opinion(
    layer: &Compiled,
    context: &Context,
    what: &What,
    approval: Option<&Approval>,
) -> Opinion {
    match what {
        What::Limit { limit, value } => layer.limit(limit, *value),
        What::Net(to) => {
            let rules = &layer.document.network_egress;
            let rules: Vec<(Egress, Relation)> = rules
                .iter()
                .map(|rule| {
                    let hosts = rule
                        .hosts
                        .iter()
                        .map(|host| HostPattern::of_rule(host, rule.verdict).unwrap());
                    let relations = hosts
                        .map(|host| of_host(&host, &to.host).max(of_address(&host, to.address)));
                    let relation = relations.max().unwrap_or(Relation::Disjoint);
                    (compile::egress_rule(rule).unwrap(), relation)
                })
                .collect();
            let literal = to.host.parse().ok();
            let inside = [to.address, literal]
                .into_iter()
                .flatten()
                .any(|a| !is_public(a));
            let mut combiner = Combiner::default();
            for (rule, relation) in &rules {
                if *relation != Relation::Disjoint {
                    rule.speak(to, *relation, inside, &mut combiner);
                }
            }
            conclude(what, combiner, approval)
        }
        What::Secret {
            alias,
            host,
            inject,
        } => {
            let rules = layer.document.secrets_boundary.iter().map(|rule| {
                let applies = glob_matches(&rule.alias, alias.as_bytes())
                    && inject.is_none_or(|inject| rule.inject.contains(&inject));
                let hosts = rule.to.iter().filter(|_| applies);
                let relations =
                    hosts.map(|to| of_host(&HostPattern::of_rule(to, rule.verdict).unwrap(), host));
                (RuleOutcome::new(rule.head()), relations.max())
            });
            heard(what, rules, approval)
        }
        _ => {
            let action = what.capability().unwrap();
            let rules = layer.document.capabilities.iter();
            let rules = rules.filter(|rule| rule.on.contains(&action)).map(|rule| {
                let patterns = rule.matches.iter().map(|m| Pattern::parse(action, m));
                let outcome = RuleOutcome::new(rule.head());
                let relations =
                    patterns.map(|pattern| of(&pattern, outcome.reach(), context, what));
                let relation = relations.max();
                (outcome, relation)
            });
            heard(what, rules, approval)
        }
    }
}

fn heard(
    what: &What,
    rules: impl Iterator<Item = (RuleOutcome, Option<Relation>)>,
    approval: Option<&Approval>,
) -> Opinion {
    let rules: Vec<_> = rules.collect();
    let mut combiner = Combiner::default();
    for (outcome, relation) in &rules {
        combiner.add(outcome, relation.unwrap_or(Relation::Disjoint));
    }
    conclude(what, combiner, approval)
}

fn of(pattern: &Pattern<'_>, reach: Relation, context: &Context, what: &What) -> Relation {
    let one = |matches| match matches {
        true => Relation::Contains,
        false => Relation::Disjoint,
    };
    match (pattern, what) {
        (Pattern::Path(base, parts), what) => match what.place().or_else(|| skill(context, what)) {
            Some(place) => of_names(*base, parts, reach, context, place),
            None => Relation::Disjoint,
        },
        (Pattern::Name(_), What::Exec { tree: true, .. }) => Relation::Overlaps,
        (
            Pattern::Name(pattern),
            What::Exec {
                except, name, path, ..
            },
        ) => {
            let place = Place {
                except,
                path,
                tree: false,
            };
            let by_name = name
                .as_ref()
                .is_some_and(|name| glob_matches(pattern, name.as_bytes()));
            let mut closest = one(by_name);
            names::each(context, place, |name| {
                let path = HostPath([b"/", &*name.components.join(&b'/')].concat());
                let (of_system, own_name) = path.program();
                closest = closest.max(match glob_matches(pattern, own_name) {
                    true if of_system => name.closest,
                    true => Relation::Overlaps,
                    false => Relation::Disjoint,
                });
            });
            closest
        }
        (Pattern::Name(pattern), What::Tool { .. }) => {
            one(glob_matches(pattern, context.profile.as_bytes()))
        }
        (Pattern::Profile(hash), What::Tool { .. }) => one(*hash == context.profile_hash),
        (Pattern::Ports(ports), What::Listen { port }) => one(ports.contains(*port)),
        (Pattern::Name(pattern), What::Anomaly { kind, .. }) => {
            one(glob_matches(pattern, kind.name().as_bytes()))
        }
        (Pattern::Name(pattern), What::NetHost {}) => one(glob_matches(pattern, b"host")),
        (Pattern::Name(pattern), What::Device { device: name })
        | (Pattern::Name(pattern), What::Environment { name })
        | (Pattern::Name(pattern), What::Sockets { name } | What::Syscall { name }) => {
            one(glob_matches(pattern, name.as_bytes()))
        }
        _ => Relation::Disjoint,
    }
}

/// A part of a pattern whose variable is expanded.
#[derive(Clone)]
enum Step<'p> {
    Place(&'p [u8]),
    Part(&'p Part<'p>),
}

/// The closest relation by any name of the path.
fn of_names(
    base: Base,
    parts: &[Part<'_>],
    reach: Relation,
    context: &Context,
    place: Place<'_>,
) -> Relation {
    let mut closest = Relation::Disjoint;
    names::each(context, place, |name| {
        let by = of_path(base, parts, reach, context, name).min(name.closest);
        closest = closest.max(by);
    });
    closest
}

fn of_path(
    base: Base,
    parts: &[Part<'_>],
    reach: Relation,
    context: &Context,
    name: &Name<'_>,
) -> Relation {
    let place: &[u8] = match base {
        Base::Root => b"/",
        Base::Home => context.home.as_bytes(),
        Base::Work => context.work.as_bytes(),
        Base::Skill => context.skill.as_ref().map_or(b"", |skill| skill.as_bytes()),
    };
    if place.is_empty() {
        return Relation::Disjoint;
    }
    let place: Vec<&[u8]> = place
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    let everywhere = base != Base::Root && place.is_empty();
    let steps: Vec<Step<'_>> = (place.into_iter().map(Step::Place))
        .chain(parts.iter().map(Step::Part))
        .collect();
    let path = &*name.components;
    let hidden: Vec<&[&[u8]]> = name
        .except
        .iter()
        .map(|hidden| &hidden[path.len()..])
        .collect();
    let matches = leads_to(&steps, path, None);
    let ends_open = matches!(steps.last(), Some(Step::Part(Part::Any)));
    let reached = match (0..path.len()).any(|end| leads_to(&steps, &path[..end], None)) {
        true if everywhere => reach.min(Relation::Overlaps),
        true => reach,
        false => Relation::Disjoint,
    };
    reached.max(match name.tree {
        _ if everywhere && matches => Relation::Overlaps,
        true if matches && ends_open => Relation::Contains,
        true if leads_to(&steps, path, Some(&hidden)) => Relation::Overlaps,
        false if matches => Relation::Contains,
        _ => Relation::Disjoint,
    })
}

/// Whether the pattern matches the path; `below`: or anything that may lie below it, except what is hidden there.
fn leads_to(pattern: &[Step<'_>], path: &[&[u8]], below: Option<&[&[&[u8]]]>) -> bool {
    if let ([], Some(hidden)) = (path, below) {
        return !hidden.iter().any(|hidden| {
            hidden.len() <= pattern.len()
                && hidden.iter().zip(pattern).all(|(name, step)| match step {
                    Step::Place(own) => own == name,
                    Step::Part(Part::Name(own)) => own.as_bytes() == *name,
                    Step::Part(Part::Glob(_) | Part::Any) => false,
                })
        });
    }
    let Some((step, after)) = pattern.split_first() else {
        return path.is_empty();
    };
    if let Step::Part(Part::Any) = step {
        return leads_to(after, path, below)
            || (!path.is_empty() && leads_to(pattern, &path[1..], below));
    }
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    let is = match step {
        Step::Place(name) => name == first,
        Step::Part(Part::Name(name)) => name.as_bytes() == *first,
        Step::Part(Part::Glob(glob)) => glob_matches(glob, first),
        Step::Part(Part::Any) => true,
    };
    is && leads_to(after, rest, below)
}

/// A rule about an address speaks of what stands for it, in every spelling.
fn of_address(pattern: &HostPattern, address: Option<IpAddr>) -> Relation {
    let Some((own, address)) = pattern.address().zip(address) else {
        return Relation::Disjoint;
    };
    match own == address.to_canonical() || own == embedded_v4(address) {
        true => Relation::Overlaps,
        false => Relation::Disjoint,
    }
}

/// `host` is a name, or `*.` and a name, or an address.
fn of_host(pattern: &HostPattern, host: &str) -> Relation {
    of_name(pattern, host).max(of_address(pattern, host.parse().ok()))
}

fn of_name(pattern: &HostPattern, host: &str) -> Relation {
    let below = |name: &str, parent: &str| name.ends_with(&format!(".{parent}"));
    match (host.strip_prefix("*."), pattern) {
        (_, HostPattern::Any) => Relation::Contains,
        (None, HostPattern::One(own)) if **own == *host => Relation::Contains,
        (None, HostPattern::Below(own)) if below(host, own) => Relation::Contains,
        (Some(host), HostPattern::Below(own)) if **own == *host || below(host, own) => {
            Relation::Contains
        }
        (Some(host), HostPattern::Below(own) | HostPattern::One(own)) if below(own, host) => {
            Relation::Overlaps
        }
        _ => Relation::Disjoint,
    }
}
