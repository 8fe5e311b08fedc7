//! What the launcher is told, in order and within bounds.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegis_policy::Decision;
use aegis_policy::request::Destination;
use aegis_sys::socket as unix;
use tokio::io::{self, Interest};
use tokio::net::UnixDatagram;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::broker::judge::Refusal;
use crate::broker::limits::{Limits, Rate};
use crate::broker::secrets::Used;
use crate::protocol::{CUT, Event, LONGEST, LONGEST_PATH, encode};

/// The longest text of an error or of a line, in bytes.
const LONGEST_TEXT: usize = 4 << 10;

/// What is to be sent.
struct Queued {
    event: Event,
    /// Who waits until it has been.
    sent: Option<oneshot::Sender<()>>,
    #[expect(dead_code, reason = "given back when it is dropped")]
    room: Option<OwnedSemaphorePermit>,
}

/// What both ends know.
struct Shared {
    /// As many decisions may be in the queue. The end of what was let through takes no room: it was told of before.
    room: Arc<Semaphore>,
    rate: Mutex<Rate>,
    /// Refusals that are not told one by one.
    refusals: AtomicU64,
    counted: Notify,
    /// Connections to published ports that are not told of yet.
    entered: Mutex<BTreeMap<u16, Entered>>,
    next: AtomicU64,
}

/// What went through a published port: sums of [`Event::Entered`].
#[derive(Default)]
struct Entered {
    error: Option<String>,
    failed: u64,
    received: u64,
    sent: u64,
    times: u64,
}

impl Shared {
    fn entered(&self) -> MutexGuard<'_, BTreeMap<u16, Entered>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rate(&self) -> MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    fn event(self, port: u16) -> Event {
        let Self {
            error,
            failed,
            received,
            sent,
            times,
        } = self;
        Event::Entered {
            error,
            failed,
            port,
            received,
            sent,
            times,
        }
    }
}

/// A turn that is waited for. Who gives up before it comes gives it back.
struct Turn<'s> {
    at: Instant,
    shared: &'s Shared,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.rate().give_back();
    }
}

/// Takes what is to be told.
#[derive(Clone)]
pub(crate) struct Reporter {
    queue: UnboundedSender<Queued>,
    shared: Arc<Shared>,
}

/// Sends it.
pub(crate) struct Sender {
    queue: UnboundedReceiver<Queued>,
    /// What is being sent.
    pending: Option<Queued>,
    /// When the number of refusals is told next.
    flood: Option<Instant>,
    shared: Arc<Shared>,
}

/// Both ends.
pub(crate) fn channel(limits: &Limits) -> (Reporter, Sender) {
    let (queue, end) = unbounded_channel();
    let rate = Rate::new(limits, Instant::now());
    let shared = Arc::new(Shared {
        room: Arc::new(Semaphore::new(limits.untold)),
        rate: Mutex::new(rate),
        refusals: AtomicU64::new(0),
        counted: Notify::new(),
        entered: Mutex::default(),
        next: AtomicU64::new(0),
    });
    let reporter = Reporter {
        queue,
        shared: shared.clone(),
    };
    let sender = Sender {
        queue: end,
        pending: None,
        flood: None,
        shared,
    };
    (reporter, sender)
}

impl Reporter {
    /// Tells of what is let through, when it is its turn and there is room. Returns its id, and what comes when that has been sent.
    pub async fn let_through(
        &self,
        to: Destination,
        decision: Decision,
    ) -> (u64, oneshot::Receiver<()>) {
        let now = Instant::now();
        let turn = Turn {
            at: self.shared.rate().turn(now),
            shared: &self.shared,
        };
        // A timer costs a millisecond, also where it is due.
        if turn.at > now {
            sleep_until(turn.at).await;
        }
        // Nobody closes it.
        let room = self.shared.room.clone().acquire_owned().await.ok();
        std::mem::forget(turn);
        let (sent, told) = oneshot::channel();
        let id = self.id();
        self.put(Queued {
            event: Event::Decided {
                allow: None,
                decision,
                id,
                to,
            },
            sent: Some(sent),
            room,
        });
        (id, told)
    }

    /// Tells of a secret that may be put into a request, when there is room. Returns what comes when that has been sent.
    pub async fn secret(
        &self,
        used: &Used,
        host: &str,
        decision: Decision,
    ) -> oneshot::Receiver<()> {
        // Nobody closes it.
        let room = self.shared.room.clone().acquire_owned().await.ok();
        let (sent, told) = oneshot::channel();
        self.put(Queued {
            event: secret(used, host, decision),
            sent: Some(sent),
            room,
        });
        told
    }

    /// Tells that the policy refused to put a secret in, or counts it.
    pub fn secret_refused(&self, used: &Used, host: &str, decision: Decision) {
        self.put_or_count(|| secret(used, host, decision));
    }

