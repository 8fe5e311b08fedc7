//! Calls that are narrowed by argument, wherever they are granted, and why.
//!
//! A guard stays on a call even when the profile names the call in `allow`: guards are part of the
//! sandbox's boundary, not of a base set.
//!
//! Widths follow the kernel's own parameter types. Where it takes an `int` it drops the register's high
//! half, so garbage there must change nothing; where it takes a `long`, all 64 bits count.

use super::{Action, Arm, Condition, Op, SyscallRule, UnixSockets, spec::SyscallSpec};
use crate::types::Network;

/// A way to narrow one call, or one family of calls whose arguments mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// No new namespaces.
    Clone,
    /// No new namespaces.
    Unshare,
    /// No input pushed into a terminal.
    Ioctl,
    /// No setuid or setgid bit in the mode that is argument `.0`.
    Mode(u8),
    /// The same for a call that makes files only with certain flags: flags are `.0`, mode follows.
    Open(u8),
    /// The same for a call that makes nodes, which must not be devices: the mode is argument `.0`.
    Node(u8),
    /// Only plain families, types and protocols.
    Socket,
    /// Only local pairs.
    Socketpair,
    /// A socket's address, which lies in memory.
    Address,
    /// Only settings that affect nobody else.
    Prctl,
    /// Only execution domains that weaken nothing.
    Personality,
    /// Filters, but no listener.
    Seccomp,
    /// The limit on core dumps stays. The resource is argument `.0`; a process, where the call names one,
    /// is argument `.1` and must not be PID 1.
    Limits(u8, Option<u8>),
    /// Scheduling of PID 1 stays: argument `.0` names a process.
    NotInit(u8),
    /// The same where `which` may name one process by `.0`, or all of a user by `.1`.
    Priority(u64, u64),
    /// No listening on a port that was not bound, and so not checked.
    Listen,
    /// What is written to standard error is shown to the supervisor, if it asks for that, but for texts of this length.
    Write(Option<u64>),
    /// No memory past a limit, and none of the host's huge pages.
    Mmap,
    /// None of the host's huge pages.
    Shmget,
    /// None of the host's huge pages.
    Memfd,
    /// No leases, which make others wait for a file.
    Fcntl,
    /// Not of PID 1; and no more processors than were given, where they stand in for a share.
    Affinity,
}

/// The calls that are narrowed.
pub(super) const GUARDS: &[(&str, Guard)] = &[
    ("clone", Guard::Clone),
    ("unshare", Guard::Unshare),
    ("ioctl", Guard::Ioctl),
    ("chmod", Guard::Mode(1)),
    ("fchmod", Guard::Mode(1)),
    ("creat", Guard::Mode(1)),
    ("fchmodat", Guard::Mode(2)),
    ("fchmodat2", Guard::Mode(2)),
    ("open", Guard::Open(1)),
    ("openat", Guard::Open(2)),
    ("mknod", Guard::Node(1)),
    ("mknodat", Guard::Node(2)),
    ("socket", Guard::Socket),
    ("socketpair", Guard::Socketpair),
    ("bind", Guard::Address),
    ("connect", Guard::Address),
    ("prctl", Guard::Prctl),
    ("personality", Guard::Personality),
    ("seccomp", Guard::Seccomp),
    ("setrlimit", Guard::Limits(0, None)),
    ("prlimit64", Guard::Limits(1, Some(0))),
    ("sched_setaffinity", Guard::Affinity),
    ("sched_setattr", Guard::NotInit(0)),
    ("sched_setparam", Guard::NotInit(0)),
    ("sched_setscheduler", Guard::NotInit(0)),
    // `PRIO_PROCESS`, `PRIO_USER`; `IOPRIO_WHO_PROCESS`, `IOPRIO_WHO_USER`.
    ("setpriority", Guard::Priority(0, 2)),
    ("ioprio_set", Guard::Priority(1, 3)),
    ("listen", Guard::Listen),
    // A look costs many times what the write does, and one byte says nothing of a refusal.
    ("write", Guard::Write(Some(1))),
    ("writev", Guard::Write(None)),
    ("mmap", Guard::Mmap),
    ("shmget", Guard::Shmget),
    ("memfd_create", Guard::Memfd),
    ("fcntl", Guard::Fcntl),
    // mkdir and mkdirat need no guard: the kernel keeps only 01777 of their mode (fs/namei.c:vfs_mkdir).
];

