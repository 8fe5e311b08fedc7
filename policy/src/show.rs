//! A policy printed back: canonical YAML, in people's units, rules in the order of their names.

use std::fmt::Write as _;

use aegis_profile::LimitKey;
use aegis_profile::syntax::{Kind, kind_of, show_size};

use crate::model::{Budget, Document, Mode, OnAuditFailure};

/// The document as YAML. Reading it gives the same document again; of Rego files it has the names.
pub fn show(document: &Document) -> String {
    let mut out = String::from("aegis-policy: 1\n");
    line(&mut out, "", "name", &text(&document.name));
    let mut capabilities: Vec<_> = document.capabilities.iter().collect();
    capabilities.sort_by(|a, b| a.id.cmp(&b.id));
    heading(&mut out, "capabilities", capabilities.is_empty());
    for rule in capabilities {
        line(&mut out, "  - ", "id", &text(&rule.id));
        line(
            &mut out,
            REST,
            "on",
            &list(rule.on.iter().map(|on| on.name())),
        );
        line(
            &mut out,
            REST,
            "match",
            &list(rule.matches.iter().map(String::as_str)),
        );
        tail(
            &mut out,
            rule.verdict.name(),
            rule.reason.as_deref(),
            rule.mode,
            rule.otherwise,
        );
    }
    let mut egress: Vec<_> = document.network_egress.iter().collect();
    egress.sort_by(|a, b| a.id.cmp(&b.id));
    heading(&mut out, "network-egress", egress.is_empty());
    for rule in egress {
        line(&mut out, "  - ", "id", &text(&rule.id));
        line(
            &mut out,
            REST,
            "hosts",
            &list(rule.hosts.iter().map(String::as_str)),
        );
        if !rule.schemes.is_empty() {
            line(
                &mut out,
                REST,
                "schemes",
                &list(rule.schemes.iter().map(|s| s.name())),
            );
        }
        if !rule.ports.is_empty() {
            let ports: Vec<_> = rule.ports.iter().map(u16::to_string).collect();
            line(&mut out, REST, "ports", &format!("[{}]", ports.join(", ")));
        }
        for (key, items) in [("methods", &rule.methods), ("paths", &rule.paths)] {
            if !items.is_empty() {
                line(&mut out, REST, key, &list(items.iter().map(String::as_str)));
            }
        }
        budget(&mut out, &rule.budget);
        if rule.private_addresses {
            line(&mut out, REST, "private-addresses", "true");
        }
        tail(
            &mut out,
            rule.verdict.name(),
            rule.reason.as_deref(),
            rule.mode,
            rule.otherwise,
        );
    }
    let mut secrets: Vec<_> = document.secrets_boundary.iter().collect();
    secrets.sort_by(|a, b| a.id.cmp(&b.id));
    heading(&mut out, "secrets-boundary", secrets.is_empty());
    for rule in secrets {
        line(&mut out, "  - ", "id", &text(&rule.id));
        line(&mut out, REST, "alias", &text(&rule.alias));
        line(
            &mut out,
            REST,
            "to",
            &list(rule.to.iter().map(String::as_str)),
        );
        line(
            &mut out,
            REST,
            "inject",
            &list(rule.inject.iter().map(|i| i.name())),
        );
        tail(
            &mut out,
            rule.verdict.name(),
            rule.reason.as_deref(),
            rule.mode,
            rule.otherwise,
        );
    }
    if !document.limits.is_empty() {
        heading(&mut out, "limits", false);
        for key in LimitKey::ALL {
            if let Some(value) = document.limits.get(key.name()) {
                line(&mut out, "  ", key.name(), &key.show(*value));
            }
        }
    }
    if !document.may_be_missing.is_empty() {
        let names = list(document.may_be_missing.iter().map(String::as_str));
        line(&mut out, "", "may-be-missing", &names);
    }
    if document.audit_failure == OnAuditFailure::Continue {
        line(&mut out, "", "audit-failure", "continue");
    }
    if !document.rego.is_empty() {
        let names = list(document.rego.iter().map(|module| module.name.as_str()));
        line(&mut out, "", "rego", &names);
    }
    out
}

/// What the keys of a rule stand behind, but for the first.
const REST: &str = "    ";

fn heading(out: &mut String, key: &str, empty: bool) {
    if !empty {
        let _ = writeln!(out, "{key}:");
    }
}

fn line(out: &mut String, before: &str, key: &str, value: &str) {
    let _ = writeln!(out, "{before}{key}: {value}");
}

fn tail(out: &mut String, verdict: &str, reason: Option<&str>, mode: Mode, otherwise: bool) {
    line(out, REST, "verdict", verdict);
    if mode == Mode::Warn {
        line(out, REST, "mode", "warn");
    }
    if otherwise {
        line(out, REST, "otherwise", "true");
    }
    if let Some(reason) = reason {
        line(out, REST, "reason", &text(reason));
    }
}

fn budget(out: &mut String, budget: &Budget) {
    let bounds = [
        (
            "requests",
            budget.requests_per_minute.map(|n| format!("{n}/m")),
        ),
        ("request-size", budget.request_size.map(show_size)),
        ("response-size", budget.response_size.map(show_size)),
    ];
    let bounds: Vec<_> = (bounds.into_iter())
        .filter_map(|(key, bound)| Some(format!("{key}: {}", bound?)))
        .collect();
    if !bounds.is_empty() {
        line(out, REST, "budget", &format!("{{{}}}", bounds.join(", ")));
    }
}

fn list<'t>(items: impl Iterator<Item = &'t str>) -> String {
    let items: Vec<_> = items.map(text).collect();
    format!("[{}]", items.join(", "))
}

/// Without quotes where YAML takes it for text and nothing else.
fn text(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_./$-".contains(&b);
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b"/$_.".contains(b));
    let bytes = text.as_bytes();
    // Also YAML 1.1, which other readers may follow, knows these words for something else.
    let words = ["y", "n", "yes", "no", "on", "off"];
    if bytes.iter().all(|b| plain(*b))
        && edge(bytes.first())
        && edge(bytes.last())
        && kind_of(text) == Kind::Text
        && !words.contains(&text.to_ascii_lowercase().as_str())
        && !bytes[0].is_ascii_digit()
    {
        return text.to_owned();
    }
    // JSON's strings are YAML's.
    serde_json::Value::from(text).to_string()
}
