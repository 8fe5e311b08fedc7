//! The Aegis runtime: what a front end asks for is planned in kernel terms ([`plan`]), applied ([`apply`])
//! and supervised ([`supervise`]).
//!
//! ```text
//! Profile + Request + HostFacts --compile--> Spec --assemble--> Plan --start--> PID 1 --> the command
//!                any other front end -------> Spec                    supervise --> Report
//! ```
//!
//! [`facts`] reads the host once; [`plan::compile`] and [`plan::assemble()`] are pure; everything that
//! changes a process is in [`apply`], [`cgroup`] and [`supervise`], by way of [`aegis_sys`]. Each module
//! uses only those before it: types, error, facts, seccomp, plan, cgroup, apply, supervise, doctor.
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

pub use error::{Error, Failure};
