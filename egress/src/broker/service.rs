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
use crate::broker::judge::Judge;
use crate::broker::limits::Limits;
use crate::broker::names::Names;
use crate::broker::proxy::Proxies;
use crate::broker::publish::Publisher;
use crate::broker::resolve::{Files, Resolver};
use crate::broker::{events, packet, server};
use crate::protocol::{Event, LONGEST, LONGEST_SETUP, Listener, Order, Protocol, Setup, encode};

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The launcher asks for something else than is in the protocol.
    #[error("the launcher: {0}")]
    Launcher(String),
    /// The caller's proxy cannot be used.
    #[error("{0}\n  help: name one as http://HOST:PORT, or run without that variable")]
    Proxy(String),
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
        .and_then(|(setup, sockets)| begin(setup, sockets, limits, files))
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

/// What the launcher sends first.
fn received(socket: &OwnedFd) -> Result<(Setup, Vec<OwnedFd>), Error> {
    let wrong = |why: String| Error::Launcher(why);
    let mut bytes = [0; LONGEST];
    let received = socket::receive(socket.as_fd(), &mut bytes);
    let (length, fds) = received.map_err(Error::of("receiving what to serve"))?;
    let bytes = bytes.get(..length).unwrap_or_default();
    let Order::Serve {} =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    let mut fds = fds.into_iter();
    let file = fds
        .next()
        .ok_or_else(|| wrong("it sends no setup".into()))?;
    let length = memory::length_of_sealed(&file)
        .map_err(Error::of("reading the setup, which has to be sealed"))?;
    if length > LONGEST_SETUP {
        return Err(wrong("its setup is too long".into()));
    }
    let mut bytes = vec![0; length as usize];
    let read = rustix::io::pread(&file, &mut bytes[..], 0)
        .map_err(|error| Error::of("reading the setup")(error.into()))?;
    let setup: Setup = serde_json::from_slice(bytes.get(..read).unwrap_or_default())
        .map_err(|error| wrong(error.to_string()))?;
    let sockets: Vec<OwnedFd> = fds.collect();
    let named = [setup.listeners.len(), setup.published.len(), setup.inward];
    let named = named.into_iter().fold(0_usize, usize::saturating_add);
    match named == sockets.len() {
        true => Ok((setup, sockets)),
        false => Err(wrong(format!(
            "it names {named} sockets, and sends {}",
            sockets.len()
        ))),
    }
}

struct Broker {
    acceptor: Arc<Acceptor>,
    sockets: Vec<(Listener, OwnedFd)>,
    published: Vec<(u16, OwnedFd)>,
    inward: Vec<OwnedFd>,
    sender: events::Sender,
}

fn begin(
    setup: Setup,
    mut sockets: Vec<OwnedFd>,
    limits: Limits,
    files: Files,
) -> Result<Broker, Error> {
    let mut others = sockets.split_off(setup.listeners.len());
    let inward = others.split_off(setup.published.len());
    let published = setup.published.iter().copied().zip(others).collect();
    let listeners = setup.listeners.clone();
    let bandwidth = setup.bandwidth.map(Bandwidth::new);
    let proxies = Proxies::of(&setup.proxies).map_err(Error::Proxy)?;
    let judge = Judge::new(setup).map_err(|bad| Error::Launcher(bad.to_string()))?;
    let limits = with_descriptors(limits);
    let mut names = Names::new(&limits);
    for name in judge.names() {
        names.address(name, true);
    }
    let (reporter, sender) = events::channel(&limits);
    let dialler = Dialler {
        bandwidth,
        judge,
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
        sockets: listeners.into_iter().zip(sockets).collect(),
        published,
        inward,
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
            published,
            inward,
            mut sender,
        } = self;
        runtime.block_on(async {
            let socket = socket.try_clone().and_then(events::polled);
            let socket = socket.map_err(Error::of("using the launcher's socket"))?;
            let flows = Flows::new(acceptor.clone());
            for (listener, fd) in sockets {
                listen(&acceptor, &flows, listener, fd)
                    .map_err(Error::of("using a listening socket"))?;
            }
            publish(&acceptor.dialler, published, inward)
                .map_err(Error::of("using a published socket"))?;
            let policy = acceptor.dialler.judge.policy();
            events::send(&socket, &Event::Ready { policy })
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
