//! Observes for others: the service of a host, or the helper of one launcher.
//!
//! A client sends a descriptor of its sandbox's PID 1. Who it is comes from the socket (`SO_PEERCRED`), which process
//! from the descriptor. A user may have sandboxes observed whose PID 1 runs as that user; root any. One connection
//! is one observation, which nobody else can see or end.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aegis_observation::protocol::{Guard, LONGEST, LONGEST_RUN, Reply, Request, encode};
use aegis_sys::{memory, process, socket, status};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SocketFlags, sockopt};

use crate::observer::{Namespace, Observer};

/// How often the ring buffer is drained while anything is observed.
const DRAIN: Duration = Duration::from_millis(20);

/// How long what was done gathers before it is told. Who is told at once keeps both processors of a small machine busy with
/// the first of what a command does, while it goes on.
const GATHER: Duration = Duration::from_micros(500);

/// How long the probes stay attached when nothing is observed any more: the next start need not wait for them.
const REST: Duration = Duration::from_secs(1);

/// As many connections of one user are held; and of all together.
const PER_USER: usize = 16;
const CONNECTIONS: usize = 64;

/// How long a connection may be open without observing anything.
const IDLE: Duration = Duration::from_secs(10);

struct Client {
    socket: OwnedFd,
    uid: u32,
    since: Instant,
    /// Its place among the observed.
    slot: Option<u32>,
    /// Whether news may be sent: the last were read. `None`: there are none.
    news: Option<bool>,
}

/// Who observes for whom.
pub struct Service {
    observer: Observer,
    listener: Option<OwnedFd>,
    clients: VecDeque<Client>,
    /// Nobody could be accepted: not tried again at once.
    full: bool,
    /// When the probes are detached, if nothing is observed until then.
    rests: Option<Instant>,
    /// When clients are told what has gathered.
    tells: Option<Instant>,
}

impl Service {
    /// For whoever connects to this socket.
    #[must_use]
    pub fn of_host(observer: Observer, listener: OwnedFd) -> Self {
        Self {
            observer,
            listener: Some(listener),
            clients: VecDeque::new(),
            full: false,
            rests: None,
            tells: None,
        }
    }

    /// For the process at the other end of this socket alone.
    ///
    /// # Errors
    ///
    /// It is not a connected Unix socket.
    pub fn of_one(observer: Observer, socket: OwnedFd) -> io::Result<Self> {
        let client = Client::new(socket)?;
        Ok(Self {
            observer,
            listener: None,
            clients: [client].into(),
            full: false,
            rests: None,
            tells: None,
        })
    }

