//! Putting together what the rules say.

use std::sync::Arc;

use crate::decision::Opinion;
use crate::model::{Mode, Verdict};
use crate::request::Approval;

use super::pattern::Relation;

/// What every rule has, of whatever contract.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub id: Arc<str>,
    verdict: Verdict,
    /// In mode `warn`, with a verdict that would be worse.
    softened: bool,
    pub otherwise: bool,
    /// Why, when it covers.
    said: Arc<str>,
    /// Why, when it only touches.
    said_of_part: Arc<str>,
}

impl Voice {
    pub fn new(id: &str, verdict: Verdict, mode: Mode, otherwise: bool, why: Option<&str>) -> Self {
        let softened = mode == Mode::Warn && verdict > Verdict::Warn;
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let would = match softened {
            true => format!(
                "would be {} by rule `{id}`, which is in mode warn",
                verdict.done()
            ),
            false => format!("{} by rule `{id}`", verdict.done()),
        };
        Self {
            id: id.into(),
            verdict,
            softened,
            otherwise,
            said: format!("{would}{why}").into(),
            said_of_part: format!("it holds something that is {would}{why}").into(),
        }
    }

    /// Whether it says less than its verdict, being in mode `warn`.
    pub fn is_softened(&self) -> bool {
        self.softened
    }

    /// What it says.
    pub fn effective(&self) -> Verdict {
        if self.softened {
            Verdict::Warn
        } else {
            self.verdict
        }
    }
}

/// The rules heard so far.
#[derive(Debug, Default)]
pub(super) struct Tally<'v> {
    heard: Vec<(&'v Voice, Relation)>,
    covered: bool,
}

impl<'v> Tally<'v> {
    /// Hears an ordinary rule.
    pub fn hear(&mut self, voice: &'v Voice, relation: Relation) {
        let speaks = match relation {
            Relation::Apart => false,
            Relation::Touches => voice.effective() > Verdict::Allow,
            Relation::Covers => true,
        };
        if speaks {
            self.heard.push((voice, relation));
        }
        self.covered |= relation == Relation::Covers && !voice.otherwise;
    }

    /// Whether rules marked `otherwise` have nothing to say.
    pub fn is_covered(&self) -> bool {
        self.covered
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
        self.heard.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        self.heard.dedup_by(|(a, _), (b, _)| a.id == b.id);
        let rules = self
            .heard
            .iter()
            .map(|(voice, _)| voice.id.clone())
            .collect();
        let permitted = permitted
            || self.heard.iter().any(|(voice, relation)| {
                *relation == Relation::Covers && !voice.softened && voice.verdict < Verdict::Block
            });
        let worst = |heard: &[(&'v Voice, Relation)]| {
            heard
                .iter()
                .map(|(voice, relation)| (voice.effective(), *voice, *relation))
                // Of equals the first: that of the first name.
                .reduce(|a, b| if b.0 > a.0 { b } else { a })
        };
        let Some((verdict, voice, relation)) = worst(&self.heard) else {
            return refusal("no rule covers it");
        };
        if verdict < Verdict::Block && !permitted {
            return Opinion {
                reason: "no rule covers all of it".into(),
                rules,
                verdict: Verdict::Block,
            };
        }
        if let (Verdict::Review, Some(approval)) = (verdict, approval) {
            self.heard
                .retain(|(voice, _)| voice.effective() != Verdict::Review);
            let rest = worst(&self.heard).map_or(Verdict::Allow, |(verdict, ..)| verdict);
            let by = &approval.id;
            return Opinion {
                reason: format!("approved ({by}); {}", voice.said).into(),
                rules,
                verdict: rest,
            };
        }
        Opinion {
            reason: match relation {
                Relation::Covers => voice.said.clone(),
                _ => voice.said_of_part.clone(),
            },
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
