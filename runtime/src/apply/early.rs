//! Namespaces that no profile changes, made while the profile is still being read.
//!
//! A network namespace alone takes the kernel as long as everything else in a start together. The
//! janitor, a separate process, makes it on another processor, with the ipc and uts namespaces (and,
//! for an ordinary user, the user namespace that must own them), and keeps them until we have joined.
//! If there are control groups, it then stays to remove them: see [`crate::cgroup::janitor`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::cgroup::janitor::{self, Janitor};
use crate::types::{HOSTNAME, Identity, Network};
use aegis_sys::{files, namespaces, process};

/// Namespaces being made.
pub struct Early {
    /// The process that makes them, until it is [taken over](Early::take_janitor).
    janitor: Option<Janitor>,
    pidfd: OwnedFd,
    ready: OwnedFd,
}

/// Sent twice: the namespaces are made, then configured.
const READY: [u8; 1] = *b"r";

const ALWAYS: i32 = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

impl Early {
    /// Starts to make them. `None` if that fails: it is tried again later, and the error reported then.
    ///
    /// The caller must have one thread only.
    pub fn begin() -> Option<Self> {
        let (ready, theirs_ready) = files::pipe().ok()?;
        let (theirs_orders, orders) = files::pipe().ok()?;
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let Some((pid, pidfd)) = namespaces::clone_without_signals().ok()? else {
            files::close_all_but([&theirs_ready, &theirs_orders]);
            let _ = make(uid, gid, || files::write_all(theirs_ready.as_fd(), &READY));
            drop(theirs_ready);
            // Until the other end is closed, on purpose or by its owner's death.
            janitor::serve(&theirs_orders);
            process::exit_now(0)
        };
        Some(Self {
            janitor: Some(Janitor::of(pid, orders).ok()?),
            pidfd,
            ready,
        })
    }

    /// Hands over the janitor, which then removes control groups and lives as long as they do.
    pub fn take_janitor(&mut self) -> Option<Janitor> {
        self.janitor.take()
    }

    fn is_ready(&self) -> io::Result<bool> {
        Ok(files::read(self.ready.as_fd(), &mut [0])? != 0)
    }

    /// Waits until the joined namespaces are set up. For PID 1, so that nobody waits before PID 1 exists.
    pub(super) fn wait_until_set_up(&self) -> io::Result<()> {
        if self.is_ready()? {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(libc::EIO))
    }

    /// Joins the namespaces that the plan wants. Returns their `CLONE_NEW*` flags, which need no more making.
    ///
    /// An ordinary user's supervisor thereby enters the sandbox's user namespace, which it owns
    /// anyway: its ids, and so its rights on the host, stay the same.
    pub(super) fn join(&mut self, identity: &Identity, wanted: Network) -> io::Result<u64> {
        if !self.is_ready()? {
            return Ok(0); // It failed; clone3 will say why.
        }
        let mut flags = ALWAYS;
        // A namespace that root made is not the sandbox's own: PID 1 could not listen on its low ports.
        if wanted == Network::None || (wanted == Network::Brokered && !identity.switch) {
            flags |= libc::CLONE_NEWNET;
        }
        if !identity.switch {
            flags |= libc::CLONE_NEWUSER;
        }
        namespaces::join(self.pidfd.as_fd(), flags)?;
        // Lets the janitor go, before another process holds a copy of our end.
        if let Some(janitor) = &mut self.janitor {
            janitor.dismiss();
        }
        if !identity.switch {
            // Gaining capabilities in the new namespace gave our own /proc files to root.
            process::dumpable()?;
        }
        Ok(flags as u64)
    }
}

/// Calls `ready` when the namespaces can be joined, and again when they are configured.
fn make(uid: u32, gid: u32, ready: impl Fn() -> io::Result<()>) -> io::Result<()> {
    if uid == 0 {
        namespaces::unshare(ALWAYS | libc::CLONE_NEWNET)?;
    } else {
        namespaces::unshare(ALWAYS | libc::CLONE_NEWNET | libc::CLONE_NEWUSER)?;
        namespaces::map_own_ids((uid, uid), (gid, gid))?;
    }
    ready()?;
    namespaces::loopback_up()?;
    rustix::system::sethostname(HOSTNAME.as_bytes())?;
    ready()
}
