//! What a key of the format is made of: its section, its description and its [`Form`], which reads, merges
//! and prints its values. The keys themselves are in `format`.

mod page;
mod text;
mod tree;

use serde_json::Value as Json;

use crate::error::Reporter;
use crate::yaml::{self, Node};
pub(crate) use page::Page;
pub use page::scalar;
pub use text::{Takes, Text, pattern, words};

/// What the values of a key look like, and what can be done with them.
pub(crate) trait Form {
    /// The type of the values. The default is an absent key.
    type Value: Clone + Default + PartialEq;

    /// The JSON Schema of the values.
    fn schema(&self) -> Json;

    /// For a map: its keys.
    fn section(&self) -> Option<&'static Section> {
        None
    }

    /// Reads a value. Reports what is wrong, and leaves it out.
    fn read(&self, out: &mut Reporter<'_>, key: &str, node: &Node) -> Self::Value;

    /// Merges the value of a later profile, which replaces this one where it is given.
    fn merge(&self, into: &mut Self::Value, later: &Self::Value) {
        if *later != Self::Value::default() {
            into.clone_from(later);
        }
    }

    /// Prints the key and its value.
    fn show(&self, page: &mut Page, key: &str, value: &Self::Value);

    /// Whether the canonical form has this value.
    fn is_canonical(&self, value: &Self::Value) -> bool {
        *value != Self::Value::default()
    }
}

/// A map of the format.
pub(crate) struct Section {
    /// Its name in the JSON Schema.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What an error calls it.
    pub what: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key],
}

impl Section {
    /// The names of its keys.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    /// Those of its keys that are sections themselves.
    pub fn sections(&self) -> impl Iterator<Item = (&'static str, &'static Section)> {
        (self.keys.iter()).filter_map(|key| Some((key.name, (key.section)()?)))
    }
}

/// A key of a section.
pub(crate) struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The form of its values, for the reference page; empty for a section.
    pub form: &'static str,
    /// What an absent key means.
    pub default: &'static str,
    /// A value, as in a profile.
    pub example: &'static str,
    /// The JSON Schema of its values.
    pub schema: fn() -> Json,
    /// The keys below.
    pub section: fn() -> Option<&'static Section>,
}

/// A type that is read from, and printed as, a [`Section`].
pub(crate) trait Keyed: Clone + Default + PartialEq {
    const SECTION: &'static Section;

    /// The entries of a map with these keys; other keys are reported.
    fn entries<'n>(out: &mut Reporter<'_>, node: &'n Node) -> &'n [(yaml::Key, Node)] {
        let names: Vec<_> = Self::SECTION.names().collect();
        let entries = out.known(node, Self::SECTION.what, &names);
        entries.unwrap_or_default()
    }

    fn read(out: &mut Reporter<'_>, node: &Node) -> Self;
    fn merge(&mut self, later: &Self);
    fn show(&self, page: &mut Page);
}
