//! What a log is checked against, and the result.

use serde::Serialize;

use super::{Remembered, SetAside};
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
#[derive(Clone, Debug, Serialize)]
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

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.place, self.seq) {
            (Some(place), Some(seq)) => write!(f, "{place}, record {seq}: {}", self.what),
            (Some(place), None) => write!(f, "{place}: {}", self.what),
            (None, _) => f.write_str(&self.what),
        }
    }
}
