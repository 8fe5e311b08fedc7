//! What the base sets allow and what they refuse, call by call.

use super::{super::*, spec};
use crate::seccomp::spec::filter_on;

pub(super) const EPERM: Action = Action::Errno(libc::EPERM as u16);
const ENOSYS: Action = Action::Errno(libc::ENOSYS as u16);
pub(super) const ALLOW: Action = Action::Allow;
/// What a hostile program puts into the bits that the kernel ignores.
pub(super) const GARBAGE: u64 = 0xDEAD_BEEF_0000_0000;

pub(super) fn ask(spec: &SyscallSpec, name: &str, args: &[u64]) -> Action {
    let filter = filter_on(Arch::X86_64, spec).expect("a valid spec");
    let nr = filter
        .arch
        .number(name)
        .unwrap_or_else(|| panic!("{name} is unknown"));
    let mut data = SeccompData {
        nr,
        arch: filter.arch.audit(),
        ..Default::default()
    };
    data.args[..args.len()].copy_from_slice(args);
    filter.evaluate(&data)
}

/// Each case in the given base without network.
#[track_caller]
pub(super) fn check(base: Base, cases: &[(&str, &[u64], Action)]) {
    for (name, args, expected) in cases {
        assert_eq!(ask(&spec(base), name, args), *expected, "{name} {args:x?}");
    }
}

#[test]
fn namespaces_cannot_be_made() {
    let mut cases: Vec<(&str, Vec<u64>, Action)> = Vec::new();
    let namespaces = [
        0x2_0000,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ];
    for flag in namespaces {
        for call in ["clone", "unshare"] {
            cases.push((call, vec![flag], EPERM));
            cases.push((call, vec![flag | 0x11], EPERM));
            cases.push((call, vec![flag | GARBAGE], EPERM));
        }
    }
    // A thread as glibc makes it, a fork with garbage, and the time namespace.
    cases.push(("clone", vec![0x3D_0F00], ALLOW));
    cases.push(("clone", vec![0x11 | GARBAGE], ALLOW));
    cases.push(("unshare", vec![0x80], EPERM));
    cases.push(("unshare", vec![0x600], ALLOW));
    cases.push(("unshare", vec![0x600 | GARBAGE], EPERM));
    cases.push(("clone3", vec![], ENOSYS));
    cases.push(("setns", vec![], EPERM));
    for base in [Base::Default, Base::Minimal] {
        for (name, args, expected) in &cases {
            assert_eq!(
                ask(&spec(base), name, args),
                *expected,
                "{base:?} {name} {args:x?}"
            );
        }
    }
}

#[test]
fn no_input_can_be_pushed_into_a_terminal() {
    for request in [0x5412, 0x541C, 0x5423, 0x541D] {
        let refused: &[(&str, &[u64], Action)] = &[
            ("ioctl", &[0, request], EPERM),
            ("ioctl", &[0, request | GARBAGE], EPERM),
        ];
        check(Base::Default, refused);
        check(Base::Minimal, refused);
    }
    // TCGETS, TIOCGWINSZ, FIONREAD.
    check(
        Base::Default,
        &[
            ("ioctl", &[0, 0x5401], ALLOW),
            ("ioctl", &[0, 0x5413], ALLOW),
            ("ioctl", &[0, 0x541B], ALLOW),
        ],
    );
}

#[test]
fn no_setuid_or_setgid_bit_can_be_set() {
    for bit in [0o4000, 0o2000, 0o6000] {
        let mode = 0o755 | bit;
        check(
            Base::Default,
            &[
                ("chmod", &[0, mode], EPERM),
                ("fchmod", &[0, mode | GARBAGE], EPERM),
                ("fchmodat", &[0, 0, mode], EPERM),
                ("fchmodat2", &[0, 0, mode], EPERM),
                ("creat", &[0, mode], EPERM),
                ("mknod", &[0, 0o100_000 | mode], EPERM),
                ("mknodat", &[0, 0, mode], EPERM),
                ("open", &[0, 0o101, mode], EPERM),
                ("openat", &[0, 0, 0o101, mode], EPERM),
                ("openat", &[0, 0, 0o20_200_002, mode], EPERM),
                ("openat", &[0, 0, 0o101 | GARBAGE, mode | GARBAGE], EPERM),
                // Without O_CREAT the mode is whatever the register held.
                ("openat", &[0, 0, 0o2_000_000, mode], ALLOW),
            ],
        );
    }
    check(
        Base::Default,
        &[
            ("chmod", &[0, 0o1777], ALLOW),
            ("fchmodat", &[0, 0o6000, 0o755], ALLOW),
            ("openat", &[0, 0, 0o101, 0o666], ALLOW),
            ("openat2", &[], ENOSYS),
        ],
    );
}

