//! Namespaces that no profile changes, made while the profile is still being read.
//!
//! A network namespace alone takes the kernel as long as all else that a start needs together. A
//! process of its own makes it on another processor, with the ipc and uts namespaces (and, for an
//! ordinary user, the user namespace that has to own them), and keeps them until we have joined.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::kernel::{descriptors, namespaces, network, process};
use crate::plan::{HOSTNAME, Identity, Network};

/// Namespaces being made.
pub struct Early {
    maker: i32,
    pidfd: OwnedFd,
    ready: OwnedFd,
    /// Its closing lets the maker go.
    hold: Option<OwnedFd>,
}

/// What of it was joined.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Joined {
    /// `CLONE_NEW*` flags that need no more making.
    pub flags: u64,
}

impl Joined {
    pub fn has(self, flag: i32) -> bool {
        self.flags & flag as u64 != 0
    }
}

const ALWAYS: i32 = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

impl Early {
    /// Begins. `None`: it cannot be done; the same will then be tried, and the error told, later.
    ///
    /// The caller must have one thread only.
    pub fn begin() -> Option<Self> {
        let (ready, theirs_ready) = descriptors::pipe().ok()?;
        let (theirs_hold, hold) = descriptors::pipe().ok()?;
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        match namespaces::clone(0, None).ok()? {
            namespaces::Side::Child => {
                drop((ready, hold));
                let made = make(uid, gid);
                if made.is_ok() && descriptors::write_all(theirs_ready.as_fd(), b"r").is_ok() {
                    // Until the other end is closed, by purpose or by death.
                    let _ = descriptors::read(theirs_hold.as_fd(), &mut [0]);
                }
                process::exit_now(0)
            }
            namespaces::Side::Parent { pid, pidfd } => Some(Self {
                maker: pid,
                pidfd,
                ready,
                hold: Some(hold),
            }),
        }
    }

    /// Joins what was made, as far as the plan wants it.
    ///
    /// An ordinary user's supervisor thereby enters the sandbox's user namespace, of which it is
    /// the owner anyway: its ids, and so what it may do on the host, stay the same.
    pub(super) fn join(&mut self, identity: &Identity, wanted: Network) -> io::Result<Joined> {
        let mut byte = [0];
        if descriptors::read(self.ready.as_fd(), &mut byte)? == 0 {
            return Ok(Joined::default()); // It failed; clone3 will say why.
        }
        let mut flags = ALWAYS;
        if wanted == Network::None {
            flags |= libc::CLONE_NEWNET;
        }
        if !identity.switch {
            flags |= libc::CLONE_NEWUSER;
        }
        namespaces::join(self.pidfd.as_fd(), flags)?;
        // The maker may go. Before there is another process that holds a copy of this end.
        self.hold = None;
        if !identity.switch {
            // Gaining capabilities in the new namespace has made our own /proc files root's.
            process::dumpable()?;
        }
        Ok(Joined {
            flags: flags as u64,
        })
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.hold = None;
        let _ = process::reap(self.maker);
    }
}

fn make(uid: u32, gid: u32) -> io::Result<()> {
    process::block_all_signals();
    if uid == 0 {
        namespaces::unshare(ALWAYS | libc::CLONE_NEWNET)?;
    } else {
        namespaces::unshare(ALWAYS | libc::CLONE_NEWNET | libc::CLONE_NEWUSER)?;
        namespaces::map_own_ids((uid, uid), (gid, gid))?;
    }
    network::loopback_up()?;
    namespaces::set_hostname(HOSTNAME.as_bytes())
}
