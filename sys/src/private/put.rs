//! Files that are whole or absent, whatever becomes of their writer.
//!
//! Where the file system can do that, a file has no name (`O_TMPFILE`) until it is whole: nothing is left if the writer is
//! killed, and others who may write the directory cannot change it before. Elsewhere, and for a moment where a file is
//! replaced, it has a temporary name. That name depends on the final one alone, and its writer holds a lock on the file: so
//! the next writer finds and removes what a killed one left.

use std::ffi::OsStr;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Stat, Uid,
};
use rustix::io::Errno;

use super::{PRIVATE, random};

/// How [`put`] treats a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is replaced, if it is a regular file or a symbolic link, which is not followed.
    Replace,
    /// It stays.
    New,
}

/// Puts a whole, private file under a name in a directory: readers see all of it or nothing. Returns whether it did.
pub fn put(dir: impl AsFd, name: &OsStr, bytes: &[u8], how: Put, synced: bool) -> io::Result<bool> {
    let access = Access::Private;
    let content = Content {
        bytes,
        access,
        synced,
    };
    content.put(dir.as_fd(), name, how)
}

/// Puts a whole, synced file that others may read as the umask says. Returns whether it did.
pub fn put_public(dir: impl AsFd, name: &OsStr, bytes: &[u8], how: Put) -> io::Result<bool> {
    let content = Content {
        bytes,
        access: Access::Public,
        synced: true,
    };
    content.put(dir.as_fd(), name, how)
}

/// Replaces a file by a whole, synced one with the owner and mode of `like`.
pub fn put_like(dir: impl AsFd, name: &OsStr, bytes: &[u8], like: &Stat) -> io::Result<()> {
    let content = Content {
        bytes,
        access: Access::Like(like),
        synced: true,
    };
    content.put(dir.as_fd(), name, Put::Replace).map(|_| ())
}

/// Makes a whole, synced file that others may read as the umask says, and does not give it its name yet.
pub(crate) fn stage_public<'d>(
    dir: BorrowedFd<'d>,
    name: &'d OsStr,
    bytes: &[u8],
) -> io::Result<Staged<'d>> {
    let content = Content {
        bytes,
        access: Access::Public,
        synced: true,
    };
    content.stage(dir, name)
}

/// Checks that a file of this name can be put into a directory, by making one without a name or one that is removed at
/// once.
pub fn can_put(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    let dir = dir.as_fd();
    if nameless(dir, PRIVATE)?.is_none() {
        let make = |temporary: &str| create(dir, temporary, PRIVATE);
        let (_locked, temporary) = temporary(dir, name, make)?;
        rustix::fs::unlinkat(dir, &temporary, AtFlags::empty())?;
    }
    Ok(())
}

/// What is to be in a file.
struct Content<'a> {
    bytes: &'a [u8],
    access: Access<'a>,
    synced: bool,
}

/// Who may read and write a file.
enum Access<'a> {
    /// The user.
    Private,
    /// Whoever the umask lets.
    Public,
    /// Those who may with another file, whose owner it gets.
    Like(&'a Stat),
}

impl Content<'_> {
    fn put(&self, dir: BorrowedFd<'_>, name: &OsStr, how: Put) -> io::Result<bool> {
        self.stage(dir, name)?.place(how)
    }

    fn stage<'d>(&self, dir: BorrowedFd<'d>, name: &'d OsStr) -> io::Result<Staged<'d>> {
        let mode = match self.access {
            Access::Public => Mode::from_raw_mode(0o666),
            Access::Private | Access::Like(_) => PRIVATE,
        };
        let (file, temporary) = match nameless(dir, mode)? {
            Some(file) => (file, None),
            None => {
                let make = |temporary: &str| create(dir, temporary, mode);
                let (file, temporary) = temporary(dir, name, make)?;
                (file, Some(temporary))
            }
        };
        let staged = Staged {
            dir,
            name,
            file,
            temporary,
        };
        self.fill(&staged.file)?;
        Ok(staged)
    }

    fn fill(&self, mut file: &File) -> io::Result<()> {
        match self.access {
            Access::Public => {}
            // Independent of the umask.
            Access::Private => rustix::fs::fchmod(file, PRIVATE)?,
            Access::Like(like) => {
                let own = rustix::fs::fstat(file)?;
                if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid) {
                    let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
                    rustix::fs::fchown(file, Some(uid), Some(gid))?;
                }
                rustix::fs::fchmod(file, Mode::from_raw_mode(like.st_mode & 0o7777))?;
            }
        }
        file.write_all(self.bytes)?;
        if self.synced {
            file.sync_all()?;
        }
        Ok(())
    }
}

