//! What a process gives up: Landlock, seccomp, privileges, execution out of memory, core dumps.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::MemfdFlags;

use super::child;
use super::host::Host;
use super::layer::{Finding, Layer, NOT_HELD, Outcome, errno, error, refused};
use crate::plan::CORE_LIMIT;
use crate::seccomp::{self, Action, Arch, Filter, Listener, Rules, SyscallRule};
use aegis_sys::{capabilities, files, landlock, namespaces, notify, process, socket};

/// The ABI of the newest right that a plan asks for: scopes (Linux 6.12).
const LANDLOCK_WANTED: u32 = 6;

pub(super) fn probe(host: &Host) -> Vec<Finding> {
    let mut all = child::apart(&[Layer::Landlock], || vec![landlock_probe()]);
    all.extend(child::apart(&[Layer::Filter, Layer::Notify], seccomp_probe));
    all.extend(child::inside(&[Layer::Privileges], 0, |door| {
        let result = door.take_ids().and_then(|()| give_up());
        vec![Finding::of(
            Layer::Privileges,
            "giving up privileges",
            result,
        )]
    }));
    all.extend(memfd(host));
    all.push(cores(&host.core_pattern, CORE_LIMIT));
    all
}

fn landlock_probe() -> Finding {
    // For its error: `abi` gives 0 for all of them.
    if let Err(error) = landlock::create_ruleset(1, landlock::fs::EXECUTE, 0, 0) {
        return Finding::of(Layer::Landlock, "landlock_create_ruleset", Err(error));
    }
    let abi = landlock::abi();
    let restrict = || -> io::Result<()> {
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
        refused(
            files::open(c"/", libc::O_RDONLY | libc::O_DIRECTORY),
            libc::EACCES,
        )?;
        if scoped != 0 {
            let parent = rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get());
            refused(process::kill(parent, 0), libc::EPERM)?;
        }
        Ok(())
    };
    match restrict() {
        Ok(()) if abi < LANDLOCK_WANTED => Finding::new(
            Layer::Landlock,
            Outcome::Partly(libc::EINVAL),
            format!("ABI {abi}"),
        ),
        Ok(()) => Finding::new(Layer::Landlock, Outcome::Works, format!("ABI {abi}")),
        Err(error) => Finding::of(Layer::Landlock, "restricting a process", Err(error)),
    }
}

/// An error that nothing but our filter and our answer gives.
const REFUSED: i32 = libc::EXDEV;
const ANSWERED: i32 = libc::EDOM;

/// A filter that refuses `getpgid` and asks about `setsid`: a child calls both, and this process
/// answers.
fn seccomp_probe() -> Vec<Finding> {
    let rule = |number: libc::c_long, action| (number as u32, SyscallRule::Action(action));
    let mut rules = Rules::default();
    for (number, rule) in [
        rule(libc::SYS_getpgid, Action::Errno(REFUSED as u16)),
        rule(libc::SYS_setsid, Action::Notify),
    ] {
        rules.insert(number, rule);
    }
    let filter = Filter {
        arch: Arch::native(),
        default: Action::Allow,
        rules,
    };
    let Ok(program) = filter.compile() else {
        return Vec::new();
    };
    let plain = child::second(|| {
        capabilities::no_new_privileges()?;
        seccomp::install(program.as_slice(), Listener::None)?;
        let called = rustix::process::getpgid(None).map_err(io::Error::from);
        refused(called, REFUSED)
    });
    let plain = plain.and_then(child::ended);
    let failed = plain.is_err();
    let mut all = vec![Finding::of(Layer::Filter, "installing a filter", plain)];
    if failed {
        all.push(Finding::needs(Layer::Notify, Layer::Filter));
        return all;
    }
    let doing = "answering a call";
    all.push(match listen(program.as_slice(), Listener::WaitKillable) {
        Err(error) if errno(&error) == libc::EINVAL => {
            match listen(program.as_slice(), Listener::Interruptible) {
                Ok(()) => Finding::new(Layer::Notify, Outcome::Partly(libc::EINVAL), doing),
                Err(error) => Finding::of(Layer::Notify, doing, Err(error)),
            }
        }
        result => Finding::of(Layer::Notify, doing, result),
    });
    all
}

