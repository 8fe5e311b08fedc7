//! The details of the use of a secret.

use serde::{Deserialize, Serialize};

/// The detail of the use of a secret. Which, for whom and where is the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretUse {
    /// The version of the value, by its source. It says nothing of the value.
    pub version: String,
}
