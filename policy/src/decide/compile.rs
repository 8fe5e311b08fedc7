//! From a document to what is quickly asked: every pattern parsed, every rule in an index.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Policy;
use super::egress::Egress;
use super::index::Rule;
use super::index::hosts::HostRules;
use super::index::names::NameRules;
use super::index::paths::PathRules;
use super::layer::{Capabilities, Layer, Secret};
use super::pattern::{BadPattern, HostPattern, NamePattern, PathPattern, Ports, bad};
use super::tally::Voice;
use crate::hash::Hash;
use crate::model::{Action, Budget, CapabilityRule, Document, EgressRule, SecretRule, Verdict};
use crate::rego::Rego;

/// What a decision was made by, beside the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Engine {
    /// What else takes part in decisions.
    pub features: &'static [&'static str],
    /// The name.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
}

/// This one.
pub const ENGINE: Engine = Engine {
    features: crate::rego::FEATURES,
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
};

/// Why a document is no policy.
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
    pub pattern: BadPattern,
}

/// The largest whole number that every reader of JSON understands alike (RFC 8785 has doubles).
pub(super) const MAX_NUMBER: u64 = (1 << 53) - 1;

pub(super) fn policy(mut documents: Vec<Document>) -> Result<Policy, BadPolicy> {
    for document in &mut documents {
        document.capabilities.sort_by(|a, b| a.id.cmp(&b.id));
        document.network_egress.sort_by(|a, b| a.id.cmp(&b.id));
        document.secrets_boundary.sort_by(|a, b| a.id.cmp(&b.id));
        document.rego.sort();
    }
    #[derive(Serialize)]
    struct Hashed<'d> {
        documents: &'d [Document],
        engine: Engine,
    }
    let hash = Hash::of_canonical(&Hashed {
        documents: &documents,
        engine: ENGINE,
    });
    let layers = documents.into_iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Policy { layers, hash })
}

fn layer(document: Document) -> Result<Layer, BadPolicy> {
    let fail = |rule: Option<&str>, item: Option<&str>, pattern: BadPattern| BadPolicy {
        document: document.name.clone(),
        rule: rule.map(Into::into),
        item: item.map(Into::into),
        pattern,
    };
    let ids = (document.capabilities.iter().map(|r| &r.id))
        .chain(document.network_egress.iter().map(|r| &r.id))
        .chain(document.secrets_boundary.iter().map(|r| &r.id));
    let mut seen = std::collections::BTreeSet::new();
    for id in ids {
        if !is_id(id) {
            let help = "an id is made of a-z, 0-9, `-`, `_` and `.`, and begins with a letter or digit, not with `limits.`";
            return Err(fail(Some(id), Some(id), bad_item("this is no id", help)));
        }
        if !seen.insert(id) {
            let help = "a rule is known by its id: give each another";
            return Err(fail(
                Some(id),
                Some(id),
                bad_item("the id is given twice", help),
            ));
        }
    }
    let rego = Rego::load(&document.rego).map_err(|wrong| {
        let item = bad_item(&wrong.to_string(), &wrong.help);
        fail(None, Some(&wrong.file), item)
    })?;
    numbers(&document).map_err(|(rule, wrong)| fail(rule, None, wrong))?;
    let mut sketches: BTreeMap<Action, Sketch> = BTreeMap::new();
    for rule in &document.capabilities {
        for action in &rule.on {
            let sketch = sketches.entry(*action).or_default();
            for item in &rule.matches {
                let pattern =
                    pattern(*action, item).map_err(|e| fail(Some(&rule.id), Some(item), e))?;
                sketch.patterns.push((pattern, sketch.voices.len()));
            }
            sketch.voices.push(rule.voice());
        }
    }
    let capabilities = sketches
        .into_iter()
        .map(|(action, of)| (action, of.index()));
    let hosts = |id: &str, verdict: Verdict, items: &std::collections::BTreeSet<String>| {
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
            voice: rule.voice(),
            alias: NamePattern::parse(&rule.alias)
                .map_err(|e| fail(Some(&rule.id), Some(&rule.alias), e))?,
            inject: rule.inject.iter().copied().collect(),
        });
    }
    Ok(Layer {
        capabilities: capabilities.collect(),
        egress: (host_rules(&egress.0), egress.1),
        secrets: (host_rules(&secrets.0), secrets.1),
        rego,
        document,
    })
}

/// The rules of one action, while they are read.
#[derive(Default)]
struct Sketch {
    voices: Vec<Voice>,
    patterns: Vec<(Pattern, usize)>,
}

/// What a capability rule is about.
#[derive(Debug)]
pub(super) enum Pattern {
    Path(PathPattern),
    Name(NamePattern),
    Ports(Ports),
    Profile(Hash),
}

