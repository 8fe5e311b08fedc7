//! The terminal: `tcgetpgrp(3)`, `tcsetpgrp(3)`, `termios(3)`.

use std::io;
use std::os::fd::RawFd;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

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

/// The terminal's modes, which [`Modes::restore`] puts back.
pub struct Modes(Termios);

impl Modes {
    /// Reads the modes.
    pub fn save(terminal: RawFd) -> io::Result<Self> {
        let terminal = files::inherited(terminal).ok_or(rustix::io::Errno::BADF)?;
        Ok(Self(tcgetattr(terminal)?))
    }

    /// Puts the modes back.
    pub fn restore(&self, terminal: RawFd) -> io::Result<()> {
        let terminal = files::inherited(terminal).ok_or(rustix::io::Errno::BADF)?;
        Ok(tcsetattr(terminal, OptionalActions::Now, &self.0)?)
    }
}
