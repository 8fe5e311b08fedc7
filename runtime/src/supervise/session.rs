//! A run that is watched, while it goes on.

mod built;
mod finish;
mod freeze;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aegis_sys::process::{self, Change, PollFd};
use aegis_sys::signal::Signals;

use super::notify::Listener;
use super::pseudo::PseudoTerminal;
use super::relay::poll_for;
use super::report::Cause;
use super::stdio::Relays;
use super::terminal::{self, Terminal};
use super::{Event, Progress, Watched};
use crate::apply::{self, Message, Started};
use crate::cgroup::Groups;
use crate::error::{Error, Failure};
use crate::plan::{Degraded, Plan};
use crate::types::Step;

pub use built::{Built, NotBuilt};
pub use finish::Finished;

/// Signals that are passed on to the command.
const FORWARDED: [i32; 8] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGWINCH,
];

/// Time between asking the command to end at its time limit, and ending it.
const GRACE: Duration = Duration::from_millis(500);

/// A run under supervision: poll it until it has ended. Dropping it kills everything inside.
pub struct Session {
    plan: Plan,
    id: String,
    /// Files that the host acts upon and that did not exist: see [`crate::facts::plantable`].
    absent: Vec<PathBuf>,
    started_us: u64,
    started: Started,
    /// Whether PID 1 has been reaped.
    reaped: bool,
    groups: Groups,
    signals: Signals,
    relays: Option<Relays>,
    /// Where the command begins to write to standard error, where that is a file.
    errors_from: Option<u64>,
    terminal: Option<Terminal>,
    /// Everything is built.
    ready: bool,
    /// The broker's sockets, until they are taken.
    listeners: Vec<OwnedFd>,
    /// The files of [`Op::Trust`](crate::plan::Op::Trust) that are to be written, until they are taken.
    trust: Vec<OwnedFd>,
    /// Likewise, those that reach inside.
    inward: Vec<OwnedFd>,
    command: Option<OwnedFd>,
    listener: Option<Listener>,
    /// Addresses that may be connected for the command, where that is guarded.
    reached: Option<BTreeSet<SocketAddr>>,
    deadline: Option<Instant>,
    began: Instant,
    cause: Option<Cause>,
    /// How the command ended; `None`: PID 1 has not reported it.
    ended: Option<Change>,
    over: bool,
    /// Nothing was left of the sandbox's own file system.
    full: bool,
    failed: Option<Error>,
    degraded: Vec<Degraded>,
    /// What was written to private places.
    lost: Vec<PathBuf>,
    /// What was written over trees of the host.
    layers: Option<OwnedFd>,
    /// Signals that came before the command ran.
    early_signals: Vec<i32>,
    events: Vec<Event>,
}

impl Session {
    /// The plan that is carried out.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The pid of the sandbox's PID 1, as this process sees it.
    pub fn init_pid(&self) -> i32 {
        self.started.pid
    }

