//! Errors of a log, with what to do about them.

use std::io;
use std::path::{Path, PathBuf};

use aegis_sys::private;

use super::line::Place;

/// Why something could not be written, read or signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others hold the lock.
    #[error(
        "the audit log {} has been locked by others for {seconds} seconds; see who holds it with \
         `fuser -v {}/lock`, and end that if it hangs", .dir.display(), .dir.display()
    )]
    Locked {
        /// The log.
        dir: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The end of the log was changed by somebody, so nothing is appended.
    #[error(
        "the audit log {} has been tampered with or damaged: {place}: {what}; nothing is appended to \
         it: see `aegis audit verify {}`, keep it as evidence, and move it away to begin a new one",
        .dir.display(), .dir.display()
    )]
    Damaged {
        /// The log.
        dir: PathBuf,
        /// Where.
        place: Place,
        /// What is wrong there.
        what: String,
    },
    /// A line does not have the form of a line of a log.
    #[error("{place}: {what}")]
    BadLine {
        /// Where.
        place: Place,
        /// What is wrong with it.
        what: String,
    },
    /// The last line is torn.
    #[error(
        "{place}: the last line is torn: what wrote it was killed, or the log was cut off here"
    )]
    Torn {
        /// Where.
        place: Place,
    },
    /// A directory or file cannot be used.
    #[error("{}{}", .0, advice_on(.0))]
    File(#[from] private::Error),
    /// A record could not be written; no part of it is in the log.
    #[error("the audit log {} cannot be written: {source}{}", .path.display(), advice(.source))]
    Write {
        /// The segment.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk failed, and how much of the last records it holds is unknown.
    #[error(
        "the disk did not take the last records of {}: {source}; look at the kernel's messages \
         (`dmesg`): what was appended through this writer may be lost, and it appends no more",
        .path.display()
    )]
    Sync {
        /// The segment.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key's file does not hold a key.
    #[error(
        "{} holds no key: there should be 64 hex digits in lower case; restore the file from a copy, or \
         move it and the log away to begin anew", .path.display()
    )]
    BadKey {
        /// Which.
        path: PathBuf,
    },
    /// The public key is not that of the secret key beside it.
    #[error(
        "{} is not the public half of the audit.key beside it: remove it, and the next run writes the right one", .path.display()
    )]
    NotAPair {
        /// The public key's file.
        path: PathBuf,
    },
    /// What is remembered of the last checkpoint cannot be read.
    #[error(
        "{} cannot be read, which says how long a log was when it was last signed: verify the log, then remove the \
         file", .path.display()
    )]
    BadSigned {
        /// The file.
        path: PathBuf,
    },
    /// The newest segment is empty, and the one before it is not there.
    #[error(
        "the audit log {} continues a segment that is not there: put {} back, or move all of the log away to begin \
         a new one", .dir.display(), .missing
    )]
    NoPredecessor {
        /// The log.
        dir: PathBuf,
        /// The file name of the segment.
        missing: String,
    },
    /// Pruning the log would hide that records were lost.
    #[error("the audit log {} cannot be pruned, which would hide a loss: {what}", .dir.display())]
    Loss {
        /// The log.
        dir: PathBuf,
        /// What was lost.
        what: String,
    },
    /// The log belongs to another key.
    #[error(
        "the audit log {} is signed with the key {theirs}, but the key in {} is {ours}: restore \
         the former, or move the log away to begin a new one", .dir.display(), .keys.display()
    )]
    OtherKey {
        /// The log.
        dir: PathBuf,
        /// The directory of keys.
        keys: PathBuf,
        /// The key of the log.
        theirs: String,
        /// The key in that directory.
        ours: String,
    },
    /// The event cannot be recorded in a log.
    #[error("an event cannot be recorded: {0}")]
    BadEvent(&'static str),
}

impl Error {
    pub(super) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        private::Error::io(doing, path, source).into()
    }
}

fn advice_on(error: &private::Error) -> &'static str {
    match error {
        private::Error::Io { source, .. } => advice(source),
        private::Error::Unsafe { .. } => "",
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => {
            "; make room on that file system: all but the newest segment of the log may be moved \
             away once `aegis audit verify` has said yes"
        }
        io::ErrorKind::QuotaExceeded => "; make room: the quota of this user is used up",
        io::ErrorKind::FileTooLarge => {
            "; the limit on the size of files (`ulimit -f`) is lower than the log is long"
        }
        io::ErrorKind::PermissionDenied => "; it has to belong to the user that writes it",
        io::ErrorKind::ReadOnlyFilesystem => "; choose another place for the log with --audit",
        _ => "",
    }
}
