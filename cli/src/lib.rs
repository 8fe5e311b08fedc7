//! The Aegis programs. `aegis-run` is [`run`], described to clap in [`options`]; `aegis-learn` is [`learn`]; `aegis` is [`aegis`].
//! `host` is what is asked about this host,
//! [`terminal`] is how both write to a terminal, `text` is the text for people, [`names`] is what can be completed.
//!
//! `aegis-run` must start fast: it reads its command line with `lexopt`, prints a help text that
//! was made beforehand, and links none of clap. `aegis` uses clap throughout. A test checks that both know the
//! same options of `aegis-run`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod aegis;
mod host;
pub mod learn;
pub mod names;
pub mod options;
pub mod run;
pub mod terminal;
mod text;
