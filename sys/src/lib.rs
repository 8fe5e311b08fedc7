//! The kernel, one primitive a file: thin, typed system calls, and nothing that decides.
//!
//! Everything `unsafe` in this crate lives below this folder (and in `seccomp/install.rs`). What is
//! called between `fork` and `exec` allocates nothing and takes no lock.

pub mod capabilities;
pub mod descriptors;
pub mod landlock;
pub mod mount;
pub mod namespaces;
pub mod network;
pub mod notify;
pub mod probe;
pub mod process;
pub mod socket;
pub mod terminal;

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Turns a system call's return value into a result, reading `errno`.
pub fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A path as the kernel takes it. Paths with NUL are refused long before; here they are `EINVAL`.
pub fn cstring(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
