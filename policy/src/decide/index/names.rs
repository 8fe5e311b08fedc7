//! Names and globs, and what each stands for.

use std::collections::BTreeMap;

use super::super::pattern::{Glob, NamePattern, Relation};
use super::{Hits, Rule};

/// A table from names and globs to values, asked with a name.
#[derive(Debug)]
pub(in super::super) struct Names<T> {
    /// By name.
    exact: Vec<(Box<str>, T)>,
    /// Globs by how they end: those whose end says more than their beginning.
    ends: Vec<Affixes<T>>,
    /// Globs by how they begin.
    begins: Vec<Affixes<T>>,
    /// Globs that begin and end with `*`.
    other: Vec<(Glob, T)>,
}

/// Globs whose beginnings, or ends, have one length.
#[derive(Debug)]
struct Affixes<T> {
    length: usize,
    /// By that beginning or end.
    globs: Vec<(Box<str>, Vec<(Glob, T)>)>,
}

impl<T> Names<T> {
    pub fn new(names: BTreeMap<Box<str>, T>, globs: BTreeMap<Glob, T>) -> Self {
        let mut ends = BTreeMap::new();
        let mut begins = BTreeMap::new();
        let mut other = Vec::new();
        for (glob, value) in globs {
            let (by, affix) = match (&glob.first, &glob.last) {
                (first, last) if first.is_empty() && last.is_empty() => {
                    other.push((glob, value));
                    continue;
                }
                (first, last) if last.len() >= first.len() => (&mut ends, last.clone()),
                (first, _) => (&mut begins, first.clone()),
            };
            let same_length: &mut BTreeMap<_, Vec<_>> = by.entry(affix.len()).or_default();
            same_length.entry(affix).or_default().push((glob, value));
        }
        let affixes = |by: BTreeMap<usize, BTreeMap<Box<str>, Vec<(Glob, T)>>>| {
            by.into_iter()
                .map(|(length, globs)| Affixes {
                    length,
                    globs: globs.into_iter().collect(),
                })
                .collect()
        };
        Self {
            exact: names.into_iter().collect(),
            ends: affixes(ends),
            begins: affixes(begins),
            other,
        }
    }

    /// The values of all that the name is in.
    pub fn find(&self, name: &[u8], mut found: impl FnMut(&T)) {
        if let Some(value) = look_up(&self.exact, name) {
            found(value);
        }
        let mut try_all = |globs: &[(Glob, T)]| {
            for (glob, value) in globs {
                if glob.matches(name) {
                    found(value);
                }
            }
        };
        for Affixes { length, globs } in &self.ends {
            let end = name
                .len()
                .checked_sub(*length)
                .and_then(|at| name.get(at..));
            if let Some(globs) = end.and_then(|end| look_up(globs, end)) {
                try_all(globs);
            }
        }
        for Affixes { length, globs } in &self.begins {
            if let Some(globs) = name.get(..*length).and_then(|begin| look_up(globs, begin)) {
                try_all(globs);
            }
        }
        try_all(&self.other);
    }
}

/// In what is sorted by name.
fn look_up<'t, V>(table: &'t [(Box<str>, V)], name: &[u8]) -> Option<&'t V> {
    let at = table.binary_search_by(|(own, _)| own.as_bytes().cmp(name));
    at.ok().and_then(|at| table.get(at)).map(|(_, value)| value)
}

/// The patterns of names of many rules.
#[derive(Debug)]
pub(in super::super) struct NameRules(Names<Vec<Rule>>);

impl NameRules {
    pub fn new<'p>(patterns: impl IntoIterator<Item = (&'p NamePattern, Rule)>) -> Self {
        let mut names: BTreeMap<Box<str>, Vec<Rule>> = BTreeMap::new();
        let mut globs: BTreeMap<Glob, Vec<Rule>> = BTreeMap::new();
        for (pattern, rule) in patterns {
            match pattern {
                NamePattern::Name(name) => names.entry(name.clone()).or_default().push(rule),
                NamePattern::Glob(glob) => globs.entry(glob.clone()).or_default().push(rule),
            }
        }
        Self(Names::new(names, globs))
    }

    /// The rules that have the name.
    pub fn ask(&self, name: &[u8], relation: Relation, hits: &mut Hits) {
        self.0.find(name, |rules| hits.add_all(rules, relation));
    }
}
