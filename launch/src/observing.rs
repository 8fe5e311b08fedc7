//! Who observes a run: the host's service; started by root without one, `aegis observe` itself, both with probes; or the run's own
//! seccomp listener. This is the client of the first two.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aegis_observation::protocol::{self, Guard, Reply, Request};
use aegis_observation::{Observation, Run, Tier};
use aegis_sys::{memory, socket};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};

use crate::helper::{Helper, PATIENCE, patient};
use aegis_sys::output::{self, Output};

/// By what a command is observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObserveBy {
    /// By probes where somebody can load them: the host's service, or root itself; otherwise by the listener.
    #[default]
    Auto,
    /// By probes, or the run does not start.
    Probes,
    /// By the run's own seccomp listener.
    Listener,
}

/// Who observes, and where what was seen goes.
#[derive(Debug)]
pub(crate) struct Observing {
    /// Whoever has the probes; `None`: the run's own listener observes.
    observer: Option<Observer>,
    /// `None`: only what is out of the ordinary is wanted.
    place: Option<Output>,
    /// How to have probes, where only the listener can observe and was not asked for.
    pub help: Option<String>,
}

/// Whoever has the probes.
#[derive(Debug)]
enum Observer {
    /// The host's service.
    Service(OwnedFd),
    /// A process that observes for this one alone.
    Own(Helper),
}

impl Observer {
    fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Self::Service(socket) => socket.as_fd(),
            Self::Own(helper) => helper.socket(),
        }
    }
}

impl Observing {
    /// Checks that there is somebody who can observe, and that the observation can be written to `place`.
    pub fn prepare(place: Option<&Path>, by: ObserveBy) -> Result<Self, String> {
        let open = |place: &Path| {
            Output::open(place, output::Kind::Report).map_err(|error| {
                let place = place.display();
                format!("the observation {place} cannot be written: {error}")
            })
        };
        let file = place.map(open).transpose()?;
        let probes = match by {
            ObserveBy::Listener => None,
            ObserveBy::Auto | ObserveBy::Probes => Some(probes()),
        };
        let (observer, help) = match probes {
            None => (None, None),
            Some(Ok(observer)) => (Some(observer), None),
            Some(Err(Unavailable { why, help })) if by == ObserveBy::Probes => {
                return Err(format!(
                    "the command cannot be observed: {why}\n  help: {help}"
                ));
            }
            Some(Err(unavailable)) => (None, Some(unavailable.help)),
        };
        Ok(Self {
            observer,
            place: file,
            help,
        })
    }

    /// Whether the run's own listener observes it.
    pub fn is_by_listener(&self) -> bool {
        self.observer.is_none()
    }

    /// Asks for the sandbox with this PID 1 to be observed, which [`Observing::begun`] waits for. `guard`: there are to be news
    /// of it, and what the kernel is to kill or refuse; the listener has no news, and does neither.
    pub fn watch(&self, init: BorrowedFd<'_>, guard: Option<&Guard>) -> Result<(), String> {
        let Some(socket) = self.news() else {
            return Ok(());
        };
        let guard = guard.map(|guard| {
            let json = serde_json::to_vec(guard).expect("strings and numbers");
            memory::sealed("aegis-guard", &json)
                .map_err(|error| format!("the command cannot be observed: {error}"))
        });
        let guard = guard.transpose()?;
        let fds: Vec<BorrowedFd<'_>> = [init]
            .into_iter()
            .chain(guard.as_ref().map(AsFd::as_fd))
            .collect();
        let news = guard.is_some();
        send(socket, Request::Watch { news }, &fds)
    }

    /// Waits until the sandbox is observed, and says by what.
    pub fn begun(&self) -> Result<Tier, String> {
        let Some(socket) = self.news() else {
            return Ok(Tier::Listener);
        };
        match answer(socket)? {
            (Reply::Watching { tier }, _) => Ok(tier),
            (reply, _) => Err(refused(reply)),
        }
    }

