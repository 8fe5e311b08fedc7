//! Whether a parsed module keeps to the subset: what it is made of, and who needs whom. How large its
//! collections become is for [`shape`](super::shape).

use std::collections::{BTreeMap, BTreeSet};

use aegis_profile::syntax::{nearest, quote};
use regorus::unstable::{
    ArithOp, AssignOp, BinOp, Expr, Literal, Module, Query, Ref, Rule, RuleBody, RuleHead, Span,
};

use super::BadModule;
use super::builtins::{self, Pattern};
use super::input::{CONTEXT, WHAT};
use super::limits::{CHAIN, DEPTH, LOOPS, PATTERNS, RULES, STATEMENTS};
use crate::model::Verdict;

/// What a name of a module stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `name contains member if ...`
    Set,
    /// `name := value if ...`
    Value,
    /// `name(a, b) := value if ...`
    Function(usize),
}

/// What is known of a module.
#[derive(Debug)]
pub(super) struct Checked {
    /// Below `aegis`; `None`: `aegis` itself.
    pub package: Option<String>,
    pub names: BTreeMap<String, Kind>,
    /// The verdicts that it has sets for.
    pub verdicts: Vec<Verdict>,
    pub patterns: BTreeMap<String, Pattern>,
}

pub(super) fn bad(span: &Span, message: impl Into<String>, help: impl Into<String>) -> BadModule {
    BadModule {
        file: span.source.file().clone(),
        line: span.line,
        column: span.col,
        message: message.into(),
        help: help.into(),
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
    match expr {
        Expr::Var { span, .. } => Some(vec![span.text()]),
        Expr::RefDot { refr, field, .. } => {
            let mut path = path(refr)?;
            path.push(field.0.text());
            Some(path)
        }
        Expr::RefBrack { refr, index, .. } => match index.as_ref() {
            Expr::String { span, .. } => {
                let mut path = path(refr)?;
                path.push(span.text());
                Some(path)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The rule's name, where its head is nothing but a name.
fn head(rule: &Rule) -> Result<(&str, Kind), BadModule> {
    let (refr, kind) = match rule {
        Rule::Spec { head, .. } => match head {
            RuleHead::Set {
                refr, key: Some(_), ..
            } => (refr, Kind::Set),
            RuleHead::Func { refr, args, .. } if !args.is_empty() => {
                (refr, Kind::Function(args.len()))
            }
            RuleHead::Compr { refr, .. } => (refr, Kind::Value),
            RuleHead::Set { span, .. } | RuleHead::Func { span, .. } => {
                return Err(bad(
                    span,
                    "a rule without a value",
                    "write `name if { ... }`",
                ));
            }
        },
        Rule::Default { refr, args, .. } if args.is_empty() => (refr, Kind::Value),
        Rule::Default { span, .. } => {
            return Err(bad(span, "a default of a function", "write it for a rule"));
        }
    };
    match variable(refr) {
        Some(name) => Ok((name, kind)),
        None => {
            let help = "write `name contains member if { ... }`, or `name := value if { ... }`";
            Err(bad(refr.span(), "the head of a rule is a name here", help))
        }
    }
}

pub(super) fn check(module: &Module) -> Result<Checked, BadModule> {
    let package = package(module)?;
    for import in &module.imports {
        let path = path(&import.refr).unwrap_or_default();
        if path != ["rego", "v1"] && path.get(..2) != Some(&["future", "keywords"]) {
            let help = "nothing but the request is known to a rule: write `import rego.v1`";
            return Err(bad(&import.span, "only keywords can be imported", help));
        }
    }
    if let Some(rule) = module.policy.get(RULES) {
        return Err(bad(
            rule.span(),
            format!("more than {RULES} rules"),
            "remove some",
        ));
    }
    let mut names: BTreeMap<String, Kind> = BTreeMap::new();
    for rule in &module.policy {
        let (name, kind) = head(rule)?;
        if matches!(name, "input" | "data" | "_") || builtins::find(name).is_some() {
            let message = format!("`{name}` has a meaning of its own");
            return Err(bad(rule.span(), message, "give the rule another name"));
        }
        if *names.entry(name.to_owned()).or_insert(kind) != kind {
            let message = format!("`{}` is two kinds of rule at once", quote(name));
            return Err(bad(rule.span(), message, "give one of them another name"));
        }
    }
    let mut verdicts = Vec::new();
    for verdict in Verdict::ALL {
        match names.get(verdict.name()) {
            None => (),
            Some(Kind::Set) => verdicts.push(verdict),
            Some(_) => {
                let rule = module
                    .policy
                    .iter()
                    .find(|rule| head(rule).is_ok_and(|(name, _)| name == verdict.name()));
                let span = rule.map_or(&module.package.span, |rule| rule.span());
                let message = format!("`{verdict}` is the set of the rules that say so");
                let help = format!("write `{verdict} contains \"ID\" if {{ ... }}`");
                return Err(bad(span, message, help));
            }
        }
    }
    if verdicts.is_empty() {
        let message = "the module has none of `allow`, `warn`, `review`, `block`";
        let help = "write `block contains \"ID\" if { ... }`";
        return Err(bad(&module.package.span, message, help));
    }
    let mut patterns = BTreeMap::new();
    let mut needs: BTreeMap<&str, (BTreeSet<String>, &Span)> = BTreeMap::new();
    for rule in &module.policy {
        let mut walk = Walk {
            names: &names,
            needs: BTreeSet::new(),
            patterns: &mut patterns,
        };
        walk.rule(rule)?;
        let (name, _) = head(rule)?;
        let entry = needs.entry(name).or_insert((BTreeSet::new(), rule.span()));
        entry.0.append(&mut walk.needs);
    }
    chains(&needs)?;
    Ok(Checked {
        package,
        names,
        verdicts,
        patterns,
    })
}

/// `aegis`, or one name below.
fn package(module: &Module) -> Result<Option<String>, BadModule> {
    let path = path(&module.package.refr).unwrap_or_default();
    let plain = |name: &&str| {
        name.len() <= 32
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    match path.as_slice() {
        ["aegis"] => Ok(None),
        ["aegis", name] if plain(name) => Ok(Some((*name).to_owned())),
        _ => {
            let help = "write `package aegis`, or `package aegis.NAME` of a-z, 0-9 and `_`";
            Err(bad(
                &module.package.span,
                "this package is never asked",
                help,
            ))
        }
    }
}

/// No rule needs itself, and none needs others through many.
fn chains(needs: &BTreeMap<&str, (BTreeSet<String>, &Span)>) -> Result<(), BadModule> {
    // In each round, what needs only rules that are settled is settled itself.
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    for round in 0.. {
        let open: Vec<_> = needs
            .iter()
            .filter(|(name, _)| !settled.contains(**name))
            .collect();
        let Some((first, (_, span))) = open.first() else {
            return Ok(());
        };
        let free: Vec<&str> = open
            .iter()
            .filter(|(_, (needed, _))| needed.iter().all(|name| settled.contains(name.as_str())))
            .map(|(name, _)| **name)
            .collect();
        if free.is_empty() {
            let message = format!("`{first}`, or a rule that it needs, needs itself");
            return Err(bad(span, message, "a rule may need only others"));
        }
        if round == CHAIN {
            let message = format!("`{first}` needs rules through more than {CHAIN} others");
            return Err(bad(span, message, "write some of them in one"));
        }
        settled.extend(free);
    }
    Ok(())
}

/// Goes through one rule.
struct Walk<'m> {
    names: &'m BTreeMap<String, Kind>,
    needs: BTreeSet<String>,
    patterns: &'m mut BTreeMap<String, Pattern>,
}

impl Walk<'_> {
    fn rule(&mut self, rule: &Rule) -> Result<(), BadModule> {
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

/// A member of a set of verdicts, as far as it can be seen before there is a request.
fn member(key: &Expr) -> Result<(), BadModule> {
    let help = "write `\"ID\"`, or `{\"id\": \"ID\", \"reason\": \"...\"}`";
    let id = |expr: &Expr| match expr {
        Expr::String { span, value, .. } | Expr::RawString { span, value, .. } => {
            match value.as_string().is_ok_and(|text| is_id(text)) {
                true => Ok(()),
                false => {
                    let message = "an id is made of a-z, 0-9, `-`, `_` and `.`, and begins with a letter or digit";
                    Err(bad(span, message, help))
                }
            }
        }
        _ => Ok(()),
    };
    match key {
        Expr::Object { span, fields, .. } => {
            let mut has_id = false;
            for (_, key, value) in fields {
                match key.as_ref() {
                    Expr::String { span, .. } if span.text() == "id" => {
                        has_id = true;
                        id(value)?;
                    }
                    Expr::String { span, .. } if span.text() == "reason" => (),
                    other => return Err(bad(other.span(), "a member has `id` and `reason`", help)),
                }
            }
            match has_id {
                true => Ok(()),
                false => Err(bad(span, "a member has an `id`", help)),
            }
        }
        Expr::Array { span, .. }
        | Expr::Set { span, .. }
        | Expr::Number { span, .. }
        | Expr::Bool { span, .. }
        | Expr::Null { span, .. }
        | Expr::ArrayCompr { span, .. }
        | Expr::SetCompr { span, .. }
        | Expr::ObjectCompr { span, .. } => Err(bad(span, "a member is the id of a rule", help)),
        other => id(other),
    }
}

/// As of native rules.
pub(super) fn is_id(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(known)
        && text.bytes().all(|b| known(b) || b"-_.".contains(&b))
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
