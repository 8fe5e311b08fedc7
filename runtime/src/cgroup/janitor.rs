//! A process that outlives a supervisor killed with `SIGKILL`, and removes its control groups.
//!
//! It is the process that makes the early namespaces ([`crate::apply::Early`]), which would have
//! nothing more to do; without one, a process made for this. It has a copy of the supervisor's memory
//! rather than a share in it: where two processors have worked on one memory, every change to its
//! mappings interrupts the other, and the clone of PID 1 is one large change.
//!
//! All that it does is to read, from a pipe, what there will be to remove, and to remove it at the
//! pipe's end.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_sys::{files, namespaces, process, signal};

/// How often an occupied group is looked at again, and how long.
const INTERVAL: Duration = Duration::from_millis(1);
const ATTEMPTS: u32 = 10_000;

/// Ends a path in the pipe; no path has it.
const END: u8 = 0;

/// A janitor at work.
pub struct Janitor {
    pid: i32,
    orders: Option<OwnedFd>,
}

impl Janitor {
    /// Starts one. The caller must have one thread only.
    pub fn start() -> io::Result<Self> {
        let (theirs, ours) = files::pipe()?;
        let Some((pid, _)) = namespaces::clone(0, None)? else {
            drop(ours);
            signal::block_all();
            files::close_all_but([&theirs]);
            serve(&theirs);
            process::exit_now(0)
        };
        Self::of(pid, ours)
    }

    /// The one that a child is which calls [`serve`] on the other end of the pipe `orders`. It gets its own
    /// process group, so that killing the supervisor's spares it: here, so that this holds before the first
    /// directory is made.
    pub(crate) fn of(pid: i32, orders: OwnedFd) -> io::Result<Self> {
        let janitor = Self {
            pid,
            orders: Some(orders),
        };
        let pid = rustix::process::Pid::from_raw(pid);
        rustix::process::setpgid(pid, pid)?;
        Ok(janitor)
    }

    /// Gives it `directories` to remove, children before parents. It has them when this returns.
    pub fn charge(&self, directories: &[PathBuf]) -> io::Result<()> {
        let Some(orders) = &self.orders else {
            return Ok(());
        };
        let mut text = Vec::new();
        for dir in directories {
            text.extend_from_slice(dir.as_os_str().as_bytes());
            text.push(END);
        }
        files::write_all(orders.as_fd(), &text)
    }

    /// Tells it that the time has come: what it was charged with is empty, or soon will be.
    pub fn dismiss(&mut self) {
        self.orders = None;
    }
}

impl Drop for Janitor {
    /// Waits for its end.
    fn drop(&mut self) {
        self.dismiss();
        let _ = process::reap(self.pid);
    }
}

/// The janitor's work: returns at the end of the pipe, when nothing is left.
pub(crate) fn serve(orders: &OwnedFd) {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = files::read(orders.as_fd(), &mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    // A path that is cut off mid-write: its directory has not been made.
    let Some(end) = text.iter().rposition(|byte| *byte == END) else {
        return;
    };
    let directories: Vec<&Path> = text[..end]
        .split(|byte| *byte == END)
        .map(|path| Path::new(OsStr::from_bytes(path)))
        .collect();
    for _ in 0..ATTEMPTS {
        let left = directories.iter().filter(|dir| !is_done_with(dir)).count();
        if left == 0 {
            return;
        }
        std::thread::sleep(INTERVAL);
    }
}

fn is_done_with(dir: &Path) -> bool {
    match std::fs::remove_dir(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        // Other runs' too: it goes with the last of them.
        Err(_) if dir.ends_with(super::PARENT) => !has_processes(dir),
        // Occupied by the sandbox, which is being killed by its PID 1's death signal.
        Err(_) => false,
    }
}

fn has_processes(dir: &Path) -> bool {
    std::fs::read(dir.join("cgroup.procs")).is_ok_and(|processes| !processes.is_empty())
}
