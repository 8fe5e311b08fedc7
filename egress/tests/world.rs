//! Two network namespaces: one of servers, and in it the broker; one of programs, where every address leads to the broker.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use aegis_egress::protocol::{
    Event, Grant, LONGEST, Listener, Opens, Order, Protocol, Proxies, Setup, encode,
};
use aegis_egress::{Files, Limits};
use aegis_policy::Context;
use aegis_policy::model::Scheme;
use aegis_sys::{memory, namespaces, socket};

/// Addresses of the servers' machine, of the kinds that a policy tells apart.
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 215, 14);
pub const OTHER_PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 215, 15);
pub const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
pub const METADATA: [Ipv4Addr; 2] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(168, 63, 129, 16),
];

pub const PUBLIC_V6: &str = "2606:2800:220:1::1";

/// A policy that lets through all that the profile asks for, to public addresses.
pub const OPEN: &str = "
aegis-policy: 1
network-egress:
  - {id: open, hosts: '*', verdict: warn}
";

/// What a broker is to do, and where it looks names up.
pub struct World {
    pub policy: String,
    /// A module in Rego beside it.
    pub rego: Option<String>,
    /// As a profile has them.
    pub destinations: Vec<&'static str>,
    pub hosts: String,
    pub resolv_conf: String,
    pub limits: Limits,
    pub proxies: Proxies,
    /// Whom the host trusts (PEM): then TLS may be opened.
    pub roots: Option<Vec<u8>>,
    /// Bytes in a second.
    pub bandwidth: Option<u64>,
    /// Ports, and through how many sockets of each family.
    pub published: (Vec<u16>, usize),
}

impl World {
    /// `allowed.example` is at a public address, `http`, `https` and `tcp` on 7000 ask for it.
    pub fn new(policy: &str) -> Self {
        Self {
            policy: policy.to_owned(),
            rego: None,
            destinations: vec![
                "http://allowed.example",
                "https://allowed.example",
                "tcp://allowed.example:7000",
            ],
            hosts: format!("{PUBLIC} allowed.example\n"),
            resolv_conf: String::new(),
            limits: Limits::default(),
            proxies: Proxies::default(),
            roots: None,
            bandwidth: None,
            published: (Vec::new(), 0),
        }
    }

    pub fn setup(&self) -> Setup {
        let destinations = self.destinations.iter().map(|text| {
            let destination = aegis_profile::syntax::destination(text).expect("a destination");
            let scheme = serde_json::from_value(destination.scheme.into()).expect("a scheme");
            Grant {
                host: destination.host,
                port: destination.port,
                scheme,
            }
        });
        let destinations: Vec<Grant> = destinations.collect();
        let protocol = |grant: &Grant| match grant.scheme {
            Scheme::Udp => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        let mut listeners: Vec<Listener> = Vec::new();
        let declared = destinations
            .iter()
            .map(|grant| (grant.port, protocol(grant)));
        for (port, protocol) in declared.chain([(53, Protocol::Tcp), (53, Protocol::Udp)]) {
            let listener = Listener { port, protocol };
            if !listeners.contains(&listener) {
                listeners.push(listener);
            }
        }
        let mut policy =
            aegis_policy::load::parse_str(&self.policy, "policy.yaml").expect("a policy");
        let module = |text: &String| aegis_policy::model::RegoModule {
            name: "module.rego".into(),
            text: text.clone(),
        };
        policy.rego.extend(self.rego.iter().map(module));
        Setup {
            bandwidth: self.bandwidth,
            context: Context {
                profile: "test".into(),
                ..Context::default()
            },
            destinations,
            listeners,
            policy: vec![policy],
            proxies: self.proxies.clone(),
            opens: self.roots.as_ref().map(|_| Opens { java: true }),
            published: self.published.0.clone(),
            ..Setup::default()
        }
    }

    /// Serves on one side, and runs `body` on the other. `servers` starts the servers, which live as long as the test.
    pub fn run<T: Send + Sync>(
        self,
        servers: impl FnOnce() -> T + Send,
        body: impl FnOnce(&Inside, &T) + Send,
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| -> PathBuf {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let files = Files {
            hosts: file("hosts", &self.hosts),
            resolv_conf: file("resolv.conf", &self.resolv_conf),
        };
        let limits = self.limits;
        // As in the program; here it holds for the one thread.
        let serve = move |theirs| {
            aegis_egress::calls::install().expect("a filter");
            aegis_egress::serve(theirs, limits, files)
        };
        outside(|| {
            let servers = servers();
            let served = sandbox(&self, serve, |inside| body(inside, &servers));
            served.expect("it serves until the end");
        });
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.expect("ip starts").success(), "ip {arguments}");
}

/// Runs `body` in a thread whose network is its own.
fn in_network<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            namespaces::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS).expect("root");
            namespaces::loopback_up().expect("lo");
            body()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `body` where the servers are.
pub fn outside<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    in_network(|| {
        for address in [PUBLIC, OTHER_PUBLIC, PRIVATE].iter().chain(&METADATA) {
            ip(&format!("address add {address}/32 dev lo"));
        }
        ip(&format!("address add {PUBLIC_V6}/128 dev lo nodad"));
        // The kernel makes the route to it later, in a thread of its own.
        let probe = UdpSocket::bind("[::]:0").expect("bound");
        while probe.connect((PUBLIC_V6, 9)).is_err() {
            std::thread::yield_now();
        }
        body()
    })
}

