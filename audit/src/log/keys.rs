//! The key that signs a user's logs: `audit.key` (secret, 0600) and `audit.pub` in the directory
//! of keys, each 64 hex digits and a line feed. Made if missing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aegis_sys::private::{Dir, Others, Put, random};
use ed25519_dalek::SigningKey;

use super::Error;
use crate::event::PublicKey;
use aegis_profile::Hash;

/// The digits, a line feed, and one byte more to detect longer files.
const LENGTH: u64 = 66;
const SECRET: &str = "audit.key";
const PUBLIC: &str = "audit.pub";

/// The signing key in the directory, and whether it is new: made if missing.
pub(super) fn signing(dir: &Dir) -> Result<(SigningKey, bool), Error> {
    let (seed, made) = match read(dir, SECRET, Others::MayNothing)? {
        Some(seed) => (seed, false),
        None => make(dir)?,
    };
    let key = SigningKey::from_bytes(&seed.0);
    // Whoever made the key may have been killed before this.
    if dir.stat(PUBLIC)?.is_none() {
        let public = PublicKey::from(&key);
        dir.put(PUBLIC, format!("{public}\n").as_bytes(), Put::New)?;
    }
    Ok((key, made))
}

impl PublicKey {
    /// The public key in a directory of keys; `None` while there is none. Where the secret key is, it is the one that
    /// counts: `audit.pub` may be missing, and must not be another's.
    pub fn in_directory(path: &Path) -> Result<Option<Self>, Error> {
        let Some(dir) = Dir::open(path)? else {
            return Ok(None);
        };
        dir.check(Others::MayRead)?;
        let seed = read(&dir, SECRET, Others::MayNothing)?;
        let own = seed.map(|seed| Self::from(&SigningKey::from_bytes(&seed.0)));
        let public = read(&dir, PUBLIC, Others::MayRead)?.map(Self);
        match (own, public) {
            (Some(own), Some(public)) if own != public => Err(Error::NotAPair {
                path: dir.join(PUBLIC),
            }),
            (own, public) => Ok(own.or(public)),
        }
    }

    /// The public key in a file, such as a copy of `audit.pub`.
    pub fn in_file(path: &Path) -> Result<Self, Error> {
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(LENGTH).read_to_end(&mut text))
            .map_err(|error| Error::io("reading", path, error))?;
        digits(path, &text).map(Self)
    }
}

impl From<&SigningKey> for PublicKey {
    fn from(key: &SigningKey) -> Self {
        Self(Hash(key.verifying_key().to_bytes()))
    }
}

fn read(dir: &Dir, name: &str, others: Others) -> Result<Option<Hash>, Error> {
    let text = dir.read(name, LENGTH, others)?;
    text.map(|text| digits(&dir.join(name), &text)).transpose()
}

/// The content of a key's file. It is written like a hash.
fn digits(path: &Path, text: &[u8]) -> Result<Hash, Error> {
    let text = std::str::from_utf8(text).ok();
    let key = text.and_then(|text| text.trim_end_matches('\n').parse().ok());
    key.ok_or_else(|| Error::BadKey {
        path: path.to_owned(),
    })
}

/// Makes a key. If several programs do so at once, the first one's counts, and only that program sees it as new.
fn make(dir: &Dir) -> Result<(Hash, bool), Error> {
    let seed = random().map_err(|error| Error::io("making a key in", dir.path(), error))?;
    let made = dir.put(SECRET, format!("{}\n", Hash(seed)).as_bytes(), Put::New)?;
    let seed = read(dir, SECRET, Others::MayNothing)?
        .ok_or_else(|| Error::io("reading back", &dir.join(SECRET), io::ErrorKind::NotFound))?;
    Ok((seed, made))
}
