//! Descriptors: reading, writing, and keeping them from the command (`close_range(2)`).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use super::check;

/// `close_range(2)`, which rustix does not have.
fn close_range(first: RawFd, last: libc::c_uint, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: no pointers. Descriptors are marked close-on-exec, which invalidates no descriptor, or closed in a
    // child that never uses the values that own them again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
    Ok(())
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor of this process except `keep`: for a child that needs nothing of its parent's,
/// and whose copies would keep pipes from reaching their end.
pub fn close_all_but<const N: usize>(keep: [&OwnedFd; N]) {
    let mut keep = keep.map(|fd| fd.as_raw_fd());
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep {
        if fd > first {
            let _ = close_range(first, fd as libc::c_uint - 1, 0);
        }
        first = fd + 1;
    }
    let _ = close_range(first, libc::c_uint::MAX, 0);
}

/// Clears close-on-exec, so that `exec` keeps the descriptor.
pub fn keep_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers; an fd that is not open gives EBADF.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
    Ok(())
}

/// Makes `to` refer to what `from` does (`dup2(2)`), without close-on-exec.
pub fn duplicate_to(from: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    // SAFETY: no pointers; `to` is one of 0, 1, 2, or what is to be there, and stays open.
    check(unsafe { libc::dup2(from.as_raw_fd(), to) })?;
    Ok(())
}

/// Opens a regular file for reading. What else is there is looked at and not opened: opening a pipe waits, opening a
/// device does something.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    open_found(rustix::fs::open(path, flags, Mode::empty())?)
}

/// As [`open_regular`], by its name in a directory. A link is not followed.
pub fn open_regular_at(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open_found(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

fn open_found(found: OwnedFd) -> io::Result<File> {
    let stat = rustix::fs::fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is not a regular file"));
    }
    // Not to wait for a lease on it to be given up, nor for a kernel's log.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Whether a descriptor number is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// An inherited descriptor, if it is open.
pub fn inherited(fd: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: this process never closes a descriptor that it was started with (0, 1, 2, and those it was told
    // to pass on) while it uses it, except at the end of PID 1, which does not call this.
    is_open(fd).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Whether a descriptor refers to a directory or was opened with `O_PATH`.
pub fn is_location(fd: RawFd) -> bool {
    inherited(fd).is_some_and(|fd| {
        rustix::fs::fstat(fd)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
            || rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::PATH))
    })
}

/// Where in its file a descriptor is.
pub fn position(fd: RawFd) -> io::Result<u64> {
    Ok(rustix::fs::tell(inherited(fd).ok_or(Errno::BADF)?)?)
}

/// Whether a descriptor can be written.
pub fn is_writable(fd: RawFd) -> bool {
    inherited(fd)
        .and_then(|fd| rustix::fs::fcntl_getfl(fd).ok())
        .is_some_and(|flags| flags & OFlags::RWMODE != OFlags::RDONLY)
}

/// Opens an existing file, close-on-exec. Allocates nothing if the path is a `CStr`.
pub fn open(path: impl Arg, flags: i32) -> io::Result<OwnedFd> {
    let flags = OFlags::from_bits_retain(flags as u32) | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// `R_OK`, `W_OK` and `X_OK` of [`may`].
pub const READ: i32 = libc::R_OK;
/// To be written.
pub const WRITE: i32 = libc::W_OK;
/// To be executed, or, of a directory, to be entered.
pub const SEARCH: i32 = libc::X_OK;

/// Whether this process, with its effective ids and capabilities, may use a file so, on the mount that it was reached by:
/// `faccessat2(2)`. Works for descriptors that were opened with `O_PATH`.
pub fn may(fd: BorrowedFd<'_>, mode: i32) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_EACCESS;
    // SAFETY: the path is a literal, and no memory is written.
    let may = unsafe {
        let (fd, path) = (fd.as_raw_fd(), c"".as_ptr());
        libc::syscall(libc::SYS_faccessat2, fd, path, mode, flags)
    };
    match super::check(may) {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::ACCESS)),
    }
}

/// Writes all of `bytes`, continuing after a short write or a signal. A descriptor that the command has left
/// non-blocking is waited for.
pub fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut full = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                rustix::io::retry_on_intr(|| rustix::event::poll(&mut full, None))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// `read(2)`, once, retried after a signal.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| {
        rustix::io::read(fd, &mut *buffer)
    })?)
}

/// `read(2)` into the spare capacity of a buffer, once, retried after a signal.
pub fn read_more(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| {
        rustix::io::read(fd, rustix::buffer::spare_capacity(buffer))
    })?)
}

/// Reads a kernel file, whose size is unknown, in as few calls as possible.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path, libc::O_RDONLY)?;
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        match read(file.as_fd(), &mut bytes[length..])? {
            0 => break,
            got => length += got,
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// A pipe, both ends close-on-exec: (read, write).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_none_is_waited_for() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert!(open_regular(&path).is_ok());
        for other in [Path::new("/dev/zero"), temporary.path()] {
            assert!(open_regular(other).is_err(), "{}", other.display());
        }
        // Its breaking is told by a signal that ends a process by default.
        crate::signal::ignore(libc::SIGIO);
        let holder = File::options().read(true).write(true).open(&path).unwrap();
        // SAFETY: no pointers; the descriptor is open.
        let leased = unsafe { libc::fcntl(holder.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        assert_eq!(leased, 0, "{}", io::Error::last_os_error());
        let error = open_regular(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(holder);
        assert!(open_regular(&path).is_ok());
    }
}