/// The network of the calling thread, for [`in_network_of`].
pub fn this_network() -> File {
    File::open("/proc/thread-self/ns/net").expect("it is there")
}

/// Runs `body` in a thread in that network.
pub fn in_network_of<T: Send>(network: &File, body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(network.as_fd(), Some(kind)).expect("root");
            body()
        });
        let ended = thread.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Opens what a sandbox has, has `serve` serve the other end of the launcher's socket, and runs `body` in it. Called where the
/// servers are.
pub fn sandbox<R: Send>(
    world: &World,
    serve: impl FnOnce(OwnedFd) -> R + Send,
    body: impl FnOnce(&Inside) + Send,
) -> R {
    let setup = &world.setup();
    let (ours, theirs) = socket::pair().expect("a pair");
    let (listening, listened) = mpsc::channel();
    let (ready, begin) = mpsc::channel();
    std::thread::scope(|scope| {
        let program = scope.spawn(move || {
            in_network(move || {
                ip("address add 10.0.0.1/32 dev lo");
                ip("route add local default dev lo");
                ip("-6 route add local default dev lo");
                let sockets: Vec<OwnedFd> = setup.listeners.iter().map(listen).collect();
                let inward: Vec<OwnedFd> = (0..2 * world.published.1).map(unconnected).collect();
                listening.send((sockets, inward)).expect("somebody waits");
                let (socket, authority) = begin.recv().expect("a socket");
                let inside = Inside {
                    events: Mutex::new(socket),
                    files: of_sandbox(),
                    authority,
                };
                body(&inside);
            });
        });
        // Panics inside end both channels.
        let served = listened.recv().ok().map(|(mut sockets, inward)| {
            let published = setup.published.iter().map(|port| {
                let listening = TcpListener::bind((Ipv4Addr::LOCALHOST, *port));
                OwnedFd::from(listening.expect("a free port"))
            });
            sockets.extend(published.chain(inward));
            order(&ours, setup, world.roots.as_deref(), &sockets);
            // Nobody else has them.
            drop(sockets);
            let broker = scope.spawn(move || serve(theirs));
            let authority = self::ready(&ours);
            ready.send((ours, authority)).expect("somebody waits");
            broker
        });
        let result = program.join();
        let served = served.map(|broker| broker.join());
        match (result, served) {
            (Err(panic), _) | (Ok(()), Some(Err(panic))) => std::panic::resume_unwind(panic),
            (Ok(()), Some(Ok(served))) => served,
            (Ok(()), None) => unreachable!("it has listened"),
        }
    })
}

/// What a launcher sends. `roots`: whom the host trusts.
pub fn order(to: &OwnedFd, setup: &Setup, roots: Option<&[u8]>, sockets: &[OwnedFd]) {
    let setup = serde_json::to_vec(setup).expect("JSON");
    let setup = memory::sealed("setup", &setup).expect("a file in memory");
    let mut files = vec![setup];
    files.extend(roots.map(|roots| memory::sealed("roots", roots).expect("a file in memory")));
    for (order, fds) in [(Order::Prepare {}, &*files), (Order::Serve {}, sockets)] {
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        socket::send(to.as_fd(), &encode(&order), &fds).expect("sent");
    }
}

