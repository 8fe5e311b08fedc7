//! One file's text as a part of a policy. Every mistake of it is told, each at its place.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_profile::syntax::{
    FileKind, Kind, Node, Reporter, Span, Value, Wrong, count, decode, kind_of, parse, quote, read,
    size,
};
use aegis_profile::{Error, LimitKey, Origin};
use serde::de::DeserializeOwned;

use super::fields::{Fields, list, one_or_more, text, unknown};
use super::judge::judge;
use crate::model::{
    Budget, CapabilityRule, Document, EgressRule, LAYERS, Mode, RegoModule, Rule, SecretRule,
    Verdict,
};

/// A policy's file, for messages.
pub(crate) const KIND: FileKind = FileKind {
    name: "policy",
    first_line: "aegis-policy: 1",
};

/// The keys of a file.
pub(crate) const KEYS: [&str; 9] = [
    "aegis-policy",
    "name",
    "capabilities",
    "network-egress",
    "secrets-boundary",
    "limits",
    "may-be-missing",
    "audit-failure",
    "rego",
];

const CAPABILITY_KEYS: [&str; 7] = [
    "id",
    "on",
    "match",
    "verdict",
    "reason",
    "mode",
    "otherwise",
];

const EGRESS_KEYS: [&str; 12] = [
    "id",
    "hosts",
    "schemes",
    "ports",
    "methods",
    "paths",
    "budget",
    "private-addresses",
    "verdict",
    "reason",
    "mode",
    "otherwise",
];

const SECRET_KEYS: [&str; 8] = [
    "id",
    "alias",
    "to",
    "inject",
    "verdict",
    "reason",
    "mode",
    "otherwise",
];

const BUDGET_KEYS: [&str; 3] = ["requests", "request-size", "response-size"];

/// What the files of one policy come to, and where each single thing of it was said first.
#[derive(Default)]
pub(super) struct Union {
    pub document: Document,
    /// Where each of the document's Rego files is named.
    pub rego: BTreeMap<String, Origin>,
    said: BTreeMap<String, Origin>,
}

impl Union {
    /// What can be said once only: says where it was, when it was.
    fn once(&mut self, what: String, span: Span, shown: &str, out: &mut Reporter<'_>) -> bool {
        let origin = out.origin(span);
        if let Some(first) = self.said.get(&what) {
            let place = match first.file == origin.file {
                true => format!("first given in line {}", first.line),
                false => format!("first given at {first}"),
            };
            out.report(span, format!("{shown} is given twice"))
                .expected(place)
                .help("keep one of them");
            return false;
        }
        self.said.insert(what, origin);
        true
    }
}

/// What reads the text of a Rego file that is named.
pub(super) type Modules<'m> = &'m dyn Fn(&str) -> Result<String, Wrong>;

/// Adds the file `bytes` to the policy.
pub(super) fn add_bytes(
    bytes: &[u8],
    file: &Arc<str>,
    modules: Modules<'_>,
    union: &mut Union,
) -> Result<(), Error> {
    let mut out = Reporter::for_kind(KIND, file.clone(), "");
    match decode(bytes, &mut out) {
        Some(text) => add(text, file, modules, union),
        None => out.finish(None),
    }
}

/// Adds the file `text` to the policy.
pub(super) fn add(
    text: &str,
    file: &Arc<str>,
    modules: Modules<'_>,
    union: &mut Union,
) -> Result<(), Error> {
    let mut out = Reporter::for_kind(KIND, file.clone(), text);
    if let Some(root) = parse(text, &mut out) {
        sections(&root, modules, union, &mut out);
    }
    out.finish(Some(()))
}

