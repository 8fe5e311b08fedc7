//! Checks the contents of rules: only statements and expressions of the subset.

use std::collections::{BTreeMap, BTreeSet};

use aegis_profile::syntax::{meant, quote};
use regorus::unstable::{ArithOp, AssignOp, Expr, Query, Ref, Rule, Span};

use super::BadModule;
use super::builtins::{self, Pattern};
use super::check::{NameKind, bad, member};
use super::input::{CONTEXT, WHAT};
use super::limits::{DEPTH, LOOPS, PATTERNS, STATEMENTS};
use super::parts::{RuleParts, Statement, open_index, parts, path, query, variable, variables};
use crate::model::Verdict;

/// Checks one rule.
pub(super) struct Walk<'m> {
    pub names: &'m BTreeMap<String, NameKind>,
    pub needs: BTreeSet<String>,
    pub patterns: &'m mut BTreeMap<String, Pattern>,
}

impl Walk<'_> {
    pub fn rule(&mut self, rule: &Rule) -> Result<(), BadModule> {
        let RuleParts {
            name,
            args,
            made,
            bodies,
        } = RuleParts::of(rule);
        if let Some(second) = bodies.get(1) {
            return Err(bad(&second.span, "a second body", "write a second rule"));
        }
        for arg in args {
            self.binds(arg)?;
            self.expr(arg, 0)?;
        }
        let mut loops = 0;
        if let Some(made) = made {
            let says = |name: &str| Verdict::ALL.iter().any(|verdict| verdict.name() == name);
            if variable(name)
                .is_some_and(|name| says(name) && self.names.get(name) == Some(&NameKind::Set))
            {
                member(made)?;
            }
            loops += iterations(made);
            self.expr(made, 0)?;
        }
        bodies
            .iter()
            .try_for_each(|body| self.query(&body.query, loops, 0))
    }

    /// `loops`: the iterations in the value of each answer.
    fn query(&mut self, query: &Query, mut loops: usize, depth: usize) -> Result<(), BadModule> {
        if let Some(statement) = query.stmts.get(STATEMENTS) {
            let message = format!("more than {STATEMENTS} statements in one body");
            return Err(bad(
                &statement.span,
                message,
                "divide it among several rules",
            ));
        }
        for statement in &query.stmts {
            if let Some(with) = statement.with_mods.first() {
                return Err(bad(&with.span, "`with` has no place here", "remove it"));
            }
            let parts = Statement::of(&statement.literal);
            loops += usize::from(!parts.patterns.is_empty());
            parts.new.iter().try_for_each(|var| self.is_free(var))?;
            parts
                .patterns
                .iter()
                .try_for_each(|pattern| self.binds(pattern))?;
            for pattern in parts.patterns {
                self.expr(pattern, depth + 1)?;
            }
            for expr in [parts.through, parts.holds, parts.denied]
                .into_iter()
                .flatten()
            {
                loops += iterations(expr);
                self.expr(expr, depth + 1)?;
            }
            if let Some(query) = parts.every {
                self.query(query, 1, depth + 1)?;
            }
            if loops > LOOPS {
                let message = format!("more than {LOOPS} iterations within each other");
                return Err(bad(
                    &statement.span,
                    message,
                    "divide it among several rules",
                ));
            }
        }
        Ok(())
    }

    fn expr(&mut self, expr: &Ref<Expr>, depth: usize) -> Result<(), BadModule> {
        let depth = depth + 1;
        if depth > DEPTH {
            let message = format!("more than {DEPTH} expressions within each other");
            return Err(bad(
                expr.span(),
                message,
                "give inner parts a rule of their own",
            ));
        }
        match expr.as_ref() {
            Expr::Var { span, .. } => return self.name(span),
            Expr::RefDot { .. } | Expr::RefBrack { .. } => self.field(expr)?,
            Expr::ArithExpr {
                span, op, lhs, rhs, ..
            } => is_bounded(span, op, lhs, rhs)?,
            Expr::AssignExpr {
                op: AssignOp::ColEq,
                lhs,
                ..
            } => self.binds(lhs)?,
            _ => {}
        }
        let parts = parts(expr);
        parts.iter().try_for_each(|part| self.expr(part, depth))?;
        if let Some(query) = query(expr) {
            let loops = parts.iter().map(|term| iterations(term)).sum();
            self.query(query, loops, depth)?;
        }
        match expr.as_ref() {
            Expr::Call {
                span, fcn, params, ..
            } => self.call(span, fcn, params),
            _ => Ok(()),
        }
    }

    fn name(&mut self, span: &Span) -> Result<(), BadModule> {
        match span.text() {
            "data" => {
                let help = "a rule knows only the request: write what it needs as a rule";
                Err(bad(span, "there are no data documents", help))
            }
            name => {
                if self.names.contains_key(name) {
                    self.needs.insert(name.to_owned());
                }
                Ok(())
            }
        }
    }

    /// A field of the input that no request has is a typing error, and its `not` would always be true.
    fn field(&self, expr: &Expr) -> Result<(), BadModule> {
        let Some(path) = path(expr) else {
            return Ok(());
        };
        let (field, known): (&str, &[&str]) = match path.as_slice() {
            ["input", field] => (field, &["context", "what"]),
            ["input", "context", field] => (field, &CONTEXT),
            ["input", "what", field] => (field, &WHAT),
            _ => return Ok(()),
        };
        if known.contains(&field) {
            return Ok(());
        }
        let all = format!("it has {}", known.join(", "));
        let help = meant(field, known.iter().copied(), all);
        Err(bad(
            expr.span(),
            format!("no request has the field `{}`", quote(field)),
            help,
        ))
    }

    /// Variables that a pattern gives values to.
    fn binds(&self, pattern: &Expr) -> Result<(), BadModule> {
        let mut variables = variables(pattern).into_iter();
        variables.try_for_each(|variable| self.is_free(variable))
    }

    fn is_free(&self, var: &Span) -> Result<(), BadModule> {
        let name = var.text();
        match self.names.contains_key(name) || matches!(name, "input" | "data") {
            true => {
                let message = format!("the variable `{name}` has the name of a rule");
                Err(bad(var, message, "give it another name"))
            }
            false => Ok(()),
        }
    }

    fn call(
        &mut self,
        span: &Span,
        function: &Expr,
        params: &[Ref<Expr>],
    ) -> Result<(), BadModule> {
        let Some(path) = path(function) else {
            return Err(bad(span, "not a function", "call one by its name"));
        };
        let name = path.join(".");
        let arity = match (self.names.get(&name), builtins::find(&name)) {
            (Some(NameKind::Function(arity)), _) => {
                self.needs.insert(name.clone());
                *arity
            }
            (Some(_), _) => {
                let message = format!("`{name}` is not a function");
                return Err(bad(span, message, "write its name alone"));
            }
            (None, Some((arity, _))) => arity,
            (None, None) => return Err(self.unknown(span, &name)),
        };
        if params.len() != arity {
            let message = format!("`{name}` has {arity} arguments, not {}", params.len());
            return Err(bad(span, message, "give each of them"));
        }
        if name == "regex.match" {
            self.pattern(&params[0])?;
        }
        Ok(())
    }

    /// A function that rules do not have.
    fn unknown(&self, span: &Span, name: &str) -> BadModule {
        let shown = quote(name);
        if let Some(why) = builtins::why_not(name) {
            let message = format!("`{shown}` cannot be called: {why}");
            return bad(span, message, "remove it");
        }
        let mut known: Vec<&str> = builtins::names().collect();
        let all = format!("there are {}", known.join(", "));
        known.extend(self.names.keys().map(String::as_str));
        let help = meant(name, known, all);
        let message = format!("`{shown}` is not a function that rules have");
        bad(span, message, help)
    }

    fn pattern(&mut self, expr: &Expr) -> Result<(), BadModule> {
        let (Expr::String { span, value, .. } | Expr::RawString { span, value, .. }) = expr else {
            let help = "write the pattern itself, between backquotes";
            return Err(bad(expr.span(), "a pattern that is not a literal", help));
        };
        let Ok(text) = value.as_string() else {
            return Err(bad(
                span,
                "a pattern is a text",
                "write it between backquotes",
            ));
        };
        if !self.patterns.contains_key(&**text) {
            if self.patterns.len() == PATTERNS {
                let message = format!("more than {PATTERNS} patterns");
                return Err(bad(span, message, "put some of them together with `|`"));
            }
            let pattern = Pattern::compile(text).map_err(|why| {
                bad(
                    span,
                    format!("not a valid pattern: {}", quote(&why)),
                    "see the syntax of the Rust crate `regex`",
                )
            })?;
            self.patterns.insert(text.to_string(), pattern);
        }
        Ok(())
    }
}

/// Checks that the result of an operation is a whole number, and no longer than its operands together.
fn is_bounded(span: &Span, op: &ArithOp, lhs: &Expr, rhs: &Expr) -> Result<(), BadModule> {
    let number = |expr: &Expr| matches!(expr, Expr::Number { .. });
    match op {
        ArithOp::Add | ArithOp::Sub | ArithOp::Mod => Ok(()),
        ArithOp::Mul if number(lhs) || number(rhs) => Ok(()),
        ArithOp::Mul => {
            let help = "multiply by a number that is written out";
            Err(bad(span, "a product of any size", help))
        }
        ArithOp::Div => {
            let help = "multiply the other side instead: rules have whole numbers only";
            Err(bad(span, "a quotient may have a fraction", help))
        }
    }
}

/// The iterations in an expression: references through variables. A comprehension counts its own.
fn iterations(expr: &Expr) -> usize {
    match query(expr) {
        Some(_) => 0,
        None => {
            let within = parts(expr).into_iter().map(|part| iterations(part));
            usize::from(open_index(expr).is_some()) + within.sum::<usize>()
        }
    }
}
