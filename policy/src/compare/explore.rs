//! Paths that represent all paths, as far as patterns of paths can distinguish them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::names::{Automaton, Class, classes, singly};
use crate::decide::{Base, Relation, name_matches};
use crate::request::Context;

/// Limit on states of the search; beyond it, the answer is not complete.
const MAX_STATES: usize = 50_000;

/// A pattern of paths, as components: names, names with `*`, and `**`.
pub(super) type Pattern = Vec<String>;

/// Reads a pattern of a policy, in a context; and whether its variable stands for `/` there, so that it
/// contains nothing. `None`: its variable has no value.
pub(super) fn read(text: &str, context: &Context) -> Option<(Pattern, bool)> {
    let (base, rest) = Base::of(text).ok()?;
    let (place, closest) = base.place(context)?;
    let place = std::str::from_utf8(place).ok()?;
    let components = place.split('/').chain(rest.split('/'));
    let components = components.filter(|component| !component.is_empty());
    let pattern = components.map(ToOwned::to_owned).collect();
    Some((pattern, closest == Relation::Overlaps))
}

/// The names that may follow a path in a pattern, and are no patterns themselves.
pub(super) fn names_below<'p>(pattern: &'p Pattern, path: &[&str]) -> BTreeSet<&'p str> {
    let mut at: BTreeSet<usize> = [0].into();
    let pass_any = |at: &mut BTreeSet<usize>| {
        for (part, text) in pattern.iter().enumerate() {
            if at.contains(&part) && text == "**" {
                at.insert(part + 1);
            }
        }
    };
    for name in path {
        pass_any(&mut at);
        at = (at.iter().filter_map(|part| match pattern.get(*part)? {
            any if any == "**" => Some(*part),
            own if name_matches(own, name) => Some(part + 1),
            _ => None,
        }))
        .collect();
    }
    let next = at.iter().filter_map(|part| pattern.get(*part));
    next.filter(|name| !name.contains('*'))
        .map(String::as_str)
        .collect()
}

/// Representative paths: any path relates to each of `groups` as one of them does, alone and with all below it.
/// `false`: the search was cut short.
///
/// As in [`classes`], all patterns are read at once, here by components; in each state, the next names are
/// those that the possible components distinguish.
pub(super) fn paths(patterns: &[Pattern], groups: &[Vec<usize>]) -> (Vec<String>, bool) {
    let automaton = Automaton {
        patterns,
        groups,
        any: |part| part == "**",
    };
    let start = automaton.start();
    // The start state is not marked as seen, so that a longer path equivalent to `/` is found as well, if any exists.
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([(start, String::new())]);
    let mut found = Vec::new();
    let mut known: BTreeMap<Vec<&str>, Vec<Class>> = BTreeMap::new();
    let mut complete = true;
    while let Some((state, path)) = queue.pop_front() {
        found.push(match path.is_empty() {
            true => "/".to_owned(),
            false => path.clone(),
        });
        let parts = automaton.ahead(&state).into_iter();
        let parts: Vec<&str> = parts.map(String::as_str).collect();
        let names = known.entry(parts.clone()).or_insert_with(|| {
            let (names, whole) = classes(&parts, &singly(parts.len()));
            complete &= whole;
            names
        });
        for (name, matched) in names.iter() {
            let is_named = |part: &String| {
                let place = parts.binary_search(&part.as_str());
                place.is_ok_and(|place| matched.contains(&place))
            };
            let next = automaton.next(&state, is_named);
            if seen.insert(next.clone()) {
                queue.push_back((next, format!("{path}/{name}")));
            }
        }
        if seen.len() > MAX_STATES {
            return (found, false);
        }
    }
    (found, complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_path_for_each_way_to_stand_to_the_patterns() {
        let pattern = |text: &str| read(text, &Context::default()).expect("a pattern").0;
        let (found, complete) = paths(&[pattern("/a/**"), pattern("/**/*.pem")], &singly(2));
        assert!(complete);
        let has = |path: &str| found.iter().any(|f| f == path);
        for path in ["/", "/a", "/x", "/.pem", "/a/.pem"] {
            assert!(has(path), "{path} in {found:?}");
        }
    }
}
