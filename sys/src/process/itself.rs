//! This process: as whom it acts, when it dies, who may trace it, its limits, its scheduling.

use std::io;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::CpuSet;

use super::kill;
use crate::check;

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
