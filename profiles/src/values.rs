//! Values that are a single text: paths, programs, hosts, names. Each parser says what is wrong and how to fix
//! it.

pub(crate) mod names;
pub(crate) mod net;
pub(crate) mod paths;

pub use net::{destination, host, port};
