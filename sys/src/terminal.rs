//! The terminal: `tcgetpgrp(3)`, `tcsetpgrp(3)`, `termios(3)`; pseudo-terminals: `pty(7)`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::{check, files};

/// Whether a descriptor is the caller's controlling terminal.
pub fn is_controlling(fd: RawFd) -> bool {
    foreground(fd).is_ok()
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: RawFd) -> bool {
    files::inherited(fd).is_some_and(rustix::termios::isatty)
}

/// The terminal's foreground process group; 0 if it is in another pid namespace, where rustix gives an error.
pub fn foreground(terminal: RawFd) -> io::Result<i32> {
    // SAFETY: no pointers.
    check(unsafe { libc::tcgetpgrp(terminal) }).map(|group| group as i32)
}

/// Makes `group` the terminal's foreground process group. `SIGTTOU` must be blocked.
pub fn set_foreground(terminal: RawFd, group: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::tcsetpgrp(terminal, group) })?;
    Ok(())
}

/// Lets output go on that a program has stopped (`TCOOFF` of `tcflow(3)`); a person's Control-S stays. `SIGTTOU` must be
/// blocked.
pub fn go_on(terminal: RawFd) -> io::Result<()> {
    let terminal = files::inherited(terminal).ok_or(rustix::io::Errno::BADF)?;
    Ok(rustix::termios::tcflow(
        terminal,
        rustix::termios::Action::OOn,
    )?)
}

/// A pseudo-terminal: its master, non-blocking, and its slave, both close-on-exec and no controlling terminal of anybody's.
pub fn pseudo() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, slave))
}

/// Makes a terminal, which no session has, the controlling one of the calling process's session, which it leads.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::ioctl_tiocsctty(terminal)?)
}

/// Gives `to` the size of `from`'s window.
pub fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    Ok(tcsetwinsize(to, tcgetwinsize(from)?)?)
}

/// The terminal's modes, which [`Modes::set`] puts back.
pub struct Modes(Termios);

impl Modes {
    /// Reads the modes.
    pub fn of(terminal: impl AsFd) -> io::Result<Self> {
        Ok(Self(tcgetattr(terminal)?))
    }

    /// Sets the modes. In the background `SIGTTOU` must be blocked.
    pub fn set(&self, terminal: impl AsFd) -> io::Result<()> {
        Ok(tcsetattr(terminal, OptionalActions::Now, &self.0)?)
    }

    /// The same terminal, as one that passes on every byte as it is: `cfmakeraw(3)`.
    pub fn raw(&self) -> Self {
        let mut modes = self.0.clone();
        modes.make_raw();
        Self(modes)
    }

    /// Whether a terminal behaves the same with both.
    pub fn same(&self, other: &Self) -> bool {
        let flags = |Self(modes): &Self| {
            let Termios {
                input_modes,
                output_modes,
                local_modes,
                ..
            } = modes;
            (*input_modes, *output_modes, *local_modes)
        };
        flags(self) == flags(other)
    }
}
