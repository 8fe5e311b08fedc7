//! A terminal of the run's own (`pty(7)`), in place of the caller's: the command can neither read what is typed for others
//! nor leave it with another mode. While the run is in the foreground, the caller's terminal passes on each byte as it is
//! (raw), and the run's own makes of it what terminals do: lines, echo, Control-C.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aegis_sys::terminal::{self, Modes};
use aegis_sys::{files, namespaces, process};
use rustix::fs::{Mode, Uid};
use rustix::io::Errno;

use super::terminal::own_group;
use crate::types::Identity;

/// The run's own terminal. Dropping it gives the caller its modes back.
pub struct PseudoTerminal {
    master: OwnedFd,
    /// Open as long as the run goes on: without a slave, the master is at its end.
    slave: OwnedFd,
    raw: Option<Raw>,
}

impl PseudoTerminal {
    /// Makes one with the modes and the size of the caller's.
    pub fn open(identity: &Identity) -> io::Result<Self> {
        let (master, slave) = terminal::pseudo()?;
        rustix::fs::fchmod(&slave, Mode::RUSR | Mode::WUSR)?;
        if identity.switch {
            let _ = rustix::fs::fchown(&slave, Some(Uid::from_raw(identity.uid)), None);
        }
        Modes::of(callers()?)?.set(&slave)?;
        let own = Self {
            master,
            slave,
            raw: None,
        };
        own.resize();
        Ok(own)
    }

    /// Another descriptor of the command's end.
    pub fn slave(&self) -> io::Result<OwnedFd> {
        self.slave.try_clone()
    }

    /// Another descriptor of our end.
    pub fn master(&self) -> io::Result<OwnedFd> {
        self.master.try_clone()
    }

    /// The window has another size: the kernel tells the command.
    pub fn resize(&self) {
        let _ = callers().and_then(|own| terminal::copy_size(own, self.slave.as_fd()));
    }

    /// In the foreground: keys are for the command from here on.
    pub fn begin(&mut self) {
        if self.raw.is_none() {
            self.resize();
            self.raw = Raw::begin().ok();
        }
    }

    /// Gives the caller its modes back.
    pub fn end(&mut self) {
        self.raw = None;
    }
}

/// The caller's terminal.
fn callers() -> io::Result<BorrowedFd<'static>> {
    Ok(files::inherited(0).ok_or(Errno::BADF)?)
}

/// Whether what is typed on the caller's terminal is for this run: also where it is not our controlling one, or that of a
/// session outside of our pid namespace.
pub fn in_foreground() -> bool {
    terminal::foreground(0).map_or(true, |group| group == 0 || group == own_group())
}

/// The caller's terminal while it is raw.
struct Raw {
    before: Modes,
    raw: Modes,
    guard: Option<Guard>,
}

impl Raw {
    fn begin() -> io::Result<Self> {
        let before = Modes::of(callers()?)?;
        let raw = before.raw();
        let guard = Guard::start(&before, &raw).ok();
        raw.set(callers()?)?;
        Ok(Self { before, raw, guard })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If they are others by now, somebody has set them since: another run on this terminal that was there before.
        let _ = callers().and_then(|own| match Modes::of(own)?.same(&self.raw) {
            true => self.before.set(own),
            false => Ok(()),
        });
        drop(self.guard.take());
    }
}

/// A process that gives the caller's terminal its modes back where the supervisor was killed before it could.
struct Guard {
    pid: i32,
    /// Closed with the supervisor.
    end: Option<OwnedFd>,
}

impl Guard {
    fn start(before: &Modes, raw: &Modes) -> io::Result<Self> {
        let (theirs, ours) = files::pipe()?;
        let own = callers()?.try_clone_to_owned()?;
        let Some((pid, _)) = namespaces::clone_without_signals()? else {
            files::close_all_but([&theirs, &own]);
            // Not to be killed with the supervisor's.
            let _ = process::new_group();
            let _ = files::read(theirs.as_fd(), &mut [0]);
            // If they are others by now, somebody has set them since.
            if Modes::of(&own).is_ok_and(|now| now.same(raw)) {
                let _ = before.set(&own);
            }
            process::exit_now(0)
        };
        Ok(Self {
            pid,
            end: Some(ours),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end = None;
        let _ = process::reap(self.pid);
    }
}
