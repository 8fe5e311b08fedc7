//! Checks that a parsed module keeps to the subset: its package, its rules by name, and their dependencies.
//! `walk` checks the contents of rules, `shape` the size of their collections.

use std::collections::{BTreeMap, BTreeSet};

use aegis_profile::syntax::quote;
use regorus::unstable::{Expr, Module, Rule, RuleHead, Span};

use super::BadModule;
use super::builtins::{self, Pattern};
use super::limits::{CHAIN, RULES};
use super::parts::{path, variable};
use super::walk::Walk;
use crate::model::{Verdict, is_id};

/// What a name of a module stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    /// `name contains member if ...`
    Set,
    /// `name := value if ...`
    Value,
    /// `name(a, b) := value if ...`
    Function(usize),
}

/// The result of checking a module.
#[derive(Debug)]
pub(super) struct Checked {
    /// Below `aegis`; `None`: `aegis` itself.
    pub package: Option<String>,
    pub names: BTreeMap<String, NameKind>,
    /// The verdicts for which it has sets.
    pub verdicts: Vec<Verdict>,
    pub patterns: BTreeMap<String, Pattern>,
}

pub(super) fn bad(span: &Span, message: impl Into<String>, help: impl Into<String>) -> BadModule {
    BadModule::new(span.source.file(), place(span), message, help)
}

/// Line and column of the first character. The parser itself gives those of an expression's operator or
/// bracket, after the name that the mistake is about, and counts a tab as four characters.
fn place(span: &Span) -> (u32, u32) {
    let start = usize::try_from(span.start).ok();
    let before = start.and_then(|start| span.source.contents().get(..start));
    let Some(before) = before else {
        return (span.line, span.col);
    };
    let left = before.rsplit('\n').next().unwrap_or(before);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (
        number(before.matches('\n').count() + 1),
        number(left.chars().count() + 1),
    )
}

/// The rule's name, where its head is nothing but a name.
fn head(rule: &Rule) -> Result<(&str, NameKind), BadModule> {
    let (refr, kind) = match rule {
        Rule::Spec { head, .. } => match head {
            RuleHead::Set {
                refr, key: Some(_), ..
            } => (refr, NameKind::Set),
            RuleHead::Func { refr, args, .. } if !args.is_empty() => {
                (refr, NameKind::Function(args.len()))
            }
            RuleHead::Compr { refr, .. } => (refr, NameKind::Value),
            RuleHead::Set { span, .. } | RuleHead::Func { span, .. } => {
                return Err(bad(
                    span,
                    "a rule without a value",
                    "write `name if { ... }`",
                ));
            }
        },
        Rule::Default { refr, args, .. } if args.is_empty() => (refr, NameKind::Value),
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
            let help = "a rule knows only the request: write `import rego.v1`";
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
    let mut names: BTreeMap<String, NameKind> = BTreeMap::new();
    let mut defaults = BTreeSet::new();
    for rule in &module.policy {
        let (name, kind) = head(rule)?;
        if matches!(rule.as_ref(), Rule::Default { .. }) && !defaults.insert(name) {
            let message = format!("`{}` has two defaults", quote(name));
            return Err(bad(rule.span(), message, "remove one of them"));
        }
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
            Some(NameKind::Set) => verdicts.push(verdict),
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

/// Checks that the package is `aegis`, or one name below.
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

/// Checks that no rule depends on itself, or on others through too long a chain.
fn chains(needs: &BTreeMap<&str, (BTreeSet<String>, &Span)>) -> Result<(), BadModule> {
    // Each round settles the rules that need only settled ones.
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

/// Checks a member of a set of verdicts, as far as possible without a request.
pub(super) fn member(key: &Expr) -> Result<(), BadModule> {
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
