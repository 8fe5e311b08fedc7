//! What a log is checked against, and the result.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::event::{LastSigned, Pruned, TornFile};
use crate::log::{Place, PublicKey};
use aegis_profile::hash::Hash;

/// What a log is verified against.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Trusted keys.
    pub keys: Vec<PublicKey>,
    /// A checkpoint that must exist; if only its number is given, this one or a later one.
    pub min_checkpoint: Option<Remembered>,
    /// What is remembered beside the key of the last checkpoint that was signed here: this one or a later one must exist.
    pub signed: Option<LastSigned>,
    /// Checkpoints with which a log that was here before ended, where that was verified and moved away.
    pub moved: Vec<Remembered>,
    /// The number of the first record, if older segments were verified and archived; else 0.
    pub first: u64,
}

/// The two answers, and the findings behind them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    /// Nothing within the log was changed, removed, inserted, or written by somebody else.
    pub intact: bool,
    /// The log is there to its end, and signed to its end.
    pub complete: bool,
    /// Findings against either.
    pub findings: Vec<Finding>,
    /// How many findings are not listed.
    pub more_findings: u64,
    /// How many records were read.
    pub records: u64,
    /// How many checkpoints were read.
    pub checkpoints: u64,
    /// The id of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The keys that signed it.
    pub keys: Vec<PublicKey>,
    /// The last checkpoint with a valid signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_checkpoint: Option<Signed>,
    /// What the log says was pruned, the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// What was quarantined as torn. A crash leaves a torn end, but so can other causes.
    pub set_aside: Vec<SetAside>,
    /// How many more quarantines are not listed.
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
    /// When it was recorded.
    pub time: String,
}

impl Signed {
    /// What to remember of the checkpoint elsewhere.
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

/// The answer that a finding makes "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// [`Verified::intact`].
    Intact,
    /// [`Verified::complete`].
    Complete,
}

/// Something wrong with the log.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The answer that it makes "no".
    pub against: Answer,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The record there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What is wrong, in words.
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
    /// Its number in the log.
    pub seq: u64,
    /// The files that it names.
    pub files: Vec<TornFile>,
}

/// A checkpoint that a log once had: `N`, or `N:HASH`.
///
/// The number alone shows that the log was that long. A log that was cut off and has grown again has other
/// checkpoints with the same numbers: only the hash tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its number.
    pub number: u64,
    /// The hash of its record.
    pub hash: Option<Hash>,
}

impl LastSigned {
    /// What somebody who remembers it would name.
    pub fn remembered(&self) -> Remembered {
        Remembered {
            number: self.number,
            hash: Some(self.hash),
        }
    }
}

/// The text does not name a checkpoint.
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
        // Rust also parses `+1`.
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
