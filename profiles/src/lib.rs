//! The Aegis profile: what a command asks to be allowed, written in a strict subset of YAML.
//!
//! A profile is read in three steps, none of which touches the kernel:
//!
//! 1. `yaml`: text to a tree in which every node knows its line; text that could mislead a reader is refused.
//! 2. `parse`: the tree to typed values ([`Profile`]); unknown keys and values are an [`Error`] with its fix.
//! 3. [`load`]: files and [built-in](builtin) profiles, merged with everything that they extend.
//!
//! Beside it: [`show`](show()) prints a profile back, [`diff`](diff()) lists what one may do that another may
//! not, [`schema`] has the JSON Schema and the reference page, [`Profile::hash`] identifies its meaning.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod builtin;
mod diff;
mod error;
mod form;
mod format;
pub mod hash;
mod limits;
mod load;
mod model;
mod named;
mod parse;
mod patch;
pub mod schema;
mod show;
mod source;
pub mod syntax;
mod units;
mod values;
mod yaml;

pub use diff::{Diff, Item, diff};
pub use error::{Diagnostic, Error};
pub use format::{Capabilities, Environment, Profile, SecretUse, Syscalls};
pub use hash::Hash;
pub use limits::{LimitKey, Limits, Unit};
pub use load::{Loaded, load, load_with};
pub use model::*;
pub use named::Named;
pub use parse::parse_str;
pub use patch::{Addition, Patched, patch};
pub use show::show;
pub use source::{Files, ReadError, Source};
#[doc(hidden)]
pub use yaml::yaml_to_json;
