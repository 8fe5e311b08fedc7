//! The program `aegis-broker`: what it gives up, when it ends, and what it does not take.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;

use aegis_egress::protocol::{Event, Listener, Order, Protocol, encode};
use aegis_egress::{Files, Limits, serve};
use aegis_sys::{memory, socket};

use crate::world::{OPEN, PUBLIC, World, curl, http_server, listen, order, outside, sandbox, told};

/// A user whom nothing on this host belongs to.
const USER: u32 = 20_000;

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

/// Runs `body` beside the program; returns how that ended.
fn beside(uid: u32, body: impl FnOnce(&crate::world::Inside, u32) + Send) -> ExitStatus {
    let program = program();
    let (started, pid) = mpsc::channel();
    let hosts = program.path().join("hosts");
    fs::write(&hosts, format!("{PUBLIC} allowed.example\n")).expect("written");
    outside(|| {
        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(&hosts).arg("/etc/hosts");
        let private = Command::new("mount")
            .args(["--make-rprivate", "/"])
            .status();
        assert!(private.expect("mount starts").success());
        assert!(mount.status().expect("mount starts").success());
        let asked = http_server(PUBLIC, 80);
        let path = program.path();
        let serve = move |theirs| {
            let mut child = start(path, theirs, uid);
            started.send(child.id()).expect("somebody waits");
            child.wait().expect("it ends")
        };
        let ended = sandbox(&World::new(OPEN).setup(), serve, move |inside| {
            body(inside, pid.recv().expect("it starts"));
        });
        drop(asked);
        ended
    })
}

#[test]
fn it_serves_with_nothing_in_hand_and_ends_when_its_launcher_does() {
    for uid in [0, USER] {
        let ended = beside(uid, |_, pid| {
            assert_eq!(curl(&["http://allowed.example/"]).0, "200");
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let field = |name: &str| {
                let lines = status.lines();
                let field = lines.filter_map(|line| line.strip_prefix(name)).next();
                field.expect("it is there").trim().to_owned()
            };
            assert_eq!(field("NoNewPrivs:"), "1");
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                assert_eq!(u64::from_str_radix(&field(set), 16), Ok(0), "{set}");
            }
            assert_eq!(
                field("Uid:").split_whitespace().next(),
                Some(&*uid.to_string())
            );
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
    let ended = beside(0, |inside, pid| {
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
    order(&ours, &nothing_to_serve(), &[]);
    // To the kernel, the parent is the thread that started it.
    let mut child = std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            let child = start(program.path(), theirs, 0);
            assert_eq!(told(&ours), Some(Event::Ready {}));
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
    socket::send(ours.as_fd(), message, &fds).unwrap();
    let error = serve(theirs, Limits::default(), Files::default())
        .unwrap_err()
        .to_string();
    assert_eq!(told(&ours), Some(Event::Failed { why: error.clone() }));
    assert_eq!(told(&ours), None);
    error
}

#[test]
fn what_cannot_be_served_is_told_and_nothing_of_it_is_served() {
    let order = encode(&Order::Serve {});
    let sealed = |json: &str| memory::sealed("setup", json.as_bytes()).unwrap();
    let setup =
        |setup: &aegis_egress::protocol::Setup| sealed(&serde_json::to_string(setup).unwrap());
    let good = setup(&nothing_to_serve());
    assert!(failure(b"{\"serve\": 1}", &[&good]).contains("launcher"));
    assert!(failure(&order, &[]).contains("no setup"));
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
    udp.listeners = vec![Listener { port: 0, protocol }];
    let sockets = listen(&udp.listeners[0]);
    assert!(failure(&order, &[&setup(&udp), &sockets]).contains("not passed on in this version"));
}
