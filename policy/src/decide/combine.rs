//! Combining the outcomes of rules into a verdict.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::decision::Opinion;
use crate::model::{Head, Mode, Verdict};
use crate::rego::RegoOutcome;
use crate::request::Approval;

use super::pattern::Relation;

/// What a rule of any contract contributes to a verdict.
#[derive(Clone, Debug)]
pub(super) struct RuleOutcome {
    pub id: Arc<str>,
    /// In mode `warn`: never affects the verdict or other rules.
    on_trial: bool,
    otherwise: bool,
    verdict: Verdict,
    /// The reason, where the rule contains the request.
    reason: Arc<str>,
    /// The reason, where it only overlaps.
    overlap_reason: Arc<str>,
}

impl RuleOutcome {
    pub fn new(head: Head<'_>) -> Self {
        let Head { id, verdict, .. } = head;
        let on_trial = head.mode == Mode::Warn;
        let (is, would, trial) = match on_trial {
            true => ("", "would be ", ", which is in mode warn"),
            false => ("is ", "", ""),
        };
        let (colon, why) = head.reason.map_or(("", ""), |why| (": ", why));
        let done = verdict.done();
        let reason = [would, done, " by rule `", id, "`", trial, colon, why].concat();
        Self {
            id: id.into(),
            on_trial,
            otherwise: head.otherwise,
            verdict,
            overlap_reason: ["it may hold what ", is, &reason].concat().into(),
            reason: reason.into(),
        }
    }

    /// A rule in Rego, and its relation to the request. Only `allow` contains: the others make a verdict worse,
    /// and let nothing through.
    pub fn of_rego(said: &RegoOutcome) -> (Self, Relation) {
        let outcome = Self::new(said.head());
        let relation = match said.verdict {
            Verdict::Allow => Relation::Contains,
            Verdict::Warn | Verdict::Review | Verdict::Block => Relation::Overlaps,
        };
        let overlap_reason = outcome.reason.clone();
        let outcome = Self {
            overlap_reason,
            ..outcome
        };
        (outcome, relation)
    }

    /// The verdict that counts.
    pub fn effective(&self) -> Verdict {
        match self.on_trial {
            true => self.verdict.min(Verdict::Warn),
            false => self.verdict,
        }
    }

    /// Whether it may let through a request that it contains, though a person may have to be asked.
    pub fn permits(&self) -> bool {
        !self.on_trial && self.verdict < Verdict::Block
    }

    /// Whether it is only tried out: it never changes what is let through.
    pub fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    /// Whether it applies to a request that it only overlaps.
    pub fn is_loud(&self) -> bool {
        self.effective() > Verdict::Allow
    }

    /// How it relates to what lies below the paths that it names. What it blocks it blocks with all below; where a person
    /// or a warning is asked for, that is asked for below too, but nothing is let through there.
    pub fn reach(&self) -> Relation {
        match self.effective() {
            Verdict::Allow => Relation::Disjoint,
            Verdict::Warn | Verdict::Review => Relation::Overlaps,
            Verdict::Block => Relation::Contains,
        }
    }

    fn reason(&self, of: Relation) -> Arc<str> {
        match of {
            Relation::Contains => self.reason.clone(),
            Relation::Overlaps | Relation::Disjoint => self.overlap_reason.clone(),
        }
    }
}

/// Combines the outcomes of rules, given in any order, into one verdict.
#[derive(Debug, Default)]
pub(super) struct Combiner<'v> {
    outcomes: SmallVec<[(&'v RuleOutcome, Relation); 8]>,
    /// The outcomes are not in the order of names, or have a name twice.
    mixed: bool,
    /// A rule contains the request, and silences those marked `otherwise`.
    contained: bool,
    /// Why a rule that contains the request lets nothing through.
    held_back: Option<&'static str>,
}

impl<'v> Combiner<'v> {
    /// Makes room for this many rules.
    pub fn expect(&mut self, rules: usize) {
        self.outcomes.reserve(rules);
    }

    /// Adds a rule.
    pub fn add(&mut self, outcome: &'v RuleOutcome, relation: Relation) {
        self.mixed = true;
        self.add_next(outcome, relation);
    }

    /// Adds the next rule of a contract, in the order of their names.
    pub fn add_next(&mut self, outcome: &'v RuleOutcome, relation: Relation) {
        let contains = relation == Relation::Contains;
        if contains || (relation == Relation::Overlaps && outcome.is_loud()) {
            self.outcomes.push((outcome, relation));
        }
        self.contained |= contains && !outcome.otherwise && !outcome.on_trial;
    }

    /// A rule would let the request through, except for this reason: given where no other rule lets it through.
    pub fn hold_back(&mut self, reason: &'static str) {
        self.held_back = Some(reason);
    }

    /// The verdict. An approval answers `review`.
    pub fn opinion(self, approval: Option<&Approval>) -> Opinion {
        self.combine(false, approval)
    }

    /// The verdict on a request that needs no rule to let it through. `None`: no rule applies.
    pub fn opinion_unless_silent(self, approval: Option<&Approval>) -> Option<Opinion> {
        (!self.outcomes.is_empty()).then(|| self.combine(true, approval))
    }

    fn combine(mut self, permitted: bool, approval: Option<&Approval>) -> Opinion {
        if self.contained {
            self.outcomes.retain(|(outcome, _)| !outcome.otherwise);
        }
        let by_name = |(a, _): &(&RuleOutcome, _), (b, _): &(&RuleOutcome, _)| a.id.cmp(&b.id);
        if self.mixed {
            self.outcomes.sort_by(by_name);
        }
        let rules = self.outcomes.iter().map(|(outcome, _)| outcome.id.clone());
        let mut rules: Vec<Arc<str>> = rules.collect();
        if self.mixed {
            rules.dedup();
        }
        let permitted = permitted
            || (self.outcomes.iter())
                .any(|(outcome, relation)| *relation == Relation::Contains && outcome.permits());
        // Of equally bad ones the first by name.
        let worst = |without: Option<Verdict>| {
            let said = self.outcomes.iter().map(|(v, of)| (v.effective(), *v, *of));
            said.filter(|(verdict, ..)| Some(*verdict) != without)
                .reduce(|a, b| if b.0 > a.0 { b } else { a })
        };
        let Some((verdict, outcome, relation)) = worst(None) else {
            return blocked(self.held_back.unwrap_or("no rule covers it"));
        };
        if verdict < Verdict::Block && !permitted {
            return Opinion {
                reason: self.held_back.unwrap_or("no rule covers all of it").into(),
                rules,
                verdict: Verdict::Block,
            };
        }
        if let (Verdict::Review, Some(approval)) = (verdict, approval) {
            let rest = worst(Some(Verdict::Review));
            let by = &approval.id;
            return Opinion {
                reason: format!("approved ({by}); {}", outcome.reason(relation)).into(),
                rules,
                verdict: rest.map_or(Verdict::Allow, |(verdict, ..)| verdict),
            };
        }
        Opinion {
            reason: outcome.reason(relation),
            rules,
            verdict,
        }
    }
}

/// Blocked, but not by a rule.
pub(super) fn blocked(reason: impl Into<Arc<str>>) -> Opinion {
    Opinion {
        reason: reason.into(),
        rules: Vec::new(),
        verdict: Verdict::Block,
    }
}
