//! Namespaces that no profile changes, made while the profile is still being read.
//!
//! A network namespace alone takes the kernel as long as all else that a start needs together. The
//! janitor, a process of its own, makes it on another processor, with the ipc and uts namespaces (and,
//! for an ordinary user, the user namespace that has to own them), and keeps them until we have joined.
//! Where there are control groups, it then stays to remove them: see [`crate::cgroup::janitor`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::cgroup::janitor::{self, Janitor};
use crate::types::{HOSTNAME, Identity, Network};
use aegis_sys::{files, namespaces, process, signal};

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
    /// Begins. `None`: it cannot be done; the same will then be tried later, and the error told.
    ///
    /// The caller must have one thread only.
    pub fn begin() -> Option<Self> {
        let (ready, theirs_ready) = files::pipe().ok()?;
        let (theirs_orders, orders) = files::pipe().ok()?;
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let Some((pid, pidfd)) = namespaces::clone(0, None).ok()? else {
            signal::block_all();
            files::close_all_but([&theirs_ready, &theirs_orders]);
            let _ = make(uid, gid, || files::write_all(theirs_ready.as_fd(), &READY));
            drop(theirs_ready);
            // Until the other end is closed, by purpose or by death.
            janitor::serve(&theirs_orders);
            process::exit_now(0)
        };
        Some(Self {
            janitor: Some(Janitor::of(pid, orders).ok()?),
            pidfd,
            ready,
        })
    }

    /// Takes the janitor over: it removes control groups, and lives as long as those.
    pub fn take_janitor(&mut self) -> Option<Janitor> {
        self.janitor.take()
    }

    fn is_ready(&self) -> io::Result<bool> {
        Ok(files::read(self.ready.as_fd(), &mut [0])? != 0)
    }

    /// Waits until what was joined is set up. For PID 1, so that nobody waits before it is there.
    pub(super) fn wait_until_set_up(&self) -> io::Result<()> {
        if self.is_ready()? {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(libc::EIO))
    }

    /// Joins what was made, as far as the plan wants it: the `CLONE_NEW*` flags that need no more making.
    ///
    /// An ordinary user's supervisor thereby enters the sandbox's user namespace, of which it is
    /// the owner anyway: its ids, and so what it may do on the host, stay the same.
    pub(super) fn join(&mut self, identity: &Identity, wanted: Network) -> io::Result<u64> {
        if !self.is_ready()? {
            return Ok(0); // It failed; clone3 will say why.
        }
        let mut flags = ALWAYS;
        // Made by root, it is not the sandbox's own: its low ports are not PID 1's to listen on.
        if wanted == Network::None || (wanted == Network::Brokered && !identity.switch) {
            flags |= libc::CLONE_NEWNET;
        }
        if !identity.switch {
            flags |= libc::CLONE_NEWUSER;
        }
        namespaces::join(self.pidfd.as_fd(), flags)?;
        // The janitor may go. Before there is another process that holds a copy of our end.
        if let Some(janitor) = &mut self.janitor {
            janitor.dismiss();
        }
        if !identity.switch {
            // Gaining capabilities in the new namespace has made our own /proc files root's.
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
