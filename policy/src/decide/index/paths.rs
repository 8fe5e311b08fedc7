//! The patterns of paths of many rules, as a tree of components for each place that they begin at.

use std::ops::Range;

use smallvec::SmallVec;

use super::super::pattern::{Base, Part, PathPattern, Relation};
use super::names::Names;
use super::{Claim, Claims, Hits, Rule};
use crate::request::Context;

/// All patterns.
#[derive(Debug)]
pub(in super::super) struct PathRules(Vec<(Base, Tree)>);

/// The patterns that begin at one place.
#[derive(Debug, Default)]
struct Tree {
    nodes: Vec<Node>,
    /// The rules that end at each node and below it, node by node; but those that say nothing of what
    /// they only touch.
    loud: Vec<Claim>,
}

/// What patterns begin with the same parts.
#[derive(Debug, Default)]
struct Node {
    /// By the next part.
    next: Names<usize>,
    /// Where the next part is `**`. Nothing but such a node leads to itself, and it has no other such.
    any: Option<usize>,
    /// Those that end here.
    ends: Claims,
    /// Of [`Tree::loud`].
    below: Range<usize>,
}

impl PathRules {
    /// `is_loud`: whether a rule has something to say of what it only touches.
    pub fn new(mut patterns: Vec<(PathPattern, Claim)>, is_loud: impl Fn(Rule) -> bool) -> Self {
        patterns.sort_by(|(a, _), (b, _)| a.cmp(b));
        let bases = patterns.chunk_by(|(a, _), (b, _)| a.base == b.base);
        let trees = bases.filter_map(|of_base| {
            let mut tree = Tree::default();
            tree.grow(of_base, 0, &is_loud);
            of_base.first().map(|(pattern, _)| (pattern.base, tree))
        });
        Self(trees.collect())
    }

    /// How the rules stand to a path, or to all of a tree.
    pub fn ask(&self, context: &Context, path: &[&[u8]], whole_tree: bool, hits: &mut Hits) {
        let mut walk = Walk::default();
        for (base, tree) in &self.0 {
            let Some((place, closest)) = base.place(context) else {
                continue;
            };
            match below(place, path) {
                Below::Rest(rest) => tree.ask(rest, whole_tree, closest, &mut walk, hits),
                // All that begins there is in the tree that is asked for.
                Below::Above if whole_tree => hits.add_all(&tree.loud, Relation::Touches),
                Below::Above | Below::Beside => {}
            }
        }
    }
}

/// Where a path is, seen from a place.
enum Below<'p, 'c> {
    /// There or below it, by these components.
    Rest(&'p [&'c [u8]]),
    /// The place is below it.
    Above,
    /// Elsewhere.
    Beside,
}

fn below<'p, 'c>(place: &[u8], path: &'p [&'c [u8]]) -> Below<'p, 'c> {
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

/// The nodes that a path has led to. Every node has one way to it, so it is in `here` once.
#[derive(Default)]
struct Walk {
    here: SmallVec<[usize; 8]>,
    next: SmallVec<[usize; 8]>,
    /// Nodes behind a `**`, by number. Once reached they stay.
    anys: SmallVec<[usize; 8]>,
}

impl Tree {
    /// Adds the node that sorted patterns lead to by as many parts, which they have in common, and all
    /// nodes below it; as deep as a pattern has parts. Its number.
    fn grow(
        &mut self,
        patterns: &[(PathPattern, Claim)],
        parts: usize,
        is_loud: &impl Fn(Rule) -> bool,
    ) -> usize {
        let number = self.nodes.len();
        self.nodes.push(Node::default());
        let from = self.loud.len();
        // What is shorter comes first.
        let end = patterns.partition_point(|(pattern, _)| pattern.parts.len() == parts);
        let (end, longer) = patterns.split_at(end);
        let ends: Claims = end.iter().map(|(_, claim)| *claim).collect();
        self.loud
            .extend(ends.iter().filter(|claim| is_loud(claim.rule)));
        let (mut names, mut globs, mut any) = (Vec::new(), Vec::new(), None);
        for same in longer.chunk_by(|(a, _), (b, _)| a.parts.get(parts) == b.parts.get(parts)) {
            let child = self.grow(same, parts + 1, is_loud);
            match same.first().and_then(|(first, _)| first.parts.get(parts)) {
                Some(Part::Name(name)) => names.push((name.clone(), child)),
                Some(Part::Glob(glob)) => globs.push((glob.clone(), child)),
                Some(Part::Any) => any = Some(child),
                None => {}
            }
        }
        if let Some(node) = self.nodes.get_mut(number) {
            *node = Node {
                next: Names::new(names, globs),
                any,
                ends,
                below: from..self.loud.len(),
            };
        }
        number
    }

    fn ask(
        &self,
        path: &[&[u8]],
        whole_tree: bool,
        closest: Relation,
        walk: &mut Walk,
        hits: &mut Hits,
    ) {
        let Walk { here, next, anys } = walk;
        here.clear();
        anys.clear();
        here.push(0);
        self.enter_anys(here, anys);
        for component in path {
            next.clear();
            for node in self.nodes(here).chain(self.nodes(anys)) {
                node.next.find(component, |child| next.push(*child));
            }
            std::mem::swap(here, next);
            self.enter_anys(here, anys);
            if here.is_empty() && anys.is_empty() {
                return;
            }
        }
        for node in self.nodes(anys) {
            hits.add_all(&node.ends, closest);
        }
        for node in self.nodes(here).filter(|_| !whole_tree) {
            hits.add_all(&node.ends, closest);
        }
        if whole_tree {
            for node in self.nodes(here).chain(self.nodes(anys)) {
                let below = self.loud.get(node.below.clone()).unwrap_or_default();
                hits.add_all(below, Relation::Touches);
            }
        }
    }

    fn nodes(&self, numbers: &[usize]) -> impl Iterator<Item = &Node> {
        numbers.iter().filter_map(|number| self.nodes.get(*number))
    }

    /// `**` may stand for nothing.
    fn enter_anys(&self, here: &[usize], anys: &mut SmallVec<[usize; 8]>) {
        for any in self.nodes(here).filter_map(|node| node.any) {
            if let Err(at) = anys.binary_search(&any) {
                anys.insert(at, any);
            }
        }
    }
}
