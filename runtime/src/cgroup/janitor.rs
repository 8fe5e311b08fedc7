//! A process that outlives a supervisor killed with `SIGKILL`, and removes its control groups.
//!
//! It shares the supervisor's memory (no copy is made) and has its own descriptors. All it does is
//! to wait for the end of a pipe and then remove directories, with system calls alone: it must not
//! touch what the supervisor's thread may be using, such as the allocator or `errno`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::kernel::{cstring, descriptors, process};

/// How often an occupied group is looked at again, and how long.
const INTERVAL: i64 = 1_000_000;
const ATTEMPTS: u32 = 10_000;

struct Job {
    alive: RawFd,
    directories: Vec<Directory>,
}

struct Directory {
    path: CString,
    processes: CString,
    /// Other runs' too: it goes with the last of them.
    shared: bool,
}

/// A janitor at work.
pub struct Janitor {
    pid: i32,
    alive: Option<OwnedFd>,
}

impl Janitor {
    /// Starts one for `directories`, children before parents.
    pub fn start(directories: &[PathBuf]) -> io::Result<Self> {
        let (theirs, ours) = descriptors::pipe()?;
        let job = Box::new(Job {
            alive: theirs.as_raw_fd(),
            directories: directories
                .iter()
                .map(|dir| {
                    Ok(Directory {
                        path: cstring(dir)?,
                        processes: cstring(&dir.join("cgroup.procs"))?,
                        shared: dir.ends_with(super::PARENT),
                    })
                })
                .collect::<io::Result<_>>()?,
        });
        // SAFETY: `entry` expects a `Job`; it is leaked, as is the stack, so both live as long as
        // the memory does. The entry makes system calls only (rustix, which sets no `errno`).
        let pid = unsafe {
            process::clone_with_stack(
                entry,
                libc::CLONE_VM | libc::SIGCHLD,
                Box::into_raw(job).cast(),
            )
        }?;
        // Who kills the supervisor's whole process group shall not kill this one with it. From
        // here, so that it holds before the first directory is made.
        process::set_group(pid)?;
        Ok(Self {
            pid,
            alive: Some(ours),
        })
    }

    /// Tells it that there is nothing left to do but to try once more, and waits for its end.
    pub fn dismiss(mut self) {
        self.alive = None;
        let _ = process::reap(self.pid);
    }

    /// Its pid, so that the supervisor can tell it from the sandbox.
    pub fn pid(&self) -> i32 {
        self.pid
    }
}

extern "C" fn entry(job: *mut libc::c_void) -> libc::c_int {
    // SAFETY: [`Janitor::start`] passes a `Job` that is never freed.
    let job = unsafe { &*job.cast::<Job>() };
    process::block_all_signals();
    // Our own copies of what the supervisor has open: they would keep pipes from ending.
    descriptors::close_all_but(job.alive);
    // SAFETY: the descriptor is open, in a table that nobody else shares.
    let alive = unsafe { rustix::fd::BorrowedFd::borrow_raw(job.alive) };
    let mut byte = [0u8; 1];
    while rustix::io::read(alive, &mut byte) == Err(rustix::io::Errno::INTR) {}

    for _ in 0..ATTEMPTS {
        let mut left = false;
        for dir in &job.directories {
            match rustix::fs::unlinkat(CWD, dir.path.as_c_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(_) if dir.shared => left |= has_processes(&dir.processes),
                // Occupied by the sandbox, which is being killed by its PID 1's death signal.
                Err(_) => left = true,
            }
        }
        if !left {
            return 0;
        }
        let _ = rustix::thread::nanosleep(&rustix::thread::Timespec {
            tv_sec: 0,
            tv_nsec: INTERVAL,
        });
    }
    1
}

fn has_processes(file: &CString) -> bool {
    let Ok(file) = rustix::fs::openat(
        CWD,
        file.as_c_str(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return false;
    };
    let mut byte = [0u8; 1];
    rustix::io::read(&file, &mut byte).is_ok_and(|length| length > 0)
}
