//! A checkpoint that somebody has remembered elsewhere, and holds a log against.

use std::fmt;
use std::str::FromStr;

use aegis_profile::hash::Hash;

/// A checkpoint that a log had once: `N`, or `N:HASH`.
///
/// The number alone says that the log was that long. One that was cut back and has grown again has other
/// checkpoints of the same numbers: only the hash tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its number.
    pub number: u64,
    /// The hash of its record.
    pub hash: Option<Hash>,
}

/// A text does not name a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a checkpoint is a number, or with its hash NUMBER:HASH, as `aegis audit verify` prints it"
)]
pub struct NotACheckpoint;

impl FromStr for Remembered {
    type Err = NotACheckpoint;

    fn from_str(text: &str) -> Result<Self, NotACheckpoint> {
        let (number, hash) = match text.split_once(':') {
            Some((number, hash)) => (number, Some(hash.parse().map_err(|_| NotACheckpoint)?)),
            None => (text, None),
        };
        // `+1` is a number to Rust.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotACheckpoint);
        }
        let number = number.parse().map_err(|_| NotACheckpoint)?;
        Ok(Self { number, hash })
    }
}

impl fmt::Display for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, hash } = self;
        match hash {
            Some(hash) => write!(f, "{number}:{hash}"),
            None => write!(f, "{number}"),
        }
    }
}
