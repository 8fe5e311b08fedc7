//! The broker of a run, by which its sandbox reaches the hosts that its profile names: the launcher's end of
//! [`aegis_egress::protocol`].

mod trusted;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aegis_audit::event::Evidence;
use aegis_egress::protocol::{
    self, Event as Message, Grant, Listener, Opens, Order, Proxies, Setup,
};
use aegis_policy::request::{Approval, Destination, Traffic};
use aegis_policy::{Context, Decision, Policy, Request, What};
use aegis_runtime::plan::{self, Op, Plan};
use aegis_runtime::supervise::Built;
use aegis_runtime::supervise::denials::Denial;
use aegis_runtime::types::Protocol;
use aegis_sys::{memory, socket};
use rustix::net::Shutdown;

use crate::helper::Helper;

mod published;

use published::Published;

/// So many different refusals, and destinations, are told of a run; the rest is counted.
const MOST: usize = 100;

/// The largest whole number that every JSON reader represents exactly (RFC 8785 uses doubles).
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// All destinations beyond those.
const OTHERS: &str = "others";

/// Who refuses, in reports and messages.
const LAYER: &str = "egress broker";

/// So many messages are taken, and recorded together, before the run itself is looked at again.
const AT_A_TIME: usize = 256;

/// A broker at work.
pub(crate) struct Broker {
    /// `None`: it has ended.
    helper: Option<Helper>,
    #[expect(
        dead_code,
        reason = "what is left of it is removed when this is dropped"
    )]
    provider: Option<Helper>,
    /// It was told to end.
    is_closed: bool,
    context: Context,
    approvals: Vec<Approval>,
    /// What was refused, by what is said of it.
    refused: BTreeMap<String, Refused>,
    /// How much more was refused.
    more: u64,
    /// What was exchanged, by destination.
    traffic: BTreeMap<String, Traffic>,
}

/// A connection or a request, with what the policy says about it.
pub(crate) type Decided = (Request, Decision);

/// Something that was refused.
#[derive(Clone)]
pub(crate) struct Refused {
    /// As it is reported.
    pub denial: Denial,
    /// The policy refuses it; `None`: the broker by itself.
    pub decided: Option<Decided>,
    /// How often, since it was recorded.
    pub times: u64,
}

/// What the broker has told.
#[derive(Default)]
pub(crate) struct Told {
    pub let_through: Vec<Decided>,
    /// Secrets that were put in, each with the version of its value.
    pub secrets: Vec<(Decided, String)>,
    /// For the first time each.
    pub refused: Vec<Refused>,
    /// It has ended, and was not told to.
    pub has_ended: bool,
    /// By this signal.
    ended_by: Option<i32>,
    /// It was ended, since it is not to be understood or does not go on; what is to be said of that.
    pub lost: Option<String>,
}

/// A broker that serves nothing yet. It ends with this process, or when the value is dropped.
pub(crate) struct Started {
    helper: Helper,
    /// Whoever gives it secrets, if there are any.
    provider: Option<Helper>,
    /// Of the ports that the plan publishes.
    published: Vec<Published>,
}

/// A broker that was told by what it is to decide.
pub(crate) struct Prepared {
    helper: Helper,
    context: Context,
    approvals: Vec<Approval>,
    /// Whom the host trusts, where TLS may be opened.
    roots: Option<Vec<u8>>,
    provider: Option<Helper>,
    published: Vec<Published>,
}

/// What is said when it cannot be spoken to.
fn failed(helper: &Helper) -> impl Fn(io::Error) -> String + Copy + use<> {
    let patience = helper.patience().as_secs();
    move |error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            format!("the egress broker cannot be set up: it did not answer for {patience} seconds")
        }
        _ => format!("the egress broker cannot be set up: {error}"),
    }
}

