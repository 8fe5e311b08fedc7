//! Connections from inside: which name each was made to, and how that is spoken to.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aegis_policy::model::Scheme;
use aegis_policy::request::Destination;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::broker::connections::{Slot, Table};
use crate::broker::dial::{Dialled, Dialler};
use crate::broker::hello::{Hello, Wanted};
use crate::broker::http::{Conversation, Outside, Stance, Version};
use crate::broker::judge::{LOCALHOST, Refusal};
use crate::broker::names::{Host, Names, normal};
use crate::broker::stream::{Inside, Resumed, tunnel};
use crate::broker::tls::{HTTP1, HTTP2, Tls};

/// How long nothing is accepted after that failed: the host has no descriptors or memory left.
pub(crate) const REST: Duration = Duration::from_millis(10);

/// The alert `access_denied` of TLS (RFC 8446, 6.2): a connection that is only closed looks like a failure, and is tried again.
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// Where connections from inside arrive.
pub(crate) struct Acceptor {
    pub dialler: Arc<Dialler>,
    pub table: Arc<Table>,
    pub names: Mutex<Names>,
}

impl Acceptor {
    /// The address of a name that was looked up.
    pub fn address(&self, name: &str) -> std::net::Ipv4Addr {
        let asked_for = self.dialler.judge.asks_for(name);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.address(name, asked_for)
    }

