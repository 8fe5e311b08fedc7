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
use std::time::{Duration, Instant};

use aegis_sys::{files, namespaces, process};

/// How long an occupied group is left alone before it is looked at again, at first and at last: what is inside may be
/// frozen, and die much later.
const INTERVALS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(1)];

/// How long a supervisor waits for its own groups to be removed: somebody may have moved another process there.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

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
        let Some((pid, _)) = namespaces::clone_without_signals()? else {
            drop(ours);
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
        // It may have been stopped together with us before it had a group of its own, and is not continued with us.
        let _ = process::kill(self.pid, libc::SIGCONT);
    }
}

impl Drop for Janitor {
    /// Waits for the janitor to end, but not for ever.
    fn drop(&mut self) {
        self.dismiss();
        if process::ends_within(self.pid, PATIENCE).unwrap_or(true) {
            let _ = process::reap(self.pid);
        }
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
    remove(&directories, None);
}

/// Removes directories, children before parents, as they empty; gives up after `patience`.
pub(super) fn remove(directories: &[impl AsRef<Path>], patience: Option<Duration>) {
    let began = Instant::now();
    let [mut interval, longest] = INTERVALS;
    let left = || {
        directories
            .iter()
            .filter(|dir| !is_done_with(dir.as_ref()))
            .count()
    };
    while left() > 0 && patience.is_none_or(|patience| began.elapsed() < patience) {
        std::thread::sleep(interval);
        interval = (interval + interval / 8).min(longest);
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
