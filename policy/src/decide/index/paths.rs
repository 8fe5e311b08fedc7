//! The patterns of many rules, as trees of components: one for each base of patterns of paths, and one for
//! names, which are a single component without a base.

use std::ops::Range;

use smallvec::SmallVec;

use super::super::names::{Below, Name, below};
use super::super::pattern::{Base, Part, Relation};
use super::names::{Pool, Table};
use super::{Claim, Collect, Hits, ListRange, Rule, list_range};
use crate::request::Context;

/// Patterns as they are read, before the trees are built.
#[derive(Debug, Default)]
pub(in super::super) struct Patterns<'t> {
    /// The parts of all patterns, one after another.
    pub parts: Vec<Part<'t>>,
    paths: Vec<(Base, Draft)>,
    names: Vec<Draft>,
}

#[derive(Debug)]
struct Draft {
    parts: Range<usize>,
    claim: Claim,
}

impl<'t> Patterns<'t> {
    /// Adds a pattern of paths: the parts from `from` to the end.
    pub fn path(&mut self, base: Base, from: usize, claim: Claim) {
        let parts = from..self.parts.len();
        self.paths.push((base, Draft { parts, claim }));
    }

    /// Adds a pattern of names.
    pub fn name(&mut self, part: Part<'t>, claim: Claim) {
        let from = self.parts.len();
        self.parts.push(part);
        let parts = from..self.parts.len();
        self.names.push(Draft { parts, claim });
    }
}

/// All patterns.
#[derive(Debug, Default)]
pub(in super::super) struct Forest {
    pool: Pool,
    tables: Vec<Table>,
    nodes: Vec<Node>,
    /// The rules of all patterns, in the order of the patterns: those of a node and of all below it are
    /// contiguous.
    claims: Vec<Claim>,
    /// The same, without rules that do not apply where they only overlap.
    loud: Vec<Claim>,
    /// For each rule, how it relates to what lies below the paths that it names.
    reach: Vec<Relation>,
    /// The roots, by base.
    places: Vec<(Base, u32)>,
    /// The root of the names.
    names: u32,
}

/// The patterns that begin with the same parts.
#[derive(Debug)]
struct Node {
    /// The index in [`Forest::tables`] of the table of next parts, or [`NONE`].
    next: u32,
    /// The node where the next part is `**`, or [`NONE`]. Only such a node leads to itself, and it has no other
    /// `**` after it.
    any: u32,
    /// In [`Forest::claims`]: the patterns that end here.
    ends: ListRange,
    /// In [`Forest::loud`]: the patterns that end here, of paths that contain what lies below them.
    reaching: ListRange,
    /// In [`Forest::loud`]: the patterns that end here and below.
    below: ListRange,
    /// The same, in [`Forest::claims`].
    all_below: ListRange,
}

const NONE: u32 = u32::MAX;

