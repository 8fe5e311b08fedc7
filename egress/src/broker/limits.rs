//! How much one sandbox may keep of the broker.

use std::time::Duration;

use tokio::time::Instant;

/// The bounds. Whoever is inside chooses how often they connect, look up and wait; what that costs outside ends here.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names that get an address.
    pub names: usize,
    /// How many of them the profile need not ask for: looking up what is refused leaves the others room.
    pub other_names: usize,
    /// Connections open at once.
    pub connections: usize,
    /// The same, to one host.
    pub connections_to_one: usize,
    /// Connections that have not said yet what they want, or wait between two requests. One more closes the one that has
    /// waited longest.
    pub waiting: usize,
    /// Bytes that they may have said in all, beyond [`Limits::FREE`] each. One that says more is closed.
    pub waiting_bytes: usize,
    /// Flows of datagrams at once. One more ends the one for which nothing has passed for longest.
    pub flows: usize,
    /// Bytes of datagrams that wait until they are sent. What there is no room for is lost.
    pub waiting_datagrams: usize,
    /// A flow ends when nothing has passed for this long: no less than two minutes (RFC 4787, REQ-5).
    pub idle_flow: Duration,
    /// How long what a refused flow sends is dropped unasked.
    pub refused_flow: Duration,
    /// How long a connection may take to say what it wants.
    pub head: Duration,
    /// How long the real name may take to be resolved.
    pub resolve: Duration,
    /// How long each address may take to answer.
    pub dial: Duration,
    /// Decisions that the launcher has not read yet. Beyond it, what is let through waits, and refusals are only counted.
    pub untold: usize,
    /// Decisions that are told one right after the other.
    pub decisions_at_once: u32,
    /// After them, one is told in each such time: each is a record in the launcher's log. What is let through waits for its turn,
    /// and refusals are only counted.
    pub decision_interval: Duration,
}

impl Limits {
    /// As many bytes any connection may say before it is known what it wants: more than nearly all need.
    pub const FREE: usize = 8 << 10;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: 16_000,
            other_names: 8_000,
            connections: 4_096,
            connections_to_one: 2_048,
            waiting: 2_048,
            waiting_bytes: 16 << 20,
            flows: 512,
            waiting_datagrams: 4 << 20,
            idle_flow: Duration::from_secs(120),
            refused_flow: Duration::from_secs(5),
            head: Duration::from_secs(30),
            resolve: Duration::from_secs(15),
            dial: Duration::from_secs(15),
            untold: 1_024,
            decisions_at_once: 1_000,
            decision_interval: Duration::from_millis(1),
        }
    }
}

/// How often something may happen: so many times at once, and then once in each interval (the generic cell rate algorithm).
#[derive(Debug)]
pub(crate) struct Rate {
    at_once: Duration,
    interval: Duration,
    /// When all that was taken has come back.
    whole: Instant,
}

impl Rate {
    pub fn new(limits: &Limits, now: Instant) -> Self {
        let interval = limits.decision_interval;
        Self {
            at_once: interval.saturating_mul(limits.decisions_at_once),
            interval,
            whole: now,
        }
    }

    /// Takes one turn, and says when it is.
    pub fn turn(&mut self, now: Instant) -> Instant {
        self.whole = self.whole.max(now) + self.interval;
        let turn = self.whole.checked_sub(self.at_once);
        turn.map_or(now, |turn| turn.max(now))
    }

    /// Gives one turn back, of which nothing came.
    pub fn give_back(&mut self) {
        self.whole = self.whole.checked_sub(self.interval).unwrap_or(self.whole);
    }

    /// Takes one turn if it is now.
    pub fn take(&mut self, now: Instant) -> bool {
        let before = self.whole;
        let is_now = self.turn(now) == now;
        if !is_now {
            self.whole = before;
        }
        is_now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_may_come_at_once_and_then_one_in_each_interval() {
        let limits = Limits {
            decisions_at_once: 3,
            decision_interval: Duration::from_millis(10),
            ..Limits::default()
        };
        let now = Instant::now();
        let after = |ms| now + Duration::from_millis(ms);
        let mut rate = Rate::new(&limits, now);
        assert!((0..3).all(|_| rate.take(now)));
        assert!(!rate.take(now) && !rate.take(after(9)) && rate.take(after(10)));
        // Who waits for a turn is not overtaken.
        assert_eq!(rate.turn(after(11)), after(20));
        assert!(!rate.take(after(20)) && rate.take(after(30)));
        // No more than so many come back.
        assert!((0..3).all(|_| rate.take(after(1_000))) && !rate.take(after(1_000)));
    }
}
