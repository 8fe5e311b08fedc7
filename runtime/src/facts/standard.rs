//! What the caller's descriptors 0, 1 and 2 are.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{FileType, OFlags};

use aegis_sys::{files, terminal};

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it is closed.
    #[default]
    Closed,
    /// A file.
    File,
    /// A file that may only be appended to (`O_APPEND`).
    Appended,
    /// A pipe, with or without a name.
    Pipe,
    /// A socket.
    Socket,
    /// `/dev/null`.
    Null,
    /// A terminal.
    Terminal,
    /// Another device.
    Other,
}

/// The three of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standard {
    /// What each is.
    pub kinds: [Kind; 3],
    /// Whether 1 and 2 lead to the same.
    pub joined: bool,
}

impl Standard {
    /// Those of this process.
    pub fn of_caller() -> Self {
        let place = |fd| {
            let found = rustix::fs::fstat(files::inherited(fd)?).ok()?;
            Some((found.st_dev, found.st_ino))
        };
        Self {
            kinds: [0, 1, 2].map(|fd| files::inherited(fd).map_or(Kind::Closed, kind)),
            joined: place(1).is_some() && place(1) == place(2),
        }
    }
}

fn kind(fd: BorrowedFd<'_>) -> Kind {
    /// `/dev/null` (Documentation/admin-guide/devices.txt).
    const NULL: u64 = libc::makedev(1, 3);
    let Ok(found) = rustix::fs::fstat(fd) else {
        return Kind::Closed;
    };
    let appends = || rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::APPEND));
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if appends() => Kind::Appended,
        FileType::RegularFile => Kind::File,
        FileType::Fifo => Kind::Pipe,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice if found.st_rdev == NULL => Kind::Null,
        _ if terminal::is_terminal(fd.as_raw_fd()) => Kind::Terminal,
        _ => Kind::Other,
    }
}