impl Started {
    /// Starts one, and whoever gives it the plan's secrets; and takes the ports that are to be published, on which nothing listens yet.
    pub fn new(plan: &Plan) -> Result<Self, String> {
        let mut published = Vec::new();
        for port in &plan.published {
            published.extend(published::bind(*port)?);
        }
        let not_started = |what, program, error: io::Error| {
            format!(
                "{what}, `{program}` beside this program, cannot be started: {error}\n  help: install all programs in one directory"
            )
        };
        let broker = "aegis-broker";
        let helper = Helper::start(broker, &[]);
        let mut helper = helper.map_err(|error| not_started("the egress broker", broker, error))?;
        let mut provider = None;
        if !plan.secrets.is_empty() {
            let program = "aegis-secrets";
            // Sources are the caller's programs and files, which their variables lead to.
            let started = Helper::start_as_caller(program, &[]);
            provider = Some(
                started.map_err(|error| not_started("the provider of secrets", program, error))?,
            );
            helper.wait_longer().map_err(failed(&helper))?;
        }
        Ok(Self {
            helper,
            provider,
            published,
        })
    }

    /// Tells it by what it is to decide, which it makes ready for while the sandbox is built. `request`: of the run.
    pub fn prepare(
        self,
        request: &Request,
        policy: &Policy,
        plan: &Plan,
    ) -> Result<Prepared, String> {
        let (roots, opens) = match opens(plan) {
            Some(opens) => (Some(trusted::roots()?), Some(opens)),
            None => (None, None),
        };
        let setup = Setup {
            approvals: request.approvals.clone(),
            bandwidth: plan.limits.net,
            context: request.context.clone(),
            destinations: grants(plan),
            listeners: listeners(plan),
            opens,
            policy: (policy.documents().iter())
                .map(|document| (**document).clone())
                .collect(),
            proxies: Proxies::of(|name| std::env::var(name).ok()),
            published: (self.published.iter())
                .map(|published| published.port)
                .collect(),
            secrets: plan.secrets.iter().map(secret).collect(),
        };
        let failed = failed(&self.helper);
        let json = serde_json::to_vec(&setup).expect("strings and numbers");
        let sealed = |bytes: &[u8]| memory::sealed("aegis-egress", bytes).map_err(failed);
        let mut files = vec![sealed(&json)?];
        files.extend(roots.as_deref().map(sealed).transpose()?);
        let mut provider = self.provider;
        // The broker alone speaks to it.
        if let Some(provider) = &mut provider {
            files.extend(provider.hand_over().map_err(failed)?);
        }
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        let order = protocol::encode(&Order::Prepare {});
        socket::send(self.helper.socket(), &order, &fds).map_err(failed)?;
        Ok(Prepared {
            helper: self.helper,
            provider,
            published: self.published,
            context: setup.context,
            approvals: setup.approvals,
            roots,
        })
    }
}

impl Prepared {
    /// Hands it the sockets of a sandbox that is built, tells that sandbox whom to trust, and waits until it serves.
    pub fn serve(self, policy: &Policy, built: &mut Built) -> Result<Broker, String> {
        let failed = failed(&self.helper);
        let socket = self.helper.socket();
        let (authority, java) = match receive(socket).map_err(failed)? {
            Some((Message::Prepared { policy: read, .. }, _)) if read != policy.hash() => {
                return Err("the egress broker is of another version\n  help: install all programs together".into());
            }
            Some((Message::Prepared { authority, .. }, files)) => (authority, files),
            other => return Err(no_answer(other)),
        };
        if let Some(roots) = &self.roots {
            let authority = authority.unwrap_or_default();
            let trusted = trusted::write(built.trust(), roots, &authority, java);
            trusted.map_err(|error| format!("whom the sandbox is to trust: {error}"))?;
        }
        for published in &self.published {
            published.listen()?;
        }
        // Nobody here keeps the sockets: without the broker they refuse.
        let (sockets, inward) = (built.listeners(), built.inward());
        let published = self.published.iter().map(|published| &published.socket);
        let fds = sockets.iter().chain(published).chain(&inward);
        let fds: Vec<BorrowedFd<'_>> = fds.map(AsFd::as_fd).collect();
        let order = protocol::encode(&Order::Serve {});
        socket::send(socket, &order, &fds).map_err(failed)?;
        match receive(socket).map_err(failed)? {
            Some((Message::Ready {}, _)) => Ok(Broker {
                helper: Some(self.helper),
                provider: self.provider,
                is_closed: false,
                context: self.context,
                approvals: self.approvals,
                refused: BTreeMap::new(),
                more: 0,
                traffic: BTreeMap::new(),
            }),
            other => Err(no_answer(other)),
        }
    }
}

