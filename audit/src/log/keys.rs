//! The key that a user's logs are signed with: `audit.key` (secret, 0600) and `audit.pub` in the directory
//! of keys, each 64 hex digits and a line feed. Made when there is none.

use std::io::{self, Read, Write};
use std::path::Path;

use ed25519_dalek::SigningKey;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use super::Error;
use super::files::{Dir, Private};
use crate::event::PublicKey;
use aegis_profile::Hash;

const SECRET: &str = "audit.key";
const PUBLIC: &str = "audit.pub";

/// The signing key in the directory, and whether it is a new one: it is made where there is none.
pub(super) fn signing(dir: &Dir) -> Result<(SigningKey, bool), Error> {
    let (seed, made) = match secret(dir)? {
        Some(seed) => (seed, false),
        None => make(dir)?,
    };
    Ok((SigningKey::from_bytes(&seed), made))
}

impl PublicKey {
    /// The key of the logs that are signed with the keys in a directory; `None` while there is none.
    pub fn in_directory(path: &Path) -> Result<Option<Self>, Error> {
        let Some(dir) = Dir::existing(path)? else {
            return Ok(None);
        };
        dir.check_ours()?;
        match dir.open(PUBLIC, OFlags::RDONLY) {
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io("opening", &dir.join(PUBLIC), error)),
            Ok(file) => {
                dir.check_file(PUBLIC, &file, Private::ToWrite)?;
                Ok(Some(Self(Hash(digits(&dir.join(PUBLIC), file)?))))
            }
        }
    }

    /// The key in a file, such as a copy of `audit.pub`.
    pub fn in_file(path: &Path) -> Result<Self, Error> {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| Error::io("opening", path, error))?;
        digits(path, file.into()).map(|key| Self(Hash(key)))
    }
}

impl From<&SigningKey> for PublicKey {
    fn from(key: &SigningKey) -> Self {
        Self(Hash(key.verifying_key().to_bytes()))
    }
}

fn secret(dir: &Dir) -> Result<Option<[u8; 32]>, Error> {
    match dir.open(SECRET, OFlags::RDONLY) {
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::io("opening", &dir.join(SECRET), error)),
        Ok(file) => {
            dir.check_file(SECRET, &file, Private::ToRead)?;
            digits(&dir.join(SECRET), file).map(Some)
        }
    }
}

/// What a key's file holds.
fn digits(path: &Path, file: std::fs::File) -> Result<[u8; 32], Error> {
    let mut text = String::new();
    let read = file.take(66).read_to_string(&mut text);
    let bad = |what| Error::BadKey {
        path: path.to_owned(),
        what,
    };
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(bad(EXPECTED)),
        Err(error) => return Err(Error::io("reading", path, error)),
    }
    let hash: Hash = (text.trim_end_matches('\n').parse()).map_err(|_| bad(EXPECTED))?;
    Ok(hash.0)
}

const EXPECTED: &str = "there should be 64 hex digits in lower case; bring the file back from a copy, or move it and the log away to begin anew";

/// Makes a key. Of several programs that do so at once, the first one's counts, and is new to that alone.
fn make(dir: &Dir) -> Result<([u8; 32], bool), Error> {
    let mut seed = [0; 32];
    random(&mut seed);
    let made = place(dir, SECRET, &format!("{}\n", Hash(seed)))?;
    let seed = secret(dir)?
        .ok_or_else(|| Error::io("reading back", &dir.join(SECRET), io::ErrorKind::NotFound))?;
    let public = PublicKey::from(&SigningKey::from_bytes(&seed));
    place(dir, PUBLIC, &format!("{public}\n"))?;
    dir.sync()?;
    Ok((seed, made))
}

/// Puts a whole file under its name, unless there is one. Whether it did.
fn place(dir: &Dir, name: &str, text: &str) -> Result<bool, Error> {
    let mut suffix = [0; 8];
    random(&mut suffix);
    let temporary = format!(".{name}.{:016x}", u64::from_ne_bytes(suffix));
    let path = dir.join(&temporary);
    let mut file = dir
        .open(&temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
        .map_err(|error| Error::io("creating", &path, error))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| Error::io("writing", &path, error));
    // Not by a second name, as long as that can be helped: while there are two, none of them is taken.
    let put = || match rustix::fs::renameat_with(
        dir.fd(),
        &temporary,
        dir.fd(),
        name,
        RenameFlags::NOREPLACE,
    ) {
        // Some network file systems do not know how.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(dir.fd(), &temporary, dir.fd(), name, AtFlags::empty())
        }
        renamed => renamed,
    };
    let put = written.and_then(|()| match put() {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(Error::io("creating", &dir.join(name), error)),
    });
    // It is gone, where all went well. What cannot be removed does no harm but to order.
    let _ = rustix::fs::unlinkat(dir.fd(), &temporary, AtFlags::empty());
    put
}

/// Fills with randomness of the kernel's.
pub(super) fn random(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        // It fails on no kernel that a sandbox starts on (5.13), other than by a signal.
        match rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(error) => unreachable!("getrandom: {error}"),
        }
    }
}
