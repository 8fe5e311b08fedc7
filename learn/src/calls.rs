//! System calls: those that the default set refused, and the rounding of those that were made.

use std::collections::BTreeSet;

use aegis_observation::{Abi, Observation};

use crate::evidence::{About, Notes};
use crate::surroundings::{Host, Standing};

/// Calls that do the same, or that a library uses for each other. One that was made stands for all of them.
#[rustfmt::skip]
pub const EQUIVALENT: &[&[&str]] = &[
    &["open", "openat", "creat", "openat2"],
    &["stat", "lstat", "fstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"],
    &["readlink", "readlinkat"],
    &["statfs", "fstatfs"],
    &["read", "readv", "pread64", "preadv", "preadv2"],
    &["write", "writev", "pwrite64", "pwritev", "pwritev2"],
    &["close", "close_range"],
    &["dup", "dup2", "dup3"],
    &["pipe", "pipe2"],
    &["getdents", "getdents64"],
    &["chdir", "fchdir"],
    &["mkdir", "mkdirat"],
    &["unlink", "unlinkat", "rmdir"],
    &["rename", "renameat", "renameat2"],
    &["link", "linkat"],
    &["symlink", "symlinkat"],
    &["mknod", "mknodat"],
    &["chmod", "fchmod", "fchmodat", "fchmodat2"],
    &["chown", "fchown", "lchown", "fchownat"],
    &["utime", "utimes", "futimesat", "utimensat"],
    &["truncate", "ftruncate"],
    &["fsync", "fdatasync", "sync_file_range"],
    &["sendfile", "copy_file_range", "splice"],
    &["getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr"],
    &["setxattr", "lsetxattr", "fsetxattr"],
    &["removexattr", "lremovexattr", "fremovexattr"],
    &["poll", "ppoll", "select", "pselect6"],
    &["epoll_create", "epoll_create1"],
    &["epoll_wait", "epoll_pwait", "epoll_pwait2"],
    &["eventfd", "eventfd2"],
    &["signalfd", "signalfd4"],
    &["inotify_init", "inotify_init1"],
    &["timerfd_create", "timerfd_settime", "timerfd_gettime"],
    &["mmap", "munmap", "mremap", "mprotect", "madvise", "brk"],
    &["mlock", "mlock2", "munlock", "mlockall", "munlockall"],
    &["futex", "futex_wait", "futex_wake", "futex_waitv", "futex_requeue", "set_robust_list", "get_robust_list", "membarrier", "rseq"],
    &["clone", "clone3", "fork", "vfork"],
    &["execve", "execveat"],
    &["wait4", "waitid"],
    &["exit", "exit_group"],
    &["rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "rt_sigsuspend", "rt_sigpending", "rt_sigtimedwait", "restart_syscall"],
    &["kill", "tkill", "tgkill"],
    &["pidfd_open", "pidfd_send_signal"],
    &["clock_gettime", "clock_getres", "gettimeofday", "time", "times"],
    &["nanosleep", "clock_nanosleep"],
    &["alarm", "setitimer", "getitimer"],
    &["timer_create", "timer_settime", "timer_gettime", "timer_getoverrun", "timer_delete"],
    &["getpid", "getppid", "gettid"],
    &["getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups"],
    &["getpgrp", "getpgid", "setpgid", "getsid", "setsid"],
    &["getrlimit", "setrlimit", "prlimit64"],
    &["getrusage", "sysinfo", "uname"],
    &["sched_getaffinity", "sched_yield", "getcpu"],
    &["getpriority", "setpriority"],
    &["accept", "accept4"],
    &["sendto", "sendmsg", "sendmmsg"],
    &["recvfrom", "recvmsg", "recvmmsg"],
    &["getsockname", "getpeername", "getsockopt", "setsockopt", "shutdown"],
    &["setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid"],
];

/// Calls that libraries try and do without.
const TRIED: [&str; 5] = [
    "clone3",
    "openat2",
    "io_uring_setup",
    "file_setattr",
    "io_setup",
];

/// The calls that were made.
pub(crate) fn made(seen: &[&Observation]) -> BTreeSet<String> {
    let native = seen.iter().filter_map(|seen| seen.calls.get(&Abi::Native));
    native.flatten().cloned().collect()
}

/// What was made, rounded: calls that the default set has, without those that every set has.
pub(crate) fn rounded(made: &BTreeSet<String>, host: &dyn Host) -> BTreeSet<String> {
    let groups = EQUIVALENT
        .iter()
        .filter(|group| group.iter().any(|call| made.contains(*call)));
    let same = groups.flat_map(|group| group.iter().map(|call| (*call).to_owned()));
    let all = same.chain(made.iter().cloned());
    all.filter(|call| host.standing(call) == Some(Standing::Granted))
        .collect()
}

/// Calls beyond the default set that were tried in vain, and that a profile can add. The others become notes.
pub(crate) fn beyond(
    seen: &[&Observation],
    host: &dyn Host,
    notes: &mut Notes,
) -> BTreeSet<String> {
    let mut possible = BTreeSet::new();
    let refused = seen.iter().flat_map(|seen| &seen.refused_calls);
    for refused in refused.filter(|refused| !TRIED.contains(&refused.call.as_str())) {
        let (call, error) = (&refused.call, &refused.error);
        match host.standing(call) {
            Some(Standing::OnRequest) => drop(possible.insert(call.clone())),
            Some(Standing::Never) => {
                notes.add(
                    About::Call,
                    format!("{call} was refused ({error}); no profile grants it"),
                );
            }
            Some(Standing::Granted | Standing::Start) => {
                notes.add(
                    About::Call,
                    format!("{call} failed with {error}, as the kernel or a path has it"),
                );
            }
            None => notes.add(
                About::Call,
                format!("{call} failed with {error}; it is unknown"),
            ),
        }
    }
    let others = seen.iter().filter_map(|seen| seen.calls.get(&Abi::Compat));
    let others: BTreeSet<&String> = others.flatten().collect();
    if !others.is_empty() {
        let text = format!(
            "{} calls of another ABI (32 bits) were tried, which no profile grants",
            others.len()
        );
        notes.add(About::Call, text);
    }
    possible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_in_two_groups() {
        let mut named = BTreeSet::new();
        for call in EQUIVALENT.iter().copied().flatten() {
            assert!(named.insert(call), "{call}");
        }
    }
}
