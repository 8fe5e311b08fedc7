//! The passphrase without which nobody's yes counts, as a policy has it: hashed with scrypt (RFC 7914), in the PHC string
//! format. The policy can be read by everybody whom it binds, and tells the passphrase to nobody.

use std::str::FromStr;

use aegis_profile::syntax::Wrong;
use scrypt::password_hash::{
    CustomizedPasswordHasher as _, PasswordVerifier as _, phc::PasswordHash,
};
use scrypt::{Params, Scrypt};
use serde::{Deserialize, Serialize};

/// The bytes of a salt, and of a hash.
const SALT: usize = 16;
const HASH: usize = 32;

/// The costs that are accepted, as powers of two: from 16 to 256 MiB, and up to about a second.
const COSTS: std::ops::RangeInclusive<u8> = 14..=18;

/// A passphrase's hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Passphrase(String);

impl Passphrase {
    /// Hashes a passphrase, with the cost that OWASP recommends: 128 MiB of memory. `None`: there is not as much.
    pub fn new(passphrase: &[u8], salt: &[u8; SALT]) -> Option<Self> {
        let hashed = Scrypt::new().hash_password_customized(
            passphrase,
            salt,
            None,
            None,
            Params::RECOMMENDED,
        );
        Some(Self(hashed.ok()?.to_string()))
    }

    /// Whether it is this one. Takes as long for any that is given.
    pub fn is(&self, given: &[u8]) -> bool {
        PasswordHash::new(&self.0)
            .is_ok_and(|hash| Scrypt::new().verify_password(given, &hash).is_ok())
    }

    /// The hash, in the PHC string format.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Passphrase {
    type Err = Wrong;

    fn from_str(text: &str) -> Result<Self, Wrong> {
        let right = PasswordHash::new(text).is_ok_and(|hash| {
            hash.algorithm.as_str() == "scrypt"
                && hash.version.is_none()
                && is_bearable(hash.params.as_str())
                && hash.salt.is_some_and(|salt| salt.len() == SALT)
                && hash.hash.is_some_and(|hash| hash.len() == HASH)
                && hash.to_string() == text
        });
        match right {
            true => Ok(Self(text.to_owned())),
            false => Wrong::new(
                "not the hash of a passphrase, or one that costs too little or too much",
                "`aegis policy passphrase` asks for a passphrase and prints the line for the policy",
            ),
        }
    }
}

/// Whether these are the parameters of scrypt with an accepted cost, as they are written.
fn is_bearable(parameters: &str) -> bool {
    COSTS
        .into_iter()
        .any(|cost| parameters == format!("ln={cost},r=8,p=1"))
}

impl TryFrom<String> for Passphrase {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|wrong: Wrong| wrong.message)
    }
}

impl From<Passphrase> for String {
    fn from(passphrase: Passphrase) -> Self {
        passphrase.0
    }
}
