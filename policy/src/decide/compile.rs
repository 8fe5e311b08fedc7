//! Compiles a document for quick decisions: every pattern parsed, every rule in an index.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::Policy;
use super::combine::RuleOutcome;
use super::compiled::{Capabilities, Compiled, Secret};
use super::egress::Egress;
use super::index::hosts::HostRules;
use super::index::paths::{Forest, Patterns};
use super::index::{Actions, Claim};
use super::pattern::{self, HostPattern, Part, Ports};
use crate::model::{
    Action, Budget, CapabilityRule, Document, Documents, EgressRule, Rule, Verdict, is_id,
};
use crate::rego::Rego;
use aegis_profile::hash::{Hash, NotAHash};
use aegis_profile::syntax::Wrong;

/// The engine that made a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Features that affect decisions.
    pub features: Cow<'static, [Cow<'static, str>]>,
    /// The name.
    pub name: Cow<'static, str>,
    /// The version.
    pub version: Cow<'static, str>,
}

/// This engine.
pub const ENGINE: Engine = Engine {
    features: Cow::Borrowed(crate::rego::FEATURES),
    name: Cow::Borrowed(env!("CARGO_PKG_NAME")),
    version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
};

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)?;
        match self.features.is_empty() {
            true => Ok(()),
            false => write!(f, " with {}", self.features.join(", ")),
        }
    }
}

/// Why a document is not a valid policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{pattern}", rule.as_ref().map(|rule| format!("rule `{rule}`: ")).unwrap_or_default())]
pub struct BadPolicy {
    /// The document's name.
    pub document: String,
    /// The rule.
    pub rule: Option<String>,
    /// The item of the rule that is wrong.
    pub item: Option<String>,
    /// What is wrong with it.
    pub pattern: Wrong,
}

/// The largest whole number that every JSON reader represents exactly (RFC 8785 uses doubles).
pub(super) const MAX_NUMBER: u64 = (1 << 53) - 1;

pub(super) fn policy(documents: Documents) -> Result<Policy, BadPolicy> {
    let (hash, length) = Hash::and_length(&Hashed::of(&documents));
    let layers = documents.iter().map(|document| {
        let same = |other: &&Arc<Document>| other.name == document.name;
        let name = match documents.iter().filter(same).count() {
            ..2 => document.name.clone(),
            // The first digits of what `aegis policy hash` prints of this document.
            _ => {
                let alone = Hashed {
                    documents: vec![document],
                    engine: ENGINE,
                };
                format!(
                    "{}@{:.8}",
                    document.name,
                    Hash::of_canonical(&alone).to_string()
                )
            }
        };
        layer(document.clone(), name)
    });
    let layers = layers.collect::<Result<_, _>>()?;
    Ok(Policy {
        documents,
        layers,
        hash,
        length,
    })
}

/// What the hash of a policy covers.
#[derive(Serialize)]
pub(super) struct Hashed<'d> {
    documents: Vec<&'d Document>,
    engine: Engine,
}

impl<'d> Hashed<'d> {
    pub fn of(documents: &'d Documents) -> Self {
        Self {
            documents: documents.iter().map(|document| &**document).collect(),
            engine: ENGINE,
        }
    }
}

