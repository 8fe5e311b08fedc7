//! What the caller's standard error is, and so how the supervisor learns what the command says there.

use rustix::fs::{FileType, Stat};
use serde::Serialize;

use aegis_sys::files;

/// How the text for standard error is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandardError {
    /// It is closed.
    #[default]
    Closed,
    /// A file: its end is read when the run has ended.
    File,
    /// A pipe, a socket, `/dev/null`: the command writes to a pipe of the supervisor's, which passes it on. A
    /// write costs what one to any pipe does.
    Relayed,
    /// The same pipe as standard output: both are passed on, in their order.
    RelayedWithOutput,
    /// A terminal, which the command has to have itself: each write is looked at.
    Watched,
}

impl StandardError {
    /// That of this process.
    pub fn of_caller() -> Self {
        let stat = |fd| rustix::fs::fstat(files::inherited(fd)?).ok();
        let Some(error) = stat(2) else {
            return Self::Closed;
        };
        let same = |other: Stat| (other.st_dev, other.st_ino) == (error.st_dev, error.st_ino);
        let shared = stat(1).is_some_and(same);
        match FileType::from_raw_mode(error.st_mode) {
            FileType::RegularFile => Self::File,
            FileType::Fifo if shared => Self::RelayedWithOutput,
            FileType::Fifo => Self::Relayed,
            FileType::Socket if !shared => Self::Relayed,
            FileType::CharacterDevice if error.st_rdev == NULL => Self::Relayed,
            _ => Self::Watched,
        }
    }
}

/// `/dev/null` (Documentation/admin-guide/devices.txt).
const NULL: u64 = libc::makedev(1, 3);
