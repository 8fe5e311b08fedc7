//! Where the report of a run goes: checked before the command starts, written after it has ended.
//!
//! A file is written beside its final place and moved there, so that nobody reads half a report,
//! and never through a symbolic link. Its directory is held open from the start, and the temporary
//! file made only when the command and everything that it started are gone: a command that may
//! write there can neither redirect nor alter what is recorded about it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use aegis_runtime::supervise::report::Report;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// The place of one report.
#[derive(Debug)]
pub(crate) enum ReportFile {
    /// A file to be made or replaced in this directory.
    File { directory: OwnedFd, name: OsString },
    /// What was open already, or is no regular file.
    Stream(File),
}

impl ReportFile {
    /// Checks that a report can be written to `place`: `-`, `/dev/fd/N`, or a path.
    pub(crate) fn open(place: &Path) -> io::Result<Self> {
        if let Some(fd) = descriptor(place) {
            return Ok(Self::Stream(duplicate(fd)?.into()));
        }
        match place.metadata() {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            // Pipes and devices: there is nothing to replace.
            Ok(found) if !found.is_file() => {
                let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
                return Ok(Self::Stream(
                    rustix::fs::open(place, flags, Mode::empty())?.into(),
                ));
            }
            _ => {}
        }
        let name = place
            .file_name()
            .ok_or_else(|| io::Error::other("it is not the name of a file"))?
            .to_owned();
        let parent = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty())?;
        let report = Self::File { directory, name };
        if let Self::File { directory, name } = &report {
            // Whether a file can be made there is known when one has been made.
            if nameless(directory)?.is_none() {
                let temporary = temporary(name);
                drop(create(directory, &temporary)?);
                rustix::fs::unlinkat(directory, &temporary, AtFlags::empty())?;
            }
        }
        Ok(report)
    }

    /// Writes the report, as JSON for people.
    pub(crate) fn write(self, report: &Report) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(report)?;
        text.push(b'\n');
        match self {
            Self::Stream(mut stream) => stream.write_all(&text),
            Self::File { directory, name } => {
                let temporary = temporary(&name);
                let result = replace(&directory, &temporary, &name, &text);
                if result.is_err() {
                    let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
                }
                result
            }
        }
    }
}

/// The descriptor that a place stands for.
fn descriptor(place: &Path) -> Option<i32> {
    match place.to_str()? {
        "-" | "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        text => ["/dev/fd/", "/proc/self/fd/"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .and_then(|number| number.parse().ok())
            .filter(|fd| *fd >= 0),
    }
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

/// A name that nothing else takes: of this process, and hidden.
fn temporary(name: &OsStr) -> PathBuf {
    // The whole must not be longer than a name may be, so the tail of a long one is left out.
    let mut short = OsString::from(".");
    match name.len() {
        ..=200 => short.push(name),
        _ => short.push("report"),
    }
    short.push(format!(".{}.aegis", std::process::id()));
    short.into()
}

fn create(directory: &OwnedFd, name: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR);
    let file = match open() {
        // Left behind by a process of the same number, or put there by the command.
        Err(rustix::io::Errno::EXIST) => {
            rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
            open()?
        }
        result => result?,
    };
    Ok(file.into())
}

fn replace(directory: &OwnedFd, temporary: &Path, name: &OsStr, text: &[u8]) -> io::Result<()> {
    let nameless = nameless(directory)?;
    let named = nameless.is_some();
    let mut file = match nameless {
        Some(file) => file,
        None => create(directory, temporary)?,
    };
    file.write_all(text)?;
    let placed = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    if placed.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory) {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if named {
        match give_name(&file, directory, Path::new(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result,
        }
        let _ = rustix::fs::unlinkat(directory, temporary, AtFlags::empty());
        give_name(&file, directory, temporary)?;
    }
    rustix::fs::renameat(directory, temporary, directory, name)?;
    Ok(())
}

/// A file without a name (`O_TMPFILE`), of which nothing is left when we are killed. `None`: this
/// file system has none.
fn nameless(directory: &OwnedFd) -> io::Result<Option<File>> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(Some(file.into())),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn give_name(file: &File, directory: &OwnedFd, name: &Path) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = AtFlags::SYMLINK_FOLLOW;
    Ok(rustix::fs::linkat(
        rustix::fs::CWD,
        path,
        directory,
        name,
        flags,
    )?)
}
