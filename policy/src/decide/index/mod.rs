//! Finding, among many rules, those whose patterns have anything to do with a request.
//!
//! An index gives what asking each pattern in turn would give (`reference` does so, and a property test
//! compares the two); it says nothing of verdicts. Everything in it is sorted and searched: nothing
//! depends on the order in which rules were written, nor on a hash.

pub(super) mod hosts;
pub(super) mod names;
pub(super) mod paths;

use super::pattern::Relation;

/// The number of a rule: its place in its contract, by id.
pub(super) type Rule = u32;

/// The rules that were found, each with how it stands to the request.
#[derive(Debug, Default)]
pub(super) struct Hits(Vec<(Rule, Relation)>);

impl Hits {
    /// A rule of which one pattern stands so.
    pub fn add(&mut self, rule: Rule, relation: Relation) {
        if self.0.is_empty() {
            self.0.reserve(16);
        }
        self.0.push((rule, relation));
    }

    /// Some of them.
    pub fn add_all(&mut self, rules: &[Rule], relation: Relation) {
        for rule in rules {
            self.add(*rule, relation);
        }
    }

    /// Each rule once, by number, with the closest of what its patterns said.
    pub fn by_rule(mut self) -> impl Iterator<Item = (usize, Relation)> {
        self.0.sort_unstable();
        let mut hits = self.0.into_iter().peekable();
        std::iter::from_fn(move || {
            let (rule, mut relation) = hits.next()?;
            while let Some((_, closer)) = hits.next_if(|(next, _)| *next == rule) {
                relation = closer;
            }
            Some((rule as usize, relation))
        })
    }
}
