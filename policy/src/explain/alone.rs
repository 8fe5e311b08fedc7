//! How single rules stand to a request, by asking `decide` about each alone.

use std::collections::BTreeSet;

use super::{PatternNote, RuleNote, Stands};
use crate::decide::{Policy, opinion};
use crate::model::{
    Budget, CapabilityRule, Document, EgressRule, Inject, Mode, SecretRule, Verdict,
};
use crate::rego::{Rego, Said};
use crate::request::{Destination, Request, What};

/// What is found out about a rule.
pub(super) struct Heard {
    pub note: RuleNote,
    /// Why it is apart, if it is.
    pub apart: String,
    pub otherwise: bool,
    /// In mode `warn`.
    pub on_trial: bool,
    pub over_budget: bool,
    /// Why it lets nothing through though it covers, if so.
    pub held_back: Option<String>,
    /// It lets a connection be opened and says no more than that.
    pub only_opens: bool,
}

/// Every rule of a document that is about what is asked for, by id.
pub(super) fn rules(document: &Document, request: &Request) -> Vec<Heard> {
    let mut heard: Vec<Heard> = match &request.what {
        What::Net(to) => document
            .network_egress
            .iter()
            .map(|rule| egress(rule, request, to))
            .collect(),
        What::Secret { alias, inject, .. } => document
            .secrets_boundary
            .iter()
            .map(|rule| secret(rule, request, alias, *inject))
            .collect(),
        // Ceilings are no rules; what is said of them is in the opinion.
        What::Limit { .. } => Vec::new(),
        what => document
            .capabilities
            .iter()
            .filter(|rule| rule.on.iter().any(|action| action.name() == what.action()))
            .map(|rule| capability(rule, request))
            .collect(),
    };
    heard.extend(rego(document, request));
    heard.sort_by(|a, b| a.note.id.cmp(&b.note.id));
    heard
}

/// What modules in Rego say. Of those of their rules that say nothing, nothing is known.
fn rego(document: &Document, request: &Request) -> Vec<Heard> {
    let modules = Rego::load(&document.rego).ok().flatten();
    let said = modules.map(|modules| modules.ask(&request.context, &request.what));
    let heard = |said: &Said| {
        let allows = said.verdict == Verdict::Allow;
        let held_back = inside(request).filter(|_| allows);
        let stands = match allows && held_back.is_none() {
            true => Stands::Covers,
            false => Stands::Touches,
        };
        Heard {
            note: note(&said.id, said.verdict, stands, Vec::new()),
            apart: String::new(),
            otherwise: false,
            on_trial: false,
            over_budget: false,
            held_back,
            only_opens: false,
        }
    };
    said.iter().flatten().map(heard).collect()
}

/// Why a rule for any host, without `private-addresses`, does not let it through, if it does not.
fn inside(request: &Request) -> Option<String> {
    let What::Net(_) = &request.what else {
        return None;
    };
    let any = EgressRule {
        budget: Budget::default(),
        hosts: ["*".to_owned()].into(),
        id: "any".into(),
        methods: BTreeSet::new(),
        mode: Mode::Enforce,
        otherwise: false,
        paths: BTreeSet::new(),
        ports: BTreeSet::new(),
        private_addresses: false,
        reason: None,
        schemes: BTreeSet::new(),
        verdict: Verdict::Warn,
    };
    let document = Document {
        network_egress: vec![any],
        ..Document::default()
    };
    let said = opinion(&Policy::new(vec![document]).ok()?, request);
    (!said.verdict.lets_through()).then(|| said.reason.to_string())
}

/// A rule that warns, alone: what it says tells how it stands. Where it covers, the request is let
/// through; where it touches, nothing covers it, but the rule has spoken.
fn stands(document: Document, request: &Request) -> Stands {
    let Ok(policy) = Policy::new(vec![document]) else {
        return Stands::Apart;
    };
    let said = opinion(&policy, request);
    match said.verdict {
        verdict if verdict.lets_through() && !said.rules.is_empty() => Stands::Covers,
        _ if !said.rules.is_empty() => Stands::Touches,
        _ => Stands::Apart,
    }
}

fn patterns<'i>(
    items: impl Iterator<Item = &'i String>,
    stands: impl Fn(&str) -> Stands,
) -> Vec<PatternNote> {
    let mut notes: Vec<PatternNote> = items
        .map(|pattern| PatternNote {
            pattern: pattern.clone(),
            stands: stands(pattern),
        })
        .collect();
    notes.sort_by(|a, b| {
        b.stands
            .cmp(&a.stands)
            .then_with(|| a.pattern.cmp(&b.pattern))
    });
    notes
}

fn closest(patterns: &[PatternNote]) -> Stands {
    patterns.first().map_or(Stands::Apart, |note| note.stands)
}

fn note(id: &str, verdict: Verdict, stands: Stands, patterns: Vec<PatternNote>) -> RuleNote {
    RuleNote {
        id: id.into(),
        note: String::new(),
        patterns,
        says: None,
        stands,
        verdict,
    }
}

fn capability(rule: &CapabilityRule, request: &Request) -> Heard {
    let one = |pattern: &str| {
        let rule = CapabilityRule {
            matches: [pattern.to_owned()].into(),
            mode: Mode::Enforce,
            otherwise: false,
            verdict: Verdict::Warn,
            ..rule.clone()
        };
        let document = Document {
            capabilities: vec![rule],
            ..Document::default()
        };
        stands(document, request)
    };
    let patterns = patterns(rule.matches.iter(), one);
    Heard {
        note: note(&rule.id, rule.verdict, closest(&patterns), patterns),
        apart: "none of its patterns has anything of it".into(),
        otherwise: rule.otherwise,
        on_trial: rule.mode == Mode::Warn,
        over_budget: false,
        held_back: None,
        only_opens: false,
    }
}

