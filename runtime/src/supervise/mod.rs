//! Watching over a run from outside: limits of time and output, signals, the terminal, the calls
//! that seccomp hands over; and saying afterwards what happened.

pub use crate::types::run_id;

pub mod denials;
mod error_messages;
mod notify;
mod output;
pub mod report;
mod terminal;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::apply::{self, Early, Message, Started};
use crate::cgroup::Groups;
use crate::error::Error;
use crate::facts::HostFacts;
use crate::plan::{Degradation, Plan};
use crate::types::Step;
use aegis_sys::process::{self, Change, PollFd, Signals};

use notify::Listener;
use output::{Drained, Output, Pumped};
use report::{Cause, Report, Resources};
use terminal::Terminal;

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

/// Between asking the command to end at its time limit, and ending it.
const GRACE: Duration = Duration::from_millis(500);

/// Runs a plan to its end. `id` is the run's, from [`run_id`]. `permit` is asked once, while the sandbox is
/// being built: the command starts when it has said yes.
pub fn run(
    plan: &Plan,
    facts: &HostFacts,
    mut early: Option<Early>,
    id: &str,
    permit: impl FnOnce() -> Result<(), String>,
) -> Result<Report, Error> {
    let helper = || early.as_mut().and_then(Early::stay_as_janitor);
    let mut groups = Groups::create(&facts.cgroups, &plan.limits, id, helper)?;
    let in_groups = |error| Error::outside(Step::Group, None, error);
    let leaf = groups.leaf().map_err(in_groups)?;
    let tasks = groups.tasks().map_err(in_groups)?;
    let signals = block()?;
    let mut output = match plan.limits.output {
        Some(limit) => {
            Some(Output::open(limit).map_err(|error| Error::outside(Step::Pipe, None, error))?)
        }
        None => None,
    };
    let input = match plan.limits.output {
        Some(_) => {
            output::read_only_input().map_err(|error| Error::outside(Step::Input, None, error))?
        }
        None => None,
    };
    let mut terminal = Terminal::of_caller(plan.terminal);
    let started_us = report::now();
    let started = apply::start(
        plan,
        &apply::Outside {
            group: leaf.as_ref().map(AsFd::as_fd),
            tasks,
            output: output.as_ref().map_or([None, None], Output::ends),
            input: input.as_ref().map(AsFd::as_fd),
            signals: &signals,
            foreground: terminal
                .as_ref()
                .map(|terminal| (terminal.fd, terminal.in_foreground)),
        },
        early,
    )?;
    drop(leaf);
    let permitted = permit().map_err(Error::NotPermitted);
    let began = Instant::now();
    let permitted = permitted.and_then(|()| started.go());
    if let Some(output) = &mut output {
        output.started();
    }
    let mut watch = Watch {
        plan,
        started: &started,
        signals: &signals,
        output: output.as_mut(),
        terminal: terminal.as_mut(),
        command: None,
        listener: None,
        deadline: None,
        began,
        cause: None,
        ended: None,
        failed: None,
        degraded: plan.degraded.clone(),
        early_signals: Vec::new(),
    };
    let result = permitted.and_then(|()| watch.until_the_end());
    let Watch {
        failed,
        ended,
        mut cause,
        listener,
        degraded,
        began,
        deadline,
        ..
    } = watch;
    // PID 1 is dead, and everything in its namespace with it, before it can be reaped.
    let _ = process::signal(started.pidfd.as_fd(), libc::SIGKILL);
    let _ = process::reap(started.pid);
    let wall = began.elapsed();
    if let Some(terminal) = &mut terminal {
        terminal.take_back(!matches!(ended, Some(Change::Exited(_))));
    }
    let usage = groups.usage();
    groups.remove();
    result?;
    if let Some(error) = failed {
        return Err(error);
    }
    if let Some(output) = &mut output {
        // A run that was ended does not wait long for its reader.
        let was_ended = cause.is_some() || matches!(ended, Some(Change::Killed(_)));
        let until = if was_ended {
            Some(Instant::now() + GRACE)
        } else {
            deadline
        };
        let more = match output.drain(&signals, until) {
            Drained::Fine => None,
            Drained::Exceeded => Some(Cause::OutputLimit),
            Drained::TimedOut if was_ended => None,
            Drained::TimedOut => Some(Cause::TimeLimit),
            Drained::Ended(signal) => Some(Cause::Killed { signal }),
        };
        cause = cause.or(more);
    }
    // PID 1 told nothing: it ended the run at its time limit, while we were stopped; or it was
    // killed, by the kernel when memory ran out or from inside.
    if ended.is_none() && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        cause = cause.or(Some(Cause::TimeLimit));
    }
    let ended = ended.unwrap_or(Change::Killed(libc::SIGKILL));
    let cause = cause.unwrap_or_else(|| cause_of(ended, usage.oom_kills.unwrap_or(0) > 0, plan));
    let (mut denials, tail) = listener.map(Listener::finish).unwrap_or_default();
    let status = cause.exit_status();
    let mut limits_met: Vec<&'static str> = cause.limit().into_iter().collect();
    let mut met = |name: &'static str, hit: bool| {
        if hit && !limits_met.contains(&name) {
            limits_met.push(name);
        }
    };
    if status != 0 && cause.limit().is_none() {
        let host = |path: &Path| path.symlink_metadata().is_ok();
        let told = denials::attribute(&tail, plan, &host);
        denials.extend(told.denials);
        for limit in told.limits {
            met(limit, true);
        }
    }
    let group = &plan.limits.group;
    met(
        "memory",
        group.memory.is_some() && usage.oom_kills.unwrap_or(0) > 0,
    );
    met(
        "pids",
        group.pids.is_some() && usage.pids_refused.unwrap_or(0) > 0,
    );
    met(
        "cpu",
        group.cpu.is_some() && usage.cpu_throttled.unwrap_or(0) > 0,
    );
    let (user_us, system_us, max_rss_kib) = process::children_usage();
    Ok(Report {
        version: 1,
        run: id.to_owned(),
        profile: plan.profile.clone(),
        profile_hash: None,
        plan_hash: None,
        policy_hash: plan.policy.as_ref().map(|policy| policy.hash),
        violations: report::violations(plan),
        audit: None,
        command: plan
            .argv
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
        identity: plan.identity.clone(),
        layers: report::layers(plan),
        degraded,
        started_us,
        ended_us: report::now(),
        cause,
        exit_status: status,
        cause_unknown: status != 0 && denials.is_empty() && limits_met.is_empty(),
        limits_met,
        resources: Resources {
            wall_us: wall.as_micros() as u64,
            user_us,
            system_us,
            max_rss_kib,
            group: usage,
        },
        denials,
        planted: facts
            .plantable
            .absent
            .iter()
            .filter(|path| path.symlink_metadata().is_ok())
            .map(|path| path.to_string_lossy().into_owned())
            .collect(),
        lost_events: 0,
    })
}

