//! Names and globs, and what each stands for.

use std::collections::BTreeMap;

use super::super::pattern::{Glob, NamePattern, Relation};
use super::table::Table;
use super::{Claim, Claims, Hits};

type Globs<T> = Vec<(Glob, T)>;

/// A table from names and globs to values, asked with a name.
#[derive(Debug, Default)]
pub(in super::super) struct Names<T> {
    /// By name.
    exact: Table<T>,
    exact_firsts: Bytes,
    /// Globs by how they end: those whose end says more than their beginning.
    ends: Vec<Affixes<T>>,
    ends_lasts: Bytes,
    /// Globs by how they begin.
    begins: Vec<Affixes<T>>,
    begins_firsts: Bytes,
    /// Globs that begin and end with `*`.
    other: Globs<T>,
}

/// A set of bytes: most names are not in most tables, which their first or last byte tells.
#[derive(Debug, Default)]
struct Bytes([u64; 4]);

impl Bytes {
    fn add(&mut self, byte: Option<&u8>) {
        let byte = byte.copied().unwrap_or_default();
        if let Some(word) = self.0.get_mut(usize::from(byte / 64)) {
            *word |= 1 << (byte % 64);
        }
    }

    fn has(&self, byte: Option<&u8>) -> bool {
        let byte = byte.copied().unwrap_or_default();
        let word = self.0.get(usize::from(byte / 64)).copied();
        word.unwrap_or_default() & (1 << (byte % 64)) != 0
    }
}

/// Globs whose beginnings, or ends, have one length.
#[derive(Debug)]
struct Affixes<T> {
    length: usize,
    /// By that beginning or end.
    globs: Table<Globs<T>>,
}

impl<T> Names<T> {
    /// In the order of the names, each once; and any globs.
    pub fn new(names: Vec<(Box<str>, T)>, globs: Globs<T>) -> Self {
        let mut ends = BTreeMap::new();
        let mut begins = BTreeMap::new();
        let mut other = Vec::new();
        let [mut exact_firsts, mut ends_lasts, mut begins_firsts] =
            [Bytes::default(), Bytes::default(), Bytes::default()];
        for (name, _) in &names {
            exact_firsts.add(name.as_bytes().first());
        }
        for (glob, value) in globs {
            let (by, affix) = match (&glob.first, &glob.last) {
                (first, last) if first.is_empty() && last.is_empty() => {
                    other.push((glob, value));
                    continue;
                }
                (first, last) if last.len() >= first.len() => {
                    ends_lasts.add(last.as_bytes().last());
                    (&mut ends, last.clone())
                }
                (first, _) => {
                    begins_firsts.add(first.as_bytes().first());
                    (&mut begins, first.clone())
                }
            };
            let same_length: &mut BTreeMap<_, Globs<T>> = by.entry(affix.len()).or_default();
            same_length.entry(affix).or_default().push((glob, value));
        }
        let affixes = |by: BTreeMap<usize, BTreeMap<Box<str>, Globs<T>>>| {
            by.into_iter()
                .map(|(length, globs)| Affixes {
                    length,
                    globs: Table::new(globs.into_iter().collect()),
                })
                .collect()
        };
        Self {
            exact: Table::new(names),
            exact_firsts,
            ends: affixes(ends),
            ends_lasts,
            begins: affixes(begins),
            begins_firsts,
            other,
        }
    }

    /// The values of all that the name is in.
    pub fn find(&self, name: &[u8], mut found: impl FnMut(&T)) {
        let (first, last) = (name.first(), name.last());
        if self.exact_firsts.has(first)
            && let Some(value) = self.exact.get(name)
        {
            found(value);
        }
        let mut try_all = |globs: &[(Glob, T)]| {
            for (glob, value) in globs {
                if glob.matches(name) {
                    found(value);
                }
            }
        };
        if self.ends_lasts.has(last) {
            for Affixes { length, globs } in &self.ends {
                let end = name
                    .len()
                    .checked_sub(*length)
                    .and_then(|at| name.get(at..));
                if let Some(globs) = end.and_then(|end| globs.get(end)) {
                    try_all(globs);
                }
            }
        }
        if self.begins_firsts.has(first) {
            for Affixes { length, globs } in &self.begins {
                if let Some(globs) = name.get(..*length).and_then(|begin| globs.get(begin)) {
                    try_all(globs);
                }
            }
        }
        try_all(&self.other);
    }
}

/// The patterns of names of many rules.
#[derive(Debug)]
pub(in super::super) struct NameRules(Names<Claims>);

impl NameRules {
    pub fn new(mut patterns: Vec<(NamePattern, Claim)>) -> Self {
        patterns.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (mut names, mut globs) = (Vec::new(), Vec::new());
        for same in patterns.chunk_by(|(a, _), (b, _)| a == b) {
            let claims = same.iter().map(|(_, claim)| *claim).collect();
            match same {
                [(NamePattern::Name(name), _), ..] => names.push((name.clone(), claims)),
                [(NamePattern::Glob(glob), _), ..] => globs.push((glob.clone(), claims)),
                [] => {}
            }
        }
        Self(Names::new(names, globs))
    }

    /// The rules that have the name.
    pub fn ask(&self, name: &[u8], relation: Relation, hits: &mut Hits) {
        self.0.find(name, |claims| hits.add_all(claims, relation));
    }
}
