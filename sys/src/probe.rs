//! What only `aegis doctor` asks of the kernel: a copy of this process to try things in, and
//! whether a memfd may be executed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;

/// `fork(2)`: the child's pid, or `None` in the child.
///
/// This is glibc's, which leaves the allocator usable in the child whatever other threads did. The
/// child must end by [`super::process::exit_now`].
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: no pointers; the child goes on with a copy of this thread and of all memory.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok((pid != 0).then_some(pid as i32))
}

/// Tries to execute what a descriptor refers to (`execveat(2)`); returns why that failed.
pub fn execute(fd: BorrowedFd<'_>) -> io::Error {
    let argv = [c"doctor".as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with NULL and hold NUL-terminated strings; they and the literal path
    // outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}
