//! Observes sandboxes from within the kernel: loads the probes of `probes/probes.c`, and makes an
//! [`Observation`](aegis_observation::Observation) of what they saw.
//!
//! The probes are compiled once (`scripts/probes`), for every kernel with type information (BTF): where the fields of
//! its structures are is filled in when they are loaded. They look and count, and change nothing. They are attached
//! only while something is observed.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod assemble;
mod calls;
mod note;
mod observer;
mod probes;
mod service;

pub use note::decode;
pub use observer::{Namespace, Observer};
pub use probes::Error;
pub use service::Service;
