//! What an operator permits, whatever a profile asks for, and the evidence of each decision.
//!
//! A **policy** is rules of three contracts (capabilities, network egress, secrets boundary) and ceilings
//! ([`model`]). A **request** ([`request`]) says what is asked for, by whom, and every fact that matters.
//! [`decide`](decide()) gives a **decision** for any request: a verdict, the rules that applied, why, and the
//! hashes of policy and request. It is pure; what is recorded with a decision is enough to repeat it.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::float_arithmetic
)]

// The shared test modules refer to this crate by its name.
#[cfg(test)]
extern crate self as aegis_policy;

pub mod advice;
pub mod ask;
pub mod compare;
pub mod decide;
pub mod decision;
pub mod explain;
pub mod load;
pub mod model;
pub mod named;
pub mod path;
pub mod places;
pub mod promote;
pub mod rego;
pub mod request;
pub mod schema;
pub mod show;
pub mod table;
pub mod templates;

pub use aegis_profile::Hash;
pub use decide::{Policy, decide};
pub use decision::{Decision, Opinion};
pub use model::{Document, Verdict};
pub use path::HostPath;
pub use request::{Context, Request, What};
