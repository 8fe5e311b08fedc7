//! A line on a terminal's standard error that says how far it is, when it takes longer than a second.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::terminal::complain;

/// Looking at the clock costs, so it is done once in so many steps.
const STEPS: u64 = 4096;
const EVERY: Duration = Duration::from_secs(1);

/// The line. It is gone when this is.
pub(super) struct Progress {
    steps: u64,
    told: Instant,
    is_shown: bool,
    terminal: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            steps: 0,
            told: Instant::now(),
            is_shown: false,
            terminal: io::stderr().is_terminal(),
        }
    }

    /// One record more.
    pub fn step(&mut self) {
        self.steps += 1;
        if self.terminal && self.steps.is_multiple_of(STEPS) && self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            self.is_shown = true;
            complain(&format!("\r{} records", self.steps));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            complain("\r\x1b[K");
        }
    }
}
