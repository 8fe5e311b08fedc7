//! What several tests need.

pub mod arbitrary;
pub mod cases;
#[cfg(feature = "rego")]
pub mod rego;
pub mod tree;
pub mod written;