/// A file that is whole, and has not its name yet. Dropped, it is gone.
pub(crate) struct Staged<'d> {
    dir: BorrowedFd<'d>,
    name: &'d OsStr,
    /// Locked, where it has a temporary name.
    file: File,
    temporary: Option<String>,
}

impl Staged<'_> {
    /// Gives it its name. Returns whether it did.
    pub fn place(mut self, how: Put) -> io::Result<bool> {
        let Self { dir, name, .. } = self;
        let (_locked, temporary) = match self.temporary.take() {
            Some(temporary) => (None, temporary),
            None => {
                match give_name(&self.file, dir, name) {
                    Ok(()) => return Ok(true),
                    Err(Errno::EXIST) if how == Put::New => return Ok(false),
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                // Before it has a name: whoever took it for a leftover would remove it, and what has had a name and has none any
                // more gets no other (`linkat(2)`).
                lock(&self.file);
                let (locked, temporary) = temporary(dir, name, |temporary| {
                    give_name(&self.file, dir, OsStr::new(temporary))?;
                    rustix::io::fcntl_dupfd_cloexec(&self.file, 0).map(File::from)
                })?;
                (Some(locked), temporary)
            }
        };
        let placed = rename(dir, &temporary, name, how);
        if !matches!(placed, Ok(true)) {
            remove(dir, &temporary);
        }
        placed
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            remove(self.dir, temporary);
        }
    }
}

/// How often a leftover under the temporary name is removed before another name is taken.
const ATTEMPTS: u32 = 4;

/// Makes a file under a temporary name, and locks it. `make` fails with `EXIST` where the name is taken.
fn temporary(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    make: impl Fn(&str) -> Result<File, Errno>,
) -> io::Result<(File, String)> {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let usual = temporary_name(hasher.finish());
    for _ in 0..ATTEMPTS {
        match make(&usual) {
            // Before it was locked, another writer may have taken it for a leftover.
            Ok(file) if lock(&file) && has_name(&file, dir, &usual) => return Ok((file, usual)),
            Ok(_) => {}
            Err(Errno::EXIST) if remove_leftover(dir, &usual) => {}
            Err(Errno::EXIST) => break,
            Err(error) => return Err(error.into()),
        }
    }
    // Its writer is alive, or somebody else made it.
    let other = temporary_name(u64::from_ne_bytes(random()?));
    Ok((make(&other)?, other))
}

fn temporary_name(number: u64) -> String {
    format!(".new-{number:016x}.aegis")
}

/// Removes what a killed writer left. Whether it did: not where its writer may be alive.
fn remove_leftover(dir: BorrowedFd<'_>, name: &str) -> bool {
    // A pipe or a lease that somebody prepared there must not make us wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(found) = rustix::fs::openat(dir, name, flags, Mode::empty()) else {
        return false;
    };
    let found = File::from(found);
    let is_ours = rustix::fs::fstat(&found).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode).is_file()
            && stat.st_uid == rustix::process::geteuid().as_raw()
    });
    is_ours && lock(&found) && has_name(&found, dir, name) && remove(dir, name)
}

