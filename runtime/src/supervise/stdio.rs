//! What stands in place of the caller's 0, 1 and 2, where the plan has something there ([`Stdio`]): pipes, or a
//! pseudo-terminal, whose other ends the supervisor has.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use aegis_sys::process::{self, PollFd};
use aegis_sys::signal::Signals;
use aegis_sys::{files, terminal};
use rustix::fs::Mode;

use super::pseudo::{self, PseudoTerminal};
use super::relay::{Passes, Relay, Shared, callers, poll_for};
use super::report::Cause;
use super::tail::Tail;
use crate::plan::Plan;
use crate::plan::stdio::Given;

/// How often a run in the background looks whether it has come to the foreground, and may read the terminal: the shell
/// does not say so.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The relays of a run.
pub struct Relays {
    relays: Vec<Relay>,
    given: [Option<OwnedFd>; 3],
    shared: Shared,
    /// Whether the caller's standard input is a terminal.
    reads_terminal: bool,
    /// The run's own terminal.
    pub terminal: Option<PseudoTerminal>,
}

impl Relays {
    /// Makes what the plan has in place of the caller's. `None`: there is nothing to relay.
    pub fn open(plan: &Plan) -> io::Result<Option<Self>> {
        let stdio = &plan.stdio;
        if stdio.given.iter().all(|given| *given == Given::Own) {
            return Ok(None);
        }
        let mut relays = Self {
            relays: Vec::new(),
            given: [None, None, None],
            shared: Shared {
                left: plan.limits.output.unwrap_or(u64::MAX),
                exceeded: false,
                lost: None,
                tail: Tail::default(),
            },
            reads_terminal: stdio.given[0] != Given::Own && terminal::is_terminal(0),
            terminal: None,
        };
        let largest = (plan.limits.resources.iter())
            .find_map(|(limit, value)| (*limit == libc::RLIMIT_FSIZE).then_some(*value));
        if stdio.has_terminal() {
            let own = PseudoTerminal::open(&plan.identity)?;
            for fd in (0..)
                .zip(stdio.given)
                .filter(|(_, given)| *given == Given::Terminal)
            {
                relays.given[fd.0] = Some(own.slave()?);
            }
            let input = callers(0, libc::O_RDONLY)?;
            let output = callers(1, libc::O_WRONLY)?;
            let passes = match stdio.given[2] {
                Given::Terminal => Passes::Errors,
                _ => Passes::Output,
            };
            relays.relays = vec![
                Relay::new(input, own.master()?, Passes::Input, None)?,
                Relay::new(own.master()?, output, passes, None)?,
            ];
            for relay in &mut relays.relays {
                relay.of_terminal = true;
            }
            relays.terminal = Some(own);
        }
        for (fd, given) in stdio.given.iter().enumerate() {
            if *given != Given::Pipe {
                continue;
            }
            if let (2, true, [_, Some(first), _]) = (fd, stdio.joined, &relays.given) {
                relays.given[2] = Some(first.try_clone()?);
                continue;
            }
            let (reader, writer) = files::pipe()?;
            let own = fd as RawFd;
            // Opened again, an end gives the command no more than it was given for.
            let relay = if fd == 0 {
                rustix::fs::fchmod(&reader, Mode::RUSR)?;
                rustix::io::ioctl_fionbio(&writer, true)?;
                relays.given[0] = Some(reader);
                Relay::new(callers(own, libc::O_RDONLY)?, writer, Passes::Input, None)?
            } else {
                rustix::fs::fchmod(&writer, Mode::WUSR)?;
                relays.given[fd] = Some(writer);
                let passes = match fd == 2 || stdio.joined {
                    true => Passes::Errors,
                    false => Passes::Output,
                };
                Relay::new(reader, callers(own, libc::O_WRONLY)?, passes, largest)?
            };
            relays.relays.push(relay);
        }
        Ok(Some(relays))
    }

    /// The descriptors that the command gets as 0, 1 and 2.
    pub fn given(&self) -> [Option<BorrowedFd<'_>>; 3] {
        self.given
            .each_ref()
            .map(|given| given.as_ref().map(AsFd::as_fd))
    }

    /// Closes our copies of the command's ends, once it has them.
    pub fn started(&mut self) {
        self.given = [None, None, None];
    }