/// What became of a broker that does not answer as it should.
fn no_answer(other: Option<(Message, Vec<OwnedFd>)>) -> String {
    match other {
        Some((Message::Failed { why }, _)) => format!("the egress broker cannot serve: {why}"),
        _ => "the egress broker has ended".into(),
    }
}

impl Broker {
    /// The socket on which it tells what it decides, while it lives.
    pub fn told(&self) -> Option<BorrowedFd<'_>> {
        self.helper.as_ref().map(Helper::socket)
    }

    /// Has it end: it connects to nothing more, tells what it has decided, and is gone.
    pub fn close(&mut self) {
        self.is_closed = true;
        if let Some(socket) = self.told() {
            // What fails is gone already.
            let _ = rustix::net::shutdown(socket, Shutdown::Write);
        }
    }

    /// Takes what it has told. Waits until there is something, or it is gone.
    pub fn take(&mut self) -> Told {
        let mut told = Told::default();
        for _ in 0..AT_A_TIME {
            let Some(socket) = self.told() else {
                break;
            };
            match receive(socket) {
                Ok(Some((message, _))) => self.note(message, &mut told),
                // Gone, and every connection with it: the sockets inside refuse.
                Ok(None) => {
                    told.has_ended = !self.is_closed;
                    let helper = self.helper.take().filter(|_| told.has_ended);
                    told.ended_by = helper.and_then(|mut helper| helper.ended_by());
                }
                Err(error) => {
                    told.has_ended = !self.is_closed;
                    told.lost = Some(self.give_up(&error.to_string()));
                }
            }
            if !self.told().is_some_and(socket::has_message) {
                break;
            }
        }
        if told.has_ended {
            let why = match told.ended_by {
                Some(libc::SIGSYS) => {
                    ", by a system call that its own filter does not have: a fault of this version, or somebody had taken it over"
                }
                _ => "",
            };
            let what = format!("it has ended before the run{why}: no host was reached any more");
            self.refuse(denied(what), None, &mut told);
        }
        told
    }

    /// Ends it at once. Returns what is to be said of that.
    pub fn give_up(&mut self, why: &str) -> String {
        if let Some(helper) = self.helper.take() {
            helper.kill();
        }
        format!(
            "the egress broker was ended, and what it still had to tell of connections is lost: {why}"
        )
    }

    fn note(&mut self, message: Message, told: &mut Told) {
        match message {
            Message::Decided { decision, to, .. } if decision.verdict.lets_through() => {
                told.let_through.push((self.asked(What::Net(to)), decision));
            }
            Message::Decided {
                allow,
                decision,
                to,
                ..
            } => {
                let denial = denial(&to, &decision.reason, allow);
                let decided = (self.asked(What::Net(to)), decision);
                self.refuse(denial, Some(decided), told);
            }
            Message::Refused { allow, to, why } => {
                self.refuse(denial(&to, &why, allow), None, told);
            }
            Message::Secret {
                alias,
                decision,
                host,
                inject,
                version,
            } => {
                let place = inject.name();
                let what = format!("the secret {alias} in the {place} of a request to {host}");
                let asked = What::Secret {
                    alias,
                    host,
                    inject: Some(inject),
                };
                let decided = (self.asked(asked.clone()), decision);
                match decided.1.verdict.lets_through() {
                    true => told.secrets.push((decided, version)),
                    false => {
                        let denial = Denial {
                            asked: Some(asked),
                            ..denied(format!("{what} ({})", decided.1.reason))
                        };
                        self.refuse(denial, Some(decided), told);
                    }
                }
            }
            Message::Flood { refusals } => self.more = self.more.saturating_add(refusals),
            Message::Ended {
                error,
                received,
                sent,
                to,
                ..
            } => {
                let failed = u64::from(error.is_some());
                self.add(Traffic {
                    error,
                    failed,
                    received,
                    sent,
                    times: 1,
                    to: protocol::url(&to),
                });
            }
            Message::Entered {
                error,
                failed,
                port,
                received,
                sent,
                times,
            } => self.add(Traffic {
                error,
                failed,
                received,
                sent,
                times,
                to: format!("net.listen {port}"),
            }),
            Message::Prepared { .. } | Message::Ready {} | Message::Failed { .. } => {}
        }
    }

    /// Adds to what was exchanged.
    fn add(&mut self, more: Traffic) {
        let to = match more.to {
            known if self.traffic.contains_key(&known) => known,
            new if self.traffic.len() < MOST => new,
            _ => OTHERS.to_owned(),
        };
        let traffic = self.traffic.entry(to.clone()).or_default();
        let sum = |a: u64, b: u64| a.saturating_add(b).min(MAX_NUMBER);
        *traffic = Traffic {
            error: traffic.error.take().or(more.error),
            failed: sum(traffic.failed, more.failed),
            received: sum(traffic.received, more.received),
            sent: sum(traffic.sent, more.sent),
            times: sum(traffic.times, more.times),
            to,
        };
    }

    fn asked(&self, what: What) -> Request {
        protocol::asked(&self.context, &self.approvals, what)
    }

    /// Notes a refusal: the first of each kind is told, and what follows counted.
    fn refuse(&mut self, denial: Denial, decided: Option<Decided>, told: &mut Told) {
        if let Some(known) = self.refused.get_mut(&denial.what) {
            known.denial.times += 1;
            known.times += 1;
            return;
        }
        // That there is no way out any more is always told.
        if self.refused.len() >= MOST && !told.has_ended {
            self.more += 1;
            return;
        }
        let opinion = decided
            .as_ref()
            .map(|(_, decision)| decision.clone().into());
        let first = Refused {
            denial: Denial {
                decision: opinion,
                ..denial
            },
            decided,
            times: 1,
        };
        told.refused.push(first.clone());
        let known = Refused { times: 0, ..first };
        self.refused.insert(known.denial.what.clone(), known);
    }

    /// All that was refused, each with how often since it was told; and what was exchanged.
    pub fn accounted(self) -> (Vec<Refused>, Vec<Traffic>) {
        let more = (self.more > 0).then(|| Refused {
            denial: Denial {
                times: self.more,
                ..denied("more than is told one by one".to_owned())
            },
            decided: None,
            times: self.more,
        });
        let refused = self.refused.into_values().chain(more);
        (refused.collect(), self.traffic.into_values().collect())
    }
}