    /// Serves until `ended` can be read, or, for one client, until that is gone.
    ///
    /// # Errors
    ///
    /// Waiting failed.
    pub fn run(mut self, ended: BorrowedFd<'_>) -> io::Result<()> {
        while self.listener.is_some() || !self.clients.is_empty() {
            let rest = self.rest();
            let mut fds = vec![PollFd::from_borrowed_fd(ended, PollFlags::IN)];
            // What is gathering already need not be heard of.
            let told =
                self.tells.is_none() && self.clients.iter().any(|client| client.news.is_some());
            let full =
                std::mem::take(&mut self.full) || DISCARDING.load(Ordering::Relaxed) >= CONNECTIONS;
            if let Some(listener) = self.listener.as_ref().filter(|_| !full) {
                fds.push(PollFd::new(listener, PollFlags::IN));
            }
            let listens = fds.len() > 1;
            if told {
                fds.push(PollFd::from_borrowed_fd(
                    self.observer.sent(),
                    PollFlags::IN,
                ));
            }
            let own = fds.len();
            let clients = self.clients.iter();
            fds.extend(clients.map(|client| PollFd::new(&client.socket, PollFlags::IN)));
            let timeout = match self.clients.iter().any(|client| client.slot.is_some()) {
                true => Some(DRAIN),
                false if full => Some(DRAIN),
                false => rest.or((!self.clients.is_empty()).then_some(IDLE)),
            };
            let left = self
                .tells
                .map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = left.or(timeout);
            let timeout = timeout.map(|timeout| Timespec::try_from(timeout).expect("some seconds"));
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0] {
                break;
            }
            self.observer.drain();
            let (own, clients) = ready.split_at(own);
            let now = Instant::now();
            if told && own.last() == Some(&true) {
                self.tells = Some(now + GATHER);
            } else if self.tells.is_none_or(|at| at <= now) {
                self.tells = None;
                for client in &mut self.clients {
                    client.tell(&mut self.observer);
                }
            }
            for ready in clients {
                let Some(mut client) = self.clients.pop_front() else {
                    break;
                };
                let idle = client.slot.is_none() && client.since.elapsed() > IDLE;
                let keep = match ready {
                    true => client.serve(&mut self.observer),
                    false => !(idle && self.listener.is_some()),
                };
                if *ready && client.news == Some(true) {
                    self.tells.get_or_insert(now + GATHER);
                }
                match keep {
                    true => self.clients.push_back(client),
                    false => client.forget(&mut self.observer),
                }
            }
            if listens && own[1] {
                self.accept();
            }
        }
        Ok(())
    }

    /// Detaches the probes when nothing was observed for long enough. Returns how long that is from now, if they are to be.
    fn rest(&mut self) -> Option<Duration> {
        if !self.observer.is_at_rest() {
            self.rests = None;
            return None;
        }
        let now = Instant::now();
        let left = self.rests.get_or_insert(now + REST).duration_since(now);
        if left.is_zero() {
            self.observer.detach();
            self.rests = None;
        }
        (!left.is_zero()).then_some(left)
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = rustix::net::accept_with(listener, flags);
        let Ok(client) = accepted.map_err(io::Error::from).and_then(Client::new) else {
            self.full = true;
            return;
        };
        let of_user = self.clients.iter().filter(|other| other.uid == client.uid);
        if self.clients.len() >= CONNECTIONS || of_user.count() >= PER_USER {
            client.refuse(
                "too many sandboxes are observed at this moment: try again when one has ended",
            );
            client.forget(&mut self.observer);
        } else {
            self.clients.push_back(client);
        }
    }
}

