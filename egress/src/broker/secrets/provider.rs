//! Asking for values: the broker's end of [`aegis_secrets::protocol`].

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aegis_secrets::protocol::{self, Answer, Question};
use aegis_sys::memory::Locked;
use aegis_sys::socket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{Value, locked};
use crate::broker::events::polled;

/// An answer that takes longer does not come any more, whatever a source may take by its `timeout`.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was answered.
#[derive(Clone)]
pub(super) enum Reply {
    /// The known version is still the one.
    Unchanged {
        /// In seconds since 1970.
        expires: Option<u64>,
    },
    /// There is another one.
    Value(Value),
    /// It cannot be had: from where, and why, which is not for the sandbox.
    Failed(String),
}

/// Who is asked.
pub(super) struct Provider {
    socket: OwnedFd,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting(Mutex<State>);

#[derive(Default)]
struct State {
    by_alias: HashMap<String, Vec<oneshot::Sender<Reply>>>,
    is_gone: bool,
}

impl Provider {
    pub fn new(socket: OwnedFd) -> Self {
        let waiting = Arc::default();
        Self { socket, waiting }
    }

    /// Asks for values that nobody has yet, and waits for all of them. They come in the order of the aliases.
    ///
    /// # Errors
    ///
    /// Why one of them cannot be had.
    pub fn all(&self, aliases: &[&str]) -> Result<Vec<Value>, String> {
        let failed = |error: io::Error| format!("asking for secrets: {error}");
        for alias in aliases {
            self.question(alias, None).map_err(failed)?;
        }
        let mut values = HashMap::new();
        let mut message = buffer();
        let until = Instant::now() + PATIENCE;
        while values.len() < aliases.len() {
            let is_missing = |alias: &&&str| !values.contains_key(**alias);
            let missing = || aliases.iter().find(is_missing).copied().unwrap_or_default();
            let left = until.saturating_duration_since(Instant::now());
            if !has_message_in(&self.socket, left).map_err(failed)? {
                return Err(format!(
                    "the secret {}: its source did not answer in {} seconds\n  help: `aegis secrets check` says how long it takes",
                    missing(),
                    PATIENCE.as_secs()
                ));
            }
            let (alias, reply) = receive(&self.socket, &mut message)
                .map_err(failed)?
                .ok_or("whoever gives secrets has ended")?;
            let value = match reply {
                Reply::Value(value) => value,
                Reply::Failed(why) => return Err(format!("the secret {alias}: {why}")),
                Reply::Unchanged { .. } => {
                    return Err(format!("the secret {alias}: no value came"));
                }
            };
            values.insert(alias, value);
        }
        let values = aliases.iter().map(|alias| values.remove(*alias));
        let values: Option<Vec<Value>> = values.collect();
        values.ok_or_else(|| "other secrets came than were asked for".to_owned())
    }

    /// Begins to listen for answers.
    ///
    /// # Errors
    ///
    /// The socket cannot be waited for.
    pub fn listen(&self) -> io::Result<()> {
        let socket = self.socket.try_clone()?;
        let polled = polled(socket)?;
        tokio::spawn(self.waiting.clone().dispatch(polled));
        Ok(())
    }

    /// Asks whether a value is still the one that is known.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn ask(&self, alias: &str, known: &str) -> Result<Reply, String> {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut state = locked(&self.waiting.0);
            if state.is_gone {
                return Err("whoever gives it has ended".to_owned());
            }
            let waiting = state.by_alias.entry(alias.to_owned()).or_default();
            waiting.push(answer);
            waiting.len() == 1
        };
        // Who comes while it is asked for gets the same answer.
        if is_first && let Err(error) = self.question(alias, Some(known)) {
            locked(&self.waiting.0).by_alias.remove(alias);
            return Err(error.to_string());
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err("whoever gives it has ended".to_owned()),
            Err(_) => {
                locked(&self.waiting.0).by_alias.remove(alias);
                Err(format!("no answer came in {} seconds", PATIENCE.as_secs()))
            }
        }
    }

    fn question(&self, alias: &str, known: Option<&str>) -> io::Result<()> {
        let question = Question::Get {
            alias: alias.to_owned(),
            known: known.map(str::to_owned),
        };
        socket::send(self.socket.as_fd(), &question.encode(), &[])
    }
}

impl Waiting {
    /// Hands each answer to those who wait for it, until there is nobody who answers.
    async fn dispatch(self: Arc<Self>, socket: UnixDatagram) {
        let mut message = buffer();
        loop {
            let received = socket.async_io(Interest::READABLE, || receive(&socket, &mut message));
            let Ok(Some((alias, reply))) = received.await else {
                break;
            };
            let waiting = locked(&self.0).by_alias.remove(&alias);
            for answer in waiting.into_iter().flatten() {
                // Whoever asked may be gone.
                let _ = answer.send(reply.clone());
            }
        }
        let mut state = locked(&self.0);
        state.is_gone = true;
        state.by_alias.clear();
    }
}

/// Waits for an answer. `false`: none comes.
fn has_message_in(socket: &OwnedFd, time: Duration) -> io::Result<bool> {
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&time)))? > 0)
}

fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![0; protocol::LONGEST])
}

/// An answer, and what it is about. `None`: nobody answers any more.
fn receive(from: &impl AsFd, message: &mut [u8]) -> io::Result<Option<(String, Reply)>> {
    let (length, _) = socket::receive(from.as_fd(), message)?;
    let bytes = message.get(..length).unwrap_or_default();
    if bytes.is_empty() {
        return Ok(None);
    }
    let (answer, value) = protocol::decode(bytes).map_err(io::Error::other)?;
    let answered = match answer {
        Answer::Value {
            alias,
            version,
            expires,
            ..
        } => {
            let bytes = Arc::new(Locked::new(value)?);
            let value = Value {
                bytes,
                version,
                expires,
            };
            (alias, Reply::Value(value))
        }
        Answer::Unchanged { alias, expires, .. } => (alias, Reply::Unchanged { expires }),
        Answer::Failed { alias, source, why } => (alias, Reply::Failed(format!("{source}: {why}"))),
    };
    zeroize::Zeroize::zeroize(&mut message[..length]);
    Ok(Some(answered))
}
