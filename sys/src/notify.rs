//! seccomp user notification: `seccomp_unotify(2)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

// `_IOWR('!', N, type)` of linux/seccomp.h, the same on every architecture that we build for.
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_ID_VALID: libc::c_ulong = 0x4008_2102;
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The kernel's name for this notification.
    pub id: u64,
    /// The calling thread, in our pid namespace.
    pub pid: i32,
    /// System call number.
    pub nr: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Arguments.
    pub args: [u64; 6],
}

/// Takes the next waiting call. `None`: it is gone already.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Call>> {
    // SAFETY: `seccomp_notif` is plain data, and must be all zeroes going in.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: `call` has the size that the request encodes, and outlives the call.
    match check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV as _, &mut call) }.into()) {
        Ok(_) => Ok(Some(Call {
            id: call.id,
            pid: call.pid as i32,
            nr: call.data.nr,
            arch: call.data.arch,
            args: call.data.args,
        })),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn send(listener: BorrowedFd<'_>, id: u64, error: i32, flags: u32) -> io::Result<()> {
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -error,
        flags,
    };
    // SAFETY: `answer` has the size that the request encodes, and outlives the call.
    match check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND as _, &mut answer) }.into()) {
        // The caller was killed meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Fails the call with `errno`.
pub fn refuse(listener: BorrowedFd<'_>, call: &Call, errno: i32) -> io::Result<()> {
    send(listener, call.id, errno, 0)
}

/// Lets the call return 0 without having happened.
pub fn succeed(listener: BorrowedFd<'_>, call: &Call) -> io::Result<()> {
    send(listener, call.id, 0, 0)
}

/// Lets the kernel carry the call out. Its arguments in memory may change meanwhile: never a
/// decision, only for calls that would have been allowed in any case.
pub fn go_on(listener: BorrowedFd<'_>, call: &Call) -> io::Result<()> {
    const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 1;
    send(listener, call.id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
}

/// Whether the call still waits: what was read of its memory was then its own.
pub fn still_waits(listener: BorrowedFd<'_>, call: &Call) -> bool {
    // SAFETY: the id outlives the call.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ID_VALID as _, &call.id) == 0 }
}

/// Gives the caller a descriptor, which is what its call returns.
pub fn answer_with_descriptor(
    listener: BorrowedFd<'_>,
    call: &Call,
    fd: BorrowedFd<'_>,
    close_on_exec: bool,
) -> io::Result<()> {
    const SECCOMP_ADDFD_FLAG_SEND: u32 = 2;
    let add = libc::seccomp_notif_addfd {
        id: call.id,
        flags: SECCOMP_ADDFD_FLAG_SEND,
        srcfd: fd.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if close_on_exec {
            libc::O_CLOEXEC as u32
        } else {
            0
        },
    };
    // SAFETY: `add` has the size that the request encodes, and outlives the call.
    match check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ADDFD as _, &add) }.into()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Reads another process's memory: `process_vm_readv(2)`. The number of bytes read.
pub fn read_memory(pid: i32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: the local buffer is as long as said and outlives the call; the remote address is
    // not ours, and a bad one gives EFAULT.
    let got = unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) };
    check(got as libc::c_long).map(|got| got as usize)
}

/// A copy of another process's descriptor: `pidfd_getfd(2)`.
pub fn copy_descriptor(pidfd: BorrowedFd<'_>, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A memfd that can never be executed: `memfd_create(2)`.
pub fn memfd(name: &std::ffi::CStr, flags: u32) -> io::Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated and outlives the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), flags) }.into())?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