    /// The socket on which news come, if any do.
    pub fn news(&self) -> Option<BorrowedFd<'_>> {
        self.observer.as_ref().map(Observer::socket)
    }

    /// Reads news that have come, and lets the next come. `None`: there will be none any more.
    pub fn receive(&self) -> Option<Observation> {
        let socket = self.news()?;
        let mut bytes = [0; protocol::LONGEST];
        let (length, fds) = socket::receive(socket, &mut bytes).ok()?;
        let Ok(Reply::News {}) = serde_json::from_slice(&bytes[..length]) else {
            return None;
        };
        let [file] = <[OwnedFd; 1]>::try_from(fds).ok()?;
        let mut json = Vec::new();
        File::from(file).read_to_end(&mut json).ok()?;
        // If it cannot be sent, there will be none any more, which the next call finds.
        let _ = socket::send(socket, &protocol::encode(&Request::More {}), &[]);
        Observation::from_json(&json).ok()
    }

    /// Gets what was seen of a run, and writes it. `seen`: by the listener. Returns it as it is saved, and how much was lost.
    pub fn finish(self, run: Run, seen: Option<Observation>) -> Result<(Vec<u8>, u64), String> {
        let unread = |error: io::Error| format!("the observation cannot be read: {error}");
        let (json, lost) = match self.news() {
            None => {
                let mut seen = seen.unwrap_or_default();
                seen.runs.push(run);
                (seen.to_json().into_bytes(), seen.losses.lost())
            }
            Some(socket) => {
                let run = serde_json::to_vec(&run).expect("strings and numbers");
                let run = memory::sealed("aegis-run", &run).map_err(unread)?;
                let (reply, fds) = ask(socket, Request::Finish {}, &[run.as_fd()])?;
                let (Reply::Observed { lost }, Ok([file])) =
                    (&reply, <[OwnedFd; 1]>::try_from(fds))
                else {
                    return Err(refused(reply));
                };
                let mut json = Vec::new();
                (File::from(file).read_to_end(&mut json)).map_err(unread)?;
                (json, *lost)
            }
        };
        if let Some(place) = self.place {
            (place.write(&json))
                .map_err(|error| format!("the observation cannot be written: {error}"))?;
        }
        Ok((json, lost))
    }
}

/// Who has probes, found as a run finds them: `Ok` says who in words, and which, `Err` what to do for there to be somebody. Runs
/// are observed by their listener until then.
///
/// # Errors
///
/// Nobody has.
pub fn who_has_probes() -> Result<(&'static str, Tier), String> {
    let (observer, who) = match service() {
        Ok(socket) => (Observer::Service(socket), "the host's service"),
        Err(_) => (
            probes().map_err(|unavailable| unavailable.help)?,
            "loaded by root for each run",
        ),
    };
    match ask(observer.socket(), Request::Ready {}, &[])? {
        (Reply::Ready { tier }, _) => Ok((who, tier)),
        (reply, _) => Err(refused(reply)),
    }
}

/// Why nobody has probes, and what to do.
struct Unavailable {
    why: String,
    help: String,
}

/// Somebody who has loaded the probes.
fn probes() -> Result<Observer, Unavailable> {
    let error = match service() {
        Ok(socket) => return Ok(Observer::Service(socket)),
        Err(error) => error,
    };
    if !rustix::process::geteuid().is_root() {
        return Err(Unavailable {
            why: format!("{}: {error}", protocol::SOCKET),
            help: "root observes by itself; for others root starts the service once: aegis observe"
                .into(),
        });
    }
    let helper = Helper::start("aegis", &["observe", "--stdin"]).map_err(|error| Unavailable {
        why: format!("`aegis`, beside this program, cannot be started: {error}"),
        help: "install all programs in one directory".into(),
    })?;
    // It has said itself what it cannot do.
    match ask(helper.socket(), Request::Ready {}, &[]) {
        Ok((Reply::Ready { .. }, _)) => Ok(Observer::Own(helper)),
        _ => Err(Unavailable {
            why: "the probes cannot be loaded".into(),
            help: "the kernel does not take the probes; `aegis doctor` says more".into(),
        }),
    }
}

fn ask(
    socket: BorrowedFd<'_>,
    request: Request,
    fds: &[BorrowedFd<'_>],
) -> Result<(Reply, Vec<OwnedFd>), String> {
    send(socket, request, fds)?;
    answer(socket)
}

fn lost(error: io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::WouldBlock => {
            format!("nothing came for {} seconds", PATIENCE.as_secs())
        }
        _ => error.to_string(),
    };
    format!(
        "whoever observes the command does not answer any more: {why}\n  help: see what `aegis observe` printed, and start it again; or run without --record"
    )
}

fn send(socket: BorrowedFd<'_>, request: Request, fds: &[BorrowedFd<'_>]) -> Result<(), String> {
    socket::send(socket, &protocol::encode(&request), fds).map_err(lost)
}

/// Waits for an answer, and takes what was sent with it.
fn answer(socket: BorrowedFd<'_>) -> Result<(Reply, Vec<OwnedFd>), String> {
    loop {
        let mut bytes = [0; protocol::LONGEST];
        let (length, fds) = socket::receive(socket, &mut bytes).map_err(lost)?;
        if length == 0 {
            return Err(lost(io::ErrorKind::ConnectionReset.into()));
        }
        match serde_json::from_slice(&bytes[..length]).map_err(|error| lost(error.into()))? {
            // They crossed the question, and are part of what is handed over at the end.
            Reply::News {} => {}
            reply => return Ok((reply, fds)),
        }
    }
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Refused { why } => format!("the command cannot be observed: {why}"),
        other => format!(
            "the command cannot be observed: this is no answer: {other:?}\n  help: `aegis observe` must be of this version: start it again"
        ),
    }
}

/// The service of the host.
fn service() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    patient(&socket)?;
    connect(&socket, &SocketAddrUnix::new(protocol::SOCKET)?)?;
    match sockopt::socket_peercred(&socket)?.uid.is_root() {
        true => Ok(socket),
        false => Err(io::Error::other("it is not root's")),
    }
}
