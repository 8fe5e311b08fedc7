//! What is exported, and what the parsers of the other enforcers make of it.

mod apparmor;
mod keys;
mod names;
mod oci;
mod support;
mod systemd;
