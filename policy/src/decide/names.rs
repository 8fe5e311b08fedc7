//! The names of what is asked for: its path, and every other name of the same place.

use smallvec::SmallVec;

use super::compiled::split;
use super::pattern::Relation;
use crate::request::{Alias, Context, Place};

/// A path, in components.
pub(super) type Components<'r> = SmallVec<[&'r [u8]; 16]>;

/// One name of a requested path.
pub(super) struct Name<'r> {
    pub components: Components<'r>,
    /// With everything below it.
    pub tree: bool,
    /// Places in the tree that the sandbox hides, by this name.
    pub except: Vec<Components<'r>>,
    /// The closest relation that a pattern may have to the request by this name.
    pub closest: Relation,
    /// The aliases that led to it. Each is followed once: a link to a directory above itself leads round for ever.
    by: SmallVec<[usize; 4]>,
}

/// More names than a place has on any host. A request for a place with more is blocked.
const MAX_NAMES: usize = 64;

/// Why it is blocked.
pub(super) const TOO_MANY: &str =
    "the place has more than 64 names by links and mounts: remove some of them";

/// Tells of each name of a place, its own first. `false`: there are too many, and some were left out.
#[inline]
pub(super) fn each<'r>(
    context: &'r Context,
    place: Place<'r>,
    mut tell: impl FnMut(&Name<'r>),
) -> bool {
    let own = Name {
        components: split(place.path.as_bytes()),
        tree: place.tree,
        except: (place.except.iter())
            .map(|hidden| split(hidden.as_bytes()))
            .collect(),
        closest: Relation::Contains,
        by: SmallVec::new(),
    };
    // As mostly: a name is long, and is not moved.
    if context.aliases.is_empty() {
        tell(&own);
        return true;
    }
    let (names, all) = with_aliases(context, own);
    names.iter().for_each(tell);
    all
}

fn with_aliases<'r>(context: &'r Context, own: Name<'r>) -> (Vec<Name<'r>>, bool) {
    let mut names = vec![own];
    let mut at = 0;
    while let Some(known) = names.get(at) {
        let aliases = context.aliases.iter().enumerate();
        let found: Vec<Name<'r>> = aliases
            .filter_map(|(number, alias)| known.by(number, alias))
            .collect();
        for name in found {
            let is_known = |known: &Name<'r>| {
                known.components == name.components
                    && known.tree >= name.tree
                    && known.closest >= name.closest
                    && known
                        .except
                        .iter()
                        .all(|hidden| name.except.contains(hidden))
            };
            if names.iter().any(is_known) {
                continue;
            }
            if names.len() == MAX_NAMES {
                return (names, false);
            }
            names.push(name);
        }
        at += 1;
    }
    (names, true)
}

impl<'r> Name<'r> {
    /// The same place by another name; where a tree holds the place, only that place.
    fn by(&self, number: usize, alias: &'r Alias) -> Option<Self> {
        if self.by.contains(&number) {
            return None;
        }
        let place = alias.place.as_bytes();
        let renamed = |rest: &[&'r [u8]]| {
            let mut renamed = split(alias.name.as_bytes());
            renamed.extend_from_slice(rest);
            renamed
        };
        let (components, tree, closest) = match below(place, &self.components) {
            Below::Rest(rest) => match alias.trusted {
                true => (renamed(rest), self.tree, self.closest),
                false => (renamed(rest), self.tree, Relation::Overlaps),
            },
            Below::Above if self.tree && !self.hides(place) => {
                (renamed(&[]), true, Relation::Overlaps)
            }
            Below::Above | Below::Beside => return None,
        };
        let hidden = self.except.iter();
        let except = hidden.filter_map(|path| match below(place, path) {
            Below::Rest(rest) => Some(renamed(rest)),
            Below::Above | Below::Beside => None,
        });
        let mut by = self.by.clone();
        by.push(number);
        Some(Self {
            components,
            tree,
            except: except.collect(),
            closest,
            by,
        })
    }

    /// Whether the sandbox hides this place, or a directory that it is in.
    fn hides(&self, place: &[u8]) -> bool {
        (self.except.iter())
            .any(|path| matches!(below(place, path), Below::Above | Below::Rest([])))
    }
}

/// Where a path is, relative to a place.
pub(super) enum Below<'p, 'c> {
    /// At the place or below it, by these components.
    Rest(&'p [&'c [u8]]),
    /// The place is below it.
    Above,
    /// Elsewhere.
    Beside,
}

pub(super) fn below<'p, 'c>(place: &[u8], path: &'p [&'c [u8]]) -> Below<'p, 'c> {
    let (mut place, mut rest) = (place, path);
    loop {
        while let Some((b'/', after)) = place.split_first() {
            place = after;
        }
        if place.is_empty() {
            return Below::Rest(rest);
        }
        let Some((first, after)) = rest.split_first() else {
            return Below::Above;
        };
        match place.strip_prefix(*first) {
            Some(left @ ([] | [b'/', ..])) => (place, rest) = (left, after),
            _ => return Below::Beside,
        }
    }
}
