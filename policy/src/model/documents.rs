//! The documents of a policy together, and their settings that need no decision.

use std::sync::Arc;

use aegis_profile::LimitKey;

use super::{Document, OnAuditFailure, OnBlockedAnomaly, Passphrase};

/// The documents of a policy, those of the system first: read, and not yet compiled.
#[derive(Debug)]
pub struct Documents(Vec<Arc<Document>>);

impl Documents {
    /// Takes documents, and sorts the rules of each by id.
    pub fn new(documents: Vec<Document>) -> Self {
        let sorted = documents.into_iter().map(|mut document| {
            document.capabilities.sort_by(|a, b| a.id.cmp(&b.id));
            document.network_egress.sort_by(|a, b| a.id.cmp(&b.id));
            document.secrets_boundary.sort_by(|a, b| a.id.cmp(&b.id));
            document.rego.sort();
            Arc::new(document)
        });
        Self(sorted.collect())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Document>> {
        self.0.iter()
    }

    /// The lowest ceiling on a limit, with the name of the document that sets it.
    pub fn ceiling(&self, limit: LimitKey) -> Option<(u64, &str)> {
        (self.0.iter())
            .filter_map(|d| Some((*d.limits.get(limit.name())?, d.name.as_str())))
            .min()
    }

    /// The layers that a host may lack: those that all documents name.
    pub fn may_be_missing(&self) -> impl Iterator<Item = &str> {
        let (first, others) = match &*self.0 {
            [] => (None, &[][..]),
            [first, others @ ..] => (Some(first), others),
        };
        let of_first = first.into_iter().flat_map(|d| &d.may_be_missing);
        of_first
            .filter(|layer| others.iter().all(|d| d.may_be_missing.contains(*layer)))
            .map(String::as_str)
    }

    /// The passphrases without which no approval counts, each with the name of a document that asks for it.
    pub fn passphrases(&self) -> impl Iterator<Item = (&str, &Passphrase)> {
        (self.0.iter()).filter_map(|d| Some((d.name.as_str(), d.approval_passphrase.as_ref()?)))
    }

    /// Limits that must hold as they say, each with the name of the first document that insists.
    pub fn must_hold(&self) -> impl Iterator<Item = (LimitKey, &str)> {
        LimitKey::ALL.iter().filter_map(|&key| {
            let mut insisting = self.0.iter().filter(|d| d.must_hold.contains(key.name()));
            Some((key, insisting.next()?.name.as_str()))
        })
    }

    /// What happens when the audit log cannot be written: the strictest setting of any document.
    pub fn on_audit_failure(&self) -> OnAuditFailure {
        let goes_on = |d: &Arc<Document>| d.audit_failure == OnAuditFailure::Continue;
        match !self.0.is_empty() && self.0.iter().all(goes_on) {
            true => OnAuditFailure::Continue,
            false => OnAuditFailure::Stop,
        }
    }

    /// What becomes of a run that does something out of the ordinary which a rule blocks: the strictest setting of any document.
    pub fn on_blocked_anomaly(&self) -> OnBlockedAnomaly {
        let refuses = |d: &Arc<Document>| d.blocked_anomaly == OnBlockedAnomaly::Refuse;
        match !self.0.is_empty() && self.0.iter().all(refuses) {
            true => OnBlockedAnomaly::Refuse,
            false => OnBlockedAnomaly::Kill,
        }
    }
}
