//! Processes: `clone(2)` that shares memory until `exec`, waiting, signals, limits, `prctl(2)`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use super::check;

/// Runs `entry` in a new process that shares this one's memory, on a stack of its own; this process
/// is suspended until the child has called `exec` or `exit`.
///
/// The stack stays mapped, few of its pages ever having been used: to unmap it would interrupt the
/// processor that the child ran on, at the very moment when it starts the command.
///
/// # Safety
/// `argument` must be what `entry` expects. The child may borrow from this process, but must neither
/// allocate nor take a lock.
pub unsafe fn clone_with_stack(
    entry: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    flags: i32,
    argument: *mut libc::c_void,
) -> io::Result<i32> {
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
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK;
    // SAFETY: one past the end of the mapping, 16-byte aligned, is where a downward stack starts;
    // the caller vouches for entry and argument.
    let pid = unsafe { libc::clone(entry, stack.byte_add(SIZE), flags, argument) };
    check(pid.into()).map(|pid| pid as i32)
}

/// What has to be true before anything else is done: 0, 1 and 2 are open, on `/dev/null` where the
/// caller has closed them, so that no file opened later becomes one of them; and a write to a closed
/// pipe, or beyond the caller's limit of file sizes, is an error rather than the end.
pub fn begin() {
    for fd in 0..=2 {
        if !super::descriptors::is_open(fd) {
            // The lowest free number, which is this one. Where it fails, so will all that follows.
            // SAFETY: the path is a NUL-terminated literal.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
    for signal in IGNORED {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// What [`begin`] has ignored, and a command expects to have its default action.
pub const IGNORED: [i32; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// Whether this process has more threads than one. Then nothing may be allocated after a `clone` without
/// `exec`, and user namespaces cannot be joined.
pub fn has_threads() -> bool {
    // A directory for each thread, beside `.` and the parent's link.
    rustix::fs::stat("/proc/self/task").is_ok_and(|tasks| tasks.st_nlink > 3)
}

/// Whether the file that was executed has given this process more than its caller has: ids by a
/// set-user-id or set-group-id bit, or capabilities of its own. `AT_SECURE` of `getauxval(3)` alone says
/// less: a security module sets it at transitions of its own too.
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

/// Has the kernel give the heap so much more at once, rather than page by page as it is first touched: what
/// a short program spends its time on. Where it cannot, nothing is lost.
pub fn expect_heap(bytes: usize) {
    let ahead = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: M_TOP_PAD is a number: by how much more than is needed the heap grows.
    unsafe { libc::mallopt(libc::M_TOP_PAD, ahead) };
    // The end of the heap: what comes next is given from there.
    let last = Vec::<u8>::with_capacity(PAGE);
    let from = last
        .as_ptr()
        .wrapping_add(PAGE)
        .map_addr(|at| at & !(PAGE - 1));
    drop(last);
    // SAFETY: it changes the contents of no page; of an address that is not ours it is an error.
    unsafe { libc::madvise(from.cast_mut().cast(), bytes, libc::MADV_POPULATE_WRITE) };
}

/// As far as the heap's is concerned; larger ones are multiples of it.
const PAGE: usize = 4096;

/// How a process ended or changed, as `waitid(2)` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It called `exit` with this status.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
    /// A signal stopped it.
    Stopped(i32),
    /// It goes on.
    Continued,
}

/// Waits for any child, or for one: its pid and what happened. Reaps the ones that ended.
pub fn wait(pid: Option<i32>) -> io::Result<(i32, Change)> {
    let (which, id) = match pid {
        Some(pid) => (libc::P_PID, pid as libc::id_t),
        None => (libc::P_ALL, 0),
    };
    loop {
        // SAFETY: `siginfo_t` is plain data for which all zeroes is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` outlives the call.
        let result = check(
            unsafe {
                libc::waitid(
                    which,
                    id,
                    &mut info,
                    libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::__WALL,
                )
            }
            .into(),
        );
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        // SAFETY: waitid filled in the SIGCHLD fields.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        let change = match info.si_code {
            libc::CLD_EXITED => Change::Exited(status),
            libc::CLD_KILLED | libc::CLD_DUMPED => Change::Killed(status),
            libc::CLD_STOPPED | libc::CLD_TRAPPED => Change::Stopped(status),
            _ => Change::Continued,
        };
        return Ok((pid, change));
    }
}

/// As [`wait`] for any child, but at most until `deadline`; `None`: it has passed. `SIGCHLD` must
/// be blocked.
pub fn wait_until(deadline: Instant) -> io::Result<Option<(i32, Change)>> {
    loop {
        // SAFETY: `siginfo_t` is plain data for which all zeroes is a value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let events = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED;
        let look = events | libc::WNOWAIT | libc::WNOHANG | libc::__WALL;
        // SAFETY: `info` outlives the call.
        check(unsafe { libc::waitid(libc::P_ALL, 0, &mut info, look) }.into())?;
        // SAFETY: waitid filled in the SIGCHLD fields, with 0 where there is nothing.
        if unsafe { info.si_pid() } != 0 {
            return wait(None).map(Some);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let time = libc::timespec {
            tv_sec: left.as_secs() as libc::time_t,
            tv_nsec: left.subsec_nanos().into(),
        };
        // SAFETY: `sigset_t` is plain data; sigemptyset makes it a value; all outlives the call,
        // whose end, by a child or by time, the loop tells apart.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGCHLD);
            libc::sigtimedwait(&set, std::ptr::null_mut(), &time);
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
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `pidfd_send_signal(2)`.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no signal information is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<u8>(),
            0,
        )
    })?;
    Ok(())
}

/// `kill(2)`; a negative pid is a process group.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(())
}

/// Becomes a user and group, with no supplementary groups, in the current user namespace.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: an empty list needs no pointer. The raw calls suffice: there is one thread.
    check(unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

/// `PR_SET_PDEATHSIG`: `SIGKILL` for this process when the thread that started it ends. A change
/// of ids clears it, so it comes after.
pub fn die_with_parent() -> io::Result<()> {
    super::capabilities::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
}

/// `PR_SET_DUMPABLE` 1: this process's `/proc` files are its user's.
pub fn dumpable() -> io::Result<()> {
    super::capabilities::prctl(libc::PR_SET_DUMPABLE, 1)
}

/// `PR_SET_DUMPABLE` 0: nobody without privileges may trace this process or open its `/proc`.
pub fn not_dumpable() -> io::Result<()> {
    super::capabilities::prctl(libc::PR_SET_DUMPABLE, 0)
}

/// `prlimit(2)` on this process: sets a limit, if there is a new one; the one before.
fn limit(resource: u32, new: Option<libc::rlimit64>) -> io::Result<libc::rlimit64> {
    let mut before = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the new limit, if there is one, and the place for the old one outlive the call.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, &mut before) })?;
    Ok(before)
}

