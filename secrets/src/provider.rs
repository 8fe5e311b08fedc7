//! Answering a broker, until it closes its socket.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegis_sys::{capabilities, files, landlock, process, socket};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType, sockopt};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::fetch::{Dates, Failed, Fresh, Secrets};
use crate::protocol::{Answer, LONGEST, Question, encode};
use crate::sources::Source;
use crate::value::Versions;

/// How many secrets are got at the same time. Further ones wait.
const AT_ONCE: usize = 16;

/// How many questions may wait. Nobody who means well has so many.
const MOST: usize = 4096;

/// The stack of a thread that gets one, in bytes.
const STACK: usize = 512 << 10;

/// A broker's socket, if standard input is one. `None`: a person has started this.
#[must_use]
pub fn asker() -> Option<OwnedFd> {
    let input = io::stdin();
    let is_ours = sockopt::socket_type(&input) == Ok(SocketType::SEQPACKET)
        && sockopt::socket_domain(&input) == Ok(AddressFamily::UNIX);
    let socket = is_ours.then(|| rustix::io::fcntl_dupfd_cloexec(&input, 3));
    socket?.ok()
}

/// That nobody but root may look into this process, and that it leaves no core.
///
/// # Errors
///
/// The kernel refuses it.
pub fn close_to_others() -> io::Result<()> {
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    process::not_dumpable()
}

/// Answers questions until the socket is closed. `program` is this program.
///
/// # Errors
///
/// This process cannot be closed to others, or the kernel gives no random bytes: nothing is answered.
pub fn serve(socket: OwnedFd, program: PathBuf) -> Result<(), Error> {
    let failed = |doing| move |source| Error::System { doing, source };
    alone(&socket).map_err(failed("closing the provider of secrets to others"))?;
    let secrets = Secrets::open(program);
    if let Ok(secrets) = &secrets {
        confined(secrets).map_err(failed("confining the provider of secrets"))?;
    }
    let provider = Arc::new(Provider {
        socket,
        secrets: secrets.map_err(|error| unusable(&error)),
        versions: Versions::new().map_err(failed("getting random bytes"))?,
        state: Mutex::default(),
    });
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = socket::receive(provider.socket.as_fd(), &mut buffer);
        let question = match received {
            Ok((0, _)) | Err(_) => break,
            Ok((length, _)) => Question::decode(&buffer[..length]),
        };
        match question {
            Ok(Question::Get { alias, known }) if provider.has_room() => provider.ask(alias, known),
            // Whoever says such is no broker of this version.
            Ok(_) | Err(_) => break,
        }
    }
    if let Ok(secrets) = &provider.secrets {
        secrets.commands.end();
    }
    Ok(())
}

/// Why no secret can be had. Nothing of what is in `secrets.yaml` is told: a report may have it.
fn unusable(error: &Error) -> String {
    match error {
        Error::Sources(error) => {
            let first = error.diagnostics().first();
            let place = first.map_or_else(String::new, |first| {
                format!("{}:{}", first.origin.file, first.origin.line)
            });
            format!("{place} is wrong\n  help: `aegis secrets check` says how")
        }
        error => error.to_string(),
    }
}

/// Holds nothing of who started it but the socket and standard error.
fn alone(socket: &OwnedFd) -> io::Result<()> {
    close_to_others()?;
    let errors =
        files::inherited(2).and_then(|errors| rustix::io::fcntl_dupfd_cloexec(errors, 3).ok());
    match &errors {
        Some(errors) => files::close_all_but([socket, errors]),
        None => files::close_all_but([socket]),
    }
    process::begin();
    if let Some(errors) = &errors {
        files::duplicate_to(errors.as_fd(), 2)?;
    }
    Ok(())
}

/// Gives up what no source needs. Commands need all that their caller has; without any, files are read alone, nothing is executed, and
/// without Vault nothing is connected to over TCP.
fn confined(secrets: &Secrets) -> io::Result<()> {
    let sources = || {
        secrets
            .sources
            .values()
            .filter_map(|entry| entry.source.as_ref())
    };
    if sources().any(|source| matches!(source, Source::Exec { .. })) {
        return Ok(());
    }
    capabilities::no_new_privileges()?;
    let abi = landlock::abi();
    if abi == 0 {
        return Ok(());
    }
    let connects = sources().any(|source| matches!(source, Source::Vault { .. }));
    let net = match abi {
        0..4 => 0,
        _ if connects => landlock::net::BIND_TCP,
        _ => landlock::net::BIND_TCP | landlock::net::CONNECT_TCP,
    };
    let scope = match abi {
        0..6 => 0,
        _ => landlock::scope::ABSTRACT_UNIX_SOCKET | landlock::scope::SIGNAL,
    };
    let ruleset = landlock::create_ruleset(abi, landlock::handled_fs(abi), net, scope)?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let read = landlock::fs::READ_FILE | landlock::fs::READ_DIR;
    landlock::allow_path(ruleset.as_fd(), root.as_fd(), read)?;
    landlock::restrict_self(ruleset.as_fd())
}

struct Provider {
    socket: OwnedFd,
    secrets: Result<Secrets, String>,
    versions: Versions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Which versions were given out, and until when they need not be got again.
    given: HashMap<String, Given>,
    /// What is got now, with what those know who wait for it.
    asked: HashMap<String, Vec<Option<String>>>,
    /// What is got next.
    next: VecDeque<String>,
    /// How many threads there are.
    threads: usize,
    /// How many questions are not answered.
    waiting: usize,
}