impl Forest {
    /// `reach`: for each rule, how it relates to what lies below the paths that it names. Disjoint, or without a number
    /// here: it does not apply where it only overlaps.
    pub fn new(patterns: Patterns<'_>, reach: Vec<Relation>) -> Self {
        let Patterns {
            parts,
            mut paths,
            mut names,
        } = patterns;
        let of = |draft: &Draft| parts.get(draft.parts.clone()).unwrap_or_default();
        paths.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| of(x).cmp(of(y))));
        names.sort_by(|x, y| of(x).cmp(of(y)));
        let mut forest = Self {
            reach,
            ..Self::default()
        };
        let mut sorted = Vec::with_capacity(paths.len());
        for of_base in paths.chunk_by(|(a, _), (b, _)| a == b) {
            sorted.clear();
            sorted.extend(of_base.iter().map(|(_, draft)| (of(draft), draft.claim)));
            let root = forest.grow(&sorted);
            forest
                .places
                .extend(of_base.first().map(|(base, _)| (*base, root)));
        }
        sorted.clear();
        sorted.extend(names.iter().map(|draft| (of(draft), draft.claim)));
        forest.names = forest.grow(&sorted);
        forest
    }

    /// Adds a tree, level by level. Returns the index of its root.
    fn grow(&mut self, patterns: &[(&[Part<'_>], Claim)]) -> u32 {
        let (root, claims) = (self.nodes.len(), self.claims.len());
        // How many loud ones precede each.
        let mut loud = Vec::with_capacity(patterns.len() + 1);
        for (_, claim) in patterns {
            loud.push(self.loud.len());
            self.claims.push(*claim);
            let is_loud = self.reach(claim.rule) > Relation::Disjoint;
            self.loud.extend(is_loud.then_some(*claim));
        }
        loud.push(self.loud.len());
        // For each node: the patterns that lead to it, and its depth in parts.
        let mut levels = Vec::with_capacity(patterns.len() * 2);
        levels.push((0..patterns.len(), 0));
        let mut next = Vec::new();
        let mut at = 0;
        while let Some((range, parts)) = levels.get(at).cloned() {
            at += 1;
            let here = patterns.get(range.clone()).unwrap_or_default();
            // Shorter patterns come first.
            let end = here.partition_point(|(pattern, _)| pattern.len() == parts);
            let mut from = range.start + end;
            let ends = list_range(claims + range.start, claims + from);
            let mut any = NONE;
            next.clear();
            let longer = here.get(end..).unwrap_or_default();
            for same in longer.chunk_by(|(a, _), (b, _)| a.get(parts) == b.get(parts)) {
                let child = list_range(0, root + levels.len()).to;
                match same.first().and_then(|(first, _)| first.get(parts)) {
                    Some(Part::Any) => any = child,
                    Some(part) => next.push((*part, child)),
                    None => {}
                }
                levels.push((from..from + same.len(), parts + 1));
                from += same.len();
            }
            let loud = |at: usize| loud.get(at).copied().unwrap_or_default();
            let reaching = list_range(loud(range.start), loud(range.start + end));
            let below = list_range(loud(range.start), loud(range.end));
            let all_below = list_range(claims + range.start, claims + range.end);
            let next = match &*next {
                [] => NONE,
                next => {
                    let table = self.pool.table(next);
                    self.tables.push(table);
                    list_range(0, self.tables.len() - 1).to
                }
            };
            self.nodes.push(Node {
                next,
                any,
                ends,
                reaching,
                below,
                all_below,
            });
        }
        list_range(0, root).to
    }

    fn reach(&self, rule: Rule) -> Relation {
        let known = self.reach.get(rule as usize).copied();
        known.unwrap_or(Relation::Disjoint)
    }

    /// How the rules relate to a path, or to all of a tree, by one of its names.
    pub fn ask(&self, context: &Context, name: &Name<'_>, hits: &mut Hits<impl Collect>) {
        let mut reached = Reached::default();
        for (base, root) in &self.places {
            let Some((place, closest)) = base.place(context) else {
                continue;
            };
            let closest = closest.min(name.closest);
            match below(place, &name.components) {
                Below::Rest(rest) => {
                    let in_it = |path| <[_]>::get(path, name.components.len()..);
                    let hidden = (name.except.iter()).filter_map(|path| in_it(path));
                    let tree = name.tree.then(|| hidden.collect());
                    self.ask_tree(*root, rest, tree, closest, &mut reached, hits);
                }
                // All that begins there is in the requested tree.
                Below::Above if name.tree => {
                    let mut hidden = Hidden::new();
                    let is_shown = name.except.iter().all(|path| match below(place, path) {
                        Below::Above | Below::Rest([]) => false,
                        Below::Beside => true,
                        Below::Rest(rest) => {
                            hidden.push(rest);
                            true
                        }
                    });
                    if is_shown {
                        self.overlap_below(*root, &hidden, hits);
                    }
                }
                Below::Above | Below::Beside => {}
            }
        }
    }

    /// The same for paths of URLs, which have no base but the root.
    pub fn ask_url(&self, path: &[&[u8]], hits: &mut Hits<impl Collect>) {
        for (_, root) in &self.places {
            let mut reached = Reached::default();
            self.ask_tree(*root, path, None, Relation::Contains, &mut reached, hits);
        }
    }

    /// Finds the rules that match a name.
    pub fn ask_name(&self, name: &[u8], relation: Relation, hits: &mut Hits<impl Collect>) {
        for root in self.nodes(&[self.names]) {
            self.next(root, name, |node| {
                for node in self.nodes(&[node]) {
                    hits.add_all(node.ends.of(&self.claims), relation);
                }
            });
        }
    }

    /// Finds all rules about names that apply where they overlap.
    pub fn overlap_names(&self, hits: &mut Hits<impl Collect>) {
        self.overlap_below(self.names, &[], hits);
    }

    /// Adds the patterns that end at a node or below it, but for those that lead nowhere else than into what is hidden:
    /// that name it, component by component.
    fn overlap_below<C: Collect>(&self, node: u32, hidden: &[&[&[u8]]], hits: &mut Hits<C>) {
        let (claims, below): (_, fn(&Node) -> ListRange) = match C::ALL {
            true => (&self.claims, |node| node.all_below),
            false => (&self.loud, |node| node.below),
        };
        for node in self.nodes(&[node]) {
            let own = below(node);
            let named = hidden.iter().filter_map(|path| self.named(node, path));
            let without: SmallVec<[ListRange; 4]> = named.map(below).collect();
            if without.is_empty() {
                hits.add_all(own.of(claims), Relation::Overlaps);
                continue;
            }
            for (at, claim) in (own.from..).zip(own.of(claims)) {
                if !without.iter().any(|range| range.holds(at)) {
                    hits.add(*claim, Relation::Overlaps);
                }
            }
        }
    }

    /// The node that a pattern leads to by just these names.
    fn named(&self, node: &Node, path: &[&[u8]]) -> Option<&Node> {
        let mut names = path.iter();
        let mut node = self.name(node, names.next()?)?;
        for name in names {
            node = self.name(node, name)?;
        }
        Some(node)
    }

    fn name(&self, node: &Node, name: &[u8]) -> Option<&Node> {
        let table = self.tables.get(node.next as usize)?;
        let node = self.pool.name(table, name)?;
        self.nodes.get(node as usize)
    }

    fn ask_tree(
        &self,
        root: u32,
        path: &[&[u8]],
        whole_tree: Option<Hidden<'_, '_>>,
        closest: Relation,
        reached: &mut Reached,
        hits: &mut Hits<impl Collect>,
    ) {
        let Reached { here, next, anys } = reached;
        here.clear();
        anys.clear();
        here.push(root);
        self.enter_anys(here, anys);
        for component in path {
            for node in self.nodes(here) {
                for claim in node.reaching.of(&self.loud) {
                    hits.add(*claim, closest.min(self.reach(claim.rule)));
                }
            }
            next.clear();
            for node in self.nodes(here).chain(self.nodes(anys)) {
                self.next(node, component, |child| next.push(child));
            }
            std::mem::swap(here, next);
            self.enter_anys(here, anys);
            if here.is_empty() && anys.is_empty() {
                return;
            }
        }
        for node in self.nodes(anys) {
            hits.add_all(node.ends.of(&self.claims), closest);
        }
        if let Some(hidden) = whole_tree {
            for node in &*here {
                self.overlap_below(*node, &hidden, hits);
            }
            // What follows a `**` may be anywhere.
            for node in &*anys {
                self.overlap_below(*node, &[], hits);
            }
            return;
        }
        for node in self.nodes(here) {
            hits.add_all(node.ends.of(&self.claims), closest);
        }
    }

    fn next(&self, node: &Node, component: &[u8], found: impl FnMut(u32)) {
        if let Some(table) = self.tables.get(node.next as usize) {
            self.pool.find(table, component, found);
        }
    }

    fn nodes(&self, numbers: &[u32]) -> impl Iterator<Item = &Node> {
        numbers
            .iter()
            .filter_map(|number| self.nodes.get(*number as usize))
    }

    /// `**` may match nothing.
    fn enter_anys(&self, here: &[u32], anys: &mut SmallVec<[u32; 8]>) {
        let found = self.nodes(here).map(|node| node.any);
        for any in found.filter(|any| *any != NONE) {
            if let Err(at) = anys.binary_search(&any) {
                anys.insert(at, any);
            }
        }
    }
}

/// What is hidden in a tree, by the components from there.
type Hidden<'p, 'c> = SmallVec<[&'p [&'c [u8]]; 4]>;

/// The nodes that a path has led to. Every node has one path to it, so it is in `here` once.
#[derive(Default)]
struct Reached {
    here: SmallVec<[u32; 8]>,
    next: SmallVec<[u32; 8]>,
    /// Nodes behind a `**`, sorted. Once reached they stay.
    anys: SmallVec<[u32; 8]>,
}
