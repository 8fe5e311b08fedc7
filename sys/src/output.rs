//! What a person names to be written to: a file or an open descriptor.
//!
//! A file gets its name only when it is whole, so that nobody reads half of it, and never through a symbolic link. Its
//! directory is held open from the start, and the file is made only when it is written: a command that ran
//! meanwhile and may write there can neither redirect nor alter it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;

use crate::private::{self, Put};
use crate::{files, process, walk};

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What came of a run, for the user alone. It replaces an older one, and a symbolic link, which an earlier run may have made.
    Report,
    /// For others to read too, as the umask says. A regular file is replaced where `replace` says so, and nothing else is.
    Document {
        /// `--force`
        replace: bool,
    },
}

/// Where something is to be written.
#[derive(Debug)]
pub enum Output {
    /// A file.
    File(NamedFile),
    /// An open descriptor.
    Stream(File),
}

impl Output {
    /// Checks that this can be written: `-`, `/dev/fd/N`, or a path.
    ///
    /// # Errors
    ///
    /// It cannot. [`io::ErrorKind::AlreadyExists`]: there is a file that is not to be replaced.
    pub fn open(place: &Path, kind: Kind) -> io::Result<Self> {
        if let Some(fd) = descriptor(place) {
            return Ok(Self::Stream(duplicate(fd)?.into()));
        }
        let is_special = |place: &Path| {
            let found =
                rustix::fs::lstat(place).map(|found| FileType::from_raw_mode(found.st_mode));
            !matches!(
                found,
                Err(_) | Ok(FileType::RegularFile | FileType::Directory | FileType::Symlink)
            )
        };
        NamedFile::open(place, kind)
            .map(Self::File)
            .map_err(|error| match is_special(place) {
                true => io::Error::other(format!(
                    "{error}; a pipe or device can be given open, as /dev/fd/N"
                )),
                false => error,
            })
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&NamedFile> {
        match self {
            Self::File(file) => Some(file),
            Self::Stream(_) => None,
        }
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => (&*stream).write_all(bytes),
            // Nobody waits for the disk on a report's account.
            Self::File(file) if file.kind == Kind::Report => {
                private::put(&file.directory, &file.name, bytes, file.how(), false).map(|_| ())
            }
            Self::File(file) => write_all(&[(file, bytes)]).map_err(|(_, error)| error),
        }
    }
}

/// A file that is to be made or replaced.
#[derive(Debug)]
pub struct NamedFile {
    directory: OwnedFd,
    name: OsString,
    kind: Kind,
}

impl NamedFile {
    /// As [`Output::open`], where an open descriptor would not do.
    ///
    /// # Errors
    ///
    /// As there, and where the place stands for a descriptor.
    pub fn open(place: &Path, kind: Kind) -> io::Result<Self> {
        if descriptor(place).is_some() {
            return Err(io::Error::other("it is not the name of a file"));
        }
        let (directory, name) = locate(place)?;
        let found = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW);
        match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
            Ok(FileType::Symlink) if kind != Kind::Report => {
                return Err(not_a_link(&directory, &name));
            }
            Ok(found) => private::may_be_replaced(found)?,
        }
        if found.is_ok() && kind == (Kind::Document { replace: false }) {
            return Err(there_already());
        }
        private::can_put(&directory, &name)?;
        Ok(Self {
            directory,
            name,
            kind,
        })
    }

    /// Whether another one is the same file.
    pub fn is_same(&self, other: &Self) -> bool {
        let directory = |file: &Self| {
            let found = rustix::fs::fstat(&file.directory).ok()?;
            Some((found.st_dev, found.st_ino))
        };
        self.name == other.name && directory(self) == directory(other)
    }

    fn how(&self) -> Put {
        match self.kind {
            Kind::Document { replace: false } => Put::New,
            _ => Put::Replace,
        }
    }
}

