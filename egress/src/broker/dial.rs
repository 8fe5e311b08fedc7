//! From a destination to a connection: is it asked for, is it let through, where is it really, and is it let through there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use aegis_policy::Decision;
use aegis_policy::request::Destination;
use tokio::net::{TcpStream, UdpSocket};

use crate::broker::bandwidth::Bandwidth;
use crate::broker::events::Reporter;
use crate::broker::http::Tally;
use crate::broker::judge::{Judge, Refusal};
use crate::broker::limits::Limits;
use crate::broker::proxy::Proxies;
use crate::broker::resolve::Resolver;
use crate::broker::secrets::{Used, Vault};
use crate::broker::stream::{Counted, Counts, Exchange};
use crate::broker::tls::Tls;

/// As many addresses of a name are tried. Each costs a decision, a record and the time of a dial.
const MOST_ADDRESSES: usize = 8;

/// Makes connections to the outside.
pub(crate) struct Dialler {
    /// `limits.net`.
    pub bandwidth: Option<Arc<Bandwidth>>,
    pub judge: Judge,
    pub vault: Vault,
    pub tally: Tally,
    /// With which TLS is opened, if it may be.
    pub tls: Option<Tls>,
    pub limits: Limits,
    pub proxies: Proxies,
    pub resolver: Resolver,
    pub reporter: Reporter,
}

/// A connection to the outside, and what was decided of it.
pub(crate) struct Dialled {
    pub stream: Counted,
    pub address: IpAddr,
    pub exchange: Exchange,
}

impl Dialler {
    /// Connects, if that is let through. The launcher is told, whatever comes of it. `seen`: each request on it is decided for itself.
    ///
    /// # Errors
    ///
    /// What the sandbox is told.
    pub async fn dial(&self, to: Destination, seen: bool) -> Result<Dialled, Refusal> {
        let (stream, address, exchange) = self.reach(to, seen).await?;
        Ok(Dialled {
            stream: self.counted(stream, &exchange, seen),
            address,
            exchange,
        })
    }

    /// The same for datagrams: a socket that is connected, and the exchange that counts what passes.
    ///
    /// # Errors
    ///
    /// The launcher was told.
    pub async fn dial_datagrams(&self, to: Destination) -> Result<(UdpSocket, Exchange), Refusal> {
        let (socket, _, exchange) = self.reach(to, false).await?;
        Ok((socket, exchange))
    }

