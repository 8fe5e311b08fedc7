//! Changing a file of a person's in place.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use aegis_sys::files::open_regular_at;
use aegis_sys::output;
use aegis_sys::private::{has_name, put_like};
use rustix::fs::{AtFlags, FileType};

/// How long to wait for somebody else who changes the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest file that is changed: twice what a profile or a policy may have.
const LONGEST: u64 = 2 << 20;

/// A file that nobody else changes meanwhile, if they use this lock too. Its directory is opened once: whoever may rename that, or
/// put a link in its place, changes nothing of what is read and written.
pub(super) struct Locked<'f> {
    file: &'f Path,
    directory: File,
    name: OsString,
    held: File,
}

impl<'f> Locked<'f> {
    /// Waits for the lock. A link is neither replaced by a file nor followed to change its target.
    pub fn new(file: &'f Path) -> Result<Self, String> {
        let said = |error: io::Error| error.to_string();
        let (directory, name) = output::locate(file).map_err(said)?;
        let since = Instant::now();
        loop {
            let found = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW);
            let found = found.map_err(|error| error.to_string())?;
            if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
                return Err(said(output::not_a_link(&directory, &name)));
            }
            let held = open_regular_at(directory.as_fd(), &name).map_err(said)?;
            match held.try_lock() {
                // Whoever had it may have replaced the file.
                Ok(()) if has_name(&held, directory.as_fd(), &name) => {
                    let directory = directory.into();
                    return Ok(Self {
                        file,
                        directory,
                        name,
                        held,
                    });
                }
                Ok(()) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(format!("it cannot be locked: {error}"));
                }
                // Not for ever: whoever may read the file can lock it.
                Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => {
                    return Err(format!(
                        "it has been locked by another program for {} seconds\n  help: see which with `fuser -v {}`",
                        PATIENCE.as_secs(),
                        file.display()
                    ));
                }
                // Nothing tells of its end in time: `flock(2)` waits for ever.
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// What is in it.
    pub fn text(&self) -> Result<String, String> {
        let mut text = String::new();
        let read = (&self.held).take(LONGEST + 1).read_to_string(&mut text);
        read.map_err(|error| error.to_string())?;
        match text.len() as u64 > LONGEST {
            true => Err("it is longer than any profile or policy".into()),
            false => Ok(text),
        }
    }

    /// Replaces the file in one step: whoever reads it meanwhile gets the old one or the new one. Mode and owner
    /// stay.
    pub fn write(&self, text: &str) -> Result<(), String> {
        let stat = rustix::fs::fstat(&self.held).map_err(|error| error.to_string())?;
        let replaced = put_like(&self.directory, &self.name, text.as_bytes(), &stat);
        // Without this, a crash may bring back the old one, and nothing worse.
        let _ = self.directory.sync_all();
        replaced.map_err(|error| {
            let directory = self.file.parent();
            let directory = directory.filter(|directory| !directory.as_os_str().is_empty());
            let help = match error.kind() {
                io::ErrorKind::PermissionDenied => format!(
                    "\n  help: run this as root, or as user {}, who has to be able to write in {}",
                    stat.st_uid,
                    directory.unwrap_or(Path::new(".")).display()
                ),
                _ => String::new(),
            };
            format!("{error}{help}")
        })
    }
}
