//! Reading a node into any type that serde can build, with the place of the first mistake.
//!
//! What YAML takes for a number is a number, what has quotes is text: a type that wants text from
//! `012` or `yes` is given an error, not a guess. Nothing is coerced.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::{Key, Kind, Node, Reporter, Span, Value, kind_of, nearest, quote};

/// Reads `node` as a `T`. A mistake is reported at its place, and gives `None`.
///
/// Unknown keys are mistakes only where `T` has `deny_unknown_fields`.
pub fn read<T: DeserializeOwned>(node: &Node, out: &mut Reporter<'_>) -> Option<T> {
    match T::deserialize(Typed(node)) {
        Ok(value) => Some(value),
        // Reported before.
        Err(Mistake { message, .. }) if message.is_empty() => None,
        Err(mistake) => {
            let span = mistake.at.unwrap_or(node.span);
            let note = out.report(span, mistake.message);
            note.maybe_help(mistake.help);
            None
        }
    }
}

/// A mistake; the innermost node with a position gives it its place.
#[derive(Debug, Default)]
struct Mistake {
    message: String,
    help: Option<String>,
    at: Option<Span>,
}

impl Mistake {
    fn at(mut self, span: Span) -> Self {
        self.at.get_or_insert(span);
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    /// A message may carry its fix after a line feed.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        let (message, help) = match text.split_once('\n') {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (text, None),
        };
        let at = None;
        Self { message, help, at }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        unknown("key", field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        unknown("word", variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            message: format!("the key `{field}` is missing"),
            help: Some(format!("add `{field}:`")),
            at: None,
        }
    }
}

fn unknown(what: &str, text: &str, expected: &'static [&'static str]) -> Mistake {
    let help = match nearest(text, expected.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("what is known here: {}", expected.join(", ")),
    };
    Mistake {
        message: format!("unknown {what} \"{}\"", quote(text)),
        help: Some(help),
        at: None,
    }
}

struct Typed<'n>(&'n Node);

impl<'n> Typed<'n> {
    fn scalar<'de, V: Visitor<'de>>(
        text: &'n str,
        plain: bool,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match if plain { kind_of(text) } else { Kind::Text } {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool => visitor.visit_bool(text.eq_ignore_ascii_case("true")),
            Kind::Text => visitor.visit_str(text),
            Kind::Int => match text.parse::<i64>() {
                Ok(number) => match u64::try_from(number) {
                    Ok(number) => visitor.visit_u64(number),
                    Err(_) => visitor.visit_i64(number),
                },
                Err(_) => Err(de::Error::custom(format!(
                    "this number is out of range or not decimal: {}",
                    quote(text)
                ))),
            },
            // No policy has floats: a rounded number cannot be a limit.
            Kind::Float => Err(de::Error::invalid_type(
                Unexpected::Other("a fraction"),
                &visitor,
            )),
        }
    }
}

impl<'de> de::Deserializer<'de> for Typed<'_> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let span = self.0.span;
        match &self.0.value {
            Value::Refused => Err(Mistake::default()),
            Value::Scalar { text, plain } => Self::scalar(text, *plain, visitor),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                value: None,
            }),
        }
        .map_err(|mistake| mistake.at(span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        // `null` does not mean an absent key.
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let span = self.0.span;
        visitor
            .visit_newtype_struct(self)
            .map_err(|mistake: Mistake| mistake.at(span))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let span = self.0.span;
        match &self.0.value {
            Value::Scalar { text, .. } => visitor.visit_enum(StrDeserializer::new(text)),
            _ => Err(de::Error::invalid_type(
                Unexpected::Other(self.0.describe()),
                &"a word",
            )),
        }
        .map_err(|mistake: Mistake| mistake.at(span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 i128 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'n>(std::slice::Iter<'n, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mistake> {
        let Some(node) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(Typed(node))
            .map(Some)
            .map_err(|mistake| mistake.at(node.span))
    }
}

struct Entries<'n> {
    entries: std::slice::Iter<'n, (Key, Node)>,
    value: Option<&'n Node>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mistake> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(StrDeserializer::new(&key.text))
            .map(Some)
            .map_err(|mistake: Mistake| mistake.at(key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        let Some(node) = self.value.take() else {
            return Err(de::Error::custom("a value was read before its key"));
        };
        seed.deserialize(Typed(node))
            .map_err(|mistake| mistake.at(node.span))
    }
}