fn sections(root: &Node, modules: Modules<'_>, union: &mut Union, out: &mut Reporter<'_>) {
    // Of a file of another kind, every key would be a mistake.
    if let Value::Map(entries) = &root.value
        && let Some((key, _)) = entries.iter().find(|(key, _)| key.text == "aegis")
    {
        out.report(key.span, "this is a profile, not a policy")
            .help("a policy begins with `aegis-policy: 1`");
        return;
    }
    let Some(fields) = Fields::of(root, "a policy: a map of keys", &KEYS, out) else {
        return;
    };
    version(&fields, "aegis-policy", out);
    if let Some(node) = fields.get("name")
        && let Some(name) = text(node, "a name", false, out)
        && union.once("name".into(), node.span, "the policy's name", out)
    {
        union.document.name = name;
    }
    if let Some(node) = fields.get("capabilities") {
        for node in list(node, "capabilities", out) {
            if let Some(rule) = rule(node, &CAPABILITY_KEYS, union, out, capability) {
                union.document.capabilities.push(rule);
            }
        }
    }
    if let Some(node) = fields.get("network-egress") {
        for node in list(node, "network-egress", out) {
            if let Some(rule) = rule(node, &EGRESS_KEYS, union, out, egress) {
                union.document.network_egress.push(rule);
            }
        }
    }
    if let Some(node) = fields.get("secrets-boundary") {
        for node in list(node, "secrets-boundary", out) {
            if let Some(rule) = rule(node, &SECRET_KEYS, union, out, secret) {
                union.document.secrets_boundary.push(rule);
            }
        }
    }
    if let Some(node) = fields.get("limits") {
        limits(node, union, out);
    }
    if let Some(node) = fields.get("may-be-missing") {
        for node in list(node, "may-be-missing", out) {
            let Some(name) = text(node, "a layer's name", false, out) else {
                continue;
            };
            if !LAYERS.contains(&name.as_str()) {
                unknown("layer", &name, node.span, &LAYERS, out);
            }
            union.document.may_be_missing.insert(name);
        }
    }
    if let Some(node) = fields.get("audit-failure")
        && let Some(answer) = word(node, out)
        && union.once("audit-failure".into(), node.span, "`audit-failure`", out)
    {
        union.document.audit_failure = answer;
    }
    if let Some(node) = fields.get("rego") {
        for node in list(node, "rego", out) {
            if let Some(name) = text(node, "the name of a Rego file", false, out) {
                rego(name, node.span, modules, union, out);
            }
        }
    }
}

fn rego(name: String, span: Span, modules: Modules<'_>, union: &mut Union, out: &mut Reporter<'_>) {
    if !is_rego_name(&name) {
        out.report(span, "not a Rego file beside the policy")
            .expected("a name that ends in .rego, relative to this file")
            .help("put the file into the policy's directory: `..` and `/` lead out of it");
    } else if !union.rego.contains_key(&name) {
        union.rego.insert(name.clone(), out.origin(span));
        match modules(&name) {
            Ok(text) => union.document.rego.push(RegoModule { name, text }),
            Err(Wrong { message, help }) => {
                out.report(span, message).maybe_help(help);
            }
        }
    }
}

/// A path that stays in the policy's directory.
fn is_rego_name(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.ends_with(".rego") && !name.contains('\\') && name.split('/').all(plain)
}

/// The version of the format, which every file states: `KEY: 1`.
pub(crate) fn version(fields: &Fields<'_, '_>, key: &str, out: &mut Reporter<'_>) {
    let line = format!("write `{key}: 1`");
    let Some(node) = fields.need(key, &format!("make `{key}: 1` the first line"), out) else {
        return;
    };
    match &node.value {
        Value::Refused => {}
        Value::Scalar { text, plain: true } if text == "1" => {}
        Value::Scalar { text, plain: true } if kind_of(text) == Kind::Int => {
            let message = format!("version {} of the format is not known", quote(text));
            out.report(node.span, message)
                .expected("this Aegis knows version 1")
                .help(format!("{line}, or use an Aegis that knows the version"));
        }
        _ => {
            out.report(node.span, "not a version").help(line);
        }
    }
}

/// A word of a list that serde knows. What was refused already makes no second mistake.
pub(crate) fn word<T: DeserializeOwned>(node: &Node, out: &mut Reporter<'_>) -> Option<T> {
    match node.value {
        Value::Refused => None,
        _ => read(node, out),
    }
}

/// What rules of every contract have.
struct Common {
    id: String,
    verdict: Verdict,
    reason: Option<String>,
    mode: Mode,
    otherwise: bool,
}

