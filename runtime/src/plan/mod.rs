//! The plan: all that is done to a command, in kernel terms. Pure data, which can be printed, hashed and tested
//! without a kernel. [`crate::apply`] carries it out and computes nothing.
//!
//! [`assemble()`] is the only path to a plan, from a [`Spec`] that any front end can make; [`compile`] makes one
//! from a profile. What a plan consists of is in `model`, the root in [`ops`].

pub mod access;
mod assemble;
pub mod authority;
mod compile;
mod environment;
mod files;
mod granted;
mod grants;
pub mod limits;
mod model;
mod network;
pub mod ops;
mod own_places;
mod reachable;
mod secrets;
pub mod stdio;

pub use assemble::{Spec, assemble, identity};
pub use compile::{check, compile};
pub use limits::{CORE_LIMIT, GroupLimits, Held, Less, Limits};
pub use model::{
    Degraded, DeniedPaths, Grant, InForce, Landlock, Memfd, Namespace, Opened, PathRule, Plan,
    Secret,
};
pub use ops::{Op, Operation, Operations};
pub(crate) use reachable::private_sockets;

#[cfg(test)]
pub(crate) mod tests;