    /// The sandbox's PID 1, through which its namespaces can be entered (`setns(2)`).
    pub fn init(&self) -> BorrowedFd<'_> {
        self.started.pidfd.as_fd()
    }

    /// The run's leaf on the cgroup2 tree, if it has one.
    pub fn leaf(&self) -> Option<BorrowedFd<'_>> {
        self.groups.leaf()
    }

    /// The command, once it was executed.
    pub fn command(&self) -> Option<BorrowedFd<'_>> {
        self.command.as_ref().map(AsFd::as_fd)
    }

    /// What has happened since the last call, in order.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Sends the command a signal; if it was not executed yet, it gets the signal then.
    pub fn signal(&mut self, signal: i32) {
        match &self.command {
            Some(command) => drop(process::signal(command.as_fd(), signal)),
            None => self.early_signals.push(signal),
        }
    }

    /// Waits until something happens, for `timeout` at most, and handles it. `watched` are waited for too; the
    /// caller handles those.
    ///
    /// # Errors
    ///
    /// A system call of the supervisor failed: the state of the run is no longer known.
    pub fn poll(
        &mut self,
        watched: &mut [Watched<'_>],
        timeout: Option<Duration>,
    ) -> Result<Progress, Error> {
        if self.over {
            return Ok(Progress::Ended);
        }
        let fail = Failure::of(Step::Watch);
        let own = [
            self.started.raw(),
            self.signals.fd.as_raw_fd(),
            self.listener.as_ref().map_or(-1, Listener::raw),
        ];
        let theirs = watched.iter().map(|watched| watched.fd.as_raw_fd());
        let mut fds: Vec<PollFd> = (own.into_iter().chain(theirs))
            .map(|fd| poll_for(fd, libc::POLLIN))
            .collect();
        let relays = fds.len();
        let mut look_again = None;
        if let Some(relays) = &mut self.relays {
            look_again = relays.look();
            fds.extend(relays.waits_for());
        }
        let left =
            (self.deadline).map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.into_iter().chain(timeout).chain(look_again).min();
        process::poll(&mut fds, timeout.map(|timeout| timeout.as_nanos() as u64)).map_err(fail)?;
        // Always checked: a command that keeps us busy gains no time by that.
        self.time_out();
        for (watched, polled) in watched.iter_mut().zip(&fds[own.len()..relays]) {
            watched.ready = polled.revents != 0;
        }
        if let Some(own) = &mut self.relays
            && own.pump(&fds[relays..])
        {
            self.limit(Cause::OutputLimit);
            self.ended = Some(Change::Killed(libc::SIGKILL));
            return Ok(self.end());
        }
        if let Some(listener) = &mut self.listener {
            if fds[2].revents & libc::POLLIN != 0 {
                let denied = listener.answer(&self.plan).map_err(fail)?;
                self.events
                    .extend(denied.map(|denial| Event::Denied(denial.into())));
            } else if fds[2].revents != 0 {
                // Nothing is under the filter any more. What the listener recorded is still wanted.
                listener.close();
            }
        }
        if fds[1].revents != 0 {
            self.pass_signal_on();
        }
        if fds[0].revents != 0 && self.message().map_err(fail)? {
            return Ok(self.end());
        }
        Ok(Progress::Running)
    }

    fn end(&mut self) -> Progress {
        self.over = true;
        Progress::Ended
    }

    /// Returns true if it was the last message.
    fn message(&mut self) -> std::io::Result<bool> {
        match self.started.receive()? {
            None => return Ok(true),
            Some(Message::Failed(failure)) => {
                self.failed = Some(failure.into());
                return Ok(true);
            }
            Some(Message::Unmapped(path)) => {
                let less = apply::unmapped(&path);
                self.events.push(Event::Degraded(less.clone()));
                self.degraded.push(less);
            }
            Some(Message::Lost(path)) => self.lost.push(path),
            Some(Message::Full) => self.full = true,
            Some(Message::Ready {
                mut listeners,
                trust,
            }) => {
                self.ready = true;
                self.trust = trust;
                let count = self.plan.listeners.len().min(listeners.len());
                self.inward = listeners.split_off(count);
                self.listeners = listeners;
            }
            Some(Message::Running {
                pidfd,
                listener,
                own,
                layers,
            }) => {
                self.layers = layers;
                let limit = self.plan.limits.time;
                self.deadline = limit.map(|limit| self.began + Duration::from_millis(limit));
                self.listener = listener.map(|listener| {
                    Listener::new(
                        listener,
                        own,
                        self.reached.take(),
                        &self.plan,
                        pidfd.as_fd(),
                    )
                });
                for signal in self.early_signals.drain(..) {
                    // Without being continued, one that has stopped itself by now would take no other.
                    if FORWARDED.contains(&signal) || signal == libc::SIGCONT {
                        let _ = process::signal(pidfd.as_fd(), signal);
                    }
                }
                self.command = Some(pidfd);
                self.events.push(Event::Started);
                // The command has the other processor to itself.
                self.groups.sweep();
            }
            Some(Message::Changed {
                change,
                by_terminal,
            }) => return Ok(self.changed(change, by_terminal)),
        }
        Ok(false)
    }

    /// Returns true if the command has ended.
    fn changed(&mut self, change: Change, by_terminal: bool) -> bool {
        match change {
            Change::Stopped(signal) => {
                self.events.push(Event::Stopped(signal));
                if let (Some(terminal), Some(command)) = (&mut self.terminal, &self.command) {
                    terminal.stop_with(command.as_fd(), signal, by_terminal);
                } else if self.own_terminal().is_some() {
                    self.stop_with_own(signal, by_terminal);
                }
                false
            }
            Change::Continued => {
                self.events.push(Event::Continued);
                false
            }
            Change::Exited(_) | Change::Killed(_) => {
                self.ended = Some(change);
                let signal = change.signal().filter(|signal| {
                    by_terminal && matches!(*signal, libc::SIGINT | libc::SIGQUIT)
                });
                self.events.extend(signal.map(Event::Interrupted));
                true
            }
        }
    }

    fn own_terminal(&self) -> Option<&PseudoTerminal> {
        self.relays.as_ref()?.terminal.as_ref()
    }

    /// As [`Terminal::stop_with`], where the command has a terminal of the run's own.
    fn stop_with_own(&mut self, signal: i32, by_terminal: bool) {
        if let Some(relays) = &mut self.relays {
            relays.give_back();
        }
        terminal::stop(by_terminal);
        if signal == libc::SIGTSTP {
            self.signal_group(libc::SIGCONT);
        }
    }

    /// Sends a signal to the command's process group.
    fn signal_group(&self, signal: i32) {
        let command = self.command.as_ref().map(AsFd::as_fd);
        if let Some(group) = command.and_then(terminal::group_of) {
            let _ = process::kill(-group, signal);
        }
    }

    fn pass_signal_on(&mut self) {
        let Some(received) = self.signals.next() else {
            return;
        };
        let signal = received.number;
        let Some(command) = &self.command else {
            self.early_signals.push(signal);
            return;
        };
        match signal {
            libc::SIGCONT => match &mut self.terminal {
                Some(terminal) => terminal.go_on(command.as_fd()),
                None => drop(process::signal(command.as_fd(), signal)),
            },
            libc::SIGTTOU | libc::SIGTTIN => {}
            libc::SIGWINCH if self.own_terminal().is_some() => {
                if let Some(own) = self.own_terminal() {
                    own.resize();
                }
            }
            // The terminal itself notifies its foreground group of a new size.
            libc::SIGWINCH if self.terminal.is_some() => {}
            // A terminal means everybody in the foreground.
            _ if received.is_kernels() => self.signal_group(signal),
            signal => {
                let _ = process::signal(command.as_fd(), signal);
            }
        }
    }

    fn time_out(&mut self) {
        if self
            .deadline
            .is_none_or(|deadline| Instant::now() < deadline)
        {
            return;
        }
        if self.cause.is_none() {
            self.limit(Cause::TimeLimit);
            self.deadline = Some(Instant::now() + GRACE);
            if let Some(command) = &self.command {
                let _ = process::signal(command.as_fd(), libc::SIGTERM);
                let _ = process::signal(command.as_fd(), libc::SIGCONT);
            }
        } else {
            self.deadline = None;
            self.kill();
        }
    }

    fn limit(&mut self, cause: Cause) {
        if self.cause.is_none() {
            self.cause = Some(cause);
            self.events.extend(cause.limit().map(Event::Limit));
        }
    }

    /// Kills everything inside. The run is over when it has been polled to its end.
    pub fn kill(&mut self) {
        self.ended = Some(Change::Killed(libc::SIGKILL));
        let _ = process::signal(self.started.pidfd.as_fd(), libc::SIGKILL);
    }
}
