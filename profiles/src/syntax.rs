//! The text forms that Aegis's files share: strict YAML with positions, mistakes with their fix, quantities
//! with units, host names. Profiles and policies are read with these.

pub use crate::error::{
    Diagnostic, Error, FileKind, Reporter, escape, is_deceptive, meant, nearest, quote,
};
pub use crate::form::{Takes, Text, pattern, scalar, words};
pub use crate::units::{Wrong, count, show_size, size, time};
pub use crate::values::names::alias;
pub use crate::values::{destination, host, port};
pub use crate::yaml::{Key, Kind, MAX_BYTES, Node, Span, Value, document, kind_of, parse};

/// A path, or a program's name, as a profile has it: what would be a pattern has a `\` before it.
pub fn declared(text: &str) -> String {
    crate::model::escaped(text)
}
