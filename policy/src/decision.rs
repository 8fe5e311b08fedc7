//! The decision of a policy.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::Verdict;
use aegis_profile::hash::Hash;

/// A decision, with all that is needed to check it: the same policy and the same input give the same decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// [`crate::Request::hash`].
    pub input: Hash,
    /// For a `tool.exec`: the opinion of each of its grants, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Opinion>,
    /// [`crate::Policy::hash`].
    pub policy: Hash,
    /// In words.
    pub reason: Arc<str>,
    /// The rules that applied, in the order of their names; empty where no rule did.
    pub rules: Vec<Arc<str>>,
    /// The verdict.
    pub verdict: Verdict,
}

impl From<Decision> for Opinion {
    fn from(decision: Decision) -> Self {
        Self {
            reason: decision.reason,
            rules: decision.rules,
            verdict: decision.verdict,
        }
    }
}

/// A verdict and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opinion {
    /// In words.
    pub reason: Arc<str>,
    /// The rules that applied, in the order of their names.
    pub rules: Vec<Arc<str>>,
    /// The verdict.
    pub verdict: Verdict,
}
