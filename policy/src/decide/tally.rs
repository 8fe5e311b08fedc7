//! Putting together what the rules say.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::decision::Opinion;
use crate::model::{Head, Mode, Verdict};
use crate::rego::Said;
use crate::request::Approval;

use super::pattern::Relation;

/// What every rule has, of whatever contract.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub id: Arc<str>,
    /// In mode `warn`: what comes of a request is not for it to say, nor what other rules say.
    on_trial: bool,
    otherwise: bool,
    verdict: Verdict,
    /// Why, when it covers.
    said: Arc<str>,
    /// Why, when it only touches.
    said_of_part: Arc<str>,
}

impl Voice {
    pub fn new(head: Head<'_>) -> Self {
        let Head { id, verdict, .. } = head;
        let on_trial = head.mode == Mode::Warn;
        let why = head
            .reason
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        let done = verdict.done();
        let would = match on_trial {
            true => format!("would be {done} by rule `{id}`, which is in mode warn"),
            false => format!("{done} by rule `{id}`"),
        };
        Self {
            id: id.into(),
            on_trial,
            otherwise: head.otherwise,
            verdict,
            said_of_part: format!("it may hold what is {would}{why}").into(),
            said: format!("{would}{why}").into(),
        }
    }

    /// A rule in Rego, and how it stands. Only `allow` covers: the others make a verdict worse, and let
    /// nothing through.
    pub fn of_rego(said: &Said) -> (Self, Relation) {
        let voice = Self::new(said.head());
        let relation = match said.verdict {
            Verdict::Allow => Relation::Covers,
            Verdict::Warn | Verdict::Review | Verdict::Block => Relation::Touches,
        };
        let said_of_part = voice.said.clone();
        let voice = Self {
            said_of_part,
            ..voice
        };
        (voice, relation)
    }

    /// What it says.
    pub fn effective(&self) -> Verdict {
        match self.on_trial {
            true => self.verdict.min(Verdict::Warn),
            false => self.verdict,
        }
    }

    /// Whether a request that it covers may be let through for it, though a person may have to be asked.
    pub fn permits(&self) -> bool {
        !self.on_trial && self.verdict < Verdict::Block
    }

    /// Whether it has something to say of what it only touches.
    pub fn is_loud(&self) -> bool {
        self.effective() > Verdict::Allow
    }

    fn said(&self, of: Relation) -> Arc<str> {
        match of {
            Relation::Covers => self.said.clone(),
            Relation::Touches | Relation::Apart => self.said_of_part.clone(),
        }
    }
}

/// The rules heard so far, in any order.
#[derive(Debug, Default)]
pub(super) struct Tally<'v> {
    heard: SmallVec<[(&'v Voice, Relation); 8]>,
    /// Not in the order of names, or the same name twice.
    mixed: bool,
    /// By a rule that keeps those marked `otherwise` silent.
    covered: bool,
    /// Why what seems to be let through is not.
    held_back: Option<&'static str>,
}

impl<'v> Tally<'v> {
    /// That so many rules will be heard.
    pub fn expect(&mut self, rules: usize) {
        self.heard.reserve(rules);
    }

    /// Hears a rule.
    pub fn hear(&mut self, voice: &'v Voice, relation: Relation) {
        self.mixed = true;
        self.hear_next(voice, relation);
    }

    /// Hears the next rule of a contract, in the order of their names.
    pub fn hear_next(&mut self, voice: &'v Voice, relation: Relation) {
        let covers = relation == Relation::Covers;
        if covers || (relation == Relation::Touches && voice.is_loud()) {
            self.heard.push((voice, relation));
        }
        self.covered |= covers && !voice.otherwise && !voice.on_trial;
    }

    /// That a rule would let it through, but for this: the reason, if no other does.
    pub fn hold_back(&mut self, reason: &'static str) {
        self.held_back = Some(reason);
    }

    /// The verdict. An approval stands for what a person would say to `review`.
    pub fn opinion(self, approval: Option<&Approval>) -> Opinion {
        self.put_together(false, approval)
    }

    /// The verdict, where nothing has to be let through by a rule. `None`: no rule spoke.
    pub fn opinion_unless_silent(self, approval: Option<&Approval>) -> Option<Opinion> {
        (!self.heard.is_empty()).then(|| self.put_together(true, approval))
    }

    fn put_together(mut self, permitted: bool, approval: Option<&Approval>) -> Opinion {
        if self.covered {
            self.heard.retain(|(voice, _)| !voice.otherwise);
        }
        let by_name = |(a, _): &(&Voice, _), (b, _): &(&Voice, _)| a.id.cmp(&b.id);
        if self.mixed {
            self.heard.sort_by(by_name);
        }
        let rules = self.heard.iter().map(|(voice, _)| voice.id.clone());
        let mut rules: Vec<Arc<str>> = rules.collect();
        if self.mixed {
            rules.dedup();
        }
        let permitted = permitted
            || (self.heard.iter())
                .any(|(voice, relation)| *relation == Relation::Covers && voice.permits());
        // Of equals the first: that of the first name.
        let worst = |without: Option<Verdict>| {
            let said = self.heard.iter().map(|(v, of)| (v.effective(), *v, *of));
            said.filter(|(verdict, ..)| Some(*verdict) != without)
                .reduce(|a, b| if b.0 > a.0 { b } else { a })
        };
        let Some((verdict, voice, relation)) = worst(None) else {
            return refusal(self.held_back.unwrap_or("no rule covers it"));
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
                reason: format!("approved ({by}); {}", voice.said(relation)).into(),
                rules,
                verdict: rest.map_or(Verdict::Allow, |(verdict, ..)| verdict),
            };
        }
        Opinion {
            reason: voice.said(relation),
            rules,
            verdict,
        }
    }
}

/// Blocked without a rule that says so.
pub(super) fn refusal(reason: impl Into<Arc<str>>) -> Opinion {
    Opinion {
        reason: reason.into(),
        rules: Vec::new(),
        verdict: Verdict::Block,
    }
}
