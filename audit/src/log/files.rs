//! The directory of a log, its segments, and its lock.
//!
//! Everything in it is opened by descriptor, relative to the directory, and without following a symbolic
//! link: whoever could put something else in its place could choose what is written where.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Error;
use super::keys::random;

/// Holds nothing; whoever appends has it locked.
pub(super) const LOCK: &str = "lock";
const SUFFIX: &str = ".jsonl";

/// The file name of a segment.
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:06}{SUFFIX}")
}

/// The number of a segment, of its file name.
pub(super) fn segment_number(name: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(name).ok()?.strip_suffix(SUFFIX)?;
    let number: u32 = digits.parse().ok()?;
    (number > 0 && segment_name(number).as_bytes() == name).then_some(number)
}

/// What others must not be able to do with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Private {
    /// To write it.
    ToWrite,
    /// To read or write it.
    ToRead,
}

/// A directory that is open.
pub(crate) struct Dir {
    file: File,
    path: PathBuf,
}

impl Dir {
    /// Opens it, where it is.
    pub fn existing(path: &Path) -> Result<Option<Self>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self {
                file: fd.into(),
                path: path.to_owned(),
            })),
            Err(Errno::NOENT) => Ok(None),
            // What O_DIRECTORY and O_NOFOLLOW together say of a link depends on the kernel.
            Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::Unsafe {
                path: path.to_owned(),
                what: "it is a symbolic link or no directory".into(),
                remedy: "name a directory itself".into(),
            }),
            Err(error) => Err(Error::io("opening", path, error)),
        }
    }

    /// Opens it, and makes it before where it is not there. It has to be the caller's alone to write.
    pub fn own(path: &Path) -> Result<Self, Error> {
        let dir = match Self::existing(path)? {
            Some(dir) => dir,
            None => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
                made.map_err(|error| Error::io("creating", path, error))?;
                if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                    // As far as it goes: what is above may not be readable.
                    let _ = File::open(parent).and_then(|parent| parent.sync_all());
                }
                let dir = Self::existing(path)?;
                dir.ok_or_else(|| Error::io("opening", path, Errno::NOENT))?
            }
        };
        dir.check_ours()?;
        Ok(dir)
    }

    /// Whether nobody can put another directory in its place: those above may be everybody's to write only
    /// with the sticky bit, which keeps others from renaming what is in them. A group's are let pass, as
    /// `/var/log` is one's on many systems.
    pub fn check_above(&self) -> Result<(), Error> {
        let mut before = (0, 0);
        let mut above = String::new();
        // A path can be no deeper, and the root is its own parent.
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
                return Err(Error::Unsafe {
                    what: format!(
                        "everybody can write it (mode {:o}), and so put another log in the place of the one \
                         below",
                        stat.st_mode & 0o7777
                    ),
                    remedy: format!(
                        "mend it with `chmod o-w {}`, or with `chmod +t`; or name another place for the log \
                         with --audit",
                        path.display()
                    ),
                    path,
                });
            }
        }
        Ok(())
    }

    /// Whether it is the caller's alone to write.
    pub fn check_ours(&self) -> Result<(), Error> {
        check(&self.path, &self.file, Private::ToWrite)
    }

    /// Whether a file in it is a regular one that is the caller's alone to write, or to read.
    pub fn check_file(&self, name: &str, file: &File, private: Private) -> Result<(), Error> {
        check(&self.join(name), file, private)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Opens a file in it; what is created is private.
    pub fn open(&self, name: &str, flags: OFlags) -> Result<File, Errno> {
        // NONBLOCK: a FIFO in its place must not hold anybody up. Regular files know no such thing.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::openat(&self.file, name, flags, mode).map(File::from)
    }

    /// What is there under a name.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>, Error> {
        match rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io("looking at", &self.join(name), error)),
        }
    }

    /// A directory in it, made where there is none; not by a symbolic link.
    pub fn below(&self, name: &str) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.file, name, flags, Mode::empty());
        let fd = match open() {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&self.file, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                open()?
            }
            opened => opened?,
        };
        Ok(Self {
            file: fd.into(),
            path: self.join(name),
        })
    }

    /// Puts a whole file under its name, in the place of what is there. It is on the disk then.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut suffix = [0; 8];
        random(&mut suffix);
        let temporary = format!(".new-{:016x}", u64::from_ne_bytes(suffix));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = self.open(&temporary, flags)?;
        let put = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| {
                Ok(rustix::fs::renameat(
                    &self.file, &temporary, &self.file, name,
                )?)
            });
        if put.is_err() {
            // What cannot be removed does no harm but to order.
            let _ = rustix::fs::unlinkat(&self.file, &temporary, AtFlags::empty());
        }
        put?;
        self.file.sync_all()
    }

    /// Has its entries written to the disk.
    pub fn sync(&self) -> Result<(), Error> {
        (self.file.sync_all()).map_err(|error| Error::io("writing", &self.path, error))
    }

    /// The names in it.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, Error> {
        let failed = |error| Error::io("listing", &self.path, error);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.file).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_bytes().to_vec());
        }
        Ok(names)
    }

    /// The numbers of its segments, in order.
    pub fn segments(&self) -> Result<Vec<u32>, Error> {
        let names = self.names()?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|n| segment_number(n)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The newest segment and its length, if that can be told.
    fn end(&self) -> Option<(u32, u64)> {
        let newest = *self.segments().ok()?.last()?;
        let stat = self.stat(&segment_name(newest)).ok()??;
        Some((newest, stat.st_size as u64))
    }
}

