//! Reading the maps and lists of a policy's files: known keys only, one item or a list, every mistake
//! with its place.

use std::collections::BTreeSet;

use aegis_profile::syntax::{
    Key, Kind, Node, Reporter, Span, Value, Wrong, kind_of, nearest, quote,
};

/// A map whose keys are known.
pub(crate) struct Fields<'n> {
    entries: &'n [(Key, Node)],
    /// Where the map is.
    span: Span,
    known: &'n [&'n str],
}

impl<'n, 'k> Fields<'n> {
    /// The entries of `node`; keys that are not among `keys` are reported. `None`: it is not a map.
    pub(crate) fn of(
        node: &'n Node,
        what: &str,
        keys: &'n [&'n str],
        out: &mut Reporter<'_>,
    ) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Refused => return None,
            _ => {
                let found = node.describe();
                out.report(node.span, format!("expected {what}, found {found}"))
                    .expected("a map: `key: value`");
                return None;
            }
        };
        for (key, _) in entries {
            if !keys.contains(&key.text.as_str()) {
                unknown("key", &key.text, key.span, keys, out);
            }
        }
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
        // One that was misspelt has been told already.
        let misspelt = |text: &str| nearest(text, [key]).is_some() && !self.known.contains(&text);
        if found.is_none() && !self.entries.iter().any(|(key, _)| misspelt(&key.text)) {
            out.report(self.span, format!("the key `{key}` is missing"))
                .help(help);
        }
        found
    }
}

/// A mistake with what to do about it.
pub(crate) fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        message: message.into(),
        help: Some(help.into()),
    })
}

/// Reports a word that is none of those that are known.
pub(crate) fn unknown(what: &str, text: &str, span: Span, known: &[&str], out: &mut Reporter<'_>) {
    let help = match nearest(text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("what is known here: {}", known.join(", ")),
    };
    out.report(span, format!("unknown {what} \"{}\"", quote(text)))
        .help(help);
}

/// The items of a list that may not be empty, or the one thing that stands instead of a list.
pub(crate) fn one_or_more<T: Ord>(
    node: &Node,
    key: &str,
    out: &mut Reporter<'_>,
    mut item: impl FnMut(&Node, &mut Reporter<'_>) -> Option<T>,
) -> BTreeSet<T> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.is_empty() {
        out.report(node.span, format!("`{key}` is an empty list"))
            .expected("at least one item")
            .help("a rule about nothing says nothing: write what it is about, or remove the key");
    }
    (items.iter()).filter_map(|node| item(node, out)).collect()
}

/// The items of a list that may be empty.
pub(crate) fn list<'n>(node: &'n Node, key: &str, out: &mut Reporter<'_>) -> &'n [Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Refused => &[],
        _ => {
            let found = node.describe();
            out.report(node.span, format!("`{key}` is a list, and this is {found}"))
                .expected("a list: `- item` lines, or `[item, item]`");
            &[]
        }
    }
}

/// Text of one line, not empty. `numbers`: whole numbers may go without quotes.
pub(crate) fn text(
    node: &Node,
    what: &str,
    numbers: bool,
    out: &mut Reporter<'_>,
) -> Option<String> {
    let Value::Scalar { text, plain } = &node.value else {
        if !matches!(node.value, Value::Refused) {
            let found = node.describe();
            out.report(node.span, format!("expected {what}, found {found}"));
        }
        return None;
    };
    match if *plain { kind_of(text) } else { Kind::Text } {
        // Only as people write them: `0x50` and `+80` are spellings that somebody could misread.
        Kind::Int if numbers && text.parse().is_ok_and(|n: i64| n.to_string() == *text) => {}
        Kind::Text if text.is_empty() || text.contains(['\n', '\t']) => {
            out.report(node.span, format!("{what} is one line, and not empty"));
            return None;
        }
        Kind::Text => {}
        _ => {
            let found = node.describe();
            let note = out.report(node.span, format!("expected {what}, found {found}"));
            if !text.is_empty() {
                note.help(format!(
                    "quote it if you mean the text: \"{}\"",
                    quote(text)
                ));
            }
            return None;
        }
    }
    Some(text.clone())
}
