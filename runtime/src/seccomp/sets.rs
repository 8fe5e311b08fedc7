//! The base sets: which system calls each of them grants, by theme, and why the others are refused.
//!
//! The sets nest: `learned` ⊂ `minimal` ⊂ `default`.
//!
//! * `learned`: what a dynamic program needs to be executed, to load its libraries, and to end. The
//!   profile's `allow` adds the calls that were observed.
//! * `minimal`: a program that works on its files and descriptors, with threads, children and pipes:
//!   jq, sqlite3, a compiler, a static binary. It cannot open a socket (unless the sandbox has the
//!   host's network), trace, share memory by key, or change its identity.
//! * `default`: whatever an ordinary program does, shells, interpreters, package managers, browsers'
//!   engines and debuggers included.
//!
//! A granted call may still be narrowed by argument: see [`super::guards`]. A call whose number
//! is in no theme is newer than this table and gets `ENOSYS`, so that libraries fall
//! back on what they did before it existed.
//!
//! Every call of the tables is in exactly one theme, as a test checks, so each call of a new kernel
//! needs a decision here.

use super::{
    Arch, MAX_NUMBER,
    arch::position,
    guards::{GUARDS, Guard},
    table::X86_64,
    table_aarch64::AARCH64,
};

/// The set of calls that a filter starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// What ordinary programs do.
    Default,
    /// What a single-purpose program needs.
    Minimal,
    /// What any program needs to start; the rest is listed by the profile.
    Learned,
}

/// When the calls of a theme are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Granted in every base.
    Start,
    /// Granted in `minimal` and `default`.
    Minimal,
    /// Granted in `default`, and in `minimal` when the sandbox has the host's network.
    Connect,
    /// Granted in `default`.
    Default,
    /// Refused, unless the profile asks for it.
    OnRequest,
    /// The same, but with `ENOSYS`, and without asking the supervisor: programs try these as a
    /// matter of course and do without.
    OnRequestQuiet,
    /// Refused, whatever the profile asks for.
    Never,
    /// The same, with `ENOSYS` and without asking the supervisor.
    NeverQuiet,
}

/// Calls that belong together.
pub(super) struct Theme {
    /// When they are granted.
    pub standing: Standing,
    /// Why they are granted then.
    pub why: &'static str,
    /// Their names; those that an architecture does not have are skipped there.
    pub calls: &'static [&'static str],
}

