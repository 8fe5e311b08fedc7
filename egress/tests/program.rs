//! The program `aegis-broker`: what it gives up, when it ends, and what it does not take.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use aegis_egress::protocol::{Event, Listener, Order, Protocol, encode};
use aegis_egress::{Files, Limits, serve};
use aegis_sys::memory::sealed;
use aegis_sys::socket;

use crate::world::{
    OPEN, PUBLIC, World, curl, echo_server, http_server, in_network_of, order, outside, python,
    ready, sandbox, told,
};

/// A user whom nothing on this host belongs to.
const USER: u32 = 20_000;

/// The user that root's broker is.
const ROOTS: u32 = 2_061_893_633;

/// The program, where everybody may execute it.
fn program() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), mode).expect("chmod");
    let program = directory.path().join("aegis-broker");
    // By another process: a child of another test would inherit what is open for writing, and then it is not executed.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_aegis-broker"))
        .arg(program)
        .status();
    assert!(copied.expect("cp starts").success());
    directory
}

fn start(program: &Path, socket: OwnedFd, uid: u32) -> Child {
    let mut command = Command::new(program.join("aegis-broker"));
    // What it is not to keep: that memory may be dumped, and a descriptor that nobody closes.
    let core = rustix::process::Rlimit {
        current: Some(1 << 20),
        maximum: Some(1 << 20),
    };
    rustix::process::setrlimit(rustix::process::Resource::Core, core).expect("root");
    let kept = fs::File::open("/etc/passwd").expect("a file");
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).expect("kept on exec");
    let started = command
        .stdin(socket)
        .uid(uid)
        .gid(uid)
        .spawn()
        .expect("it starts");
    drop(kept);
    started
}

/// Runs `body` beside the program; returns how that ended. The files in `/etc` are the world's.
fn beside(
    uid: u32,
    world: &World,
    body: impl FnOnce(&crate::world::Inside, u32) + Send,
) -> ExitStatus {
    let program = program();
    let etc = program.path().join("etc");
    fs::create_dir(&etc).expect("a directory");
    let (hosts, resolv_conf) = (&world.hosts, &world.resolv_conf);
    for (name, text) in [("hosts", hosts), ("resolv.conf", resolv_conf)] {
        fs::write(etc.join(name), text).expect("written");
    }
    beside_in(uid, world, program.path(), &etc, body)
}

fn beside_in(
    uid: u32,
    world: &World,
    program: &Path,
    etc: &Path,
    body: impl FnOnce(&crate::world::Inside, u32) + Send,
) -> ExitStatus {
    let (started, pid) = mpsc::channel();
    for name in ["nsswitch.conf", "passwd"] {
        fs::copy(Path::new("/etc").join(name), etc.join(name)).expect("copied");
    }
    outside(|| {
        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(etc).arg("/etc");
        let private = Command::new("mount")
            .args(["--make-rprivate", "/"])
            .status();
        assert!(private.expect("mount starts").success());
        assert!(mount.status().expect("mount starts").success());
        let asked = http_server(PUBLIC, 80);
        let serve = move |theirs| {
            let mut child = start(program, theirs, uid);
            started.send(child.id()).expect("somebody waits");
            child.wait().expect("it ends")
        };
        let ended = sandbox(world, serve, move |inside| {
            body(inside, pid.recv().expect("it starts"));
        });
        drop(asked);
        ended
    })
}

#[test]
fn it_serves_with_nothing_in_hand_and_ends_when_its_launcher_does() {
    for uid in [0, USER] {
        let ended = beside(uid, &World::new(OPEN), |_, pid| {
            assert_eq!(curl(&["http://allowed.example/"]).0, "200");
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let field = |name: &str| {
                let lines = status.lines();
                let field = lines.filter_map(|line| line.strip_prefix(name)).next();
                field.expect("it is there").trim().to_owned()
            };
            assert_eq!(field("NoNewPrivs:"), "1");
            assert_eq!(field("Seccomp:"), "2");
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
            }
            // Root's is nobody to whom anything belongs.
            let own = if uid == 0 { ROOTS } else { uid };
            for ids in ["Uid:", "Gid:"] {
                let ids = field(ids);
                assert!(
                    ids.split_whitespace().all(|id| id == own.to_string()),
                    "{ids}"
                );
            }
            assert_eq!(field("Groups:"), "");
            // What cannot be dumped belongs to root, whoever runs it.
            assert_eq!(
                fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(),
                0
            );
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            let core = limits
                .lines()
                .find(|line| line.starts_with("Max core file size"));
            assert_eq!(core.unwrap().split_whitespace().nth(4), Some("0"));
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
                let file = fs::read_link(entry.unwrap().path()).unwrap_or_default();
                let file = file.to_string_lossy();
                let own = ["socket:", "anon_inode:", "/dev/null", "/dev/urandom"];
                assert!(
                    file.is_empty() || own.iter().any(|own| file.starts_with(own)),
                    "{file}"
                );
            }
        });
        assert!(ended.success(), "{ended}");
    }
}

