//! The text of a file as a tree, in the order of the file.

use std::fmt;
use std::sync::Arc;

use aegis_profile::syntax::{self, FileKind, Kind, Node, Value};
use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};

/// A value.
#[derive(Debug)]
pub(super) enum Tree {
    /// In the order of the file.
    Map(Vec<(String, Tree)>),
    /// A list.
    List(Vec<Tree>),
    /// A value, as the MAC has it.
    Leaf {
        /// Numbers as Go prints them, `True`, `False`, and texts as they are.
        text: String,
        /// Whether it is text.
        is_text: bool,
    },
    /// Nothing.
    Null,
}

impl Tree {
    /// The entry of a map.
    pub fn entry(&self, name: &str) -> Option<&Tree> {
        match self {
            Self::Map(entries) => entries
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, tree)| tree),
            _ => None,
        }
    }

    /// The leaf at an entry of a map.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.entry(name) {
            Some(Self::Leaf { text, .. }) => Some(text),
            _ => None,
        }
    }

    /// Whether a map has something at this entry.
    pub fn has(&self, name: &str) -> bool {
        match self.entry(name) {
            None | Some(Self::Null) => false,
            Some(Self::Map(entries)) => !entries.is_empty(),
            Some(Self::List(items)) => !items.is_empty(),
            Some(Self::Leaf { text, is_text }) => !text.is_empty() && (*is_text || text != "0"),
        }
    }

    fn of_text(text: impl Into<String>) -> Self {
        Self::Leaf {
            text: text.into(),
            is_text: true,
        }
    }

    fn other(text: impl Into<String>) -> Self {
        Self::Leaf {
            text: text.into(),
            is_text: false,
        }
    }

    fn of_bool(is: bool) -> Self {
        Self::other(if is { "True" } else { "False" })
    }
}

/// As an error would call it, which quotes nothing.
const KIND: FileKind = FileKind {
    name: "file of SOPS",
    first_line: "sops: {}",
    sections: Vec::new,
};

/// Parses JSON, which begins with a brace, or YAML.
pub(super) fn parse(bytes: &[u8]) -> Result<Tree, String> {
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        return serde_json::from_slice(bytes).map_err(|error| {
            format!(
                "it is not JSON that Aegis reads (line {}, column {})",
                error.line(),
                error.column()
            )
        });
    }
    let parsed = syntax::document(KIND, &Arc::from("-"), bytes, |root, _| Some(of_yaml(root)));
    parsed.map_err(|error| {
        // What is wrong may be a secret that was not encrypted.
        let place = error
            .diagnostics()
            .first()
            .map_or_else(String::new, |first| {
                format!(
                    " (line {}, column {})",
                    first.origin.line, first.origin.column
                )
            });
        format!(
            "it is not YAML that Aegis reads, without anchors, tags and further documents{place}"
        )
    })
}

fn of_yaml(node: &Node) -> Tree {
    match &node.value {
        Value::Refused => Tree::Null,
        Value::List(items) => Tree::List(items.iter().map(of_yaml).collect()),
        Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, node)| (key.text.clone(), of_yaml(node)));
            Tree::Map(entries.collect())
        }
        Value::Scalar { text, plain: false } => Tree::of_text(text),
        Value::Scalar { text, plain: true } => match syntax::kind_of(text) {
            Kind::Null => Tree::Null,
            Kind::Bool => Tree::of_bool(text.eq_ignore_ascii_case("true")),
            Kind::Int => Tree::other(whole(text)),
            Kind::Float => Tree::other(
                text.parse::<f64>()
                    .map_or_else(|_| text.clone(), |number| number.to_string()),
            ),
            Kind::Text => Tree::of_text(text),
        },
    }
}

/// A whole number in digits.
fn whole(text: &str) -> String {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let number = match unsigned.get(..2) {
        Some("0x") => i64::from_str_radix(&unsigned[2..], 16),
        Some("0o") => i64::from_str_radix(&unsigned[2..], 8),
        _ => unsigned.parse(),
    };
    number.map_or_else(|_| text.to_owned(), |number| number.to_string())
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Json)
    }
}

/// Numbers of JSON are floats, to Go.
struct Json;

impl<'de> Visitor<'de> for Json {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: de::Error>(self, is: bool) -> Result<Tree, E> {
        Ok(Tree::of_bool(is))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::other((number as f64).to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::other((number as f64).to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::other(number.to_string()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::of_text(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::of_text(text))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map: Vec<(String, Tree)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some((key, tree)) = entries.next_entry::<String, Tree>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom("a key is given twice"));
            }
            map.push((key, tree));
        }
        Ok(Tree::Map(map))
    }
}
