//! [`Op::Trust`]: the certificates of the host, in a directory of the sandbox's own, to which whoever opens TLS outside adds an
//! authority before the command starts.
//!
//! [`Op::Trust`]: crate::plan::Op::Trust

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aegis_sys::mount::{self, attr};
use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::root::new_tmpfs;
use crate::types::trust::{AUTHORITY, AUTHORITY_LINK, BUNDLE, FOR_NODE, JAVA};

/// As many bytes the directory holds: many times what distributions have.
const SIZE: u64 = 16 << 20;

/// Certificates of the host, and their links, that are shown at most.
const MOST: usize = 4_096;

/// The largest certificate that is copied, in bytes.
const LARGEST: u64 = 64 << 10;

const ATTRIBUTES: u64 = attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// The directory, and the files that are to be written: [`BUNDLE`], [`AUTHORITY`], [`FOR_NODE`] and, if there is to be one, [`JAVA`].
pub(super) struct Made {
    /// A read-only mount of it.
    pub tree: OwnedFd,
    pub files: Vec<OwnedFd>,
}

/// Makes the directory. `host`: the host's, if that is shown.
pub(super) fn make(host: Option<BorrowedFd<'_>>, java: bool) -> io::Result<Made> {
    let tmpfs = new_tmpfs(SIZE, 0o755)?;
    let own = tmpfs.as_fd();
    let mut names = vec![BUNDLE, AUTHORITY, FOR_NODE];
    if java {
        let directory = JAVA.to_bytes().split(|byte| *byte == b'/').next();
        mount::make_directory(own, directory.unwrap_or_default(), 0o755)?;
        names.push(JAVA);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o444);
    let files = names
        .into_iter()
        .map(|name| rustix::fs::openat(own, name, flags, mode));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    rustix::fs::symlinkat(AUTHORITY, own, AUTHORITY_LINK)?;
    if let Some(host) = host {
        copy(host, own)?;
    }
    let tree = mount::clone_tree(own)?;
    mount::set_attributes(tree.as_fd(), ATTRIBUTES | attr::RDONLY)?;
    Ok(Made { tree, files })
}

/// Copies the links and the small files of the host's directory, but for those that are made here.
fn copy(host: BorrowedFd<'_>, own: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::openat(host, c".", flags, Mode::empty()) {
        // What its user may not read is not shown.
        Err(Errno::ACCESS | Errno::NOENT) => return Ok(()),
        directory => directory?,
    };
    for entry in Dir::read_from(&directory)?.take(MOST) {
        let entry = entry?;
        let name = entry.file_name();
        let copied = match entry.file_type() {
            FileType::Symlink => link(&directory, own, name),
            FileType::RegularFile => file(&directory, own, name),
            _ => Ok(()),
        };
        match copied {
            Err(Errno::EXIST | Errno::NOENT | Errno::ACCESS | Errno::LOOP) => {}
            copied => copied?,
        }
    }
    Ok(())
}

fn link(from: &OwnedFd, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let target = rustix::fs::readlinkat(from, name, Vec::new())?;
    rustix::fs::symlinkat(&target, to, name)
}

fn file(from: &OwnedFd, to: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // It may have become something on which opening waits.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&file)?;
    let length = u64::try_from(found.st_size).unwrap_or(u64::MAX);
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || length > LARGEST {
        return Ok(());
    }
    let mut bytes = vec![0; LARGEST as usize];
    let read = rustix::io::pread(&file, &mut bytes[..], 0)?;
    let copied = mount::make_file(to, name, 0o444, bytes.get(..read).unwrap_or_default());
    copied.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// The host's directory below a path, if something is there.
pub(super) fn of_host(root: BorrowedFd<'_>, path: &std::path::Path) -> io::Result<Option<OwnedFd>> {
    match mount::locate_beneath(root, path) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