#[test]
fn where_it_is_killed_connections_are_refused() {
    let ended = beside(0, &World::new(OPEN), |inside, pid| {
        let address = inside.address("allowed.example");
        aegis_sys::process::kill(pid as i32, libc::SIGKILL).unwrap();
        // Until the kernel has closed what it had.
        while std::net::TcpStream::connect((address, 80)).is_ok() {}
    });
    assert_eq!(ended.signal(), Some(libc::SIGKILL));
}

#[test]
fn it_dies_with_the_process_that_started_it() {
    let program = program();
    let (ours, theirs) = socket::pair().unwrap();
    order(&ours, &nothing_to_serve(), None, &[]);
    // To the kernel, the parent is the thread that started it.
    let mut child = std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            let child = start(program.path(), theirs, 0);
            ready(&ours);
            child
        });
        starter.join().unwrap()
    });
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

fn nothing_to_serve() -> aegis_egress::protocol::Setup {
    let mut setup = World::new(OPEN).setup();
    setup.listeners.clear();
    setup
}

/// What is said to a launcher whose first message is this.
fn failure(message: &[u8], fds: &[&OwnedFd]) -> String {
    let (ours, theirs) = socket::pair().unwrap();
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    // First what is sent to have it made ready, and then the sockets, if there are to be any.
    let (first, sockets) = fds.split_at(fds.len().min(1));
    socket::send(ours.as_fd(), message, first).unwrap();
    socket::send(ours.as_fd(), &encode(&Order::Serve {}), sockets).unwrap();
    let error = serve(theirs, Limits::default(), Files::default())
        .unwrap_err()
        .to_string();
    let mut event = told(&ours);
    if let Some(Event::Prepared { .. }) = event {
        event = told(&ours);
    }
    assert_eq!(event, Some(Event::Failed { why: error.clone() }));
    assert_eq!(told(&ours), None);
    error
}

#[test]
fn what_cannot_be_served_is_told_and_nothing_of_it_is_served() {
    let order = encode(&Order::Prepare {});
    let sealed = |json: &str| sealed("setup", json.as_bytes()).unwrap();
    let setup =
        |setup: &aegis_egress::protocol::Setup| sealed(&serde_json::to_string(setup).unwrap());
    let good = setup(&nothing_to_serve());
    assert!(failure(b"{\"serve\": 1}", &[&good]).contains("launcher"));
    assert!(failure(&order, &[]).contains("no setup"));
    assert!(failure(&encode(&Order::Serve {}), &[&good]).contains("no setup first"));
    assert!(failure(&order, &[&good, &good]).contains("names 0 sockets, and sends 1"));
    assert!(failure(&order, &[&sealed("{}")]).contains("missing field"));
    // It could be changed after it was read.
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    assert!(failure(&order, &[&file]).contains("sealed"));
    let mut bad = nothing_to_serve();
    bad.policy[0].network_egress[0].hosts = ["Not.A.Host".to_owned()].into();
    assert!(failure(&order, &[&setup(&bad)]).contains("capital letters"));
    let mut udp = nothing_to_serve();
    let protocol = Protocol::Udp;
    udp.listeners = vec![Listener { port: 53, protocol }];
    assert!(failure(&order, &[&setup(&udp), &file]).contains("using a listening socket"));
}

#[test]
fn who_starts_it_by_hand_is_told_what_it_is() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aegis-broker"));
        let output = command.args(arguments).stdin(Stdio::null()).output();
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), said)
    };
    let (code, [out, error]) = run(&["--help"]);
    assert!(code == Some(0) && out.contains("`aegis-run` starts it") && error.is_empty());
    let (code, [out, error]) = run(&["--version"]);
    assert!(code == Some(0) && error.is_empty());
    assert_eq!(out, format!("aegis-broker {}\n", env!("CARGO_PKG_VERSION")));
    for arguments in [&[][..], &["--no-such"], &["--help", "more"]] {
        let (code, [out, error]) = run(arguments);
        assert!(code == Some(125) && out.is_empty(), "{arguments:?}");
        assert!(error.contains("`aegis-run` starts it"), "{error}");
    }
}

/// What all names that a name server is asked for have: one address, so many times, over TCP where it is too much for a datagram.
fn name_server(times: u16) {
    let answer = move |query: &[u8], is_datagram: bool| {
        // An id, flags, four counts; the one question ends in its type and class.
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let is_a = query[end - 3] == 1;
        let is_cut = is_datagram && is_a && times > 20;
        let count = if is_a && !is_cut { times } else { 0 };
        let mut answer = query[..2].to_vec();
        answer.extend([if is_cut { 0x83 } else { 0x81 }, 0x80, 0, 1]);
        answer.extend(count.to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(&query[12..end]);
        let record = [
            &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4],
            &PUBLIC.octets()[..],
        ];
        answer.extend(record.concat().repeat(count.into()));
        answer
    };
    let datagrams = UdpSocket::bind("127.0.0.1:53").unwrap();
    let streams = TcpListener::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 4096];
        while let Ok((length, from)) = datagrams.recv_from(&mut packet) {
            let _ = datagrams.send_to(&answer(&packet[..length], true), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in streams.incoming().flatten() {
            std::thread::spawn(move || {
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut query = vec![0; u16::from_be_bytes(length).into()];
                    stream.read_exact(&mut query).unwrap();
                    let answer = answer(&query, false);
                    let length = (answer.len() as u16).to_be_bytes();
                    let _ = stream.write_all(&[&length[..], &answer].concat());
                }
            });
        }
    });
}