    /// Before each wait: reads the caller's terminal while the run is in the foreground, and no longer. Returns when to
    /// look again.
    pub fn look(&mut self) -> Option<Duration> {
        if !self.reads_terminal {
            return None;
        }
        let in_foreground = pseudo::in_foreground();
        if let (true, Some(own)) = (in_foreground, &mut self.terminal) {
            own.begin();
        }
        let mut inputs = self.relays.iter_mut();
        let input = inputs.find(|relay| relay.passes == Passes::Input)?;
        input.paused = !in_foreground;
        input.paused.then_some(LOOK_AGAIN)
    }

    /// What to poll.
    pub fn waits_for(&self) -> impl Iterator<Item = PollFd> + '_ {
        self.relays.iter().flat_map(Relay::waits_for)
    }

    /// Goes on with the relays that are ready, without ever blocking on a slow reader. Returns true if there was
    /// more than the limit.
    pub fn pump(&mut self, polled: &[PollFd]) -> bool {
        let (polled, _) = polled.as_chunks::<2>();
        let mut ends = self.relays.iter().zip(polled);
        if ends.any(|(relay, polled)| relay.of_terminal && relay.is_hung_up(*polled)) {
            // As the caller's terminal, so the run's own: the kernel tells the command.
            self.relays.retain(|relay| !relay.of_terminal);
            self.terminal = None;
            return self.shared.exceeded;
        }
        let mut polled = polled.iter();
        self.relays.retain_mut(|relay| {
            (polled.next()).is_none_or(|polled| relay.go_on(*polled, &mut self.shared))
        });
        self.shared.exceeded
    }

    /// Passes on the remaining output once everything inside is dead, as long as the time limit and the
    /// signals that end programs allow to wait for a slow reader. Returns why not all went on, if so.
    pub fn drain(&mut self, signals: &Signals, until: Option<Instant>) -> Option<Cause> {
        self.relays.retain(|relay| relay.passes != Passes::Input);
        loop {
            // What is not there by now does not come any more, whoever outside may have been given the other end.
            let mut fds: Vec<PollFd> = self.waits_for().collect();
            if process::poll(&mut fds, Some(0)).is_err() {
                break;
            }
            let (polled, _) = fds.as_chunks::<2>();
            let mut polled = polled.iter();
            self.relays.retain(|relay| {
                let readable = |[from, _]: &[PollFd; 2]| from.revents & libc::POLLIN != 0;
                polled
                    .next()
                    .is_some_and(|polled| !relay.is_idle() || readable(polled))
            });
            if self.relays.is_empty() {
                break;
            }
            let mut fds: Vec<PollFd> = self.waits_for().collect();
            fds.push(poll_for(signals.fd.as_raw_fd(), libc::POLLIN));
            let left = until
                .map(|until| until.saturating_duration_since(Instant::now()).as_nanos() as u64);
            match process::poll(&mut fds, left) {
                Ok(0) if until.is_some_and(|until| Instant::now() >= until) => {
                    return Some(Cause::TimeLimit);
                }
                Ok(_) => {}
                Err(_) => break,
            }
            if fds.pop().is_some_and(|polled| polled.revents != 0)
                && let Some(signal) = signals.next()
                && ENDING.contains(&signal.number)
            {
                return Some(Cause::Killed {
                    signal: signal.number,
                });
            }
            self.pump(&fds);
        }
        let exceeded = self.shared.exceeded.then_some(Cause::OutputLimit);
        exceeded.or(self.shared.lost)
    }

    /// Gives the caller its terminal back as it was.
    pub fn give_back(&mut self) {
        if let Some(own) = &mut self.terminal {
            own.end();
        }
    }

    /// The end of standard error.
    pub fn take_tail(&mut self) -> Tail {
        std::mem::take(&mut self.shared.tail)
    }
}

/// Signals by which a person ends a program.
const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Standard input without write access, if it has that (a terminal mostly): output written there
/// could not be counted. `None`: it is fine as it is.
pub fn read_only_input() -> io::Result<Option<OwnedFd>> {
    if !files::is_writable(0) {
        return Ok(None);
    }
    let flags = libc::O_RDONLY | libc::O_NOCTTY;
    // A socket cannot be opened again.
    files::open(c"/proc/self/fd/0", flags)
        .or_else(|_| files::open(c"/dev/null", flags))
        .map(Some)
}
