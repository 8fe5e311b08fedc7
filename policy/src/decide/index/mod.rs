//! Finds, among many rules, those whose patterns contain or overlap a request.
//!
//! An index gives the same answer as asking each pattern in turn (`tests/reference.rs` does so, and a property
//! test compares the two); it knows no verdicts. Everything in it is sorted and searched: nothing depends on
//! the order in which rules were written, nor on a hash that differs between machines.

pub(super) mod hosts;
mod names;
pub(super) mod paths;

use smallvec::SmallVec;

use super::pattern::Relation;
use crate::model::Action;

/// The number of a rule: its place in its contract, by id.
pub(super) type Rule = u32;

/// A set of actions of the `capabilities` contract; [`Actions::ALL`] for the other contracts.
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

/// The rule of a pattern, and the actions that the pattern is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub rule: Rule,
    /// The number of the pattern in its rule; for traces only.
    pub pattern: u16,
    pub on: Actions,
}

/// Receives what an evaluation finds: `()` ignores it at no cost, the trace for `explain` keeps it.
pub(super) trait Collect {
    /// Whether it also receives what never affects the verdict: that a rule that allows overlaps a request.
    const ALL: bool;

    /// A pattern has this relation to the request.
    fn pattern(&mut self, claim: Claim, relation: Relation);
}

impl Collect for () {
    const ALL: bool = false;

    fn pattern(&mut self, _: Claim, _: Relation) {}
}

/// A range of a list that grows with the rules: counted in 32 bits, as rules are.
#[derive(Clone, Copy, Debug, Default)]
struct ListRange {
    from: u32,
    to: u32,
}

fn list_range(from: usize, to: usize) -> ListRange {
    let number = |at| u32::try_from(at).unwrap_or(u32::MAX);
    ListRange {
        from: number(from),
        to: number(to),
    }
}

impl ListRange {
    fn of<T>(self, list: &[T]) -> &[T] {
        list.get(self.from as usize..self.to as usize)
            .unwrap_or_default()
    }

    fn holds(self, at: u32) -> bool {
        (self.from..self.to).contains(&at)
    }

    fn is_empty(self) -> bool {
        self.from == self.to
    }
}

/// The rules that were found, each with the closest relation of its patterns to the request.
#[derive(Debug)]
pub(super) struct Hits<C = ()> {
    /// For each 64 rules, one bit per rule that overlaps, and one per rule that contains.
    words: SmallVec<[(u64, u64); 16]>,
    /// The actions asked about.
    about: Actions,
    collect: C,
}

impl<C: Collect> Hits<C> {
    /// No hits yet, among this many rules.
    pub fn of(rules: usize, about: Actions, collect: C) -> Self {
        Self {
            words: SmallVec::from_elem((0, 0), rules.div_ceil(64)),
            about,
            collect,
        }
    }

    /// Adds the relation of a rule's pattern, if the rule is about the actions asked about.
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

    /// Adds several.
    pub fn add_all(&mut self, claims: &[Claim], relation: Relation) {
        for claim in claims {
            self.add(*claim, relation);
        }
    }

    /// The number of rules found.
    pub fn count(&self) -> usize {
        let words = self.words.iter();
        words
            .map(|(touch, cover)| (touch | cover).count_ones() as usize)
            .sum()
    }

    /// Each rule found, once, by number.
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
