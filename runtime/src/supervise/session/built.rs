//! A sandbox that is being built, until its command starts.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use aegis_policy::{Decision, Policy, Request};
use aegis_sys::files;
use aegis_sys::signal::Signals;

use super::{FORWARDED, Session};
use crate::apply::{self, Early};
use crate::cgroup::Groups;
use crate::error::{Error, Failure};
use crate::facts::Host;
use crate::plan::stdio::{Errors, Given};
use crate::plan::{Plan, authority};
use crate::supervise::stdio::{self, Relays};
use crate::supervise::terminal::Terminal;
use crate::supervise::{Options, report};
use crate::types::Step;

/// A sandbox in which nothing runs yet: its PID 1 builds it, and waits for [`Built::go`]. Dropping it
/// ends it.
pub struct Built(Session);

/// Why building a sandbox could not begin.
#[derive(Debug)]
pub struct NotBuilt {
    /// What was to be built.
    pub plan: Plan,
    /// Why not.
    pub error: Error,
}

impl Deref for Built {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl Built {
    /// Starts to build a sandbox. When this returns, a separate process is building it.
    ///
    /// # Errors
    ///
    /// A step outside the sandbox failed; the plan is returned with it. [`Session::finish`] returns
    /// the error of a step inside.
    pub fn new(plan: Plan, host: &Host, options: Options<'_>) -> Result<Self, Box<NotBuilt>> {
        match Session::built(&plan, host, options) {
            Ok(session) => Ok(Self(session(plan))),
            Err(error) => Err(Box::new(NotBuilt { plan, error })),
        }
    }

    /// Asks the policy about the plan that is being built, and stores its answers there: see
    /// [`authority::decide`].
    pub fn decide(&mut self, policy: &Policy, request: &Request) -> Decision {
        authority::decide(&mut self.0.plan, policy, request)
    }

    /// From here on, signals to be passed on are kept for the command. Before, they have their usual effect on
    /// this process.
    ///
    /// # Errors
    ///
    /// The signals cannot be blocked.
    pub fn hold_signals(&self) -> Result<(), Error> {
        Ok((self.0.signals.block()).map_err(Failure::of(Step::Signals))?)
    }

    /// Lets private sockets be connected to these addresses alone; of port 0, to each of its ports. What connects them is
    /// outside of the sandbox, where none of the kernel's hooks that look at the sandbox see it.
    pub fn guard(&mut self, reached: BTreeSet<SocketAddr>) {
        self.0.reached = Some(reached);
    }

    /// Waits until everything is built.
    ///
    /// # Errors
    ///
    /// A step inside the sandbox failed.
    pub fn wait(&mut self) -> Result<(), Error> {
        let session = &mut self.0;
        while !session.ready {
            let over = session.message();
            if over.map_err(Failure::of(Step::Watch))? {
                let gone = io::Error::from_raw_os_error(libc::ESRCH);
                let failed = session.failed.take();
                return Err(failed.unwrap_or_else(|| Failure::of(Step::Root)(gone).into()));
            }
        }
        Ok(())
    }

    /// The sockets of the plan's [listeners](Plan::listeners), in their order, once [`Built::wait`] has
    /// returned. They are handed out once.
    pub fn listeners(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.0.listeners)
    }

    /// The files to be written of the plan's [`Op::Trust`](crate::plan::Op::Trust), once [`Built::wait`] has returned: the bundle, the
    /// authority, Node's and, where there is one, Java's. They are handed out once, and what is written afterwards is seen inside.
    pub fn trust(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.0.trust)
    }

    /// The unconnected sockets of a sandbox that [publishes ports](Plan::published), in its network, once [`Built::wait`] has
    /// returned. They are handed out once.
    pub fn inward(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.0.inward)
    }

    /// Lets the command start, as soon as everything is built.
    ///
    /// # Errors
    ///
    /// PID 1 exists but the order cannot be sent.
    pub fn go(mut self) -> Result<Session, Error> {
        self.hold_signals()?;
        self.0.began = Instant::now();
        self.0.started.go()?;
        if let Some(relays) = &mut self.0.relays {
            relays.started();
        }
        Ok(self.0)
    }
}

fn signals(forwarded: bool) -> Result<Signals, Failure> {
    let mut blocked = Vec::new();
    if forwarded {
        blocked.extend(FORWARDED);
        blocked.extend([libc::SIGTSTP, libc::SIGTTOU, libc::SIGTTIN, libc::SIGCONT]);
    }
    Signals::open(&blocked).map_err(Failure::of(Step::Signals))
}

impl Session {
    /// Starts to build. Returns a function that makes the session, once it is given its plan.
    fn built(
        plan: &Plan,
        host: &Host,
        options: Options<'_>,
    ) -> Result<impl FnOnce(Plan) -> Self + use<>, Error> {
        let mut early = options.early;
        let janitor = || early.as_mut().and_then(Early::take_janitor);
        let groups = Groups::create(
            &host.cgroups,
            &plan.limits,
            options.id,
            options.leaf,
            janitor,
        )?;
        let tasks = groups.tasks().map_err(Failure::of(Step::Group))?;
        let signals = signals(options.signals)?;
        let relays = Relays::open(plan).map_err(Failure::of(Step::Pipe))?;
        let input = match (plan.limits.output, plan.stdio.given[0]) {
            (Some(_), Given::Own) => stdio::read_only_input().map_err(Failure::of(Step::Input))?,
            _ => None,
        };
        let mut standard = relays.as_ref().map_or([None, None, None], Relays::given);
        standard[0] = standard[0].or(input.as_ref().map(AsFd::as_fd));
        let errors_from = match plan.stdio.errors {
            Errors::File => files::position(2).ok(),
            _ => None,
        };
        let terminal = Terminal::of_caller(plan.terminal && options.signals);
        let started_us = report::now();
        let started = apply::start(
            plan,
            &apply::Outside {
                group: groups.leaf(),
                tasks,
                standard,
                signals: &signals,
                foreground: terminal
                    .as_ref()
                    .map(|terminal| (terminal.fd, terminal.in_foreground)),
            },
            early,
        )?;
        let degraded = plan.degraded.clone();
        let (id, absent) = (options.id.to_owned(), options.absent);
        Ok(move |plan| Self {
            id,
            absent,
            started_us,
            started,
            reaped: false,
            groups,
            signals,
            relays,
            errors_from,
            terminal,
            ready: false,
            listeners: Vec::new(),
            trust: Vec::new(),
            inward: Vec::new(),
            command: None,
            listener: None,
            reached: None,
            deadline: None,
            began: Instant::now(),
            cause: None,
            ended: None,
            over: false,
            full: false,
            failed: None,
            degraded,
            lost: Vec::new(),
            layers: None,
            early_signals: Vec::new(),
            events: Vec::new(),
            plan,
        })
    }
}
