//! What a process gives up: Landlock, seccomp, privileges, execution out of memory, core dumps.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::MemfdFlags;

use super::child::{self, Child};
use super::layer::{NOT_HELD, errno, error, held, refused};
use crate::seccomp::{self, Action, Arch, Filter, Listener, Rules, SyscallRule};
use aegis_sys::{capabilities, files, landlock, namespaces, notify, process};

/// The ABI of the newest right that a plan asks for: scopes (Linux 6.12).
pub(super) const LANDLOCK_WANTED: u32 = 6;

pub(super) fn landlock(child: &Child) -> io::Result<()> {
    // For its error: `abi` gives 0 whatever the error.
    landlock::create_ruleset(1, landlock::fs::EXECUTE, 0, 0)?;
    child.step("restricting a process");
    let abi = landlock::abi();
    let scoped = if abi >= LANDLOCK_WANTED {
        landlock::scope::ABSTRACT_UNIX_SOCKET | landlock::scope::SIGNAL
    } else {
        0
    };
    let ruleset = landlock::create_ruleset(abi, landlock::handled_fs(abi), 0, scoped)?;
    let allowed = aegis_sys::mount::locate(Path::new("/proc"))?;
    landlock::allow_path(ruleset.as_fd(), allowed.as_fd(), landlock::fs::READ_FILE)?;
    capabilities::no_new_privileges()?;
    landlock::restrict_self(ruleset.as_fd())?;
    files::open(c"/proc/self/status", libc::O_RDONLY)?;
    let root = files::open(c"/", libc::O_RDONLY | libc::O_DIRECTORY);
    refused(root, libc::EACCES)?;
    if scoped != 0 {
        let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
        refused(process::kill(parent, 0), libc::EPERM)?;
    }
    Ok(())
}

/// An error that only our filter and our answer give.
const REFUSED: i32 = libc::EXDEV;
const ANSWERED: i32 = libc::EDOM;

/// Puts this process under a filter that refuses `getpgid` and notifies the listener of `setsid`.
fn filtered(listener: Listener) -> io::Result<Option<OwnedFd>> {
    let mut rules = Rules::default();
    for (number, action) in [
        (libc::SYS_getpgid, Action::Errno(REFUSED as u16)),
        (libc::SYS_setsid, Action::Notify),
    ] {
        rules.insert(number as u32, SyscallRule::always(action));
    }
    let filter = Filter {
        arch: Arch::native(),
        default: Action::Allow,
        rules,
    };
    let program = filter.compile().map_err(io::Error::other)?;
    capabilities::no_new_privileges()?;
    seccomp::install(program.as_slice(), listener)
}

pub(super) fn filter(_: &Child) -> io::Result<()> {
    filtered(Listener::None)?;
    refused(rustix::process::getpgid(None), REFUSED)
}

/// Has a child call `setsid`, and answers.
pub(super) fn listen(kind: Listener) -> io::Result<()> {
    let listener = filtered(kind)?.ok_or_else(|| error(NOT_HELD))?;
    let caller = child::second(|| refused(rustix::process::setsid(), ANSWERED))?;
    let answer = || {
        let call = notify::receive(listener.as_fd())?.ok_or_else(|| error(NOT_HELD))?;
        let expected = i64::from(call.data.nr) == libc::SYS_setsid;
        held(expected && notify::still_waits(listener.as_fd(), &call))?;
        notify::answer(listener.as_fd(), &call, ANSWERED)
    };
    let answered = answer();
    if answered.is_err() {
        let _ = process::kill(caller, libc::SIGKILL);
    }
    let ended = child::ended(caller);
    answered.and(ended)
}

pub(super) fn give_up(child: &Child) -> io::Result<()> {
    child.take_ids()?;
    capabilities::drop_all(capabilities::last())?;
    capabilities::no_new_privileges()?;
    // The user namespace is its own: only the dropped capabilities prevent these.
    refused(namespaces::unshare(libc::CLONE_NEWUTS), libc::EPERM)?;
    refused(capabilities::drop_all(0), libc::EPERM)
}

/// For an ordinary user the supervisor makes each memfd itself, sealed.
pub(super) fn sealed_memfd(_: &Child) -> io::Result<()> {
    let memfd = rustix::fs::memfd_create(c"doctor", MemfdFlags::NOEXEC_SEAL)?;
    let mode = rustix::fs::fchmod(&memfd, rustix::fs::Mode::RWXU);
    refused(mode, libc::EPERM)?;
    not_executed(memfd)
}

/// For root a pid namespace forbids it.
pub(super) fn forbidden_memfd(child: &Child) -> io::Result<()> {
    // Only the host's root may open the file; this process still is that.
    let file = files::open(c"/proc/sys/vm/memfd_noexec", libc::O_WRONLY)?;
    files::write_all(file.as_fd(), b"2")?;
    child.step("executing a memfd");
    child.take_ids()?;
    not_executed(rustix::fs::memfd_create(c"doctor", MemfdFlags::empty())?)
}

/// Its content is not a program: if the mode permitted execution, the error would be ENOEXEC.
fn not_executed(memfd: OwnedFd) -> io::Result<()> {
    files::write_all(memfd.as_fd(), b"no program")?;
    let failed = process::execute_descriptor(memfd.as_fd());
    match errno(&failed) {
        libc::EACCES => Ok(()),
        libc::ENOEXEC => Err(error(NOT_HELD)),
        _ => Err(failed),
    }
}

/// Whether a program's memory stays in the sandbox after a crash. Not tried, since a handler would run.
///
/// `RLIMIT_CORE` does not hold for a dump that is piped to a handler (`core(5)`), except the value
/// 1, which is also too small for a dump to a file (`fs/coredump.c`).
pub(super) fn cores_stay(pattern: &str, limit: u64) -> bool {
    match pattern.chars().next() {
        Some('|') => limit == 1,
        // A socket of the host (Linux 6.16), to which no limit applies.
        Some('@') => false,
        _ => limit <= 1,
    }
}