const fn theme(standing: Standing, why: &'static str, calls: &'static [&'static str]) -> Theme {
    Theme {
        standing,
        why,
        calls,
    }
}

use Standing::{Connect, Default, Minimal, Never, NeverQuiet, OnRequest, OnRequestQuiet, Start};

/// Every system call, by theme.
#[rustfmt::skip]
pub(super) const THEMES: &[Theme] = &[
    // --- Granted everywhere: to start and to end --------------------------------------------
    theme(Start, "the launch itself", &[
        "execve", "exit", "exit_group", "restart_syscall", "rt_sigreturn",
    ]),
    theme(Start, "the C library's start-up: memory, thread pointer, limits, randomness", &[
        "arch_prctl", "brk", "futex", "getrandom", "mmap", "mprotect", "munmap", "prlimit64", "rseq",
        "rt_sigaction", "rt_sigprocmask", "set_robust_list", "set_tid_address",
    ]),
    theme(Start, "the dynamic loader: finding and mapping libraries", &[
        "access", "close", "faccessat", "faccessat2", "fcntl", "fstat", "getcwd", "lseek", "lstat",
        "newfstatat", "open", "openat", "pread64", "read", "readlink", "readlinkat", "stat", "statx",
    ]),
    theme(Start, "saying what went wrong, and who says it", &[
        "getegid", "geteuid", "getgid", "getpid", "getppid", "gettid", "getuid", "uname", "write",
        "writev",
    ]),
    theme(Start, "made by the kernel's own trampolines when a probe is attached to the program from \
                  outside; it never chose to make them", &[
        "uprobe", "uretprobe",
    ]),

    // --- Granted in minimal: files, memory, time, signals, children ------------------------
    theme(Minimal, "reading and writing descriptors", &[
        "copy_file_range", "dup", "dup2", "dup3", "fadvise64", "fallocate", "fdatasync", "flock",
        "fsync", "ftruncate", "ioctl", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2",
        "readahead", "readv", "sendfile", "splice", "sync_file_range", "syncfs", "sync", "tee",
        "truncate", "vmsplice", "cachestat", "close_range",
    ]),
    theme(Minimal, "naming files: reach is Landlock's and the mount table's matter", &[
        "chdir", "chmod", "chown", "creat", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown",
        "fchownat", "fstatfs", "futimesat", "getdents", "getdents64", "lchown", "link", "linkat",
        "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2", "rmdir", "statfs",
        "symlink", "symlinkat", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimes",
    ]),
    theme(Minimal, "extended attributes: the security and trusted ones need capabilities", &[
        "fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr",
        "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr",
        "removexattrat", "setxattr", "setxattrat", "file_getattr",
    ]),
    theme(Minimal, "memory of its own", &[
        "madvise", "map_shadow_stack", "membarrier", "memfd_create", "mincore", "mlock", "mlock2",
        "mlockall", "mremap", "mseal", "msync", "munlock", "munlockall", "pkey_alloc", "pkey_free",
        "pkey_mprotect",
    ]),
    theme(Minimal, "waiting for descriptors", &[
        "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait",
        "eventfd", "eventfd2", "pipe", "pipe2", "poll", "ppoll", "pselect6", "select", "signalfd",
        "signalfd4",
    ]),
    theme(Minimal, "clocks and timers; setting a clock is refused below", &[
        "alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday",
        "nanosleep", "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun",
        "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime",
        "times",
    ]),
    theme(Minimal, "signals: the process namespace bounds who can be reached", &[
        "kill", "pause", "pidfd_open", "pidfd_send_signal", "rt_sigpending", "rt_sigqueueinfo",
        "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sigaltstack", "tgkill", "tkill",
    ]),
    theme(Minimal, "threads and children", &[
        "clone", "execveat", "fork", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake",
        "get_robust_list", "prctl", "unshare", "vfork", "wait4", "waitid",
    ]),
    theme(Minimal, "sessions and process groups: job control", &[
        "getpgid", "getpgrp", "getsid", "setpgid", "setsid",
    ]),
    theme(Minimal, "knowing its own identity and use of resources", &[
        "capget", "getcpu", "getgroups", "getpriority", "getresgid", "getresuid", "getrlimit",
        "getrusage", "setrlimit", "sysinfo",
    ]),
    theme(Minimal, "scheduling: raising a priority needs a capability or a limit that allows it", &[
        "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
        "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity",
        "sched_yield",
    ]),
    theme(Minimal, "a sandbox inside: these only take away", &[
        "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp",
    ]),
    theme(Minimal, "talking over what it was given or made as a pair", &[
        "getpeername", "getsockname", "getsockopt", "recvfrom", "recvmsg", "sendmsg", "sendto",
        "setsockopt", "shutdown", "socketpair",
    ]),

    // --- Sockets ---------------------------------------------------------------------------
    theme(Connect, "sockets of the narrowed families", &[
        "accept", "accept4", "bind", "connect", "listen", "recvmmsg", "sendmmsg", "socket",
    ]),

    // --- Granted in default ----------------------------------------------------------------
    theme(Default, "watching files", &[
        "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch",
    ]),
    theme(Default, "asynchronous I/O of the old kind: a narrow interface, used by databases", &[
        "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_submit",
    ]),
    theme(Default, "System V and POSIX queues and shared memory: the ipc namespace is its own", &[
        "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
        "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat",
        "shmctl", "shmdt", "shmget",
    ]),
    theme(Default, "changing identity: without capabilities the kernel lets it only give up", &[
        "capset", "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid",
        "setreuid", "setuid",
    ]),
    theme(Default, "debugging its own processes: the process namespace, a non-dumpable first process \
                    and Landlock's domain keep it inside", &[
        "kcmp", "pidfd_getfd", "process_madvise", "process_mrelease", "process_vm_readv",
        "process_vm_writev", "ptrace",
    ]),
    theme(Default, "priorities and placement, which cgroups bound", &[
        "get_mempolicy", "ioprio_get", "ioprio_set", "mbind", "sched_setattr", "sched_setparam",
        "sched_setscheduler", "set_mempolicy", "set_mempolicy_home_node", "setpriority",
    ]),
    theme(Default, "learning about its own mounts and security modules", &[
        "listmount", "lsm_get_self_attr", "lsm_list_modules", "name_to_handle_at", "statmount",
    ]),
    theme(Default, "execution domains, narrowed to the harmless ones", &["personality"]),

    // --- Refused, but a profile may ask for them --------------------------------------------
    theme(OnRequest, "its kernel code has been exploited again and again, and few programs use it", &[
        "add_key", "keyctl", "request_key", "perf_event_open", "userfaultfd", "fanotify_init",
        "fanotify_mark", "memfd_secret", "modify_ldt", "remap_file_pages", "uselib",
    ]),
    theme(OnRequest, "it shows or moves what belongs to the machine, not to the sandbox", &[
        "lookup_dcookie", "migrate_pages", "move_pages", "sysfs", "ustat", "adjtimex",
        "lsm_set_self_attr", "clock_adjtime",
    ]),
    theme(OnRequestQuiet, "it takes from a number of requests that all of the machine shares (fs.aio-max-nr); \
                           programs do without", &["io_setup"]),
    theme(OnRequestQuiet, "newer than what programs rely on; they fall back on ioctl", &[
        "file_setattr",
    ]),
    theme(OnRequestQuiet, "not implemented by any kernel today", &[
        "_sysctl", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old",
        "get_kernel_syms", "get_thread_area", "getpmsg", "nfsservctl", "putpmsg", "query_module",
        "security", "set_thread_area", "tuxcall", "vserver",
    ]),

    // --- Never ------------------------------------------------------------------------------
    theme(NeverQuiet, "its flags lie in memory, where no filter can see whether they ask for a \
                       namespace; programs fall back on clone", &["clone3"]),
    theme(NeverQuiet, "its mode lies in memory, where no filter can see whether it sets a setuid bit; \
                       programs fall back on openat", &["openat2"]),
    theme(NeverQuiet, "it makes other system calls past the filter; programs fall back on epoll or \
                       threads", &[
        "io_uring_enter", "io_uring_register", "io_uring_setup",
    ]),
    theme(Never, "the mount table is a wall of the sandbox; it is built before the command starts", &[
        "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount",
        "open_tree", "open_tree_attr", "pivot_root", "umount2",
    ]),
    theme(Never, "it would leave the sandbox's namespaces", &["setns"]),
    theme(Never, "it opens files by number, past every path rule", &["open_by_handle_at"]),
    theme(Never, "it runs programs in the kernel, which see and change every process", &["bpf"]),
    theme(Never, "it loads code into the kernel or replaces it", &[
        "delete_module", "finit_module", "init_module", "kexec_file_load", "kexec_load",
    ]),
    theme(Never, "it needs a capability over the whole machine, and no sandbox has one", &[
        "acct", "clock_settime", "ioperm", "iopl", "quotactl", "quotactl_fd", "reboot",
        "setdomainname", "sethostname", "settimeofday", "swapoff", "swapon", "syslog", "vhangup",
    ]),
];

/// What the themes and guards say about one number.
#[derive(Clone, Copy)]
pub(super) struct CallEntry {
    /// When the call is granted.
    pub standing: Standing,
    /// Its index in the architecture's table.
    pub index: u16,
    /// The index of its theme.
    pub theme: u8,
    /// How its arguments are narrowed, once granted.
    pub guard: Option<Guard>,
}

impl CallEntry {
    /// Why the call has its standing.
    pub const fn why(&self) -> &'static str {
        THEMES[self.theme as usize].why
    }
}

