//! Whether each variable has a value where it is used, statement by statement as they are written. The engine
//! would find an order of its own; where it finds none it goes on all the same, and a rule that should block
//! is silent.
//!
//! And no iteration within `not`: the engine takes "not any" for "any that is not".

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, Expr, Module, Query, Rule, Span};

use super::BadModule;
use super::check::{Kind, bad};
use super::parts::{Statement, Whole, parts, query, variable, variables};

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
        let Whole {
            args, made, bodies, ..
        } = Whole::of(rule);
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
                // New variables, whatever has these names outside.
                None => self
                    .bound
                    .retain(|bound| !names.clone().any(|name| name == bound)),
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

/// The indices of an expression, but not of comprehensions within: they are asked for themselves.
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
