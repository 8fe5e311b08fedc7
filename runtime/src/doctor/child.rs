//! Children to try things in: what a probe does to itself ends with it.
//!
//! [`apart`] is a plain copy of this process, [`inside`] one in new namespaces. Both give back what
//! the probe found over a socket, and are gone when they return; a child that hangs is killed, and
//! all that it started with it.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::layer::{Finding, Layer, NO_RESULT, Outcome, errno, error};
use crate::types::SANDBOX_UID;
use aegis_sys::process::Change;
use aegis_sys::{namespaces, process, socket};

/// How long one probe may take. They take milliseconds.
const PATIENCE: u64 = 5_000_000_000;

/// Runs a probe of `layers` in a child. A layer that it says nothing of has failed.
pub(super) fn apart(layers: &[Layer], probe: impl FnOnce() -> Vec<Finding>) -> Vec<Finding> {
    let mut found = try_apart(probe).unwrap_or_default();
    for layer in layers {
        if !found.iter().any(|found| found.layer == *layer) {
            found.push(Finding::new(*layer, Outcome::Fails(NO_RESULT), "probing"));
        }
    }
    found
}

fn try_apart(probe: impl FnOnce() -> Vec<Finding>) -> io::Result<Vec<Finding>> {
    let (ours, theirs) = socket::pair()?;
    let Some(pid) = process::fork()? else {
        drop(ours);
        let _ = process::die_with_parent();
        finish(&theirs, probe)
    };
    drop(theirs);
    let mut fds = [process::PollFd {
        fd: ours.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }];
    let result = match process::poll(&mut fds, Some(PATIENCE)) {
        Ok(0) => Err(error(libc::ETIMEDOUT)),
        Ok(_) => receive(&ours),
        Err(error) => Err(error),
    };
    // Its result has been sent.
    let _ = process::kill(pid, libc::SIGKILL);
    process::reap(pid)?;
    result
}

/// A child's way into its id maps.
pub(super) struct Door {
    socket: OwnedFd,
    /// Who started the probe. Inside, before it is mapped, it is nobody.
    caller: (u32, u32),
    mapped: Cell<bool>,
}

impl Door {
    /// Becomes the sandbox's user: mapped by the parent where that is root, else by itself.
    pub fn take_ids(&self) -> io::Result<()> {
        let (uid, gid) = self.caller;
        if uid == 0 {
            self.wait()?;
            process::become_user(SANDBOX_UID, SANDBOX_UID)?;
        } else {
            namespaces::map_own_ids((uid, uid), (gid, gid))?;
        }
        process::die_with_parent()
    }

    /// Waits for the parent to have written the maps. A socket that is closed with a message in it
    /// would lose what was sent the other way.
    fn wait(&self) -> io::Result<()> {
        let mut number = [0; 4];
        if self.caller.0 == 0 && !self.mapped.replace(true) {
            socket::receive(self.socket.as_fd(), &mut number)?;
        }
        match i32::from_ne_bytes(number) {
            0 => Ok(()),
            number => Err(error(number)),
        }
    }
}

/// As [`apart`], in a new user namespace and those of `flags`, of which it is an owner.
pub(super) fn inside(
    layers: &[Layer],
    flags: i32,
    probe: impl FnOnce(&Door) -> Vec<Finding>,
) -> Vec<Finding> {
    // The child in between has one thread, as clone3 wants it.
    apart(layers, || {
        try_inside(flags, probe).unwrap_or_else(|error| {
            let failed =
                |layer: &Layer| Finding::new(*layer, Outcome::Fails(errno(&error)), "clone3");
            layers.iter().map(failed).collect()
        })
    })
}

fn try_inside(flags: i32, probe: impl FnOnce(&Door) -> Vec<Finding>) -> io::Result<Vec<Finding>> {
    let (ours, theirs) = socket::pair()?;
    let flags = (flags | libc::CLONE_NEWUSER) as u64;
    let caller = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let pid = match namespaces::clone(flags, None)? {
        namespaces::Side::Child => {
            drop(ours);
            let door = Door {
                socket: theirs,
                caller,
                mapped: Cell::new(false),
            };
            finish(&door.socket, || {
                let found = probe(&door);
                let _ = door.wait();
                found
            })
        }
        namespaces::Side::Parent { pid, .. } => pid,
    };
    drop(theirs);
    if caller.0 == 0 {
        let identity = (SANDBOX_UID, SANDBOX_UID);
        let mapped = namespaces::map_ids_of(pid, identity, identity);
        let number = mapped.map_or_else(|error| errno(&error), |()| 0);
        socket::send(ours.as_fd(), &number.to_ne_bytes(), &[])?;
    }
    let result = receive(&ours);
    // Killed by its parent, whatever it has become.
    let _ = process::kill(pid, libc::SIGKILL);
    process::reap(pid)?;
    result
}

/// A fork without a message, for probes that need a second process: its pid. [`ended`] gives the
/// result.
pub(super) fn second(act: impl FnOnce() -> io::Result<()>) -> io::Result<i32> {
    match process::fork()? {
        Some(pid) => Ok(pid),
        None => {
            let _ = process::die_with_parent();
            let result = catch_unwind(AssertUnwindSafe(act));
            process::exit_now(match result {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => errno(&error),
                Err(_) => NO_RESULT,
            })
        }
    }
}

/// What a second process gave.
pub(super) fn ended(pid: i32) -> io::Result<()> {
    match process::reap(pid)? {
        Change::Exited(0) => Ok(()),
        Change::Exited(number) => Err(error(number)),
        _ => Err(error(NO_RESULT)),
    }
}

/// Waits for ever, for a second process that only needs to exist.
pub(super) fn idle() -> io::Result<()> {
    process::poll(&mut [], None).map(drop)
}

fn finish(socket: &OwnedFd, probe: impl FnOnce() -> Vec<Finding>) -> ! {
    // Unwinding would go on in a copy of the caller.
    let found = catch_unwind(AssertUnwindSafe(probe)).unwrap_or_default();
    let bytes = serde_json::to_vec(&found).unwrap_or_default();
    let _ = socket::send(socket.as_fd(), &bytes, &[]);
    process::exit_now(0)
}

fn receive(socket: &OwnedFd) -> io::Result<Vec<Finding>> {
    let mut buffer = vec![0; 1 << 16];
    let (length, _) = socket::receive(socket.as_fd(), &mut buffer)?;
    serde_json::from_slice(&buffer[..length]).map_err(io::Error::other)
}
