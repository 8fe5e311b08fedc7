//! Processes: `vfork(2)` and `execve(2)`, waiting, `kill(2)`, the start of a program. What this process itself is: `itself`.

mod itself;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use super::status::Stat;
use super::{check, files, signal};

pub(crate) use itself::become_ids;
pub use itself::*;

/// Runs `act` in a new process that shares this one's memory (`vfork(2)`) and, with `CLONE_FILES` in `flags`,
/// its descriptors, on a stack of its own. This process is suspended until the child has executed a program
/// or ended; `act` returns the child's exit status.
///
/// `act` may borrow from this process. It must neither allocate nor take a lock, and must do with 64 KiB of
/// stack.
///
/// The stack stays mapped; few of its pages were ever used. Unmapping it would interrupt the
/// processor that the child ran on, at the very moment when it starts the command.
pub fn vfork<F: FnMut() -> i32>(flags: i32, mut act: F) -> io::Result<i32> {
    extern "C" fn entry<F: FnMut() -> i32>(act: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it is the `act` below, whose owner is suspended while we use it.
        let act = unsafe { &mut *act.cast::<F>() };
        act()
    }
    const SIZE: usize = 64 * 1024;
    // SAFETY: a new anonymous mapping; it aliases nothing. MAP_STACK pages appear when touched.
    let stack = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if stack == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: one past the end of the mapping, 16-byte aligned, is where a downward stack starts; `entry` is
    // for this very type, and `act` outlives the child's use of it.
    let pid = unsafe {
        let top = stack.byte_add(SIZE);
        libc::clone(entry::<F>, top, flags, (&raw mut act).cast())
    };
    check(pid).map(|pid| pid as i32)
}

/// A program to execute, prepared for a process that may not allocate: see [`vfork`].
pub struct Program {
    path: CString,
    // The strings that the pointers below point to.
    _strings: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
}

impl Program {
    /// A file, its arguments (the first is its name) and its environment (`NAME=value`).
    pub fn new(path: CString, argv: Vec<CString>, environment: Vec<CString>) -> Self {
        let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
            let strings = list.iter().map(|text| text.as_ptr());
            strings.chain([std::ptr::null()]).collect()
        };
        Self {
            path,
            argv: pointers(&argv),
            environment: pointers(&environment),
            _strings: argv.into_iter().chain(environment).collect(),
        }
    }

    /// `execve(2)`; returns only when it failed. `token` is in the last register, which the call does not look at and a
    /// seccomp filter can.
    pub fn execute(&self, token: u64) -> io::Error {
        let (argv, environment) = (self.argv.as_ptr(), self.environment.as_ptr());
        // SAFETY: both arrays end with NULL, and point to strings that do not move while they are owned here.
        unsafe {
            libc::syscall(
                libc::SYS_execve,
                self.path.as_ptr(),
                argv,
                environment,
                0_u64,
                0_u64,
                token,
            )
        };
        io::Error::last_os_error()
    }
}

/// Tries to execute the file of a descriptor (`execveat(2)`); returns why that failed.
pub fn execute_descriptor(fd: BorrowedFd<'_>) -> io::Error {
    let argv = [c"program".as_ptr(), std::ptr::null()];
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

/// `fork(2)`: the child's pid, or `None` in the child.
///
/// This is glibc's, which leaves the allocator usable in the child whatever other threads did. The
/// child must end by [`exit_now`].
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: no pointers; the child goes on with a copy of this thread and of all memory.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid as i32))
}

/// Which of 0, 1, 2 the caller had closed, by bit.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Whether the caller had closed a descriptor which [`begin`] has opened onto `/dev/null`.
pub fn was_closed(fd: RawFd) -> bool {
    (0..=2).contains(&fd) && CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}

