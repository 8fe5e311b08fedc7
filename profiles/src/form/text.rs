//! The texts that values are made of.

use std::fmt::Display;

use serde_json::{Value as Json, json};

use super::scalar;
use crate::error::Reporter;
use crate::units::Wrong;
use crate::yaml::Node;

/// A scalar that stands for a `T`.
#[derive(Clone, Copy)]
pub struct Text<T> {
    /// As in "expected a path".
    pub what: &'static str,
    /// Which scalars it accepts.
    pub takes: Takes,
    /// The JSON Schema, which may accept more than the parser.
    pub schema: fn() -> Json,
    /// The parser.
    pub parse: fn(&str) -> Result<T, Wrong>,
    /// As YAML.
    pub show: fn(&T) -> String,
}

/// Which scalars a [`Text`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Texts, in quotes where YAML would take them for something else.
    Text,
    /// Numbers, without quotes.
    Number,
    /// Texts, and whole numbers as people write them: `0x50` and `+80` could be misread.
    TextOrInt,
}

impl<T: Display> Text<T> {
    /// One that accepts texts.
    pub const fn new(
        what: &'static str,
        schema: fn() -> Json,
        parse: fn(&str) -> Result<T, Wrong>,
    ) -> Self {
        Self {
            what,
            takes: Takes::Text,
            schema,
            parse,
            show: |value| scalar(&value.to_string()),
        }
    }
}

impl<T> Text<T> {
    /// Reads a value. Reports a mistake.
    pub fn read(&self, out: &mut Reporter<'_>, node: &Node) -> Option<T> {
        let text = out.taken(node, self.what, self.takes)?;
        out.accept(node.span, text, (self.parse)(text))
    }
}

/// The schema of a text with a pattern.
pub fn pattern(pattern: &str) -> Json {
    json!({"type": "string", "pattern": pattern})
}

/// The schema of words, each with its meaning.
pub fn words<'w>(words: impl IntoIterator<Item = (&'w str, &'w str)>) -> Json {
    let word = |(word, about)| json!({"const": word, "description": about, "type": "string"});
    json!({"oneOf": words.into_iter().map(word).collect::<Vec<_>>()})
}
