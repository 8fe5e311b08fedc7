//! SHA-256 values: of policies, requests, profiles, records.

use std::fmt;
use std::io::{self, BufWriter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::format::Profile;

/// A SHA-256 value; written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

/// A value whose fields are declared in the order of their names, in canonical JSON (RFC 8785).
pub fn canonical(value: &impl Serialize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(256);
    write_canonical(&mut buffer, value);
    buffer
}

fn write_canonical(to: impl io::Write, value: &impl Serialize) {
    if let Err(error) = serde_json::to_writer(to, value) {
        unreachable!("values with string keys have a JSON form: {error}");
    }
}

/// Hashes and counts the bytes that are written to it.
#[derive(Default)]
struct Hasher(Sha256, usize);

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        self.1 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Hash {
    /// The hash of some bytes.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of the canonical JSON (RFC 8785) of a value whose fields are declared in the order of their
    /// names: serde writes such a value in canonical form.
    pub fn of_canonical(value: &impl Serialize) -> Self {
        Self::and_length(value).0
    }

    /// The same, and the length of the JSON in bytes.
    pub fn and_length(value: &impl Serialize) -> (Self, usize) {
        // Without a buffer, the hash would be fed a few bytes at a time.
        let mut buffered = BufWriter::with_capacity(2048, Hasher::default());
        write_canonical(&mut buffered, value);
        let hashed = buffered.into_inner();
        let Hasher(hash, length) = hashed.unwrap_or_else(|_| unreachable!("it takes everything"));
        (Self(hash.finalize().into()), length)
    }

    /// As 64 hex digits, without an allocation.
    #[inline]
    pub fn hex(&self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [0; 64];
        for (pair, byte) in out.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        out
    }
}

impl Profile {
    /// The hash of [`Profile::canonical_json`].
    pub fn hash(&self) -> Hash {
        Hash::of(self.canonical_json().as_bytes())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hex digits in lower case")]
pub struct NotAHash;

/// The value of each byte as a hex digit; 255 for other bytes.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let digits = b"0123456789abcdef";
    let mut value = 0;
    while value < digits.len() {
        values[digits[value] as usize] = value as u8;
        value += 1;
    }
    values
};

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return Err(NotAHash);
        }
        let mut out = [0; 32];
        let mut all = 0;
        for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
            let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
            *byte = high << 4 | low & 15;
            all |= high | low;
        }
        if all > 15 {
            return Err(NotAHash);
        }
        Ok(Self(out))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Hash;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hex digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hash, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}
