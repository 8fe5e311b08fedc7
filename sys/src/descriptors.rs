//! Descriptors: reading, writing, and letting none slip into the command (`close_range(2)`).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::{check, cstring};

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: no pointers; marking a descriptor close-on-exec invalidates none.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    })?;
    Ok(())
}

/// Closes every descriptor of this process but some: for a child that needs nothing of what its
/// parent has open, and whose copies would keep pipes from ending.
pub fn close_all_but<const N: usize>(keep: [&OwnedFd; N]) {
    let mut keep = keep.map(|fd| fd.as_raw_fd() as libc::c_uint);
    keep.sort_unstable();
    let mut first = 0;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1);
        }
        first = fd + 1;
    }
    close_range(first, libc::c_uint::MAX);
}

fn close_range(first: libc::c_uint, last: libc::c_uint) {
    // SAFETY: no pointers; what the child's memory says of these descriptors is never used again.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Clears close-on-exec, so that `exec` keeps the descriptor.
pub fn keep_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers; an fd that is not open gives EBADF.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into())?;
    Ok(())
}

/// Closes a descriptor by number, one that no [`OwnedFd`] of this process owns.
pub fn close(fd: RawFd) {
    // SAFETY: the callers pass 0, 1, 2 and inherited numbers, which this process does not own as
    // `OwnedFd`; an error changes nothing for them.
    unsafe { libc::close(fd) };
}

/// Makes `to` refer to what `from` does (`dup2(2)`), without close-on-exec.
pub fn duplicate_to(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: no pointers; `to` is one of 0, 1, 2, which nothing owns.
    check(unsafe { libc::dup2(from, to) }.into())?;
    Ok(())
}

/// Whether a descriptor number is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// One of the standard descriptors, if it is open.
pub fn borrow(fd: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: 0, 1 and 2 are never closed while the supervisor uses them, but at the end of PID 1,
    // which does not come here.
    ((0..=2).contains(&fd) && is_open(fd)).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Another descriptor for the same open file, from 3 on, closed on `exec`.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer, and is defined for numbers that are not open.
    let copy = super::check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

/// Whether a descriptor refers to a directory, or is an `O_PATH` one.
pub fn is_location(fd: RawFd) -> bool {
    // SAFETY: `stat` is plain data for which all zeroes is a value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: no pointers but to `stat`, which outlives the call; a closed number gives EBADF.
    let (result, flags) = unsafe { (libc::fstat(fd, &mut stat), libc::fcntl(fd, libc::F_GETFL)) };
    result == 0
        && (stat.st_mode & libc::S_IFMT == libc::S_IFDIR || flags >= 0 && flags & libc::O_PATH != 0)
}

/// Whether a descriptor can be written.
pub fn is_writable(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags >= 0 && flags & libc::O_ACCMODE != libc::O_RDONLY
}

/// Opens an existing file by path with plain `open(2)`.
pub fn open(path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: the path is NUL-terminated and outlives the call.
    let fd = check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) }.into())?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Writes all of `bytes`, going on after a short write or a signal.
pub fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the buffer is as long as said and outlives the call.
        let written = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        match check(written as libc::c_long) {
            Ok(written) => bytes = &bytes[written as usize..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `read(2)`, once, going on after a signal.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the buffer is as long as said and outlives the call.
        let got = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match check(got as libc::c_long) {
            Ok(got) => return Ok(got as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a file of the kernel's, of no known size, in as few calls as will do.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(&cstring(path)?, libc::O_RDONLY)?;
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
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for the two descriptors.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }.into())?;
    // SAFETY: the kernel just returned both descriptors, and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}
