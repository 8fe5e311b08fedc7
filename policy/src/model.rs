//! The policy as data: rules of the three contracts, ceilings, and settings for the host and the audit log.
//!
//! Fields are declared in the order of their names, so that serde writes the canonical form (RFC 8785). The
//! schemas in `schemas/` are generated from the same types.

mod documents;
pub(crate) mod fields;
pub(crate) mod forms;
pub(crate) mod keys;
mod passphrase;
mod rules;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use keys::is_default;

pub use documents::Documents;
pub use passphrase::Passphrase;
pub use rules::{Budget, CapabilityRule, EgressRule, SecretRule};
pub(crate) use rules::{Head, Rule, is_id};
pub use words::{
    Action, AnomalyKind, Inject, Mode, OnAuditFailure, OnBlockedAnomaly, Scheme, Verdict,
};

/// What `may-be-missing` may name: limits without a substitute where a host has no control group for them. Any
/// other missing layer is either replaced by the next best one, as the plan reports, or required.
pub const LAYERS: [&str; 2] = ["disk-read", "disk-write"];

/// A module of rules in Rego.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegoModule {
    /// The file's name, for messages.
    pub name: String,
    /// The text.
    pub text: String,
}

/// A whole policy, as it was written: what is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Document {
    /// Without it no approval counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_passphrase: Option<Passphrase>,
    /// What happens when the audit log cannot be written.
    #[serde(skip_serializing_if = "is_default")]
    pub audit_failure: OnAuditFailure,
    /// What becomes of a run that does something out of the ordinary which a rule blocks.
    #[serde(skip_serializing_if = "is_default")]
    pub blocked_anomaly: OnBlockedAnomaly,
    /// The `capabilities` contract, by id.
    pub capabilities: Vec<CapabilityRule>,
    /// Ceilings for every profile, by the profile's keys, in its units as numbers: bytes, milliseconds,
    /// thousandths of a processor, bytes per second.
    pub limits: BTreeMap<String, u64>,
    /// Layers that a host may lack.
    pub may_be_missing: BTreeSet<String>,
    /// Limits that must hold as they say, where they are set.
    #[serde(skip_serializing_if = "is_default")]
    pub must_hold: BTreeSet<String>,
    /// The policy's name.
    pub name: String,
    /// The `network-egress` contract, by id.
    pub network_egress: Vec<EgressRule>,
    /// Rego modules, by name.
    pub rego: Vec<RegoModule>,
    /// The `secrets-boundary` contract, by id.
    pub secrets_boundary: Vec<SecretRule>,
}

impl Document {
    /// The ids of its rules, but for those in Rego.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let capabilities = self.capabilities.iter().map(|rule| &rule.id);
        let egress = self.network_egress.iter().map(|rule| &rule.id);
        let secrets = self.secrets_boundary.iter().map(|rule| &rule.id);
        (capabilities.chain(egress).chain(secrets)).map(String::as_str)
    }
}
