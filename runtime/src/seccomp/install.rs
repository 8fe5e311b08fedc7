//! Loads a program into the kernel: the only system call of this folder.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use libc::sock_filter;

/// Whether the filter gets a listener, to which the calls of [`super::Action::Notify`] go: the flags of `seccomp(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Listener {
    /// None. A call with `Notify` then fails with `ENOSYS`.
    None = 0,
    /// A listener. A signal to the calling process may cancel its call at any time.
    Interruptible = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    /// A listener; once it has received a call, only a fatal signal cancels that call
    /// (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19). Older kernels give `EINVAL`.
    WaitKillable =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}

/// Puts the calling thread under the program, for good; what it executes and forks inherits it.
///
/// The caller has set `PR_SET_NO_NEW_PRIVS`. Allocates nothing and takes no lock, so that it may be
/// called between `vfork` and `exec`. With a listener its descriptor is returned, close-on-exec.
///
/// # Errors
/// As `seccomp(2)`: `EINVAL` for a program that the kernel does not accept or a flag it does not know,
/// `EACCES` without no_new_privs, `EBUSY` for a second listener.
pub fn install(program: &[sock_filter], listener: Listener) -> io::Result<Option<OwnedFd>> {
    let too_long = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(too_long)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the third argument points to a sock_fprog that outlives the call, and that to
    // `len` instructions. The kernel copies them and writes through neither pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            listener as libc::c_ulong,
            &raw const program,
        )
    };
    match (result, listener) {
        (..0, _) => Err(io::Error::last_os_error()),
        (_, Listener::None) => Ok(None),
        // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
        (fd, _) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
    }
}
