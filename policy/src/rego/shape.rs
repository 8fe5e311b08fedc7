//! How large the values of a module can become, for any input. Each step of the interpreter may copy or
//! compare a value as a whole, and values that share their parts could be exponentially larger than what
//! made them; so a module is refused when one of its collections cannot be shown to stay small.
//!
//! A **shape** bounds a value: how many members it has, how many each of these has, and so on. The shape of a
//! variable or rule bounds all its possible values, in any order; shapes are computed until they no longer
//! change.

use std::collections::BTreeMap;

use regorus::unstable::{ArithOp, AssignOp, BinOp, Expr, Module, Query, Ref, Span};

use super::BadModule;
use super::builtins::{self, Returns};
use super::check::{Checked, NameKind, bad};
use super::input::{CONTEXT, GRANT_FIELDS, WHAT};
use super::limits::{GRANTS, NODES, STEPS, STEPS_PER_MEMBER, WORDS};
use super::parts::{RuleParts, Statement, open_index, parts, path, variable};

/// Members by level, the outermost first; empty: a single value.
type Shape = Vec<u64>;

/// The most levels of a shape: more means a value that contains itself.
const LEVELS: usize = 8;

/// The rounds after which shapes count as growing without end.
const ROUNDS: usize = 64;

/// The members of a comprehension or a set, if nothing else bounds them.
const FOUND: u64 = (STEPS / STEPS_PER_MEMBER) as u64;

fn nodes(shape: &Shape) -> u64 {
    shape.iter().rev().fold(1, |inner, members| {
        inner.saturating_mul(*members).saturating_add(1)
    })
}

fn join(a: &mut Shape, b: &Shape) {
    a.resize(a.len().max(b.len()), 0);
    a.iter_mut().zip(b).for_each(|(a, b)| *a = (*a).max(*b));
}

fn member(shape: &Shape) -> Shape {
    shape.get(1..).unwrap_or_default().to_vec()
}

fn collection(members: u64, of: &Shape) -> Shape {
    let mut shape = vec![members];
    shape.extend(of);
    shape
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The shape of a part of the input.
fn input(path: &[&str]) -> Option<Shape> {
    Some(match path {
        [] => vec![2, number(WHAT.len()), number(GRANTS), GRANT_FIELDS],
        ["context"] => vec![number(CONTEXT.len())],
        ["what"] => vec![number(WHAT.len()), number(GRANTS.max(WORDS)), GRANT_FIELDS],
        ["what", "command"] => vec![number(WORDS)],
        ["what", "grants"] => vec![number(GRANTS), GRANT_FIELDS],
        ["context" | "what", ..] => vec![],
        _ => return None,
    })
}

/// Shows that every value stays small.
pub(super) fn check(module: &Module, checked: &Checked) -> Result<(), BadModule> {
    let mut shapes = Shapes {
        kinds: &checked.names,
        known: Known::default(),
        rule: 0,
        found: 1,
        too_large: None,
    };
    for _ in 0..ROUNDS {
        let before = shapes.known.clone();
        shapes.too_large = None;
        shapes.round(module);
        if let Some(error) = shapes.too_large {
            return Err(error);
        }
        if before == shapes.known {
            return Ok(());
        }
    }
    let help = "give variables that stand for different things different names";
    Err(bad(
        &module.package.span,
        "its values cannot be shown to stay small",
        help,
    ))
}

struct Shapes<'m> {
    kinds: &'m BTreeMap<String, NameKind>,
    known: Known<'m>,
    /// The index of the current rule.
    rule: usize,
    /// How many answers the current query has.
    found: u64,
    /// The first value that may become too large.
    too_large: Option<BadModule>,
}

/// The shapes found so far.
#[derive(Clone, Default, PartialEq)]
struct Known<'m> {
    rules: BTreeMap<&'m str, Shape>,
    /// The parameters of functions, by position.
    params: BTreeMap<(String, usize), Shape>,
    /// By the rule's index, and name.
    variables: BTreeMap<(usize, String), Shape>,
}

