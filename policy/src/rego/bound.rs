//! Checks that each variable has a value where it is used, in the written order of statements. The engine would
//! choose its own order; where it finds none it still goes on, and a rule that should block is silent.
//!
//! Also refuses iteration within `not`: the engine reads "not any" as "any that is not".

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, Expr, Module, Query, Rule, Span};

use super::BadModule;
use super::check::{NameKind, bad};
use super::parts::{RuleParts, Statement, parts, query, variable, variables};

pub(super) fn check(module: &Module, names: &BTreeMap<String, NameKind>) -> Result<(), BadModule> {
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
    names: &'m BTreeMap<String, NameKind>,
    /// The variables that have a value.
    bound: BTreeSet<String>,
}

impl Scope<'_> {
    fn rule(&mut self, rule: &Rule) -> Result<(), BadModule> {
        let RuleParts {
            args, made, bodies, ..
        } = RuleParts::of(rule);
        args.iter().try_for_each(|arg| self.bind(arg))?;
        bodies.iter().try_for_each(|body| self.query(&body.query))?;
        made.map_or(Ok(()), |made| self.expr(made))
    }

    fn query(&mut self, query: &Query) -> Result<(), BadModule> {
        for statement in &query.stmts {
            let statement = Statement::of(&statement.literal);
            if let Some(collection) = statement.through {
                self.expr(collection)?;
            }
            (statement.patterns.iter()).try_for_each(|pattern| self.bind(pattern))?;
            if let Some(expr) = statement.holds {
                self.expr(expr)?;
            }
            if let Some(expr) = statement.denied {
                let mut indices = Vec::new();
                gather(expr, &mut indices);
                for index in indices {
                    self.closed(index)?;
                }
                self.uses(expr)?;
            }
            let names = statement.new.iter().map(|var| var.text());
            match statement.every {
                Some(query) => self.within(|scope| {
                    scope.bound.extend(names.map(str::to_owned));
                    scope.query(query)
                })?,
                // New variables: they shadow outer ones of the same names.
                None => self
                    .bound
                    .retain(|bound| !names.clone().any(|name| name == bound)),
            }
        }
        Ok(())
    }

    /// Variables that get a value inside have none outside.
    fn within(
        &mut self,
        what: impl FnOnce(&mut Self) -> Result<(), BadModule>,
    ) -> Result<(), BadModule> {
        let before = self.bound.clone();
        let done = what(self);
        self.bound = before;
        done
    }

    /// Checks an expression: an index variable without a value gets one here, by iteration.
    fn expr(&mut self, expr: &Expr) -> Result<(), BadModule> {
        let mut indices = Vec::new();
        gather(expr, &mut indices);
        for variable in indices.into_iter().flat_map(variables) {
            self.give(variable);
        }
        self.uses(expr)
    }

    fn give(&mut self, var: &Span) {
        if !self.names.contains_key(var.text()) {
            self.bound.insert(var.text().to_owned());
        }
    }

    /// Gives values to the variables of a pattern.
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

    /// Checks that an index is not an iteration.
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
            Expr::RefBrack { refr, index, .. } if variable(index) == Some("_") => self.uses(refr),
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
            _ => match query(expr) {
                Some(query) => self.within(|scope| {
                    scope.query(query)?;
                    parts(expr).iter().try_for_each(|term| scope.expr(term))
                }),
                None => parts(expr).iter().try_for_each(|part| self.uses(part)),
            },
        }
    }
}

/// The indices of an expression, except in comprehensions within it, which are checked by themselves.
fn gather<'e>(expr: &'e Expr, indices: &mut Vec<&'e Expr>) {
    if query(expr).is_some() {
        return;
    }
    for part in parts(expr) {
        gather(part, indices);
    }
    if let Expr::RefBrack { index, .. } = expr {
        indices.push(index);
    }
}
