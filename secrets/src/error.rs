//! Why something about secrets could not be done. No text of an error has a value in it.

use std::path::PathBuf;

use aegis_sys::private;

use crate::value::BadValue;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody knows where this user's files are.
    #[error("there is no home directory to look for secrets in: set HOME")]
    NoHome,
    /// A file or directory cannot be used.
    #[error(transparent)]
    Private(#[from] private::Error),
    /// A path names no file.
    #[error("{} is not the name of a file", .0.display())]
    NoFile(PathBuf),
    /// `secrets.yaml` is wrong.
    #[error(transparent)]
    Sources(#[from] aegis_profile::Error),
    /// There is no key.
    #[error("there is no key to the store in {}\n  help: make one with `aegis secrets init`", .0.display())]
    NoKey(PathBuf),
    /// A file of identities cannot be used.
    #[error("the identities in {} cannot be used: {why}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// This cannot be an alias.
    #[error("`{}` cannot be an alias\n  help: an alias has up to 64 letters, digits, `_`, `.` and `-`, and begins with a letter or digit", aegis_profile::syntax::quote(.0))]
    Alias(String),
    /// There is no such secret.
    #[error(
        "there is no secret `{0}`\n  help: store it with `aegis secrets set {0}`, or name its source in secrets.yaml; `aegis secrets list` says what there is"
    )]
    Unknown(String),
    /// A value cannot be stored.
    #[error("this cannot be the secret `{alias}`: {why}")]
    Value {
        /// Of which.
        alias: String,
        /// Why.
        why: BadValue,
    },
    /// Others change the store, and go on doing it.
    #[error("others have had the store {} locked for {seconds} seconds\n  help: see which with `fuser -v {}`", .path.display(), .path.display())]
    Locked {
        /// The store.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A secret cannot be had from its source.
    #[error("the secret `{alias}` cannot be had from {source_name}: {why}")]
    Source {
        /// Which.
        alias: String,
        /// Where it was looked for.
        source_name: String,
        /// Why.
        why: String,
    },
    /// It cannot be done with this one.
    #[error("{0}")]
    Not(String),
    /// A system call failed.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}