impl<'m> Shapes<'m> {
    fn round(&mut self, module: &'m Module) {
        let mut sets: BTreeMap<&'m str, Shape> = BTreeMap::new();
        for (index, rule) in module.policy.iter().enumerate() {
            self.rule = index;
            self.found = 1;
            let RuleParts {
                name,
                args,
                made,
                bodies,
            } = RuleParts::of(rule);
            let name = variable(name).unwrap_or_default();
            for (place, arg) in args.iter().enumerate() {
                let given = self.known.params.get(&(name.to_owned(), place));
                let given = given.cloned().unwrap_or_default();
                self.binds(arg, &given);
            }
            bodies.iter().for_each(|body| self.statements(&body.query));
            let value = made.map(|made| self.expr(made)).unwrap_or_default();
            if self.kinds.get(name) != Some(&NameKind::Set) {
                join(self.known.rules.entry(name).or_default(), &value);
                continue;
            }
            let more = collection(self.found.min(FOUND), &value);
            let mut set = more.clone();
            if let Some(before) = sets.get(name) {
                join(&mut set, before);
                set[0] = before[0].saturating_add(more[0]).min(FOUND);
            }
            self.made(rule.span(), &set);
            sets.insert(name, set);
        }
        for (name, set) in sets {
            join(self.known.rules.entry(name).or_default(), &set);
        }
    }

    /// Checks a value that the module makes.
    fn made(&mut self, span: &Span, shape: &Shape) {
        if self.too_large.is_none() && (nodes(shape) > NODES || shape.len() > LEVELS) {
            let message = format!("this may hold more than {NODES} values");
            let help =
                "hold only texts and numbers in a collection, or go through fewer lists at once";
            self.too_large = Some(bad(span, message, help));
        }
    }

    fn statements(&mut self, query: &Query) {
        for statement in &query.stmts {
            let statement = Statement::of(&statement.literal);
            if let Some(collection) = statement.through {
                let of = self.expr(collection);
                let member = member(&of);
                if statement.every.is_none() {
                    self.goes_through(&of);
                }
                for pattern in statement.patterns {
                    self.binds(pattern, &member);
                }
                for name in statement.new {
                    self.is(name.text(), &member);
                }
            }
            for expr in [statement.holds, statement.denied].into_iter().flatten() {
                self.expr(expr);
            }
            if let Some(query) = statement.every {
                let before = self.found;
                self.statements(query);
                self.found = before;
            }
        }
    }

    /// Each member of the collection may give an answer.
    fn goes_through(&mut self, collection: &Shape) {
        let members = collection.first().copied().unwrap_or(1).max(1);
        self.found = self.found.saturating_mul(members);
    }

    /// A variable may have a value of this shape.
    fn is(&mut self, name: &str, shape: &Shape) {
        if name != "input" && !self.kinds.contains_key(name) {
            let mut shape = shape.clone();
            // Only a value that contains itself reaches this.
            shape.truncate(LEVELS + 1);
            join(
                self.known
                    .variables
                    .entry((self.rule, name.to_owned()))
                    .or_default(),
                &shape,
            );
        }
    }

    /// The variables of a pattern, matched with a value of this shape.
    fn binds(&mut self, pattern: &Ref<Expr>, shape: &Shape) {
        match pattern.as_ref() {
            Expr::Var { span, .. } => self.is(span.text(), shape),
            Expr::Array { items, .. } => {
                let of = member(shape);
                items.iter().for_each(|item| self.binds(item, &of));
            }
            Expr::Object { fields, .. } => {
                let of = member(shape);
                fields
                    .iter()
                    .for_each(|(_, _, value)| self.binds(value, &of));
            }
            _ => {
                self.expr(pattern);
            }
        }
    }

