//! The parts of an expression. Every check that goes through a module uses [`parts`]: it names every kind of
//! expression, so that an engine with a new kind does not compile until that kind is handled.

use regorus::unstable::{Expr, Literal, Query, Ref, Rule, RuleBody, RuleHead, Span};

/// The expressions directly within an expression, in the order of the text; for a comprehension its terms.
pub(super) fn parts(expr: &Expr) -> Vec<&Ref<Expr>> {
    match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => Vec::new(),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().collect(),
        Expr::Object { fields, .. } => {
            let fields = fields.iter();
            fields.flat_map(|(_, key, value)| [key, value]).collect()
        }
        Expr::ArrayCompr { term, .. } | Expr::SetCompr { term, .. } => vec![term],
        Expr::ObjectCompr { key, value, .. } => vec![key, value],
        Expr::Call { params, .. } => params.iter().collect(),
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::RefDot { refr, .. } => vec![refr],
        Expr::RefBrack { refr, index, .. } => vec![refr, index],
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => key.iter().chain([value, collection]).collect(),
    }
}

/// A rule of any form.
pub(super) struct RuleParts<'r> {
    pub name: &'r Ref<Expr>,
    pub args: &'r [Ref<Expr>],
    /// The value that each answer gives.
    pub made: Option<&'r Ref<Expr>>,
    pub bodies: &'r [RuleBody],
}

impl<'r> RuleParts<'r> {
    pub fn of(rule: &'r Rule) -> Self {
        let (name, args, made, bodies): (_, &[_], _, &[_]) = match rule {
            Rule::Default { refr, value, .. } => (refr, &[], Some(value), &[]),
            Rule::Spec { head, bodies, .. } => match head {
                RuleHead::Set { refr, key, .. } => (refr, &[], key.as_ref(), bodies),
                RuleHead::Compr { refr, assign, .. } => (
                    refr,
                    &[],
                    assign.as_ref().map(|assign| &assign.value),
                    bodies,
                ),
                RuleHead::Func {
                    refr, args, assign, ..
                } => (
                    refr,
                    args,
                    assign.as_ref().map(|assign| &assign.value),
                    bodies,
                ),
            },
        };
        Self {
            name,
            args,
            made,
            bodies,
        }
    }
}

/// A statement of any form.
#[derive(Default)]
pub(super) struct Statement<'s> {
    /// Names that become variables.
    pub new: Vec<&'s Span>,
    /// The collection that it goes through.
    pub through: Option<&'s Ref<Expr>>,
    /// What the members of the collection are matched with.
    pub patterns: Vec<&'s Ref<Expr>>,
    /// What has to hold.
    pub holds: Option<&'s Ref<Expr>>,
    /// What must not hold.
    pub denied: Option<&'s Ref<Expr>>,
    /// What has to hold for every member.
    pub every: Option<&'s Query>,
}

impl<'s> Statement<'s> {
    pub fn of(literal: &'s Literal) -> Self {
        let mut statement = Self::default();
        match literal {
            Literal::SomeVars { vars, .. } => statement.new = vars.iter().collect(),
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                statement.through = Some(collection);
                statement.patterns = key.iter().chain([value]).collect();
            }
            Literal::Expr { expr, .. } => statement.holds = Some(expr),
            Literal::NotExpr { expr, .. } => statement.denied = Some(expr),
            Literal::Every {
                key,
                value,
                domain,
                query,
                ..
            } => {
                statement.new = key.iter().chain([value]).collect();
                statement.through = Some(domain);
                statement.every = Some(query);
            }
        }
        statement
    }
}

/// The query of a comprehension.
pub(super) fn query(expr: &Expr) -> Option<&Query> {
    match expr {
        Expr::ArrayCompr { query, .. }
        | Expr::SetCompr { query, .. }
        | Expr::ObjectCompr { query, .. } => Some(query),
        _ => None,
    }
}

/// The index of a reference that may be an iteration: one that is not a literal.
pub(super) fn open_index(expr: &Expr) -> Option<&Ref<Expr>> {
    match expr {
        Expr::RefBrack { index, .. } => match index.as_ref() {
            Expr::String { .. } | Expr::RawString { .. } | Expr::Number { .. } => None,
            _ => Some(index),
        },
        _ => None,
    }
}

/// The variables of a pattern that is matched with a value.
pub(super) fn variables(pattern: &Expr) -> Vec<&Span> {
    match pattern {
        Expr::Var { span, .. } => vec![span],
        Expr::Array { items, .. } => items.iter().flat_map(|item| variables(item)).collect(),
        Expr::Object { fields, .. } => {
            let fields = fields.iter();
            fields.flat_map(|(.., value)| variables(value)).collect()
        }
        _ => Vec::new(),
    }
}

/// A name as the whole of an expression.
pub(super) fn variable(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Var { span, .. } => Some(span.text()),
        _ => None,
    }
}

/// A name and the fields after it: `input.what.host`.
pub(super) fn path(expr: &Expr) -> Option<Vec<&str>> {
    let (refr, field) = match expr {
        Expr::Var { span, .. } => return Some(vec![span.text()]),
        Expr::RefDot { refr, field, .. } => (refr, field.0.text()),
        Expr::RefBrack { refr, index, .. } => match index.as_ref() {
            Expr::String { span, .. } => (refr, span.text()),
            _ => return None,
        },
        _ => return None,
    };
    let mut path = path(refr)?;
    path.push(field);
    Some(path)
}
