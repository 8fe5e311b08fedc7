//! Goes through a tree of the host by descriptor, following no link.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aegis_sys::mount;
use rustix::fs::{Access, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::types::Fault;

/// What is in a directory of the tree.
pub(super) struct Entry<'a> {
    /// The directory, and its path.
    pub dir: &'a OwnedFd,
    pub above: &'a Path,
    pub name: &'a CStr,
    /// As the directory says; not every file system does.
    pub kind: FileType,
}

impl Entry<'_> {
    pub fn path(&self) -> PathBuf {
        self.above.join(OsStr::from_bytes(self.name.to_bytes()))
    }

    /// Whether it may be a directory.
    pub fn may_hold_more(&self) -> bool {
        matches!(self.kind, FileType::Directory | FileType::Unknown)
    }
}

/// What a walk through a tree calls.
pub(super) trait Visit {
    /// Why a walk ends early.
    type Error: From<Fault>;

    /// Looks at an entry. Whether to go into it, where it is a directory.
    fn entry(&mut self, entry: &Entry<'_>) -> Result<bool, Self::Error>;

    /// A directory, of this owner, that the caller may not enter; without one it is no directory, has gone, or may not be
    /// looked at.
    fn closed(&mut self, path: &Path, owner: Option<u32>) -> Result<(), Self::Error>;
}

/// Goes through all that lies below a directory.
pub(super) fn walk<V: Visit>(top: &Path, visit: &mut V) -> Result<(), V::Error> {
    let opened = mount::locate(top).map_err(|error| Fault::at(top, &error))?;
    // Each is opened when its turn comes: of a wide tree, not all can be open at once.
    let mut ahead = vec![(Rc::new(opened), CString::from(c"."), top.to_path_buf())];
    while let Some((above, name, path)) = ahead.pop() {
        let fault = |error: Errno| Fault::at(&path, &error.into());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::openat(&above, name, flags, Mode::empty()) {
            Ok(dir) => Rc::new(dir),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {
                visit.closed(&path, None)?;
                continue;
            }
            Err(error) => return Err(fault(error).into()),
        };
        if rustix::fs::accessat(&dir, c".", Access::EXEC_OK, AtFlags::EACCESS).is_err() {
            let owner = rustix::fs::fstat(&dir).map_err(fault)?.st_uid;
            visit.closed(&path, Some(owner))?;
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let listed = rustix::fs::openat(&dir, c".", flags, Mode::empty());
        let listed = listed.map_err(|error| {
            let (path, errno) = (path.clone(), error.raw_os_error());
            Fault::Other { path, errno }
        })?;
        for entry in Dir::new(listed).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let entry = Entry {
                dir: &dir,
                above: &path,
                name: entry.file_name(),
                kind: entry.file_type(),
            };
            if matches!(entry.name.to_bytes(), b"." | b"..") {
                continue;
            }
            if visit.entry(&entry)? && entry.may_hold_more() {
                ahead.push((dir.clone(), entry.name.to_owned(), entry.path()));
            }
        }
    }
    Ok(())
}