impl Client {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            uid: sockopt::socket_peercred(&socket)?.uid.as_raw(),
            socket,
            since: Instant::now(),
            slot: None,
            news: None,
        })
    }

    /// Answers one message. `false`: the connection has ended.
    fn serve(&mut self, observer: &mut Observer) -> bool {
        let mut bytes = [0; LONGEST];
        let Ok((length, fds)) = socket::receive(self.socket.as_fd(), &mut bytes) else {
            return false;
        };
        let keep = self.answer(observer, &bytes[..length], &fds);
        discard(fds);
        keep
    }

    fn answer(&mut self, observer: &mut Observer, bytes: &[u8], fds: &[OwnedFd]) -> bool {
        let request = serde_json::from_slice(bytes);
        match (request, self.slot, fds) {
            (Ok(Request::Ready {}), None, []) => self.reply(
                &Reply::Ready {
                    tier: observer.tier(),
                },
                &[],
            ),
            (Ok(Request::Watch { news }), None, [init, guard @ ..])
                if guard.len() == usize::from(news) =>
            {
                match self.watch(observer, init.as_fd(), guard.first()) {
                    Ok(slot) => {
                        self.slot = Some(slot);
                        self.news = news.then_some(true);
                        let tier = observer.tier();
                        self.reply(&Reply::Watching { tier }, &[])
                    }
                    Err(why) => self.refuse(&why),
                }
            }
            (Ok(Request::More {}), Some(_), []) if self.news == Some(false) => {
                self.news = Some(true);
                true
            }
            (Ok(Request::Finish {}), Some(slot), [run]) => {
                (self.slot, self.news) = (None, None);
                self.hand_over(observer, slot, run)
            }
            _ if bytes.is_empty() => false,
            _ => self.refuse("this is not a request, or not its turn"),
        }
    }

    /// Sends what is new, if the other side has read what was before. If it cannot be sent, the connection ends at the next
    /// message.
    fn tell(&mut self, observer: &mut Observer) {
        let (Some(slot), Some(true)) = (self.slot, self.news) else {
            return;
        };
        let news = observer.news(slot).ok().flatten();
        let file =
            news.and_then(|news| memory::sealed("aegis-news", news.to_json().as_bytes()).ok());
        if let Some(file) = file {
            self.news = Some(false);
            self.reply(&Reply::News {}, &[file.as_fd()]);
        }
    }

    fn watch(
        &self,
        observer: &mut Observer,
        init: BorrowedFd<'_>,
        guard: Option<&OwnedFd>,
    ) -> Result<u32, String> {
        let guard = guard.map(guard_of).transpose()?;
        let pid = process::pid_of(init).ok_or("this is not the descriptor of a process")?;
        if self.uid != 0 && !runs_as(pid, self.uid) {
            return Err(format!("process {pid} does not run as user {}", self.uid));
        }
        let namespace = Namespace::of_init(pid).map_err(|error| error.to_string())?;
        // What was read is of this process, if it still lives.
        let mut fds = [PollFd::from_borrowed_fd(init, PollFlags::IN)];
        if rustix::event::poll(&mut fds, Some(&Timespec::default())) != Ok(0) {
            return Err(format!("process {pid} has ended"));
        }
        observer
            .watch(namespace, guard.as_ref())
            .map_err(|error| error.to_string())
    }

    fn hand_over(&self, observer: &mut Observer, slot: u32, run: &OwnedFd) -> bool {
        let observation = observer.finish(slot);
        let done = || -> Result<_, Box<dyn std::error::Error>> {
            let mut observation = observation?.ok_or("nothing is observed")?;
            observation
                .runs
                .push(serde_json::from_slice(&in_memory(run)?)?);
            let json = observation.to_json();
            let file = memory::sealed("aegis-observation", json.as_bytes())?;
            Ok((observation.losses.lost(), file))
        };
        let kept = match done() {
            Ok((lost, file)) => self.reply(&Reply::Observed { lost }, &[file.as_fd()]),
            Err(error) => self.refuse(&error.to_string()),
        };
        // In any case: the place is to be free again. Nobody waits for that; where it fails, the place stays taken.
        let _ = observer.tidy(slot);
        kept
    }

    /// `false`: the other side is gone, or does not read.
    fn reply(&self, reply: &Reply, fds: &[BorrowedFd<'_>]) -> bool {
        socket::send(self.socket.as_fd(), &encode(reply), fds).is_ok()
    }

    fn refuse(&self, why: &str) -> bool {
        let why = why.to_owned();
        self.reply(&Reply::Refused { why }, &[]);
        false
    }

    /// Its socket may hold messages with descriptors that nobody has received.
    fn forget(self, observer: &mut Observer) {
        if let Some(slot) = self.slot {
            let _ = observer.finish(slot);
            let _ = observer.tidy(slot);
        }
        discard(vec![self.socket]);
    }
}

/// How much of what came from clients is being closed.
static DISCARDING: AtomicUsize = AtomicUsize::new(0);

/// Closes what came from a client, in a thread of its own: closing somebody's socket or file can take as long as they like.
fn discard(fds: Vec<OwnedFd>) {
    if fds.is_empty() {
        return;
    }
    DISCARDING.fetch_add(1, Ordering::Relaxed);
    // Without a thread it is closed here.
    let _ = std::thread::Builder::new().spawn(move || {
        drop(fds);
        DISCARDING.fetch_sub(1, Ordering::Relaxed);
    });
}

/// What a client's file says of what may be executed and reached.
fn guard_of(file: &OwnedFd) -> Result<Guard, String> {
    let bytes = in_memory(file).map_err(|error| error.to_string())?;
    let guard: Guard = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let programs = guard.executed.as_ref().map_or(0, BTreeSet::len);
    let addresses = guard.reached.as_ref().map_or(0, BTreeSet::len);
    match programs + addresses > Guard::MOST {
        true => Err(format!("more than {} programs and addresses", Guard::MOST)),
        false => Ok(guard),
    }
}

/// Whether all four user ids of a process are this one.
fn runs_as(pid: i32, uid: u32) -> bool {
    status::numbers(Some(pid), "Uid").is_ok_and(|uids| uids == [uid; 4])
}

/// What a client's file says: only of one that nobody can change or cut off while it is read.
fn in_memory(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let length = memory::length_of_sealed(file)?;
    if length > LONGEST_RUN {
        return Err(io::Error::other("the description of the run is too long"));
    }
    let mut bytes = vec![0; length as usize];
    let read = rustix::io::pread(file, &mut bytes[..], 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
