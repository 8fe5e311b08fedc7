//! Changing a file of a person's in place.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use aegis_sys::files::open_regular;
use aegis_sys::private::put_like;

/// How long to wait for somebody else who changes the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that nobody else changes meanwhile, if they use this lock too.
pub(super) struct Locked<'f> {
    file: &'f Path,
    held: File,
}

impl<'f> Locked<'f> {
    /// Waits for the lock. A link is neither replaced by a file nor followed to change its target.
    pub fn new(file: &'f Path) -> Result<Self, String> {
        let since = Instant::now();
        loop {
            let metadata = fs::symlink_metadata(file).map_err(|error| error.to_string())?;
            if metadata.is_symlink() {
                let target = fs::read_link(file).map_err(|error| error.to_string())?;
                return Err(format!("it is a link to {}: name that", target.display()));
            }
            let held = open_regular(file).map_err(|error| error.to_string())?;
            match held.try_lock() {
                // Whoever had it may have replaced the file.
                Ok(()) if is_named(&held, file) => return Ok(Self { file, held }),
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

    /// Replaces the file in one step: whoever reads it meanwhile gets the old one or the new one. Mode and owner
    /// stay.
    pub fn write(&self, text: &str) -> Result<(), String> {
        let directory = super::policy::directory_of(self.file);
        let stat = rustix::fs::fstat(&self.held).map_err(|error| error.to_string())?;
        let name = self.file.file_name().ok_or("it is a directory")?;
        let replaced = File::open(directory).and_then(|directory| {
            put_like(&directory, name, text.as_bytes(), &stat)?;
            // Without this, a crash may bring back the old one, and nothing worse.
            let _ = directory.sync_all();
            Ok(())
        });
        replaced.map_err(|error| {
            let help = match error.kind() {
                io::ErrorKind::PermissionDenied => format!(
                    "\n  help: run this as root, or as user {}, who has to be able to write in {}",
                    stat.st_uid,
                    directory.display()
                ),
                _ => String::new(),
            };
            format!("{error}{help}")
        })
    }
}

/// Whether the open file still has the name.
fn is_named(file: &File, path: &Path) -> bool {
    let named = fs::symlink_metadata(path).ok();
    (file.metadata().ok().zip(named))
        .is_some_and(|(file, named)| (file.dev(), file.ino()) == (named.dev(), named.ino()))
}
