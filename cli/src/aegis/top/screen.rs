//! The terminal while `aegis top` has all of it: `termios(3)`, and the few sequences that every terminal of today has
//! (`console_codes(4)`, xterm's "Alternate Screen Buffer").
//!
//! It is given back however the program ends: when the value is dropped, on a signal that ends programs, on a panic, and
//! while the program is stopped.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use aegis_sys::terminal::Modes;
use aegis_sys::{files, process, signal};
use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;

/// The other screen; no cursor; no wrapping of lines that are too long.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";

/// All of that undone.
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Signals that are heard: those that end programs, and those about the terminal.
const HEARD: [i32; 7] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGWINCH,
];

/// The terminal as it is to be given back. `None`: it is not taken.
static TAKEN: Mutex<Option<(File, Modes)>> = Mutex::new(None);

/// Takes the terminal.
fn take(tty: &File) -> io::Result<()> {
    let modes = Modes::of(tty)?;
    let raw = modes.raw();
    let taken = (tty.try_clone()?, modes);
    *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
    raw.set(tty)?;
    files::write_all(tty.as_fd(), ENTER)
}

/// Gives the terminal back, once.
fn give_back() {
    // A panic while somebody holds the lock cannot wait for it.
    let taken = TAKEN.try_lock().ok().and_then(|mut taken| taken.take());
    if let Some((tty, modes)) = taken {
        let _ = files::write_all(tty.as_fd(), LEAVE);
        let _ = modes.set(&tty);
    }
}

/// Gives the terminal back before a panic is told.
fn on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            told(panic);
        }));
    });
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The time is over.
    Nothing,
    /// The window has another size, or the program goes on after having been stopped.
    Change,
    /// Keys.
    Keys(Vec<Key>),
    /// A signal that is to end the program.
    Signal(i32),
    /// The terminal has gone.
    Gone,
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// One with a character, control characters too.
    Char(u8),
    Up,
    Down,
    Escape,
}

/// The terminal, taken.
pub(super) struct Screen {
    tty: File,
    signals: signal::Signals,
}

impl Screen {
    pub fn open() -> anyhow::Result<Self> {
        let tty = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open("/dev/tty")
            .context(
                "there is no terminal to show it on\n  help: -b prints one list after the other",
            )?;
        let signals = signal::Signals::open(&HEARD)?;
        signals.block()?;
        on_panic();
        take(&tty)?;
        Ok(Self { tty, signals })
    }

    /// Lines and columns, or the usual ones.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(&self.tty) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
                (size.ws_row.into(), size.ws_col.into())
            }
            _ => (24, 80),
        }
    }

    /// Draws lines, in place of those before.
    pub fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut out = String::from("\x1b[H");
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                out.push_str("\r\n");
            }
            out.push_str(line);
            out.push_str("\x1b[K");
        }
        out.push_str("\x1b[J");
        self.tty.write_all(out.as_bytes())
    }

    /// Waits for so long at most until something happens.
    pub fn hear(&mut self, time: Duration) -> Heard {
        let time = Timespec::try_from(time).ok();
        let mut waited = [
            PollFd::new(&self.tty, PollFlags::IN),
            PollFd::new(&self.signals.fd, PollFlags::IN),
        ];
        match poll(&mut waited, time.as_ref()) {
            Ok(0) => return Heard::Nothing,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Heard::Change,
            Err(_) => return Heard::Gone,
        }
        let [tty, signals] = waited.map(|fd| fd.revents());
        if !signals.is_empty() {
            return match self.signals.next().map(|signal| signal.number) {
                Some(libc::SIGWINCH) | None => Heard::Change,
                Some(libc::SIGTSTP) => self.stopped(std::process::id() as i32),
                // The shell has set modes of its own meanwhile.
                Some(libc::SIGCONT) => self.again(),
                Some(signal) => Heard::Signal(signal),
            };
        }
        if tty.intersects(PollFlags::HUP | PollFlags::ERR) {
            return Heard::Gone;
        }
        let mut bytes = [0; 64];
        match self.tty.read(&mut bytes) {
            Ok(0) | Err(_) => Heard::Gone,
            Ok(length) => Heard::Keys(keys(&bytes[..length])),
        }
    }

    fn again(&self) -> Heard {
        give_back();
        match take(&self.tty) {
            Ok(()) => Heard::Change,
            Err(_) => Heard::Gone,
        }
    }

    /// Stops, as by Control-Z, until the shell says to go on.
    pub fn stop(&mut self) -> io::Result<()> {
        // The whole job, as the terminal would.
        match self.stopped(0) {
            Heard::Gone => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        }
    }

    fn stopped(&self, pid: i32) -> Heard {
        give_back();
        if process::kill(pid, libc::SIGTSTP).is_ok() {
            signal::let_through(libc::SIGTSTP);
        }
        self.again()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
        self.signals.restore_mask();
    }
}

/// The keys that were pressed. What is no key here is left out.
fn keys(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let [first, after @ ..] = bytes {
        let (key, after) = match bytes {
            [0x1b, b'[' | b'O', b'A', after @ ..] => (Some(Key::Up), after),
            [0x1b, b'[' | b'O', b'B', after @ ..] => (Some(Key::Down), after),
            // Another sequence: up to its last character.
            [0x1b, b'[' | b'O', rest @ ..] => {
                let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
                (None, end.map_or(&[][..], |end| &rest[end + 1..]))
            }
            [0x1b, ..] => (Some(Key::Escape), after),
            _ => (Some(Key::Char(*first)), after),
        };
        keys.extend(key);
        bytes = after;
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let (master, slave) = aegis_sys::terminal::pseudo().unwrap();
        let tty = File::from(slave);
        let before = Modes::of(&tty).unwrap();
        on_panic();
        take(&tty).unwrap();
        assert!(!Modes::of(&tty).unwrap().same(&before));
        assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
        assert!(Modes::of(&tty).unwrap().same(&before));
        let mut said = [0; 256];
        let length = files::read(master.as_fd(), &mut said).unwrap();
        assert_eq!(&said[..length], [ENTER, LEAVE].concat());
    }

    #[test]
    fn keys_are_told_from_sequences() {
        use Key::{Char, Down, Escape, Up};
        assert_eq!(keys(b"q\x1b[A\x1bOBk"), [Char(b'q'), Up, Down, Char(b'k')]);
        // A key for another page, a mouse, the end of a paste.
        assert_eq!(keys(b"\x1b[5~\x1b[<0;3;4My"), [Char(b'y')]);
        assert_eq!(keys(b"\x1b[200"), []);
        assert_eq!(keys(b"\x1b"), [Escape]);
    }
}