/// Writes all of these documents or none: only when each of them is whole does any get its name.
///
/// # Errors
///
/// One of them, by its number, cannot be written. Those that were new are gone again.
pub fn write_all(files: &[(&NamedFile, &[u8])]) -> Result<(), (usize, io::Error)> {
    let mut staged = Vec::new();
    for (number, (file, bytes)) in files.iter().enumerate() {
        let one = private::stage_public(file.directory.as_fd(), &file.name, bytes);
        staged.push(one.map_err(|error| (number, error))?);
    }
    let mut placed: Vec<&NamedFile> = Vec::new();
    for (number, (one, (file, _))) in staged.into_iter().zip(files).enumerate() {
        let error = match one.place(file.how()) {
            Ok(true) => {
                placed.extend((file.how() == Put::New).then_some(file));
                continue;
            }
            Ok(false) => there_already(),
            Err(error) => error,
        };
        for file in placed {
            let _ = rustix::fs::unlinkat(&file.directory, &file.name, AtFlags::empty());
        }
        return Err((number, error));
    }
    Ok(())
}

/// The directory of a file that a person names, opened on their behalf ([`walk::directory`]), and the name in it.
///
/// # Errors
///
/// It has none, or that cannot be opened.
pub fn locate(place: &Path) -> io::Result<(OwnedFd, OsString)> {
    let name = place
        .file_name()
        .ok_or_else(|| io::Error::other("it is not the name of a file"))?;
    let parent = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((walk::directory(parent, false)?, name.to_owned()))
}

/// That a symbolic link is neither replaced nor followed.
pub fn not_a_link(directory: &OwnedFd, name: &OsStr) -> io::Error {
    match rustix::fs::readlinkat(directory, name, Vec::new()) {
        Ok(target) => io::Error::other(format!(
            "it is not a regular file but a link to {}: name that",
            target.to_string_lossy()
        )),
        Err(error) => error.into(),
    }
}

fn there_already() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "it is there already")
}

/// The descriptor that a path stands for.
fn descriptor(place: &Path) -> Option<RawFd> {
    let number = match place.to_str()? {
        "-" | "/dev/stdout" => "1",
        "/dev/stderr" => "2",
        text => (text.strip_prefix("/dev/fd/")).or(text.strip_prefix("/proc/self/fd/"))?,
    };
    number.parse().ok().filter(|fd| *fd >= 0)
}

/// Whether this is standard output.
pub fn is_standard_output(place: &Path) -> bool {
    descriptor(place) == Some(1)
}

fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    let open = files::inherited(fd).filter(|_| !process::was_closed(fd));
    let copy = rustix::io::fcntl_dupfd_cloexec(open.ok_or(Errno::BADF)?, 3)?;
    let flags = rustix::fs::fcntl_getfl(&copy)?;
    if flags & OFlags::RWMODE == OFlags::RDONLY {
        return Err(io::Error::other("this descriptor is open for reading only"));
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_written_or_none() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let new = Kind::Document { replace: false };
        let files = ["a", "b"].map(|name| NamedFile::open(&at(name), new).unwrap());
        let all = [(&files[0], &b"1"[..]), (&files[1], &b"2"[..])];
        // Somebody else is quicker.
        std::fs::write(at("b"), "other").unwrap();
        let (number, error) = write_all(&all).unwrap_err();
        assert_eq!((number, error.kind()), (1, io::ErrorKind::AlreadyExists));
        let names: Vec<_> = std::fs::read_dir(temporary.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["b"], "nothing is left of the first");
        std::fs::remove_file(at("b")).unwrap();
        write_all(&all).unwrap();
        assert_eq!(std::fs::read(at("a")).unwrap(), b"1");
        assert_eq!(std::fs::read(at("b")).unwrap(), b"2");
    }

    #[test]
    fn only_a_regular_file_is_replaced_by_a_document() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let directory = File::open(temporary.path()).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(&directory, "pipe", FileType::Fifo, mode, 0).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        std::fs::write(at("file"), "old").unwrap();
        let replace = Kind::Document { replace: true };
        let opened = |name: &str, kind| Output::open(&at(name), kind).map(drop);
        for name in ["pipe", "link", "directory"] {
            assert!(opened(name, replace).is_err(), "{name}");
        }
        assert!(opened("link", Kind::Report).is_ok());
        let there = opened("file", Kind::Document { replace: false }).unwrap_err();
        assert_eq!(there.kind(), io::ErrorKind::AlreadyExists);
        let output = Output::open(&at("file"), replace).unwrap();
        // What has come in its place meanwhile stays.
        std::fs::rename(at("pipe"), at("file")).unwrap();
        assert!(output.write(b"new").is_err());
        assert!(NamedFile::open(Path::new("-"), replace).is_err());
    }
}
