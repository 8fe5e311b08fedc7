//! The command's 0, 1 and 2, as it may open them again: by `/dev/stderr`, `/proc/self/fd/2`. What
//! is open for reading may be opened for reading, what is open for writing for writing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;

use aegis_sys::landlock::{self, fs};
use aegis_sys::mount::{self, attr};
use aegis_sys::{files, terminal};
use rustix::fs::{FileType, Gid, Mode, OFlags};
use rustix::io::Errno;

use crate::types::Identity;

/// `PIPEFS_MAGIC` of `linux/magic.h`: the file system of pipes without a name.
const PIPEFS: u64 = 0x5049_5045;

/// One of 0, 1, 2 that has a place in a file system.
pub(super) struct Reopened {
    /// Its number here.
    fd: RawFd,
    flags: OFlags,
    access: u64,
    /// The name of a terminal.
    terminal: Option<PathBuf>,
}

impl Reopened {
    /// Lets it be opened under a ruleset of Landlock's that handles these rights.
    pub fn allow(&self, ruleset: BorrowedFd<'_>, handled: u64) -> io::Result<()> {
        let fd = files::inherited(self.fd).ok_or(Errno::BADF)?;
        landlock::allow_path(ruleset, fd, self.access & handled)
    }

    /// Replaces a terminal by the same one on a read-only mount: through that it is read and written as before, but not
    /// given another mode, owner or time; and what the command sets on the descriptor, such as `O_NONBLOCK`, does not stay.
    ///
    /// Where its name does not lead to it, or it is another user's, it stays as it is.
    pub fn retake(&self) -> io::Result<()> {
        let (Some(path), Some(own)) = (&self.terminal, files::inherited(self.fd)) else {
            return Ok(());
        };
        let node = mount::locate(path)?;
        let (found, own) = (rustix::fs::fstat(&node)?, rustix::fs::fstat(own)?);
        if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino) {
            return Err(Errno::STALE.into());
        }
        let tree = mount::clone_tree(node.as_fd())?;
        let attributes = attr::RDONLY | attr::NOSUID | attr::NOEXEC;
        mount::set_attributes(tree.as_fd(), attributes)?;
        let kept = OFlags::RWMODE | OFlags::NONBLOCK | OFlags::APPEND;
        let flags = (self.flags & kept) | OFlags::NOCTTY;
        let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
        let again = files::open(path, flags.bits() as i32)?;
        files::duplicate_to(again.as_fd(), self.fd)
    }
}

/// What the command may open again. `replaced`: what it has in place of the caller's own. A pipe has no place for
/// Landlock: it is open to whoever its mode lets in.
///
/// # Errors
///
/// A descriptor cannot be looked at.
pub(super) fn reopened(
    identity: &Identity,
    replaced: [Option<BorrowedFd<'_>>; 3],
) -> io::Result<Vec<Reopened>> {
    let mut list = Vec::new();
    for (fd, other) in (0..).zip(replaced) {
        let Some(open) = other.or_else(|| files::inherited(fd)) else {
            continue;
        };
        let fd = open.as_raw_fd();
        let flags = rustix::fs::fcntl_getfl(open)?;
        let (reads, writes) = match flags & OFlags::RWMODE {
            _ if flags.contains(OFlags::PATH) => continue,
            OFlags::RDONLY => (true, false),
            OFlags::WRONLY => (false, true),
            _ => (true, true),
        };
        let file = match FileType::from_raw_mode(rustix::fs::fstat(open)?.st_mode) {
            FileType::RegularFile => fs::TRUNCATE,
            FileType::CharacterDevice | FileType::BlockDevice => fs::IOCTL_DEV,
            FileType::Fifo if is_pipe(open) => {
                if identity.switch {
                    open_pipe(open, identity, reads, writes);
                }
                continue;
            }
            FileType::Fifo => 0,
            _ => continue,
        };
        let mut access = file;
        if reads {
            access |= fs::READ_FILE;
        }
        if writes {
            access |= fs::WRITE_FILE;
        } else {
            access &= !fs::TRUNCATE;
        }
        let terminal = terminal::is_terminal(fd)
            .then(|| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok())
            .flatten();
        list.push(Reopened {
            fd,
            flags,
            access,
            terminal,
        });
    }
    Ok(list)
}

fn is_pipe(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|found| found.f_type as u64 == PIPEFS)
}

/// Lets the sandbox's group open a pipe of root's in this direction; its owner stays root, so that the command cannot
/// change that. A pipe that belongs to somebody else is left alone; and where root may not give it to that group, as without
/// `CAP_CHOWN`, it stays as closed as it was.
fn open_pipe(fd: BorrowedFd<'_>, identity: &Identity, reads: bool, writes: bool) {
    let Ok(found) = rustix::fs::fstat(fd) else {
        return;
    };
    if found.st_uid != 0 {
        return;
    }
    let group = Gid::from_raw(identity.gid);
    // Another of the three may be the same pipe's other end.
    let mut mode = match found.st_gid == identity.gid {
        true => Mode::from_raw_mode(found.st_mode & 0o777),
        false => Mode::RUSR | Mode::WUSR,
    };
    mode.set(Mode::RGRP, mode.contains(Mode::RGRP) || reads);
    mode.set(Mode::WGRP, mode.contains(Mode::WGRP) || writes);
    if rustix::fs::fchown(fd, None, Some(group)).is_ok() {
        let _ = rustix::fs::fchmod(fd, mode);
    }
}
