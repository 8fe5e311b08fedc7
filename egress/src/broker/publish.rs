//! Published ports (`net.listen`): who connects to one on the host's loopback is connected to the same port inside.
//!
//! The sockets that reach inside were opened in the sandbox's network before the command started, and are lent to one connection after the other:
//! a socket stays in the network that it was made in. They are connected to one place, which is here: the sandbox's own loopback,
//! at the port that the connection came to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aegis_sys::socket::{disconnect, unacknowledged};
use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::broker::bandwidth::Bandwidth;
use crate::broker::connect::REST;
use crate::broker::events::Reporter;
use crate::broker::stream::{Counted, Counts, pass_on};

/// How often it is looked whether the other side inside has what was sent, and how often at most: it tells nobody.
const LOOKS: (Duration, u32) = (Duration::from_millis(10), 3_000);

/// What connections in go through.
pub(crate) struct Publisher {
    bandwidth: Option<Arc<Bandwidth>>,
    reporter: Reporter,
    v4: Arc<Pool>,
    v6: Arc<Pool>,
}

/// Unconnected sockets of the sandbox's network, of one family.
struct Pool {
    /// The loopback of that family.
    at: IpAddr,
    patience: Duration,
    /// The host has no such family.
    none: bool,
    free: Arc<Semaphore>,
    sockets: Mutex<Vec<OwnedFd>>,
}

/// A socket that is lent.
struct Lent {
    pool: Arc<Pool>,
    /// `None` while it is connected, and where it was lost.
    socket: Option<OwnedFd>,
    room: Option<OwnedSemaphorePermit>,
}

impl Publisher {
    /// `inward`: sockets of the sandbox's network, none of which is connected. `patience`: how long who listens inside may take to answer.
    ///
    /// # Errors
    ///
    /// One is no such socket.
    pub fn new(
        inward: Vec<OwnedFd>,
        patience: Duration,
        bandwidth: Option<Arc<Bandwidth>>,
        reporter: Reporter,
    ) -> io::Result<Arc<Self>> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for socket in inward {
            rustix::io::ioctl_fionbio(&socket, true)?;
            match sockopt::socket_domain(&socket)? {
                AddressFamily::INET => v4.push(socket),
                AddressFamily::INET6 => v6.push(socket),
                _ => return Err(Errno::AFNOSUPPORT.into()),
            }
        }
        let pool = |at: IpAddr, sockets: Vec<OwnedFd>| {
            Arc::new(Pool {
                at,
                patience,
                none: sockets.is_empty(),
                free: Arc::new(Semaphore::new(sockets.len())),
                sockets: Mutex::new(sockets),
            })
        };
        Ok(Arc::new(Self {
            bandwidth,
            reporter,
            v4: pool(Ipv4Addr::LOCALHOST.into(), v4),
            v6: pool(Ipv6Addr::LOCALHOST.into(), v6),
        }))
    }

    /// Accepts connections at a port of the host's loopback. Where all sockets are lent, who comes waits.
    pub async fn accept(self: Arc<Self>, listener: TcpListener, port: u16) {
        loop {
            let Ok((client, _)) = listener.accept().await else {
                tokio::time::sleep(REST).await;
                continue;
            };
            if let Some(lent) = self.v4.lend().await {
                tokio::spawn(self.clone().serve(client, lent, port));
            }
        }
    }

    async fn serve(self: Arc<Self>, client: TcpStream, lent: Lent, port: u16) {
        let counts = Arc::<Counts>::default();
        let client = Counted::new(client, counts.clone(), self.bandwidth.as_ref());
        let error = self.relay(client, lent, port).await.err();
        let (sent, received) = counts.now();
        let error = error.map(|error| error.to_string());
        self.reporter.entered(port, (sent, received), error);
    }

    async fn relay(&self, mut client: Counted, mut lent: Lent, port: u16) -> io::Result<()> {
        // Who is not served to the end is reset, and so sees that.
        client.stream().set_zero_linger()?;
        let mut connected = lent.connect(port).await;
        if let Err(error) = &connected
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            // It may listen on the other loopback alone.
            drop(lent);
            let none = || io::Error::from(io::ErrorKind::ConnectionRefused);
            lent = self.v6.lend().await.ok_or_else(none)?;
            connected = lent.connect(port).await;
        }
        let mut inside = connected?;
        let _ = client.stream().set_nodelay(true);
        let _ = inside.set_nodelay(true);
        let passed = pass_on(&mut client, &mut inside).await;
        if passed.is_ok() {
            sockopt::set_socket_linger(client.stream(), None)?;
            delivered(&inside).await;
        }
        lent.take_back(inside);
        passed
    }
}

/// Waits until the other side has all that was sent: a socket that is disconnected before that loses it.
async fn delivered(stream: &TcpStream) {
    for _ in 0..LOOKS.1 {
        match unacknowledged(stream.as_fd()) {
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::time::sleep(LOOKS.0).await,
        }
    }
}

impl Pool {
    /// Lends a socket when there is one; `None`: there never will be.
    async fn lend(self: &Arc<Self>) -> Option<Lent> {
        if self.none {
            return None;
        }
        let room = self.free.clone().acquire_owned().await.ok()?;
        let socket = self.sockets().pop();
        Some(Lent {
            pool: self.clone(),
            socket,
            room: Some(room),
        })
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// Connects it to a port inside.
    async fn connect(&mut self, port: u16) -> io::Result<TcpStream> {
        let lost = || io::Error::from(io::ErrorKind::NotConnected);
        let socket = self.socket.take().ok_or_else(lost)?;
        match rustix::net::connect(&socket, &SocketAddr::new(self.pool.at, port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => {
                self.put(socket);
                return Err(error.into());
            }
        }
        let stream = TcpStream::from_std(socket.into())?;
        let answered = tokio::time::timeout(self.pool.patience, stream.writable()).await;
        let error = match answered {
            Ok(Ok(())) => stream.take_error()?,
            Ok(Err(error)) => Some(error),
            Err(late) => Some(late.into()),
        };
        match error {
            None => Ok(stream),
            Some(error) => {
                self.take_back(stream);
                Err(error)
            }
        }
    }

    /// Takes it back from a connection, which ends at once.
    fn take_back(&mut self, stream: TcpStream) {
        if let Ok(stream) = stream.into_std() {
            self.put(stream.into());
        }
    }

    fn put(&mut self, socket: OwnedFd) {
        // A socket that cannot be used again is closed.
        if disconnect(socket.as_fd()).is_ok() {
            self.socket = Some(socket);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let room = self.room.take();
        match self.socket.take() {
            Some(socket) => self.pool.sockets().push(socket),
            None => room.into_iter().for_each(OwnedSemaphorePermit::forget),
        }
    }
}
