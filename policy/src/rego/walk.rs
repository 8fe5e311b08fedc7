//! What rules are made of: every statement and expression of the subset, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use aegis_profile::syntax::{nearest, quote};
use regorus::unstable::{
    ArithOp, AssignOp, BinOp, Expr, Literal, Query, Ref, Rule, RuleBody, RuleHead, Span,
};

use super::BadModule;
use super::builtins::{self, Pattern};
use super::check::{Kind, bad, member, path, variable};
use super::input::{CONTEXT, WHAT};
use super::limits::{DEPTH, LOOPS, PATTERNS, STATEMENTS};
use crate::model::Verdict;

/// Goes through one rule.
pub(super) struct Walk<'m> {
    pub names: &'m BTreeMap<String, Kind>,
    pub needs: BTreeSet<String>,
    pub patterns: &'m mut BTreeMap<String, Pattern>,
}

impl Walk<'_> {
    pub fn rule(&mut self, rule: &Rule) -> Result<(), BadModule> {
        let (head, bodies): (_, &[RuleBody]) = match rule {
            Rule::Spec { head, bodies, .. } => (head, bodies),
            Rule::Default { value, .. } => return self.expr(value, 0),
        };
        if let Some(second) = bodies.get(1) {
            return Err(bad(&second.span, "a second body", "write a second rule"));
        }
        let mut loops = 0;
        match head {
            RuleHead::Set { refr, key, .. } => {
                if let Some(key) = key {
                    let verdict = variable(refr).is_some_and(|name| {
                        Verdict::ALL.iter().any(|verdict| verdict.name() == name)
                    });
                    if verdict {
                        member(key)?;
                    }
                    loops += iterations(key);
                    self.expr(key, 0)?;
                }
            }
            RuleHead::Compr { assign, .. } => {
                if let Some(assign) = assign {
                    loops += iterations(&assign.value);
                    self.expr(&assign.value, 0)?;
                }
            }
            RuleHead::Func { args, assign, .. } => {
                for arg in args {
                    self.binds(arg)?;
                    self.expr(arg, 0)?;
                }
                if let Some(assign) = assign {
                    loops += iterations(&assign.value);
                    self.expr(&assign.value, 0)?;
                }
            }
        }
        bodies
            .iter()
            .try_for_each(|body| self.query(&body.query, loops, 0))
    }

    /// `loops`: those of what is made of each answer.
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
            match &statement.literal {
                Literal::SomeVars { vars, .. } => {
                    vars.iter().try_for_each(|var| self.is_free(var))?;
                }
                Literal::SomeIn {
                    key,
                    value,
                    collection,
                    ..
                } => {
                    loops += 1 + iterations(collection);
                    for pattern in key.iter().chain([value]) {
                        self.binds(pattern)?;
                        self.expr(pattern, depth + 1)?;
                    }
                    self.expr(collection, depth + 1)?;
                }
                Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => {
                    loops += iterations(expr);
                    self.expr(expr, depth + 1)?;
                }
                Literal::Every {
                    key,
                    value,
                    domain,
                    query,
                    ..
                } => {
                    loops += iterations(domain);
                    key.iter()
                        .chain([value])
                        .try_for_each(|var| self.is_free(var))?;
                    self.expr(domain, depth + 1)?;
                    self.query(query, 1, depth + 1)?;
                }
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
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => Ok(()),
            Expr::Var { span, .. } => self.name(span),
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().try_for_each(|item| self.expr(item, depth))
            }
            Expr::Object { fields, .. } => fields.iter().try_for_each(|(_, key, value)| {
                self.expr(key, depth)?;
                self.expr(value, depth)
            }),
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.expr(term, depth)?;
                self.query(query, iterations(term), depth)
            }
            Expr::ObjectCompr {
                key, value, query, ..
            } => {
                self.expr(key, depth)?;
                self.expr(value, depth)?;
                self.query(query, iterations(key) + iterations(value), depth)
            }
            Expr::Call {
                span, fcn, params, ..
            } => {
                params
                    .iter()
                    .try_for_each(|param| self.expr(param, depth))?;
                self.call(span, fcn, params)
            }
            Expr::UnaryExpr { expr, .. } => self.expr(expr, depth),
            Expr::RefDot { refr, .. } => {
                self.field(expr)?;
                self.expr(refr, depth)
            }
            Expr::RefBrack { refr, index, .. } => {
                self.field(expr)?;
                self.expr(refr, depth)?;
                self.expr(index, depth)
            }
            Expr::BinExpr { op, lhs, rhs, .. } => {
                match op {
                    BinOp::Intersection | BinOp::Union => (),
                }
                self.expr(lhs, depth)?;
                self.expr(rhs, depth)
            }
            Expr::ArithExpr {
                span, op, lhs, rhs, ..
            } => {
                let number = |expr: &Expr| matches!(expr, Expr::Number { .. });
                match op {
                    ArithOp::Add | ArithOp::Sub | ArithOp::Mod => (),
                    ArithOp::Mul if number(lhs) || number(rhs) => (),
                    ArithOp::Mul => {
                        let help = "multiply by a number that is written out";
                        return Err(bad(span, "a product of any size", help));
                    }
                    ArithOp::Div => {
                        let help = "multiply the other side instead: rules have whole numbers only";
                        return Err(bad(span, "a quotient may be no whole number", help));
                    }
                }
                self.expr(lhs, depth)?;
                self.expr(rhs, depth)
            }
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                if *op == AssignOp::ColEq {
                    self.binds(lhs)?;
                }
                self.expr(lhs, depth)?;
                self.expr(rhs, depth)
            }
            Expr::BoolExpr { lhs, rhs, .. } => {
                self.expr(lhs, depth)?;
                self.expr(rhs, depth)
            }
            Expr::Membership {
                key,
                value,
                collection,
                ..
            } => {
                key.iter().try_for_each(|key| self.expr(key, depth))?;
                self.expr(value, depth)?;
                self.expr(collection, depth)
            }
        }
    }

    fn name(&mut self, span: &Span) -> Result<(), BadModule> {
        match span.text() {
            "data" => {
                let help =
                    "nothing but the request is known to a rule: write what it needs as a rule";
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

    /// A field of the input that no request has is a slip of the pen, and `not` of it always true.
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
        let help = match nearest(field, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", known.join(", ")),
        };
        Err(bad(
            expr.span(),
            format!("no request has the field `{}`", quote(field)),
            help,
        ))
    }

    /// Variables that a pattern gives values to.
    fn binds(&self, pattern: &Expr) -> Result<(), BadModule> {
        match pattern {
            Expr::Var { span, .. } => self.is_free(span),
            Expr::Array { items, .. } => items.iter().try_for_each(|item| self.binds(item)),
            Expr::Object { fields, .. } => fields
                .iter()
                .try_for_each(|(_, _, value)| self.binds(value)),
            _ => Ok(()),
        }
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
            return Err(bad(span, "this is no function", "call one by its name"));
        };
        let name = path.join(".");
        let own = match self.names.get(&name) {
            Some(Kind::Function(arity)) => Some(*arity),
            Some(_) => {
                return Err(bad(
                    span,
                    format!("`{name}` is no function"),
                    "write its name alone",
                ));
            }
            None => None,
        };
        let arity = match own.or_else(|| builtins::find(&name).map(|(arity, _)| arity)) {
            Some(arity) => arity,
            None => {
                let shown = quote(&name);
                return Err(match builtins::why_not(&name) {
                    Some(why) => bad(
                        span,
                        format!("`{shown}` cannot be called: {why}"),
                        "remove it",
                    ),
                    None => {
                        let near = nearest(&name, builtins::names())
                            .or_else(|| nearest(&name, self.names.keys().map(String::as_str)));
                        let help = match near {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => format!(
                                "there are {}",
                                builtins::names().collect::<Vec<_>>().join(", ")
                            ),
                        };
                        bad(
                            span,
                            format!("`{shown}` is no function that rules have"),
                            help,
                        )
                    }
                });
            }
        };
        if own.is_some() {
            self.needs.insert(name.clone());
        }
        if params.len() != arity {
            let message = format!("`{name}` has {arity} arguments, not {}", params.len());
            return Err(bad(span, message, "give each of them"));
        }
        if name == "regex.match" {
            self.pattern(&params[0])?;
        }
        Ok(())
    }

    fn pattern(&mut self, expr: &Expr) -> Result<(), BadModule> {
        let (Expr::String { span, value, .. } | Expr::RawString { span, value, .. }) = expr else {
            let help = "write the pattern itself, between backquotes";
            return Err(bad(expr.span(), "a pattern that is not known before", help));
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
                    format!("this is no pattern: {}", quote(&why)),
                    "see the syntax of the Rust crate `regex`",
                )
            })?;
            self.patterns.insert(text.to_string(), pattern);
        }
        Ok(())
    }
}

/// The iterations that an expression hides: references through variables.
fn iterations(expr: &Expr) -> usize {
    match expr {
        Expr::RefBrack { refr, index, .. } => {
            let constant = matches!(
                index.as_ref(),
                Expr::String { .. } | Expr::RawString { .. } | Expr::Number { .. }
            );
            usize::from(!constant) + iterations(refr) + iterations(index)
        }
        Expr::RefDot { refr, .. } => iterations(refr),
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().map(|i| iterations(i)).sum()
        }
        Expr::Object { fields, .. } => fields
            .iter()
            .map(|(_, k, v)| iterations(k) + iterations(v))
            .sum(),
        Expr::Call { params, .. } => params.iter().map(|param| iterations(param)).sum(),
        Expr::UnaryExpr { expr, .. } => iterations(expr),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => iterations(lhs) + iterations(rhs),
        Expr::Membership {
            key,
            value,
            collection,
            ..
        } => {
            key.as_ref().map_or(0, |key| iterations(key))
                + iterations(value)
                + iterations(collection)
        }
        // Their iterations are their own.
        Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. } => 0,
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. }
        | Expr::Var { .. } => 0,
    }
}
