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

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::decide::{BadPolicy, ENGINE, Engine, Policy};
use crate::hash::Hash;
use crate::model::Document;

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
    #[derive(Serialize)]
    struct Hashed<'p> {
        documents: Vec<&'p Document>,
        engine: Engine,
    }
    let hashed = Hashed {
        documents: policy.documents().collect(),
        engine: ENGINE,
    };
    serde_json::to_vec(&hashed).unwrap_or_default()
}

/// Keeps a copy of a policy in `log`, the directory of a log, unless it is there already: then this is one
/// system call. What is there under the copy's name is complete, after a crash as well.
pub fn keep_policy(log: &Path, policy: &Policy) -> Result<(), KeptError> {
    let directory = log.join(DIRECTORY);
    let path = directory.join(format!("{}.json", policy.hash()));
    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    write(&directory, &path, policy).map_err(|error| KeptError::Write { path, error })
}

fn write(directory: &Path, path: &Path, policy: &Policy) -> io::Result<()> {
    let bytes = canonical(policy);
    if Hash::of(&bytes) != policy.hash() {
        return Err(io::Error::other(
            "its canonical form does not have its hash; this is a mistake in Aegis",
        ));
    }
    // As private as the log is: a policy names what is worth protecting.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    // Several programs may be at it: each has a file of its own, and the last one to rename it replaces
    // the same bytes by the same bytes.
    let mut file = tempfile::Builder::new()
        .prefix(".policy-")
        .tempfile_in(directory)?;
    file.write_all(&bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|failed| failed.error)?;
    File::open(directory)?.sync_all()
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
