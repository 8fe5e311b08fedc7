//! `net.listen` in a private network: the port is published on the host's loopback, and nothing else of the sandbox is reached.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use aegis_tests::audit_log::{aegis, holds_up, of_type, place};
use aegis_tests::{EVERYTHING, USERS, User, Workspace, host, program, text};
use serde_json::Value;

const LOOPBACKS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Serves at these ports, at these addresses, tells what it was asked, and ends with its standard input. What it has open it says
/// before.
const SERVER: &str = "
import os, select, socket, sys, threading
def serve(address, port):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port)); listener.listen()
    def loop():
        while True:
            connection, peer = listener.accept()
            connection.sendall(b'inside %d: ' % port + connection.recv(100)); connection.close()
    threading.Thread(target=loop, daemon=True).start()
sockets = [name for name in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + name) and 'socket' in os.readlink('/proc/self/fd/' + name)]
for at in sys.argv[1:]:
    address, port = at.rsplit('/', 1)
    serve(address, int(port))
print('up', sockets, flush=True)
sys.stdin.read()
";

/// What the policy lets through.
const RULE: &str = "network-egress: [{id: ours, hosts: [web.test], verdict: allow}]\n";

fn profile(workspace: &Workspace, capabilities: &str) -> PathBuf {
    workspace.profile(&format!(
        "aegis: 1\nname: published\nextends: [shell, python]\ncapabilities: {{{capabilities}}}\n"
    ))
}

/// A run that serves until it is ended.
struct Served {
    run: Child,
    report: PathBuf,
}

impl Served {
    fn start(workspace: &Workspace, capabilities: &str, at: &[&str]) -> Self {
        let report = workspace.outside().join("report.json");
        let mut command = workspace.command(program("aegis-run"));
        (command.arg("--audit").arg(place(workspace)))
            .arg("--report")
            .arg(&report)
            .arg("--profile")
            .arg(profile(workspace, capabilities))
            .args(["--", "python3", "-c", SERVER])
            .args(at);
        let run = host::started(&mut command, "up []");
        Self { run, report }
    }

    fn end(mut self) -> Value {
        drop(self.run.stdin.take());
        assert!(self.run.wait().expect("it ends").success());
        serde_json::from_slice(&std::fs::read(&self.report).expect("a report")).expect("JSON")
    }
}

/// What is answered to `hello`.
fn answer(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at)?;
    let mut said = String::new();
    stream.write_all(b"hello")?;
    stream.read_to_string(&mut said)?;
    Ok(said)
}

#[test]
fn what_listens_inside_is_reached_from_the_host_at_that_port_alone() {
    for user in USERS {
        for outbound in ["", ", net.outbound: [\"https://web.test\"]"] {
            host::in_private_network(|| {
                let workspace = Workspace::new(user);
                workspace.policy(&format!("{EVERYTHING}\n{RULE}"));
                let capabilities = format!("net.listen: [8080]{outbound}");
                let at = ["127.0.0.1/8080", "0.0.0.0/8081"];
                let served = Served::start(&workspace, &capabilities, &at);
                for loopback in LOOPBACKS {
                    for _ in 0..3 {
                        let said = answer((loopback, 8080).into()).expect("served");
                        assert_eq!(said, "inside 8080: hello", "{user:?} {outbound}");
                    }
                    assert!(answer((loopback, 8081).into()).is_err());
                }
                let report = served.end();
                let traffic = &report["traffic"][0];
                assert_eq!(traffic["to"], "net.listen 8080", "{report}");
                assert_eq!(traffic["times"], 6, "{report}");
                assert_eq!(traffic["received"], 6 * "hello".len(), "{report}");
                let sent = 6 * "inside 8080: hello".len();
                assert_eq!(traffic["sent"], sent, "{report}");
                assert_eq!(traffic["failed"], 0, "{report}");
                let ended = of_type(&place(&workspace), "run.end");
                assert_eq!(ended[0]["detail"]["traffic"], report["traffic"]);
                holds_up(&workspace, &place(&workspace));
                assert!(answer((Ipv4Addr::LOCALHOST, 8080).into()).is_err());
            });
        }
    }
}

/// Ports of this network that are listened at.
fn listening() -> BTreeSet<(IpAddr, u16)> {
    let output = Command::new("ss")
        .args(["-Hltn"])
        .output()
        .expect("ss starts");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let local = lines
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    let address = |text: &str| {
        let at: SocketAddr = text.parse().ok()?;
        Some((at.ip(), at.port()))
    };
    local.filter_map(address).collect()
}