    /// Accepts connections at a port, whatever address they are made to, and serves each.
    pub async fn accept(self: Arc<Self>, listener: TcpListener, port: u16) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(REST).await;
                continue;
            };
            // It was reset already.
            let Ok(local) = stream.local_addr() else {
                continue;
            };
            let host = self.at(local.ip(), port);
            match self.table.slot(&host.text(local.ip())) {
                Some(slot) => drop(tokio::spawn(self.clone().serve(stream, slot, host, port))),
                None => self.dialler.reporter.turned_away(),
            }
        }
    }

    /// What a connection to an address is made to. Loopback inside has nothing but the broker, so where the profile asks for the
    /// host's, that is what is meant.
    pub fn at(&self, address: IpAddr, port: u16) -> Host {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match names.at(address) {
            Host::Address(loopback)
                if loopback.is_loopback() && self.dialler.judge.is_localhost(loopback, port) =>
            {
                Host::Name(LOCALHOST.into())
            }
            host => host,
        }
    }

    /// Why nothing is connected to a host, whatever the profile says.
    pub fn refused(&self, host: &Host) -> Option<Refusal> {
        match host {
            Host::Name(_) | Host::Address(_) => None,
            Host::TooMany => Some(Refusal::of_broker(format!(
                "more than {} names were looked up that the profile does not ask for, or {} in all",
                self.dialler.limits.other_names, self.dialler.limits.names
            ))),
            Host::Nothing => Some(Refusal::of_broker(
                "no name has this address: look it up again",
            )),
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, slot: Arc<Slot>, host: Host, port: u16) {
        let name = slot.host().clone();
        let refused = self.refused(&host);
        let scheme = self.dialler.judge.scheme(&name, port);
        let inside = Inside::new(stream, slot.clone());
        let to = Destination::connection(scheme.unwrap_or(Scheme::Tcp), &name, port);
        match (scheme, refused) {
            (Some(scheme @ Scheme::Http), refused) => {
                let stance = refused.map_or(Stance::Decides, Stance::Refuses);
                let conversation =
                    Conversation::new(self.dialler.clone(), slot, (scheme, port), stance, None);
                // Large, and not for those that only pass.
                Box::pin(conversation.hold(inside, Version::One)).await;
            }
            (_, Some(refusal)) => drop(self.dialler.refused(to, refusal)),
            (Some(Scheme::Https), None) => self.serve_tls(inside, slot, &host, to).await,
            (_, None) => self.pass(inside, &slot, Vec::new(), to).await,
        }
    }

    /// Opens TLS or passes it through, if its client wants to reach the name that it has connected to.
    async fn serve_tls(&self, mut inside: Inside, slot: Arc<Slot>, host: &Host, to: Destination) {
        let hello = tokio::select! {
            hello = tokio::time::timeout(self.dialler.limits.head, hello(&mut inside)) => hello,
            () = slot.turned_out() => return,
        };
        let (wanted, first) = match hello {
            Ok(Ok(hello)) => hello,
            Ok(Err(fault)) => return drop(self.dialler.refused(to, Refusal::of_broker(fault))),
            Err(_) => {
                let late = Refusal::of_broker("nothing was said in time");
                return drop(self.dialler.refused(to, late));
            }
        };
        let wrong = match (wanted.server.as_deref().map(normal), host) {
            (Some(Some(sni)), Host::Name(name)) if *sni == **name => None,
            // An address has no name; loopback's is what stands for it here.
            (None, Host::Address(_)) => None,
            (None, Host::Name(name)) if **name == *LOCALHOST => None,
            (None, _) => Some("names no server"),
            (Some(_), _) => Some("names another server"),
        };
        if let Some(wrong) = wrong {
            let why = format!("the connection was made to {}, and TLS {wrong}", to.host);
            self.dialler.refused(to, Refusal::of_broker(why));
            let _ = inside.write_all(&ACCESS_DENIED).await;
            return;
        }
        let judge = &self.dialler.judge;
        // What is not asked for is told so in HTTP, where that can be.
        let refused = judge.is_asked_for(&to).err();
        match &self.dialler.tls {
            Some(tls) if judge.opens(&to) || (refused.is_some() && tls.speaks_for(&to.host)) => {
                let resumed = Resumed::new(first, inside);
                let opened = self.open_tls(tls, resumed, slot, to, refused, wanted.protocols);
                Box::pin(opened).await;
            }
            _ => {
                // A connection may last as long as the run.
                drop(wanted);
                self.pass(inside, &slot, first, to).await;
            }
        }
    }

    /// Opens TLS: to the server first, whose choice of a protocol is then the client's.
    async fn open_tls(
        &self,
        tls: &Tls,
        inside: Resumed<Inside>,
        slot: Arc<Slot>,
        to: Destination,
        refused: Option<Refusal>,
        mut protocols: Vec<Vec<u8>>,
    ) {
        // Each once: what is kept for a list of them is kept for the run.
        let known = [HTTP1, HTTP2];
        protocols.retain(|protocol| known.contains(&&**protocol));
        protocols.sort();
        protocols.dedup();
        slot.is_busy();
        let (mut outside, mut stance) = (None, Stance::Decides);
        match refused {
            Some(refusal) => stance = Stance::Refuses(refusal),
            None => match Outside::https(&self.dialler, to.clone(), protocols.clone()).await {
                Ok((opened, chosen)) => {
                    outside = Some(opened);
                    protocols = chosen.into_iter().collect();
                }
                Err(refusal) => stance = Stance::Failed(refusal),
            },
        }
        slot.was_heard();
        let accept = tls.accept(inside, slot.host(), protocols);
        let accepted = tokio::time::timeout(self.dialler.limits.head, accept).await;
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let why = format!(
                    "the program does not accept the certificate of this run's authority, by which TLS to {} is opened: {error}",
                    to.host
                );
                return drop(self.dialler.refused(to, Refusal::of_broker(why)));
            }
            Err(_) => {
                let late = Refusal::of_broker("nothing was said in time");
                return drop(self.dialler.refused(to, late));
            }
        };
        slot.waits();
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(HTTP2) => Version::Two,
            _ => Version::One,
        };
        let at = (to.scheme, to.port);
        let conversation = Conversation::new(self.dialler.clone(), slot, at, stance, outside);
        Box::pin(conversation.hold(stream, version)).await;
    }

    /// Passes through what is said, after `first`.
    async fn pass(&self, mut inside: Inside, slot: &Slot, first: Vec<u8>, to: Destination) {
        slot.is_busy();
        let scheme = to.scheme;
        match self.dialler.dial(to, false).await {
            Ok(Dialled {
                mut stream,
                mut exchange,
                ..
            }) => {
                let written = stream.write_all(&first).await;
                // A connection may last as long as the run.
                drop(first);
                slot.was_heard();
                match written {
                    Ok(()) => tunnel(inside, stream, &mut exchange).await,
                    Err(error) => exchange.error = Some(error.to_string()),
                }
            }
            // The launcher was told why. Here it can only be said that it is refused.
            Err(_) if scheme == Scheme::Https => drop(inside.write_all(&ACCESS_DENIED).await),
            Err(_) => {}
        }
    }
}

impl Host {
    /// As connections to it are counted, and recorded.
    pub fn text(&self, address: IpAddr) -> Arc<str> {
        match self {
            Self::Name(name) => name.clone(),
            Self::Address(address) => address.to_string().into(),
            Self::TooMany | Self::Nothing => address.to_canonical().to_string().into(),
        }
    }
}

/// Reads the first message of TLS: what the client wants, and all that was read.
async fn hello(inside: &mut Inside) -> Result<(Wanted, Vec<u8>), String> {
    let mut hello = Hello::default();
    let mut piece = [0; 4096];
    loop {
        let length = inside
            .read(&mut piece)
            .await
            .map_err(|error| error.to_string())?;
        if length == 0 {
            return Err("it was closed before the first message of TLS was complete".to_owned());
        }
        if let Some(wanted) = hello
            .add(&piece[..length])
            .map_err(|fault| fault.to_string())?
        {
            return Ok((wanted, hello.into_bytes()));
        }
    }
}