/// A rule of any contract: read even where a part is wrong, so that all that is wrong is told. The
/// values that stand in for what is missing are never used: a mistake has been reported.
fn rule<R: Rule>(
    node: &Node,
    keys: &[&str],
    union: &mut Union,
    out: &mut Reporter<'_>,
    contract: impl Fn(&Fields<'_, '_>, Common, &mut Reporter<'_>) -> R,
) -> Option<R> {
    let fields = Fields::of(node, "a rule", keys, out)?;
    let id = fields.need("id", "give the rule a name: `id: work`", out);
    let id = match id.and_then(|node| Some((text(node, "an id", false, out)?, node.span))) {
        Some((id, span)) => {
            union.once(
                format!("rule {id}"),
                span,
                &format!("the id `{}`", quote(&id)),
                out,
            );
            id
        }
        None => "rule".into(),
    };
    let help = "say what becomes of what it matches: `verdict: allow`, `warn`, `review` or `block`";
    let verdict = fields.need("verdict", help, out);
    let common = Common {
        id,
        verdict: verdict.and_then(|node| word(node, out)).unwrap_or_default(),
        reason: fields
            .get("reason")
            .and_then(|node| text(node, "a reason", false, out)),
        mode: fields
            .get("mode")
            .and_then(|node| word(node, out))
            .unwrap_or_default(),
        otherwise: fields.or_default("otherwise", out),
    };
    let rule = contract(&fields, common, out);
    judge(rule.clone().alone(), node, out);
    Some(rule)
}

fn capability(fields: &Fields<'_, '_>, common: Common, out: &mut Reporter<'_>) -> CapabilityRule {
    let on = fields.need("on", "say what it is about: `on: files.read`", out);
    let matches = fields.need("match", "say what it matches: `match: [$WORK/**]`", out);
    CapabilityRule {
        id: common.id,
        matches: matches
            .map(|node| one_or_more(node, "match", out, |n, out| text(n, "a pattern", true, out)))
            .unwrap_or_default(),
        mode: common.mode,
        on: on
            .map(|node| one_or_more(node, "on", out, word))
            .unwrap_or_default(),
        otherwise: common.otherwise,
        reason: common.reason,
        verdict: common.verdict,
    }
}

fn egress(fields: &Fields<'_, '_>, common: Common, out: &mut Reporter<'_>) -> EgressRule {
    let hosts = fields.need("hosts", "say where to: `hosts: [api.github.com]`", out);
    let texts = |key: &str, what: &str, node: Option<&Node>, out: &mut Reporter<'_>| {
        node.map(|node| one_or_more(node, key, out, |n, out| text(n, what, false, out)))
            .unwrap_or_default()
    };
    EgressRule {
        budget: match fields.get("budget") {
            Some(node) => budget(node, out),
            None => Budget::default(),
        },
        hosts: texts("hosts", "a host", hosts, out),
        id: common.id,
        methods: texts("methods", "an HTTP method", fields.get("methods"), out),
        mode: common.mode,
        otherwise: common.otherwise,
        paths: texts("paths", "the path of a URL", fields.get("paths"), out),
        ports: fields
            .get("ports")
            .map(|node| one_or_more(node, "ports", out, port))
            .unwrap_or_default(),
        private_addresses: fields.or_default("private-addresses", out),
        reason: common.reason,
        schemes: fields
            .get("schemes")
            .map(|node| one_or_more(node, "schemes", out, word))
            .unwrap_or_default(),
        verdict: common.verdict,
    }
}

fn secret(fields: &Fields<'_, '_>, common: Common, out: &mut Reporter<'_>) -> SecretRule {
    let alias = fields.need("alias", "say which secret: `alias: github`", out);
    let to = fields.need(
        "to",
        "say which host it may be sent to: `to: api.github.com`",
        out,
    );
    let inject = fields.need("inject", "say where it is put: `inject: header`", out);
    SecretRule {
        alias: alias
            .and_then(|node| text(node, "an alias", false, out))
            .unwrap_or_else(|| "alias".into()),
        id: common.id,
        inject: inject
            .map(|node| one_or_more(node, "inject", out, word))
            .unwrap_or_default(),
        mode: common.mode,
        otherwise: common.otherwise,
        reason: common.reason,
        to: to
            .map(|node| one_or_more(node, "to", out, |n, out| text(n, "a host", false, out)))
            .unwrap_or_default(),
        verdict: common.verdict,
    }
}

