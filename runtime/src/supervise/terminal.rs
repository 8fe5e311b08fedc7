//! The caller's terminal: lent to the command's process group, and taken back when it stops or
//! ends. See `credentials(7)`, "Sessions", and the job control of `sudo` and `su`.

use std::os::fd::BorrowedFd;

use aegis_sys::status::Stat;
use aegis_sys::terminal::{self, Modes};
use aegis_sys::{files, process, signal};

/// The controlling terminal, one of 0, 1, 2.
pub struct Terminal {
    /// Its descriptor.
    pub fd: i32,
    /// Whether the caller's process group was in the foreground at the start.
    pub in_foreground: bool,
    modes: Option<Modes>,
}

/// The process group of this process.
pub fn own_group() -> i32 {
    rustix::process::getpgrp().as_raw_nonzero().get()
}

/// The process group of a process by its pidfd, in our pid namespace.
pub fn group_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let pid = process::pid_of(pidfd)?;
    let group = rustix::process::getpgid(rustix::process::Pid::from_raw(pid)).ok()?;
    Some(group.as_raw_pid())
}

/// Stops this process, or everybody in its group as a terminal does; returns when it was continued. The kernel does not stop
/// an orphaned process group, where nobody would continue us.
pub fn stop(by_terminal: bool) {
    let target = match by_terminal {
        true => 0,
        false => std::process::id() as i32,
    };
    let _ = process::kill(target, libc::SIGTSTP);
    signal::let_through(libc::SIGTSTP);
}

/// Whether a process group is this process's own, or that of another confined command of the same pipeline: its leader's
/// supervisor, a few parents up, is in this process's group. One of them reads the terminal, and may not be the one that
/// was lent it first.
fn is_of_this_job(group: i32) -> bool {
    let own = own_group();
    let mut pid = group;
    for _ in 0..4 {
        let Ok(stat) = Stat::of(Some(pid)) else {
            return false;
        };
        // The numbers are those of proc_pid_stat(5).
        match (stat.field(4), stat.field::<i32>(5)) {
            (_, Some(of)) if of == own => return true,
            (Some(parent), Some(_)) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

impl Terminal {
    /// The caller's terminal, if the plan says that there is one.
    pub fn of_caller(planned: bool) -> Option<Self> {
        let fd = (0..=2).find(|fd| planned && terminal::is_controlling(*fd))?;
        Some(Self {
            fd,
            in_foreground: terminal::foreground(fd).is_ok_and(|group| group == own_group()),
            modes: files::inherited(fd).and_then(|fd| Modes::of(fd).ok()),
        })
    }

    /// The command was stopped: stops with it, as the job that the caller's shell sees. If the terminal stopped it (Ctrl-Z),
    /// so do the others of the caller's process group; a command that stops itself stops none of them.
    pub fn stop_with(&mut self, command: BorrowedFd<'_>, signal: i32, by_terminal: bool) {
        // A shell that puts a running job into the foreground does not notify it: the command finds
        // out when it reads.
        let wants_it = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
        if wants_it && terminal::foreground(self.fd).is_ok_and(is_of_this_job) {
            let _ = terminal::set_foreground(self.fd, own_group());
            return self.go_on(command);
        }
        self.borrow(command);
        stop(by_terminal);
        // Whoever has continued us has sent a signal, which is handled as any other. If we were not stopped, the command
        // would not have been by this signal either.
        if signal == libc::SIGTSTP {
            self.go_on(command);
        }
    }

    /// Takes the foreground, if the command has it: in the background, the terminal belongs to another job.
    pub fn borrow(&self, command: BorrowedFd<'_>) {
        let theirs = group_of(command);
        if theirs.is_some() && terminal::foreground(self.fd).ok() == theirs {
            // SIGTTOU is blocked.
            let _ = terminal::set_foreground(self.fd, own_group());
        }
    }

    /// Gives the command the foreground, if this process's group has it.
    pub fn lend(&self, command: BorrowedFd<'_>) {
        if let Some(theirs) = group_of(command)
            && terminal::foreground(self.fd).is_ok_and(|group| group == own_group())
        {
            let _ = terminal::set_foreground(self.fd, theirs);
        }
    }

    /// Continued by the caller's shell: in the foreground (`fg`) or not (`bg`).
    pub fn go_on(&mut self, command: BorrowedFd<'_>) {
        self.lend(command);
        if let Some(theirs) = group_of(command) {
            let _ = process::kill(-theirs, libc::SIGCONT);
        }
    }

    /// After the end: takes the foreground back and, if the command did not end by itself,
    /// restores the terminal's modes.
    pub fn take_back(&mut self, restore_modes: bool) {
        // SIGTTOU is blocked, so this works from the background too. If the shell has given the
        // terminal to another job meanwhile, or kept it, that job keeps it, and its modes.
        let Ok(group) = terminal::foreground(self.fd) else {
            return;
        };
        let gone = group != own_group()
            && process::kill(-group, 0)
                .is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH));
        if gone {
            let _ = terminal::set_foreground(self.fd, own_group());
        } else if group != own_group() {
            return;
        }
        // Or what we have to say would wait for ever.
        let _ = terminal::go_on(self.fd);
        if let (true, Some(modes), Some(fd)) =
            (restore_modes, &self.modes, files::inherited(self.fd))
        {
            let _ = modes.set(fd);
        }
    }
}
