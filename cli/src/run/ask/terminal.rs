//! The terminal during a question: `tty_ioctl(4)`, `termios(3)`.
//!
//! The kernel's line editing is on, with echo but for a passphrase, whatever modes an earlier program left. Keys send no
//! signals meanwhile: Ctrl-C and Ctrl-\ end the line instead, so that they are an answer, which is recorded,
//! and do not reach the processes being prepared. Signals that end programs are an answer too.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, SpecialCodeIndex, Termios,
    isatty, tcflush, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};

use aegis_sys::signal::Signals;
use aegis_sys::status::Stat;
use zeroize::Zeroizing;

use crate::terminal::colour;

/// The kernel's maximum length of a line (`MAX_CANON` of n_tty), and one more.
const LINE: usize = 4097;

/// Ctrl-C and Ctrl-\, which end a line here.
const CANCEL: [u8; 2] = [0x03, 0x1c];

/// Ctrl-D, which ends the input, as usual.
const END: u8 = 0x04;

/// Signals that end programs, which mean no here; and the one after which a stopped program goes on.
const HEARD: [i32; 5] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGCONT,
];

/// How often it is looked whether a terminal that was lent is ours again.
const PACE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Whether what is typed is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    On,
    Off,
}

/// The terminal in the modes for a question; dropping it restores the modes.
pub(super) struct Terminal {
    tty: File,
    before: Termios,
    echo: Echo,
    signals: Signals,
}

impl Terminal {
    /// Opens the terminal, if we may ask on it.
    pub fn open(echo: Echo) -> Result<Self, String> {
        let tty = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open("/dev/tty")
            // Mostly ENXIO; in a container the file may be missing, or not a terminal of ours.
            .ok()
            .filter(|tty| isatty(tty))
            .ok_or("there is no terminal to ask on")?;
        if !is_ours(&tty) {
            return Err("it runs in the background, where nobody can be asked".into());
        }
        let before = tcgetattr(&tty).map_err(broken)?;
        let signals = Signals::open(&HEARD).map_err(broken)?;
        signals.block().map_err(broken)?;
        let terminal = Self {
            tty,
            before,
            echo,
            signals,
        };
        terminal.set().map_err(broken)?;
        Ok(terminal)
    }

    /// The terminal's width, or the usual one.
    pub fn columns(&self) -> usize {
        match tcgetwinsize(&self.tty) {
            Ok(size) if size.ws_col > 0 => size.ws_col.into(),
            _ => 80,
        }
    }

    /// Whether to use colour on it.
    pub fn colour(&self) -> bool {
        colour(&self.tty)
    }

    /// Shows a question, then a prompt, and waits for a line in answer to it. `None`: Ctrl-C, Ctrl-D, a
    /// signal, or the terminal has gone.
    pub fn answer(
        &mut self,
        question: &str,
        prompt: &str,
    ) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let asked = (self.tty.write_all(question.as_bytes()))
            // Input typed up to here cannot be an answer.
            .and_then(|()| Ok(tcflush(&self.tty, QueueSelector::IFlush)?))
            .and_then(|()| self.tty.write_all(prompt.as_bytes()));
        if asked.is_err() {
            self.gone();
            return Ok(None);
        }
        let line = self.line()?;
        if line.is_none() || self.echo == Echo::Off {
            // The cursor is still after the prompt.
            let _ = self.tty.write_all(b"\n");
        }
        Ok(line)
    }

    fn line(&mut self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        loop {
            let mut waited = [
                PollFd::new(&self.tty, PollFlags::IN),
                PollFd::new(&self.signals.fd, PollFlags::IN),
            ];
            match poll(&mut waited, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let [terminal, signals] = waited.map(|fd| fd.revents());
            if terminal.intersects(PollFlags::HUP | PollFlags::ERR) {
                self.gone();
                return Ok(None);
            }
            if signals.is_empty() && is_ours(&self.tty) {
                break;
            }
            if signals.is_empty() {
                // Another run of our process group has lent the terminal to its command: reading now would stop us all.
                // Nothing tells when it is given back.
                let _ = poll(
                    &mut [PollFd::new(&self.signals.fd, PollFlags::IN)],
                    Some(&PACE),
                );
                continue;
            }
            if (self.signals.next()).is_none_or(|signal| signal.number != libc::SIGCONT) {
                self.forget();
                return Ok(None);
            }
            // We were stopped, and the shell has set modes of its own.
            self.set()?;
        }
        let mut buffer = Zeroizing::new([0; LINE]);
        let read = match self.tty.read(&mut *buffer) {
            Ok(0) => return Ok(None),
            Ok(read) => &buffer[..read],
            Err(_) => {
                self.gone();
                return Ok(None);
            }
        };
        match read.last() {
            Some(b'\n') => Ok(Some(Zeroizing::new(read.to_vec()))),
            // Ctrl-C and Ctrl-\, or Ctrl-D in the middle of a line.
            _ => Ok(None),
        }
    }

    /// Removes pending signals, so that they have no effect later: they were an answer.
    fn forget(&self) {
        while self.signals.next().is_some() {}
    }

    /// The terminal is gone: that is an answer. SIGHUP may still arrive, and must not end us before the answer
    /// is recorded.
    fn gone(&mut self) {
        self.forget();
        self.signals.keep_blocked(libc::SIGHUP);
    }

    /// Sets the modes for a question.
    fn set(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes |= LocalModes::ICANON | LocalModes::ECHOE | LocalModes::IEXTEN;
        modes.local_modes |= LocalModes::ECHOCTL | LocalModes::ECHOK;
        modes.local_modes -= LocalModes::ECHONL;
        modes
            .local_modes
            .set(LocalModes::ECHO, self.echo == Echo::On);
        modes.local_modes -= LocalModes::ISIG | LocalModes::NOFLSH;
        modes.input_modes |= InputModes::ICRNL;
        modes.input_modes -= InputModes::IGNCR | InputModes::INLCR;
        modes.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        modes.special_codes[SpecialCodeIndex::VEOF] = END;
        modes.special_codes[SpecialCodeIndex::VEOL] = CANCEL[0];
        modes.special_codes[SpecialCodeIndex::VEOL2] = CANCEL[1];
        Ok(tcsetattr(&self.tty, OptionalActions::Now, &modes)?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // In the background this would stop us, and the modes are the business of the foreground job.
        if is_ours(&self.tty) {
            let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.before);
        }
        self.signals.restore_mask();
    }
}

/// The device number of the controlling terminal, of which `/dev/tty` is another name: `tty_nr` of `proc_pid_stat(5)`.
pub(super) fn number() -> Option<u32> {
    let number: i32 = Stat::of(None).ok()?.field(7)?;
    (number != 0).then_some(number.cast_unsigned())
}

/// The error of an unusable terminal.
pub(super) fn broken(error: impl Into<io::Error>) -> String {
    format!("the terminal cannot be asked on: {}", error.into())
}

/// Whether we are in the foreground process group.
fn is_ours(tty: &impl AsFd) -> bool {
    tcgetpgrp(tty).is_ok_and(|group| group == rustix::process::getpgrp())
}
