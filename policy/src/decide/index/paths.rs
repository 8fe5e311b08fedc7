//! The patterns of paths of many rules, as a tree of components for each place that they begin at.

use std::collections::BTreeMap;
use std::ops::Range;

use smallvec::SmallVec;

use super::super::pattern::{Base, Glob, Part, PathPattern, Relation};
use super::names::Names;
use super::{Hits, Rule};
use crate::request::Context;

/// All patterns.
#[derive(Debug)]
pub(in super::super) struct PathRules(Vec<(Base, Tree)>);

/// The patterns that begin at one place.
#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
    /// The rules that end at each node and below it, node by node; but those that say nothing of what
    /// they only touch.
    loud: Vec<Rule>,
}

/// What patterns begin with the same parts.
#[derive(Debug)]
struct Node {
    /// By the next part.
    next: Names<usize>,
    /// Where the next part is `**`. Nothing but such a node leads to itself, and it has no other such.
    any: Option<usize>,
    /// Those that end here.
    ends: Vec<Rule>,
    /// Of [`Tree::loud`].
    below: Range<usize>,
}

impl PathRules {
    /// `is_loud`: whether a rule has something to say of what it only touches.
    pub fn new<'p>(
        patterns: impl IntoIterator<Item = (&'p PathPattern, Rule)>,
        is_loud: impl Fn(Rule) -> bool,
    ) -> Self {
        let mut bases: BTreeMap<Base, Vec<Sketch>> = BTreeMap::new();
        for (pattern, rule) in patterns {
            let nodes = bases
                .entry(pattern.base)
                .or_insert_with(|| vec![Sketch::default()]);
            let mut at = 0;
            for part in &pattern.parts {
                at = sketch(nodes, at, part);
            }
            if let Some(node) = nodes.get_mut(at) {
                node.ends.push(rule);
            }
        }
        let trees = bases.into_iter().map(|(base, nodes)| {
            let mut loud = Vec::new();
            let mut below = vec![0..0; nodes.len()];
            lay_out(&nodes, 0, &is_loud, &mut loud, &mut below);
            let nodes = nodes.into_iter().zip(below);
            let nodes = nodes.map(|(node, below)| Node {
                next: Names::new(node.names, node.globs),
                any: node.any,
                ends: node.ends,
                below,
            });
            let nodes = nodes.collect();
            (base, Tree { nodes, loud })
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

/// A node while patterns are still added.
#[derive(Default)]
struct Sketch {
    names: BTreeMap<Box<str>, usize>,
    globs: BTreeMap<Glob, usize>,
    any: Option<usize>,
    ends: Vec<Rule>,
}

/// The node after a part.
fn sketch(nodes: &mut Vec<Sketch>, at: usize, part: &Part) -> usize {
    let fresh = nodes.len();
    let Some(node) = nodes.get_mut(at) else {
        return at;
    };
    let next = match part {
        Part::Name(name) => *node.names.entry(name.clone()).or_insert(fresh),
        Part::Glob(glob) => *node.globs.entry(glob.clone()).or_insert(fresh),
        Part::Any => *node.any.get_or_insert(fresh),
    };
    if next == fresh {
        nodes.push(Sketch::default());
    }
    next
}

/// Writes down the loud rules of a node and of all below it. As deep as a pattern has parts.
fn lay_out(
    nodes: &[Sketch],
    at: usize,
    is_loud: &impl Fn(Rule) -> bool,
    loud: &mut Vec<Rule>,
    below: &mut [Range<usize>],
) {
    let Some(node) = nodes.get(at) else {
        return;
    };
    let start = loud.len();
    loud.extend(node.ends.iter().copied().filter(|rule| is_loud(*rule)));
    let children = node.names.values().chain(node.globs.values());
    for child in children.chain(&node.any) {
        lay_out(nodes, *child, is_loud, loud, below);
    }
    if let Some(below) = below.get_mut(at) {
        *below = start..loud.len();
    }
}