#[test]
fn no_device_node_can_be_made() {
    check(
        Base::Default,
        &[
            ("mknod", &[0, 0o020_666, 0x103], EPERM),
            ("mknod", &[0, 0o060_666], EPERM),
            ("mknodat", &[0, 0, 0o020_000 | GARBAGE], EPERM),
            ("mknod", &[0, 0o010_644], ALLOW),
            ("mknod", &[0, 0o140_644], ALLOW),
            ("mknodat", &[0, 0, 0o100_644], ALLOW),
        ],
    );
}

#[test]
fn the_kernels_own_machinery_is_out_of_reach() {
    let refused = [
        "keyctl",
        "add_key",
        "request_key",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "kexec_load",
        "kexec_file_load",
        "init_module",
        "finit_module",
        "delete_module",
        "mount",
        "umount2",
        "move_mount",
        "open_tree",
        "open_tree_attr",
        "fsopen",
        "fsmount",
        "fsconfig",
        "fspick",
        "mount_setattr",
        "pivot_root",
        "chroot",
        "swapon",
        "swapoff",
        "reboot",
        "settimeofday",
        "clock_settime",
        "clock_adjtime",
        "adjtimex",
        "syslog",
        "acct",
        "quotactl",
        "quotactl_fd",
        "iopl",
        "ioperm",
        "modify_ldt",
        "open_by_handle_at",
        "fanotify_init",
        "memfd_secret",
        "vhangup",
        "sethostname",
    ];
    for name in refused {
        check(Base::Default, &[(name, &[], EPERM)]);
        check(Base::Minimal, &[(name, &[], EPERM)]);
        check(Base::Learned, &[(name, &[], EPERM)]);
    }
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        check(Base::Default, &[(name, &[], ENOSYS)]);
    }
}

#[test]
fn a_filter_of_its_own_is_fine_and_a_listener_is_not() {
    check(
        Base::Default,
        &[
            ("seccomp", &[1, 0], ALLOW),
            ("seccomp", &[1, 1], ALLOW),
            ("seccomp", &[1, 8], Action::Errno(libc::EBUSY as u16)),
            (
                "seccomp",
                &[1 | GARBAGE, 8 | GARBAGE],
                Action::Errno(libc::EBUSY as u16),
            ),
            ("seccomp", &[2, 8], ALLOW),
            ("landlock_restrict_self", &[], ALLOW),
        ],
    );
}

#[test]
fn prctl_knows_its_options() {
    let inval = Action::Errno(libc::EINVAL as u16);
    check(
        Base::Default,
        &[
            ("prctl", &[15], ALLOW),
            ("prctl", &[38, 1], ALLOW),
            ("prctl", &[0x5356_4D41], ALLOW),
            ("prctl", &[0x5961_6D61], ALLOW),
            ("prctl", &[35], EPERM),
            ("prctl", &[35 | GARBAGE], EPERM),
            ("prctl", &[62], EPERM),
            ("prctl", &[79], inval),
            ("prctl", &[u64::MAX], inval),
        ],
    );
}

#[test]
fn personalities_do_not_make_memory_executable() {
    check(
        Base::Default,
        &[
            ("personality", &[0xFFFF_FFFF], ALLOW),
            ("personality", &[u64::MAX], ALLOW),
            ("personality", &[0x4_0000], ALLOW),
            ("personality", &[0x40_0000], EPERM),
            ("personality", &[0x44_0000], EPERM),
        ],
    );
}

#[test]
fn debuggers_work_in_default_and_not_in_minimal() {
    for name in ["ptrace", "process_vm_readv", "pidfd_getfd", "kcmp"] {
        check(Base::Default, &[(name, &[], ALLOW)]);
        check(Base::Minimal, &[(name, &[], EPERM)]);
    }
}

