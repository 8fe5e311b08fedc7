//! The log's records about itself: checkpoints and quarantined files.

use std::fmt;
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
