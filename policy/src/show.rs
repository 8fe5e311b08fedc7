//! A policy printed back: canonical YAML, in people's units, rules in the order of their names.

use crate::load::SECTIONS;
use crate::model::Document;

/// The document as YAML. Reading it gives the same document again; for Rego files it has only the names.
pub fn show(document: &Document) -> String {
    let shown = SECTIONS.iter().filter_map(|section| {
        let value = (section.show)(document)?;
        Some(format!("{}:{value}\n", section.name))
    });
    shown.collect()
}
