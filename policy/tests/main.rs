//! The tests of the crate's public face: one program, a file for each subject.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::float_arithmetic,
    reason = "the rules are for what decides, not for what tries it"
)]

mod support;

mod criteria;
mod determinism;
mod diff;
mod diff_laws;
mod docs;
mod except;
mod explain;
mod held;
mod laws;
mod load;
mod load_places;
mod passphrase;
mod promote;
mod rego;
mod rego_absent;
mod rego_functions;
mod rego_hostile;
mod rego_laws;
mod rego_limits;
mod rego_names;
mod schema;
mod templates;
mod verdicts;
mod verdicts_connections;
mod verdicts_network;
mod verdicts_rules;
