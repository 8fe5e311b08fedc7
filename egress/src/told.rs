//! What the launcher is told, in order and within bounds.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_policy::Decision;
use aegis_policy::request::Destination;
use aegis_sys::socket as unix;
use tokio::io::{self, Interest};
use tokio::net::UnixDatagram;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::protocol::{Event, LONGEST, encode};

/// What is to be sent, or nothing but the number of refusals; and its room.
type Queued = (Option<Event>, Option<OwnedSemaphorePermit>);

/// Takes what is to be told.
#[derive(Clone)]
pub(crate) struct Teller {
    queue: UnboundedSender<Queued>,
    /// As many decisions may be in the queue. The end of what was let through takes no room: it was told of before.
    room: Arc<Semaphore>,
    refusals: Arc<AtomicU64>,
    next: Arc<AtomicU64>,
}

/// Sends it.
pub(crate) struct Telling {
    queue: UnboundedReceiver<Queued>,
    refusals: Arc<AtomicU64>,
}

/// Both ends. At most so many decisions wait between them.
pub(crate) fn channel(untold: usize) -> (Teller, Telling) {
    let (queue, end) = unbounded_channel();
    let refusals = Arc::new(AtomicU64::new(0));
    let teller = Teller {
        queue,
        room: Arc::new(Semaphore::new(untold)),
        refusals: refusals.clone(),
        next: Arc::default(),
    };
    let telling = Telling {
        queue: end,
        refusals,
    };
    (teller, telling)
}

impl Teller {
    /// Tells of what is let through, when there is room. Returns its id.
    pub async fn let_through(&self, to: Destination, decision: Decision) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // Nobody closes it.
        let room = self.room.clone().acquire_owned().await.ok();
        self.put(Some(Event::Decided { decision, id, to }), room);
        id
    }

    /// Tells that what was let through is over.
    pub fn ended(&self, id: u64, sent: u64, received: u64, error: Option<String>) {
        let ended = Event::Ended {
            error,
            id,
            received,
            sent,
        };
        self.put(Some(ended), None);
    }

    /// Tells that the policy refused something, or counts it.
    pub fn blocked(&self, to: Destination, decision: Decision) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.put_or_count(Event::Decided { decision, id, to });
    }

    /// Tells that the broker refused something, or counts it.
    pub fn refused(&self, to: Destination, why: String) {
        self.put_or_count(Event::Refused { to, why });
    }

    /// Counts a refusal of which nothing is known.
    pub fn turned_away(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        // Where there is no room, the number is looked at after what has it.
        if let Ok(room) = self.room.clone().try_acquire_owned() {
            self.put(None, Some(room));
        }
    }

    fn put_or_count(&self, event: Event) {
        match self.room.clone().try_acquire_owned() {
            Ok(room) => self.put(Some(event), Some(room)),
            Err(_) => {
                self.refusals.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn put(&self, event: Option<Event>, room: Option<OwnedSemaphorePermit>) {
        // Without anybody who sends, the broker is ending.
        let _ = self.queue.send((event, room));
    }
}

impl Telling {
    /// Sends until nobody tells any more.
    ///
    /// # Errors
    ///
    /// The launcher is gone.
    pub async fn send(mut self, socket: &UnixDatagram) -> io::Result<()> {
        while let Some((event, room)) = self.queue.recv().await {
            if let Some(event) = event {
                send(socket, &event).await?;
            }
            drop(room);
            let refusals = self.refusals.swap(0, Ordering::Relaxed);
            if refusals > 0 {
                send(socket, &Event::Flood { refusals }).await?;
            }
        }
        Ok(())
    }
}

/// The launcher's socket, to be waited for. tokio has no type for sequenced packets, and of this one only waits.
pub(crate) fn polled(socket: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::from(socket);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// Sends one message, when the launcher has room for it.
pub(crate) async fn send(socket: &UnixDatagram, event: &Event) -> io::Result<()> {
    let bytes = encode(event);
    debug_assert!(bytes.len() <= LONGEST);
    let send = || unix::send(socket.as_fd(), &bytes, &[]);
    socket.async_io(Interest::WRITABLE, send).await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use aegis_policy::model::Scheme;
    use aegis_policy::{Hash, Verdict};

    use super::*;

    fn asked() -> (Destination, Decision) {
        let to = Destination::connection(Scheme::Https, "a.example", 443);
        let decision = Decision {
            input: Hash::of(b""),
            parts: Vec::new(),
            policy: Hash::of(b""),
            reason: "".into(),
            rules: Vec::new(),
            verdict: Verdict::Allow,
        };
        (to, decision)
    }

    #[test]
    fn what_is_let_through_waits_for_room_and_refusals_are_counted() {
        let (teller, mut telling) = channel(1);
        let (to, decision) = asked();
        let mut context = Context::from_waker(Waker::noop());
        let first = pin!(teller.let_through(to.clone(), decision.clone()));
        assert_eq!(first.poll(&mut context), Poll::Ready(0));
        let mut second = pin!(teller.let_through(to.clone(), decision));
        assert_eq!(second.as_mut().poll(&mut context), Poll::Pending);
        teller.refused(to, String::new());
        teller.ended(0, 1, 2, None);
        assert_eq!(telling.refusals.load(Ordering::Relaxed), 1);
        let (event, room) = telling.queue.try_recv().unwrap();
        assert!(matches!(event, Some(Event::Decided { id: 0, .. })));
        // It was sent.
        drop(room);
        assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(1));
        let (event, _) = telling.queue.try_recv().unwrap();
        assert!(matches!(event, Some(Event::Ended { id: 0, .. })));
    }
}