fn check(path: &Path, file: &File, private: Private) -> Result<(), Error> {
    let found = (file.metadata()).map_err(|error| Error::io("looking at", path, error))?;
    let bad = |what: String, remedy: String| {
        Err(Error::Unsafe {
            path: path.to_owned(),
            what,
            remedy,
        })
    };
    let user = rustix::process::geteuid().as_raw();
    if !found.is_dir() && !found.is_file() {
        return bad("it is no regular file".into(), "remove it".into());
    }
    if found.is_file() && found.nlink() > 1 {
        return bad(
            format!("it has {} names (hard links)", found.nlink()),
            format!(
                "see which with `find / -xdev -samefile {}`, and remove the others",
                path.display()
            ),
        );
    }
    if found.uid() != user {
        return bad(
            format!("it belongs to user {} and not to user {user}", found.uid()),
            "name a place of your own, or run as its owner".into(),
        );
    }
    let (mask, others_can) = match private {
        Private::ToWrite => (0o022, "others can write it"),
        Private::ToRead => (0o077, "others can read it"),
    };
    if found.mode() & mask != 0 {
        let remedy = match private {
            Private::ToWrite => format!("mend it with `chmod go-w {}`", path.display()),
            Private::ToRead => format!("mend it with `chmod go= {}`", path.display()),
        };
        return bad(
            format!("{others_can} (mode {:o})", found.mode() & 0o7777),
            remedy,
        );
    }
    Ok(())
}

/// For how many times its patience an appender waits at most, while others append.
const PATIENCES: u32 = 12;

/// How long is waited between two looks at the lock: an eighth of what was waited already, within these.
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(32);

/// The lock is waited for.
struct Wait {
    since: Instant,
    /// How many times the patience ended while the log grew.
    ended: u32,
    end: Option<(u32, u64)>,
}

impl Wait {
    fn new(dir: &Dir) -> Self {
        Self {
            since: Instant::now(),
            ended: 0,
            end: dir.end(),
        }
    }

    /// How long is waited before one looks again whether to go on.
    fn until(&self, patience: Duration) -> Duration {
        patience * (self.ended + 1)
    }

    /// Whether somebody has appended since this was asked, and not too often.
    fn goes_on(&mut self, dir: &Dir) -> bool {
        self.ended += 1;
        let before = std::mem::replace(&mut self.end, dir.end());
        self.end.is_some() && self.end != before && self.ended < PATIENCES
    }
}

/// The lock of a log: while one has taken it, nobody else appends. Closing it releases it.
pub(super) struct Lock {
    file: File,
    inode: (u64, u64),
}

impl Lock {
    /// The lock file of a directory; for readers (`write` false) the one that is there.
    pub fn open(dir: &Dir, write: bool) -> Result<Self, Error> {
        let flags = match write {
            true => OFlags::RDWR | OFlags::CREATE,
            false => OFlags::RDONLY,
        };
        let failed = |error: Errno| Error::io("opening", &dir.join(LOCK), error);
        let file = dir.open(LOCK, flags).map_err(failed)?;
        if write {
            dir.check_file(LOCK, &file, Private::ToWrite)?;
        }
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        Ok(Self {
            file,
            inode: (stat.st_dev, stat.st_ino),
        })
    }

    /// Whether the lock file is still the one of the directory: somebody may have moved it away.
    pub fn is_current(&self, dir: &Dir) -> Result<bool, Error> {
        let stat = dir.stat(LOCK)?;
        Ok(stat.is_some_and(|stat| (stat.st_dev, stat.st_ino) == self.inode))
    }

    /// Waits to append until it is free: for `patience`, and while the log grows for up to
    /// [`PATIENCES`] of them, since many may append at once. When it takes longer than a second, `waiting`
    /// is called, once.
    pub fn take(
        &self,
        dir: &Dir,
        patience: Duration,
        waiting: impl Fn(&Path),
    ) -> Result<(), Error> {
        let mut told = false;
        self.poll(dir, File::try_lock, |wait, waited| {
            if waited >= Duration::from_secs(1) && !std::mem::replace(&mut told, true) {
                waiting(dir.path());
            }
            waited < wait.until(patience) || wait.goes_on(dir)
        })
    }

    /// Waits to read until nobody appends, for `patience` at most.
    pub fn take_shared(&self, dir: &Dir, patience: Duration) -> Result<(), Error> {
        self.poll(dir, File::try_lock_shared, |_, waited| waited < patience)
    }

    fn poll(
        &self,
        dir: &Dir,
        attempt: fn(&File) -> Result<(), TryLockError>,
        mut goes_on: impl FnMut(&mut Wait, Duration) -> bool,
    ) -> Result<(), Error> {
        let mut wait: Option<Wait> = None;
        loop {
            match attempt(&self.file) {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(Error::io("locking", &dir.join(LOCK), error));
                }
            }
            // The clock is read only when there is something to wait for.
            let wait = wait.get_or_insert_with(|| Wait::new(dir));
            let waited = wait.since.elapsed();
            if !goes_on(wait, waited) {
                return Err(Error::Locked {
                    dir: dir.path().to_owned(),
                    seconds: waited.as_secs(),
                });
            }
            // Hundreds that wait must not take the processor from the one that they wait for.
            std::thread::sleep((waited / 8).clamp(SHORTEST, LONGEST));
        }
    }

    /// Lets others have it.
    pub fn release(&self) {
        // If this fails, it is released when the descriptor is closed.
        let _ = self.file.unlock();
    }
}
