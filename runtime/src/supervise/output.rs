//! Standard output and error by way of pipes: both where the profile limits them, so that their bytes can be
//! counted; standard error also where it is a pipe anyway, so that its end is known
//! ([`StandardError`]). Otherwise the command has the caller's own descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use aegis_sys::process::{self, PollFd};
use aegis_sys::signal::Signals;
use aegis_sys::{files, terminal};

use rustix::io::Errno;

use super::report::Cause;
use super::tail::Tail;
use crate::facts::StandardError;

/// What a pipe holds, if nobody has changed that (`pipe(7)`).
const PIPE: usize = 65536;

/// A pipe that polls writable takes this much without blocking (`PIPE_BUF`, `pipe(7)`).
const ATOMIC: usize = 4096;

/// A descriptor for `poll(2)`, with these events.
pub fn poll_for(fd: i32, events: i16) -> PollFd {
    PollFd {
        fd,
        events,
        revents: 0,
    }
}

struct Relay {
    from: OwnedFd,
    to: RawFd,
    /// Where `to` is a terminal: the same, opened non-blocking. The command can stop its output at any moment, also
    /// after it was found to take more.
    terminal: Option<OwnedFd>,
    /// Read, and not yet written.
    held: Vec<u8>,
    /// Whether standard error is in it.
    errors: bool,
}

/// The relays of a run.
pub struct Output {
    relays: Vec<Relay>,
    ends: [Option<OwnedFd>; 2],
    same: bool,
    left: u64,
    /// The end of standard error.
    pub tail: Tail,
}

impl Output {
    /// Pipes for those of 1 and 2 that are to be relayed and are open; one for both if both lead to the same file,
    /// which keeps their order. `None`: there is nothing to relay.
    pub fn open(limit: Option<u64>, standard_error: StandardError) -> io::Result<Option<Self>> {
        let both = limit.is_some() || standard_error == StandardError::RelayedWithOutput;
        if !both && standard_error != StandardError::Relayed {
            return Ok(None);
        }
        let place = |fd: RawFd| {
            // The descriptor is only borrowed for fstat; nothing here closes 1 or 2.
            let found = rustix::fs::fstat(files::inherited(fd)?).ok()?;
            Some((found.st_dev, found.st_ino, found.st_rdev))
        };
        let mut output = Self {
            relays: Vec::new(),
            ends: [None, None],
            same: both && place(1).is_some() && place(1) == place(2),
            left: limit.unwrap_or(u64::MAX),
            tail: Tail::default(),
        };
        for (index, to) in [(0, 1), (1, 2)] {
            let other = match to {
                1 => !both,
                _ => output.same,
            };
            if other || !files::is_open(to) {
                continue;
            }
            let (from, end) = files::pipe()?;
            // Opened again, it gives the command nothing to read.
            rustix::fs::fchmod(&end, rustix::fs::Mode::WUSR)?;
            output.relays.push(Relay {
                from,
                to,
                terminal: terminal::is_terminal(to).then(|| reopened(to)).flatten(),
                held: Vec::new(),
                errors: to == 2 || output.same,
            });
            output.ends[index] = Some(end);
        }
        Ok(Some(output))
    }

    /// The descriptors that the command gets as 1 and 2.
    pub fn ends(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let [first, second] = self
            .ends
            .each_ref()
            .map(|end| end.as_ref().map(AsFd::as_fd));
        [first, if self.same { first } else { second }]
    }

    /// Closes our copies of the command's ends, once it has them.
    pub fn started(&mut self) {
        self.ends = [None, None];
    }

