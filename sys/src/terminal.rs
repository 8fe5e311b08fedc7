//! The terminal: `tcgetpgrp(3)`, `tcsetpgrp(3)`, `termios(3)`.

use std::io;
use std::os::fd::RawFd;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{check, files};

/// The first of 0, 1, 2 that is the caller's controlling terminal, if any is.
pub fn controlling() -> Option<RawFd> {
    (0..=2).find(|fd| foreground(*fd).is_ok())
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
        Ok(tcsetattr(terminal, OptionalActions::Drain, &self.0)?)
    }
}
