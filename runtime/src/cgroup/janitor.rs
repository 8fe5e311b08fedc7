//! A process that outlives a supervisor killed with `SIGKILL`, and removes its control groups.
//!
//! It is the process that makes the early namespaces ([`crate::apply::Early`]), which would have
//! nothing more to do, or else a process made for this. It has a copy of the supervisor's memory
//! and does not share it: after two processors have worked on one memory, every change to its
//! mappings interrupts the other processor, and the clone of PID 1 is one large change.
//!
//! It only reads from a pipe what there will be to remove, and removes that when the
//! pipe is closed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_sys::{files, namespaces, process, signal};

/// How often, and how long, an occupied group is looked at again.
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
    /// Starts one. The caller must be single-threaded.
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

    /// The janitor that is the child `pid`, which calls [`serve`] on the other end of the pipe `orders`. It gets
    /// its own process group here, before the first directory is made, so that killing the supervisor's group
    /// always spares it.
    pub(crate) fn of(pid: i32, orders: OwnedFd) -> io::Result<Self> {
        let janitor = Self {
            pid,
            orders: Some(orders),
        };
        let pid = rustix::process::Pid::from_raw(pid);
        rustix::process::setpgid(pid, pid)?;
        Ok(janitor)
    }

    /// Gives the janitor `directories` to remove, children before parents. It has them when this returns.
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

    /// Tells the janitor to remove what it was charged with, which is empty or soon will be.
    pub fn dismiss(&mut self) {
        self.orders = None;
    }
}

impl Drop for Janitor {
    /// Waits for the janitor to end.
    fn drop(&mut self) {
        self.dismiss();
        let _ = process::reap(self.pid);
    }
}

/// The janitor's work: returns after the end of the pipe, when nothing is left to remove.
pub(crate) fn serve(orders: &OwnedFd) {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = files::read(orders.as_fd(), &mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    // A path cut off in the middle of a write: its directory was not made.
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
        // Other runs share this directory: it goes with the last of them.
        Err(_) if dir.ends_with(super::PARENT) => !has_processes(dir),
        // Occupied by the sandbox, which is being killed by its PID 1's death signal.
        Err(_) => false,
    }
}

fn has_processes(dir: &Path) -> bool {
    std::fs::read(dir.join("cgroup.procs")).is_ok_and(|processes| !processes.is_empty())
}
