//! Checkpoints: records that sign the log up to themselves.
//!
//! An unkeyed chain proves nothing against somebody who writes all of it anew. A checkpoint's `detail`
//! names the log and the key, counts the checkpoints, and signs (ed25519, RFC 8032) the canonical form
//! of its own record without the signature. That record holds its place and the hash of the record
//! before, and so everything before it.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::Error;
use super::line::{self, At};
use crate::event::{Event, EventType, Record};
use aegis_profile::hash::Hash;

/// Before what is signed, so that a signature means this and nothing else.
const DOMAIN: &[u8] = b"aegis audit checkpoint 1\n";

/// A public key: of whom a log is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub(super) [u8; 32]);

/// What was given as a public key is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is 64 hex digits in lower case")]
pub struct NotAKey;

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        // Written alike.
        let bytes = Hash::from_str(text).map_err(|_| NotAKey)?;
        Ok(Self(bytes.0))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Hash(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Hash::deserialize(deserializer).map(|bytes| Self(bytes.0))
    }
}

/// The detail of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The key that it is signed with.
    pub key: PublicKey,
    /// The log: a random id of 32 hex digits.
    pub log: String,
    /// Which checkpoint of this log it is, from 0.
    pub number: u64,
    /// 128 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

impl Checkpoint {
    pub(super) fn new(key: PublicKey, log: String, number: u64) -> Self {
        Self {
            key,
            log,
            number,
            signature: None,
        }
    }

    /// Of a record that is one.
    pub fn of(record: &Record) -> Option<Self> {
        let detail = record.detail.as_ref()?;
        if record.kind != EventType::Checkpoint {
            return None;
        }
        // Serde reads more forms than it writes, and one alone was signed.
        let found = Self::deserialize(detail).ok()?;
        (serde_json::to_value(&found).ok()? == *detail).then_some(found)
    }

    /// The event that has it signed at that place.
    pub(super) fn signed(mut self, key: &SigningKey, at: At<'_>) -> Result<Event, Error> {
        let mut message = DOMAIN.to_vec();
        line::write_record(&mut message, &self.event(), at)?;
        let signature = key.sign(&message).to_bytes();
        self.signature = Some(signature.iter().map(|byte| format!("{byte:02x}")).collect());
        Ok(self.event())
    }

    fn event(&self) -> Event {
        // It is of no run.
        Event::new(EventType::Checkpoint, "log", Hash::default()).detailed(self)
    }

    /// Whether the record that it is the detail of is signed by its key.
    pub fn is_signed(&self, record: &Record) -> bool {
        let signature = self.signature.as_deref().and_then(signature);
        let (Some(signature), Ok(key)) = (signature, VerifyingKey::from_bytes(&self.key.0)) else {
            return false;
        };
        let mut unsigned = record.clone();
        let detail = Self {
            signature: None,
            ..self.clone()
        };
        unsigned.detail = serde_json::to_value(&detail).ok();
        let mut message = DOMAIN.to_vec();
        // Strict: no signature has a second form, and no weak key is taken.
        serde_json::to_writer(&mut message, &unsigned).is_ok()
            && key.verify_strict(&message, &signature).is_ok()
    }
}

fn signature(text: &str) -> Option<Signature> {
    let (one, other) = text.split_at_checked(64)?;
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&Hash::from_str(one).ok()?.0);
    bytes[32..].copy_from_slice(&Hash::from_str(other).ok()?.0);
    Some(Signature::from_bytes(&bytes))
}
