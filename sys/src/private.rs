//! Directories and files that belong to the user alone, and files that are replaced as a whole.
//!
//! Everything is opened by descriptor, relative to its directory, and without following a symbolic link:
//! otherwise whoever could replace a part of the path could choose what is written where.

mod put;

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

pub use put::{Put, can_put, has_name, put, put_like, put_public};
pub(crate) use put::{may_be_replaced, stage_public};

/// Readable and writable by the user only.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Why a directory or file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{doing} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Others could change it, or it is not what it should be.
    #[error("{} is not safe to use: {what}; {fix}", .path.display())]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
}

impl Error {
    /// The error of a system call on a path.
    pub fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    fn unsafe_(path: &Path, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Unsafe {
            path: path.to_owned(),
            what: what.into(),
            fix: fix.into(),
        }
    }
}

/// What other users may do with a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Read it, but not write it.
    MayRead,
    /// Neither read nor write it.
    MayNothing,
}

/// A directory that is open.
#[derive(Debug)]
pub struct Dir {
    file: File,
    path: PathBuf,
}

impl Dir {
    /// Opens a directory. `None`: it does not exist.
    pub fn open(path: &Path) -> Result<Option<Self>, Error> {
        Self::open_in(CWD, path, path.to_owned())
    }

    fn open_in(parent: BorrowedFd<'_>, name: &Path, path: PathBuf) -> Result<Option<Self>, Error> {
        match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Some(Self {
                file: fd.into(),
                path,
            })),
            Err(Errno::NOENT) => Ok(None),
            // The error of O_DIRECTORY with O_NOFOLLOW on a link depends on the kernel.
            Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::unsafe_(
                &path,
                "it is a symbolic link or not a directory",
                "put a directory there, or name another one",
            )),
            Err(error) => Err(Error::io("opening", &path, error)),
        }
    }

    /// Opens a directory; creates it and its parents where they are missing.
    pub fn create(path: &Path) -> Result<Self, Error> {
        if let Some(dir) = Self::open(path)? {
            return Ok(dir);
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| Error::io("creating", path, error))?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            // Best effort: the directory above may not be readable.
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        Self::open(path)?.ok_or_else(|| Error::io("opening", path, Errno::NOENT))
    }

    /// Opens a directory in this one; creates it if it is missing.
    pub fn create_below(&self, name: &str) -> Result<Self, Error> {
        let path = self.join(name);
        match rustix::fs::mkdirat(&self.file, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Error::io("creating", &path, error)),
        }
        let missing = Error::io("opening", &path, Errno::NOENT);
        Self::open_in(self.as_fd(), Path::new(name), path)?.ok_or(missing)
    }

    /// Checks that the directory belongs to the user, and what others may do with it.
    pub fn check(&self, others: Others) -> Result<(), Error> {
        check(&self.path, &self.file, others)
    }

    /// Checks that nobody can put another directory in its place: a directory above that everybody may write must
    /// have the sticky bit, which keeps others from renaming its entries. Directories that a group may write are
    /// accepted, since `/var/log` belongs to a group on many systems.
    pub fn check_above(&self) -> Result<(), Error> {
        let mut before = (0, 0);
        let mut above = String::new();
        // No path is deeper, and the root is its own parent.
        while above.len() < 4096 {
            above += if above.is_empty() { ".." } else { "/.." };
            let stat = rustix::fs::statat(&self.file, &above, AtFlags::empty())
                .map_err(|error| Error::io("looking at", &self.join(&above), error))?;
            if (stat.st_dev, stat.st_ino) == before {
                break;
            }
            before = (stat.st_dev, stat.st_ino);
            if stat.st_mode & 0o1002 == 0o002 {
                let path = self.join(&above);
                let path = path.canonicalize().unwrap_or(path);
                let what = format!(
                    "everybody can write it (mode {:o}), and so replace what is below it",
                    stat.st_mode & 0o7777
                );
                let fix = format!(
                    "fix it with `chmod o-w {}`, or with `chmod +t`; or name another place (of a log, with --audit)",
                    path.display()
                );
                return Err(Error::unsafe_(&path, what, fix));
            }
        }
        Ok(())
    }

    /// The path with which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file in it. A new file is private.
    pub fn open_at(&self, name: &str, flags: OFlags) -> Result<File, Errno> {
        // NONBLOCK: opening a FIFO must not wait. It means nothing to regular files.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::openat(&self.file, name, flags, PRIVATE).map(File::from)
    }

    /// Opens a file in it that belongs to the user. `None`: it does not exist.
    pub fn file(&self, name: &str, flags: OFlags, others: Others) -> Result<Option<File>, Error> {
        let path = self.join(name);
        let file = match self.open_at(name, flags) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                let fix = "put the file itself there, or remove the link";
                return Err(Error::unsafe_(&path, "it is a symbolic link", fix));
            }
            Err(error) => return Err(Error::io("opening", &path, error)),
        };
        let found = (file.metadata()).map_err(|error| Error::io("looking at", &path, error))?;
        if !found.is_file() {
            return Err(Error::unsafe_(
                &path,
                "it is not a regular file",
                "remove it",
            ));
        }
        check(&path, &file, others)?;
        Ok(Some(file))
    }

    /// As [`Dir::file`], but the file must exist.
    pub fn existing(&self, name: &str, flags: OFlags, others: Others) -> Result<File, Error> {
        let missing = || Error::io("opening", &self.join(name), Errno::NOENT);
        self.file(name, flags, others)?.ok_or_else(missing)
    }

    /// Reads at most `limit` bytes of a file. `None`: it does not exist.
    pub fn read(&self, name: &str, limit: u64, others: Others) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.file(name, OFlags::RDONLY, others)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        (file.take(limit).read_to_end(&mut bytes))
            .map_err(|error| Error::io("reading", &self.join(name), error))?;
        Ok(Some(bytes))
    }

    /// The status of a name in it. `None`: nothing has this name.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>, Error> {
        match rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io("looking at", &self.join(name), error)),
        }
    }

    /// Puts a whole, synced file under its name. Returns whether it did.
    pub fn put(&self, name: &str, bytes: &[u8], how: Put) -> Result<bool, Error> {
        let put = put(&self.file, OsStr::new(name), bytes, how, true)
            .map_err(|error| Error::io("writing", &self.join(name), error))?;
        self.sync()?;
        Ok(put)
    }

    /// Writes its entries to the disk.
    pub fn sync(&self) -> Result<(), Error> {
        (self.file.sync_all()).map_err(|error| Error::io("writing", &self.path, error))
    }

    /// The names in it that are UTF-8.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let failed = |error| Error::io("listing", &self.path, error);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.file).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Checks that a file belongs to the user and has no second name, and what others may do with it.