fn egress(rule: &EgressRule, request: &Request, to: &Destination) -> Heard {
    let of = |rule: EgressRule| Document {
        network_egress: vec![rule],
        ..Document::default()
    };
    // Of the rule in force, whatever it says: with neither budget nor regard to addresses.
    let warns = EgressRule {
        budget: Budget::default(),
        mode: Mode::Enforce,
        otherwise: false,
        private_addresses: true,
        verdict: Verdict::Warn,
        ..rule.clone()
    };
    let of_hosts = |hosts: &BTreeSet<String>| EgressRule {
        hosts: hosts.clone(),
        methods: BTreeSet::new(),
        paths: BTreeSet::new(),
        ports: BTreeSet::new(),
        schemes: BTreeSet::new(),
        ..warns.clone()
    };
    let patterns = patterns(rule.hosts.iter(), |host| {
        stands(of(of_hosts(&[host.to_owned()].into())), request)
    });
    let mut stood = stands(of(warns.clone()), request);
    let connection = to.method.is_none() && !(rule.methods.is_empty() && rule.paths.is_empty());
    let on_trial = rule.mode == Mode::Warn;
    let permits = !on_trial && rule.verdict < Verdict::Block;
    let mut apart = apart_by(rule, request, closest(&patterns), &of_hosts);
    if connection && !permits && stood != Stands::Apart {
        stood = Stands::Apart;
        apart = "it speaks of single requests, and this is a connection".into();
    }
    // As it would be but for its budget and its addresses, and as it is.
    let budgeted = |verdict| EgressRule {
        budget: rule.budget.clone(),
        verdict,
        ..warns.clone()
    };
    let over_budget = !connection
        && to.method.is_some()
        && Policy::new(vec![of(budgeted(match stood {
            // What allows says nothing where it only touches; a budget that is used up speaks there too.
            Stands::Touches => Verdict::Allow,
            _ => Verdict::Warn,
        }))])
        .is_ok_and(|policy| {
            let said = opinion(&policy, request);
            stood != Stands::Apart && said.verdict == Verdict::Block && !said.rules.is_empty()
        });
    let mut held_back = None;
    if permits && !over_budget && stood == Stands::Covers {
        let as_it_is = EgressRule {
            private_addresses: rule.private_addresses,
            ..budgeted(Verdict::Warn)
        };
        let said = Policy::new(vec![of(as_it_is)]).map(|policy| opinion(&policy, request));
        held_back = said
            .ok()
            .filter(|said| !said.verdict.lets_through())
            .map(|said| said.reason.to_string());
        if held_back.is_some() {
            stood = Stands::Touches;
        }
    }
    Heard {
        note: note(&rule.id, rule.verdict, stood, patterns),
        apart,
        otherwise: rule.otherwise,
        on_trial,
        over_budget,
        held_back,
        only_opens: connection,
    }
}

/// Which part of the rule keeps it apart from the request.
fn apart_by(
    rule: &EgressRule,
    request: &Request,
    hosts: Stands,
    of_hosts: &impl Fn(&BTreeSet<String>) -> EgressRule,
) -> String {
    if hosts == Stands::Apart {
        return "its hosts have nothing of it".into();
    }
    let any = of_hosts(&["*".to_owned()].into());
    let only = |change: &dyn Fn(&mut EgressRule)| {
        let mut rule = any.clone();
        change(&mut rule);
        let document = Document {
            network_egress: vec![rule],
            ..Document::default()
        };
        stands(document, request) == Stands::Apart
    };
    let parts: [(&str, bool); 4] = [
        ("schemes", only(&|r| r.schemes.clone_from(&rule.schemes))),
        ("ports", only(&|r| r.ports.clone_from(&rule.ports))),
        ("methods", only(&|r| r.methods.clone_from(&rule.methods))),
        ("paths", only(&|r| r.paths.clone_from(&rule.paths))),
    ];
    let apart: Vec<&str> = (parts.iter())
        .filter(|(_, apart)| *apart)
        .map(|(name, _)| *name)
        .collect();
    match apart.is_empty() {
        true => "it has nothing of it".into(),
        false => format!("its {} have nothing of it", apart.join(" and ")),
    }
}

fn secret(rule: &SecretRule, request: &Request, alias: &str, inject: Option<Inject>) -> Heard {
    let of = |to: BTreeSet<String>, whole: bool| {
        let mut rule = SecretRule {
            mode: Mode::Enforce,
            otherwise: false,
            to,
            verdict: Verdict::Warn,
            ..rule.clone()
        };
        if !whole {
            rule.alias = "*".into();
            rule.inject = [Inject::Header, Inject::Query].into();
        }
        let document = Document {
            secrets_boundary: vec![rule],
            ..Document::default()
        };
        stands(document, request)
    };
    let patterns = patterns(rule.to.iter(), |host| of([host.to_owned()].into(), false));
    let apart = match (closest(&patterns), inject) {
        (Stands::Apart, _) => "its hosts have nothing of it".into(),
        (_, Some(inject)) if !rule.inject.contains(&inject) => {
            format!("it does not let secrets be put into the {}", inject.name())
        }
        _ => format!("it is not about `{alias}`"),
    };
    Heard {
        note: note(&rule.id, rule.verdict, of(rule.to.clone(), true), patterns),
        apart,
        otherwise: rule.otherwise,
        on_trial: rule.mode == Mode::Warn,
        over_budget: false,
        held_back: None,
        only_opens: false,
    }
}