    fn expr(&mut self, expr: &Ref<Expr>) -> Shape {
        if let Some(path) = path(expr)
            && let ["input", fields @ ..] = path.as_slice()
            && let Some(shape) = input(fields)
        {
            return shape;
        }
        match expr.as_ref() {
            Expr::Var { span, .. } => {
                let name = span.text();
                match self.known.rules.get(name) {
                    Some(shape) => shape.clone(),
                    None => {
                        let key = (self.rule, name.to_owned());
                        self.known.variables.get(&key).cloned().unwrap_or_default()
                    }
                }
            }
            Expr::Array { span, items, .. } | Expr::Set { span, items, .. } => {
                let mut of = vec![];
                for item in items {
                    join(&mut of, &self.expr(item));
                }
                self.collects(span, number(items.len()), &of)
            }
            Expr::Object { span, fields, .. } => {
                let mut of = vec![];
                for (_, key, value) in fields {
                    join(&mut of, &self.expr(key));
                    join(&mut of, &self.expr(value));
                }
                self.collects(span, number(fields.len()).saturating_mul(2), &of)
            }
            Expr::ArrayCompr { span, query, .. }
            | Expr::SetCompr { span, query, .. }
            | Expr::ObjectCompr { span, query, .. } => self.finds(span, query, &parts(expr)),
            Expr::Call {
                span, fcn, params, ..
            } => self.call(span, fcn, params),
            Expr::RefDot { refr, .. } => member(&self.expr(refr)),
            Expr::RefBrack { refr, .. } => {
                let of = self.expr(refr);
                if let Some(index) = open_index(expr) {
                    self.goes_through(&of);
                    // The member of a set is its own index.
                    self.binds(index, &member(&of));
                }
                member(&of)
            }
            Expr::BinExpr {
                span, op, lhs, rhs, ..
            } => {
                let (mut shape, other) = (self.expr(lhs), self.expr(rhs));
                let both = shape
                    .first()
                    .unwrap_or(&0)
                    .saturating_add(*other.first().unwrap_or(&0));
                join(&mut shape, &other);
                match (op, shape.first_mut()) {
                    (BinOp::Union, Some(members)) => *members = both.min(NODES + 1),
                    (BinOp::Union | BinOp::Intersection, _) => (),
                }
                self.made(span, &shape);
                shape
            }
            // For sets: the members of the first that are not in the second.
            Expr::ArithExpr {
                op: ArithOp::Sub,
                lhs,
                rhs,
                ..
            } => {
                let shape = self.expr(lhs);
                self.expr(rhs);
                shape
            }
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                let right = self.expr(rhs);
                self.binds(lhs, &right);
                if *op == AssignOp::Eq {
                    let left = self.expr(lhs);
                    self.binds(rhs, &left);
                }
                vec![]
            }
            Expr::Membership {
                key,
                value,
                collection,
                ..
            } => {
                let of = member(&self.expr(collection));
                for pattern in key.iter().chain([value]) {
                    self.binds(pattern, &of);
                }
                vec![]
            }
            // Always a text, a number or a boolean.
            _ => {
                for part in parts(expr) {
                    self.expr(part);
                }
                vec![]
            }
        }
    }

    fn collects(&mut self, span: &Span, members: u64, of: &Shape) -> Shape {
        let mut shape = collection(members, of);
        self.made(span, &shape);
        shape.truncate(LEVELS + 1);
        shape
    }

    /// A comprehension: its terms, for each answer of its query.
    fn finds(&mut self, span: &Span, query: &Query, terms: &[&Ref<Expr>]) -> Shape {
        let before = std::mem::replace(&mut self.found, 1);
        self.statements(query);
        let mut of = vec![];
        for term in terms {
            join(&mut of, &self.expr(term));
        }
        let found = std::mem::replace(&mut self.found, before).min(FOUND);
        self.collects(span, found.saturating_mul(number(terms.len())), &of)
    }

    fn call(&mut self, span: &Span, function: &Expr, params: &[Ref<Expr>]) -> Shape {
        let given: Vec<Shape> = params.iter().map(|param| self.expr(param)).collect();
        let name = path(function).unwrap_or_default().join(".");
        if let Some(NameKind::Function(_)) = self.kinds.get(&name) {
            for (place, shape) in given.iter().enumerate() {
                join(
                    self.known.params.entry((name.clone(), place)).or_default(),
                    shape,
                );
            }
            return self
                .known
                .rules
                .get(name.as_str())
                .cloned()
                .unwrap_or_default();
        }
        match builtins::find(&name).map(|(_, gives)| gives) {
            Some(Returns::One) => vec![],
            Some(Returns::Texts(members)) => self.collects(span, number(members), &vec![]),
            Some(Returns::Member) => {
                // A field given by name is that very field, and the shapes of input fields are known.
                let named = match (params, given.get(2)) {
                    ([object, key, _], Some(_)) => match (path(object), key.as_ref()) {
                        (Some(mut path), Expr::String { span, .. }) if path[0] == "input" => {
                            path.push(span.text());
                            input(&path[1..])
                        }
                        _ => None,
                    },
                    _ => None,
                };
                let first = given.first().map(member).unwrap_or_default();
                let mut shape = named.unwrap_or(first);
                if let Some(otherwise) = given.get(2) {
                    join(&mut shape, otherwise);
                }
                shape
            }
            None => vec![],
        }
    }
}