/// `CLONE_NEW*` (`linux/sched.h`): namespaces of cgroup, uts, ipc, user, pid, net and mount.
/// `CLONE_NEWTIME` lies in the bits where `clone` takes a signal.
const CLONE_NEW: u64 = 0x7E02_0000;
/// What `unshare` may unshare: `FS`, `FILES`, `SYSVSEM`, and what it implies for threads (`VM`,
/// `SIGHAND`, `THREAD`). Anything else is, or may become, a namespace.
const UNSHARE_PLAIN: u64 = 0x0005_0F00;

/// `TIOCSTI`, `TIOCLINUX`: put input into the terminal, which the shell outside then reads
/// (CVE-2017-5226). `TIOCSETD`: a line discipline is a driver, loaded on request.
/// `TIOCCONS`: redirects the machine's console.
const IOCTL_REFUSED: [u64; 4] = [0x5412, 0x541C, 0x5423, 0x541D];

/// `S_ISUID | S_ISGID`.
const SET_ID: u64 = 0o6000;
/// `O_CREAT | __O_TMPFILE`: with neither, `open` ignores its mode (`fs/open.c:build_open_flags`).
const MAKES_FILES: u64 = 0o100 | 0o20_000_000;
/// `S_IFMT`, and the types that are no devices: unnamed (a file), file, fifo, socket.
const TYPE_MASK: u64 = 0o170_000;
const PLAIN_TYPES: [u64; 4] = [0, 0o100_000, 0o010_000, 0o140_000];

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const AF_NETLINK: u64 = 16;
/// `SOCK_TYPE_MASK` (`linux/net.h`): the rest of the argument is flags.
const SOCK_TYPE: u64 = 0xF;
const SOCK_STREAM: u64 = 1;
const SOCK_DGRAM: u64 = 2;
const SOCK_SEQPACKET: u64 = 5;
const NETLINK_ROUTE: u64 = 0;
/// The protocol that the type implies: TCP or UDP.
const IPPROTO_DEFAULT: u64 = 0;
const IPPROTO_ICMP: u64 = 1;
const IPPROTO_TCP: u64 = 6;
const IPPROTO_UDP: u64 = 17;
const IPPROTO_ICMPV6: u64 = 58;
const IPPROTO_MPTCP: u64 = 262;

/// `PR_SET_MM`: forges what `/proc` shows of the process. `PR_SCHED_CORE`: takes whole cores.
const PRCTL_REFUSED: [u64; 2] = [35, 62];
/// `PR_FUTEX_HASH`, the last option of Linux 6.18 that is numbered in sequence.
const PRCTL_LAST: u64 = 78;
/// `PR_SET_VMA` (names for memory, by malloc), `PR_SET_PTRACER` (Yama, by crash handlers), `PR_GET_AUXV`.
const PRCTL_UNUSUAL: [u64; 3] = [0x5356_4D41, 0x5961_6D61, 0x4155_5856];

/// `PER_LINUX` and `PER_LINUX32`, each plain and with `UNAME26`; `ADDR_NO_RANDOMIZE` (debuggers and
/// sanitizers, and it weakens only the one who asks); all ones, which only reads. `READ_IMPLIES_EXEC`
/// would make what is readable executable.
const PERSONALITIES: [u64; 6] = [0, 0x0008, 0x2_0000, 0x2_0008, 0x4_0000, 0xFFFF_FFFF];

/// `SECCOMP_SET_MODE_FILTER` and `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const SET_MODE_FILTER: u64 = 1;
const NEW_LISTENER: u64 = 8;

