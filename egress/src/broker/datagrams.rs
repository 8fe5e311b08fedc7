//! Datagrams (`udp://`): what one socket inside sends to one address and port is a flow, which is decided once, as a connection is.
//!
//! A flow has a connected socket outside, so that only answers from there come back. It ends when nothing has passed for a while; where
//! there are too many, the one for which nothing has passed for longest ends first. What there is no room for is lost, as datagrams are.
//! Who is refused hears nothing: a datagram has no answer that says so.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegis_policy::model::Scheme;
use aegis_policy::request::Destination;
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use crate::broker::connect::Acceptor;
use crate::broker::packet::{self, Envelope};
use crate::broker::stream::Exchange;

/// As many datagrams of a flow wait until they are sent.
const QUEUE: usize = 64;

/// What each that waits takes beside its bytes.
const OVERHEAD: usize = 128;

/// Who sends, the address that it sends to, and the port.
type Key = (SocketAddr, IpAddr, u16);

/// All flows of a sandbox.
pub(crate) struct Flows {
    acceptor: Arc<Acceptor>,
    /// Bytes that may wait.
    room: Arc<Semaphore>,
    state: Mutex<State>,
    /// For what is being passed on: one at a time is.
    buffer: Mutex<Vec<u8>>,
}

#[derive(Default)]
struct State {
    flows: HashMap<Key, Flow>,
    /// The flows, by when something passed last.
    order: BTreeMap<u64, Key>,
    last: u64,
}

struct Flow {
    queue: mpsc::Sender<Waiting>,
    ends: Arc<Notify>,
    /// Its number when it began, and its place in the order.
    number: u64,
    place: u64,
}

/// A datagram from inside.
struct Waiting {
    bytes: Vec<u8>,
    #[expect(dead_code, reason = "given back when it is dropped")]
    room: OwnedSemaphorePermit,
}

/// Where the answers of a flow go.
struct Inside {
    socket: Arc<UdpSocket>,
    envelope: Envelope,
    key: Key,
}

impl Flows {
    pub fn new(acceptor: Arc<Acceptor>) -> Arc<Self> {
        let limits = acceptor.dialler.limits;
        Arc::new(Self {
            acceptor,
            room: Arc::new(Semaphore::new(limits.waiting_datagrams)),
            state: Mutex::default(),
            buffer: Mutex::new(vec![0; packet::LONGEST]),
        })
    }

    /// Takes what comes to a socket, whatever address it is sent to.
    pub async fn serve(self: Arc<Self>, socket: UdpSocket, port: u16) {
        let socket = Arc::new(socket);
        loop {
            let take = || self.take(&socket, port);
            // An error is that of an earlier answer, to somebody who is gone.
            let _ = socket.async_io(Interest::READABLE, take).await;
        }
    }

    /// Takes one datagram.
    fn take(self: &Arc<Self>, socket: &Arc<UdpSocket>, port: u16) -> io::Result<()> {
        let mut buffer = self.buffer();
        let (length, envelope) = packet::receive(socket, &mut buffer)?;
        let Some((from, envelope)) =
            envelope.and_then(|envelope| Some((envelope.from()?, envelope)))
        else {
            return Ok(());
        };
        let wanted = u32::try_from(length + OVERHEAD).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(wanted) else {
            return Ok(());
        };
        let bytes = buffer[..length].to_vec();
        let key = (from, envelope.to(), port);
        let mut state = self.state();
        if !state.flows.contains_key(&key) {
            let inside = Inside {
                socket: socket.clone(),
                envelope,
                key,
            };
            self.begin(&mut state, inside);
        }
        state.touch(&key);
        if let Some(flow) = state.flows.get(&key) {
            // A full queue loses it.
            let _ = flow.queue.try_send(Waiting { bytes, room });
        }
        Ok(())
    }

