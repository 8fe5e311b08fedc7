//! Reading the node tree: a map of known keys, a list, text, a number; each with its own error.

use super::{Takes, scalar};
use crate::error::{Diagnostic, Reporter, Span, nearest, quote};
use crate::model::Declared;
use crate::units::Wrong;
use crate::yaml::{Key, Kind, Node, Value, kind_of};

impl Reporter<'_> {
    /// The entries of a map; keys that are not among `names` are reported. `None`: it is not a map.
    pub fn known<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        names: &[&str],
    ) -> Option<&'n [(Key, Node)]> {
        let entries = self.map(node, what)?;
        for (key, _) in entries {
            if !names.contains(&key.text.as_str()) {
                let help = self.help_for_key(&key.text, names);
                self.unknown(key.span, "key", &key.text)
                    .expected("not a key here")
                    .help(help);
            }
        }
        Some(entries)
    }

    /// The entries of a map with keys of the author's choice. `None`: it is not a map.
    pub fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [(Key, Node)]> {
        match &node.value {
            Value::Map(entries) => return Some(entries),
            Value::Refused => {}
            _ => {
                let found = node.describe();
                self.report(node.span, format!("expected {what}, found {found}"))
                    .expected("a map: `key: value` lines, indented")
                    .maybe_help(
                        (found == "nothing")
                            .then(|| "remove the key if nothing belongs there".into()),
                    );
            }
        }
        None
    }

    fn help_for_key(&self, text: &str, names: &[&str]) -> String {
        let sections = (self.kind().sections)();
        let owner = sections.iter().find(|(_, keys)| keys.contains(&text));
        let prefix = format!("{text}.");
        if let Some(full) = names.iter().find(|name| name.starts_with(&prefix)) {
            format!("a key is written with its dot, as in `{full}:`")
        } else if let Some((name, _)) = owner {
            match *name {
                "" => format!("`{text}` belongs at the top of the file, not indented"),
                name => format!("`{text}` belongs under `{name}:`"),
            }
        } else if let Some(near) = nearest(text, names.iter().copied()) {
            format!("did you mean `{near}`?")
        } else if let Some((name, near)) = (sections.iter().filter(|(name, _)| !name.is_empty()))
            .find_map(|(name, keys)| Some((name, nearest(text, keys.iter().copied())?)))
        {
            format!("did you mean `{near}`, under `{name}:`?")
        } else {
            format!("the keys here are {}", names.join(", "))
        }
    }

    /// Reports an unknown word; the caller adds the fix.
    pub fn unknown(&mut self, span: Span, what: &str, text: &str) -> &mut Diagnostic {
        self.report(span, format!("unknown {what} \"{}\"", quote(text)))
    }

    /// The items of a list.
    pub fn list<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Refused => &[],
            Value::Scalar { text, plain } if !plain || kind_of(text) != Kind::Null => {
                let words = text.split([' ', ',']).filter(|word| !word.is_empty());
                let words: Vec<String> = words.map(|word| quote(&scalar(word))).collect();
                let shown = match words.len() {
                    0 | 1 => quote(text),
                    _ => words.join(", "),
                };
                self.report(node.span, format!("`{key}` is a list"))
                    .expected("expected a list")
                    .help(format!("write it as a list: `{key}: [{shown}]`"));
                &[]
            }
            _ => {
                let found = node.describe();
                self.report(node.span, format!("`{key}` is a list, and this is {found}"))
                    .expected("expected a list")
                    .help(format!(
                        "write `{key}: []` for an empty one, or remove the key"
                    ));
                &[]
            }
        }
    }

    /// Text. A scalar that YAML takes for something else must be quoted to be text.
    pub fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Refused => None,
            Value::Scalar { text, plain } if !plain || kind_of(text) == Kind::Text => Some(text),
            value => {
                let found = node.describe();
                let help = match value {
                    Value::Scalar { text, .. } if !text.is_empty() => {
                        format!("quote it if you mean the text: \"{}\"", quote(text))
                    }
                    Value::Scalar { .. } => "remove the key, or give it a value".to_owned(),
                    _ => format!("write {what} in one line"),
                };
                self.report(node.span, format!("expected {what}, found {found}"))
                    .help(help);
                None
            }
        }
    }

    /// Any scalar except null, as its text.
    pub fn scalar<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, plain: true } if kind_of(text) != Kind::Null => Some(text),
            _ => self.text(node, what),
        }
    }

    /// The text of a number without quotes.
    pub fn number<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let help = match &node.value {
            Value::Refused => return None,
            Value::Scalar { text, plain } => match (kind_of(text), plain) {
                (Kind::Int | Kind::Float, true) => return Some(text),
                (Kind::Int | Kind::Float, false) => format!("write it without quotes: {text}"),
                _ => format!("write {what}"),
            },
            _ => format!("write {what}"),
        };
        let found = node.describe();
        self.report(node.span, format!("expected {what}, found {found}"))
            .help(help);
        None
    }

    /// The text of a scalar that a [`Text`](super::Text) accepts.
    pub(super) fn taken<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        takes: Takes,
    ) -> Option<&'n str> {
        let is_int = |text: &str| text.parse().is_ok_and(|n: i64| n.to_string() == text);
        match (&node.value, takes) {
            (_, Takes::Number) => self.number(node, what),
            (Value::Scalar { text, .. }, Takes::TextOrInt) if is_int(text) => Some(text),
            _ => self.text(node, what),
        }
    }

    /// The version of a format, which is 1.
    pub fn version(&mut self, node: &Node, key: &str) {
        let help = format!("write `{key}: 1`");
        match &node.value {
            Value::Refused => {}
            Value::Scalar { text, plain: true } if text == "1" => {}
            Value::Scalar { text, plain: true } if kind_of(text) == Kind::Int => {
                let kind = self.kind().name;
                let message = format!("version {} of the {kind} format is not known", quote(text));
                self.report(node.span, message)
                    .expected("this Aegis knows version 1")
                    .help(format!("{help}, or use an Aegis that knows the version"));
            }
            _ => {
                self.report(node.span, "not a version").help(help);
            }
        }
    }

    /// Reports what a value's own parser found wrong.
    pub fn accept<T>(&mut self, span: Span, shown: &str, result: Result<T, Wrong>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Wrong { message, help }) => {
                self.report(span, format!("{message}: `{}`", quote(shown)))
                    .maybe_help(help);
                None
            }
        }
    }

    /// A value with its place.
    pub(crate) fn declared<T>(&self, span: Span, value: T) -> Declared<T> {
        Declared {
            value,
            origin: self.origin(span),
        }
    }
}