/// `MAP_GROWSDOWN` (`linux/mman.h`): a mapping that grows like a stack is counted neither by `RLIMIT_DATA` nor, all of
/// them together, by `RLIMIT_STACK` (`mm/mmap.c:may_expand_vm`).
const MAP_GROWSDOWN: u64 = 0x100;
/// `MAP_HUGETLB`, `SHM_HUGETLB`, `MFD_HUGETLB`: pages that somebody has reserved for another program.
const MAP_HUGETLB: u64 = 0x4_0000;
const SHM_HUGETLB: u64 = 0o4000;
const MFD_HUGETLB: u64 = 4;
/// `F_SETLEASE`; `F_NOTIFY`, which signals what others do in a directory.
const FCNTL_REFUSED: [u64; 2] = [1024, 1026];

const MFD_NOEXEC_SEAL: u64 = 8;
const MFD_EXEC: u64 = 16;
/// All flags of `linux/memfd.h`, and the size of huge pages.
const MFD_KNOWN: u64 = 0x1F | 0x3F << 26;

impl Guard {
    /// The rule for this sandbox.
    pub fn rule(self, spec: &SyscallSpec) -> SyscallRule {
        let refuse = |errno| spec.refusal(errno);
        let eperm = refuse(libc::EPERM);
        match self {
            // The kernel takes the low half of the flags (kernel/fork.c:clone).
            Self::Clone => only(none_of(0, CLONE_NEW), eperm),
            // Here the flags are a long. Unknown flags are refused.
            Self::Unshare => only(Condition::long(0, masked(!UNSHARE_PLAIN, 0)), eperm),
            Self::Ioctl => equal(1, &IOCTL_REFUSED, eperm, Action::Allow),
            Self::Mode(mode) => only(none_of(mode, SET_ID), eperm),
            Self::Open(flags) => rule(
                vec![
                    arm(vec![none_of(flags, MAKES_FILES)], Action::Allow),
                    arm(vec![none_of(flags + 1, SET_ID)], Action::Allow),
                ],
                eperm,
            ),
            Self::Node(mode) => {
                let plain = |&kind| {
                    let condition = Condition::int(mode, masked(TYPE_MASK | SET_ID, kind));
                    arm(vec![condition], Action::Allow)
                };
                rule(PLAIN_TYPES.iter().map(plain).collect(), eperm)
            }
            Self::Socket => socket(spec, refuse(libc::EAFNOSUPPORT), eperm),
            Self::Socketpair if spec.unix_sockets == UnixSockets::Any => {
                only(is(0, AF_UNIX), refuse(libc::EAFNOSUPPORT))
            }
            // A datagram pair can still send to any path: the supervisor makes one that cannot.
            Self::Socketpair => rule(
                vec![
                    arm(vec![is(0, AF_UNIX), kind(SOCK_STREAM)], Action::Allow),
                    arm(vec![is(0, AF_UNIX), kind(SOCK_SEQPACKET)], Action::Allow),
                ],
                refuse(libc::EAFNOSUPPORT),
            ),
            // It may be one of the host's, and the number may come to mean a Unix socket: the supervisor acts on copies.
            Self::Address if spec.unix_sockets == UnixSockets::Private => {
                SyscallRule::always(refuse(libc::EACCES))
            }
            Self::Address => SyscallRule::always(Action::Allow),
            Self::Prctl => prctl(eperm),
            Self::Personality => equal(0, &PERSONALITIES, Action::Allow, eperm),
            Self::Seccomp => {
                // A listener could answer "go on" to what an outer filter asks about. The kernel
                // refuses a second one with EBUSY today; this keeps it so, whatever it does later.
                let listens = Condition::int(1, masked(NEW_LISTENER, NEW_LISTENER));
                let busy = Action::Errno(libc::EBUSY as u16);
                rule(
                    vec![arm(vec![is(0, SET_MODE_FILTER), listens], busy)],
                    Action::Allow,
                )
            }
            Self::Limits(resource, process) => {
                // A limit of 1 keeps a crash from the host's core handler, and 0 does not
                // (`fs/coredump.c`): setting the limit only seems to succeed. PID 1 is ours.
                let done = Action::Errno(0);
                let core = is(resource, libc::RLIMIT_CORE as u64);
                match process {
                    None => rule(vec![arm(vec![core], done)], Action::Allow),
                    Some(process) => rule(
                        vec![
                            arm(vec![is(process, 1)], eperm),
                            // Without a new limit the call only reads.
                            arm(vec![core, Condition::long(2, Op::Ne(0))], done),
                        ],
                        Action::Allow,
                    ),
                }
            }
            Self::NotInit(process) => equal(process, &[1], eperm, Action::Allow),
            Self::Priority(process, user) => rule(
                vec![
                    arm(vec![is(0, process), is(1, 1)], eperm),
                    arm(vec![is(0, user)], eperm),
                ],
                Action::Allow,
            ),
            // Landlock checks bind; listen alone binds any free port of the host.
            Self::Listen if spec.network == Network::Host && !spec.listens => {
                SyscallRule::always(match spec.unix_sockets {
                    // The supervisor lets a private socket listen.
                    UnixSockets::Private => refuse(libc::EACCES),
                    UnixSockets::None | UnixSockets::Any => eperm,
                })
            }
            Self::Listen => SyscallRule::always(Action::Allow),
            Self::Write(passed) if spec.notify && spec.watch_stderr => {
                let mut when = vec![is(0, libc::STDERR_FILENO as u64)];
                when.extend(passed.map(|length| Condition::long(2, Op::Ne(length))));
                rule(vec![arm(when, Action::Notify)], Action::Allow)
            }
            Self::Write(_) => SyscallRule::always(Action::Allow),
            Self::Mmap => rule(
                vec![
                    arm(vec![none_of(3, MAP_GROWSDOWN | MAP_HUGETLB)], Action::Allow),
                    arm(vec![none_of(3, MAP_GROWSDOWN)], NO_HUGE_PAGES),
                ],
                eperm,
            ),
            Self::Shmget => only(none_of(2, SHM_HUGETLB), NO_HUGE_PAGES),
            Self::Memfd => memfd(Action::Allow),
            Self::Fcntl => equal(1, &FCNTL_REFUSED, refuse(libc::EACCES), Action::Allow),
            Self::Affinity if spec.pinned => SyscallRule::always(eperm),
            Self::Affinity => Self::NotInit(0).rule(spec),
        }
    }
}

