//! Checkpoints: records that sign the log up to themselves.
//!
//! Without a key, a chain proves nothing against somebody who rewrites all of it. A checkpoint's `detail`
//! names the log and the key, counts the checkpoints, and signs (ed25519, RFC 8032) the canonical form
//! of its own record without the signature. That record holds its own number and the hash of the record
//! before, so the signature covers everything before it.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::Error;
use super::line::{self, At};
use crate::event::{Checkpoint, Detail, Event, Record};
use aegis_profile::Hash;

/// Prefix of the signed bytes, so that a signature cannot be taken for one of anything else.
const DOMAIN: &[u8] = b"aegis audit checkpoint 1\n";

impl Checkpoint {
    /// The checkpoint in a record. `None`: the record is not one.
    pub fn of(record: &Record) -> Option<Self> {
        match record.detail()? {
            Detail::Checkpoint(found) => Some(found),
            _ => None,
        }
    }

    /// The event of a checkpoint, signed for that place in the log.
    pub(super) fn signed(mut self, key: &SigningKey, at: At<'_>) -> Result<Event, Error> {
        let mut message = DOMAIN.to_vec();
        line::write_record(&mut message, &Event::checkpoint(self.clone()), at)?;
        let signature = key.sign(&message).to_bytes();
        self.signature = Some(signature.iter().map(|byte| format!("{byte:02x}")).collect());
        Ok(Event::checkpoint(self))
    }

    /// Whether its key has signed the record whose detail it is.
    pub fn is_signed(&self, record: &Record) -> bool {
        let signature = self.signature.as_deref().and_then(signature);
        let key = VerifyingKey::from_bytes(&self.key.0.0);
        let unsigned = Self {
            signature: None,
            ..self.clone()
        };
        let (Some(signature), Ok(key), Ok(detail)) =
            (signature, key, serde_json::to_value(unsigned))
        else {
            return false;
        };
        // The whole record as it is, not as a checkpoint's should be: every field is signed.
        let unsigned = Record {
            detail: Some(detail),
            ..record.clone()
        };
        let mut message = DOMAIN.to_vec();
        // Strict: a signature has only one form, and weak keys are rejected.
        serde_json::to_writer(&mut message, &unsigned).is_ok()
            && key.verify_strict(&message, &signature).is_ok()
    }
}

fn signature(text: &str) -> Option<Signature> {
    let (one, other) = text.split_at_checked(64)?;
    let halves: [Hash; 2] = [one.parse().ok()?, other.parse().ok()?];
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&halves[0].0);
    bytes[32..].copy_from_slice(&halves[1].0);
    Some(Signature::from_bytes(&bytes))
}