#[test]
fn answers_of_a_hostile_name_server_are_not_kept() {
    const NAMES: usize = 200;
    let mut world = World::new(OPEN);
    world.destinations = vec!["http://*.wild.example"];
    world.resolv_conf = "nameserver 127.0.0.1\n".to_owned();
    let ended = beside(0, &world, |inside, pid| {
        // As many addresses as there is room for in a message.
        on_the_host(pid, || name_server(4_090));
        for n in 0..NAMES {
            let (status, body, output) = curl(&[&format!("http://{n}.wild.example/")]);
            assert_eq!(status, "200", "{body} {output:?}");
            assert!(inside.ruling().1);
        }
        let most = memory(pid, "VmHWM:");
        assert!(most < 40_000, "{most} kB");
    });
    assert!(ended.success(), "{ended}");
}

/// Runs something in the network of a process, in a thread of its own.
fn on_the_host(pid: u32, body: impl FnOnce() + Send) {
    let network = fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    in_network_of(&network, body);
}

/// Renames a file where a process sees it: inside, the other one may be a mount point.
fn replace(pid: u32, file: &Path, other: &Path) {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &pid.to_string(), "mv", "-T"]);
    assert!(command.args([file, other]).status().unwrap().success());
}

#[test]
fn it_reads_no_files_but_those_by_which_names_are_resolved() {
    for uid in [0, USER] {
        let program = program();
        let at = |name: &str| program.path().join(name);
        for name in ["etc", "run", "elsewhere"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("etc/hosts"), "").unwrap();
        let text = "nameserver 127.0.0.1\n";
        for name in ["run/resolv.conf", "run/next", "elsewhere/resolv.conf"] {
            fs::write(at(name), text).unwrap();
        }
        symlink(at("run/resolv.conf"), at("etc/resolv.conf")).unwrap();
        let mut world = World::new(OPEN);
        world.destinations = vec!["http://*.wild.example"];
        let ended = beside_in(uid, &world, program.path(), &at("etc"), |_, pid| {
            on_the_host(pid, || name_server(1));
            let get = |name: &str| curl(&[&format!("http://{name}.wild.example/")]);
            assert_eq!(get("a").0, "200");
            // One that takes its place is read.
            replace(pid, &at("run/next"), &at("run/resolv.conf"));
            assert_eq!(get("b").0, "200");
            symlink(at("elsewhere/resolv.conf"), at("etc/next")).unwrap();
            replace(pid, &at("etc/next"), &at("etc/resolv.conf"));
            let (status, body, _) = get("c");
            assert_eq!(status, "502");
            assert!(body.contains("cannot be read: Permission denied"), "{body}");
        });
        assert!(ended.success(), "{ended}");
    }
}

/// The first message of TLS to `allowed.example`, long.
const HELLO: &str = "
import ssl, sys
context = ssl.create_default_context()
context.set_alpn_protocols(['x' * 250] * 235)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(incoming, outgoing, server_hostname='allowed.example')
try: tls.do_handshake()
except ssl.SSLWantReadError: pass
sys.stdout.write(outgoing.read().hex())
";

#[test]
fn a_thousand_connections_take_little_memory_whatever_they_began_with() {
    const CONNECTIONS: usize = 1_000;
    let hello = python(HELLO, &[]);
    let hello: Vec<u8> = (0..hello.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hello[at..at + 2], 16).unwrap())
        .collect();
    assert!(hello.len() > 58_000);
    let ended = beside(0, &World::new(OPEN), |inside, pid| {
        // Whatever comes after that message is not looked at.
        on_the_host(pid, || echo_server(PUBLIC, 443));
        let address = inside.address("allowed.example");
        let before = memory(pid, "VmRSS:");
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect((address, 443)).unwrap();
            stream.write_all(&hello).unwrap();
            assert!(inside.ruling().1);
            let mut echoed = vec![0; hello.len()];
            stream.read_exact(&mut echoed).unwrap();
            open.push(stream);
        }
        let used = memory(pid, "VmRSS:");
        // The program itself is larger where it is not optimised.
        assert!(
            used - before < 32_000,
            "{used} kB, of which {before} before"
        );
    });
    assert!(ended.success(), "{ended}");
}

/// So many kB of a process.
fn memory(pid: u32, which: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let used = status.lines().find_map(|line| line.strip_prefix(which));
    used.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}
