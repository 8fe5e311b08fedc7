//! Paths that stand for all paths, as far as patterns of paths can tell them apart.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::names::classes;
use crate::request::Context;

/// At most so many different beginnings of paths are looked at; beyond, the answer is not complete.
const MAX_STATES: usize = 50_000;

/// A pattern of paths, as components: names, names with `*`, and `**`.
pub(super) type Pattern = Vec<String>;

/// A pattern as a policy has it, in a context. `None`: it begins nowhere there, or is no pattern.
pub(super) fn read(text: &str, context: &Context) -> Option<Pattern> {
    let (base, rest) = match text.strip_prefix('$') {
        None => ("", text),
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let place = match &rest[..end] {
                "HOME" => &context.home,
                "SKILL" => context.skill.as_ref()?,
                "WORK" => &context.work,
                _ => return None,
            };
            (std::str::from_utf8(place.as_bytes()).ok()?, &rest[end..])
        }
    };
    let components = base.split('/').chain(rest.split('/'));
    Some(
        components
            .filter(|component| !component.is_empty())
            .map(ToOwned::to_owned)
            .collect(),
    )
}

/// Paths such that any path stands to each of `patterns` as one of them does, alone and with all below it.
/// Whether that is so: the search may have been cut short.
///
/// As in [`classes`], all patterns are read at once, here by components; at each place the names that lead
/// on are those that the components which are possible there tell apart.
pub(super) fn paths(patterns: &[Pattern]) -> (Vec<String>, bool) {
    type State = Vec<(usize, usize)>;
    let close = |state: &mut BTreeSet<(usize, usize)>| {
        let mut new: Vec<_> = state.iter().copied().collect();
        while let Some((pattern, at)) = new.pop() {
            let any = patterns[pattern].get(at).is_some_and(|part| part == "**");
            if any && state.insert((pattern, at + 1)) {
                new.push((pattern, at + 1));
            }
        }
    };
    let mut start = BTreeSet::from_iter((0..patterns.len()).map(|pattern| (pattern, 0)));
    close(&mut start);
    let start: State = start.into_iter().collect();
    // Where it starts is not seen yet, so that there is a longer path like `/` as well, if there is any.
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([(start, String::new())]);
    let mut found = Vec::new();
    let mut known: BTreeMap<Vec<&str>, Vec<(String, Vec<usize>)>> = BTreeMap::new();
    let mut complete = true;
    while let Some((state, path)) = queue.pop_front() {
        found.push(match path.is_empty() {
            true => "/".to_owned(),
            false => path.clone(),
        });
        let parts: BTreeSet<&str> = (state.iter())
            .filter_map(|(pattern, at)| patterns[*pattern].get(*at))
            .map(String::as_str)
            .filter(|part| *part != "**")
            .collect();
        let parts: Vec<&str> = parts.into_iter().collect();
        let names = known.entry(parts.clone()).or_insert_with(|| {
            let (names, whole) = classes(&parts);
            complete &= whole;
            names
        });
        for (name, matched) in names.iter() {
            let mut next: BTreeSet<(usize, usize)> = (state.iter())
                .filter_map(|&(pattern, at)| match patterns[pattern].get(at)?.as_str() {
                    "**" => Some((pattern, at)),
                    part => {
                        let place = parts.binary_search(&part).ok()?;
                        matched.contains(&place).then_some((pattern, at + 1))
                    }
                })
                .collect();
            close(&mut next);
            let next: State = next.into_iter().collect();
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
        let pattern = |text: &str| read(text, &Context::default()).expect("a pattern");
        let (found, complete) = paths(&[pattern("/a/**"), pattern("/**/*.pem")]);
        assert!(complete);
        let has = |path: &str| found.iter().any(|f| f == path);
        for path in ["/", "/a", "/a/x", "/x", "/.pem", "/a/.pem"] {
            assert!(has(path), "{path} in {found:?}");
        }
    }
}