/// The refusal of a connection or a request.
fn denial(to: &Destination, why: &str, allow: Option<String>) -> Denial {
    let url = protocol::url(to);
    let method = to.method.as_deref().map(|method| format!("{method} "));
    Denial {
        asked: Some(What::Net(to.clone())),
        allow,
        ..denied(format!("{}{url} ({why})", method.unwrap_or_default()))
    }
}

/// Something that the broker refused.
fn denied(what: String) -> Denial {
    Denial {
        asked: None,
        layer: LAYER,
        what,
        times: 1,
        evidence: Evidence::Broker,
        allow: None,
        decision: None,
    }
}

/// A message, and what comes along. `None`: it has ended.
fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; protocol::LONGEST];
    let (length, fds) = socket::receive(socket, &mut bytes)?;
    match length {
        0 => Ok(None),
        length => Ok(Some((serde_json::from_slice(&bytes[..length])?, fds))),
    }
}

fn secret(secret: &plan::Secret) -> protocol::Secret {
    protocol::Secret {
        alias: secret.alias.clone(),
        to: secret.to.host.clone(),
        port: secret.to.port,
        header: secret.header.clone(),
        query: secret.query.clone(),
        placeholder: secret.placeholder.as_ref().map(|(_, value)| value.clone()),
        ttl: secret.ttl,
    }
}

/// How TLS may be opened, if the plan has a place for whom the sandbox is to trust.
fn opens(plan: &Plan) -> Option<Opens> {
    plan.root.iter().find_map(|made| match made.op {
        Op::Trust { java, .. } => Some(Opens { java }),
        _ => None,
    })
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
