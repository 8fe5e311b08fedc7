//! The segments of a log, and its lock.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use aegis_sys::private::{Dir, Others};
use rustix::fs::OFlags;

use super::Error;

/// An empty file; whoever appends has it locked.
pub(super) const LOCK: &str = "lock";
const SUFFIX: &str = ".jsonl";

/// The file name of a segment.
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:06}{SUFFIX}")
}

/// The number of a segment from its file name. `None`: not a segment.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let number: u32 = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (number > 0 && segment_name(number) == name).then_some(number)
}

/// The numbers of a log's segments, in order.
pub(super) fn segments(dir: &Dir) -> Result<Vec<u32>, Error> {
    let names = dir.names()?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|n| segment_number(n)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The newest segment and its length, if they can be read.
pub(super) fn end(dir: &Dir) -> Option<(u32, u64)> {
    let newest = *segments(dir).ok()?.last()?;
    let stat = dir.stat(&segment_name(newest)).ok()??;
    Some((newest, stat.st_size as u64))
}

/// An appender waits for at most so many times its patience while others append.
const PATIENCES: u32 = 12;

/// The pause between two attempts to lock: an eighth of the time waited so far, within these bounds.
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(32);

/// The lock of a log: only its holder appends. Closing it releases it.
pub(super) struct Lock {
    file: File,
    inode: (u64, u64),
}

impl Lock {
    /// Opens the lock file of a directory, or makes it.
    pub fn open(dir: &Dir) -> Result<Self, Error> {
        let file = dir.existing(LOCK, OFlags::RDWR | OFlags::CREATE, Others::MayRead)?;
        let stat = (file.metadata()).map_err(|e| Error::io("looking at", &dir.join(LOCK), e))?;
        let inode = (stat.dev(), stat.ino());
        Ok(Self { file, inode })
    }

    /// Whether the lock file is still the one in the directory: somebody may have moved it away.
    pub fn is_current(&self, dir: &Dir) -> Result<bool, Error> {
        let stat = dir.stat(LOCK)?;
        Ok(stat.is_some_and(|stat| (stat.st_dev, stat.st_ino) == self.inode))
    }

    /// Waits for the lock to append: for `patience`, and up to [`PATIENCES`] times that while the log grows,
    /// since many may append at once. `waiting` is called once when it takes longer than a second.
    pub fn take(
        &self,
        dir: &Dir,
        patience: Duration,
        waiting: impl Fn(&Path),
    ) -> Result<(), Error> {
        let (mut told, mut ended, mut seen) = (false, 0, None);
        poll(dir, &self.file, File::try_lock, |waited| {
            if waited >= Duration::from_secs(1) && !std::mem::replace(&mut told, true) {
                waiting(dir.path());
            }
            let seen = seen.get_or_insert_with(|| end(dir));
            if waited < patience * (ended + 1) {
                return true;
            }
            // Whether somebody has appended since the last look, and not too often.
            ended += 1;
            let before = std::mem::replace(seen, end(dir));
            seen.is_some() && *seen != before && ended < PATIENCES
        })
    }

    /// Releases the lock.
    pub fn release(&self) {
        // If this fails, closing the descriptor releases it.
        let _ = self.file.unlock();
    }
}

/// Waits until nobody appends, for at most `patience`; then the log is read as it is. `None`: there is no
/// lock, as in a copy of a log, or it cannot be taken.
pub(super) fn lock_to_read(dir: &Dir, patience: Duration) -> Option<File> {
    // A reader accepts a lock of any owner.
    let file = dir.open_at(LOCK, OFlags::RDONLY).ok()?;
    poll(dir, &file, File::try_lock_shared, |waited| {
        waited < patience
    })
    .ok()?;
    Some(file)
}

fn poll(
    dir: &Dir,
    lock: &File,
    attempt: fn(&File) -> Result<(), TryLockError>,
    mut goes_on: impl FnMut(Duration) -> bool,
) -> Result<(), Error> {
    // The clock is read only if there is something to wait for.
    let mut since = None;
    loop {
        match attempt(lock) {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(Error::io("locking", &dir.join(LOCK), error));
            }
        }
        let waited = since.get_or_insert_with(Instant::now).elapsed();
        if !goes_on(waited) {
            return Err(Error::Locked {
                dir: dir.path().to_owned(),
                seconds: waited.as_secs(),
            });
        }
        // Hundreds that wait must not take the processor from the one that holds the lock.
        std::thread::sleep((waited / 8).clamp(SHORTEST, LONGEST));
    }
}
