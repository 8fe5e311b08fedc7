//! What a log is checked against, and the result.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::event::TornFile;
use crate::log::{Place, PublicKey};
use aegis_profile::hash::Hash;

/// What a log is held against.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Whose signatures count.
    pub keys: Vec<PublicKey>,
    /// A checkpoint that there has to be, or by its number alone: one of that number or a later one.
    pub min_checkpoint: Option<Remembered>,
    /// The place of the first record, where older segments were verified and archived; else 0.
    pub first: u64,
}

/// The two answers, and what they rest on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    /// Nothing of what is there was changed, left out, put in, or written by somebody else.
    pub intact: bool,
    /// It is there to the end, and signed to the end.
    pub complete: bool,
    /// What speaks against either.
    pub findings: Vec<Finding>,
    /// How many more findings there are than are listed.
    pub more_findings: u64,
    /// How many records were read.
    pub records: u64,
    /// How many checkpoints were.
    pub checkpoints: u64,
    /// The id of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The keys that it is signed with.
    pub keys: Vec<PublicKey>,
    /// The last checkpoint whose signature is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_checkpoint: Option<Signed>,
    /// What was quarantined as torn. A crash leaves a torn end, but not only a crash does.
    pub set_aside: Vec<SetAside>,
    /// How often more than is listed something was.
    pub more_set_aside: u64,
    /// Runs that began and have not ended: they go on, or were killed.
    pub open_runs: Vec<OpenRun>,
}

/// A checkpoint that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Signed {
    /// Its number.
    pub number: u64,
    /// Its place in the log.
    pub seq: u64,
    /// The hash of its record.
    pub hash: Hash,
    /// When.
    pub time: String,
}

impl Signed {
    /// What to remember of it elsewhere.
    pub fn remembered(&self) -> Remembered {
        Remembered {
            number: self.number,
            hash: Some(self.hash),
        }
    }
}

/// A run that has begun.
#[derive(Clone, Debug, Serialize)]
pub struct OpenRun {
    /// Its correlation id.
    pub run: String,
    /// The place of its `run.start`.
    pub seq: u64,
}

/// Which of the two answers is no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// [`Verified::intact`].
    Intact,
    /// [`Verified::complete`].
    Complete,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What it speaks against.
    pub against: Answer,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The record there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// In words.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.seq) {
            (Some(place), Some(seq)) => write!(f, "{place}, record {seq}: {}", self.what),
            (Some(place), None) => write!(f, "{place}: {}", self.what),
            (None, _) => f.write_str(&self.what),
        }
    }
}

/// A `log.recovered` record that was met.
#[derive(Clone, Debug, Serialize)]
pub struct SetAside {
    /// Where it is.
    pub place: Place,
    /// Its number.
    pub seq: u64,
    /// What it says was quarantined.
    pub files: Vec<TornFile>,
}

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
