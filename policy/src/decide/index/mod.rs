//! Finding, among many rules, those whose patterns have anything to do with a request.
//!
//! An index gives what asking each pattern in turn would give (`reference` does so, and a property test
//! compares the two); it says nothing of verdicts. Everything in it is sorted and searched: nothing
//! depends on the order in which rules were written, nor on a hash that is different elsewhere.

pub(super) mod hosts;
pub(super) mod names;
pub(super) mod paths;
mod table;

use smallvec::SmallVec;

use super::pattern::Relation;

/// The number of a rule: its place in its contract, by id.
pub(super) type Rule = u32;

/// The rules that were found, each with the closest of how its patterns stand to the request.
#[derive(Debug)]
pub(super) struct Hits {
    /// Of 64 rules each, a bit for each that touches, and for each that covers.
    words: SmallVec<[(u64, u64); 16]>,
}

impl Hits {
    /// None of so many rules.
    pub fn of(rules: usize) -> Self {
        Self {
            words: SmallVec::from_elem((0, 0), rules.div_ceil(64)),
        }
    }

    /// A rule of which one pattern stands so.
    pub fn add(&mut self, rule: Rule, relation: Relation) {
        let bit = 1 << (rule % 64);
        if let Some((touch, cover)) = self.words.get_mut(rule as usize / 64) {
            match relation {
                Relation::Apart => {}
                Relation::Touches => *touch |= bit,
                Relation::Covers => *cover |= bit,
            }
        }
    }

    /// Some of them.
    pub fn add_all(&mut self, rules: &[Rule], relation: Relation) {
        for rule in rules {
            self.add(*rule, relation);
        }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        let words = self.words.iter();
        words
            .map(|(touch, cover)| (touch | cover).count_ones() as usize)
            .sum()
    }

    /// Each rule once, by number.
    pub fn by_rule(&self) -> impl Iterator<Item = (usize, Relation)> {
        let words = self.words.iter().enumerate();
        words.flat_map(|(at, (touch, cover))| {
            let mut left = touch | cover;
            std::iter::from_fn(move || {
                let bit = left & left.wrapping_neg();
                left ^= bit;
                let relation = match cover & bit {
                    0 => Relation::Touches,
                    _ => Relation::Covers,
                };
                (bit != 0).then(|| (at * 64 + bit.trailing_zeros() as usize, relation))
            })
        })
    }
}
