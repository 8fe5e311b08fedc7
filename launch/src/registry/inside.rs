//! What runs in a sandbox, looked at from outside: by `/proc`, which works with every layout of control groups.

use std::fs;
use std::io;

use aegis_sys::process;
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
            let Some(fields) = statistics(pid) else {
                continue;
            };
            let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
            usage.processes += 1;
            // The numbers are those of proc_pid_stat(5).
            usage.threads += field(20);
            usage.cpu_us += (14..=17).map(field).sum::<u64>() * 1_000_000 / ticks;
            usage.memory += field(24) * page;
        }
        Some(usage)
    }

    /// Sends the command a signal as its caller would, to `aegis-run`, which passes it on; or, with `SIGKILL`, ends it, and
    /// with it everything inside, at once.
    ///
    /// # Errors
    ///
    /// It is gone, or it is another user's.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let gone = rustix::io::Errno::SRCH;
        let supervisor = i32::try_from(self.pid).map_err(io::Error::other)?;
        let targets = match signal {
            // The command is a child of PID 1, which ends with it.
            libc::SIGKILL => children(self.init_pid).ok_or(gone)?,
            _ => vec![supervisor],
        };
        let targets: Vec<OwnedFd> = (targets.into_iter())
            .filter_map(|pid| process::open(pid).ok())
            .collect();
        // A user can write any pids into a file of the user's own: root must not be led to another's process by that.
        let theirs = numbers(supervisor, "Uid:") == [self.uid; 4]
            && numbers(self.init_pid, "PPid:") == [self.pid]
            && numbers(self.init_pid, "NSpid:").ends_with(&[1]);
        if self.stale || !theirs || targets.is_empty() {
            return Err(gone.into());
        }
        for target in targets {
            process::signal(target.as_fd(), signal)?;
        }
        Ok(())
    }
}

/// The numbers in a line of `/proc/PID/status`.
fn numbers(pid: i32, line: &str) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|text| text.strip_prefix(line));
    let words = line.unwrap_or_default().split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
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

/// The numbers of `/proc/PID/stat` from the third on; the third itself, a letter, is 0.
fn statistics(pid: i32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may have any characters.
    let (_, rest) = text.rsplit_once(')')?;
    Some(
        (rest.split_whitespace())
            .map(|word| word.parse().unwrap_or(0))
            .collect(),
    )
}
