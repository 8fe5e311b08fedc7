//! The broker as a whole: receives what to serve, serves it, and ends when the launcher does.

use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use aegis_sys::{memory, socket};
use tokio::net::TcpListener;

use crate::broker::bandwidth::Bandwidth;
use crate::broker::connect::Acceptor;
use crate::broker::connections::Table;
use crate::broker::datagrams::Flows;
use crate::broker::dial::Dialler;
use crate::broker::http::Tally;
use crate::broker::judge::Judge;
use crate::broker::limits::Limits;
use crate::broker::names::Names;
use crate::broker::proxy::Proxies;
use crate::broker::publish::Publisher;
use crate::broker::resolve::{Files, Resolver};
use crate::broker::secrets::Vault;
use crate::broker::tls::Tls;
use crate::broker::{events, packet, server};
use crate::protocol::{
    Event, LONGEST, LONGEST_SETUP, Listener, Opens, Order, Protocol, Setup, encode,
};

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The launcher asks for something else than is in the protocol.
    #[error("the launcher: {0}")]
    Launcher(String),
    /// The caller's proxy cannot be used.
    #[error("{0}\n  help: name one as http://HOST:PORT, or run without that variable")]
    Proxy(String),
    /// A secret cannot be had.
    #[error("{0}")]
    Secrets(String),
    /// The run's authority cannot be made.
    #[error("making the run's authority: {0}")]
    Authority(String),
    /// A call of the system failed.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    fn of(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}

/// Serves the launcher at the other end of a socket, until that is closed.
///
/// # Errors
///
/// It cannot begin; the launcher is told why.
pub fn serve(socket: OwnedFd, limits: Limits, files: Files) -> Result<(), Error> {
    let served = received(&socket)
        .and_then(|received| prepare(received, &socket, limits, files))
        .and_then(|broker| broker.run(&socket));
    served.map_err(|error| failed(&socket, error))
}

/// Tells the launcher that it cannot be served.
pub(crate) fn failed(socket: &OwnedFd, error: Error) -> Error {
    let why = error.to_string();
    // The launcher may be what is gone.
    let _ = socket::send(socket.as_fd(), &encode(&Event::Failed { why }), &[]);
    error
}

/// An order of the launcher, with what comes along.
fn order(socket: &OwnedFd) -> Result<(Order, Vec<OwnedFd>), Error> {
    let mut bytes = [0; LONGEST];
    let received = socket::receive(socket.as_fd(), &mut bytes);
    let (length, fds) = received.map_err(Error::of("receiving what to serve"))?;
    let bytes = bytes.get(..length).unwrap_or_default();
    match serde_json::from_slice(bytes) {
        Ok(order) => Ok((order, fds)),
        Err(error) => Err(Error::Launcher(error.to_string())),
    }
}

/// What a sealed file holds.
fn sealed(file: Option<OwnedFd>, what: &str) -> Result<Vec<u8>, Error> {
    let file = file.ok_or_else(|| Error::Launcher(format!("it sends no {what}")))?;
    let length = memory::length_of_sealed(&file).map_err(Error::of(
        "reading what the launcher sends, which has to be sealed",
    ))?;
    if length > LONGEST_SETUP {
        return Err(Error::Launcher(format!("its {what} is too long")));
    }
    let mut bytes = vec![0; length as usize];
    let read = rustix::io::pread(&file, &mut bytes[..], 0)
        .map_err(|error| Error::of("reading what the launcher sends")(error.into()))?;
    bytes.truncate(read);
    Ok(bytes)
}

/// What the launcher sends first.
struct Received {
    setup: Setup,
    /// Whom the host trusts (PEM), if TLS may be opened.
    roots: Vec<u8>,
    /// Who gives secrets, if there are any.
    provider: Option<OwnedFd>,
}