    async fn reach<S: Connects>(
        &self,
        to: Destination,
        seen: bool,
    ) -> Result<(S, IpAddr, Exchange), Refusal> {
        let told = |refusal| self.refused(to.clone(), refusal);
        self.judge.is_asked_for(&to).map_err(told)?;
        let decision = self.judge.decide(&to).map_err(told)?;
        if !decision.verdict.lets_through() {
            return Err(self.blocked(to, decision));
        }
        let may_pass = |to: &Destination| match seen {
            true => Ok(()),
            false => self.judge.may_pass(to),
        };
        may_pass(&to).map_err(told)?;
        let addresses = match to.host.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => {
                let is_named = self.judge.names().any(|name| name == to.host);
                self.resolver.addresses(&to.host, is_named).await
            }
        };
        let addresses = match addresses {
            Ok(addresses) => addresses,
            Err(error) => return Err(self.failed(to, decision, error).await),
        };
        let mut let_through = Vec::new();
        let mut refused = None;
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            let at = Destination {
                address: Some(address),
                ..to.clone()
            };
            match self.judge.decide_address(&to, address) {
                Ok(decision) if decision.verdict.lets_through() => {
                    let_through.push((address, at, decision))
                }
                Ok(decision) => {
                    refused.get_or_insert((at, Ok(decision)));
                }
                Err(refusal) => {
                    refused.get_or_insert((at, Err(refusal)));
                }
            }
        }
        let mut failed = None;
        for (address, at, decision) in let_through {
            // A rule about requests may name the address.
            if let Err(refusal) = may_pass(&at) {
                refused.get_or_insert((at, Err(refusal)));
                continue;
            }
            let mut exchange = self.begin(at, decision, Arc::default()).await?;
            match S::connect(self, &to, SocketAddr::new(address, to.port)).await {
                Ok(socket) => return Ok((socket, address, exchange)),
                Err(why) => {
                    // The address, and what proxy there is, are for the record: inside, the name is all that is known of the host's network.
                    exchange.error = Some(format!("{address} port {}: {why}", to.port));
                    let why = match self.proxies.to(&to, address) {
                        Some(_) => "it was not reached",
                        None => &why,
                    };
                    failed = Some(format!("{} port {}: {why}", to.host, to.port));
                }
            }
        }
        match (failed, refused) {
            (Some(why), _) => Err(Refusal::with_status(502, why)),
            (None, Some((at, Ok(decision)))) => Err(self.blocked(at, decision)),
            (None, Some((at, Err(refusal)))) => Err(self.refused(at, refusal)),
            (None, None) => {
                let error = format!("{} has no address", to.host);
                Err(self.failed(to, decision, error).await)
            }
        }
    }

    /// Begins what is let through: the launcher is told first.
    ///
    /// # Errors
    ///
    /// The broker is ending.
    pub async fn begin(
        &self,
        to: Destination,
        decision: Decision,
        counts: Arc<Counts>,
    ) -> Result<Exchange, Refusal> {
        Exchange::begin(&self.reporter, to, decision, counts).await
    }

    /// A further request on a connection that exists: that host is asked for.
    ///
    /// # Errors
    ///
    /// What the sandbox is told.
    pub fn again(&self, to: Destination) -> Result<(Destination, Decision), Refusal> {
        let decision = self.judge.decide(&to);
        let decision = decision.map_err(|refusal| self.refused(to.clone(), refusal))?;
        match decision.verdict.lets_through() {
            true => Ok((to, decision)),
            false => Err(self.blocked(to, decision)),
        }
    }

    /// Has it decided whether secrets may be put into a request, and tells that, before anything is sent.
    ///
    /// # Errors
    ///
    /// What the sandbox is told.
    pub async fn use_secrets(&self, used: &[Used], host: &str) -> Result<(), Refusal> {
        let mut decided = Vec::new();
        for used in used {
            let decision = self.judge.decide_secret(&used.alias, host, used.inject)?;
            if !decision.verdict.lets_through() {
                let (reason, rules) = (decision.reason.to_string(), decision.rules.clone());
                self.reporter.secret_refused(used, host, decision);
                let why = format!(
                    "the secret {} in its {}: {reason}",
                    used.alias,
                    used.inject.name()
                );
                return Err(Refusal {
                    rules,
                    ..Refusal::of_broker(why)
                });
            }
            decided.push((used, decision));
        }
        let mut told = Vec::new();
        for (used, decision) in decided {
            told.push(self.reporter.secret(used, host, decision).await);
        }
        for told in told {
            let ending = |_| Refusal::with_status(503, "the run is ending");
            told.await.map_err(ending)?;
        }
        Ok(())
    }

    /// The broker's own refusal, which is told.
    pub fn refused(&self, to: Destination, refusal: Refusal) -> Refusal {
        self.reporter.refused(to, &refusal);
        refusal
    }

    /// A connection, as its exchange counts it and the sandbox's bandwidth bounds it.
    /// `seen`: what is exchanged is counted request by request.
    fn counted(&self, stream: TcpStream, exchange: &Exchange, seen: bool) -> Counted {
        let counts = match seen {
            true => Arc::default(),
            false => exchange.counts().clone(),
        };
        Counted::new(stream, counts, self.bandwidth.as_ref())
    }

    fn blocked(&self, to: Destination, decision: Decision) -> Refusal {
        let refusal = self.judge.refusal(&to, &decision);
        self.reporter.blocked(to, decision, &refusal);
        refusal
    }

    async fn failed(&self, to: Destination, decision: Decision, error: String) -> Refusal {
        match self.begin(to, decision, Arc::default()).await {
            Ok(mut exchange) => {
                exchange.error = Some(error.clone());
                Refusal::with_status(502, error)
            }
            Err(ending) => ending,
        }
    }
}

/// A kind of socket that leads to the outside.
trait Connects: Sized {
    /// Connects one. The error says why not.
    async fn connect(dialler: &Dialler, to: &Destination, at: SocketAddr) -> Result<Self, String>;
}

impl Connects for TcpStream {
    async fn connect(dialler: &Dialler, to: &Destination, at: SocketAddr) -> Result<Self, String> {
        let connect = async {
            match dialler.proxies.to(to, at.ip()) {
                Some(proxy) => proxy.connect(&dialler.resolver, at).await,
                None => TcpStream::connect(at)
                    .await
                    .map_err(|error| error.to_string()),
            }
        };
        let connected = tokio::time::timeout(dialler.limits.dial, connect).await;
        let stream = connected.map_err(|_| "no answer in time".to_owned())??;
        // What is passed on is not held back for more.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Connects for UdpSocket {
    async fn connect(dialler: &Dialler, to: &Destination, at: SocketAddr) -> Result<Self, String> {
        if dialler.proxies.to(to, at.ip()).is_some() {
            return Err(
                "the caller's proxy carries no datagrams; to send them directly, name the host in no_proxy"
                    .to_owned(),
            );
        }
        let any: IpAddr = match at {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let connect = async {
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(at).await?;
            Ok(socket)
        };
        connect.await.map_err(|error: io::Error| error.to_string())
    }
}
