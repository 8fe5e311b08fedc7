//! The broker of a run, by which its sandbox reaches the hosts that its profile names: the launcher's end of
//! [`aegis_egress::protocol`].

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use aegis_audit::event::{self, Evidence};
use aegis_egress::protocol::{self, Event as Told, Grant, Listener, Order, Setup};
use aegis_policy::request::Destination;
use aegis_policy::{Decision, Policy, Request, Verdict, What};
use aegis_runtime::plan::Plan;
use aegis_runtime::supervise::{self, denials::Denial};
use aegis_runtime::types::Protocol;
use aegis_sys::{memory, socket};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt;

use crate::session::Session;

/// An answer that takes longer does not come any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// So many different refusals are told of a run; the rest is counted.
const MOST: usize = 100;

/// Who refuses, in reports and messages.
const LAYER: &str = "egress broker";

/// A broker that was started.
pub(crate) struct Broker {
    /// `None`: it has ended.
    socket: Option<OwnedFd>,
    grants: Vec<Grant>,
    /// What was refused, by what is said of it.
    refused: BTreeMap<String, Denial>,
    /// How much more was refused.
    more: u64,
}

impl Broker {
    /// Starts one. It ends with this process, or when the value is dropped.
    pub fn start(plan: &Plan) -> Result<Self, String> {
        let failed = |error: io::Error| {
            format!(
                "the egress broker, `aegis-broker` beside this program, cannot be started: {error}\n  help: install all programs in one directory"
            )
        };
        Ok(Self {
            socket: Some(started().map_err(failed)?),
            grants: grants(plan),
            refused: BTreeMap::new(),
            more: 0,
        })
    }

    /// Hands it what it is to serve, and waits until it does.
    pub fn serve(
        &self,
        request: &Request,
        policy: &Policy,
        plan: &Plan,
        sockets: &[OwnedFd],
    ) -> Result<(), String> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let failed = |error: io::Error| format!("the egress broker cannot be set up: {error}");
        let setup = Setup {
            approvals: request.approvals.clone(),
            context: request.context.clone(),
            destinations: self.grants.clone(),
            listeners: listeners(plan),
            policy: (policy.documents().iter())
                .map(|document| (**document).clone())
                .collect(),
        };
        let setup = serde_json::to_vec(&setup).expect("strings and numbers");
        let setup = memory::sealed("aegis-egress", &setup).map_err(failed)?;
        let fds: Vec<BorrowedFd<'_>> = (std::iter::once(&setup).chain(sockets))
            .map(AsFd::as_fd)
            .collect();
        let order = protocol::encode(&Order::Serve {});
        socket::send(socket.as_fd(), &order, &fds).map_err(failed)?;
        match receive(socket).map_err(failed)? {
            Some(Told::Ready {}) => Ok(()),
            Some(Told::Failed { why }) => Err(format!("the egress broker cannot serve: {why}")),
            _ => Err("the egress broker has ended".into()),
        }
    }

    /// The socket on which it tells what it decides, while it lives.
    pub fn told(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Whether it has told something that was not taken.
    fn has_told(&self) -> bool {
        let ready = |socket| {
            let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&Timespec::default())) == Ok(1)
        };
        self.told().is_some_and(ready)
    }

    /// The requests of this run, one by one, are the run's own with this.
    fn asked(run: &Request, to: &Destination) -> Request {
        Request {
            approvals: run.approvals.clone(),
            context: run.context.clone(),
            what: What::Net(to.clone()),
        }
    }

    /// Notes a refusal. Returns it if it is the first of its kind.
    fn refused(&mut self, to: &Destination, why: &str) -> Option<Denial> {
        let named = Destination::connection(to.scheme, &to.host, to.port);
        let url = protocol::url(&named);
        let method = to.method.as_deref().map(|method| format!("{method} "));
        let what = format!("{}{url} ({why})", method.unwrap_or_default());
        if let Some(known) = self.refused.get_mut(&what) {
            known.times += 1;
            return None;
        }
        if self.refused.len() >= MOST {
            self.more += 1;
            return None;
        }
        let covers = |grant: &Grant| {
            grant.scheme == to.scheme && grant.port == to.port && grant.covers(&to.host)
        };
        let is_granted = self.grants.iter().any(covers);
        let denial = Denial {
            asked: Some(What::Net(named)),
            allow: (!is_granted).then(|| format!("capabilities: {{net.outbound: [\"{url}\"]}}")),
            ..denied(what.clone(), 1)
        };
        self.refused.insert(what, denial.clone());
        Some(denial)
    }

    /// Notes that it is gone: from then on everything was refused.
    fn ended(&mut self) {
        self.socket = None;
        let what = "it has ended before the run: no host was reached any more".to_owned();
        self.refused.insert(what.clone(), denied(what, 1));
    }

    /// All that was refused.
    pub fn denials(self) -> impl Iterator<Item = Denial> {
        let more = "more than is told one by one".to_owned();
        let more = (self.more > 0).then(|| denied(more, self.more));
        self.refused.into_values().chain(more)
    }
}