/// If no socket is granted, Unix sockets are refused as silently as when some are.
pub(super) fn no_sockets(spec: &SyscallSpec) -> SyscallRule {
    let quiet = Action::Errno(libc::EAFNOSUPPORT as u16);
    let unix = arm(vec![is(0, AF_UNIX)], quiet);
    rule(vec![unix], spec.refusal(libc::EPERM))
}

/// A socket type, with any flags.
fn kind(kind: u64) -> Condition {
    Condition::int(1, masked(SOCK_TYPE, kind))
}

/// Local sockets; TCP and UDP; route netlink (`getifaddrs`). Not: raw and packet sockets, other
/// netlinks, VSOCK, ALG, XDP, Bluetooth and whatever else loads a module on request.
///
/// Protocols are listed because Landlock's port rules cover TCP only: MPTCP and SCTP are stream
/// sockets that pass them by.
///
/// A Unix socket reaches whatever listens on a path in a granted tree, read-only or not: no mount
/// and no Landlock up to ABI 7 prevents that, so a profile must ask for it. Its refusal is silent,
/// since the C library tries nscd and syslog in many programs.
fn socket(spec: &SyscallSpec, family: Action, protocol: Action) -> SyscallRule {
    let quiet = Action::Errno(libc::EAFNOSUPPORT as u16);
    let unix = |wanted| arm(vec![is(0, AF_UNIX), kind(wanted)], Action::Allow);
    let mut arms = match spec.unix_sockets {
        UnixSockets::None => Vec::new(),
        UnixSockets::Private => vec![unix(SOCK_STREAM), unix(SOCK_SEQPACKET)],
        UnixSockets::Any => vec![arm(vec![is(0, AF_UNIX)], Action::Allow)],
    };
    let inet = |number, wanted| arm(vec![is(2, number), kind(wanted)], Action::Allow);
    arms.extend([
        arm(vec![is(0, AF_UNIX)], quiet),
        arm(vec![is(0, AF_NETLINK), is(2, NETLINK_ROUTE)], Action::Allow),
        arm(vec![is_not(0, AF_INET), is_not(0, AF_INET6)], family),
        inet(IPPROTO_TCP, SOCK_STREAM),
        inet(IPPROTO_UDP, SOCK_DGRAM),
    ]);
    if spec.network == Network::Host {
        // Unprivileged pings; in a private network there is nothing to ping.
        arms.extend([
            inet(IPPROTO_ICMP, SOCK_DGRAM),
            inet(IPPROTO_ICMPV6, SOCK_DGRAM),
        ]);
    }
    // Go tries this for every listener and falls back on TCP: it fails without a report.
    let unsupported = Action::Errno(libc::EPROTONOSUPPORT as u16);
    arms.extend([
        arm(vec![is(2, IPPROTO_MPTCP)], unsupported),
        arm(vec![is_not(2, IPPROTO_DEFAULT)], protocol),
        arm(vec![kind(SOCK_STREAM)], Action::Allow),
        arm(vec![kind(SOCK_DGRAM)], Action::Allow),
    ]);
    rule(arms, protocol)
}