    /// Tells that what was let through is over.
    pub fn ended(
        &self,
        id: u64,
        to: Destination,
        (sent, received): (u64, u64),
        error: Option<String>,
    ) {
        let event = Event::Ended {
            error: error.map(|error| shortened(error, LONGEST_TEXT)),
            id,
            received,
            sent,
            to,
        };
        self.put(Queued {
            event,
            sent: None,
            room: None,
        });
    }

    /// Tells that the policy refused something, or counts it.
    pub fn blocked(&self, to: Destination, decision: Decision, refusal: &Refusal) {
        let (id, allow) = (self.id(), line(refusal));
        self.put_or_count(|| Event::Decided {
            allow,
            decision,
            id,
            to,
        });
    }

    /// Tells that the broker refused something, or counts it.
    pub fn refused(&self, to: Destination, refusal: &Refusal) {
        self.put_or_count(|| Event::Refused {
            allow: line(refusal),
            to: cut(to),
            why: shortened(refusal.in_full(), LONGEST_TEXT),
        });
    }

    /// Tells that a connection to a published port has ended, with those before it; or later, with others.
    pub fn entered(&self, port: u16, (sent, received): (u64, u64), error: Option<String>) {
        let mut all = self.shared.entered();
        let sum = all.entry(port).or_default();
        sum.times += 1;
        sum.failed += u64::from(error.is_some());
        sum.sent = sum.sent.saturating_add(sent);
        sum.received = sum.received.saturating_add(received);
        let error = error.map(|error| shortened(error, LONGEST_TEXT));
        sum.error = sum.error.take().or(error);
        let room = self.shared.room.clone().try_acquire_owned().ok();
        let room = room.filter(|_| self.shared.rate().take(Instant::now()));
        if let (Some(room), Some(sum)) = (room, all.remove(&port)) {
            self.put(Queued {
                event: sum.event(port),
                sent: None,
                room: Some(room),
            });
        }
    }

    /// Counts a refusal of which nothing is known.
    pub fn turned_away(&self) {
        self.shared.refusals.fetch_add(1, Ordering::Relaxed);
        self.shared.counted.notify_one();
    }

    fn id(&self) -> u64 {
        self.shared.next.fetch_add(1, Ordering::Relaxed)
    }

    fn put_or_count(&self, event: impl FnOnce() -> Event) {
        let room = self.shared.room.clone().try_acquire_owned().ok();
        let room = room.filter(|_| self.shared.rate().take(Instant::now()));
        match room {
            Some(room) => self.put(Queued {
                event: event(),
                sent: None,
                room: Some(room),
            }),
            None => self.turned_away(),
        }
    }

    fn put(&self, queued: Queued) {
        // Without anybody who sends, the broker is ending.
        let _ = self.queue.send(queued);
    }
}

fn secret(used: &Used, host: &str, decision: Decision) -> Event {
    Event::Secret {
        alias: used.alias.clone(),
        decision,
        host: host.to_owned(),
        inject: used.inject,
        version: used.version.clone(),
    }
}

/// A line that is too long to be told is none that a person would write.
fn line(refusal: &Refusal) -> Option<String> {
    let allow = refusal.allow.clone();
    allow.filter(|line| line.len() <= LONGEST_TEXT)
}

/// A destination as a refusal tells it: longer paths are not decided.
fn cut(to: Destination) -> Destination {
    let path = to.path.map(|path| shortened(path, LONGEST_PATH));
    Destination { path, ..to }
}

fn shortened(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push(CUT);
    }
    text
}

impl Sender {
    /// Sends until nobody tells any more. Nothing is lost when this is not waited for to the end.
    ///
    /// # Errors
    ///
    /// The launcher is gone.
    pub async fn send(&mut self, socket: &UnixDatagram) -> io::Result<()> {
        loop {
            if let Some(Queued { event, .. }) = &self.pending {
                send(socket, event).await?;
                self.was_sent();
            }
            tokio::select! {
                next = self.queue.recv() => match next {
                    Some(next) => self.pending = Some(next),
                    None => return Ok(()),
                },
                () = self.shared.counted.notified(), if self.flood.is_none() => {
                    self.flood = Some(self.shared.rate().turn(Instant::now()));
                }
                () = sleep_until(self.flood.unwrap_or_else(Instant::now)), if self.flood.is_some() => {
                    if let Some((refusals, event)) = self.counted() {
                        send(socket, &event).await?;
                        self.shared.refusals.fetch_sub(refusals, Ordering::Relaxed);
                    }
                    self.flood = None;
                }
            }
        }
    }

