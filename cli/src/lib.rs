//! The Aegis programs. `aegis-run` is [`run`], described to clap in [`options`]; `aegis` is [`aegis`].
//! How both write to a terminal is in [`terminal`], what people read in `text`.
//!
//! `aegis-run` must start at once: it reads its command line with `lexopt`, prints a help text that
//! was made beforehand, and links none of clap. `aegis` uses clap throughout. That both know the
//! same options of `aegis-run` is a test.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod aegis;
pub mod options;
pub mod run;
pub mod terminal;
mod text;