/// Call this first. Afterwards 0, 1 and 2 are open, on `/dev/null` if the caller had closed them, so that
/// no file opened later gets one of these numbers; and a write to a closed pipe, or beyond the caller's limit
/// on file sizes, is an error and does not end the process.
pub fn begin() {
    for fd in 0..=2 {
        if !files::is_open(fd) {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
            // Gets the lowest free number, which is this one. If this fails, everything after it fails too.
            if let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
                std::mem::forget(null);
            }
        }
    }
    signal::IGNORED.into_iter().for_each(signal::ignore);
    // A caller that ignores it hands that on, and nothing could be waited for: `wait(2)`, "ECHILD".
    signal::default_action(libc::SIGCHLD);
    // A start takes a few hundred KiB: asked of the kernel at once, and not in ten pieces.
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; an option that the allocator does not know changes nothing.
    unsafe {
        libc::mallopt(libc::M_TOP_PAD, 1 << 20);
    }
}

/// Overwrites the words that this program was started with by its name: whoever sees the process may read them
/// (`/proc/PID/cmdline`, `proc(5)`). For a child that goes on with a copy of the memory and reads them no more.
pub fn forget_arguments() -> io::Result<()> {
    let stat = Stat::of(None)?;
    // arg_start and arg_end.
    let (Some(start), Some(end)) = (stat.field::<usize>(48), stat.field::<usize>(49)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let length = end.saturating_sub(start);
    let name = stat.name.as_bytes();
    let kept = &name[..name.len().min(length.saturating_sub(1))];
    let words = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel put the words there, at the bottom of this process's stack, which is writable; no other thread
    // exists that could read them meanwhile.
    unsafe {
        std::ptr::write_bytes(words, 0, length);
        std::ptr::copy_nonoverlapping(kept.as_ptr(), words, kept.len());
    }
    Ok(())
}

/// Whether this process has more than one thread. If so, nothing may be allocated after a `clone` without
/// `exec`, and user namespaces cannot be joined.
pub fn has_threads() -> bool {
    // One directory for each thread, plus `.` and the parent's link.
    rustix::fs::stat("/proc/self/task").is_ok_and(|tasks| tasks.st_nlink > 3)
}

/// Whether the executed file gave this process more authority than its caller has: ids by a
/// set-user-id or set-group-id bit, or capabilities. `AT_SECURE` of `getauxval(3)` alone is not enough to
/// tell: a security module sets it at its own transitions too.
pub fn has_others_authority() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    if getuid() != geteuid() || getgid() != getegid() {
        return true;
    }
    // SAFETY: it takes a number, and returns one.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) != 0 };
    secure
        && !getuid().is_root()
        && rustix::thread::capabilities(None).map_or(true, |sets| !sets.permitted.is_empty())
}

/// How a process ended or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It called `exit` with this status.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// A signal stopped it.
    Stopped(i32),
    /// It was continued.
    Continued,
}

impl Change {
    /// The signal that brought it about, as a shell tells it: an exit status of 128+n stands for signal n.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Exited(status) => (status > 128).then_some(status - 128),
            Self::Killed(signal) | Self::Stopped(signal) => Some(signal),
            Self::Continued => None,
        }
    }
}

impl From<WaitStatus> for Change {
    fn from(status: WaitStatus) -> Self {
        let exited = status.exit_status().map(Self::Exited);
        exited
            .or_else(|| status.terminating_signal().map(Self::Killed))
            .or_else(|| status.stopping_signal().map(Self::Stopped))
            .unwrap_or(Self::Continued)
    }
}

/// `wait4(2)` for any child, or for one. `None`: no child has changed (only with `NOHANG`).
fn wait_with(pid: Option<i32>, options: WaitOptions) -> io::Result<Option<(i32, Change)>> {
    let all = WaitOptions::from_bits_retain(libc::__WALL as u32);
    let options = options | WaitOptions::UNTRACED | WaitOptions::CONTINUED | all;
    let changed = rustix::io::retry_on_intr(|| match pid.and_then(Pid::from_raw) {
        Some(pid) => rustix::process::waitpid(Some(pid), options),
        None => rustix::process::wait(options),
    })?;
    Ok(changed.map(|(pid, status)| (pid.as_raw_pid(), status.into())))
}