/// Sets the soft and the hard limit of this process alike.
pub fn set_limit(resource: u32, value: u64) -> io::Result<()> {
    let both = libc::rlimit64 {
        rlim_cur: value,
        rlim_max: value,
    };
    limit(resource, Some(both)).map(drop)
}

/// The soft and the hard limit of this process.
pub fn limits(resource: u32) -> (u64, u64) {
    limit(resource, None).map_or((0, 0), |now| (now.rlim_cur, now.rlim_max))
}

/// Sets the soft limit of this process, and leaves the hard one.
pub fn set_soft_limit(resource: u32, value: u64) -> io::Result<()> {
    let soft = libc::rlimit64 {
        rlim_cur: value,
        rlim_max: limits(resource).1,
    };
    limit(resource, Some(soft)).map(drop)
}

/// Whether a process forked by this one runs at real-time priority: `sched(7)`.
pub fn children_are_real_time() -> bool {
    // SAFETY: no pointers; 0 is the calling thread. It cannot fail.
    let policy = unsafe { libc::sched_getscheduler(0) };
    // With SCHED_RESET_ON_FORK, a flag in this value, they do not.
    matches!(policy, libc::SCHED_FIFO | libc::SCHED_RR)
}

/// Leaves the caller's session and process group: a session without a terminal.
pub fn new_session() -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setsid() }.into())?;
    Ok(())
}

/// Puts a child, which has not executed anything yet, into a process group of its own.
pub fn set_group(pid: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setpgid(pid, pid) }.into())?;
    Ok(())
}

/// A process group of its own for the calling process; its number, in its own pid namespace.
pub fn new_group() -> io::Result<i32> {
    // SAFETY: no pointers.
    check(unsafe { libc::setpgid(0, 0) }.into())?;
    // SAFETY: no pointers; cannot fail.
    Ok(unsafe { libc::getpid() })
}

