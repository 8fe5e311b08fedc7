//! The segments of a log, and its lock.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use aegis_sys::private::{Dir, Others};
use rustix::fs::OFlags;

use super::Error;

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

/// The numbers of a log's segments, in order.
pub(super) fn segments(dir: &Dir) -> Result<Vec<u32>, Error> {
    let names = dir.names()?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|n| segment_number(n)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The newest segment and its length, if that can be told.
fn end(dir: &Dir) -> Option<(u32, u64)> {
    let newest = *segments(dir).ok()?.last()?;
    let stat = dir.stat(&segment_name(newest)).ok()??;
    Some((newest, stat.st_size as u64))
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
            end: end(dir),
        }
    }

    /// How long is waited before one looks again whether to go on.
    fn until(&self, patience: Duration) -> Duration {
        patience * (self.ended + 1)
    }

    /// Whether somebody has appended since this was asked, and not too often.
    fn goes_on(&mut self, dir: &Dir) -> bool {
        self.ended += 1;
        let before = std::mem::replace(&mut self.end, end(dir));
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
        // A reader does not mind whose lock it is.
        let path = dir.join(LOCK);
        let file = match write {
            true => dir.file(LOCK, flags, Others::MayRead)?,
            false => dir.open_at(LOCK, flags).ok(),
        };
        let file = file.ok_or_else(|| Error::io("opening", &path, io::ErrorKind::NotFound))?;
        let stat = rustix::fs::fstat(&file).map_err(|e| Error::io("looking at", &path, e))?;
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
