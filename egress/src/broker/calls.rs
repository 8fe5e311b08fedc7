//! The broker's own seccomp filter: the system calls that it makes once it serves, and no others. One that is not here ends the process
//! (`SIGSYS`), so that a missing one is seen by the first test that comes to it, and by the launcher, which says so.
//!
//! Not among them are those that execute, fork, trace, mount, map executable memory, open files for writing, make or remove names, signal others, or
//! make sockets of other families than the Internet's. Files that are open already are what [`confine`](super::confine) has left.

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Calls with any arguments, by what needs them.
const ANY: &[i64] = &[
    // Memory. Mapping and protecting are below.
    libc::SYS_brk,
    libc::SYS_madvise,
    // What is nowhere else, and what is handed to the launcher.
    libc::SYS_memfd_create,
    libc::SYS_mlock,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // The one thread: locks, its end, what the C library does when it aborts.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    // Time, where the kernel's page for it has none, and randomness.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    // What is open, and files by which names are resolved. Opening is below.
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // Connections and datagrams. Making sockets is below.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // The runtime, and the launcher's socket.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
];

/// Bits of `open(2)` that do more than read.
const NOT_READING: i32 =
    libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | libc::O_TMPFILE;

/// What `ioctl(2)` is asked: whether a call waits, how much is there to be read, and how much is not sent yet.
const IOCTLS: [u64; 3] = [libc::FIONBIO, libc::FIONREAD, libc::TIOCOUTQ];

/// What `fcntl(2)` is asked. Not who gets signals.
const FCNTLS: [i32; 7] = [
    libc::F_ADD_SEALS,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GET_SEALS,
];

/// Families of sockets.
const FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];

/// Kinds of sockets, and the bits that do not tell the kind.
const KINDS: [i32; 2] = [libc::SOCK_STREAM, libc::SOCK_DGRAM];
const NOT_KIND: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// Puts the calling thread under the filter, for good.
///
/// # Errors
///
/// The kernel has no seccomp filters, or this architecture none here.
pub fn install() -> io::Result<()> {
    let program = program().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ANY.iter().map(|call| (*call, Vec::new())).collect();
    let none_of = |argument, bits: i32| is(argument, bits as u32, 0);
    let executable = || none_of(2, libc::PROT_EXEC);
    rules.insert(libc::SYS_mmap, vec![all([executable()?])?]);
    rules.insert(libc::SYS_mprotect, vec![all([executable()?])?]);
    let reading = all([none_of(2, NOT_READING & !libc::O_DIRECTORY)?])?;
    rules.insert(libc::SYS_openat, vec![reading]);
    // Its own limit of descriptors.
    let own = [is(0, u32::MAX, 0)?, is(1, u32::MAX, libc::RLIMIT_NOFILE)?];
    rules.insert(libc::SYS_prlimit64, vec![all(own)?]);
    let asked = IOCTLS
        .iter()
        .map(|asked| all([is(1, u32::MAX, *asked as u32)?]));
    rules.insert(libc::SYS_ioctl, asked.collect::<Result<_, _>>()?);
    let asked = FCNTLS
        .iter()
        .map(|asked| all([is(1, u32::MAX, *asked as u32)?]));
    rules.insert(libc::SYS_fcntl, asked.collect::<Result<_, _>>()?);
    let sockets = FAMILIES.iter().flat_map(|family| {
        KINDS.iter().map(|kind| {
            all([
                is(0, u32::MAX, *family as u32)?,
                is(1, !(NOT_KIND as u32), *kind as u32)?,
            ])
        })
    });
    rules.insert(libc::SYS_socket, sockets.collect::<Result<_, _>>()?);
    let architecture = std::env::consts::ARCH.try_into()?;
    let (others, these) = (SeccompAction::KillProcess, SeccompAction::Allow);
    SeccompFilter::new(rules, others, these, architecture)?.try_into()
}

/// These bits of an argument, of which the kernel looks at the lower 32, are so.
fn is(argument: u8, bits: u32, value: u32) -> Result<SeccompCondition, seccompiler::BackendError> {
    let equal = SeccompCmpOp::MaskedEq(bits.into());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, equal, value.into())
}

fn all<const N: usize>(
    conditions: [SeccompCondition; N],
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions.into())
}
