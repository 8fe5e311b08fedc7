//! What is told of what was not granted: by the sandbox at run time, by the policy, or by neither.

pub use aegis_policy::request::Evidence;
use aegis_policy::request::{Context, What};
use serde::{Deserialize, Serialize};

/// The detail of what the sandbox denied at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// The line of a profile that would allow it. `None`: nothing would.
    pub allow: Option<String>,
    /// What was tried, as a policy is asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<What>,
    /// How it is known.
    pub evidence: Evidence,
    /// The layer that denied it.
    pub layer: String,
    /// Always the same.
    pub outcome: Refused,
    /// How often.
    pub times: u64,
    /// What was denied, in words.
    pub what: String,
}

/// The outcome of what was not let through: `"outcome":"refused"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refused {
    /// The only one.
    #[default]
    Refused,
}

/// The detail of a grant that the policy warns of, wants reviewed or blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The place in the profile that asks: `FILE:LINE:COLUMN`, `the command` and the like.
    pub from: String,
}

/// The detail of a profile that asks for what cannot be granted, whatever the policy says: there is no plan
/// that a policy could be asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoPlan {
    /// `None`: it was refused before that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// What cannot be granted or enforced, and why.
    pub error: String,
    /// The profile's file, as it was named.
    pub file: Option<String>,
    /// Always the same.
    pub outcome: Refused,
}
