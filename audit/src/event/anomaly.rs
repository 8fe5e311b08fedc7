//! The details of something out of the ordinary in a run that was observed.

use aegis_policy::Verdict;
use aegis_policy::model::{AnomalyKind, OnBlockedAnomaly};
use aegis_profile::Hash;
use serde::{Deserialize, Serialize};

/// The detail of an anomaly. What it was is the request, and what was to become of the run the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anomaly {
    /// The hash of the baseline that was compared with. `None`: with what the sandbox lets through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Hash>,
    /// What the policy asks for instead, where the host could not do it: to refuse what was then killed.
    #[serde(
        default,
        rename = "instead-of",
        skip_serializing_if = "Option::is_none"
    )]
    pub instead_of: Option<Reaction>,
    /// What was done about it.
    pub reaction: Reaction,
}

impl Anomaly {
    /// Whether this is what a policy asks for, that said this of such a thing.
    pub fn follows(&self, verdict: Verdict, kind: AnomalyKind, blocked: OnBlockedAnomaly) -> bool {
        use Reaction::{Continued, Killed, Recorded, Refused, Warned};
        let refuses = blocked == OnBlockedAnomaly::Refuse && kind.can_be_refused();
        match (verdict, self.reaction, self.instead_of) {
            (Verdict::Allow, Recorded, None) | (Verdict::Warn, Warned, None) => true,
            (Verdict::Review, Continued | Killed, None) => true,
            (Verdict::Block, Killed, None) => !refuses,
            (Verdict::Block, Refused, None) | (Verdict::Block, Killed, Some(Refused)) => refuses,
            _ => false,
        }
    }
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
    /// The kernel refused it before it happened, and the run went on.
    Refused,
    /// It was told.
    Warned,
}