impl Sketch {
    fn index(self) -> Capabilities {
        let mut paths = Vec::new();
        let mut names = Vec::new();
        let mut ports = Vec::new();
        let mut profiles = Vec::new();
        let is_loud = |rule: Rule| self.voices.get(rule as usize).is_some_and(Voice::is_loud);
        for (pattern, rule) in &self.patterns {
            let rule = number(*rule);
            match pattern {
                Pattern::Path(pattern) => paths.push((pattern, rule)),
                Pattern::Name(pattern) => names.push((pattern, rule)),
                Pattern::Ports(pattern) => ports.push((*pattern, rule)),
                Pattern::Profile(hash) => profiles.push((*hash, rule)),
            }
        }
        let mut loud_names: Vec<Rule> = names.iter().map(|(_, rule)| *rule).collect();
        loud_names.retain(|rule| is_loud(*rule));
        loud_names.dedup();
        profiles.sort_unstable();
        Capabilities {
            paths: PathRules::new(paths, is_loud),
            names: NameRules::new(names),
            loud_names,
            ports,
            profiles,
            voices: self.voices,
        }
    }
}

/// Rules are counted in 32 bits; a document has no more, being bounded in bytes.
fn number(rule: usize) -> Rule {
    Rule::try_from(rule).unwrap_or(Rule::MAX)
}

fn host_rules(rules: &[Vec<HostPattern>]) -> HostRules {
    let numbered = rules.iter().enumerate();
    HostRules::new(
        numbered.flat_map(|(rule, hosts)| hosts.iter().map(move |host| (host, number(rule)))),
    )
}

/// Numbers that would be read as others elsewhere.
fn numbers(document: &Document) -> Result<(), (Option<&str>, BadPattern)> {
    let wrong = || bad_item("a number above 2^53 - 1", "write a smaller one, or none");
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

pub(super) fn egress_rule(rule: &EgressRule) -> Result<Egress, (&str, BadPattern)> {
    let paths = (rule.paths.iter())
        .map(|item| url_pattern(item).map_err(|wrong| (&**item, wrong)))
        .collect::<Result<_, _>>()?;
    if let Some(item) = rule.methods.iter().find(|method| !is_method(method)) {
        let help = "write it in capitals, such as `GET`";
        return Err((item, bad_item("this is no HTTP method", help)));
    }
    Ok(Egress::new(rule, paths))
}

fn bad_item(message: &str, help: &str) -> BadPattern {
    BadPattern {
        message: message.into(),
        help: help.into(),
    }
}

fn is_id(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 64
        // Named so in decisions about ceilings.
        && !text.starts_with("limits.")
        && text.bytes().next().is_some_and(known)
        && text.bytes().all(|b| known(b) || b"-_.".contains(&b))
}

pub(super) fn is_method(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

pub(super) fn pattern(action: Action, text: &str) -> Result<Pattern, BadPattern> {
    let is_path = text.starts_with(['/', '$']);
    Ok(match action {
        Action::FilesRead | Action::FilesWrite => Pattern::Path(PathPattern::parse(text)?),
        Action::ShellExec | Action::ToolExec if is_path => Pattern::Path(PathPattern::parse(text)?),
        Action::ToolExec if text.starts_with("sha256:") => match text["sha256:".len()..].parse() {
            Ok(hash) => Pattern::Profile(hash),
            Err(error) => return bad(error.to_string(), "`aegis profile check --json` prints it"),
        },
        Action::NetListen => Pattern::Ports(Ports::parse(text)?),
        Action::NetHost if text != "host" => {
            return bad("`net.host` has one pattern", "write `match: [host]`");
        }
        Action::ShellExec if text.contains('/') => {
            return bad(
                "a program is a name or an absolute path",
                "begin a path with `/` or a variable",
            );
        }
        _ => Pattern::Name(NamePattern::parse(text)?),
    })
}

/// A pattern of paths of URLs: no variables there.
fn url_pattern(text: &str) -> Result<PathPattern, BadPattern> {
    if !text.starts_with('/') {
        return bad(
            "the path of a URL begins with `/`",
            format!("write `/{text}`"),
        );
    }
    if let Some(character) = text.chars().find(|c| !is_plain_in_urls(*c)) {
        return bad(
            format!("`{character}` in the path of a URL"),
            "servers differ in how they read it: no pattern has it, and no path with it is in a pattern; write `*`",
        );
    }
    PathPattern::parse(text)
}

/// Whether all servers read it as itself in the path of a URL.
pub(super) fn is_plain_in_urls(character: char) -> bool {
    character.is_ascii_graphic() && !"\\;%#".contains(character)
}

impl CapabilityRule {
    pub(super) fn voice(&self) -> Voice {
        Voice::new(
            &self.id,
            self.verdict,
            self.mode,
            self.otherwise,
            self.reason.as_deref(),
        )
    }
}

impl SecretRule {
    pub(super) fn voice(&self) -> Voice {
        Voice::new(
            &self.id,
            self.verdict,
            self.mode,
            self.otherwise,
            self.reason.as_deref(),
        )
    }
}