/// The authority of a broker that serves, if it has one.
pub fn ready(from: &OwnedFd) -> Option<String> {
    let Some(Event::Prepared { authority, .. }) = told(from) else {
        panic!("it is not prepared");
    };
    assert_eq!(told(from), Some(Event::Ready {}));
    authority
}

/// The next message of a broker; `None`: it has ended.
pub fn told(from: &OwnedFd) -> Option<Event> {
    let mut bytes = [0; LONGEST];
    let (length, _) = socket::receive(from.as_fd(), &mut bytes).ok()?;
    (length > 0).then(|| serde_json::from_slice(&bytes[..length]).expect("an event"))
}

/// As a supervisor opens them: half of each family.
fn unconnected(number: usize) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let family = [AddressFamily::INET, AddressFamily::INET6][number % 2];
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket")
}

/// As a supervisor opens it: for both kinds of addresses.
pub fn listen(listener: &Listener) -> OwnedFd {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, listener.port));
    match listener.protocol {
        Protocol::Tcp => {
            let listening = TcpListener::bind(any).expect("bound");
            rustix::net::listen(&listening, 4096).expect("listening");
            listening.into()
        }
        Protocol::Udp => UdpSocket::bind(any).expect("bound").into(),
    }
}

/// The sandbox's own files, bound over the host's for the threads and programs there.
fn of_sandbox() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let private = Command::new("mount")
        .args(["--make-rprivate", "/"])
        .status();
    assert!(private.expect("mount starts").success());
    for (name, text) in [
        ("resolv.conf", "nameserver 127.0.0.1\n"),
        ("hosts", "127.0.0.1 localhost\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        let at = Path::new("/etc").join(name);
        if !at.exists() {
            continue;
        }
        let bound = Command::new("mount")
            .arg("--bind")
            .args([&path, &at])
            .status();
        assert!(bound.expect("mount starts").success(), "{name}");
    }
    directory
}

/// The side of the programs.
pub struct Inside {
    events: Mutex<OwnedFd>,
    #[expect(dead_code, reason = "what is mounted")]
    files: tempfile::TempDir,
    /// The run's own authority (PEM), where TLS may be opened.
    pub authority: Option<String>,
}

impl Inside {
    /// The next that the launcher is told.
    pub fn event(&self) -> Event {
        told(&self.events.lock().expect("not poisoned")).expect("the broker goes on")
    }

    /// All that is still told when the launcher has nothing more to say.
    pub fn end(&self) -> Vec<Event> {
        let events = self.events.lock().expect("not poisoned");
        rustix::net::shutdown(&*events, rustix::net::Shutdown::Write).expect("shut down");
        std::iter::from_fn(|| told(&events)).collect()
    }

    /// The next decision or refusal: where to, whether it was let through, and why.
    pub fn ruling(&self) -> (aegis_policy::request::Destination, bool, String) {
        loop {
            match self.event() {
                Event::Decided { decision, to, .. } => {
                    let through = decision.verdict.lets_through();
                    return (to, through, decision.reason.to_string());
                }
                Event::Refused { to, why, .. } => return (to, false, why),
                _ => {}
            }
        }
    }

    /// The next end of something that was let through: bytes sent and received, and what went wrong.
    pub fn ended(&self) -> (u64, u64, Option<String>) {
        loop {
            if let Event::Ended {
                error,
                received,
                sent,
                ..
            } = self.event()
            {
                return (sent, received, error);
            }
        }
    }

    /// The address of a name, as the C library finds it.
    pub fn address(&self, name: &str) -> Ipv4Addr {
        let found = run(Command::new("getent").args(["ahostsv4", name]));
        let text = text(&found.stdout);
        let first = text.split_whitespace().next();
        first
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("{name}: {text}"))
    }

    /// A connection to a name.
    pub fn connect(&self, name: &str, port: u16) -> TcpStream {
        TcpStream::connect((self.address(name), port)).expect("the broker accepts everything")
    }
}