fn block() -> Result<Signals, Error> {
    let mut blocked = FORWARDED.to_vec();
    blocked.extend([libc::SIGTSTP, libc::SIGTTOU, libc::SIGTTIN, libc::SIGCONT]);
    Signals::block(&blocked).map_err(|error| Error::outside(Step::Signals, None, error))
}

fn cause_of(ended: Change, out_of_memory: bool, plan: &Plan) -> Cause {
    match ended {
        Change::Killed(libc::SIGKILL) if out_of_memory => Cause::MemoryLimit,
        // A shell tells of a child that was killed by 128+9.
        Change::Exited(137) if out_of_memory => Cause::MemoryLimit,
        Change::Killed(libc::SIGXFSZ)
            if plan
                .limits
                .resources
                .iter()
                .any(|(resource, _)| *resource == libc::RLIMIT_FSIZE) =>
        {
            Cause::FileSizeLimit
        }
        Change::Exited(status) => Cause::Exited { status },
        Change::Killed(signal) | Change::Stopped(signal) => Cause::Killed { signal },
        Change::Continued => Cause::Exited { status: 0 },
    }
}

struct Watch<'a, 'p> {
    plan: &'p Plan,
    started: &'a Started,
    signals: &'a Signals,
    output: Option<&'a mut Output>,
    terminal: Option<&'a mut Terminal>,
    command: Option<OwnedFd>,
    listener: Option<Listener<'p>>,
    deadline: Option<Instant>,
    began: Instant,
    cause: Option<Cause>,
    ended: Option<Change>,
    failed: Option<Error>,
    degraded: Vec<Degradation>,
    /// Came before the command ran.
    early_signals: Vec<i32>,
}

