//! Signals: blocked and read from a descriptor (`signalfd(2)`), or with their default action.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::{check, descriptor};

/// Signals that [`super::process::begin`] ignores, though a command expects their default action.
pub const IGNORED: [i32; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// A set of signals.
pub(crate) fn set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: `sigset_t` is plain data, which sigemptyset makes a value; it outlives the calls.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        set
    }
}

/// `sigprocmask(2)`. Returns the mask before.
fn mask(how: i32, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = self::set(&[]);
    // SAFETY: both sets outlive the call.
    check(unsafe { libc::sigprocmask(how, set, &mut before) })?;
    Ok(before)
}

/// A set of signals to block and read from a descriptor, with the mask before that.
pub struct Signals {
    /// Readable when one of them is pending: `signalfd(2)`.
    pub fd: OwnedFd,
    set: libc::sigset_t,
    before: libc::sigset_t,
}

impl Signals {
    /// Opens a descriptor for `signals`. They keep their effect until [`Signals::block`].
    pub fn open(signals: &[i32]) -> io::Result<Self> {
        let set = set(signals);
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set outlives the call, which returns a new descriptor.
        let fd = unsafe { descriptor(libc::signalfd(-1, &set, flags)) }?;
        let before = mask(libc::SIG_BLOCK, &self::set(&[]))?;
        Ok(Self { fd, set, before })
    }

    /// Blocks the signals: from now on they are read from the descriptor.
    pub fn block(&self) -> io::Result<()> {
        mask(libc::SIG_BLOCK, &self.set).map(|_| ())
    }

    /// The next pending signal.
    pub fn next(&self) -> Option<Received> {
        // SAFETY: `signalfd_siginfo` is plain data for which all zeroes is a value.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer has the size said and outlives the call.
        let got = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size) };
        (got == size as isize).then_some(Received {
            number: info.ssi_signo as i32,
            code: info.ssi_code,
            pid: info.ssi_pid as i32,
        })
    }

    /// Makes [`Signals::restore_mask`] leave `signal` blocked.
    pub fn keep_blocked(&mut self, signal: i32) {
        // SAFETY: the set outlives the call.
        unsafe { libc::sigaddset(&mut self.before, signal) };
    }

    /// Restores the caller's mask, for a program about to be executed.
    pub fn restore_mask(&self) {
        let _ = mask(libc::SIG_SETMASK, &self.before);
    }
}

/// A signal that was waited for.
pub struct Received {
    /// Which one.
    pub number: i32,
    code: i32,
    pid: i32,
}

impl Received {
    /// Whether the kernel itself sent it, such as a terminal. No process can claim that to another one: `sigqueue(3)`.
    pub fn is_kernels(&self) -> bool {
        self.code == libc::SI_KERNEL
    }

    /// The pid that sent it by `kill(2)`.
    pub fn sender(&self) -> Option<i32> {
        (self.code == libc::SI_USER).then_some(self.pid)
    }
}

/// Waits for one of these signals, which must be blocked: `sigwaitinfo(2)`.
pub fn wait(signals: &[i32]) -> io::Result<Received> {
    // SAFETY: `siginfo_t` is plain data for which all zeroes is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: both outlive the call.
    let number = check(unsafe { libc::sigwaitinfo(&set(signals), &mut info) })?;
    Ok(Received {
        number: number as i32,
        code: info.si_code,
        // SAFETY: a read of plain data; it is a pid where the code is SI_USER.
        pid: unsafe { info.si_pid() },
    })
}

/// Lets a blocked signal that is pending have its effect now. Returns after that, if it does not end the process.
pub fn let_through(signal: i32) {
    let _ = mask(libc::SIG_UNBLOCK, &set(&[signal]));
    let _ = mask(libc::SIG_BLOCK, &set(&[signal]));
}

/// The signals that were blocked: see [`block_all`].
pub struct Before(libc::sigset_t);

impl Before {
    /// Blocks these and no others.
    pub fn restore(self) {
        let _ = mask(libc::SIG_SETMASK, &self.0);
    }
}

/// Blocks every signal: for PID 1, which only waits.
pub fn block_all() -> Before {
    let mut all = set(&[]);
    // SAFETY: the set outlives the call.
    unsafe { libc::sigfillset(&mut all) };
    Before(mask(libc::SIG_SETMASK, &all).unwrap_or(set(&[])))
}

/// Sets a signal to its default action.
pub fn default_action(signal: i32) {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores a signal.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Ends this process by a signal with its default action, without a core dump. Returns if the
/// signal does not end processes.
pub fn die_of(signal: i32) {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    default_action(signal);
    let _ = mask(libc::SIG_UNBLOCK, &set(&[signal]));
    // SAFETY: no pointers; the default action runs no code of ours.
    unsafe { libc::raise(signal) };
}