fn layer(document: Arc<Document>, name: String) -> Result<Compiled, BadPolicy> {
    let fail = |rule: Option<&str>, item: Option<&str>, pattern: Wrong| BadPolicy {
        document: document.name.clone(),
        rule: rule.map(Into::into),
        item: item.map(Into::into),
        pattern,
    };
    let ids = document.heads().map(|head| head.id);
    let mut seen = BTreeSet::new();
    for id in ids {
        // Decisions about ceilings have ids that begin with `limits.`.
        if !is_id(id) || id.starts_with("limits.") {
            let help = "an id is made of a-z, 0-9, `-`, `_` and `.`, and begins with a letter or digit, not with `limits.`";
            return Err(fail(Some(id), Some(id), Wrong::of("invalid rule id", help)));
        }
        if !seen.insert(id) {
            let help = "a rule is known by its id: give each another";
            return Err(fail(
                Some(id),
                Some(id),
                Wrong::of("the id is given twice", help),
            ));
        }
    }
    let rego = Rego::load(&document.rego).map_err(|wrong| {
        let item = Wrong {
            message: wrong.to_string(),
            help: wrong.wrong.help.clone(),
        };
        fail(None, Some(&wrong.at.file), item)
    })?;
    numbers(&document).map_err(|(rule, wrong)| fail(rule, None, wrong))?;
    let capabilities = capabilities(&document.capabilities)
        .map_err(|(rule, item, e)| fail(Some(rule), Some(item), e))?;
    let hosts = |id: &str, verdict: Verdict, items: &BTreeSet<String>| {
        (items.iter())
            .map(|item| {
                HostPattern::of_rule(item, verdict).map_err(|e| fail(Some(id), Some(item), e))
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let mut egress = (Vec::new(), Vec::new());
    for rule in &document.network_egress {
        egress.0.push(hosts(&rule.id, rule.verdict, &rule.hosts)?);
        egress
            .1
            .push(egress_rule(rule).map_err(|(item, e)| fail(Some(&rule.id), Some(item), e))?);
    }
    let mut secrets = (Vec::new(), Vec::new());
    for rule in &document.secrets_boundary {
        secrets.0.push(hosts(&rule.id, rule.verdict, &rule.to)?);
        secrets.1.push(Secret {
            outcome: RuleOutcome::new(rule.head()),
            alias: match Part::of_names(&rule.alias) {
                Ok(alias) => alias.text().to_owned(),
                Err(wrong) => return Err(fail(Some(&rule.id), Some(&rule.alias), wrong)),
            },
            inject: rule.inject.iter().copied().collect(),
        });
    }
    Ok(Compiled {
        capabilities,
        egress: (host_rules(&egress.0), egress.1),
        secrets: (host_rules(&secrets.0), secrets.1),
        rego,
        document,
        name,
    })
}

/// An invalid pattern: its rule, its text, and what is wrong.
type WrongItem<'r> = (&'r str, &'r str, Wrong);

fn capabilities(rules: &[CapabilityRule]) -> Result<Capabilities, WrongItem<'_>> {
    let outcomes: Vec<RuleOutcome> = rules
        .iter()
        .map(|rule| RuleOutcome::new(rule.head()))
        .collect();
    let mut patterns = Patterns::default();
    let (mut ports, mut profiles) = (Vec::new(), Vec::new());
    for (number, rule) in (0..).zip(rules) {
        for (pattern, item) in numbered(&rule.matches) {
            let fail = |wrong| (&*rule.id, &**item, wrong);
            for (kind, on) in kinds(rule, item).map_err(fail)? {
                let claim = Claim {
                    rule: number,
                    pattern,
                    on,
                };
                match kind {
                    PatternKind::Path => {
                        let from = patterns.parts.len();
                        let base = pattern::path(item, &mut patterns.parts).map_err(fail)?;
                        patterns.path(base, from, claim);
                    }
                    PatternKind::Name => patterns.name(Part::of_names(item).map_err(fail)?, claim),
                    PatternKind::Ports => ports.push((Ports::parse(item).map_err(fail)?, claim)),
                    PatternKind::Profile => profiles.push((profile(item).map_err(fail)?, claim)),
                }
            }
        }
    }
    profiles.sort_unstable_by_key(|(hash, _)| *hash);
    Ok(Capabilities {
        patterns: Forest::new(patterns, outcomes.iter().map(RuleOutcome::reach).collect()),
        ports,
        profiles,
        outcomes,
    })
}

/// The kinds of pattern that an item of a rule is, each with the rule's actions that read it so.
fn kinds(
    rule: &CapabilityRule,
    item: &str,
) -> Result<SmallVec<[(PatternKind, Actions); 2]>, Wrong> {
    let mut kinds: SmallVec<[(PatternKind, Actions); 2]> = SmallVec::new();
    for action in &rule.on {
        let (kind, on) = (PatternKind::of(*action, item)?, Actions::of(*action));
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, known)) => *known = known.and(on),
            None => kinds.push((kind, on)),
        }
    }
    Ok(kinds)
}

/// The patterns of a rule, numbered; beyond the last number, patterns share it.
fn numbered(patterns: &BTreeSet<String>) -> impl Iterator<Item = (u16, &String)> {
    (0..u16::MAX)
        .chain(std::iter::repeat(u16::MAX))
        .zip(patterns)
}

