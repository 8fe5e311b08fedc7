//! The segments of a log, and its lock.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
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

/// The number of a segment, of its file name. `None`: it is not a segment.
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

/// The lock of a log: while one has taken it, nobody else appends. Closing it releases it.
pub(super) struct Lock {
    file: File,
    inode: (u64, u64),
}

impl Lock {
    /// The lock file of a directory, made where there is none.
    pub fn open(dir: &Dir) -> Result<Self, Error> {
        let file = dir.existing(LOCK, OFlags::RDWR | OFlags::CREATE, Others::MayRead)?;
        let stat = (file.metadata()).map_err(|e| Error::io("looking at", &dir.join(LOCK), e))?;
        let inode = (stat.dev(), stat.ino());
        Ok(Self { file, inode })
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
        let (mut told, mut ended, mut seen) = (false, 0, None);
        poll(dir, &self.file, File::try_lock, |waited| {
            if waited >= Duration::from_secs(1) && !std::mem::replace(&mut told, true) {
                waiting(dir.path());
            }
            let seen = seen.get_or_insert_with(|| end(dir));
            if waited < patience * (ended + 1) {
                return true;
            }
            // Whether somebody has appended since this was asked, and not too often.
            ended += 1;
            let before = std::mem::replace(seen, end(dir));
            seen.is_some() && *seen != before && ended < PATIENCES
        })
    }

    /// Lets others have it.
    pub fn release(&self) {
        // If this fails, it is released when the descriptor is closed.
        let _ = self.file.unlock();
    }
}

/// Waits to read until nobody appends, for `patience` at most; then it is read as it is. `None`: there is no
/// lock, as of a copy of a log, or it cannot be had.
pub(super) fn lock_to_read(dir: &Dir, patience: Duration) -> Option<File> {
    // A reader does not mind whose lock it is.
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
    // The clock is read only when there is something to wait for.
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
        // Hundreds that wait must not take the processor from the one that they wait for.
        std::thread::sleep((waited / 8).clamp(SHORTEST, LONGEST));
    }
}
