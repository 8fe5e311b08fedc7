//! Secrets, with the program as it is, age as Debian has it, files that SOPS made, and a server that speaks as Vault does. Needs root.

mod attacks;
mod home;
mod provider;
mod sops;
mod sources;
mod store;
mod vault;
