//! Reading the node tree: a map of known keys, a list, text, a number; each with its own error.

use super::Section;
use crate::error::{Reporter, Span, nearest, quote};
use crate::model::Declared;
use crate::units::Wrong;
use crate::yaml::{Key, Kind, Node, Value, kind_of};

/// Reads nodes and reports what is wrong with them.
pub(crate) struct Tree<'r, 't> {
    pub(crate) out: &'r mut Reporter<'t>,
    /// The top of the file, to say where a misplaced key belongs.
    pub(crate) top: &'static Section,
}

impl Tree<'_, '_> {
    /// The entries of a map with the keys of a section; other keys are reported.
    pub(crate) fn known<'n>(
        &mut self,
        node: &'n Node,
        section: &'static Section,
    ) -> Vec<(&'n str, &'n Node)> {
        let mut known = Vec::new();
        for (key, value) in self.map(node, section.what) {
            if section.has(&key.text) {
                known.push((key.text.as_str(), value));
            } else {
                self.unknown(key, section);
            }
        }
        known
    }

    /// The entries of a map with keys of the author's choice.
    pub(crate) fn map<'n>(&mut self, node: &'n Node, what: &str) -> &'n [(Key, Node)] {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Refused => &[],
            _ => {
                let found = node.describe();
                self.out
                    .report(node.span, format!("expected {what}, found {found}"))
                    .expected("a map: `key: value` lines, indented")
                    .help("remove the key if nothing belongs there");
                &[]
            }
        }
    }

    fn unknown(&mut self, key: &Key, section: &'static Section) {
        let text = key.text.as_str();
        let prefix = format!("{text}.");
        let help = if let Some(full) = section.names().find(|name| name.starts_with(&prefix)) {
            format!("a key is written with its dot, as in `{full}:`")
        } else if let Some((name, _)) = self.top.sections().find(|(_, section)| section.has(text)) {
            format!("`{text}` belongs under `{name}:`")
        } else if self.top.has(text) {
            format!("`{text}` belongs at the top of the file, not indented")
        } else if let Some(near) = nearest(text, section.names()) {
            format!("did you mean `{near}`?")
        } else if let Some((name, near)) = self
            .top
            .sections()
            .find_map(|(name, section)| Some((name, nearest(text, section.names())?)))
        {
            format!("did you mean `{near}`, under `{name}:`?")
        } else {
            let names: Vec<&str> = section.names().collect();
            format!("the keys here are {}", names.join(", "))
        };
        self.out
            .report(key.span, format!("unknown key \"{}\"", quote(text)))
            .expected("not a key of this place")
            .help(help);
    }

    /// The items of a list.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Refused => &[],
            Value::Scalar { text, plain } if !plain || kind_of(text) != Kind::Null => {
                let shown = quote(text);
                self.out
                    .report(node.span, format!("`{key}` is a list"))
                    .expected("expected a list")
                    .help(format!("write it as a list: `{key}: [{shown}]`"));
                &[]
            }
            _ => {
                let found = node.describe();
                self.out
                    .report(node.span, format!("`{key}` is a list, and this is {found}"))
                    .expected("expected a list")
                    .help(format!(
                        "write `{key}: []` for an empty one, or remove the key"
                    ));
                &[]
            }
        }
    }

    /// Text. A scalar that YAML takes for something else must be quoted to be text.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
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
                self.out
                    .report(node.span, format!("expected {what}, found {found}"))
                    .help(help);
                None
            }
        }
    }

    /// Any scalar but nothing, as its text.
    pub(crate) fn scalar<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, plain: true } if kind_of(text) != Kind::Null => Some(text),
            _ => self.text(node, what),
        }
    }

    /// The text of a number without quotes.
    pub(crate) fn number<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
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
        self.out
            .report(node.span, format!("expected {what}, found {found}"))
            .help(help);
        None
    }

    /// Reports what a value's own parser found wrong.
    pub(crate) fn accept<T>(
        &mut self,
        span: Span,
        shown: &str,
        result: Result<T, Wrong>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Wrong { message, help }) => {
                self.out
                    .report(span, format!("{message}: `{}`", quote(shown)))
                    .maybe_help(help);
                None
            }
        }
    }

    pub(crate) fn declared<T>(&self, span: Span, value: T) -> Declared<T> {
        Declared {
            value,
            origin: self.out.origin(span),
        }
    }
}
