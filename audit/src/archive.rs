//! Copies of policies beside a log, so that decisions can be repeated from the log alone.
//!
//! `policies/HASH.json` below the log's directory is the canonical JSON of a policy's documents and of
//! the engine that decided by it: exactly the bytes whose SHA-256 is the policy's hash. So a copy proves itself
//! and needs no signature: the name of a changed copy no longer matches its hash.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aegis_sys::files;
use aegis_sys::private::{self, Dir, Others, Put};
use rustix::fs::FileType;
use serde::Deserialize;

use aegis_policy::decide::{Engine, Policy};
use aegis_policy::model::Document;
use aegis_profile::Hash;

/// Where copies are, below the directory of a log.
pub const DIRECTORY: &str = "policies";

/// Maximum size of a copy. A policy has at most some megabytes.
const MAX_BYTES: u64 = 64 << 20;

/// Why a copy could not be written or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be written.
    #[error("the policy cannot be archived: {0}")]
    Write(#[from] private::Error),
    /// The copy cannot be read, was changed, or has an unknown form.
    #[error("the copy of a policy {} cannot be used: {why}", path.display())]
    Unusable {
        /// The copy.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A policy as it was archived.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archived {
    /// The documents.
    pub documents: Vec<Document>,
    /// The engine that decided by them.
    pub engine: Engine,
}

/// Archives a policy in the log's directory, unless it is archived already: see
/// [`crate::log::Log::archive_policy`]. A file under the copy's name is complete, even after a crash.
pub(crate) fn archive(log: &Dir, policy: &Policy) -> Result<(), ArchiveError> {
    let hash = policy.hash();
    if is_archived(log, DIRECTORY, &name(hash), policy.canonical_length()) {
        return Ok(());
    }
    Ok(write(log, DIRECTORY, hash, &policy.canonical())?)
}

/// Stores bytes in a directory of the log under their hash, unless they are there. They are on the disk when this returns.
pub(crate) fn keep(
    log: &Dir,
    directory: &str,
    hash: Hash,
    bytes: &[u8],
) -> Result<(), private::Error> {
    match is_archived(log, directory, &name(hash), bytes.len()) {
        true => Ok(()),
        false => write(log, directory, hash, bytes),
    }
}

fn write(log: &Dir, directory: &str, hash: Hash, bytes: &[u8]) -> Result<(), private::Error> {
    // As private as the log: it names what is worth protecting.
    let directory = log.create_below(directory)?;
    directory.check(Others::MayRead)?;
    // Several programs may do this at once: they write the same bytes.
    directory.put(&name(hash), bytes, Put::Replace)?;
    Ok(())
}

/// The name of a copy.
pub(crate) fn name(hash: Hash) -> String {
    format!("{hash}.json")
}

/// Whether the copy is there, judged by its length: two system calls, where reading it at each start
/// would take longer than everything else here. Only the user can write it, and readers compare the hash.
fn is_archived(log: &Dir, directory: &str, name: &str, length: usize) -> bool {
    let is = |name: &str, kind: FileType| {
        let stat = log.stat(name).ok().flatten();
        stat.filter(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
    };
    // A link in place of the directory could lead anywhere.
    is(directory, FileType::Directory).is_some()
        && is(&format!("{directory}/{name}"), FileType::RegularFile)
            .is_some_and(|found| usize::try_from(found.st_size) == Ok(length))
}

/// The copy of a policy in the directory of copies, checked against its hash. `None`: there is no copy.
pub fn archived_policy(directory: &Path, hash: Hash) -> Result<Option<Archived>, ArchiveError> {
    let path = directory.join(name(hash));
    let unusable = |path, why| Err(ArchiveError::Unusable { path, why });
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return unusable(path, error.to_string()),
    };
    let found = Hash::of(&bytes);
    if found != hash {
        let why = format!(
            "its contents were changed: their hash is {found}, not the one in its name\n  help: put back an unchanged copy, or remove it: the next run under that policy writes it again"
        );
        return unusable(path, why);
    }
    match serde_json::from_slice(&bytes) {
        Ok(archived) => Ok(Some(archived)),
        Err(error) => unusable(path, format!("this version cannot read it: {error}")),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files::open_regular(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is far too large for a policy"));
    }
    Ok(bytes)
}
