//! Names that stand for all names, as far as patterns with `*` can tell them apart.

use std::collections::{BTreeSet, VecDeque};

/// At most so many different beginnings of names are looked at; beyond, the answer is not complete.
const MAX_STATES: usize = 20_000;

/// Names such that any name at all matches a pattern of the same of `groups` as one of them does; with the
/// groups that each matches. Whether that is so: the search may have been cut short.
///
/// Groups are lists of places in `patterns`; the patterns of a rule are one, since it makes no difference
/// which of them matches. All patterns are read at once, as one automaton. Every state that it can reach has
/// a shortest name that leads there, and names that lead to the same state are alike to the groups.
pub(super) fn classes(patterns: &[&str], groups: &[Vec<usize>]) -> (Vec<Class>, bool) {
    let patterns: Vec<Vec<char>> = patterns.iter().map(|p| p.chars().collect()).collect();
    let other = unused(&patterns);
    let settle = |state: BTreeSet<(usize, usize)>, before: &State| {
        // `*` may stand for nothing.
        let state = closed(state, |pattern, at| patterns[pattern].get(at) == Some(&'*'));
        // What ends in `*` is matched whatever follows.
        let matched = |(pattern, at): (usize, usize)| {
            at + 1 == patterns[pattern].len() && patterns[pattern][at] == '*'
        };
        settled(state, before, groups, matched)
    };
    let start = (0..patterns.len()).map(|pattern| (pattern, 0)).collect();
    let start = settle(start, &State::default());
    // Where it starts is not seen yet: no name is empty.
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([(start, String::new())]);
    let mut known = BTreeSet::new();
    let mut found = Vec::new();
    while let Some((state, name)) = queue.pop_front() {
        if !name.is_empty() && name != "." && name != ".." {
            let whole = |pattern: usize| state.open.contains(&(pattern, patterns[pattern].len()));
            let matched: Vec<usize> = (0..groups.len())
                .filter(|group| {
                    state.done.contains(group) || groups[*group].iter().any(|p| whole(*p))
                })
                .collect();
            if known.insert(matched.clone()) {
                found.push((name.clone(), matched));
            }
        }
        let letters: BTreeSet<char> = (state.open.iter())
            .filter_map(|(pattern, at)| patterns[*pattern].get(*at).copied())
            .filter(|c| *c != '*')
            .collect();
        // A stranger first: it does not look like the beginning of something else.
        for letter in [other].into_iter().chain(letters) {
            let next = (state.open.iter())
                .filter_map(|&(pattern, at)| match patterns[pattern].get(at) {
                    Some('*') => Some((pattern, at)),
                    Some(c) if *c == letter => Some((pattern, at + 1)),
                    _ => None,
                })
                .collect();
            let next = settle(next, &state);
            // `.` and `..` are no names, but names begin with them: they lead on from states of their own.
            let name = format!("{name}{letter}");
            let dots = name == "." || name == "..";
            if dots || seen.insert(next.clone()) {
                queue.push_back((next, name));
            }
        }
        if seen.len() > MAX_STATES {
            return (found, false);
        }
    }
    (found, true)
}

/// A name, and the groups that match it.
pub(super) type Class = (String, Vec<usize>);

/// Where an automaton of many patterns is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    /// Groups that match whatever follows.
    pub done: BTreeSet<usize>,
    /// Places from which patterns are still to be matched: which, and where in it.
    pub open: BTreeSet<(usize, usize)>,
}

/// With the places behind those parts that may stand for nothing.
pub(super) fn closed(
    mut places: BTreeSet<(usize, usize)>,
    may_be_nothing: impl Fn(usize, usize) -> bool,
) -> BTreeSet<(usize, usize)> {
    let mut new: Vec<_> = places.iter().copied().collect();
    while let Some((pattern, at)) = new.pop() {
        if may_be_nothing(pattern, at) && places.insert((pattern, at + 1)) {
            new.push((pattern, at + 1));
        }
    }
    places
}

/// Without what makes no difference any more: the patterns of groups that match whatever follows.
pub(super) fn settled(
    mut places: BTreeSet<(usize, usize)>,
    before: &State,
    groups: &[Vec<usize>],
    matched: impl Fn((usize, usize)) -> bool,
) -> State {
    let forever: BTreeSet<usize> = (places.iter().copied())
        .filter(|place| matched(*place))
        .map(|(pattern, _)| pattern)
        .collect();
    let mut done = before.done.clone();
    done.extend((0..groups.len()).filter(|g| groups[*g].iter().any(|p| forever.contains(p))));
    let wanted: BTreeSet<usize> = (0..groups.len())
        .filter(|group| !done.contains(group))
        .flat_map(|group| groups[group].iter().copied())
        .collect();
    places.retain(|(pattern, _)| wanted.contains(pattern));
    State { done, open: places }
}

/// Each pattern as a group of its own.
pub(super) fn singly(patterns: usize) -> Vec<Vec<usize>> {
    (0..patterns).map(|pattern| vec![pattern]).collect()
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
        let (classes, complete) = classes(patterns, &singly(patterns.len()));
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
    fn of_the_patterns_of_one_group_any_is_as_good_as_another() {
        let secrets = [
            "*TOKEN*",
            "*SECRET*",
            "*KEY*",
            "*AUTH*",
            "*PASSWORD*",
            "*CREDENTIAL*",
            "KEY",
        ];
        let groups = [(0..6).collect(), vec![6]];
        let (found, complete) = classes(&secrets, &groups);
        assert!(complete);
        let found: Vec<Vec<usize>> = found.into_iter().map(|(_, groups)| groups).collect();
        assert_eq!(found, [vec![], vec![0, 1], vec![0]]);
    }

    #[test]
    fn dots_are_no_names_but_may_begin_them() {
        let found = names(&[".*", "..*", ".ssh"]);
        for name in [".x", "..x", ".ssh", "x"] {
            assert!(found.contains(&name.to_owned()), "{name} in {found:?}");
        }
    }
}