impl Watch<'_, '_> {
    fn until_the_end(&mut self) -> Result<(), Error> {
        let fail = |error| Error::outside(Step::Watch, None, error);
        let poll_for = |fd: i32| PollFd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        loop {
            let mut fds = vec![
                poll_for(self.started.raw()),
                poll_for(self.signals.fd.as_raw_fd()),
                poll_for(self.listener.as_ref().map_or(-1, |listener| listener.raw())),
            ];
            if let Some(output) = &self.output {
                fds.extend(output.waits_for());
            }
            let timeout = self.deadline.map(|deadline| {
                deadline
                    .saturating_duration_since(Instant::now())
                    .as_nanos() as u64
            });
            process::poll(&mut fds, timeout).map_err(fail)?;
            // Whatever else there is to do: a command that keeps us busy gains no time by it.
            self.time_out();
            if let Some(output) = &mut self.output
                && output.pump(&fds[3..]) == Pumped::Exceeded
            {
                self.cause.get_or_insert(Cause::OutputLimit);
                self.ended = Some(Change::Killed(libc::SIGKILL));
                return Ok(());
            }
            if fds[2].revents & libc::POLLIN != 0 {
                if let Some(listener) = &mut self.listener {
                    listener.answer().map_err(fail)?;
                }
            } else if fds[2].revents != 0 {
                // Nothing is under the filter any more. What it recorded is still wanted.
                if let Some(listener) = &mut self.listener {
                    listener.close();
                }
            }
            if fds[1].revents != 0 {
                self.signal();
            }
            if fds[0].revents != 0 && self.message().map_err(fail)? {
                return Ok(());
            }
        }
    }

    /// True when it was the last message.
    fn message(&mut self) -> std::io::Result<bool> {
        match self.started.receive()? {
            None => return Ok(true),
            Some(Message::Failed { step, errno, subject }) => {
                let cause = std::io::Error::from_raw_os_error(errno);
                self.failed = Some(Error::outside(step, subject, cause));
                return Ok(true);
            }
            Some(Message::Degraded(layer, what)) => self.degraded.push(Degradation {
                layer,
                what,
                mend: "make the grant belong to the sandbox's user, or use a file system with id-mapped mounts".into(),
            }),
            Some(Message::Running { pidfd, listener }) => {
                self.deadline = self
                    .plan
                    .limits
                    .time
                    .map(|limit| self.began + Duration::from_millis(limit));
                self.listener = listener.map(|fd| Listener::new(fd, self.plan));
                for signal in self.early_signals.drain(..) {
                    if FORWARDED.contains(&signal) {
                        let _ = process::signal(pidfd.as_fd(), signal);
                    }
                }
                self.command = Some(pidfd);
            }
            Some(Message::Changed(Change::Stopped(signal))) => {
                if let (Some(terminal), Some(command)) = (&mut self.terminal, &self.command) {
                    terminal.stop_with(command.as_fd(), signal);
                }
            }
            Some(Message::Changed(Change::Continued)) => {}
            Some(Message::Changed(ended)) => {
                self.ended = Some(ended);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn signal(&mut self) {
        let Some((signal, sender)) = self.signals.next() else {
            return;
        };
        let Some(command) = &self.command else {
            self.early_signals.push(signal);
            return;
        };
        match signal {
            libc::SIGCONT => {
                if let Some(terminal) = &mut self.terminal {
                    terminal.go_on(command.as_fd());
                }
            }
            // Our own, when the whole job was stopped; or somebody wants it stopped.
            libc::SIGTSTP => {
                if sender != std::process::id() {
                    let _ = process::signal(command.as_fd(), signal);
                }
            }
            libc::SIGTTOU | libc::SIGTTIN => {}
            // The terminal tells its foreground group of a new size itself.
            libc::SIGWINCH if self.terminal.is_some() => {}
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
        if self.cause.replace(Cause::TimeLimit).is_none() {
            self.deadline = Some(Instant::now() + GRACE);
            if let Some(command) = &self.command {
                let _ = process::signal(command.as_fd(), libc::SIGTERM);
                let _ = process::signal(command.as_fd(), libc::SIGCONT);
            }
        } else {
            self.deadline = None;
            self.ended = Some(Change::Killed(libc::SIGKILL));
            let _ = process::signal(self.started.pidfd.as_fd(), libc::SIGKILL);
        }
    }
}