    fn begin(self: &Arc<Self>, state: &mut State, inside: Inside) {
        if state.flows.len() >= self.acceptor.dialler.limits.flows
            && let Some((_, longest)) = state.order.pop_first()
            && let Some(flow) = state.flows.remove(&longest)
        {
            flow.ends.notify_one();
        }
        let (queue, waiting) = mpsc::channel(QUEUE);
        let ends = Arc::new(Notify::new());
        let number = state.next();
        let flow = Flow {
            queue,
            ends: ends.clone(),
            number,
            place: number,
        };
        state.order.insert(number, inside.key);
        state.flows.insert(inside.key, flow);
        let flows = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = flows.pass(&inside, waiting) => {}
                () = ends.notified() => {}
            }
            flows.state().forget(&inside.key, number);
        });
    }

    async fn pass(&self, inside: &Inside, mut waiting: mpsc::Receiver<Waiting>) {
        let (_, address, port) = inside.key;
        let dialler = &self.acceptor.dialler;
        let host = self.acceptor.at(address, port);
        let to = Destination::connection(Scheme::Udp, &host.text(address), port);
        let dialled = match self.acceptor.refused(&host) {
            Some(refusal) => Err(dialler.refused(to, refusal)),
            None => dialler.dial_datagrams(to).await,
        };
        let Ok((outside, mut exchange)) = dialled else {
            // What it sends meanwhile is not decided again, one by one.
            let drop_all = async { while waiting.recv().await.is_some() {} };
            let _ = timeout(dialler.limits.refused_flow, drop_all).await;
            return;
        };
        loop {
            let passed = tokio::select! {
                next = waiting.recv() => match next {
                    Some(next) => self.send(&outside, next, &exchange).await,
                    None => return,
                },
                answer = self.receive(&outside) => match answer {
                    Ok(bytes) => self.answer(inside, bytes, &exchange).await,
                    Err(error) => Err(error),
                },
                () = sleep(dialler.limits.idle_flow) => return,
            };
            if let Err(error) = passed {
                // That one is lost; the next may arrive.
                exchange.error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    async fn send(
        &self,
        outside: &UdpSocket,
        next: Waiting,
        exchange: &Exchange,
    ) -> io::Result<()> {
        self.turn(next.bytes.len()).await;
        let sent = outside.send(&next.bytes).await?;
        exchange.counts().went(sent as u64);
        Ok(())
    }

    async fn receive(&self, outside: &UdpSocket) -> io::Result<Vec<u8>> {
        // That nobody is there comes as an error alone.
        let interest = Interest::READABLE | Interest::ERROR;
        let receive = || {
            let mut buffer = self.buffer();
            let (length, _) = rustix::net::recv(outside, &mut buffer[..], RecvFlags::DONTWAIT)?;
            Ok(buffer[..length].to_vec())
        };
        outside.async_io(interest, receive).await
    }

    async fn answer(&self, inside: &Inside, bytes: Vec<u8>, exchange: &Exchange) -> io::Result<()> {
        exchange.counts().came(bytes.len() as u64);
        self.turn(bytes.len()).await;
        self.state().touch(&inside.key);
        // Whoever asked may be gone.
        let _ = inside.envelope.answer(&inside.socket, &bytes);
        Ok(())
    }

    /// Waits until so many bytes may pass.
    async fn turn(&self, bytes: usize) {
        if let Some(bandwidth) = &self.acceptor.dialler.bandwidth {
            bandwidth.turn(bytes).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buffer(&self) -> MutexGuard<'_, Vec<u8>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Something has passed.
    fn touch(&mut self, key: &Key) {
        let place = self.next();
        if let Some(flow) = self.flows.get_mut(key) {
            self.order.remove(&flow.place);
            self.order.insert(place, *key);
            flow.place = place;
        }
    }

    /// A flow has ended, unless another one has taken its place.
    fn forget(&mut self, key: &Key, number: u64) {
        if let Some(flow) = self.flows.get(key)
            && flow.number == number
        {
            self.order.remove(&flow.place);
            self.flows.remove(key);
        }
    }
}
