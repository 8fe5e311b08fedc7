//! Processes: `vfork(2)` and `execve(2)`, waiting, `kill(2)`, limits, ids, the start of a program.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use rustix::thread::CpuSet;

use super::status::Stat;
use super::{check, files, signal};

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

/// Call this first. Afterwards 0, 1 and 2 are open, on `/dev/null` if the caller had closed them, so that
/// no file opened later gets one of these numbers; and a write to a closed pipe, or beyond the caller's limit
/// on file sizes, is an error and does not end the process.
pub fn begin() {
    for fd in 0..=2 {
        if !files::is_open(fd) {
            // Gets the lowest free number, which is this one. If this fails, everything after it fails too.
            if let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
                std::mem::forget(null);
            }
        }
    }
    signal::IGNORED.into_iter().for_each(signal::ignore);
    // A caller that ignores it hands that on, and nothing could be waited for: `wait(2)`, "ECHILD".
    signal::default_action(libc::SIGCHLD);
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

/// Acts on files as this user and group (`setfsuid(2)`), and drops all supplementary groups; the process keeps its own
/// ids, so that this user may not signal it.
pub fn act_as(uid: u32, gid: u32) -> io::Result<()> {
    rustix::thread::set_thread_groups(&[])?;
    for (call, id) in [(libc::SYS_setfsgid, gid), (libc::SYS_setfsuid, uid)] {
        // SAFETY: no pointers. It returns the id before, and no error: asked again, it says whether it was set.
        let set = unsafe {
            libc::syscall(call, id);
            libc::syscall(call, id)
        };
        if set as u32 != id {
            return Err(Errno::PERM.into());
        }
    }
    Ok(())
}

/// Acts on files as this user, and then as `own` again (`setfsuid(2)`): without capabilities over files, where `own` is root and
/// the other is not. The group and the supplementary groups stay: see [`file_group`].
pub fn with_file_user<T>(user: u32, own: u32, act: impl FnOnce() -> T) -> T {
    keep_death_signal(|| {
        // SAFETY: no pointers. An id that may not be taken leaves the one before.
        let set = |user: u32| unsafe { libc::syscall(libc::SYS_setfsuid, user) };
        set(user);
        let result = act();
        set(own);
        result
    })
}

/// The group that files are acted on with: `setfsgid(2)`. Returns the one before; one that may not be taken leaves it.
pub fn file_group(group: u32) -> u32 {
    // SAFETY: no pointers.
    keep_death_signal(|| unsafe { libc::syscall(libc::SYS_setfsgid, group) as u32 })
}

/// Does what changes credentials, at which the kernel forgets what [`die_with_parent`] asks for: it stays asked for.
pub fn keep_death_signal<T>(act: impl FnOnce() -> T) -> T {
    let signal = rustix::process::parent_process_death_signal();
    let parent = rustix::process::getppid();
    let result = act();
    if let Ok(Some(signal)) = signal {
        let _ = rustix::process::set_parent_process_death_signal(Some(signal));
        if rustix::process::getppid() != parent {
            let _ = kill(std::process::id() as i32, signal.as_raw());
        }
    }
    result
}

/// Changes the user and group of the calling thread alone, in the current user namespace, and drops all
/// supplementary groups.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    rustix::thread::set_thread_groups(&[])?;
    Ok(become_ids(uid, gid)?)
}

/// As [`become_user`], but keeps the supplementary groups.
pub(crate) fn become_ids(uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(uid),
        rustix::fs::Gid::from_raw(gid),
    );
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// `PR_SET_PDEATHSIG`: `SIGKILL` for this process when the thread that started it ends. A change
/// of ids clears this, so call it after one.
pub fn die_with_parent() -> io::Result<()> {
    let signal = Some(Signal::KILL);
    Ok(rustix::process::set_parent_process_death_signal(signal)?)
}

/// `PR_SET_DUMPABLE` 1: the user owns this process's `/proc` files.
pub fn dumpable() -> io::Result<()> {
    let dumpable = DumpableBehavior::Dumpable;
    Ok(rustix::process::set_dumpable_behavior(dumpable)?)
}

/// `PR_SET_DUMPABLE` 0: nobody without privileges may trace this process or open its `/proc`.
pub fn not_dumpable() -> io::Result<()> {
    let dumpable = DumpableBehavior::NotDumpable;
    Ok(rustix::process::set_dumpable_behavior(dumpable)?)
}

/// `prlimit(2)` on this process: sets the limit to `new`, if given, and returns the one before. `resource` is a
/// number, as in plans.
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

/// Sets both the soft and the hard limit of this process.
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

/// Sets the soft limit of this process and keeps the hard one.
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
    // With the flag SCHED_RESET_ON_FORK in this value, they do not.
    matches!(policy, libc::SCHED_FIFO | libc::SCHED_RR)
}

/// Leaves real-time scheduling, of the processor and of disks (`sched(7)`, `ioprio_set(2)`), for the default.
pub fn leave_real_time() -> io::Result<()> {
    // `IOPRIO_WHO_PROCESS`, and of `linux/ioprio.h` the shift of a class, its real-time class, and the default.
    const PROCESS: i32 = 1;
    const CLASS: i32 = 13;
    const REAL_TIME: libc::c_long = 1;
    if children_are_real_time() {
        let usual = libc::sched_param { sched_priority: 0 };
        // SAFETY: the parameters outlive the call; 0 is the calling thread.
        check(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &usual) })?;
    }
    // SAFETY: no pointers; 0 is the calling thread.
    unsafe {
        if libc::syscall(libc::SYS_ioprio_get, PROCESS, 0) >> CLASS == REAL_TIME {
            check(libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, 0))?;
        }
    }
    Ok(())
}

/// Puts the calling process into a new process group. Returns its number, in the process's own pid namespace.
pub fn new_group() -> io::Result<i32> {
    rustix::process::setpgid(None, None)?;
    Ok(rustix::process::getpid().as_raw_pid())
}

/// How many processors this process may run on: `sched_getaffinity(2)`.
pub fn processors() -> usize {
    rustix::thread::sched_getaffinity(None).map_or(1, |allowed| allowed.count().max(1) as usize)
}

/// Restricts this process to the first `count` of the processors that it may use.
pub fn use_processors(count: usize) -> io::Result<()> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let mut chosen = CpuSet::new();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .take(count)
        .for_each(|cpu| chosen.set(cpu));
    Ok(rustix::thread::sched_setaffinity(None, &chosen)?)
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
