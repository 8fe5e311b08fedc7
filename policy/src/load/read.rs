//! One file's text as a part of a policy. Every mistake is reported, each at its place.

use std::sync::Arc;

use aegis_profile::Error;
use aegis_profile::syntax::{FileKind, Node, Reporter, Value, document};

use super::sections::{SECTIONS, Union, VERSION};
use crate::model::fields::Fields;

/// A policy's file, for messages.
pub(crate) const KIND: FileKind = FileKind {
    name: "policy",
    first_line: "aegis-policy: 1",
    sections: Vec::new,
};

/// Adds a file to the policy.
pub(super) fn add(bytes: &[u8], file: &Arc<str>, union: &mut Union<'_>) -> Result<(), Error> {
    document(KIND, file, bytes, |root, out| {
        sections(root, union, out);
        Some(())
    })
}

fn sections(root: &Node, union: &mut Union<'_>, out: &mut Reporter<'_>) {
    // In a file of another kind, every key would be a mistake.
    if let Value::Map(entries) = &root.value
        && let Some((key, _)) = entries.iter().find(|(key, _)| key.text == "aegis")
    {
        out.report(key.span, "this is a profile, not a policy")
            .help("a policy begins with `aegis-policy: 1`");
        return;
    }
    let keys = SECTIONS.map(|section| section.name);
    let Some(fields) = Fields::of(root, "a policy: a map of keys", &keys, out) else {
        return;
    };
    version(&fields, VERSION, out);
    for section in SECTIONS {
        if let Some(node) = fields.get(section.name) {
            (section.read)(node, union, out);
        }
    }
}

/// The version of the format, which every file states: `KEY: 1`.
pub(crate) fn version(fields: &Fields<'_>, key: &str, out: &mut Reporter<'_>) {
    let help = format!("make `{key}: 1` the first line");
    if let Some(node) = fields.need(key, &help, out) {
        out.version(node, key);
    }
}
