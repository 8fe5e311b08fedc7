//! How each rule took part in a decision, as the evaluation itself reports it.

use serde::Serialize;

use super::combine::{Combiner, RuleOutcome, blocked};
use super::compiled::{Compiled, NOT_PUBLIC, Secret, is_inside};
use super::egress::Egress;
use super::index::{Claim, Collect};
use super::pattern::Relation;
use crate::decision::Opinion;
use crate::model::{CapabilityRule, Document, Head, Inject, Mode, Rule, Verdict};
use crate::request::{Approval, Context, Destination, What};

/// One document's opinion of one thing, and how each of its rules relates to it.
pub(crate) struct Trace<'p> {
    pub document: &'p Document,
    /// The document's name, as rules are told with it.
    pub name: &'p str,
    pub opinion: Opinion,
    /// Each rule about this action, by id.
    pub rules: Vec<RuleTrace>,
}

/// How one rule relates to one thing.
pub(crate) struct RuleTrace {
    pub id: String,
    pub verdict: Verdict,
    /// In mode `warn`.
    pub on_trial: bool,
    pub otherwise: bool,
    /// Each of its patterns, as written.
    pub patterns: Vec<PatternNote>,
    pub relation: Relation,
    /// Why it is disjoint, if it is.
    pub why_disjoint: String,
    /// Why it lets nothing through though it contains the request, if so.
    pub held_back: Option<&'static str>,
    pub over_budget: bool,
    /// It only lets a connection be opened.
    pub only_opens: bool,
}

/// How one pattern of a rule relates to a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PatternNote {
    /// As written.
    pub pattern: String,
    /// Its relation to the request.
    pub stands: Relation,
}

/// The relation of each pattern that was found.
#[derive(Default)]
struct Met(Vec<(Claim, Relation)>);

impl Collect for &mut Met {
    const ALL: bool = true;

    fn pattern(&mut self, claim: Claim, relation: Relation) {
        self.0.push((claim, relation));
    }
}

impl<'p> Trace<'p> {
    /// `fault`: what is wrong with the request; no rule is asked about such a request.
    pub(super) fn of(
        layer: &'p Compiled,
        fault: Option<&'static str>,
        context: &Context,
        what: &What,
        among: usize,
        approval: Option<&Approval>,
    ) -> Self {
        let mut met = Met::default();
        let opinion = match fault {
            Some(fault) => blocked(fault),
            None => {
                layer.evaluate(context, what, &mut Combiner::default(), &mut met);
                layer.opinion(context, what, among, approval)
            }
        };
        let document = &layer.document;
        let mut rules = match what {
            What::Net(to) => {
                let mut rules = met.rules(document.network_egress.iter().enumerate());
                for (rule, compiled) in rules.iter_mut().zip(&layer.egress.1) {
                    rule.of_destination(compiled, to);
                }
                rules
            }
            What::Secret { alias, inject, .. } => {
                let mut rules = met.rules(document.secrets_boundary.iter().enumerate());
                for (rule, compiled) in rules.iter_mut().zip(&layer.secrets.1) {
                    rule.of_secret(compiled, alias, *inject);
                }
                rules
            }
            // Ceilings are not rules: the opinion names them.
            _ => {
                let about =
                    |rule: &CapabilityRule| what.capability().is_some_and(|a| rule.on.contains(&a));
                let rules = document.capabilities.iter().enumerate();
                met.rules(rules.filter(|(_, rule)| about(rule)))
            }
        };
        let said = match fault {
            Some(_) => Vec::new(),
            None => layer.rego(context, what, among),
        };
        for said in &said {
            let relation = RuleOutcome::of_rego(said).1;
            let inside = matches!(what, What::Net(to) if is_inside(to));
            let held_back = (inside && relation == Relation::Contains).then_some(NOT_PUBLIC);
            let relation = held_back.map_or(relation, |_| Relation::Overlaps);
            rules.push(RuleTrace {
                relation,
                held_back,
                ..RuleTrace::new(said.head())
            });
        }
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        Self {
            document,
            name: &layer.name,
            opinion,
            rules,
        }
    }
}

impl Met {
    /// The traces of rules, given with their numbers.
    fn rules<'p, R: Rule + 'p>(
        &self,
        rules: impl Iterator<Item = (usize, &'p R)>,
    ) -> Vec<RuleTrace> {
        let rules = rules.map(|(number, rule)| {
            let mut trace = RuleTrace::new(rule.head());
            let patterns = rule.patterns().iter().cloned();
            let stands = Relation::Disjoint;
            trace.patterns = patterns
                .map(|pattern| PatternNote { pattern, stands })
                .collect();
            let own = |claim: &Claim| claim.rule as usize == number;
            for (claim, relation) in self.0.iter().filter(|(claim, _)| own(claim)) {
                if let Some(PatternNote { stands: known, .. }) =
                    trace.patterns.get_mut(usize::from(claim.pattern))
                {
                    *known = (*known).max(*relation);
                    trace.relation = trace.relation.max(*relation);
                }
            }
            trace
        });
        rules.collect()
    }
}

impl RuleTrace {
    /// Completes the trace of a rule about destinations, whose hosts are done.
    fn of_destination(&mut self, rule: &Egress, to: &Destination) {
        let narrow = to.method.is_none() && rule.is_narrow();
        let keys = rule.mismatched_keys(to);
        self.why_disjoint = match self.relation {
            Relation::Disjoint => "its hosts do not match".into(),
            _ if keys.is_empty() && narrow => {
                "it is about single requests, and this is a connection".into()
            }
            _ => format!("its {} do not match", keys.join(" and ")),
        };
        let stance = rule.stance(to, self.relation, is_inside(to));
        self.relation = stance.relation;
        self.held_back = stance.held_back;
        self.over_budget = stance.over_budget;
        self.only_opens = narrow;
    }

    /// Completes the trace of a rule about a secret, whose hosts are done.
    fn of_secret(&mut self, rule: &Secret, alias: &str, inject: Option<Inject>) {
        self.why_disjoint = match inject {
            _ if self.relation == Relation::Disjoint => "its hosts do not match".into(),
            Some(inject) if !rule.puts_into(Some(inject)) => {
                format!("it does not let secrets be put into the {}", inject.name())
            }
            _ => format!("it is not about `{alias}`"),
        };
        if !rule.is_about(alias) || !rule.puts_into(inject) {
            self.relation = Relation::Disjoint;
        }
    }

    /// A rule that is disjoint so far.
    fn new(head: Head<'_>) -> Self {
        Self {
            id: head.id.to_owned(),
            verdict: head.verdict,
            on_trial: head.mode == Mode::Warn,
            otherwise: head.otherwise,
            patterns: Vec::new(),
            relation: Relation::Disjoint,
            why_disjoint: "none of its patterns matches".into(),
            held_back: None,
            over_budget: false,
            only_opens: false,
        }
    }
}
