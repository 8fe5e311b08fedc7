//! The Aegis runtime: a profile compiled to kernel terms ([`plan`]), applied ([`apply`]) and
//! watched over ([`supervise`]).
//!
//! ```text
//! Profile + Request + HostFacts --compile--> Plan --start--> PID 1 --> the command
//!                                                    supervise --> Report
//! ```
//!
//! [`facts`] reads the host once; [`plan::compile`] is pure; everything that changes a process is
//! in [`apply`], [`cgroup`] and [`supervise`], by way of [`aegis_sys`].
#![deny(missing_docs, unsafe_code)]

pub mod apply;
pub mod cgroup;
pub mod doctor;
pub mod error;
pub mod facts;
pub mod plan;
pub mod seccomp;
pub mod supervise;
pub mod types;

pub use error::Error;