/// Runs curl. Returns the status, the body, and whether it succeeded.
pub fn curl(arguments: &[&str]) -> (String, String, Output) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--write-out", "\n%{http_code}"]);
    let output = run(command.args(arguments));
    let text = text(&output.stdout);
    let (body, status) = text.rsplit_once('\n').expect("the status");
    (status.to_owned(), body.to_owned(), output)
}

/// Runs a program of Python's.
pub fn python(script: &str, arguments: &[&str]) -> String {
    let output = run(Command::new("/usr/bin/python3")
        .args(["-c", script])
        .args(arguments));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    text(&output.stdout)
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Says something on a connection, and returns all that comes until it is closed.
pub fn say(mut stream: TcpStream, words: &[u8]) -> String {
    stream.write_all(words).expect("written");
    rest(stream)
}

/// All that comes until a connection is closed or reset.
pub fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    text(&all)
}

/// What HTTP servers were asked: the head of each request, and its body.
pub type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server that knows little HTTP and repeats every request's body. It closes when asked for `/close`, answers `/chunked` in
/// chunks, and goes on with an echo of bytes when asked to upgrade.
pub fn http_server(address: Ipv4Addr, port: u16) -> Asked {
    let listener = TcpListener::bind((address, port)).expect("bound");
    let asked = Asked::default();
    let requests = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let requests = requests.clone();
            std::thread::spawn(move || while one(&stream, &requests).is_some() {});
        }
    });
    asked
}

fn one(stream: &TcpStream, requests: &Asked) -> Option<()> {
    // One byte more would be the next request's.
    let mut reader = BufReader::with_capacity(1, stream);
    let mut line = |head: &mut String| -> Option<String> {
        let mut line = String::new();
        (reader.read_line(&mut line).ok()? > 0).then_some(())?;
        head.push_str(&line);
        Some(line.trim_end().to_owned())
    };
    let mut head = String::new();
    while !line(&mut head)?.is_empty() {}
    let lower = head.to_lowercase();
    let field = |name: &str| {
        let lines = lower.lines();
        lines
            .filter_map(|line| line.strip_prefix(name))
            .map(str::trim)
            .next_back()
            .map(str::to_owned)
    };
    let mut body = Vec::new();
    if let Some(length) = field("content-length:") {
        body.resize(length.parse().ok()?, 0);
        let mut stream = stream;
        stream.read_exact(&mut body).ok()?;
    } else if field("transfer-encoding:").is_some() {
        let mut chunk = String::new();
        loop {
            let length = usize::from_str_radix(&line(&mut chunk)?, 16).ok()?;
            let from = body.len();
            body.resize(from + length, 0);
            let mut stream = stream;
            stream.read_exact(&mut body[from..]).ok()?;
            line(&mut chunk)?;
            if length == 0 {
                break;
            }
        }
    }
    requests
        .lock()
        .expect("not poisoned")
        .push((head.clone(), body.clone()));
    let mut stream = stream;
    if field("upgrade:").is_some() {
        let switching =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(switching.as_bytes()).ok()?;
        let mut from = stream;
        std::io::copy(&mut from, &mut stream).ok()?;
        return None;
    }
    if head.starts_with("GET /chunked/long") {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).ok()?;
        for _ in 0..100 {
            stream.write_all(b"3\r\none\r\n").ok()?;
        }
        stream.write_all(b"0\r\n\r\n").ok()?;
        return Some(());
    }
    if head.starts_with("GET /chunked") {
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
        stream.write_all(chunks.as_bytes()).ok()?;
        return Some(());
    }
    let length = body.len();
    let head_of_answer =
        format!("HTTP/1.1 200 Fine\r\nX-Server: outside\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head_of_answer.as_bytes()).ok()?;
    stream.write_all(&body).ok()?;
    (!head.starts_with("GET /close")).then_some(())
}

/// A server that repeats what it is told, and closes when the other side does.
pub fn echo_server(address: impl Into<IpAddr>, port: u16) {
    let listener = TcpListener::bind((address.into(), port)).expect("bound");
    rustix::net::listen(&listener, 4096).expect("listening");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
}

pub fn json(body: &str) -> serde_json::Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}