    /// Sends all that is left, and waits until the launcher takes it.
    ///
    /// # Errors
    ///
    /// The launcher is gone.
    pub fn send_rest(mut self, socket: &OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(socket, false)?;
        let send = |event: &Event| unix::send(socket.as_fd(), &encode(event), &[]);
        loop {
            if let Some(Queued { event, .. }) = &self.pending {
                send(event)?;
                self.was_sent();
            }
            match self.queue.try_recv() {
                Ok(next) => self.pending = Some(next),
                Err(_) => break,
            }
        }
        let entered = std::mem::take(&mut *self.shared.entered());
        for (port, sum) in entered {
            send(&sum.event(port))?;
        }
        match self.counted() {
            Some((_, event)) => send(&event),
            None => Ok(()),
        }
    }

    fn was_sent(&mut self) {
        let sent = self.pending.take().and_then(|queued| queued.sent);
        if let Some(sent) = sent {
            // Whoever waited may be gone.
            let _ = sent.send(());
        }
    }

    fn counted(&self) -> Option<(u64, Event)> {
        let refusals = self.shared.refusals.load(Ordering::Relaxed);
        (refusals > 0).then_some((refusals, Event::Flood { refusals }))
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
    use std::time::Duration;

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

    fn limits() -> Limits {
        Limits {
            // Only time would give more.
            decision_interval: Duration::from_secs(1_000_000),
            ..Limits::default()
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap()
    }

    fn received(launcher: &OwnedFd) -> Option<Event> {
        let mut bytes = [0; LONGEST];
        let (length, _) = unix::receive(launcher.as_fd(), &mut bytes).unwrap();
        (length > 0).then(|| serde_json::from_slice(&bytes[..length]).unwrap())
    }

    #[test]
    fn what_is_let_through_waits_for_room_and_until_it_was_sent_and_refusals_are_counted() {
        let limits = Limits {
            untold: 1,
            ..Limits::default()
        };
        let (launcher, ours) = unix::pair().unwrap();
        runtime().block_on(async {
            let (reporter, mut sender) = channel(&limits);
            let (to, decision) = asked();
            let (id, mut sent) = reporter.let_through(to.clone(), decision.clone()).await;
            let mut context = Context::from_waker(Waker::noop());
            let mut second = pin!(reporter.let_through(to.clone(), decision));
            assert!(second.as_mut().poll(&mut context).is_pending());
            reporter.refused(to.clone(), &Refusal::of_broker("counted"));
            reporter.ended(id, to, (1, 2), None);
            // Nothing was sent.
            assert_eq!(sent.try_recv(), Err(oneshot::error::TryRecvError::Empty));
            let socket = polled(ours).unwrap();
            {
                let mut sending = pin!(sender.send(&socket));
                let told = async {
                    tokio::select! {
                        _ = &mut sending => unreachable!("somebody tells"),
                        told = sent => told,
                    }
                };
                assert_eq!(told.await, Ok(()));
            }
            assert!(matches!(
                received(&launcher),
                Some(Event::Decided { id: 0, .. })
            ));
            let Poll::Ready((1, _)) = second.as_mut().poll(&mut context) else {
                panic!("there is room again");
            };
            assert_eq!(sender.shared.refusals.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn what_comes_faster_than_is_told_waits_for_its_turn_or_is_counted() {
        let limits = Limits {
            decisions_at_once: 3,
            ..limits()
        };
        let (launcher, ours) = unix::pair().unwrap();
        runtime().block_on(async {
            let (reporter, sender) = channel(&limits);
            let (to, decision) = asked();
            reporter.let_through(to.clone(), decision.clone()).await;
            for _ in 0..5 {
                reporter.refused(to.clone(), &Refusal::of_broker("no"));
            }
            let mut late = pin!(reporter.let_through(to, decision));
            let mut context = Context::from_waker(Waker::noop());
            assert!(late.as_mut().poll(&mut context).is_pending());
            sender.send_rest(&ours).unwrap();
        });
        drop(ours);
        let told: Vec<Event> = std::iter::from_fn(|| received(&launcher)).collect();
        let is = |n: usize, refused| matches!(&told[n], Event::Refused { .. }) == refused;
        assert!(told.len() == 4 && is(0, false) && is(1, true) && is(2, true));
        assert_eq!(told[3], Event::Flood { refusals: 3 });
    }

    #[test]
    fn long_paths_are_cut_and_marked() {
        let (mut to, _) = asked();
        to.path = Some(format!("/{}", "x".repeat(2 * LONGEST_PATH)));
        let told = cut(to.clone()).path.unwrap();
        assert!(told.ends_with(CUT) && told.len() == LONGEST_PATH + CUT.len_utf8());
        to.path = Some("/short".to_owned());
        assert_eq!(cut(to.clone()), to);
    }
}
