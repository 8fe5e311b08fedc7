//! How much requests use: what a policy's budgets are held against.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegis_policy::request::Destination;
use hyper::Request;
use hyper::body::Body;
use tokio::time::{Duration, Instant};

use super::length_of_request;
use crate::broker::dial::Dialler;
use crate::broker::judge::Refusal;

/// Budgets count within this time.
const MINUTE: Duration = Duration::from_secs(60);

/// Requests are counted together that were made within this time: a run makes thousands in a second.
const STEP: Duration = Duration::from_millis(500);

/// So many hosts are kept, before those are left out that nothing was asked of within a minute.
const MOST_IDLE: usize = 256;

/// The requests of the last minute, to each host.
#[derive(Default)]
pub(crate) struct Tally(Mutex<HashMap<Arc<str>, Recent>>);

#[derive(Default)]
struct Recent {
    /// When each step began, and how many were made in it.
    steps: VecDeque<(Instant, u64)>,
    all: u64,
}

impl Recent {
    fn at(&mut self, now: Instant) -> &mut Self {
        // A whole step is over a minute old when its end is.
        while let Some((began, count)) = self.steps.front()
            && now.duration_since(*began) >= MINUTE + STEP
        {
            self.all -= count;
            self.steps.pop_front();
        }
        self
    }
}

impl Tally {
    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Recent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request to a host, and says how many were made before it.
    pub fn count(&self, host: &Arc<str>, now: Instant) -> u64 {
        let mut all = self.all();
        if all.len() >= MOST_IDLE {
            all.retain(|_, recent| recent.at(now).all > 0);
        }
        let recent = all.entry(host.clone()).or_default().at(now);
        let before = recent.all;
        match recent.steps.back_mut() {
            Some((began, count)) if now.duration_since(*began) < STEP => *count += 1,
            _ => recent.steps.push_back((now, 1)),
        }
        recent.all += 1;
        before
    }

    /// The last one was not made.
    pub fn take_back(&self, host: &Arc<str>) {
        if let Some(recent) = self.all().get_mut(host)
            && let Some((_, count)) = recent.steps.back_mut()
            && *count > 0
        {
            *count -= 1;
            recent.all -= 1;
        }
    }
}

/// The bytes of a request, if it tells how many there are.
pub(super) fn size<B: Body>(request: &Request<B>) -> Option<u64> {
    let body = request.body().size_hint().exact()?;
    Some(length_of_request(request) + body)
}

/// Holds a response against the budget as it comes.
pub(super) struct Gauge {
    dialler: Arc<Dialler>,
    to: Destination,
    most: u64,
    so_far: u64,
}

impl Gauge {
    /// For a response with so long a head. `length`: of its body, if it tells that.
    ///
    /// # Errors
    ///
    /// It is too long.
    pub fn new(
        dialler: Arc<Dialler>,
        to: Destination,
        head: u64,
        length: Option<u64>,
    ) -> Result<Self, Refusal> {
        let mut gauge = Self {
            most: dialler.judge.longest_response(&to),
            dialler,
            to,
            so_far: head,
        };
        gauge.came(length.unwrap_or(0))?;
        gauge.so_far = head;
        Ok(gauge)
    }

    /// So many bytes more have come.
    pub fn came(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.so_far += bytes;
        if self.so_far <= self.most {
            return Ok(());
        }
        let to = Destination {
            response_size: Some(self.so_far),
            ..self.to.clone()
        };
        self.dialler.again(to).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_count_for_a_minute_each() {
        let tally = Tally::default();
        let host = Arc::from("a.example");
        let now = || Instant::now();
        assert_eq!(
            (0..3)
                .map(|_| tally.count(&host, now()))
                .collect::<Vec<_>>(),
            [0, 1, 2]
        );
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(tally.count(&host, now()), 3);
        tally.take_back(&host);
        assert_eq!(tally.count(&host, now()), 3);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(tally.count(&host, now()), 4);
        tokio::time::advance(Duration::from_secs(1)).await;
        // The first three are over.
        assert_eq!(tally.count(&host, now()), 2);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(tally.count(&host, now()), 0);
        assert_eq!(tally.count(&Arc::from("b.example"), now()), 0);
    }
}
