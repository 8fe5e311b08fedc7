//! Attacks on limited resources: items 18 and 19. bubblewrap limits only the size
//! of a tmpfs.

use crate::User;

use super::{Attack, Control, PLAIN, Sign};

/// `RLIMIT_DATA`, which stands in for a memory control group, counts private memory only.
const UNBOUNDED: (&[User], &str) = (
    &[User::Ordinary],
    "an ordinary user without a delegated control group has no limit for it",
);

/// The attack must not get as much as it asks for: the limits of these profiles are all lower.
macro_rules! more {
    ($what:literal, $by:literal, $limits:literal, [$($word:literal),*]) => {
        Attack {
            item: 18,
            what: $what,
            held_by: $by,
            words: &["{bin}/resources", $($word),*],
            profile: concat!("aegis: 1\ncapabilities: {files.write: [$WORK]}\nlimits: {", $limits, "}\n"),
            sign: Sign::ExitsWithZero,
            ..PLAIN
        }
    };
}

pub(super) const LIST: &[Attack] = &[
    more!(
        "64 processes at one time, where 16 are allowed",
        "pids group; `RLIMIT_NPROC` of the user namespace",
        "pids: 16",
        ["forks", "64"]
    ),
    more!(
        "64 threads, where 16 are allowed",
        "pids group; `RLIMIT_NPROC` of the user namespace",
        "pids: 16",
        ["threads", "64"]
    ),
    more!(
        "256 MiB of memory, where 64 are allowed",
        "memory group; `RLIMIT_DATA` and `RLIMIT_NPROC`",
        "memory: 64M",
        ["memory", "256"]
    ),
    Attack {
        known: UNBOUNDED,
        ..more!(
            "256 MiB in a memfd, where 64 are allowed",
            "memory group",
            "memory: 64M",
            ["shared", "memfd", "256"]
        )
    },
    Attack {
        known: UNBOUNDED,
        ..more!(
            "256 MiB of System V shared memory, where 64 are allowed",
            "memory group",
            "memory: 64M",
            ["shared", "shm", "256"]
        )
    },
    more!(
        "256 MiB in /tmp, where 64 are allowed",
        "size of the tmpfs",
        "tmp: 64M",
        ["shared", "/tmp/fill", "256"]
    ),
    more!(
        "256 MiB in /dev/shm, where 64 are allowed",
        "size of the tmpfs",
        "tmp: 64M",
        ["shared", "/dev/shm/fill", "256"]
    ),
    Attack {
        sign: Sign::Says,
        ..more!(
            "a file of 256 MiB, where 64 are allowed",
            "`RLIMIT_FSIZE`",
            "file-size: 64M",
            ["file", "{work}/big", "256"]
        )
    },
    more!(
        "256 open files, where 64 are allowed",
        "`RLIMIT_NOFILE`",
        "files: 64",
        ["descriptors", "256"]
    ),
    more!(
        "256 KiB of output, where 64 are allowed",
        "supervisor counts",
        "output: 64K",
        ["output", "256"]
    ),
    Attack {
        before: &["{bin}/onpty"],
        ..more!(
            "256 KiB of output to /dev/tty, where 64 are allowed",
            "no /dev/tty with `limits.output`",
            "output: 64K",
            ["output", "256", "/dev/tty"]
        )
    },
    Attack {
        before: &["{bin}/onpty"],
        ..more!(
            "256 KiB of output to standard input, a terminal, where 64 are allowed",
            "standard input opened again, read-only",
            "output: 64K",
            ["output", "256", "0"]
        )
    },
    Attack {
        item: 19,
        ..more!(
            "256 MiB by four processes together, where 64 are allowed",
            "memory group; `RLIMIT_DATA` and `RLIMIT_NPROC`",
            "memory: 64M",
            ["memory", "256", "4"]
        )
    },
    more!(
        "50,000 empty files in /tmp, of which 4 MiB are allowed",
        "number of the tmpfs's inodes",
        "tmp: 4M",
        ["inodes", "/tmp", "50000"]
    ),
    more!(
        "256 MiB in mappings that grow like stacks, where 64 are allowed",
        "argument checked; memory group",
        "memory: 64M",
        ["stacks", "256"]
    ),
    more!(
        "4,000 timers, out of the signals that the user has",
        "`RLIMIT_SIGPENDING`",
        "time: 1m",
        ["pending", "4000"]
    ),
    more!(
        "100 inotify instances, out of the 128 that the user has",
        "limit of the user namespace",
        "time: 1m",
        ["inotify", "100"]
    ),
    more!(
        "6 MiB locked in memory, out of the 8 that the user may lock",
        "`RLIMIT_MEMLOCK`",
        "time: 1m",
        ["locked", "6"]
    ),
    Attack {
        profile: "aegis: 1\ncapabilities: {devices: [pty]}\n",
        ..more!(
            "600 pseudo-terminals, out of the machine's 4,096",
            "limit of its own devpts",
            "time: 1m",
            ["terminals", "600"]
        )
    },
    Attack {
        known: UNBOUNDED,
        ..more!(
            "256 MiB waiting in sockets on loopback, where 64 are allowed",
            "memory group",
            "memory: 64M",
            ["sockets", "256"]
        )
    },
    more!(
        "asynchronous requests, out of the machine's (io_setup)",
        "not in the set",
        "time: 1m",
        ["aio", "16"]
    ),
    more!(
        "a lease on a file, for which the host then waits",
        "argument checked",
        "time: 1m",
        ["lease", "{work}/leased"]
    ),
    Attack {
        item: 19,
        what: "leaving the control group, making one, raising a limit",
        held_by: "no cgroup file system; hard limits",
        words: &["{bin}/resources", "limits"],
        profile: "aegis: 1\nlimits: {pids: 16, memory: 64M, files: 64, file-size: 64M}\n",
        control: Control::SucceedsForRoot,
        ..PLAIN
    },
];
