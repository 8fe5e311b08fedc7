//! Where profiles are read from: the one place of this crate that touches files.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::yaml::MAX_BYTES;

/// Reads profiles. [`Files`] is the real one; tests use a map.
pub trait Source {
    /// The bytes of a file. Reading may stop a little beyond 1 MiB: a larger file is refused for its size.
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError>;

    /// The bytes of standard input, with the same bound as a file. Not every source has one.
    fn read_stdin(&self) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::Io(io::ErrorKind::Unsupported.into()))
    }

    /// Whether there is something at `path`: for a hint in an error message.
    fn exists(&self, _path: &Path) -> bool {
        false
    }

    /// `path`, made absolute. A source without a working directory has it so.
    fn absolute(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// Why a profile could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// Not a regular file, but this kind of file.
    #[error("it is {0}")]
    NotAFile(&'static str),
    /// Any other error.
    #[error("{0}")]
    Io(io::Error),
}

/// The file system of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files;

impl Source for Files {
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        // Checked before opening: opening a FIFO waits for its writer, and opening a device can have effects.
        let found = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)
            .map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => ReadError::NotFound,
                _ => ReadError::Io(e),
            })?;
        let metadata = found.metadata().map_err(ReadError::Io)?;
        if let Some(other) = kind_of(&metadata) {
            return Err(other);
        }
        // Not to wait for a lease on it to be given up, nor for a kernel's log.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(format!("/proc/self/fd/{}", found.as_raw_fd()));
        bounded(file.map_err(ReadError::Io)?, metadata.len())
    }

    fn read_stdin(&self) -> Result<Vec<u8>, ReadError> {
        bounded(io::stdin().lock(), 0)
    }

    fn exists(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok()
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }
}

/// What kind of file it is, unless a regular one.
fn kind_of(metadata: &fs::Metadata) -> Option<ReadError> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        return None;
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Some(ReadError::NotAFile(what))
}

/// Reads one byte more than is allowed, to detect a file that is too large.
fn bounded(from: impl Read, expected: u64) -> Result<Vec<u8>, ReadError> {
    let limit = MAX_BYTES as u64 + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(expected.min(limit)).unwrap_or(0) + 1);
    from.take(limit)
        .read_to_end(&mut bytes)
        .map_err(ReadError::Io)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_file_is_read_only_as_far_as_it_matters() {
        let bytes = bounded(io::repeat(b'#'), u64::MAX).unwrap();
        assert_eq!(bytes.len(), MAX_BYTES + 1);
    }

    #[test]
    fn directories_pipes_and_devices_are_no_profiles() {
        let what = |path: &str| match Files.read(Path::new(path)) {
            Err(ReadError::NotAFile(what)) => what,
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(what("/"), "a directory");
        assert_eq!(what("/dev/zero"), "a device");
        assert!(matches!(
            Files.read(Path::new("/nonexistent")),
            Err(ReadError::NotFound)
        ));
    }
}
