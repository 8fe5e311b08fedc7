//! Whether each variable has a value where it is used, statement by statement as they are written. The engine
//! would find an order of its own; where it finds none it goes on all the same, and a rule that should block
//! is silent.
//!
//! And no iteration within `not`: the engine takes "not any" for "any that is not".

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, Expr, Literal, Module, Query, Rule, RuleHead, Span};

use super::BadModule;
use super::check::{Kind, bad};

pub(super) fn check(module: &Module, names: &BTreeMap<String, Kind>) -> Result<(), BadModule> {
    for rule in &module.policy {
        let mut scope = Scope {
            names,
            bound: BTreeSet::new(),
        };
        scope.rule(rule)?;
    }
    Ok(())
}

struct Scope<'m> {
    names: &'m BTreeMap<String, Kind>,
    /// The variables that have a value.
    bound: BTreeSet<String>,
}

impl Scope<'_> {
    fn rule(&mut self, rule: &Rule) -> Result<(), BadModule> {
        let (head, bodies) = match rule {
            Rule::Spec { head, bodies, .. } => (head, bodies),
            Rule::Default { value, .. } => return self.expr(value),
        };
        if let RuleHead::Func { args, .. } = head {
            args.iter().try_for_each(|arg| self.bind(arg))?;
        }
        for body in bodies {
            self.query(&body.query)?;
        }
        match head {
            RuleHead::Set { key, .. } => key.iter().try_for_each(|key| self.expr(key)),
            RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => assign
                .iter()
                .try_for_each(|assign| self.expr(&assign.value)),
        }
    }

    fn query(&mut self, query: &Query) -> Result<(), BadModule> {
        for statement in &query.stmts {
            match &statement.literal {
                Literal::SomeVars { vars, .. } => {
                    // A new variable, whatever has that name outside.
                    for var in vars {
                        self.bound.remove(var.text());
                    }
                }
                Literal::SomeIn {
                    key,
                    value,
                    collection,
                    ..
                } => {
                    self.expr(collection)?;
                    key.iter()
                        .chain([value])
                        .try_for_each(|pattern| self.bind(pattern))?;
                }
                Literal::Expr { expr, .. } => self.expr(expr)?,
                Literal::NotExpr { expr, .. } => {
                    let mut indices = Vec::new();
                    gather(expr, &mut indices);
                    for index in indices {
                        self.closed(index)?;
                    }
                    self.uses(expr)?;
                }
                Literal::Every {
                    key,
                    value,
                    domain,
                    query,
                    ..
                } => {
                    self.expr(domain)?;
                    self.within(|scope| {
                        let vars = key.iter().chain([value]);
                        scope.bound.extend(vars.map(|var| var.text().to_owned()));
                        scope.query(query)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// What has a value in there has none outside.
    fn within(
        &mut self,
        what: impl FnOnce(&mut Self) -> Result<(), BadModule>,
    ) -> Result<(), BadModule> {
        let before = self.bound.clone();
        let done = what(self);
        self.bound = before;
        done
    }

    /// An expression: its indices that have no value take each in turn.
    fn expr(&mut self, expr: &Expr) -> Result<(), BadModule> {
        let mut indices = Vec::new();
        gather(expr, &mut indices);
        for index in indices {
            self.bind_index(index);
        }
        self.uses(expr)
    }

    fn bind_index(&mut self, index: &Expr) {
        match index {
            Expr::Var { span, .. } => self.give(span),
            Expr::Array { items, .. } => items.iter().for_each(|item| self.bind_index(item)),
            Expr::Object { fields, .. } => {
                fields
                    .iter()
                    .for_each(|(_, _, value)| self.bind_index(value));
            }
            _ => (),
        }
    }

    fn give(&mut self, var: &Span) {
        if !self.names.contains_key(var.text()) {
            self.bound.insert(var.text().to_owned());
        }
    }

    /// The variables of a pattern have values from now on.
    fn bind(&mut self, pattern: &Expr) -> Result<(), BadModule> {
        match pattern {
            Expr::Var { span, .. } => {
                self.give(span);
                Ok(())
            }
            Expr::Array { items, .. } => items.iter().try_for_each(|item| self.bind(item)),
            Expr::Object { fields, .. } => fields.iter().try_for_each(|(_, key, value)| {
                self.expr(key)?;
                self.bind(value)
            }),
            other => self.expr(other),
        }
    }

    /// An index that is no iteration.
    fn closed(&self, index: &Expr) -> Result<(), BadModule> {
        let Expr::Var { span, .. } = index else {
            return Ok(());
        };
        match span.text() == "_" || !self.has_value(span) {
            true => {
                let help = "write what is denied as a rule of its own, and `not` before its name";
                Err(bad(span, "an iteration within `not`", help))
            }
            false => Ok(()),
        }
    }

    fn has_value(&self, var: &Span) -> bool {
        let name = var.text();
        name == "input" || self.names.contains_key(name) || self.bound.contains(name)
    }

    fn uses(&mut self, expr: &Expr) -> Result<(), BadModule> {
        match expr {
            Expr::Var { span, .. } => match self.has_value(span) {
                true => Ok(()),
                false => {
                    let message = format!("`{}` has no value here", span.text());
                    Err(bad(span, message, "give it one in a statement before"))
                }
            },
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => Ok(()),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().try_for_each(|item| self.uses(item))
            }
            Expr::Object { fields, .. } => fields.iter().try_for_each(|(_, key, value)| {
                self.uses(key)?;
                self.uses(value)
            }),
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => self
                .within(|scope| {
                    scope.query(query)?;
                    scope.expr(term)
                }),
            Expr::ObjectCompr {
                key, value, query, ..
            } => self.within(|scope| {
                scope.query(query)?;
                scope.expr(key)?;
                scope.expr(value)
            }),
            Expr::Call { params, .. } => params.iter().try_for_each(|param| self.uses(param)),
            Expr::UnaryExpr { expr, .. } => self.uses(expr),
            Expr::RefDot { refr, .. } => self.uses(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.uses(refr)?;
                match index.as_ref() {
                    Expr::Var { span, .. } if span.text() == "_" => Ok(()),
                    index => self.uses(index),
                }
            }
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. } => {
                self.uses(lhs)?;
                self.uses(rhs)
            }
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                let backwards =
                    *op == AssignOp::Eq && self.within(|scope| scope.uses(rhs)).is_err();
                match backwards {
                    false => {
                        self.uses(rhs)?;
                        self.bind(lhs)
                    }
                    true => {
                        self.uses(lhs)?;
                        self.bind(rhs)
                    }
                }
            }
            Expr::Membership {
                key,
                value,
                collection,
                ..
            } => {
                key.iter().try_for_each(|key| self.uses(key))?;
                self.uses(value)?;
                self.uses(collection)
            }
        }
    }
}

/// The indices of an expression, but not of comprehensions within: they are asked for themselves.
fn gather<'e>(expr: &'e Expr, indices: &mut Vec<&'e Expr>) {
    match expr {
        Expr::RefBrack { refr, index, .. } => {
            gather(refr, indices);
            gather(index, indices);
            indices.push(index);
        }
        Expr::RefDot { refr, .. } => gather(refr, indices),
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().for_each(|item| gather(item, indices));
        }
        Expr::Object { fields, .. } => fields.iter().for_each(|(_, key, value)| {
            gather(key, indices);
            gather(value, indices);
        }),
        Expr::Call { params, .. } => params.iter().for_each(|param| gather(param, indices)),
        Expr::UnaryExpr { expr, .. } => gather(expr, indices),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            gather(lhs, indices);
            gather(rhs, indices);
        }
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => {
            key.iter().for_each(|key| gather(key, indices));
            gather(value, indices);
            gather(collection, indices);
        }
        Expr::ArrayCompr { .. }
        | Expr::SetCompr { .. }
        | Expr::ObjectCompr { .. }
        | Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => (),
    }
}
