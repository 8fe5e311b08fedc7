//! Standard output and error by way of pipes, so that their bytes can be counted.
//!
//! Only used when the profile limits them: otherwise the command has the caller's own descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use std::time::Instant;

use aegis_sys::process::{self, PollFd};
use aegis_sys::signal::Signals;
use aegis_sys::{files, mount};

/// A pipe that polls writable takes this much without blocking (`PIPE_BUF`, `pipe(7)`).
const ATOMIC: usize = 4096;

struct Relay {
    from: OwnedFd,
    to: RawFd,
    /// Read, and not yet written.
    held: Vec<u8>,
}

/// The relays of a run.
pub struct Output {
    relays: Vec<Relay>,
    ends: [Option<OwnedFd>; 2],
    same: bool,
    left: u64,
}

/// What reading a relay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// Bytes went on, or the other side is gone.
    Fine,
    /// There was more than the limit.
    Exceeded,
}

impl Output {
    /// Pipes for what is open of 1 and 2; one for both where both lead to the same place, which
    /// keeps their order.
    pub fn open(limit: u64) -> io::Result<Self> {
        let place = |fd: RawFd| {
            // The descriptor is only borrowed for fstat; nothing here closes 1 or 2.
            let fd = files::inherited(fd)?;
            mount::identity(fd)
                .ok()
                .map(|found| (found.dev, found.ino, found.rdev))
        };
        let same = place(1).is_some() && place(1) == place(2);
        let mut output = Self {
            relays: Vec::new(),
            ends: [None, None],
            same,
            left: limit,
        };
        for (index, to) in [(0, 1), (1, 2)] {
            if !files::is_open(to) || (same && index == 1) {
                continue;
            }
            let (from, end) = files::pipe()?;
            output.relays.push(Relay {
                from,
                to,
                held: Vec::new(),
            });
            output.ends[index] = Some(end);
        }
        Ok(output)
    }

    /// What the command gets as 1 and 2.
    pub fn ends(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let first = self.ends[0].as_ref().map(AsFd::as_fd);
        let second = if self.same {
            first
        } else {
            self.ends[1].as_ref().map(AsFd::as_fd)
        };
        [first, second]
    }

    /// Closes our copies of the command's ends, once it has them.
    pub fn started(&mut self) {
        self.ends = [None, None];
    }

    /// What to poll: the command's end, or, while something is held, the caller's.
    pub fn waits_for(&self) -> impl Iterator<Item = PollFd> + '_ {
        self.relays.iter().map(|relay| PollFd {
            fd: if relay.held.is_empty() {
                relay.from.as_raw_fd()
            } else {
                relay.to
            },
            events: if relay.held.is_empty() {
                libc::POLLIN
            } else {
                libc::POLLOUT
            },
            revents: 0,
        })
    }

    /// Goes on with the relays that are ready, without ever blocking on a slow reader.
    pub fn pump(&mut self, ready: &[PollFd]) -> Pumped {
        let mut exceeded = false;
        let mut index = 0;
        for polled in ready {
            let Some(relay) = self.relays.get_mut(index) else {
                break;
            };
            let goes_on = polled.revents == 0
                || if relay.held.is_empty() {
                    match relay.fill(self.left) {
                        Filled::Bytes(taken, more) => {
                            self.left -= taken;
                            exceeded |= more;
                            true
                        }
                        Filled::End => false,
                    }
                } else {
                    // Where nobody reads any more, the command shall meet the same end of its pipe.
                    relay.empty(ATOMIC).is_ok()
                };
            if goes_on {
                index += 1;
            } else {
                self.relays.remove(index);
            }
        }
        if exceeded {
            Pumped::Exceeded
        } else {
            Pumped::Fine
        }
    }

    /// Passes on what is left once everything inside is dead, as long as the time limit and the
    /// signals that end programs let it wait for a slow reader.
    pub fn drain(&mut self, signals: &Signals, until: Option<Instant>) -> Drained {
        let mut exceeded = false;
        while !self.relays.is_empty() {
            let mut fds: Vec<PollFd> = self.waits_for().collect();
            fds.push(PollFd {
                fd: signals.fd.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            });
            let left = until
                .map(|until| until.saturating_duration_since(Instant::now()).as_nanos() as u64);
            match process::poll(&mut fds, left) {
                Ok(0) if until.is_some_and(|until| Instant::now() >= until) => {
                    return Drained::TimedOut;
                }
                Ok(_) => {}
                Err(_) => break,
            }
            if fds.pop().is_some_and(|polled| polled.revents != 0)
                && let Some((signal, _)) = signals.next()
                && ENDING.contains(&signal)
            {
                return Drained::Ended(signal);
            }
            exceeded |= self.pump(&fds) == Pumped::Exceeded;
        }
        if exceeded {
            Drained::Exceeded
        } else {
            Drained::Fine
        }
    }
}

/// Signals by which a person ends a program.
const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// What passing on the rest came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All went on, or the other side is gone.
    Fine,
    /// There was more than the limit.
    Exceeded,
    /// The time was up first.
    TimedOut,
    /// A signal came first.
    Ended(i32),
}

/// Standard input without the right to write, where it has that (a terminal mostly): what is
/// written there could not be counted. `None`: it is fine as it is.
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

enum Filled {
    /// So many were taken; whether there were more than allowed.
    Bytes(u64, bool),
    /// The command's end is closed.
    End,
}

impl Relay {
    fn fill(&mut self, allowed: u64) -> Filled {
        let mut buffer = [0u8; 65536];
        match files::read(self.from.as_fd(), &mut buffer) {
            Ok(0) | Err(_) => Filled::End,
            Ok(got) => {
                let taken = (got as u64).min(allowed) as usize;
                self.held.extend_from_slice(&buffer[..taken]);
                Filled::Bytes(taken as u64, taken < got)
            }
        }
    }

    /// Writes at most `most` bytes of what is held.
    fn empty(&mut self, most: usize) -> io::Result<()> {
        let to =
            files::inherited(self.to).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        let count = self.held.len().min(most);
        files::write_all(to, &self.held[..count])?;
        self.held.drain(..count);
        Ok(())
    }
}
