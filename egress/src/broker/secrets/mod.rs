//! Secrets, which are here and nowhere else: each is put into requests to its one host, and taken out of what comes back.

mod place;
mod provider;
mod scrub;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aegis_policy::model::{Inject, Scheme};
use aegis_policy::request::Destination;
use aegis_sys::memory::Locked;
use hyper::header::HeaderName;
use tokio::time::Instant;

use crate::broker::judge::{LOCALHOST, Refusal};
use crate::protocol::Secret;

use provider::{Provider, Reply};
pub(crate) use scrub::{Looked, Pause, Scrubber, Scrubbing};

/// All secrets of the run.
pub(crate) struct Vault {
    held: Vec<Held>,
    /// `None`: there are no secrets.
    provider: Option<Provider>,
    looked: Looked,
    began: Instant,
}

/// One secret.
struct Held {
    secret: Secret,
    header: Option<HeaderName>,
    value: Mutex<Value>,
}

/// What it is now.
#[derive(Clone)]
struct Value {
    bytes: Arc<Locked>,
    version: String,
    /// In seconds since 1970.
    expires: Option<u64>,
}

/// A secret that was put into a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub alias: String,
    pub inject: Inject,
    pub version: String,
}

impl Vault {
    /// Asks for all of them, and waits.
    ///
    /// # Errors
    ///
    /// One cannot be had: which, and why.
    pub fn new(secrets: Vec<Secret>, provider: Option<OwnedFd>) -> Result<Self, String> {
        let provider = match (secrets.is_empty(), provider) {
            (true, _) => None,
            (false, Some(socket)) => Some(Provider::new(socket)),
            (false, None) => return Err("the launcher sends nobody to ask for secrets".to_owned()),
        };
        let aliases: Vec<&str> = secrets.iter().map(|secret| &*secret.alias).collect();
        let values = match &provider {
            Some(provider) => provider.all(&aliases)?,
            None => Vec::new(),
        };
        let mut held = Vec::new();
        for (secret, value) in secrets.into_iter().zip(values) {
            let name = secret.header.as_ref().map(|(name, _)| name.parse());
            let header = name.transpose();
            held.push(Held {
                header: header.map_err(|_| format!("{}: not a header", secret.alias))?,
                secret,
                value: Mutex::new(value),
            });
        }
        let vault = Self {
            held,
            provider,
            looked: Looked::default(),
            began: Instant::now(),
        };
        vault.renew_patterns(None)?;
        Ok(vault)
    }

    /// Begins to listen for answers. Called once, where tasks are run.
    ///
    /// # Errors
    ///
    /// The socket cannot be waited for.
    pub fn listen(&self) -> io::Result<()> {
        match &self.provider {
            Some(provider) => provider.listen(),
            None => Ok(()),
        }
    }

    /// What is taken out of what comes back from a destination. `None`: nothing is sent there.
    pub fn looked(&self, to: &Destination) -> Option<Looked> {
        self.bound(to).next().map(|_| self.looked.clone())
    }

    /// Those that are sent to a destination.
    fn bound<'v>(&'v self, to: &'v Destination) -> impl Iterator<Item = &'v Held> {
        let is_safe =
            to.scheme == Scheme::Https || (to.scheme == Scheme::Http && to.host == LOCALHOST);
        let is_there = |secret: &Secret| secret.to == to.host && secret.port == to.port;
        (self.held.iter()).filter(move |held| is_safe && is_there(&held.secret))
    }

    /// The value as it is now: the provider is asked whether there is a newer one.
    async fn current(&self, held: &Held) -> Result<Value, Refusal> {
        let alias = &held.secret.alias;
        // Where it was looked for, and what was said there, is the caller's.
        let unavailable = |why: String| Refusal {
            detail: Some(why),
            ..Refusal::with_status(502, format!("the secret {alias} cannot be had"))
        };
        let ttl = held.secret.ttl.map(Duration::from_millis);
        if ttl.is_some_and(|ttl| self.began.elapsed() >= ttl) {
            let why = "its `ttl` is over, and it is sent no more in this run".to_owned();
            return Err(Refusal::of_broker(format!("the secret {alias}: {why}")));
        }
        if self.looked.suspicions.are_too_many() {
            let why =
                "parts of values came back again and again, and none is sent any more in this run";
            return Err(Refusal::of_broker(format!("the secret {alias}: {why}")));
        }
        let Some(provider) = &self.provider else {
            return Err(unavailable("there is nobody to ask for it".to_owned()));
        };
        let known = locked(&held.value).clone();
        let value = match provider
            .ask(alias, &known.version)
            .await
            .map_err(unavailable)?
        {
            Reply::Unchanged { expires } => Value { expires, ..known },
            Reply::Value(value) => {
                *locked(&held.value) = value.clone();
                // What was sent before may still come back.
                self.renew_patterns(Some(&known.bytes))
                    .map_err(unavailable)?;
                value
            }
            Reply::Failed(why) => return Err(unavailable(why)),
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        match value.expires {
            Some(expires) if expires <= now.as_secs() => {
                Err(unavailable("it has expired".to_owned()))
            }
            _ => Ok(value),
        }
    }

    fn renew_patterns(&self, before: Option<&[u8]>) -> Result<(), String> {
        let now: Vec<Value> = (self.held.iter())
            .map(|held| locked(&held.value).clone())
            .collect();
        let now = now.iter().map(|value| &**value.bytes);
        let mut patterns = locked(&self.looked.patterns);
        let renewed = patterns.with(now, before);
        let failed = |error| format!("they cannot be looked for in what comes back: {error}");
        *patterns = Arc::new(renewed.map_err(failed)?);
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