/// Waits for any child, or for one. Returns its pid and what happened. Reaps children that ended.
pub fn wait(pid: Option<i32>) -> io::Result<(i32, Change)> {
    wait_with(pid, WaitOptions::empty())?.ok_or(Errno::CHILD.into())
}

/// As [`wait`] for any child, until `deadline` at most; `None`: the deadline has passed. `SIGCHLD` must
/// be blocked.
pub fn wait_until(deadline: Instant) -> io::Result<Option<(i32, Change)>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(changed) = wait_with(None, WaitOptions::NOHANG)? {
            return Ok(Some(changed));
        }
        if left.is_zero() {
            return Ok(None);
        }
        let time = libc::timespec {
            tv_sec: left.as_secs() as libc::time_t,
            tv_nsec: left.subsec_nanos().into(),
        };
        // SAFETY: set and time outlive the call. The loop finds out whether a child or the time ended it.
        unsafe {
            libc::sigtimedwait(&signal::set(&[libc::SIGCHLD]), std::ptr::null_mut(), &time);
        }
    }
}

/// Waits until a child has ended.
pub fn reap(pid: i32) -> io::Result<Change> {
    loop {
        match wait(Some(pid))?.1 {
            Change::Stopped(_) | Change::Continued => {}
            ended => return Ok(ended),
        }
    }
}

/// Reaps a child if it has ended; returns whether it had.
pub fn reap_if_ended(pid: i32) -> bool {
    matches!(
        wait_with(Some(pid), WaitOptions::NOHANG),
        Ok(Some((_, Change::Exited(_) | Change::Killed(_)))) | Err(_)
    )
}

/// Waits until a child has ended, for so long at most; it is not reaped. Returns whether it has.
pub fn ends_within(pid: i32, time: Duration) -> io::Result<bool> {
    let child = open(pid)?;
    let mut fds = [PollFd {
        fd: child.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }];
    Ok(poll(&mut fds, Some(time.as_nanos() as u64))? > 0)
}

/// Resources used by ended children: (user µs, system µs, largest resident set in KiB).
pub fn children_usage() -> (u64, u64, u64) {
    // SAFETY: `rusage` is plain data for which all zeroes is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` outlives the call, which cannot fail with these arguments.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (
        micros(usage.ru_utime),
        micros(usage.ru_stime),
        usage.ru_maxrss as u64,
    )
}

/// `pidfd_open(2)`.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// The process that a pidfd is of, in this process's pid namespace: `proc_pid_fdinfo(5)`.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let about = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let about = std::fs::read_to_string(about).ok()?;
    let pid = about.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|pid| *pid > 0)
}

/// `pidfd_send_signal(2)`.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(signal).ok_or(Errno::INVAL)?;
    Ok(rustix::process::pidfd_send_signal(pidfd, signal)?)
}

/// `kill(2)`; a negative pid is a process group, -1 all that may be signalled.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// Ends this process at once, running no destructors.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: never returns, touches nothing of ours.
    unsafe { libc::_exit(status) }
}

/// A descriptor to poll and the events seen on it.
pub use libc::pollfd as PollFd;

/// `ppoll(2)`: the number of ready descriptors; 0 on time-out. `timeout` in nanoseconds.
pub fn poll(fds: &mut [PollFd], timeout: Option<u64>) -> io::Result<usize> {
    let time = timeout.map(|nanos| libc::timespec {
        tv_sec: (nanos / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = fds.len() as libc::nfds_t;
    // SAFETY: the array is as long as said; it and the time outlive the call.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), count, time, std::ptr::null()) };
    match check(ready) {
        Ok(ready) => Ok(ready as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}