fn port(node: &Node, out: &mut Reporter<'_>) -> Option<u16> {
    let help = "a port is a number from 1 to 65535, without quotes";
    match &node.value {
        Value::Refused => return None,
        Value::Scalar { text, plain: true } => {
            let port = text.parse::<u16>().ok().filter(|port| *port > 0);
            if let Some(port) = port.filter(|port| port.to_string() == *text) {
                return Some(port);
            }
        }
        _ => {}
    }
    out.report(node.span, "not a port").help(help);
    None
}

fn budget(node: &Node, out: &mut Reporter<'_>) -> Budget {
    let Some(fields) = Fields::of(node, "a budget", &BUDGET_KEYS, out) else {
        return Budget::default();
    };
    if BUDGET_KEYS.iter().all(|key| fields.get(key).is_none()) {
        out.report(node.span, "a budget without a bound")
            .help("write one, such as `budget: {requests: 60/m}`, or remove the key");
    }
    let mut quantity = |key: &str, what: &str, parse: &dyn Fn(&str) -> Result<u64, Wrong>| {
        let node = fields.get(key)?;
        let text = text(node, what, true, out)?;
        accept(node.span, &text, parse(&text), out)
    };
    Budget {
        request_size: quantity("request-size", "a size", &size),
        requests_per_minute: quantity("requests", "a number per minute", &per_minute),
        response_size: quantity("response-size", "a size", &size),
    }
}

/// `60/m`.
pub(crate) fn per_minute(text: &str) -> Result<u64, Wrong> {
    // More than that many a minute is no budget: it is the whole network card.
    const MAX: u64 = 1_000_000_000;
    match text.strip_suffix("/m") {
        Some(number) => count(number, MAX),
        None => Err(Wrong {
            message: "this is not a number of requests per minute".into(),
            help: Some("write it per minute, such as `60/m`".into()),
        }),
    }
}

fn accept(
    span: Span,
    shown: &str,
    result: Result<u64, Wrong>,
    out: &mut Reporter<'_>,
) -> Option<u64> {
    match result {
        Ok(value) => Some(value),
        Err(Wrong { message, help }) => {
            out.report(span, format!("{message}: `{}`", quote(shown)))
                .maybe_help(help);
            None
        }
    }
}

fn limits(node: &Node, union: &mut Union, out: &mut Reporter<'_>) {
    let Some(fields) = Fields::of(node, "a map of limits", LimitKey::NAMES, out) else {
        return;
    };
    for key in LimitKey::ALL {
        let Some(node) = fields.get(key.name()) else {
            continue;
        };
        let is_number = key.unit().is_number();
        let value = match &node.value {
            Value::Scalar { text, plain } => {
                let kind = if *plain { kind_of(text) } else { Kind::Text };
                match (kind, is_number) {
                    (Kind::Null | Kind::Bool, _) | (Kind::Text, true) => None,
                    _ => Some(text),
                }
            }
            Value::Refused => continue,
            _ => None,
        };
        let Some(text) = value else {
            let what = match is_number {
                true => "a number without a unit or quotes",
                false => "a number with its unit",
            };
            let found = node.describe();
            out.report(node.span, format!("expected {what}, found {found}"));
            continue;
        };
        if let Some(value) = accept(node.span, text, key.parse(text), out)
            && union.once(
                format!("limits.{key}"),
                node.span,
                &format!("`limits.{key}`"),
                out,
            )
        {
            let limits = [(key.to_string(), value)];
            judge(
                Document {
                    limits: limits.clone().into(),
                    ..Document::default()
                },
                node,
                out,
            );
            union.document.limits.extend(limits);
        }
    }
}
