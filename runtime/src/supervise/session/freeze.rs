//! Everything inside stands still while a person is asked.

use std::os::fd::AsFd;

use aegis_sys::process;

use super::Session;
use crate::error::Error;

impl Session {
    /// Stops everything inside, and takes the terminal back, until [`Session::go_on`] or [`Session::kill`]. PID 1 stops the others
    /// with the command: no process inside that is not stopped could continue them. Returns whether there is a command to be
    /// stopped: it may have ended meanwhile.
    ///
    /// # Errors
    ///
    /// As of [`Session::poll`].
    pub fn freeze(&mut self) -> Result<bool, Error> {
        self.frozen = Some(false);
        if let Some(command) = &self.command {
            let _ = process::signal(command.as_fd(), libc::SIGSTOP);
        }
        // Its end, or that it was stopped, is told.
        while self.frozen == Some(false) && self.command.is_some() {
            if !self.poll(&mut [], None)?.is_running() {
                return Ok(false);
            }
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.borrow();
        }
        Ok(self.command.is_some())
    }

    /// Lets everything inside go on.
    pub fn go_on(&mut self) {
        self.frozen = None;
        let Some(command) = &self.command else {
            return;
        };
        if let Some(terminal) = &mut self.terminal {
            terminal.go_on(command.as_fd());
        }
        let _ = process::signal(command.as_fd(), libc::SIGCONT);
    }
}
