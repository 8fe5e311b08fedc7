//! The broker of a run, by which its sandbox reaches the hosts that its profile names: the launcher's end of
//! [`aegis_egress::protocol`].

mod published;
mod start;
mod trusted;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use aegis_audit::event::Evidence;
use aegis_egress::protocol::{self, Event as Message};
use aegis_policy::request::{Approval, Destination, Traffic};
use aegis_policy::{Context, Decision, Request, What};
use aegis_runtime::supervise::denials::Denial;
use aegis_sys::socket;
use rustix::net::Shutdown;

use crate::helper::Helper;

pub(crate) use start::Started;

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
