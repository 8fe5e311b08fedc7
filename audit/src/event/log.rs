//! The log's records about itself: checkpoints and quarantined files.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use aegis_profile::Hash;
use serde::{Deserialize, Serialize};

/// A public key (ed25519), written like a hash: it identifies who signed a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(pub(crate) aegis_profile::Hash);

impl FromStr for PublicKey {
    type Err = <aegis_profile::Hash as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The detail of `checkpoint`: see [`crate::log`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The signing key.
    pub key: PublicKey,
    /// The id of the log: 32 random hex digits.
    pub log: String,
    /// The number of this checkpoint in the log, from 0.
    pub number: u64,
    /// 128 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<String>,
}

/// The last checkpoint that was signed of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastSigned {
    /// The hash of its record.
    pub hash: Hash,
    /// The id of the log.
    pub log: String,
    /// The number of the checkpoint in the log.
    pub number: u64,
    /// The number of its record.
    pub seq: u64,
}

/// The detail of `log.missing`: what was signed here is not there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The id of the log that was found. `None`: an empty one.
    pub found: Option<String>,
    /// The number that the next record had in what was found.
    pub next: u64,
    /// The checkpoint that is missing.
    pub signed: LastSigned,
}

impl Missing {
    /// A warning about it, with what to do, for whoever writes the log in that directory.
    pub fn warning(&self, log: &Path) -> String {
        let (log, LastSigned { number, hash, .. }) = (log.display(), &self.signed);
        format!(
            "the audit log {log}: {self}\n  help: see aegis audit verify; where you moved the log away yourself: aegis audit verify --moved {number}:{hash}"
        )
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LastSigned {
            number, hash, log, ..
        } = &self.signed;
        match &self.found {
            Some(found) if found == log => f.write_str("it was cut back")?,
            Some(_) => f.write_str("another log is in its place")?,
            None => f.write_str("it was emptied or removed")?,
        }
        write!(
            f,
            ": checkpoint {number}:{hash} of log {log} was signed, and is missing"
        )
    }
}

/// The detail of `log.pruned`: the oldest records were removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pruned {
    /// How long the removed lines were.
    pub bytes: u64,
    /// The number of the record with which the log begins from then on.
    pub first: u64,
    /// The last checkpoint that was removed: it is the record before that.
    pub last: LastSigned,
    /// How many records were removed.
    pub records: u64,
    /// When the first of them was recorded.
    pub since: String,
    /// When the last of them was recorded.
    pub until: String,
}

impl Pruned {
    /// Whether a log may begin with that record, after one with that hash. If pruning was interrupted, it begins earlier.
    pub(crate) fn explains(&self, first: u64, prev: Option<Hash>) -> bool {
        first < self.first || first == self.first && prev == Some(self.last.hash)
    }
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records, {} bytes, from {} to {}; the log begins with record {}",
            self.records, self.bytes, self.since, self.until, self.first
        )
    }
}

/// The detail of `log.recovered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovered {
    /// The quarantined files.
    pub files: Vec<TornFile>,
}

/// The torn end of a log, in a file beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TornFile {
    /// Its size.
    pub bytes: u64,
    /// Its name.
    pub name: String,
    /// The hash of its contents.
    pub sha256: Hash,
}