#[test]
fn errors_that_are_printed_are_shown_when_someone_watches() {
    let watched = SyscallSpec {
        notify: true,
        watch_stderr: true,
        unix_sockets: UnixSockets::Any,
        listens: true,
        ..spec(Base::Minimal)
    };
    for name in ["write", "writev"] {
        assert_eq!(ask(&watched, name, &[2]), Action::Notify);
        assert_eq!(ask(&watched, name, &[2 | GARBAGE]), Action::Notify);
        assert_eq!(ask(&watched, name, &[1]), ALLOW);
        let alone = SyscallSpec {
            notify: false,
            ..watched.clone()
        };
        assert_eq!(ask(&alone, name, &[2]), ALLOW);
    }
    assert_eq!(ask(&watched, "write", &[2, 0, 1]), ALLOW);
    assert_eq!(ask(&watched, "write", &[2, 0, 1 << 32 | 1]), Action::Notify);
    assert_eq!(ask(&watched, "writev", &[2, 0, 1]), Action::Notify);
}

#[test]
fn what_the_host_has_once_for_all_is_not_taken() {
    let minimal = spec(Base::Default);
    let errno = |number: i32| Action::Errno(number as u16);
    for (name, args, action) in [
        ("mmap", &[0, 4096, 3, 0x22][..], ALLOW),
        ("mmap", &[0, 4096, 3, 0x22 | 0x100], errno(libc::EPERM)),
        ("mmap", &[0, 4096, 3, 0x22 | 0x4_0000], errno(libc::ENOMEM)),
        ("shmget", &[0, 4096, 0o600], ALLOW),
        ("shmget", &[0, 4096, 0o4600], errno(libc::ENOMEM)),
        ("memfd_create", &[0, 3], ALLOW),
        ("memfd_create", &[0, 4], errno(libc::ENOMEM)),
        ("fcntl", &[3, 3], ALLOW),
        ("fcntl", &[3, 1024 | GARBAGE], errno(libc::EACCES)),
        ("fcntl", &[3, 1026], errno(libc::EACCES)),
        ("io_setup", &[1], errno(libc::ENOSYS)),
        ("sched_setaffinity", &[0], ALLOW),
    ] {
        assert_eq!(ask(&minimal, name, args), action, "{name} {args:x?}");
    }
    let pinned = SyscallSpec {
        pinned: true,
        ..minimal
    };
    assert_eq!(ask(&pinned, "sched_setaffinity", &[0]), errno(libc::EPERM));
}

#[test]
fn every_base_can_start_a_dynamic_program() {
    let start = [
        "execve",
        "brk",
        "mmap",
        "mprotect",
        "munmap",
        "arch_prctl",
        "access",
        "openat",
        "read",
        "pread64",
        "newfstatat",
        "fstat",
        "close",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "getrandom",
        "exit_group",
        "rt_sigreturn",
        "write",
        "futex",
    ];
    for base in [Base::Default, Base::Minimal, Base::Learned] {
        for name in start {
            check(base, &[(name, &[], ALLOW)]);
        }
    }
}

#[test]
fn a_call_newer_than_the_table_is_as_if_it_did_not_exist() {
    let notifying = SyscallSpec {
        notify: true,
        ..spec(Base::Default)
    };
    let filter = filter_for(&notifying).expect("a valid spec");
    for nr in [470, 511, 512, 5000, 0x3FFF_FFFF] {
        let data = SeccompData {
            nr,
            arch: filter.arch.audit(),
            ..Default::default()
        };
        assert_eq!(filter.evaluate(&data), ENOSYS, "{nr}");
    }
}

#[test]
fn the_limit_on_core_dumps_stays_where_it_is() {
    let done = Action::Errno(0);
    let core = libc::RLIMIT_CORE as u64;
    let files = libc::RLIMIT_NOFILE as u64;
    check(
        Base::Default,
        &[
            ("setrlimit", &[core, 4096], done),
            ("setrlimit", &[files, 4096], ALLOW),
            ("prlimit64", &[0, core, 4096, 0], done),
            ("prlimit64", &[0, core, 0, 4096], ALLOW),
            ("prlimit64", &[0, files, 4096, 0], ALLOW),
            ("prlimit64", &[1, files, 4096, 0], EPERM),
            ("prlimit64", &[1 | 7 << 32, files, 4096, 0], EPERM),
        ],
    );
}
