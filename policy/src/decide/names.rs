//! The names of what is asked for: its path, and every other name of the same place.

use smallvec::SmallVec;

use super::compiled::split;
use super::pattern::Relation;
use crate::path::HostPath;
use crate::request::{Alias, Context};

/// One name of a requested path.
pub(super) struct Name<'r> {
    pub components: SmallVec<[&'r [u8]; 16]>,
    /// With everything below it.
    pub tree: bool,
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

/// All names of a path, its own first. `false`: there are too many.
pub(super) fn names<'r>(
    context: &'r Context,
    path: &'r HostPath,
    tree: bool,
) -> (SmallVec<[Name<'r>; 1]>, bool) {
    let mut names: SmallVec<[Name<'r>; 1]> = SmallVec::new();
    names.push(Name {
        components: split(path.as_bytes()),
        tree,
        closest: Relation::Contains,
        by: SmallVec::new(),
    });
    let mut at = 0;
    while let Some(known) = names.get(at) {
        let mut found: SmallVec<[Name<'r>; 4]> = SmallVec::new();
        let aliases = context.aliases.iter().enumerate();
        found.extend(aliases.filter_map(|(number, alias)| known.by(number, alias)));
        for name in found {
            let is_known = |known: &Name<'_>| {
                known.components == name.components
                    && known.tree >= name.tree
                    && known.closest >= name.closest
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
        let mut by = self.by.clone();
        by.push(number);
        let place = split(alias.place.as_bytes());
        let mut components = split(alias.name.as_bytes());
        if let Some(rest) = self.components.strip_prefix(&*place) {
            components.extend_from_slice(rest);
            return Some(Self {
                components,
                tree: self.tree,
                closest: match alias.trusted {
                    true => self.closest,
                    false => Relation::Overlaps,
                },
                by,
            });
        }
        (self.tree && place.starts_with(&self.components)).then_some(Self {
            components,
            tree: true,
            closest: Relation::Overlaps,
            by,
        })
    }
}
