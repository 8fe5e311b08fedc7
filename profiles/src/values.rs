//! Values that are a text of their own: paths, programs, hosts, names. Each parser says what is wrong and how to
//! put it right.

pub(crate) mod names;
pub(crate) mod net;
pub(crate) mod paths;

pub use net::{destination, host, port};
