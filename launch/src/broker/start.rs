//! Starting a broker: what it is told, before the sandbox is built and after.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use aegis_egress::protocol::{
    self, Event as Message, Grant, Listener, Opens, Order, Proxies, Setup,
};
use aegis_policy::request::Approval;
use aegis_policy::{Context, Policy, Request, What};
use aegis_runtime::plan::{self, Op, Plan};
use aegis_runtime::supervise::Built;
use aegis_runtime::types::Protocol;
use aegis_sys::{memory, socket};

use super::published::{self, Published};
use super::{Broker, receive, trusted};
use crate::helper::Helper;

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