    /// What to poll: the command's end, or, while something is held, the caller's.
    pub fn waits_for(&self) -> impl Iterator<Item = PollFd> + '_ {
        (self.relays.iter()).map(|relay| match relay.held.is_empty() {
            true => poll_for(relay.from.as_raw_fd(), libc::POLLIN),
            false => poll_for(relay.to, libc::POLLOUT),
        })
    }

    /// Goes on with the relays that are ready, without ever blocking on a slow reader. Returns true if there was
    /// more than the limit.
    pub fn pump(&mut self, ready: &[PollFd]) -> bool {
        let mut exceeded = false;
        let mut ready = ready.iter();
        self.relays.retain_mut(|relay| {
            if ready.next().is_none_or(|polled| polled.revents == 0) {
                true
            } else if relay.held.is_empty() {
                relay.fill(&mut self.left, &mut exceeded, &mut self.tail)
            } else {
                // If nobody reads any more, the command must find its own pipe closed too.
                relay.empty(ATOMIC).is_ok()
            }
        });
        exceeded
    }

    /// Passes on the remaining output once everything inside is dead, as long as the time limit and the
    /// signals that end programs allow to wait for a slow reader. Returns why not all went on, if so.
    pub fn drain(&mut self, signals: &Signals, until: Option<Instant>) -> Option<Cause> {
        let mut exceeded = false;
        while !self.relays.is_empty() {
            let mut fds: Vec<PollFd> = self.waits_for().collect();
            fds.push(poll_for(signals.fd.as_raw_fd(), libc::POLLIN));
            let left = until
                .map(|until| until.saturating_duration_since(Instant::now()).as_nanos() as u64);
            match process::poll(&mut fds, left) {
                Ok(0) if until.is_some_and(|until| Instant::now() >= until) => {
                    return Some(Cause::TimeLimit);
                }
                Ok(_) => {}
                Err(_) => break,
            }
            if fds.pop().is_some_and(|polled| polled.revents != 0)
                && let Some(signal) = signals.next()
                && ENDING.contains(&signal)
            {
                return Some(Cause::Killed { signal });
            }
            exceeded |= self.pump(&fds);
        }
        exceeded.then_some(Cause::OutputLimit)
    }
}

/// Signals by which a person ends a program.
const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Standard input without write access, if it has that (a terminal mostly): output written there
/// could not be counted. `None`: it is fine as it is.
pub fn read_only_input() -> io::Result<Option<OwnedFd>> {
    if !files::is_writable(0) {
        return Ok(None);
    }
    let flags = libc::O_RDONLY | libc::O_NOCTTY;
    // A socket cannot be opened again.
    files::open(c"/proc/self/fd/0", flags)
        .or_else(|_| files::open(c"/dev/null", flags))
        .map(Some)
}

/// Another user's terminal cannot be opened again.
fn reopened(terminal: RawFd) -> Option<OwnedFd> {
    let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    files::open(format!("/proc/self/fd/{terminal}"), flags).ok()
}

impl Relay {
    /// Reads at most `left` bytes and subtracts them; `exceeded`: there were more. False at the end of the pipe.
    fn fill(&mut self, left: &mut u64, exceeded: &mut bool, tail: &mut Tail) -> bool {
        self.held.reserve(PIPE);
        let got = files::read_more(self.from.as_fd(), &mut self.held).unwrap_or(0);
        let taken = (got as u64).min(*left) as usize;
        self.held.truncate(taken);
        if self.errors {
            tail.keep(&self.held);
        }
        *left -= taken as u64;
        *exceeded |= taken < got;
        got > 0
    }

    /// Writes at most `most` bytes of what is held.
    fn empty(&mut self, most: usize) -> io::Result<()> {
        let to = match &self.terminal {
            Some(terminal) => terminal.as_fd(),
            None => files::inherited(self.to).ok_or(Errno::BADF)?,
        };
        let count = self.held.len().min(most);
        // Once: what was not taken waits until there is room, also where the command has left the descriptor
        // non-blocking.
        let taken = match rustix::io::write(to, &self.held[..count]) {
            Err(Errno::AGAIN | Errno::INTR) => 0,
            result => result?,
        };
        self.held.drain(..taken);
        Ok(())
    }
}
