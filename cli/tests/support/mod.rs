//! What several tests need.

pub mod place;
