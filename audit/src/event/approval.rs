//! The details of a question to a person, and of a revoked approval.

use aegis_policy::request::What;
use aegis_profile::Hash;
use serde::{Deserialize, Serialize};

/// The detail of `approval`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// The approvals that were made or revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalRef>,
    /// Who answered, or would have been asked.
    pub by: Person,
    /// What a revoked approval was for.
    #[serde(default, rename = "granted", skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
    /// The policies whose passphrase was given with the yes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passphrases: Vec<String>,
    /// Why nobody was asked, why a yes did not count, or why an approval holds once only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A person's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Yes, until the approvals expire.
    Always,
    /// No.
    No,
    /// Yes, for this run.
    Once,
    /// An approval was revoked.
    Revoked,
    /// Nobody could be asked.
    Unasked,
    /// Yes, but what it was about changed while the question was open: the run was refused.
    Void,
    /// A yes with a wrong passphrase. It may be given again.
    Wrong,
}

/// An approval, as the log records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRef {
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// Its id.
    pub id: String,
    /// The hash of what it is for.
    pub what: Hash,
}

/// The person who approves or revokes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The name of the account, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its id.
    pub uid: u32,
}

/// What a revoked approval was for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// The policy that asked for it.
    pub policy: Hash,
    /// The profile's name.
    pub profile: String,
    /// The profile's hash.
    pub profile_hash: Hash,
    /// What it approved.
    pub what: What,
}
