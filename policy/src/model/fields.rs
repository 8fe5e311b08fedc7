//! Reading the maps and lists of a policy's files: known keys only, one item or a list, every mistake
//! with its place.

use std::collections::BTreeSet;

use aegis_profile::syntax::{Key, Node, Reporter, Span, meant, nearest};

/// A map whose keys are known.
pub(crate) struct Fields<'n> {
    entries: &'n [(Key, Node)],
    /// Where the map is.
    span: Span,
    known: &'n [&'n str],
}

impl<'n> Fields<'n> {
    /// The entries of `node`; keys that are not among `keys` are reported. `None`: it is not a map.
    pub(crate) fn of(
        node: &'n Node,
        what: &str,
        keys: &'n [&'n str],
        out: &mut Reporter<'_>,
    ) -> Option<Self> {
        let entries = out.known(node, what, keys)?;
        Some(Self {
            entries,
            span: node.span,
            known: keys,
        })
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        (self.entries.iter())
            .find(|(known, _)| known.text == key)
            .map(|(_, node)| node)
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&self, key: &str, help: &str, out: &mut Reporter<'_>) -> Option<&'n Node> {
        let found = self.get(key);
        // A misspelt key is already reported.
        let misspelt = |text: &str| nearest(text, [key]).is_some() && !self.known.contains(&text);
        if found.is_none() && !self.entries.iter().any(|(key, _)| misspelt(&key.text)) {
            out.report(self.span, format!("the key `{key}` is missing"))
                .help(help);
        }
        found
    }
}

/// Reports a word that is not known.
pub(crate) fn unknown<'k>(
    what: &str,
    text: &str,
    span: Span,
    known: impl Iterator<Item = &'k str> + Clone,
    out: &mut Reporter<'_>,
) {
    let all = known.clone().collect::<Vec<_>>().join(", ");
    let help = meant(text, known, format!("what is known here: {all}"));
    out.unknown(span, what, text).help(help);
}

/// The items of a list that may not be empty, or a single item in place of a list.
pub(crate) fn one_or_more<T: Ord>(
    node: &Node,
    key: &str,
    out: &mut Reporter<'_>,
    mut item: impl FnMut(&Node, &mut Reporter<'_>) -> Option<T>,
) -> BTreeSet<T> {
    let items = node.items();
    if items.is_empty() {
        out.report(node.span, format!("`{key}` is an empty list"))
            .expected("at least one item")
            .help("a rule about nothing says nothing: write what it is about, or remove the key");
    }
    (items.iter()).filter_map(|node| item(node, out)).collect()
}
