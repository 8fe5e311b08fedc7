//! Who is connected: how many, to which host, and who keeps the broker waiting.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::broker::limits::Limits;

/// All connections from inside.
#[derive(Debug)]
pub(crate) struct Table {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    to: HashMap<Arc<str>, usize>,
    /// Those that wait, who came first, first.
    waiting: BTreeMap<u64, Arc<Notify>>,
    last: u64,
    /// Bytes that they have said, beyond what is free.
    bytes: usize,
}

/// One connection's place. It is waiting at first.
#[derive(Debug)]
pub(crate) struct Slot {
    table: Arc<Table>,
    host: Arc<str>,
    /// Its number among those that wait, or 0. Changes under the lock of the state.
    number: AtomicU64,
    /// Bytes that were said since it waits, and are kept. Changes under the same lock.
    said: AtomicUsize,
    turned_out: Arc<Notify>,
}

impl Table {
    pub fn new(limits: &Limits) -> Arc<Self> {
        let (limits, state) = (*limits, Mutex::default());
        Arc::new(Self { limits, state })
    }

    /// A slot for a connection to a host; `None`: too many are taken.
    pub fn slot(self: &Arc<Self>, host: &Arc<str>) -> Option<Arc<Slot>> {
        let mut state = self.state();
        if state.open >= self.limits.connections {
            return None;
        }
        let to = state.to.entry(host.clone()).or_default();
        if *to >= self.limits.connections_to_one {
            return None;
        }
        *to += 1;
        state.open += 1;
        drop(state);
        let slot = Arc::new(Slot {
            table: self.clone(),
            host: host.clone(),
            number: AtomicU64::new(0),
            said: AtomicUsize::new(0),
            turned_out: Arc::default(),
        });
        slot.waits();
        Some(slot)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Slot {
    /// The connection waits for a request, or for the end of one.
    pub fn waits(&self) {
        self.queue(1 << 62);
    }

    /// The connection is over but for what still comes: it makes room before all that wait.
    pub fn lingers(&self) {
        self.queue(0);
    }

    fn queue(&self, behind: u64) {
        let mut state = self.table.state();
        state.last += 1;
        let number = behind + state.last;
        state.waiting.insert(number, self.turned_out.clone());
        self.leave(&mut state, number);
        self.forget(&mut state);
        if state.waiting.len() > self.table.limits.waiting
            && let Some((_, longest)) = state.waiting.pop_first()
        {
            longest.notify_one();
        }
    }

    /// The connection is in use. What it has said is kept until it was passed on.
    pub fn is_busy(&self) {
        let mut state = self.table.state();
        self.leave(&mut state, 0);
    }

    /// What it has said is kept no more.
    pub fn was_heard(&self) {
        self.forget(&mut self.table.state());
    }

    /// Takes its number from those that wait.
    fn leave(&self, state: &mut State, number: u64) {
        let before = self.number.swap(number, Ordering::Relaxed);
        state.waiting.remove(&before);
    }

    /// Takes what it has said from what all have.
    fn forget(&self, state: &mut State) {
        let said = self.said.swap(0, Ordering::Relaxed);
        state.bytes -= said.saturating_sub(Limits::FREE);
    }

    /// Something was said. Returns whether there is room for it.
    pub fn says(&self, bytes: usize) -> bool {
        // Whoever does not wait is not held back.
        if self.number.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let mut state = self.table.state();
        let before = self.said.load(Ordering::Relaxed);
        let beyond = |said: usize| said.saturating_sub(Limits::FREE);
        let more = beyond(before + bytes) - beyond(before);
        if state.bytes + more > self.table.limits.waiting_bytes {
            return false;
        }
        state.bytes += more;
        self.said.store(before + bytes, Ordering::Relaxed);
        true
    }

    /// What it is connected to.
    pub fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// Comes when the connection has waited longest and others need its place.
    pub async fn turned_out(&self) {
        self.turned_out.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.table.state();
        self.leave(&mut state, 0);
        self.forget(&mut state);
        state.open -= 1;
        if let Some(to) = state.to.get_mut(&self.host) {
            *to -= 1;
            if *to == 0 {
                state.to.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn table() -> Arc<Table> {
        Table::new(&Limits {
            connections: 4,
            connections_to_one: 3,
            waiting: 2,
            ..Limits::default()
        })
    }

    #[test]
    fn what_those_who_wait_have_said_is_bounded_and_forgotten_when_they_go_on() {
        let limits = Limits {
            waiting_bytes: 100,
            ..Limits::default()
        };
        let (table, host) = (Table::new(&limits), Arc::from("a"));
        let [long, other] = [(); 2].map(|()| table.slot(&host).unwrap());
        assert!(long.says(Limits::FREE) && long.says(90));
        assert!(!long.says(11) && other.says(Limits::FREE) && !other.says(11));
        long.is_busy();
        // Whoever is passed on is not held back; what they said before is there until it was.
        assert!(long.says(1 << 30) && !other.says(100));
        long.was_heard();
        assert!(other.says(100));
        long.waits();
        assert!(long.says(Limits::FREE) && !long.says(1));
        drop(other);
        assert!(long.says(100));
        drop(long);
        assert_eq!(table.state().bytes, 0);
    }

    fn is_turned_out(slot: &Slot) -> bool {
        let future = pin!(slot.turned_out());
        future.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn one_host_cannot_take_all_seats_and_a_seat_that_is_left_is_free() {
        let (table, a, b) = (table(), Arc::from("a"), Arc::from("b"));
        let mut slots: Vec<_> = (0..3).map(|_| table.slot(&a).unwrap()).collect();
        assert!(table.slot(&a).is_none());
        let other = table.slot(&b).unwrap();
        assert!(table.slot(&b).is_none());
        slots.pop();
        drop(other);
        assert!(table.slot(&b).is_some() && table.slot(&a).is_some());
        drop(slots);
        assert!(table.state().to.is_empty() && table.state().waiting.is_empty());
    }

    #[test]
    fn who_has_waited_longest_is_turned_out_and_who_is_busy_is_not() {
        let (table, host) = (table(), Arc::from("a"));
        let first = table.slot(&host).unwrap();
        let second = table.slot(&host).unwrap();
        first.is_busy();
        let third = table.slot(&host).unwrap();
        assert!(!is_turned_out(&first) && !is_turned_out(&second));
        // It waits again, for a shorter time than the others.
        first.waits();
        assert!(is_turned_out(&second) && !is_turned_out(&third) && !is_turned_out(&first));
        // One that was turned out takes nobody's place while it is closed.
        second.lingers();
        assert!(is_turned_out(&second) && !is_turned_out(&third) && !is_turned_out(&first));
    }
}
