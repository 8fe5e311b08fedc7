//! The file for a run's report: checked before the command starts, written after it has ended.
//!
//! A file is written beside its final place and renamed to it, so that nobody reads half a report,
//! and never through a symbolic link. Its directory is held open from the start, and the temporary
//! file is made only after the command and everything it started are gone: a command that may
//! write there can neither redirect nor alter its own report.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use aegis_sys::private::{self, Put};
use aegis_sys::walk;
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

/// The place of one report.
#[derive(Debug)]
pub(crate) enum ReportFile {
    /// A file to be made or replaced in this directory.
    File { directory: OwnedFd, name: OsString },
    /// An open descriptor.
    Stream(File),
}

impl ReportFile {
    /// Checks that a report can be written to `place`: `-`, `/dev/fd/N`, or a path.
    pub(crate) fn open(place: &Path) -> io::Result<Self> {
        if let Some(fd) = descriptor(place) {
            return Ok(Self::Stream(duplicate(fd)?.into()));
        }
        let name = place
            .file_name()
            .ok_or_else(|| io::Error::other("it is not the name of a file"))?
            .to_owned();
        let parent = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = walk::directory(parent, false)?;
        match rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
            Ok(found) => match FileType::from_raw_mode(found.st_mode) {
                // A link is replaced, and not followed.
                FileType::RegularFile | FileType::Symlink => {}
                FileType::Directory => return Err(io::ErrorKind::IsADirectory.into()),
                // Opening it could wait, or do something to a device.
                _ => {
                    return Err(io::Error::other(
                        "it is not a regular file; a pipe or device can be given open, as /dev/fd/N",
                    ));
                }
            },
        }
        private::can_put(&directory, &name)?;
        Ok(Self::File { directory, name })
    }

    /// Writes the report.
    pub(crate) fn write(self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(mut stream) => stream.write_all(text),
            Self::File { directory, name } => {
                private::put(&directory, &name, text, Put::Replace, false).map(|_| ())
            }
        }
    }
}

/// The descriptor that a path stands for.
fn descriptor(place: &Path) -> Option<i32> {
    let number = match place.to_str()? {
        "-" | "/dev/stdout" => "1",
        "/dev/stderr" => "2",
        text => (text.strip_prefix("/dev/fd/")).or(text.strip_prefix("/proc/self/fd/"))?,
    };
    number.parse().ok().filter(|fd| *fd >= 0)
}

fn duplicate(fd: i32) -> io::Result<OwnedFd> {
    let fd = aegis_sys::files::inherited(fd).ok_or(rustix::io::Errno::BADF)?;
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, 3)?;
    let flags = rustix::fs::fcntl_getfl(&copy)?;
    if flags & OFlags::RWMODE == OFlags::RDONLY {
        return Err(io::Error::other("this descriptor is open for reading only"));
    }
    Ok(copy)
}
