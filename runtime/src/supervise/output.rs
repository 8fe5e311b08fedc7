//! Standard output and error by way of pipes, so that their bytes can be counted.
//!
//! Only used when the profile limits them: otherwise the command has the caller's own descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::kernel::{descriptors, mount};

struct Relay {
    from: OwnedFd,
    to: RawFd,
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
            let fd = descriptors::borrow(fd)?;
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
            if !descriptors::is_open(to) || (same && index == 1) {
                continue;
            }
            let (from, end) = descriptors::pipe()?;
            output.relays.push(Relay { from, to });
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

    /// To be polled for reading.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.relays.iter().map(|relay| relay.from.as_raw_fd())
    }

    /// Passes on what is there on the relay that reads from `fd`.
    pub fn pump(&mut self, fd: RawFd) -> Pumped {
        let mut buffer = [0u8; 65536];
        let Some(index) = self
            .relays
            .iter()
            .position(|relay| relay.from.as_raw_fd() == fd)
        else {
            return Pumped::Fine;
        };
        let relay = &self.relays[index];
        let got = match descriptors::read(relay.from.as_fd(), &mut buffer) {
            Ok(0) | Err(_) => {
                self.relays.remove(index);
                return Pumped::Fine;
            }
            Ok(got) => got,
        };
        let allowed = (got as u64).min(self.left) as usize;
        self.left -= allowed as u64;
        let to = relay.to;
        let written = match descriptors::borrow(to) {
            Some(to) => descriptors::write_all(to, &buffer[..allowed]),
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        };
        if written.is_err() {
            // Nobody reads any more: the command shall meet the same end of its pipe.
            self.relays.remove(index);
        }
        if allowed < got {
            Pumped::Exceeded
        } else {
            Pumped::Fine
        }
    }

    /// Passes on what is left once everything inside is dead.
    pub fn drain(&mut self) -> Pumped {
        while let Some(fd) = self.relays.first().map(|relay| relay.from.as_raw_fd()) {
            if self.pump(fd) == Pumped::Exceeded {
                return Pumped::Exceeded;
            }
        }
        Pumped::Fine
    }
}