fn check(path: &Path, file: &File, others: Others) -> Result<(), Error> {
    let found = (file.metadata()).map_err(|error| Error::io("looking at", path, error))?;
    let user = rustix::process::geteuid().as_raw();
    let (mask, can, fix) = match others {
        Others::MayRead => (0o022, "write", "go-w"),
        Others::MayNothing => (0o077, "read", "go="),
    };
    let (what, fix) = if found.is_file() && found.nlink() > 1 {
        (
            format!("it has {} names (hard links)", found.nlink()),
            format!(
                "see which with `find / -xdev -samefile {}`, and remove the others",
                path.display()
            ),
        )
    } else if found.uid() != user {
        (
            format!("it belongs to user {} and not to user {user}", found.uid()),
            "name a place of your own, or run as its owner".to_owned(),
        )
    } else if found.mode() & mask != 0 {
        (
            format!("others can {can} it (mode {:o})", found.mode() & 0o7777),
            format!(
                "fix it with `chmod {fix} {}`, if nobody else wrote there",
                path.display()
            ),
        )
    } else {
        return Ok(());
    };
    Err(Error::unsafe_(path, what, fix))
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    // The kernel returns up to 256 bytes in full.
    const { assert!(N <= 256) }
    let mut bytes = [0; N];
    let flags = rustix::rand::GetRandomFlags::empty();
    rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes, flags))?;
    Ok(bytes)
}
