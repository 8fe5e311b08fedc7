//! Names that stand for all names, as far as patterns with `*` can tell them apart.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// At most so many different beginnings of names are looked at; beyond, the answer is not complete.
const MAX_STATES: usize = 20_000;

/// Names such that any name at all matches the same of `patterns` as one of them does; with the patterns
/// that each matches, by their places. Whether that is so: the search may have been cut short.
///
/// The patterns are read as one automaton that reads all of them at once. Every state that it can reach has
/// a shortest name that leads there, and names that lead to the same state are alike to the patterns.
pub(super) fn classes(patterns: &[&str]) -> (Vec<(String, Vec<usize>)>, bool) {
    let patterns: Vec<Vec<char>> = patterns.iter().map(|p| p.chars().collect()).collect();
    let other = unused(&patterns);
    // Positions that are left to match: of which pattern, and where in it.
    type State = Vec<(usize, usize)>;
    let close = |state: &mut BTreeSet<(usize, usize)>| {
        let mut new: Vec<_> = state.iter().copied().collect();
        while let Some((pattern, at)) = new.pop() {
            // `*` may stand for nothing.
            if patterns[pattern].get(at) == Some(&'*') && state.insert((pattern, at + 1)) {
                new.push((pattern, at + 1));
            }
        }
    };
    let mut start = BTreeSet::from_iter((0..patterns.len()).map(|pattern| (pattern, 0)));
    close(&mut start);
    let start: State = start.into_iter().collect();
    // Where it starts is not seen yet: no name is empty.
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([(start, String::new())]);
    let mut found: BTreeMap<Vec<usize>, String> = BTreeMap::new();
    let mut order = Vec::new();
    while let Some((state, name)) = queue.pop_front() {
        if !name.is_empty() && name != "." && name != ".." {
            let matched: Vec<usize> = (state.iter())
                .filter(|(pattern, at)| *at == patterns[*pattern].len())
                .map(|(pattern, _)| *pattern)
                .collect();
            if !found.contains_key(&matched) {
                order.push(matched.clone());
                found.insert(matched, name.clone());
            }
        }
        let mut letters: BTreeSet<char> = (state.iter())
            .filter_map(|(pattern, at)| patterns[*pattern].get(*at).copied())
            .filter(|c| *c != '*')
            .collect();
        letters.insert(other);
        for letter in letters {
            let mut next: BTreeSet<(usize, usize)> = (state.iter())
                .filter_map(|&(pattern, at)| match patterns[pattern].get(at) {
                    Some('*') => Some((pattern, at)),
                    Some(c) if *c == letter => Some((pattern, at + 1)),
                    _ => None,
                })
                .collect();
            close(&mut next);
            let next: State = next.into_iter().collect();
            // `.` and `..` are no names, but names begin with them: they lead on from states of their own.
            let name = format!("{name}{letter}");
            let dots = name == "." || name == "..";
            if dots || seen.insert(next.clone()) {
                queue.push_back((next, name));
            }
        }
        if seen.len() > MAX_STATES {
            return (listed(order, &found), false);
        }
    }
    (listed(order, &found), true)
}

fn listed(
    order: Vec<Vec<usize>>,
    found: &BTreeMap<Vec<usize>, String>,
) -> Vec<(String, Vec<usize>)> {
    (order.into_iter())
        .map(|matched| (found[&matched].clone(), matched))
        .collect()
}

/// A character that no pattern has.
fn unused(patterns: &[Vec<char>]) -> char {
    let used: BTreeSet<char> = patterns.iter().flatten().copied().collect();
    ('a'..='z')
        .rev()
        .skip(2)
        .chain(['z', 'y'])
        .chain('A'..='Z')
        .chain('0'..='9')
        .chain('\u{e0}'..='\u{ffff}')
        .find(|c| !used.contains(c))
        .unwrap_or('x')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(patterns: &[&str]) -> Vec<String> {
        let (classes, complete) = classes(patterns);
        assert!(complete);
        classes.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn there_is_a_name_for_each_way_to_match() {
        assert_eq!(names(&[]), ["x"]);
        assert_eq!(names(&["*"]), ["x"]);
        assert_eq!(names(&["git"]), ["x", "git"]);
        let both = names(&["git", "git*", "*t"]);
        for name in ["x", "t", "git", "gitx", "gitt"] {
            assert!(both.contains(&name.to_owned()), "{name} in {both:?}");
        }
        assert_eq!(both.len(), 5);
    }

    #[test]
    fn dots_are_no_names_but_may_begin_them() {
        let found = names(&[".*", "..*", ".ssh"]);
        for name in [".x", "..x", ".ssh", "x"] {
            assert!(found.contains(&name.to_owned()), "{name} in {found:?}");
        }
    }
}
