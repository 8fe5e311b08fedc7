//! Secrets, and where they come from.
//!
//! A **secret** has an **alias**, by which profiles name it, and a **value**, which no sandbox gets. Its value is in the **store**, a
//! directory of files that age encrypted ([`store`]), or comes from another **source** that `secrets.yaml` names ([`sources`]): a file of
//! SOPS ([`sops`]), Vault ([`vault`]), or what a command prints ([`command`]).
//!
//! The program `aegis-secrets` gets them. As a **provider** it answers one broker over a socket ([`protocol`], [`provider`]) and ends when
//! that is closed; started by `aegis secrets`, it changes the store and says what there is ([`manage`]).
//!
//! Nothing of a value is in any text that this crate makes for people, nor in an argument or a variable. Values are in memory that is wiped
//! when they are dropped, of processes that nobody but root can look into.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod places;
pub mod protocol;

#[cfg(feature = "provider")]
pub mod command;
#[cfg(feature = "provider")]
mod error;
#[cfg(feature = "provider")]
pub mod fetch;
#[cfg(feature = "provider")]
pub mod identity;
#[cfg(feature = "provider")]
pub mod manage;
#[cfg(feature = "provider")]
pub mod provider;
#[cfg(feature = "provider")]
pub mod sops;
#[cfg(feature = "provider")]
pub mod sources;
#[cfg(feature = "provider")]
pub mod store;
#[cfg(feature = "provider")]
pub mod value;
#[cfg(feature = "provider")]
pub mod vault;

#[cfg(feature = "provider")]
pub use error::Error;
