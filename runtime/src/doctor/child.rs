//! Children in which probes run: what a probe does to itself ends with its child.
//!
//! A child reports each step over a pipe before it begins. Its exit status is the `errno` of the step
//! that failed. A child that hangs is killed, with everything it started.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::layer::{NO_RESULT, errno, error};
use crate::types::SANDBOX_UID;
use aegis_sys::process::Change;
use aegis_sys::{files, namespaces, process};

/// How long one probe may take. They take milliseconds.
pub(super) const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// A probe's process.
pub(super) struct Child {
    steps: OwnedFd,
    /// Who started the probe. Inside a user namespace that is not mapped yet, it shows as nobody.
    caller: (u32, u32),
    /// Why root's child was not mapped; 0: it was.
    unmapped: u8,
}

impl Child {
    /// Reports the next step.
    pub fn step(&self, doing: impl Display) {
        let _ = files::write_all(self.steps.as_fd(), format!("\n{doing}").as_bytes());
    }

    /// Becomes the sandbox's user: mapped by the parent if that is root, else by itself.
    pub fn take_ids(&self) -> io::Result<()> {
        match (self.caller, self.unmapped) {
            ((0, _), 0) => process::become_user(SANDBOX_UID, SANDBOX_UID)?,
            ((0, _), number) => return Err(error(number.into())),
            ((uid, gid), _) => namespaces::map_own_ids((uid, uid), (gid, gid))?,
        }
        process::die_with_parent()
    }
}

/// The step that a probe failed in, and the `errno`.
pub(super) type ProbeFailure = (String, i32);

/// What a probe does. Called in its child.
pub(super) type Act<'a> = &'a dyn Fn(&Child) -> io::Result<()>;

/// Runs a probe in a plain copy of this process.
pub(super) fn apart(doing: &str, act: Act<'_>) -> Result<(), ProbeFailure> {
    run(&|child| {
        child.step(doing);
        act(child)
    })
}

/// Runs a probe in a new user namespace, and in those of `flags`, which it owns.
pub(super) fn inside(flags: i32, doing: &str, act: Act<'_>) -> Result<(), ProbeFailure> {
    // The child in between has one thread, as clone3 requires.
    run(&|child| {
        child.step("clone3");
        let (read, write) = files::pipe()?;
        let pid = match namespaces::clone((flags | libc::CLONE_NEWUSER) as u64, None)? {
            None => {
                drop(write);
                finish(|| {
                    let mut unmapped = [0];
                    files::read(read.as_fd(), &mut unmapped)?;
                    let child = Child {
                        steps: child.steps.try_clone()?,
                        unmapped: unmapped[0],
                        ..*child
                    };
                    child.step(doing);
                    act(&child)
                })
            }
            Some((pid, _)) => pid,
        };
        if child.caller.0 == 0 {
            let identity = (SANDBOX_UID, SANDBOX_UID);
            let mapped = namespaces::map_ids_of(pid, identity, identity);
            let number = mapped.map_or_else(|error| errno(&error), |()| 0);
            files::write_all(write.as_fd(), &[number as u8])?;
        }
        drop(write);
        ended(pid)
    })
}

fn run(act: Act<'_>) -> Result<(), ProbeFailure> {
    let mut steps = String::from("fork");
    try_run(act, &mut steps).map_err(|error| {
        let last = steps.lines().last().unwrap_or_default();
        (last.to_owned(), errno(&error))
    })
}

fn try_run(act: Act<'_>, steps: &mut String) -> io::Result<()> {
    let (read, write) = files::pipe()?;
    let child = Child {
        steps: write,
        caller: (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ),
        unmapped: 0,
    };
    let pid = second(|| act(&child))?;
    drop(child);
    // Wakes up when the last writer has ended.
    let mut fds = [PollFd::new(&read, PollFlags::empty())];
    let late = poll(&mut fds, Some(&PATIENCE))? == 0;
    if late {
        let _ = process::kill(pid, libc::SIGKILL);
    }
    let ended = ended(pid);
    let mut buffer = [0; 4096];
    let length = files::read(read.as_fd(), &mut buffer)?;
    *steps += &String::from_utf8_lossy(&buffer[..length]);
    if late {
        return Err(error(libc::ETIMEDOUT));
    }
    ended
}

/// A fork, for probes that need a second process. Returns its pid; [`ended`] gives the result.
pub(super) fn second(act: impl FnOnce() -> io::Result<()>) -> io::Result<i32> {
    match process::fork()? {
        Some(pid) => Ok(pid),
        None => finish(act),
    }
}

/// The result of a second process.
pub(super) fn ended(pid: i32) -> io::Result<()> {
    match process::reap(pid)? {
        Change::Exited(0) => Ok(()),
        Change::Exited(number) => Err(error(number)),
        _ => Err(error(NO_RESULT)),
    }
}

/// Waits for ever, for a second process that only needs to exist.
pub(super) fn idle() -> io::Result<()> {
    Ok(poll(&mut [], None).map(drop)?)
}

pub(super) fn finish(act: impl FnOnce() -> io::Result<()>) -> ! {
    let _ = process::die_with_parent();
    // Unwinding would go on in a copy of the caller.
    let result = catch_unwind(AssertUnwindSafe(act));
    process::exit_now(match result {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => errno(&error),
        Err(_) => NO_RESULT,
    })
}
