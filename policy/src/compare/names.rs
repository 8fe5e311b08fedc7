//! Names that represent all names, as far as patterns with `*` can distinguish them.

use std::collections::{BTreeSet, VecDeque};

/// Limit on states of the search; beyond it, the answer is not complete.
const MAX_STATES: usize = 20_000;

/// Representative names: any name matches the same of `groups` as one of them does; each with the groups that
/// it matches. `false`: the search was cut short.
///
/// Groups are lists of indices into `patterns`; the patterns of a rule form one, since it makes no difference
/// which of them matches. All patterns are read at once, as one automaton. Every reachable state has a shortest
/// name that leads there, and names that lead to the same state match the same groups.
pub(super) fn classes(patterns: &[&str], groups: &[Vec<usize>]) -> (Vec<Class>, bool) {
    let patterns: Vec<Vec<char>> = patterns.iter().map(|p| p.chars().collect()).collect();
    let other = unused(&patterns);
    let automaton = Automaton {
        patterns: &patterns,
        groups,
        any: |letter| *letter == '*',
    };
    let start = automaton.start();
    // The start state is not marked as seen: no name is empty.
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
        let letters = automaton.ahead(&state);
        // A letter of no pattern comes first: it does not look like the beginning of something else.
        for letter in [&other].into_iter().chain(letters) {
            let next = automaton.next(&state, |own| own == letter);
            // `.` and `..` are not names, but names begin with them: they are followed even from a state
            // already seen.
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

/// All patterns, read at once.
pub(super) struct Automaton<'p, P> {
    pub patterns: &'p [Vec<P>],
    pub groups: &'p [Vec<usize>],
    /// Whether a part of a pattern matches any number of parts of the input, including none.
    pub any: fn(&P) -> bool,
}

/// A state of an automaton.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    /// Groups that match whatever follows.
    done: BTreeSet<usize>,
    /// Positions from which patterns can still match: the pattern, and the index of its next part.
    open: BTreeSet<(usize, usize)>,
}

impl<'p, P: Ord> Automaton<'p, P> {
    /// The state before anything is read.
    pub fn start(&self) -> State {
        let places = (0..self.patterns.len()).map(|pattern| (pattern, 0));
        self.settled(places.collect(), &State::default())
    }

    /// The state after one more part is read. `is`: which parts of patterns match it.
    pub fn next(&self, state: &State, is: impl Fn(&P) -> bool) -> State {
        let places = state.open.iter().filter_map(|&(pattern, at)| {
            let part = self.patterns[pattern].get(at)?;
            let after = if (self.any)(part) { at } else { at + 1 };
            (after == at || is(part)).then_some((pattern, after))
        });
        self.settled(places.collect(), state)
    }

    /// The parts of patterns that could be read next.
    pub fn ahead(&self, state: &State) -> BTreeSet<&'p P> {
        let places = state.open.iter();
        let parts = places.filter_map(|(pattern, at)| self.patterns[*pattern].get(*at));
        parts.filter(|part| !(self.any)(part)).collect()
    }

    fn is_any(&self, pattern: usize, at: usize) -> bool {
        self.patterns[pattern].get(at).is_some_and(self.any)
    }

    /// Adds the positions behind parts that may match nothing, and drops those that no longer matter: the
    /// patterns of groups that match whatever follows.
    fn settled(&self, mut places: BTreeSet<(usize, usize)>, before: &State) -> State {
        let mut new: Vec<_> = places.iter().copied().collect();
        while let Some((pattern, at)) = new.pop() {
            if self.is_any(pattern, at) && places.insert((pattern, at + 1)) {
                new.push((pattern, at + 1));
            }
        }
        let forever: BTreeSet<usize> = (places.iter())
            .filter(|(pattern, at)| {
                at + 1 == self.patterns[*pattern].len() && self.is_any(*pattern, *at)
            })
            .map(|(pattern, _)| *pattern)
            .collect();
        let mut done = before.done.clone();
        let groups = || self.groups.iter().enumerate();
        done.extend(
            groups()
                .filter(|(_, group)| group.iter().any(|p| forever.contains(p)))
                .map(|(group, _)| group),
        );
        let wanted: BTreeSet<usize> = groups()
            .filter(|(group, _)| !done.contains(group))
            .flat_map(|(_, group)| group.iter().copied())
            .collect();
        places.retain(|(pattern, _)| wanted.contains(pattern));
        State { done, open: places }
    }
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
