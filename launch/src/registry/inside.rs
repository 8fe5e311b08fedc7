//! What runs in a sandbox, looked at from outside: by `/proc`, which works with every layout of control groups.

use std::collections::BTreeSet;
use std::io;

use aegis_sys::proc::Process;
use aegis_sys::process;
use aegis_sys::status::Stat;
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
    /// Processor time of all that ran inside, but for processes that nobody has waited for, in microseconds.
    pub cpu_us: u64,
    /// Resident memory, in bytes; what several share is counted for each.
    pub memory: u64,
}

/// How many processes of a sandbox are looked at: one that makes more and more is looked at for no longer.
const MOST: usize = 1 << 17;

impl Usage {
    /// What one process takes.
    pub(super) fn of(stat: &Stat) -> Self {
        let field = |number| stat.field(number).unwrap_or(0);
        // The numbers are those of proc_pid_stat(5).
        Self {
            processes: 1,
            threads: field(20),
            cpu_us: (14..=17).map(field).sum::<u64>() * 1_000_000
                / rustix::param::clock_ticks_per_second(),
            memory: field(24) * rustix::param::page_size() as u64,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.threads += other.threads;
        self.cpu_us += other.cpu_us;
        self.memory += other.memory;
    }
}

impl Running {
    /// What it takes now; `None`: it is gone.
    pub fn usage(&self) -> Option<Usage> {
        let mut usage = Usage::default();
        let init = self.walk(|_, _, stat| usage.add(Usage::of(stat)))?;
        usage.cpu_us += reaped(&init);
        Some(usage)
    }

    /// PID 1 of the sandbox. `None`: it is gone. A user can write any pids into a file of the user's own: root is not led to
    /// another's process by that.
    pub(super) fn init(&self) -> Option<Process> {
        let supervisor = Process::open(i32::try_from(self.pid).ok()?).ok()?;
        let init = Process::open(self.init_pid).ok()?;
        let theirs = !self.stale
            && supervisor.numbers("Uid") == [self.uid; 4]
            && init.numbers("PPid") == [self.pid]
            && init.numbers("NSpid").ends_with(&[1]);
        theirs.then_some(init)
    }

    /// Goes through the processes inside, each after the one that made it; with its parent's number. PID 1, which is Aegis's
    /// own, is not among them, and is given back. `None`: it is gone.
    pub(super) fn walk(&self, mut visit: impl FnMut(Process, i32, &Stat)) -> Option<Process> {
        let init = self.init()?;
        let mut known = BTreeSet::new();
        let mut ahead: Vec<i32> = init.children().ok()?;
        ahead.reverse();
        while let Some(pid) = ahead.pop()
            && known.len() < MOST
        {
            // One that has ended meanwhile takes nothing.
            let Ok(process) = Process::open(pid) else {
                continue;
            };
            let Ok(stat) = process.stat() else { continue };
            // Where it ended before it was opened, its number can be somebody else's by now: that one's parent is not inside.
            let parent = stat.field(4).unwrap_or(0);
            if parent != init.pid && !known.contains(&parent) || !known.insert(pid) {
                continue;
            }
            let below = process.children().unwrap_or_default();
            ahead.extend(below.into_iter().rev());
            visit(process, parent, &stat);
        }
        Some(init)
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
            true => {
                (Process::open(self.init_pid).and_then(|init| init.children())).unwrap_or_default()
            }
            false => vec![supervisor],
        };
        // One that ended meanwhile may have left its number to somebody else's.
        let is_one = |pid| pid == supervisor || is_child(pid, self.init_pid);
        let open = |pid| process::open(pid).ok().filter(|_| is_one(pid));
        let targets: Vec<OwnedFd> = pids.into_iter().filter_map(open).collect();
        if self.init().is_none() || targets.is_empty() {
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

/// Processor time of the processes inside that PID 1 has waited for, in microseconds.
pub(super) fn reaped(init: &Process) -> u64 {
    let stat = init.stat();
    let ticks = |number| {
        stat.as_ref()
            .ok()
            .and_then(|stat| stat.field(number))
            .unwrap_or(0)
    };
    [16, 17].map(ticks).iter().sum::<u64>() * 1_000_000 / rustix::param::clock_ticks_per_second()
}

fn is_child(pid: i32, parent: i32) -> bool {
    Process::open(pid).is_ok_and(|process| process.numbers("PPid") == [parent as u32])
}
