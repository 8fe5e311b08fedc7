//! One descriptor whose bytes are passed on to another, without ever waiting for either.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use aegis_sys::files;
use aegis_sys::process::PollFd;

use super::report::Cause;
use super::tail::Tail;

/// What a pipe holds, if nobody has changed that (`pipe(7)`).
const PIPE: usize = 65536;

/// A pipe that polls writable takes this much without blocking (`PIPE_BUF`, `pipe(7)`).
const ATOMIC: usize = 4096;

/// A terminal that polls writable takes one byte.
const OF_TERMINAL: usize = 1;

/// Nobody reads any more, or nobody can.
const GONE: i16 = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;

/// A descriptor for `poll(2)`, with these events.
pub fn poll_for(fd: i32, events: i16) -> PollFd {
    PollFd {
        fd,
        events,
        revents: 0,
    }
}

/// What a relay passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// The caller's standard input.
    Input,
    /// Standard output.
    Output,
    /// Standard error, alone or with standard output.
    Errors,
}

/// What the relays of a run have in common.
pub struct Shared {
    /// How much output may still be passed on.
    pub left: u64,
    /// There was more.
    pub exceeded: bool,
    /// Why some output could not be passed on, though somebody would have read it.
    pub lost: Option<Cause>,
    /// The end of standard error.
    pub tail: Tail,
}

/// A relay. Dropping it closes both ends.
pub struct Relay {
    from: OwnedFd,
    to: OwnedFd,
    /// Between the caller's terminal and the run's own.
    pub of_terminal: bool,
    /// Read, and not yet written.
    held: Vec<u8>,
    /// Nothing is read for now.
    pub paused: bool,
    pub passes: Passes,
    /// The most that one write takes without blocking.
    at_once: usize,
    /// Where `to` is a file: how large it may become.
    largest: Option<u64>,
}

impl Relay {
    /// `largest`: the limit on the size of files that the command has.
    pub fn new(
        from: OwnedFd,
        to: OwnedFd,
        passes: Passes,
        largest: Option<u64>,
    ) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&to)?.st_mode);
        let is_file = kind == FileType::RegularFile;
        let blocks = !rustix::fs::fcntl_getfl(&to)?.contains(OFlags::NONBLOCK);
        let at_once = match blocks && !is_file {
            true if rustix::termios::isatty(&to) => OF_TERMINAL,
            true => ATOMIC,
            false => PIPE,
        };
        Ok(Self {
            from,
            to,
            of_terminal: false,
            held: Vec::new(),
            paused: false,
            passes,
            at_once,
            largest: largest.filter(|_| is_file),
        })
    }

    /// Whether everything that was read has been written.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether the caller's end is gone, by what was polled.
    pub fn is_hung_up(&self, [from, to]: [PollFd; 2]) -> bool {
        let callers = match self.passes {
            Passes::Input => from,
            Passes::Output | Passes::Errors => to,
        };
        callers.revents & GONE != 0
    }

    /// What to poll: where it comes from, or, while something is held, where it goes; and whether the latter is gone.
    pub fn waits_for(&self) -> [PollFd; 2] {
        let (from, wanted) = match self.held.is_empty() {
            true if self.paused => (-1, 0),
            true => (self.from.as_raw_fd(), 0),
            false => (-1, libc::POLLOUT),
        };
        [
            poll_for(from, libc::POLLIN),
            poll_for(self.to.as_raw_fd(), wanted),
        ]
    }

    /// Goes on, after that was polled. False: it is over.
    pub fn go_on(&mut self, [from, to]: [PollFd; 2], shared: &mut Shared) -> bool {
        // Then whoever writes must find its own pipe closed too.
        if to.revents & GONE != 0 {
            return false;
        }
        if to.revents & libc::POLLOUT != 0 {
            return self.write(shared);
        }
        if from.revents == 0 {
            return true;
        }
        let goes_on = self.fill(from.revents, shared);
        // What cannot block need not be polled first.
        match self.held.is_empty() || self.at_once != PIPE {
            true => goes_on,
            false => self.write(shared),
        }
    }

    /// Reads once. False at the end.
    fn fill(&mut self, events: i16, shared: &mut Shared) -> bool {
        self.held.reserve(PIPE);
        let got = match rustix::io::read(&self.from, rustix::buffer::spare_capacity(&mut self.held))
        {
            Ok(got) => got,
            // Somebody else was quicker; or it is a terminal that belongs to another job now.
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(Errno::IO) => return events & GONE == 0,
            Err(_) => 0,
        };
        if self.passes != Passes::Input {
            let taken = (got as u64).min(shared.left) as usize;
            self.held.truncate(taken);
            shared.left -= taken as u64;
            shared.exceeded |= taken < got;
        }
        if self.passes == Passes::Errors {
            shared.tail.keep(&self.held);
        }
        got > 0
    }

    /// Writes once. False: it is over.
    fn write(&mut self, shared: &mut Shared) -> bool {
        let Err(error) = self.empty() else {
            return true;
        };
        if self.passes != Passes::Input {
            let cause = match Errno::from_io_error(&error) {
                Some(Errno::PIPE) => return false,
                Some(Errno::FBIG) => Cause::FileSizeLimit,
                _ => Cause::OutputLost,
            };
            shared.lost.get_or_insert(cause);
        }
        false
    }

    fn empty(&mut self) -> io::Result<()> {
        let mut count = self.held.len().min(self.at_once);
        if let Some(largest) = self.largest {
            let size = u64::try_from(rustix::fs::fstat(&self.to)?.st_size).unwrap_or(0);
            count = count.min(largest.saturating_sub(size) as usize);
            if count == 0 {
                return Err(Errno::FBIG.into());
            }
        }
        // What was not taken waits until there is room.
        let taken = match rustix::io::write(&self.to, &self.held[..count]) {
            Err(Errno::AGAIN | Errno::INTR) => 0,
            result => result?,
        };
        self.held.drain(..taken);
        Ok(())
    }
}

/// One of the caller's descriptors, to be read or written by the supervisor. A pipe or a terminal is opened anew,
/// non-blocking: others read or write it too, and a terminal's output can be stopped, so that it need not be ready when
/// it has just been found to be.
pub fn callers(fd: RawFd, access: i32) -> io::Result<OwnedFd> {
    let own = files::inherited(fd).ok_or(Errno::BADF)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(own)?.st_mode);
    if kind == FileType::Fifo || rustix::termios::isatty(own) {
        let flags = access | libc::O_NONBLOCK | libc::O_NOCTTY;
        // Another user's cannot be.
        if let Ok(again) = files::open(format!("/proc/self/fd/{fd}"), flags) {
            return Ok(again);
        }
    }
    own.as_fd().try_clone_to_owned()
}
