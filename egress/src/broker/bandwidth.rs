//! `limits.net`: how many bytes all connections of a sandbox exchange with the outside in a second, both ways together.
//!
//! Bytes are paid for before they pass: who wants to pass some books them, and waits until they are due (the generic cell rate algorithm, over
//! bytes). Each way of each connection books a small piece at a time, after those that were booked before, so that all have turns, and
//! one that exchanges little waits for one piece of each of the others at most. A way books when there is something that can pass: who has
//! nothing to say takes nothing from the others.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What the rate may be exceeded by at once, as a part of a second, and what comes late is made up for: 2 % of two seconds. Timers, and
/// machines with more to do than processors, are late by milliseconds.
const AT_ONCE: u64 = 25;

/// A piece, as a part of a second: how long others wait for one.
const PIECE: u64 = 200;

/// The bounds of a piece, in bytes: less is not worth a call, more is not read at once.
const PIECES: (u64, u64) = (1 << 10, 64 << 10);

/// The rate of a sandbox.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    /// Bytes in a second.
    rate: u64,
    piece: usize,
    at_once: Duration,
    /// When all that was booked is paid for.
    paid: Mutex<Instant>,
}

impl Bandwidth {
    /// So many bytes in a second.
    pub fn new(rate: u64) -> Arc<Self> {
        let rate = rate.max(1);
        let piece = (rate / PIECE).clamp(PIECES.0, PIECES.1);
        let at_once = time_of(piece, rate).max(Duration::from_secs(1) / AT_ONCE as u32);
        Arc::new(Self {
            rate,
            piece: piece as usize,
            at_once,
            paid: Mutex::new(Instant::now()),
        })
    }

    /// As many bytes are booked at once.
    pub fn piece(&self) -> usize {
        self.piece
    }

    /// Books bytes. Returns when they may pass.
    pub fn book(&self, bytes: usize) -> Instant {
        let (now, time) = (Instant::now(), time_of(bytes as u64, self.rate));
        let mut paid = self.paid();
        *paid = (*paid).max(now) + time;
        let due = paid.checked_sub(self.at_once);
        due.map_or(now, |due| due.max(now))
    }

    /// Books bytes that pass together, and waits until they may.
    pub async fn turn(&self, bytes: usize) {
        let due = self.book(bytes);
        if due > Instant::now() {
            sleep_until(due).await;
        }
    }

    /// Gives back what was booked, and will not pass.
    fn give_back(&self, bytes: usize) {
        let mut paid = self.paid();
        let earlier = paid.checked_sub(time_of(bytes as u64, self.rate));
        *paid = earlier.unwrap_or(*paid);
    }

    fn paid(&self) -> MutexGuard<'_, Instant> {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long bytes take.
fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// One way of a connection.
pub(crate) struct Way {
    bandwidth: Arc<Bandwidth>,
    /// Bytes that it has booked, and not passed.
    booked: usize,
    /// Until they are due.
    due: Option<Pin<Box<Sleep>>>,
}

impl Way {
    pub fn new(bandwidth: Arc<Bandwidth>) -> Self {
        Self {
            bandwidth,
            booked: 0,
            due: None,
        }
    }

    /// Waits until some of `wanted` bytes, of which there is one at least, may pass. Returns how many.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<usize> {
        if self.booked == 0 {
            self.booked = wanted.min(self.bandwidth.piece());
            let due = self.bandwidth.book(self.booked);
            // A timer costs a millisecond, also where it is due.
            self.due = (due > Instant::now()).then(|| Box::pin(sleep_until(due)));
        }
        if let Some(due) = &mut self.due {
            ready!(due.as_mut().poll(cx));
            self.due = None;
        }
        Poll::Ready(self.booked.min(wanted))
    }

    /// So many have passed, of those whose turn it was.
    pub fn passed(&mut self, bytes: usize) {
        self.booked = self.booked.saturating_sub(bytes);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        // What was due took others' time.
        if self.due.is_some() {
            self.bandwidth.give_back(self.booked);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// A clock that goes on when everybody waits for it.
    fn in_paused_time<T>(body: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(body)
    }

    /// Passes bytes on a way. Returns how long the longest turn was waited for.
    async fn pass(bandwidth: &Arc<Bandwidth>, mut bytes: usize) -> Duration {
        let mut way = Way::new(bandwidth.clone());
        let mut longest = Duration::ZERO;
        while bytes > 0 {
            let began = Instant::now();
            let turn = poll_fn(|cx| way.poll_turn(cx, bytes)).await;
            longest = longest.max(began.elapsed());
            way.passed(turn);
            bytes -= turn;
        }
        longest
    }

    #[test]
    fn rates_are_kept_by_one_and_by_many() {
        for rate in [20_000, 1 << 20, 10 << 20, 1 << 30] {
            for ways in [1, 7, 100] {
                in_paused_time(async {
                    let (bandwidth, began) = (Bandwidth::new(rate), Instant::now());
                    let each = rate as usize * 3 / ways;
                    let all = (0..ways).map(|_| {
                        let bandwidth = bandwidth.clone();
                        tokio::spawn(async move { pass(&bandwidth, each).await })
                    });
                    for way in all.collect::<Vec<_>>() {
                        way.await.unwrap();
                    }
                    let took = began.elapsed().as_secs_f64();
                    assert!((2.85..3.15).contains(&took), "{rate} {ways}: {took}");
                });
            }
        }
    }

    #[test]
    fn many_short_ones_pass_no_more_than_one_long_one() {
        in_paused_time(async {
            let (bandwidth, began) = (Bandwidth::new(1 << 20), Instant::now());
            for _ in 0..3 << 10 {
                pass(&bandwidth, 1 << 10).await;
            }
            let took = began.elapsed().as_secs_f64();
            assert!((2.85..3.15).contains(&took), "{took}");
        });
    }

    #[test]
    fn little_passes_at_once_alone_and_soon_beside_others() {
        in_paused_time(async {
            let bandwidth = Bandwidth::new(10 << 20);
            for _ in 0..100 {
                assert_eq!(pass(&bandwidth, 4_000).await, Duration::ZERO);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let others = (0..10).map(|_| {
                let bandwidth = bandwidth.clone();
                tokio::spawn(async move { pass(&bandwidth, 10 << 20).await })
            });
            let others: Vec<_> = others.collect();
            tokio::time::sleep(Duration::from_secs(1)).await;
            // One piece of each other is before it: 5 ms each, and a millisecond of the timer.
            let waited = pass(&bandwidth, 4_000).await;
            assert!(waited < Duration::from_millis(60), "{waited:?}");
            assert!(others.iter().all(|other| !other.is_finished()));
        });
    }

    #[test]
    fn what_was_booked_by_one_that_is_gone_is_for_the_others() {
        in_paused_time(async {
            let (bandwidth, began) = (Bandwidth::new(1 << 20), Instant::now());
            pass(&bandwidth, 1 << 20).await;
            for _ in 0..1_000 {
                let mut way = Way::new(bandwidth.clone());
                let mut turn =
                    tokio::spawn(async move { poll_fn(|cx| way.poll_turn(cx, 4096)).await });
                tokio::task::yield_now().await;
                turn.abort();
                let _ = (&mut turn).await;
            }
            pass(&bandwidth, 1 << 20).await;
            let took = began.elapsed().as_secs_f64();
            assert!((1.9..2.1).contains(&took), "{took}");
        });
    }
}
