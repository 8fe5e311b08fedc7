//! How single rules stand to a request, by asking `decide` about each alone.

use std::collections::BTreeSet;

use super::{PatternNote, RuleNote, Stands};
use crate::decide::{Policy, decide};
use crate::model::{
    Budget, CapabilityRule, Document, EgressRule, Inject, Mode, SecretRule, Verdict,
};
use crate::request::{Destination, Request, What};

/// What is found out about a rule.
pub(super) struct Heard {
    pub note: RuleNote,
    /// Why it is apart, if it is.
    pub apart: String,
    pub otherwise: bool,
    /// In mode `warn`, with a verdict that would be worse.
    pub softened: bool,
    pub over_budget: bool,
    /// It lets a connection be opened and says no more than that.
    pub only_opens: bool,
}

/// A grant that every policy lets through, whatever its ceiling.
pub(super) fn harmless() -> What {
    What::Limit {
        limit: "pids".into(),
        value: Some(0),
    }
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
    heard.sort_by(|a, b| a.note.id.cmp(&b.note.id));
    heard
}

/// A rule that warns, alone: what it says tells how it stands. Where it covers, the request is let
/// through; where it touches, nothing covers it, but the rule has spoken.
fn stands(document: Document, request: &Request) -> Stands {
    let Ok(policy) = Policy::new(vec![document]) else {
        return Stands::Apart;
    };
    let decision = decide(&policy, request);
    match decision.verdict {
        verdict if verdict.lets_through() && !decision.rules.is_empty() => Stands::Covers,
        _ if !decision.rules.is_empty() => Stands::Touches,
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

fn is_softened(mode: Mode, verdict: Verdict) -> bool {
    mode == Mode::Warn && verdict > Verdict::Warn
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
        softened: is_softened(rule.mode, rule.verdict),
        over_budget: false,
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
    let narrow = !rule.methods.is_empty() || !rule.paths.is_empty();
    let connection = narrow && to.method.is_none();
    let softened = is_softened(rule.mode, rule.verdict);
    let mut apart = apart_by(rule, request, closest(&patterns), &of_hosts);
    if connection && (softened || rule.verdict == Verdict::Block) {
        stood = Stands::Apart;
        apart = "it speaks of single requests, and this is a connection".into();
    }
    let budgeted = EgressRule {
        budget: rule.budget.clone(),
        ..warns
    };
    let over_budget = !connection
        && stood != Stands::Apart
        && Policy::new(vec![of(budgeted)]).is_ok_and(|policy| {
            let decision = decide(&policy, request);
            decision.verdict == Verdict::Block && stood == Stands::Covers
        });
    Heard {
        note: note(&rule.id, rule.verdict, stood, patterns),
        apart,
        otherwise: rule.otherwise,
        softened: softened || (over_budget && rule.mode == Mode::Warn),
        over_budget,
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
        note: note(
            &rule.id,
            rule.verdict,
            of(rule.to.clone(), true),
            patterns,
        ),
        apart,
        otherwise: rule.otherwise,
        softened: is_softened(rule.mode, rule.verdict),
        over_budget: false,
        only_opens: false,
    }
}