fn received(socket: &OwnedFd) -> Result<Received, Error> {
    let (Order::Prepare {}, fds) = order(socket)? else {
        return Err(Error::Launcher("it sends no setup first".into()));
    };
    let mut fds = fds.into_iter();
    let setup: Setup = serde_json::from_slice(&sealed(fds.next(), "setup")?)
        .map_err(|error| Error::Launcher(error.to_string()))?;
    let roots = match setup.opens {
        Some(_) => sealed(fds.next(), "list of those whom the host trusts")?,
        None => Vec::new(),
    };
    Ok(Received {
        setup,
        roots,
        provider: fds.next(),
    })
}

/// The sockets of a sandbox that is built.
struct Sockets {
    listening: Vec<(Listener, OwnedFd)>,
    /// Those that listen on the host, each with the port inside.
    published: Vec<(u16, OwnedFd)>,
    inward: Vec<OwnedFd>,
}

/// What is sent when the sandbox is built.
fn sockets(
    socket: &OwnedFd,
    listeners: Vec<Listener>,
    published: Vec<u16>,
) -> Result<Sockets, Error> {
    let (Order::Serve {}, mut sockets) = order(socket)? else {
        return Err(Error::Launcher("it sends no sockets".into()));
    };
    let named = listeners.len() + published.len();
    match named == sockets.len() || (named < sockets.len() && !published.is_empty()) {
        true => {
            let mut others = sockets.split_off(listeners.len());
            let inward = others.split_off(published.len());
            Ok(Sockets {
                listening: listeners.into_iter().zip(sockets).collect(),
                published: published.into_iter().zip(others).collect(),
                inward,
            })
        }
        false => Err(Error::Launcher(format!(
            "it names {named} sockets, and sends {}",
            sockets.len()
        ))),
    }
}

struct Broker {
    acceptor: Arc<Acceptor>,
    sockets: Sockets,
    sender: events::Sender,
}

fn prepare(
    received: Received,
    socket: &OwnedFd,
    limits: Limits,
    files: Files,
) -> Result<Broker, Error> {
    let Received {
        setup,
        roots,
        provider,
    } = received;
    let (listeners, opens) = (setup.listeners.clone(), setup.opens);
    let published = setup.published.clone();
    let vault = Vault::new(setup.secrets.clone(), provider).map_err(Error::Secrets)?;
    let bandwidth = setup.bandwidth.map(Bandwidth::new);
    let proxies = Proxies::of(&setup.proxies).map_err(Error::Proxy)?;
    let judge = Judge::new(setup).map_err(|bad| Error::Launcher(bad.to_string()))?;
    let limits = with_descriptors(limits);
    let mut names = Names::new(&limits);
    for name in judge.names() {
        names.address(name, true);
    }
    let tls = opens.map(|_| Tls::new(roots, &judge.passing()));
    let tls = tls
        .transpose()
        .map_err(|error| Error::Authority(error.to_string()))?;
    let prepared = Event::Prepared {
        authority: tls.as_ref().map(|tls| tls.authority().to_owned()),
        policy: judge.policy(),
    };
    let java = match (&tls, opens) {
        (Some(tls), Some(Opens { java: true })) => Some(tls.for_java()),
        _ => None,
    };
    let java = java.map(|store| memory::sealed("aegis-java", &store));
    let java = java
        .transpose()
        .map_err(Error::of("making Java's list of authorities"))?;
    let fds: Vec<_> = java.iter().map(AsFd::as_fd).collect();
    socket::send(socket.as_fd(), &encode(&prepared), &fds)
        .map_err(Error::of("telling the launcher"))?;
    let (reporter, sender) = events::channel(&limits);
    let dialler = Dialler {
        bandwidth,
        judge,
        vault,
        tally: Tally::default(),
        tls,
        limits,
        proxies,
        resolver: Resolver::new(files, limits.resolve),
        reporter,
    };
    let acceptor = Acceptor {
        dialler: Arc::new(dialler),
        table: Table::new(&limits),
        names: Mutex::new(names),
    };
    Ok(Broker {
        acceptor: Arc::new(acceptor),
        sockets: sockets(socket, listeners, published)?,
        sender,
    })
}

