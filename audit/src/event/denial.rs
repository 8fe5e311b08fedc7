//! The details of what was not granted: denied by the sandbox at run time, refused by the policy, or impossible.

pub use aegis_policy::request::Evidence;
use aegis_policy::request::{Context, What};
use serde::{Deserialize, Serialize};

/// The detail of a denial by the sandbox at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// The line of a profile that would allow it. `None`: no line would.
    pub allow: Option<String>,
    /// What was tried, in a policy's terms.
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

/// The outcome of a denial or refusal: `"outcome":"refused"`.
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
    /// The place in the profile that declares it: `FILE:LINE:COLUMN`, `the command` and the like.
    pub from: String,
}

/// The detail of a profile that asks for what cannot be granted, whatever the policy says: there is no plan
/// for a policy to decide on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoPlan {
    /// `None`: it was refused before the context was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// What cannot be granted or enforced, and why.
    pub error: String,
    /// The profile's file, as it was named.
    pub file: Option<String>,
    /// Always the same.
    pub outcome: Refused,
}
