//! Finding, among many rules, those whose patterns have anything to do with a request.
//!
//! An index gives what asking each pattern in turn would give (`tests/reference.rs` does so, and a property test
//! compares the two); it says nothing of verdicts. Everything in it is sorted and searched: nothing
//! depends on the order in which rules were written, nor on a hash that is different elsewhere.

pub(super) mod hosts;
mod names;
pub(super) mod paths;

use smallvec::SmallVec;

use super::pattern::Relation;
use crate::model::Action;

/// The number of a rule: its place in its contract, by id.
pub(super) type Rule = u32;

/// Some of the actions of the `capabilities` contract; or all that there is to ask of another contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Actions(pub u16);

impl Actions {
    pub const ALL: Self = Self(u16::MAX);

    pub fn of(action: Action) -> Self {
        Self(1 << action as u16)
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a pattern stands for: its rule, as far as that is about some actions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub rule: Rule,
    /// Which pattern of the rule it is, in their order; for traces only.
    pub pattern: u16,
    pub on: Actions,
}

/// What an evaluation tells of itself while it goes on: `()`, which is told nothing and costs nothing, or the
/// trace that `explain` asks for.
pub(super) trait Collect {
    /// Whether it is also told of what never affects the verdict: that a rule that allows overlaps a request.
    const ALL: bool;

    /// That a pattern stands so to the request.
    fn pattern(&mut self, claim: Claim, relation: Relation);
}

impl Collect for () {
    const ALL: bool = false;

    fn pattern(&mut self, _: Claim, _: Relation) {}
}

/// Some of a list of what goes on for as long as there are rules: counted in 32 bits, as rules are.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from: u32,
    to: u32,
}

fn span(from: usize, to: usize) -> Span {
    let number = |at| u32::try_from(at).unwrap_or(u32::MAX);
    Span {
        from: number(from),
        to: number(to),
    }
}

impl Span {
    fn of<T>(self, list: &[T]) -> &[T] {
        list.get(self.from as usize..self.to as usize)
            .unwrap_or_default()
    }

    fn is_empty(self) -> bool {
        self.from == self.to
    }
}

/// The rules that were found, each with the closest of how its patterns stand to the request.
#[derive(Debug)]
pub(super) struct Hits<C = ()> {
    /// For 64 rules each, a bit for each that overlaps, and for each that contains.
    words: SmallVec<[(u64, u64); 16]>,
    /// What is asked about.
    about: Actions,
    collect: C,
}

impl<C: Collect> Hits<C> {
    /// None of so many rules.
    pub fn of(rules: usize, about: Actions, collect: C) -> Self {
        Self {
            words: SmallVec::from_elem((0, 0), rules.div_ceil(64)),
            about,
            collect,
        }
    }

    /// A rule of which one pattern stands so, if it is about what is asked.
    pub fn add(&mut self, claim: Claim, relation: Relation) {
        if !claim.on.meets(self.about) {
            return;
        }
        self.collect.pattern(claim, relation);
        let bit = 1 << (claim.rule % 64);
        if let Some((touch, cover)) = self.words.get_mut(claim.rule as usize / 64) {
            match relation {
                Relation::Disjoint => {}
                Relation::Overlaps => *touch |= bit,
                Relation::Contains => *cover |= bit,
            }
        }
    }

    /// Some of them.
    pub fn add_all(&mut self, claims: &[Claim], relation: Relation) {
        for claim in claims {
            self.add(*claim, relation);
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
                    0 => Relation::Overlaps,
                    _ => Relation::Contains,
                };
                (bit != 0).then(|| (at * 64 + bit.trailing_zeros() as usize, relation))
            })
        })
    }
}