impl Session<'_> {
    /// Takes what the broker has told up to now.
    pub(crate) fn take_all_told(&mut self) {
        while (self.broker.as_ref()).is_some_and(Broker::has_told) {
            self.take_told();
        }
    }

    /// Takes one message of the broker's: records what was decided, and tells what was refused.
    pub(crate) fn take_told(&mut self) {
        let Some(broker) = &mut self.broker else {
            return;
        };
        let told = broker.socket.as_ref().map(receive);
        let told = match told {
            Some(Ok(Some(told))) => told,
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
            // It is gone, and every connection with it: the sockets inside refuse.
            _ => {
                broker.ended();
                (self.recorder.front_end).event(&crate::Event::BrokerEnded);
                return;
            }
        };
        let denial = match told {
            Told::Decided { decision, to, .. } => {
                let denial = refuses(&decision)
                    .then(|| broker.refused(&to, &decision.reason))
                    .flatten();
                let request = Broker::asked(&self.request, &to);
                let event = event::Event::net_request(self.recorder.run(), request, decision);
                // What cannot be recorded ends the run, or does not, as the policy says: told at its end.
                if self.recorder.record(&[event]).is_err() {
                    self.kill();
                }
                denial
            }
            Told::Refused { to, why, .. } => broker.refused(&to, &why),
            Told::Flood { refusals } => {
                broker.more += refusals;
                None
            }
            Told::Ready {} | Told::Failed { .. } | Told::Ended { .. } => None,
        };
        if let Some(denial) = denial {
            let denied = supervise::Event::Denied(Box::new(denial));
            self.recorder.front_end.event(&crate::Event::Run(denied));
        }
    }
}

/// Something that the broker refused so many times.
fn denied(what: String, times: u64) -> Denial {
    Denial {
        asked: None,
        layer: LAYER,
        what,
        times,
        evidence: Evidence::Broker,
        allow: None,
        decision: None,
    }
}

/// Whether a connection or a request is not made.
fn refuses(decision: &Decision) -> bool {
    decision.verdict >= Verdict::Review
}

fn started() -> io::Result<OwnedFd> {
    let program = std::env::current_exe()?.with_file_name("aegis-broker");
    let (ours, theirs) = socket::pair()?;
    for what in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
        sockopt::set_socket_timeout(&ours, what, Some(PATIENCE))?;
    }
    Command::new(program)
        .env_clear()
        .current_dir("/")
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Signals of the terminal are for the command.
        .process_group(0)
        .spawn()?;
    Ok(ours)
}

/// `None`: it has ended.
fn receive(socket: &OwnedFd) -> io::Result<Option<Told>> {
    let mut bytes = vec![0; protocol::LONGEST];
    let (length, _) = socket::receive(socket.as_fd(), &mut bytes)?;
    match length {
        0 => Ok(None),
        length => Ok(Some(serde_json::from_slice(&bytes[..length])?)),
    }
}

/// What the profile asks for, as the policy was asked for it.
fn grants(plan: &Plan) -> Vec<Grant> {
    let grants = plan.grants.iter().filter_map(|grant| match &grant.what {
        What::Net(to) => Some(Grant {
            host: to.host.clone(),
            port: to.port,
            scheme: to.scheme,
        }),
        _ => None,
    });
    grants.collect()
}

fn listeners(plan: &Plan) -> Vec<Listener> {
    let listeners = plan.listeners.iter().map(|listener| Listener {
        port: listener.address.port(),
        protocol: match listener.protocol {
            Protocol::Tcp => protocol::Protocol::Tcp,
            Protocol::Udp => protocol::Protocol::Udp,
        },
    });
    listeners.collect()
}