#[test]
fn nothing_is_opened_on_the_host_but_the_loopback_at_the_port_and_only_while_it_runs() {
    host::in_private_network(|| {
        let workspace = Workspace::new(User::Ordinary);
        let served = Served::start(&workspace, "net.listen: [8080, 8082]", &["::1/8080"]);
        let all = [8080, 8082].map(|port| LOOPBACKS.map(|loopback| (loopback, port)));
        assert_eq!(listening(), all.into_iter().flatten().collect());
        // What listens at the other loopback inside is reached, and where nobody listens the connection is reset.
        let said = answer((Ipv4Addr::LOCALHOST, 8080).into()).expect("served");
        assert_eq!(said, "inside 8080: hello");
        assert!(answer((Ipv4Addr::LOCALHOST, 8082).into()).is_err());
        let listed = aegis(&workspace, &["ps", "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        assert_eq!(listed[0]["published"], serde_json::json!([8080, 8082]));
        let shown = text(&aegis(
            &workspace,
            &["show", listed[0]["id"].as_str().expect("text")],
        ));
        assert!(shown.contains("8080 8082"), "{shown}");
        let report = served.end();
        assert_eq!(report["traffic"][1]["failed"], 1, "{report}");
        assert_eq!(listening(), BTreeSet::new());
    });
}

/// A supervisor that is killed leaves nothing open.
#[test]
fn a_supervisor_that_is_killed_leaves_no_port_open() {
    host::in_private_network(|| {
        let workspace = Workspace::new(User::Ordinary);
        let mut served = Served::start(&workspace, "net.listen: [8080]", &["127.0.0.1/8080"]);
        served.run.kill().expect("it runs");
        served.run.wait().expect("it ends");
        host::eventually("a port", || listening().into_iter().collect());
    });
}

/// The command's own loopback is another: a port of the host's is not reached by publishing it, nor one's own from there.
#[test]
fn the_command_reaches_nothing_of_the_host_through_what_is_published() {
    for user in USERS {
        host::in_private_network(|| {
            let workspace = Workspace::new(user);
            let theirs = TcpListener::bind((Ipv4Addr::LOCALHOST, 8082)).expect("a port");
            theirs.set_nonblocking(true).expect("a socket");
            let script = "
import socket
for port in (8080, 8082):
    for address in ('127.0.0.1', '::1', '192.0.0.8'):
        try: socket.create_connection((address, port), 5); print('connected', address, port)
        except OSError as error: pass
print('done')
";
            let profile = profile(&workspace, "net.listen: [8080]");
            let output = workspace
                .aegis(&profile, &["python3", "-c", script])
                .output();
            let output = output.expect("aegis-run starts");
            let printed = String::from_utf8_lossy(&output.stdout);
            assert_eq!(printed, "done\n", "{}", text(&output));
            assert!(theirs.accept().is_err());
        });
    }
}

fn refused(workspace: &Workspace, capabilities: &str) -> String {
    let mut command = workspace.command(program("aegis-run"));
    (command
        .arg("--profile")
        .arg(profile(workspace, capabilities)))
    .args(["--", "sh", "-c", "echo ran"])
    .stdin(Stdio::null());
    let output = command.output().expect("aegis-run starts");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert_eq!(output.stdout, b"", "{said}");
    said
}

#[test]
fn a_port_that_cannot_be_had_is_told_and_nothing_is_started() {
    for user in USERS {
        host::in_private_network(|| {
            let workspace = Workspace::new(user);
            for loopback in LOOPBACKS {
                let theirs = TcpListener::bind((loopback, 8080)).expect("a port");
                let said = refused(&workspace, "net.listen: [8080]");
                let at = SocketAddr::from((loopback, 8080));
                assert!(
                    said.contains(&format!("cannot be published at {at}")),
                    "{said}"
                );
                assert!(said.contains("end what listens there"), "{said}");
                drop(theirs);
            }
            let low = "net.listen: [81]";
            if user == User::Ordinary {
                let said = refused(&workspace, low);
                assert!(said.contains("name a higher one"), "{said}");
                return;
            }
            let served = Served::start(&workspace, low, &["127.0.0.1/81"]);
            let said = answer((Ipv4Addr::LOCALHOST, 81).into());
            assert_eq!(said.expect("served"), "inside 81: hello");
            served.end();
        });
    }
}

#[test]
fn ports_that_nobody_inside_could_listen_at_are_refused_by_line() {
    let workspace = Workspace::new(User::Root);
    for (capabilities, why) in [
        (
            "net.listen: [8080], net.outbound: [\"http://web.test:8080\"]",
            "`net.outbound` names that port of web.test",
        ),
        (
            "net.listen: [443], net.outbound: [\"tcp://web.test:5432\"]",
            "serves that port inside",
        ),
        (
            "net.listen: [53], net.outbound: [\"tcp://web.test:5432\"]",
            "serves that port inside",
        ),
        (
            "net.listen: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]",
            "more than 16 published ports",
        ),
    ] {
        let said = refused(&workspace, capabilities);
        assert!(said.contains(why), "{capabilities}: {said}");
        assert!(said.contains("profile.yaml:4:"), "{capabilities}: {said}");
    }
}

#[test]
fn the_policy_is_asked_about_each_port_and_the_plan_shows_it() {
    host::in_private_network(|| {
        let workspace = Workspace::new(User::Ordinary);
        let mut command = workspace.command(program("aegis-run"));
        command.args(["--explain", "--profile"]);
        let capabilities = "net.listen: [8080], net.outbound: [\"https://web.test\"]";
        command.arg(profile(&workspace, capabilities)).arg("true");
        let explained = text(&command.output().expect("aegis-run starts"));
        let mut lines = explained.lines().rev();
        let found = lines.find(|line| line.contains("publish TCP port 8080"));
        let from = found.and_then(|_| lines.next());
        assert!(
            from.is_some_and(|from| from.contains("profile.yaml:4")),
            "{explained}"
        );
        let less =
            format!("{EVERYTHING}\n{RULE}").replace("match: [1-65535]", "match: [8081-65535]");
        assert!(less.contains("8081-65535"));
        workspace.policy(&less);
        let said = refused(&workspace, "net.listen: [8080]");
        assert!(said.contains("net.listen"), "{said}");
        assert!(listening().is_empty());
    });
}