fn lock(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Whether an open file still has this name in a directory.
pub fn has_name(file: &File, dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> bool {
    let named = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    (rustix::fs::fstat(file).ok().zip(named.ok()))
        .is_some_and(|(file, named)| (file.st_dev, file.st_ino) == (named.st_dev, named.st_ino))
}

/// Removes a temporary file; one that cannot be removed is harmless.
fn remove(dir: BorrowedFd<'_>, name: &str) -> bool {
    rustix::fs::unlinkat(dir, name, AtFlags::empty()).is_ok()
}

fn create(dir: BorrowedFd<'_>, name: &str, mode: Mode) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, mode).map(File::from)
}

/// A file without a name. `None`: the file system supports none, or without `/proc` it could get no name.
fn nameless(dir: BorrowedFd<'_>, mode: Mode) -> io::Result<Option<File>> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, ".", flags, mode) {
        Ok(file) => {
            let file = File::from(file);
            Ok(Some(file).filter(|file| Path::new(&own_path(file)).exists()))
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn own_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn give_name(file: &File, dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, own_path(file), dir, name, AtFlags::SYMLINK_FOLLOW)
}

/// Whether a file of this type may be replaced by another one.
pub(crate) fn may_be_replaced(found: FileType) -> io::Result<()> {
    match found {
        FileType::RegularFile | FileType::Symlink => Ok(()),
        FileType::Directory => Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is not a regular file but a directory",
        )),
        // Opening it could wait, or do something to a device; without it, whoever has it open is alone.
        _ => Err(io::Error::other("it is not a regular file")),
    }
}

fn rename(dir: BorrowedFd<'_>, from: &str, to: &OsStr, how: Put) -> io::Result<bool> {
    let renamed = match how {
        Put::Replace => {
            let found = rustix::fs::statat(dir, to, AtFlags::SYMLINK_NOFOLLOW);
            if let Ok(found) = found {
                may_be_replaced(FileType::from_raw_mode(found.st_mode))?;
            }
            rustix::fs::renameat(dir, from, dir, to)
        }
        // Avoids a second name where possible: a file with two names is refused.
        Put::New => match rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
            // Some network file systems do not support this.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(dir, from, dir, to, AtFlags::empty())?;
                remove(dir, from);
                Ok(())
            }
            renamed => renamed,
        },
    };
    match renamed {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) if how == Put::New => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several programs may put one file at once, such as the first runs under a policy.
    #[test]
    fn writers_of_one_name_do_not_take_each_other_for_dead() {
        let temporary_dir = tempfile::tempdir().unwrap();
        let dir = File::open(temporary_dir.path()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        put(&dir, OsStr::new("a"), b"1", Put::Replace, false).unwrap();
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(temporary_dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_by_the_next_and_what_a_live_one_has_is_not() {
        let temporary_dir = tempfile::tempdir().unwrap();
        let dir = File::open(temporary_dir.path()).unwrap();
        let name = OsStr::new("a");
        let names = || {
            let entries = std::fs::read_dir(temporary_dir.path()).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        put(&dir, name, b"1", Put::New, false).unwrap();
        // As where there is no O_TMPFILE, of a writer that lives.
        let make = |name: &str| create(dir.as_fd(), name, PRIVATE);
        let (file, left) = temporary(dir.as_fd(), name, make).unwrap();
        put(&dir, name, b"2", Put::Replace, false).unwrap();
        assert_eq!(names(), [left.as_str(), "a"]);
        // And of one that was killed.
        drop(file);
        put(&dir, name, b"3", Put::Replace, false).unwrap();
        assert_eq!(names(), ["a"]);
        assert_eq!(std::fs::read(temporary_dir.path().join("a")).unwrap(), b"3");
        // What somebody else has prepared there is left alone, and nobody waits for it.
        rustix::fs::mknodat(&dir, &*left, FileType::Fifo, PRIVATE, 0).unwrap();
        put(&dir, name, b"4", Put::Replace, false).unwrap();
        assert_eq!(names(), [left.as_str(), "a"]);
    }
}
