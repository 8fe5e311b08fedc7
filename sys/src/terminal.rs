//! The terminal: `tcgetpgrp(3)`, `tcsetpgrp(3)`, `termios(3)`.

use std::io;
use std::os::fd::RawFd;

use super::check;

/// The first of 0, 1, 2 that is the caller's controlling terminal, if any is.
pub fn controlling() -> Option<RawFd> {
    // SAFETY: no pointers; a descriptor that is not the controlling terminal gives an error.
    (0..=2).find(|fd| unsafe { libc::tcgetpgrp(*fd) } >= 0)
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::isatty(fd) == 1 }
}

/// The terminal's foreground process group.
pub fn foreground(terminal: RawFd) -> io::Result<i32> {
    // SAFETY: no pointers.
    check(unsafe { libc::tcgetpgrp(terminal) }.into()).map(|group| group as i32)
}

/// Makes `group` the terminal's foreground process group. `SIGTTOU` must be blocked.
pub fn set_foreground(terminal: RawFd, group: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::tcsetpgrp(terminal, group) }.into())?;
    Ok(())
}

/// The terminal's modes, to be put back by [`Modes::restore`].
pub struct Modes(libc::termios);

impl Modes {
    /// Reads them.
    pub fn save(terminal: RawFd) -> io::Result<Self> {
        // SAFETY: `termios` is plain data for which all zeroes is a value.
        let mut modes: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: `modes` outlives the call.
        check(unsafe { libc::tcgetattr(terminal, &mut modes) }.into())?;
        Ok(Self(modes))
    }

    /// Puts them back.
    pub fn restore(&self, terminal: RawFd) -> io::Result<()> {
        // SAFETY: the modes outlive the call.
        check(unsafe { libc::tcsetattr(terminal, libc::TCSADRAIN, &self.0) }.into())?;
        Ok(())
    }
}
