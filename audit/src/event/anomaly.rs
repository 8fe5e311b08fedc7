//! The details of something out of the ordinary in a run that was observed.

use aegis_profile::Hash;
use serde::{Deserialize, Serialize};

/// The detail of an anomaly. What it was is the request, and what was to become of the run the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anomaly {
    /// The hash of the baseline that was compared with. `None`: with what the sandbox lets through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Hash>,
    /// What was done about it.
    pub reaction: Reaction,
}

/// What was done about an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reaction {
    /// A person was asked while the run stood still, and let it go on.
    Continued,
    /// Everything inside was killed. Of what was noticed when the run had ended: it would have been.
    Killed,
    /// Nothing else than recording it.
    Recorded,
    /// It was told.
    Warned,
}