/// Options up to the last known one, except those refused. An unknown one fails as the kernel fails
/// it: `EINVAL`.
fn prctl(refused: Action) -> SyscallRule {
    let mut arms: Vec<_> = PRCTL_REFUSED
        .iter()
        .map(|&option| arm(vec![is(0, option)], refused))
        .collect();
    arms.push(arm(
        vec![Condition::int(0, Op::Le(PRCTL_LAST))],
        Action::Allow,
    ));
    arms.extend(
        PRCTL_UNUSUAL
            .iter()
            .map(|&option| arm(vec![is(0, option)], Action::Allow)),
    );
    rule(arms, Action::Errno(libc::EINVAL as u16))
}

/// As on a host without huge pages. Programs go on without.
const NO_HUGE_PAGES: Action = Action::Errno(libc::ENOMEM as u16);

/// `memfd_create`. `unsealed`: what is done where the flags do not say whether the file can be executed.
pub(super) fn memfd(unsealed: Action) -> SyscallRule {
    let known = none_of(1, !MFD_KNOWN);
    let has = |flags| Condition::int(1, masked(flags, flags));
    let refused = |errno: i32| Action::Errno(errno as u16);
    let huge = arm(vec![known, has(MFD_HUGETLB)], NO_HUGE_PAGES);
    if unsealed == Action::Allow {
        return rule(vec![huge], Action::Allow);
    }
    // As the kernel answers with vm.memfd_noexec=2.
    rule(
        vec![
            arm(
                vec![known, has(MFD_EXEC | MFD_NOEXEC_SEAL)],
                refused(libc::EINVAL),
            ),
            arm(vec![known, has(MFD_EXEC)], refused(libc::EACCES)),
            huge,
            arm(vec![known, has(MFD_NOEXEC_SEAL)], Action::Allow),
            arm(vec![known], unsealed),
        ],
        // A flag that is newer than Linux 6.18 could mean anything.
        refused(libc::EINVAL),
    )
}

const fn masked(mask: u64, value: u64) -> Op {
    Op::MaskedEq { mask, value }
}

const fn none_of(arg: u8, mask: u64) -> Condition {
    Condition::int(arg, masked(mask, 0))
}

const fn is(arg: u8, value: u64) -> Condition {
    Condition::int(arg, Op::Eq(value))
}

const fn is_not(arg: u8, value: u64) -> Condition {
    Condition::int(arg, Op::Ne(value))
}

const fn arm(when: Vec<Condition>, then: Action) -> Arm {
    Arm { when, then }
}

const fn rule(arms: Vec<Arm>, otherwise: Action) -> SyscallRule {
    SyscallRule { arms, otherwise }
}

/// Allowed if the condition holds.
fn only(condition: Condition, otherwise: Action) -> SyscallRule {
    rule(vec![arm(vec![condition], Action::Allow)], otherwise)
}

/// One action for these values of an `int`, another for the rest.
fn equal(arg: u8, values: &[u64], then: Action, otherwise: Action) -> SyscallRule {
    rule(
        values
            .iter()
            .map(|&value| arm(vec![is(arg, value)], then))
            .collect(),
        otherwise,
    )
}