/// `execve(2)`; returns only when it failed.
///
/// # Safety
/// `argv` and `envp` must point to NULL-terminated arrays of NUL-terminated strings.
pub unsafe fn exec(
    path: &CStr,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> io::Error {
    // SAFETY: the caller vouches for the arrays; the path is NUL-terminated.
    unsafe { libc::execve(path.as_ptr(), argv, envp) };
    io::Error::last_os_error()
}

/// How many processors this process may run on: `sched_getaffinity(2)`.
pub fn processors() -> usize {
    // SAFETY: `cpu_set_t` is plain data for which all zeroes is the empty set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set has the size said and outlives the calls.
    unsafe {
        if libc::sched_getaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &mut allowed) != 0 {
            return 1;
        }
        libc::CPU_COUNT(&allowed).max(1) as usize
    }
}

/// Restricts this process to the first `count` of the processors that it may use.
pub fn use_processors(count: usize) -> io::Result<()> {
    // SAFETY: `cpu_set_t` is plain data for which all zeroes is the empty set.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of::<libc::cpu_set_t>();
    // SAFETY: the set has the size said and outlives the call.
    check(unsafe { libc::sched_getaffinity(0, size, &mut allowed) }.into())?;
    // SAFETY: as above.
    let mut chosen: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let mut left = count;
    for cpu in 0..libc::CPU_SETSIZE as usize {
        // SAFETY: `cpu` is below CPU_SETSIZE.
        unsafe {
            if left > 0 && libc::CPU_ISSET(cpu, &allowed) {
                libc::CPU_SET(cpu, &mut chosen);
                left -= 1;
            }
        }
    }
    // SAFETY: the set has the size said and outlives the call.
    check(unsafe { libc::sched_setaffinity(0, size, &chosen) }.into())?;
    Ok(())
}

/// A set of signals to be blocked and taken from a descriptor; the mask before it.
pub struct Signals {
    /// Readable when one of them is pending: `signalfd(2)`.
    pub fd: OwnedFd,
    before: libc::sigset_t,
}

impl Signals {
    /// Blocks `signals` and opens a descriptor for them.
    pub fn block(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: `sigset_t` is plain data; sigemptyset makes it a value.
        let (mut set, mut before): (libc::sigset_t, libc::sigset_t) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: the sets outlive the calls.
        unsafe {
            libc::sigemptyset(&mut set);
            for signal in signals {
                libc::sigaddset(&mut set, *signal);
            }
        }
        // SAFETY: as above.
        check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, &mut before) }.into())?;
        // SAFETY: as above.
        let fd = check(
            unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }.into(),
        )?;
        // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        Ok(Self { fd, before })
    }

    /// The next pending signal: its number and the pid that sent it.
    pub fn next(&self) -> Option<(i32, u32)> {
        // SAFETY: `signalfd_siginfo` is plain data for which all zeroes is a value.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = std::mem::size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer has the size said and outlives the call.
        let got = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size) };
        (got == size as isize).then_some((info.ssi_signo as i32, info.ssi_pid))
    }

    /// Puts back the caller's mask, for what is about to be executed.
    pub fn restore_mask(&self) {
        // SAFETY: the set is one that the kernel gave us; no old one is asked for.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// Blocks every signal: for PID 1, which only waits.
pub fn block_all_signals() {
    // SAFETY: `sigset_t` is plain data; sigfillset makes it a value; both outlive the calls.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// Sets a signal to its default action.
pub fn default_action(signal: i32) {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ends this process by a signal with its default action, leaving no core dump. Returns where the
/// signal does not end processes.
pub fn die_of(signal: i32) {
    // SAFETY: `sigset_t` is plain data; sigemptyset makes it a value; all outlives the calls, and
    // SIG_DFL runs no code of ours.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::signal(signal, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
        libc::raise(signal);
    }
}

/// Ends this process at once, running no destructors.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: never returns, touches nothing of ours.
    unsafe { libc::_exit(status) }
}

/// A pollable descriptor and what was seen on it.
pub use libc::pollfd as PollFd;

/// `ppoll(2)`: the number of ready descriptors; 0 on time-out. `timeout` in nanoseconds.
pub fn poll(fds: &mut [PollFd], timeout: Option<u64>) -> io::Result<usize> {
    let time = timeout.map(|nanos| libc::timespec {
        tv_sec: (nanos / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the array is as long as said; it and the time outlive the call.
    let ready = unsafe {
        libc::ppoll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            time,
            std::ptr::null(),
        )
    };
    match check(ready.into()) {
        Ok(ready) => Ok(ready as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}
