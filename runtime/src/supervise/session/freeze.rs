//! Everything inside stands still while a person is asked.

use std::os::fd::AsFd;
use std::time::Duration;

use super::Session;
use crate::error::{Error, Failure};
use crate::plan::Degraded;
use crate::plan::limits::DELEGATE;
use crate::supervise::Event;
use crate::types::Step;

/// A group freezes in less than a millisecond. One that takes longer has a process that waits for the host, and cannot be
/// held.
const PATIENCE: Duration = Duration::from_secs(2);

impl Session {
    /// Makes everything inside stand still by the run's control group, and takes the terminal back, until
    /// [`Session::go_on`] or [`Session::kill`]. A limit of time, which is wall time, goes on. Returns whether everything stands
    /// still: not where the command has ended, and not where nothing can hold it, which is told as an event. What was held until
    /// then stays so: it is to be killed.
    ///
    /// # Errors
    ///
    /// As of [`Session::poll`].
    pub fn freeze(&mut self) -> Result<bool, Error> {
        if self.command.is_none() {
            return Ok(false);
        }
        let is_held = self.groups.freeze(PATIENCE);
        if !is_held.map_err(Failure::of(Step::Watch))? {
            let less = Degraded {
                layer: "cgroup",
                what: "nothing holds the command still while a person is asked: it has no control group of its own on the cgroup2 tree, or not all of it freezes".into(),
                fix: DELEGATE.into(),
            };
            self.events.push(Event::NotFrozen(less.clone()));
            self.degraded.push(less);
            return Ok(false);
        }
        // Its end may have come before.
        if !self.poll(&mut [], Some(Duration::ZERO))?.is_running() {
            return Ok(false);
        }
        if let Some(relays) = &mut self.relays {
            relays.give_back();
        }
        if let (Some(terminal), Some(command)) = (&self.terminal, &self.command) {
            terminal.borrow(command.as_fd());
        }
        Ok(true)
    }

    /// Lets everything inside go on.
    ///
    /// # Errors
    ///
    /// The control group cannot be told.
    pub fn go_on(&mut self) -> Result<(), Error> {
        if let (Some(terminal), Some(command)) = (&self.terminal, &self.command) {
            terminal.lend(command.as_fd());
        }
        Ok((self.groups.thaw()).map_err(Failure::of(Step::Watch))?)
    }
}
