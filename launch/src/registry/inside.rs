//! What runs in a sandbox, looked at from outside: by `/proc`, which works with every layout of control groups.

use std::fs;
use std::io;

use aegis_sys::process;
use aegis_sys::status::{self, Stat};
use rustix::fd::{AsFd, OwnedFd};
use serde::Serialize;

use super::Running;

/// What the processes of a sandbox take at this moment. Those that have ended are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Processes, but for PID 1.
    pub processes: u64,
    /// Threads of these.
    pub threads: u64,
    /// Processor time of these and of children that they have waited for, in microseconds.
    pub cpu_us: u64,
    /// Resident memory, in bytes; what several share is counted for each.
    pub memory: u64,
}

impl Running {
    /// What it takes now; `None`: it is gone.
    pub fn usage(&self) -> Option<Usage> {
        let mut usage = Usage::default();
        let ticks = rustix::param::clock_ticks_per_second();
        let page = rustix::param::page_size() as u64;
        // PID 1 is Aegis's own.
        let mut ahead = children(self.init_pid)?;
        while let Some(pid) = ahead.pop() {
            // One that has ended meanwhile takes nothing.
            let Some(below) = children(pid) else { continue };
            ahead.extend(below);
            let Ok(stat) = Stat::of(Some(pid)) else {
                continue;
            };
            let field = |number| stat.field(number).unwrap_or(0);
            usage.processes += 1;
            // The numbers are those of proc_pid_stat(5).
            usage.threads += field(20);
            usage.cpu_us += (14..=17).map(field).sum::<u64>() * 1_000_000 / ticks;
            usage.memory += field(24) * page;
        }
        Some(usage)
    }

    /// Sends the command a signal as its caller would, to `aegis-run`, which passes it on and, if it is stopped, goes on to do
    /// so; or, with `SIGKILL`, ends it, and with it everything inside, at once.
    ///
    /// # Errors
    ///
    /// It is gone, or it is another user's, or its front end would not pass the signal on.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "it has ended");
        let supervisor = i32::try_from(self.pid).map_err(|_| gone())?;
        let ends = signal == libc::SIGKILL;
        if !ends && !self.passes_signals_on {
            let why = format!(
                "the program that started it (process {supervisor}) passes no signals on, and might end itself\n  help: --signal KILL ends what runs inside"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let pids = match ends {
            // The command is a child of PID 1, which ends with it.
            true => children(self.init_pid).unwrap_or_default(),
            false => vec![supervisor],
        };
        // One that ended meanwhile may have left its number to somebody else's.
        let is_one = |pid| pid == supervisor || numbers(pid, "PPid") == [self.init_pid as u32];
        let open = |pid| process::open(pid).ok().filter(|_| is_one(pid));
        let targets: Vec<OwnedFd> = pids.into_iter().filter_map(open).collect();
        // A user can write any pids into a file of the user's own: root must not be led to another's process by that.
        let theirs = numbers(supervisor, "Uid") == [self.uid; 4]
            && numbers(self.init_pid, "PPid") == [self.pid]
            && numbers(self.init_pid, "NSpid").ends_with(&[1]);
        if self.stale || !theirs || targets.is_empty() {
            return Err(gone());
        }
        for target in targets {
            process::signal(target.as_fd(), signal)?;
            if matches!(signal, libc::SIGTERM | libc::SIGHUP) {
                // As shells do. By now it may have ended.
                let _ = process::signal(target.as_fd(), libc::SIGCONT);
            }
        }
        Ok(())
    }
}

fn numbers(pid: i32, field: &str) -> Vec<u32> {
    status::numbers(Some(pid), field).unwrap_or_default()
}

/// The children of a process, whichever of its threads has made them.
fn children(pid: i32) -> Option<Vec<i32>> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        all.extend(
            list.split_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    Some(all)
}
