//! The kernel, one concept per file: thin, typed system calls that decide nothing.
//!
//! Where `rustix` has a call in the form needed, any crate calls it there. This crate has what `rustix` lacks, what
//! takes several calls, and all `unsafe` code of the workspace except `runtime/src/seccomp/install.rs`.
//! Functions that run between `fork` and `exec` allocate nothing and take no lock.

pub mod accounts;
pub mod capabilities;
pub mod files;
pub mod landlock;
pub mod memory;
pub mod mount;
pub mod namespaces;
pub mod netlink;
pub mod notify;
pub mod output;
pub mod private;
pub mod proc;
pub mod process;
pub mod signal;
pub mod socket;
pub mod status;
pub mod terminal;
pub mod walk;

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Turns a system call's return value into a result, reading `errno`.
fn check(result: impl Into<libc::c_long>) -> io::Result<libc::c_long> {
    match result.into() {
        ..0 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// The descriptor that a system call returned.
///
/// # Safety
/// `result` must come from a call that returns a new descriptor, which nobody else owns.
unsafe fn descriptor(result: impl Into<libc::c_long>) -> io::Result<OwnedFd> {
    // SAFETY: a result that is not an error is a new descriptor, as the caller guarantees.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A path in the kernel's form. Paths with NUL are refused long before; here they give `EINVAL`.
pub fn cstring(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
