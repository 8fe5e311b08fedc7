//! Checks a rule by compiling it, one rule at a time, so that each mistake is reported at its place.

use aegis_profile::syntax::{Node, Reporter, Span, Value};

use crate::decide::Policy;
use crate::model::Document;

/// Reports what compiling a document of one rule finds wrong. Each mistake is about one item; that is removed,
/// and the rest checked again.
pub(super) fn judge(mut document: Document, node: &Node, out: &mut Reporter<'_>) {
    const ENOUGH: usize = 20;
    for _ in 0..ENOUGH {
        let Err(bad) = Policy::new(vec![document.clone()]) else {
            return;
        };
        let missing = bad.item.clone();
        let item = bad.item.unwrap_or_default();
        // A missing item is already reported.
        if missing.as_deref() != Some("") {
            let span = find(node, &item).unwrap_or(node.span);
            out.report(span, bad.pattern.message)
                .maybe_help(bad.pattern.help);
        }
        if !remove(&mut document, &item) {
            return;
        }
    }
}

/// The place of an item in a rule.
fn find(node: &Node, item: &str) -> Option<Span> {
    match &node.value {
        Value::Scalar { text, .. } => (text == item).then_some(node.span),
        Value::List(items) => items.iter().find_map(|node| find(node, item)),
        Value::Map(entries) => (entries.iter())
            // These keys hold no items.
            .filter(|(key, _)| !matches!(key.text.as_str(), "reason" | "verdict" | "mode"))
            .find_map(|(_, node)| find(node, item)),
        Value::Refused => None,
    }
}

/// Removes an item. Returns whether it was found.
fn remove(document: &mut Document, item: &str) -> bool {
    let mut removed = false;
    for rule in &mut document.capabilities {
        removed |= replaced(&mut rule.id, item) || rule.matches.remove(item);
    }
    for rule in &mut document.network_egress {
        removed |= replaced(&mut rule.id, item)
            || rule.hosts.remove(item)
            || rule.methods.remove(item)
            || rule.paths.remove(item);
    }
    for rule in &mut document.secrets_boundary {
        removed |=
            replaced(&mut rule.id, item) || replaced(&mut rule.alias, item) || rule.to.remove(item);
    }
    removed
}

fn replaced(name: &mut String, item: &str) -> bool {
    let found = name == item;
    if found {
        *name = "right".into();
    }
    found
}