fn listen(program: &[libc::sock_filter], kind: Listener) -> io::Result<()> {
    let (ours, theirs) = socket::pair()?;
    let caller = child::second(|| {
        let installed =
            capabilities::no_new_privileges().and_then(|()| seccomp::install(program, kind));
        let (number, fds) = match &installed {
            Ok(fd) => (0, fd.iter().map(AsFd::as_fd).collect()),
            Err(error) => (errno(error), Vec::new()),
        };
        socket::send(theirs.as_fd(), &number.to_ne_bytes(), &fds)?;
        drop(installed);
        refused(rustix::process::setsid().map_err(io::Error::from), ANSWERED)
    })?;
    drop(theirs);
    let answer = || -> io::Result<()> {
        let mut number = [0; 4];
        let (_, fds) = socket::receive(ours.as_fd(), &mut number)?;
        let listener = match (i32::from_ne_bytes(number), fds.into_iter().next()) {
            (0, Some(listener)) => listener,
            (0, None) => return Err(error(NOT_HELD)),
            (number, _) => return Err(error(number)),
        };
        let call = notify::receive(listener.as_fd())?.ok_or_else(|| error(NOT_HELD))?;
        if i64::from(call.nr) != libc::SYS_setsid || !notify::still_waits(listener.as_fd(), &call) {
            return Err(error(NOT_HELD));
        }
        notify::refuse(listener.as_fd(), &call, ANSWERED)
    };
    let answered = answer();
    if answered.is_err() {
        let _ = process::kill(caller, libc::SIGKILL);
    }
    let ended = child::ended(caller);
    answered.and(ended)
}

fn give_up() -> io::Result<()> {
    capabilities::drop_all(capabilities::last())?;
    capabilities::no_new_privileges()?;
    // Its user namespace is its own: only what was dropped stands in the way of these.
    refused(namespaces::unshare(libc::CLONE_NEWUTS), libc::EPERM)?;
    refused(capabilities::drop_all(0), libc::EPERM)
}

fn memfd(host: &Host) -> Vec<Finding> {
    let layer = Layer::Memfd;
    if !host.memfd_noexec {
        let partly = Outcome::Partly(libc::ENOENT);
        return vec![Finding::new(layer, partly, "vm.memfd_noexec")];
    }
    if host.uid != 0 {
        // The supervisor makes each memfd itself, sealed.
        return child::apart(&[layer], || {
            let result = memfd_create(MemfdFlags::NOEXEC_SEAL).and_then(|memfd| {
                let mode = rustix::fs::fchmod(&memfd, rustix::fs::Mode::RWXU);
                refused(mode.map_err(io::Error::from), libc::EPERM)?;
                not_executed(memfd)
            });
            vec![Finding::of(layer, "executing a sealed memfd", result)]
        });
    }
    child::inside(&[layer], libc::CLONE_NEWPID, |door| {
        // Only the host's root may open the file, which this process still is.
        let forbidden = files::open(c"/proc/sys/vm/memfd_noexec", libc::O_WRONLY)
            .and_then(|file| files::write_all(file.as_fd(), b"2"));
        if let Err(error) = forbidden {
            return vec![Finding::of(layer, "writing vm.memfd_noexec", Err(error))];
        }
        let result = door
            .take_ids()
            .and_then(|()| memfd_create(MemfdFlags::empty()))
            .and_then(not_executed);
        vec![Finding::of(layer, "executing a memfd", result)]
    })
}

fn memfd_create(flags: MemfdFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(c"doctor", flags)?)
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

/// Where a crash would take the memory of the program. Not tried: a handler would run.
///
/// `RLIMIT_CORE` does not hold for a dump that is piped to a handler (`core(5)`), but for the value
/// 1, which is also too small for a dump to a file (`fs/coredump.c`).
pub(super) fn cores(pattern: &str, limit: u64) -> Finding {
    let held = match pattern.chars().next() {
        Some('|') => limit == 1,
        // A socket of the host (Linux 6.16), which knows no limit.
        Some('@') => false,
        _ => limit <= 1,
    };
    if held {
        Finding::works(Layer::Cores)
    } else {
        Finding::new(Layer::Cores, Outcome::Partly(libc::EINVAL), pattern)
    }
}