/// Listeners, sockets that reach inside, and two for each lookup that goes on, with two name servers asked at once.
const OTHER_DESCRIPTORS: usize = 448;

/// Raises the limit of descriptors as far as this process may, and takes no more connections than there are descriptors for:
/// each has two, and looking names up takes as many as [`OTHER_DESCRIPTORS`] has room for.
fn with_descriptors(limits: Limits) -> Limits {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: now.maximum,
        ..now
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => now.maximum,
        Err(_) => now.current,
    };
    let descriptors = current.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    });
    let flows = limits.flows.min(descriptors / 8);
    let most = descriptors.saturating_sub(OTHER_DESCRIPTORS + flows) / 2;
    let connections = limits.connections.min(most);
    Limits {
        flows,
        connections,
        connections_to_one: limits.connections_to_one.min(connections.div_ceil(2)),
        waiting: limits.waiting.min(connections.div_ceil(2)),
        ..limits
    }
}

impl Broker {
    fn run(self, socket: &OwnedFd) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::of("starting the runtime"))?;
        let Self {
            acceptor,
            sockets,
            mut sender,
        } = self;
        runtime.block_on(async {
            let socket = socket.try_clone().and_then(events::polled);
            let socket = socket.map_err(Error::of("using the launcher's socket"))?;
            let vault = &acceptor.dialler.vault;
            vault
                .listen()
                .map_err(Error::of("using the socket of secrets"))?;
            let flows = Flows::new(acceptor.clone());
            for (listener, fd) in sockets.listening {
                listen(&acceptor, &flows, listener, fd)
                    .map_err(Error::of("using a listening socket"))?;
            }
            publish(&acceptor.dialler, sockets.published, sockets.inward)
                .map_err(Error::of("using a published socket"))?;
            events::send(&socket, &Event::Ready {})
                .await
                .map_err(Error::of("telling the launcher"))?;
            // Nothing more is expected from the launcher: whatever can be read is its end.
            tokio::select! {
                _ = socket.readable() => {}
                _ = sender.send(&socket) => {}
            }
            Ok(())
        })?;
        // Everything that goes on ends, and says so.
        drop(runtime);
        // The launcher may have read all that it wants to.
        let _ = sender.send_rest(socket);
        Ok(())
    }
}

fn publish(
    dialler: &Dialler,
    published: Vec<(u16, OwnedFd)>,
    inward: Vec<OwnedFd>,
) -> std::io::Result<()> {
    let (bandwidth, reporter) = (dialler.bandwidth.clone(), dialler.reporter.clone());
    let publisher = Publisher::new(inward, dialler.limits.dial, bandwidth, reporter)?;
    for (port, fd) in published {
        let listener = std::net::TcpListener::from(fd);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        tokio::spawn(publisher.clone().accept(listener, port));
    }
    Ok(())
}

fn listen(
    acceptor: &Arc<Acceptor>,
    flows: &Arc<Flows>,
    listener: Listener,
    fd: OwnedFd,
) -> std::io::Result<()> {
    let acceptor = acceptor.clone();
    match listener {
        Listener {
            protocol: Protocol::Udp,
            port: 53,
        } => {
            let socket = packet::socket(UdpSocket::from(fd))?;
            tokio::spawn(server::udp(acceptor, socket));
        }
        Listener {
            protocol: Protocol::Udp,
            port,
        } => {
            let socket = packet::socket(UdpSocket::from(fd))?;
            tokio::spawn(flows.clone().serve(socket, port));
        }
        Listener {
            protocol: Protocol::Tcp,
            port,
        } => {
            let tcp = std::net::TcpListener::from(fd);
            tcp.set_nonblocking(true)?;
            let tcp = TcpListener::from_std(tcp)?;
            match port {
                53 => drop(tokio::spawn(server::tcp(acceptor, tcp))),
                port => drop(tokio::spawn(acceptor.accept(tcp, port))),
            }
        }
    }
    Ok(())
}