struct Given {
    version: String,
    dates: Dates,
    fresh: Fresh,
}

impl Provider {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        self.state().waiting < MOST
    }

    /// Begins to get a secret, if nobody does so already.
    fn ask(self: &Arc<Self>, alias: String, known: Option<String>) {
        let mut state = self.state();
        state.waiting += 1;
        if let Some(others) = state.asked.get_mut(&alias) {
            others.push(known);
            return;
        }
        state.asked.insert(alias.clone(), vec![known]);
        state.next.push_back(alias);
        if state.threads == AT_ONCE {
            return;
        }
        let provider = self.clone();
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || provider.work());
        match thread {
            Ok(_) => state.threads += 1,
            // Some thread gets it later, or this one does.
            Err(_) if state.threads > 0 => {}
            Err(_) => {
                state.threads += 1;
                drop(state);
                self.work();
            }
        }
    }

    /// Gets what is next, until there is nothing.
    fn work(&self) {
        loop {
            let alias = {
                let mut state = self.state();
                match state.next.pop_front() {
                    Some(alias) => alias,
                    None => {
                        state.threads -= 1;
                        return;
                    }
                }
            };
            self.answer(&alias);
        }
    }

    fn answer(&self, alias: &str) {
        let secrets = match &self.secrets {
            Ok(secrets) => secrets,
            Err(why) => {
                let source = "no source".to_owned();
                return self.failed(
                    alias,
                    Failed {
                        source,
                        why: why.clone(),
                        said: None,
                    },
                );
            }
        };
        if let Some((version, dates)) = self.given(secrets, alias) {
            // Who does not have it gets it below.
            let others: Vec<_> = self.taken(alias, |known| known.as_ref() == Some(&version));
            for _ in others {
                self.send(&unchanged(alias, &dates), &[]);
            }
            if self.is_done(alias) {
                return;
            }
        }
        match secrets.get(alias) {
            Err(failed) => self.failed(alias, failed),
            Ok(got) => {
                let version = self.versions.of(&got.value);
                let given = Given {
                    version: version.clone(),
                    dates: got.dates,
                    fresh: got.fresh,
                };
                self.state().given.insert(alias.to_owned(), given);
                while !self.is_done(alias) {
                    for known in self.taken(alias, |_| true) {
                        match known == Some(version.clone()) {
                            true => self.send(&unchanged(alias, &got.dates), &[]),
                            false => {
                                self.send(&value(alias, &version, &got.dates), got.value.bytes())
                            }
                        }
                    }
                }
            }
        }
    }

    /// The version that was given out last, while it need not be got again.
    fn given(&self, secrets: &Secrets, alias: &str) -> Option<(String, Dates)> {
        let (version, mut dates, fresh) = {
            let state = self.state();
            let given = state.given.get(alias)?;
            (given.version.clone(), given.dates, given.fresh)
        };
        dates.due = secrets.is_due(alias, dates.written);
        secrets
            .is_fresh(alias, &dates, &fresh)
            .then_some((version, dates))
    }

    /// Takes those who wait for it and know such a version.
    fn taken(&self, alias: &str, which: impl Fn(&Option<String>) -> bool) -> Vec<Option<String>> {
        let mut state = self.state();
        let Some(asked) = state.asked.get_mut(alias) else {
            return Vec::new();
        };
        let (taken, left) = std::mem::take(asked)
            .into_iter()
            .partition(|known| which(known));
        *asked = left;
        let taken: Vec<_> = taken;
        state.waiting -= taken.len();
        taken
    }

    /// Whether nobody waits for it any more; it can be asked for anew then.
    fn is_done(&self, alias: &str) -> bool {
        let mut state = self.state();
        let done = state.asked.get(alias).is_none_or(Vec::is_empty);
        if done {
            state.asked.remove(alias);
        }
        done
    }

    fn failed(&self, alias: &str, failed: Failed) {
        let Failed { source, why, said } = failed;
        if let Some(said) = said {
            let alias = aegis_profile::syntax::quote(alias);
            // The caller's, not the sandbox's.
            let _ = writeln!(
                io::stderr(),
                "aegis-secrets: note: secret `{alias}`: {source}: {said}"
            );
        }
        let answer = Answer::Failed {
            alias: alias.to_owned(),
            source,
            why,
        };
        while !self.is_done(alias) {
            for _ in self.taken(alias, |_| true) {
                self.send(&answer, &[]);
            }
        }
    }

    /// Whoever does not want it any more has closed the socket, which is seen by who receives.
    fn send(&self, answer: &Answer, value: &[u8]) {
        let message: Zeroizing<Vec<u8>> = encode(answer, value);
        let _ = socket::send(self.socket.as_fd(), &message, &[]);
    }
}

fn value(alias: &str, version: &str, dates: &Dates) -> Answer {
    Answer::Value {
        alias: alias.to_owned(),
        version: version.to_owned(),
        expires: dates.expires,
        due: dates.due,
    }
}

fn unchanged(alias: &str, dates: &Dates) -> Answer {
    Answer::Unchanged {
        alias: alias.to_owned(),
        expires: dates.expires,
        due: dates.due,
    }
}
