//! seccomp user notification: `seccomp_unotify(2)`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

use super::check;

// `_IOWR('!', N, type)` of linux/seccomp.h, the same on every architecture that we build for.
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_ID_VALID: libc::c_ulong = 0x4008_2102;
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;
const NOTIF_SET_FLAGS: libc::c_ulong = 0x4008_2104;

/// A call that waits for an answer; its `pid` is that of the calling thread, in our pid namespace.
pub use libc::seccomp_notif as Call;

/// `ioctl(2)` on a listener, and what it returns. `None`: the call no longer waits, since its process was killed.
///
/// # Safety
/// `argument` must have the type that `request` takes.
unsafe fn ioctl<T>(
    listener: BorrowedFd<'_>,
    request: libc::c_ulong,
    argument: &mut T,
) -> io::Result<Option<i32>> {
    // SAFETY: the argument has the type that the request takes, as the caller guarantees, and outlives the call.
    match check(unsafe { libc::ioctl(listener.as_raw_fd(), request as _, argument) }) {
        Ok(returned) => Ok(Some(returned as i32)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets the caller and the listener wake each other on one processor, which takes a fraction of the time
/// (`SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`, Linux 6.6).
pub fn wake_on_same_processor(listener: BorrowedFd<'_>) -> io::Result<()> {
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the argument of this request is a number.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS as _, SYNC_WAKE_UP) })
        .map(|_| ())
}

/// Takes the next waiting call. `None`: it is gone already.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Call>> {
    // SAFETY: `seccomp_notif` is plain data, and must be all zeroes going in.
    let mut call: Call = unsafe { std::mem::zeroed() };
    // SAFETY: `call` is what this request takes.
    match unsafe { ioctl(listener, NOTIF_RECV, &mut call) } {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        received => Ok(received?.map(|_| call)),
    }
}

fn send(listener: BorrowedFd<'_>, id: u64, error: i32, flags: u32) -> io::Result<Option<i32>> {
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -error,
        flags,
    };
    // SAFETY: `answer` is what this request takes.
    unsafe { ioctl(listener, NOTIF_SEND, &mut answer) }
}

/// Fails the call with `errno`, or lets it return 0 without having happened.
pub fn answer(listener: BorrowedFd<'_>, call: &Call, errno: i32) -> io::Result<()> {
    send(listener, call.id, errno, 0).map(|_| ())
}

/// Lets the kernel carry the call out. Its arguments in memory may change before that, so this is never a
/// decision about them: only for calls that would have been allowed in any case. Returns whether the call
/// still waited: if so, the memory read before belonged to its process.
pub fn go_on(listener: BorrowedFd<'_>, call: &Call) -> io::Result<bool> {
    const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 1;
    send(listener, call.id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE).map(|sent| sent.is_some())
}

/// Whether the call still waits: if so, the memory read before belonged to its process.
pub fn still_waits(listener: BorrowedFd<'_>, call: &Call) -> bool {
    let mut id = call.id;
    // SAFETY: the id is what this request takes.
    let valid = unsafe { ioctl(listener, NOTIF_ID_VALID, &mut id) };
    matches!(valid, Ok(Some(_)))
}

/// Installs a descriptor in the caller and makes its call return that.
pub fn answer_with_descriptor(
    listener: BorrowedFd<'_>,
    call: &Call,
    fd: BorrowedFd<'_>,
    close_on_exec: bool,
) -> io::Result<()> {
    const SECCOMP_ADDFD_FLAG_SEND: u32 = 2;
    add(listener, call, fd, close_on_exec, SECCOMP_ADDFD_FLAG_SEND).map(|_| ())
}

/// Installs a descriptor in the caller, whose call still waits for its answer. Returns the number it has there; `None`:
/// the caller is gone.
pub fn add_descriptor(
    listener: BorrowedFd<'_>,
    call: &Call,
    fd: BorrowedFd<'_>,
    close_on_exec: bool,
) -> io::Result<Option<i32>> {
    add(listener, call, fd, close_on_exec, 0)
}

fn add(
    listener: BorrowedFd<'_>,
    call: &Call,
    fd: BorrowedFd<'_>,
    close_on_exec: bool,
    flags: u32,
) -> io::Result<Option<i32>> {
    let mut add = libc::seccomp_notif_addfd {
        id: call.id,
        flags,
        srcfd: fd.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if close_on_exec {
            libc::O_CLOEXEC as u32
        } else {
            0
        },
    };
    // SAFETY: `add` is what this request takes.
    unsafe { ioctl(listener, NOTIF_ADDFD, &mut add) }
}

/// A copy of one of the caller's descriptors: `pidfd_getfd(2)`. If the call [still waits](still_waits) afterwards, it was
/// the caller's.
pub fn take_descriptor(call: &Call, fd: i32) -> io::Result<OwnedFd> {
    // The command's own number, and none of this process's.
    if fd < 0 {
        return Err(Errno::BADF.into());
    }
    // `PIDFD_THREAD`: a thread may have a table of its own.
    let thread = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);
    let open =
        |pid, flags| rustix::process::pidfd_open(Pid::from_raw(pid).ok_or(Errno::SRCH)?, flags);
    let pidfd = match open(call.pid as i32, thread) {
        // Linux before 6.9.
        Err(Errno::INVAL) => open(process_of(call)?, PidfdFlags::empty()),
        opened => opened,
    }?;
    Ok(rustix::process::pidfd_getfd(
        pidfd,
        fd,
        PidfdGetfdFlags::empty(),
    )?)
}

/// The process of the calling thread.
fn process_of(call: &Call) -> io::Result<i32> {
    status(call, "Tgid:", |text| text.parse().ok())
}

/// The caller's file mode creation mask.
pub fn umask(call: &Call) -> io::Result<Mode> {
    status(call, "Umask:", |text| {
        u32::from_str_radix(text, 8).ok().map(Mode::from_raw_mode)
    })
}

/// A line about the calling thread: `proc_pid_status(5)`.
fn status<T>(call: &Call, name: &str, value: impl Fn(&str) -> Option<T>) -> io::Result<T> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", call.pid))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|text| value(text.trim()));
    value.ok_or_else(|| Errno::SRCH.into())
}

/// The caller's memory, to be written by address: `proc_pid_mem(5)`. If the call [still waits](still_waits) afterwards, it
/// is the caller's, and stays that whatever becomes of it.
pub fn memory(call: &Call) -> io::Result<File> {
    let path = format!("/proc/{}/mem", call.pid);
    File::options().write(true).open(path)
}

/// Reads another process's memory: `process_vm_readv(2)`. Returns the number of bytes read.
pub fn read_memory(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
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
    let got = unsafe { libc::process_vm_readv(pid as i32, &local, 1, &remote, 1, 0) };
    check(got as libc::c_long).map(|got| got as usize)
}
