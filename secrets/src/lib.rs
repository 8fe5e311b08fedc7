//! Secrets, and where they come from.
//!
//! [`protocol`] is what a broker asks for values with. Nothing of a value is in any text that this crate makes for people.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod protocol;