fn host_rules(rules: &[Vec<HostPattern>]) -> HostRules {
    let claim = |rule, pattern| Claim {
        rule,
        pattern,
        on: Actions::ALL,
    };
    // Rules are counted in 32 bits: documents are bounded in bytes, so this is enough.
    let hosts = (0..).zip(rules).flat_map(|(rule, hosts)| {
        let numbers = (0..u16::MAX).chain(std::iter::repeat(u16::MAX));
        (numbers.zip(hosts)).map(move |(pattern, host)| (host, claim(rule, pattern)))
    });
    HostRules::new(hosts)
}

/// Refuses numbers that other readers of JSON would read differently.
fn numbers(document: &Document) -> Result<(), (Option<&str>, Wrong)> {
    let wrong = || Wrong::of("a number above 2^53 - 1", "write a smaller one, or none");
    if document.limits.values().any(|limit| *limit > MAX_NUMBER) {
        return Err((None, wrong()));
    }
    for rule in &document.network_egress {
        let Budget {
            request_size,
            requests_per_minute,
            response_size,
        } = &rule.budget;
        let mut all = [request_size, requests_per_minute, response_size]
            .into_iter()
            .flatten();
        if all.any(|number| *number > MAX_NUMBER) {
            return Err((Some(&rule.id), wrong()));
        }
    }
    Ok(())
}

pub(super) fn egress_rule(rule: &EgressRule) -> Result<Egress, (&str, Wrong)> {
    let mut patterns = Patterns::default();
    for item in &rule.paths {
        url_pattern(item, &mut patterns).map_err(|wrong| (&**item, wrong))?;
    }
    let paths = (!rule.paths.is_empty()).then(|| Forest::new(patterns, Vec::new()));
    if let Some(item) = rule.methods.iter().find(|method| !is_method(method)) {
        let help = "write it in capitals, such as `GET`";
        return Err((item, Wrong::of("not an HTTP method", help)));
    }
    Ok(Egress::new(rule, paths))
}

pub(super) fn is_method(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

/// The kind of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PatternKind {
    Path,
    Name,
    Ports,
    Profile,
}

impl PatternKind {
    /// The kind of a pattern in a rule about this action.
    pub(super) fn of(action: Action, text: &str) -> Result<Self, Wrong> {
        let is_path = text.starts_with(['/', '$']);
        Ok(match action {
            Action::FilesRead | Action::FilesWrite => Self::Path,
            Action::ShellExec | Action::ToolExec if is_path => Self::Path,
            Action::ToolExec if text.starts_with(PROFILE) => Self::Profile,
            Action::NetListen => Self::Ports,
            Action::NetHost if text != "host" => {
                return Wrong::new("`net.host` has one pattern", "write `match: [host]`");
            }
            Action::ShellExec if text.contains('/') => {
                return Wrong::new(
                    "a program is a name or an absolute path",
                    "begin a path with `/` or a variable",
                );
            }
            _ => Self::Name,
        })
    }
}

/// Precedes the hash of a profile.
const PROFILE: &str = "sha256:";

pub(super) fn profile(text: &str) -> Result<Hash, Wrong> {
    hash(text.strip_prefix(PROFILE).unwrap_or_default())
}

/// The hash of a profile.
pub(crate) fn hash(text: &str) -> Result<Hash, Wrong> {
    let wrong =
        |error: NotAHash| Wrong::of(error.to_string(), "`aegis profile check --json` prints it");
    text.parse().map_err(wrong)
}

/// A pattern of URL paths, which have no variables.
fn url_pattern<'t>(text: &'t str, patterns: &mut Patterns<'t>) -> Result<(), Wrong> {
    if !text.starts_with('/') {
        return Wrong::new(
            "the path of a URL begins with `/`",
            format!("write `/{text}`"),
        );
    }
    if let Some(character) = text.chars().find(|c| !is_plain_in_urls(*c)) {
        return Wrong::new(
            format!("`{character}` in the path of a URL"),
            "servers differ in how they read it: no pattern has it, and no path with it is in a pattern; write `*`",
        );
    }
    let claim = Claim {
        rule: 0,
        pattern: 0,
        on: Actions::ALL,
    };
    let from = patterns.parts.len();
    let base = pattern::path(text, &mut patterns.parts)?;
    patterns.path(base, from, claim);
    Ok(())
}

/// Whether all servers read the character literally in the path of a URL.
pub(super) fn is_plain_in_urls(character: char) -> bool {
    character.is_ascii_graphic() && !"\\;%#".contains(character)
}