type CallEntries = [Option<CallEntry>; MAX_NUMBER as usize];

/// The entries of an architecture, by number.
pub(super) fn entries(arch: Arch) -> &'static CallEntries {
    // Made at compile time, since looking up 380 names would cost more at a start than
    // compiling the filter does.
    static ENTRIES_X86_64: CallEntries = sort_out(X86_64);
    static ENTRIES_AARCH64: CallEntries = sort_out(AARCH64);
    match arch {
        Arch::X86_64 => &ENTRIES_X86_64,
        Arch::Aarch64 => &ENTRIES_AARCH64,
    }
}

const fn sort_out(calls: &[(&str, u32)]) -> CallEntries {
    let mut entries: CallEntries = [None; MAX_NUMBER as usize];
    let mut theme = 0;
    while theme < THEMES.len() {
        let Theme {
            standing,
            calls: names,
            ..
        } = THEMES[theme];
        let mut at = 0;
        while at < names.len() {
            if let Some(index) = position(calls, names[at]) {
                let entry = CallEntry {
                    standing,
                    index: index as u16,
                    theme: theme as u8,
                    guard: None,
                };
                entries[calls[index].1 as usize] = Some(entry);
            }
            at += 1;
        }
        theme += 1;
    }
    let mut at = 0;
    while at < GUARDS.len() {
        let (name, guard) = GUARDS[at];
        if let Some(index) = position(calls, name)
            && let Some(entry) = &mut entries[calls[index].1 as usize]
        {
            entry.guard = Some(guard);
        }
        at += 1;
    }
    entries
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_is_in_exactly_one_theme() {
        let mut named = BTreeSet::new();
        for name in THEMES.iter().flat_map(|theme| theme.calls) {
            assert!(named.insert(*name), "{name} is in two themes");
        }
        let known: BTreeSet<_> = Arch::ALL
            .iter()
            .flat_map(|arch| arch.syscalls())
            .map(|(name, _)| *name)
            .collect();
        let undecided: Vec<_> = known.difference(&named).collect();
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(undecided.is_empty(), "no theme has {undecided:?}");
        assert!(unknown.is_empty(), "no table has {unknown:?}");
    }

    #[test]
    fn every_guard_guards_a_known_call() {
        for (name, guard) in GUARDS {
            let arch = Arch::X86_64;
            let number = arch
                .number(name)
                .unwrap_or_else(|| panic!("{name} is unknown"));
            let entry = entries(arch)[number as usize].expect("every call has an entry");
            assert_eq!(entry.guard, Some(*guard));
        }
    }
}
