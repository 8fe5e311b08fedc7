//! Copies of policies beside a log, so that what was decided can be decided again from the log alone.
//!
//! `policies/HASH.json` below the log's directory is the canonical JSON of the documents of a policy and of
//! the engine that decided by it: the very bytes whose SHA-256 is the policy's hash. So a copy proves itself,
//! and needs no signature: one that was changed is no longer what its name says.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "copies are files; no decision reads one"
)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::log::files::Dir;
use aegis_policy::decide::{BadPolicy, ENGINE, Engine, Policy};
use aegis_policy::model::Document;
use aegis_profile::hash::Hash;

/// Where copies are, below the directory of a log.
pub const DIRECTORY: &str = "policies";

/// No copy is larger. A policy is at most some megabytes; what is more is something else.
const MAX_BYTES: u64 = 64 << 20;

/// Why a copy could not be written or is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be written.
    #[error("a copy of the policy cannot be kept as {}: {error}", path.display())]
    Write {
        /// The copy.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It cannot be read.
    #[error("the copy of the policy, {}, cannot be read: {error}", path.display())]
    Read {
        /// The copy.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It has been changed, or is damaged.
    #[error("{} is not the policy that its name says: its hash is {found}", path.display())]
    Changed {
        /// The copy.
        path: PathBuf,
        /// What it hashes to.
        found: Hash,
    },
    /// It hashes to its name, but is no policy in a form that is known here.
    #[error("{} is not read by this version: {error}", path.display())]
    Unknown {
        /// The copy.
        path: PathBuf,
        /// What is unknown in it.
        error: serde_json::Error,
    },
}

/// A policy as it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The documents.
    pub documents: Vec<Document>,
    /// What decided by them.
    pub engine: KeptEngine,
}

/// [`Engine`], of whichever build.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptEngine {
    /// What else took part in decisions.
    pub features: Vec<String>,
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

impl Kept {
    /// The policy, as this build decides by it. Its hash is that of the copy only if the engine is this one.
    pub fn compile(self) -> Result<Policy, BadPolicy> {
        Policy::new(self.documents)
    }
}

impl KeptEngine {
    /// Whether it is the one of this build.
    pub fn is_this(&self) -> bool {
        self.name == ENGINE.name
            && self.version == ENGINE.version
            && self.features.iter().eq(ENGINE.features.iter())
    }
}

impl std::fmt::Display for KeptEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)?;
        match self.features.is_empty() {
            true => Ok(()),
            false => write!(f, " with {}", self.features.join(", ")),
        }
    }
}

/// The bytes that a policy's hash is made of.
pub fn canonical(policy: &Policy) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_canonical(policy, &mut bytes);
    bytes
}

fn write_canonical(policy: &Policy, to: impl Write) {
    #[derive(Serialize)]
    struct Hashed<'p> {
        documents: Vec<&'p Document>,
        engine: Engine,
    }
    let hashed = Hashed {
        documents: policy.documents().collect(),
        engine: ENGINE,
    };
    // Neither of the two that are written to fails, and a policy has a JSON form. Were it otherwise, the hash
    // would tell.
    let _ = serde_json::to_writer(to, &hashed);
}

/// Counts bytes.
struct Length(u64);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps a copy of a policy in `log`, unless it is there already: see [`crate::log::Log::keep_policy`]. What
/// is there under the copy's name is complete, after a crash as well. Where the copy is there already, this is two
/// system calls.
pub(crate) fn keep_in(log: &Dir, policy: &Policy) -> Result<(), KeptError> {
    match is_kept(log, policy) {
        true => Ok(()),
        false => write(log, policy).map_err(|error| KeptError::Write {
            path: path_of(log.path(), policy),
            error,
        }),
    }
}

fn name_of(policy: &Policy) -> String {
    format!("{}.json", policy.hash())
}

fn path_of(log: &Path, policy: &Policy) -> PathBuf {
    log.join(DIRECTORY).join(name_of(policy))
}

/// Whether the copy is there, as far as its length tells: to read it at each start would take longer than all
/// else here. Nobody but the user can write it, and who reads it compares the hash.
fn is_kept(log: &Dir, policy: &Policy) -> bool {
    let is = |name: &str, kind: FileType| {
        let stat = log.stat(name).ok().flatten();
        stat.filter(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
    };
    // A link in place of the directory could lead anywhere.
    if is(DIRECTORY, FileType::Directory).is_none() {
        return false;
    }
    let name = format!("{DIRECTORY}/{}", name_of(policy));
    let Some(found) = is(&name, FileType::RegularFile) else {
        return false;
    };
    let mut length = Length(0);
    write_canonical(policy, &mut length);
    u64::try_from(found.st_size) == Ok(length.0)
}

fn write(log: &Dir, policy: &Policy) -> io::Result<()> {
    let bytes = canonical(policy);
    if Hash::of(&bytes) != policy.hash() {
        return Err(io::Error::other(
            "its canonical form does not have its hash; this is a mistake in Aegis",
        ));
    }
    // As private as the log is: a policy names what is worth protecting.
    let directory = log.below(DIRECTORY).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => {
            let dir = log.join(DIRECTORY);
            io::Error::other(format!(
                "{} is a symbolic link or no directory: remove it",
                dir.display()
            ))
        }
        error => error.into(),
    })?;
    directory.check_ours().map_err(io::Error::other)?;
    // Several programs may be at it: each has a file of its own, and the last one to rename it replaces
    // the same bytes by the same bytes.
    directory.replace(&name_of(policy), &bytes)
}

/// The copy of a policy in the directory of copies, checked against its hash. `None`: there is none.
pub fn kept_policy(directory: &Path, hash: Hash) -> Result<Option<Kept>, KeptError> {
    let path = directory.join(format!("{hash}.json"));
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeptError::Read { path, error }),
    };
    let found = Hash::of(&bytes);
    if found != hash {
        return Err(KeptError::Changed { path, found });
    }
    match serde_json::from_slice(&bytes) {
        Ok(kept) => Ok(Some(kept)),
        Err(error) => Err(KeptError::Unknown { path, error }),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at before it is opened: opening a FIFO would wait for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is far too large for a policy"));
    }
    Ok(bytes)
}
