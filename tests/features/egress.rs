//! Hosts by name: what a profile names and the policy lets through is reached, and nothing else, by programs as they are.

mod bandwidth;
mod datagrams;
mod opened;
mod secrets;
mod tls;

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use aegis_tests::audit_log::{holds_up, of_type, place};
use aegis_tests::outcome::Ran;
use aegis_tests::{EVERYTHING, USERS, User, Workspace, host, program, text};
use serde_json::Value;

/// The names that the host knows, all of its own loopback.
const HOSTS: &str = "127.0.0.1 web.test\n127.0.0.1 other.test\n127.0.0.1 rebound.test\n";

/// What the policy lets through: two names that may lead inside, and one that may not.
const RULES: &str = "network-egress:
  - {id: ours, hosts: [web.test, other.test], private-addresses: true, verdict: allow}
  - {id: public, hosts: [rebound.test], verdict: allow}
";

/// The host knows [`HOSTS`], and the policy lets two of them through.
fn with_hosts(body: impl Fn(&Workspace) + Send + Sync) {
    for user in USERS {
        host::in_private_mounts(|| {
            let workspace = Workspace::new(user);
            let hosts = workspace.write("hosts", HOSTS);
            host::bind(&hosts, "/etc/hosts".as_ref());
            workspace.policy(&format!("{EVERYTHING}\n{RULES}"));
            body(&workspace);
        });
    }
}

/// A web server of the host's, which answers with its path, and ends with the value.
struct Web {
    port: u16,
    server: Child,
}

impl Web {
    fn new() -> Self {
        Self::with(&[])
    }

    /// `tls`: the files of its certificate and its key.
    fn with(tls: &[&str]) -> Self {
        let script = "
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = ('served ' + self.path + ' of ' + self.headers['Host'] + '\\n').encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_CONNECT(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
if sys.argv[1:]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";
        let mut server = Command::new("python3")
            .args(["-c", script])
            .args(tls)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = server.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("a port");
        Self { port, server }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A profile that names these.
fn profile(workspace: &Workspace, destinations: &[String]) -> std::path::PathBuf {
    workspace.profile(&format!(
        "aegis: 1\nname: named\nextends: [shell, python]\ncapabilities: {{net.outbound: {destinations:?}, shell.exec: [curl]}}\n"
    ))
}

/// Runs a script of the shell under a profile that names these, recorded and reported.
fn run(
    workspace: &Workspace,
    destinations: &[String],
    script: &str,
) -> (std::process::Output, Value) {
    let report = workspace.outside().join("report.json");
    let mut command = workspace.command(program("aegis-run"));
    (command.arg("--audit").arg(place(workspace)))
        .arg("--report")
        .arg(&report)
        .arg("--profile")
        .arg(profile(workspace, destinations))
        .args(["--", "sh", "-c", script]);
    let output = command.output().expect("aegis-run starts");
    let report = std::fs::read(&report).map_or(Value::Null, |json| {
        serde_json::from_slice(&json).expect("JSON")
    });
    (output, report)
}

fn printed(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_the_profile_names_is_reached_and_each_request_is_recorded() {
    with_hosts(|workspace| {
        let web = Web::new();
        let port = web.port;
        let script = format!(
            "curl -sS http://web.test:{port}/one http://web.test:{port}/two; python3 -c 'import urllib.request as u; print(u.urlopen(\"http://web.test:{port}/three\").read().decode())'"
        );
        let (output, report) = run(workspace, &[format!("http://web.test:{port}")], &script);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        for path in ["one", "two", "three"] {
            let line = format!("served /{path} of web.test:{port}");
            assert!(said.contains(&line), "{line}: {said}");
        }
        assert_eq!(report["denials"], serde_json::json!([]), "{said}");
        assert_eq!(
            report["traffic"][0]["to"],
            format!("http://web.test:{port}")
        );
        assert_eq!(report["traffic"][0]["times"], 3, "{report}");
        let received = report["traffic"][0]["received"].as_u64();
        let printed = printed(&output).len() as u64;
        assert!(received >= Some(printed - 1), "{report}");
        let ended = of_type(&place(workspace), "run.end");
        assert_eq!(ended[0]["detail"]["traffic"], report["traffic"]);
        let records = of_type(&place(workspace), "net.req");
        let asked: Vec<&Value> = records.iter().map(|r| &r["request"]["what"]).collect();
        let paths: Vec<&str> = asked
            .iter()
            .filter_map(|what| what["path"].as_str())
            .collect();
        assert_eq!(paths, ["/one", "/two", "/three"], "{asked:?}");
        for (record, what) in records.iter().zip(&asked) {
            assert_eq!(what["host"], "web.test");
            assert_eq!(what["address"], "127.0.0.1");
            assert_eq!(record["decision"]["verdict"], "allow");
            assert_eq!(record["decision"]["rules"], serde_json::json!(["ours"]));
        }
        holds_up(workspace, &place(workspace));
    });
}

#[test]
fn what_it_does_not_name_is_refused_with_the_line_that_allows_it() {
    with_hosts(|workspace| {
        let web = Web::new();
        let port = web.port;
        let script = format!("curl -sS -w '%{{http_code}}' http://other.test:{port}/; exit 1");
        let named = format!("http://web.test:{port}");
        let (output, report) = run(workspace, std::slice::from_ref(&named), &script);
        let said = text(&output);
        let line = format!("capabilities: {{net.outbound: [\"http://other.test:{port}\"]}}");
        assert!(printed(&output).ends_with("403"), "{said}");
        let body: Value =
            serde_json::from_str(printed(&output).trim_end_matches("403")).expect("JSON");
        assert_eq!(body["allow"], line, "{said}");
        assert!(said.contains("refused by egress broker"), "{said}");
        assert!(said.contains(&line), "{said}");
        assert_eq!(report["denials"][0]["allow"], line, "{report}");
        assert_eq!(report["denials"][0]["evidence"], "broker", "{report}");
        let denied = of_type(&place(workspace), "net.req");
        assert!(
            denied
                .iter()
                .any(|record| record["detail"]["allow"] == line),
            "{denied:?}"
        );
        // The line is one that a profile may have, and it allows it.
        let other = format!("http://other.test:{port}");
        let (output, _) = run(workspace, &[named, other], &script);
        assert!(printed(&output).ends_with("200"), "{}", text(&output));
        holds_up(workspace, &place(workspace));
    });
}

/// By its address, by another name in the request, by a name that leads inside, by a port that nobody named, by a tunnel, by
/// datagrams.
#[test]
fn there_is_no_other_way_out() {
    with_hosts(|workspace| {
        let web = Web::new();
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        silent.set_nonblocking(true).expect("a socket");
        datagrams.set_nonblocking(true).expect("a socket");
        let port = web.port;
        let closed = silent.local_addr().expect("an address").port();
        let open = datagrams.local_addr().expect("an address").port();
        let script = format!(
            "
code() {{ name=$1; shift; curl -sS -m 20 -o /dev/null -w \"$name %{{http_code}}\n\" \"$@\"; }}
code address http://127.0.0.1:{port}/
code host -H 'Host: other.test:{port}' http://web.test:{port}/
code rebound http://rebound.test:{port}/
code undeclared http://web.test/
curl -sS -m 20 -o /dev/null -w 'tunnel %{{http_connect}}\n' --proxy http://web.test:{port} -p https://web.test:{port}/
curl -sS -m 20 http://web.test:{closed}/ || echo \"port $?\"
python3 -c '
import socket
for host in (\"web.test\", \"127.0.0.1\"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((host, {open}))
    try: s.send(b\"x\"); s.send(b\"x\")
    except OSError: pass
'
grep -x 'nameserver 192.0.0.8' /etc/resolv.conf"
        );
        let named = [
            format!("http://web.test:{port}"),
            format!("http://rebound.test:{port}"),
        ];
        let (output, _) = run(workspace, &named, &script);
        let said = text(&output);
        let expected = [
            "address 403",
            "host 403",
            "rebound 403",
            "undeclared 403",
            "tunnel 403",
            "port 7",
            "nameserver 192.0.0.8",
        ];
        let printed = printed(&output);
        assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "{said}");
        assert!(silent.accept().is_err(), "{said}");
        assert!(datagrams.recv(&mut [0]).is_err(), "{said}");
        holds_up(workspace, &place(workspace));
    });
}

/// Those of the host are not shown, even where they are granted; and a directory that would show them is refused.
#[test]
fn the_files_that_names_are_found_by_are_the_sandboxs_own() {
    with_hosts(|workspace| {
        let web = Web::new();
        let profile = |read: &str| {
            workspace.profile(&format!(
                "aegis: 1\nname: named\nextends: [shell]\ncapabilities:\n  net.outbound: [\"http://web.test:{}\"]\n  shell.exec: [curl]\n  files.read: [{read}]\n",
                web.port
            ))
        };
        let script = format!(
            "cat /etc/hosts /etc/resolv.conf; curl -sS http://web.test:{}/",
            web.port
        );
        let words = ["sh", "-c", &script];
        let granted = profile("/etc/hosts, /etc/nsswitch.conf, -/etc/resolv.conf");
        let output = workspace.aegis(&granted, &words).output();
        let said = text(&output.expect("aegis-run starts"));
        assert!(said.contains("nameserver 192.0.0.8"), "{said}");
        assert!(said.contains("served / of web.test"), "{said}");
        assert!(!said.contains("other.test"), "{said}");
        let output = workspace.aegis(&profile("/etc"), &words).output();
        let output = output.expect("aegis-run starts");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(said.contains("profile.yaml:5:"), "{said}");
        assert!(said.contains("/etc is granted whole"), "{said}");
    });
}

/// `localhost` of a profile is the host's, where the policy lets private addresses be reached.
#[test]
fn a_service_of_the_host_is_reached_by_the_name_of_localhost() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let web = Web::new();
        let named = [format!("http://localhost:{}", web.port)];
        let script = format!(
            "for host in localhost 127.0.0.1; do curl -sS -w '%{{http_code}}' http://$host:{}/; done",
            web.port
        );
        workspace.policy(&format!(
            "{EVERYTHING}\nnetwork-egress: [{{id: own, hosts: [localhost], private-addresses: true, verdict: allow}}]\n"
        ));
        let (output, _) = run(&workspace, &named, &script);
        let said = text(&output);
        assert!(
            printed(&output).starts_with("served / of localhost"),
            "{said}"
        );
        workspace.policy(&format!(
            "{EVERYTHING}\nnetwork-egress: [{{id: own, hosts: [localhost], verdict: allow}}]\n"
        ));
        let (output, _) = run(&workspace, &named, &script);
        let said = text(&output);
        assert!(printed(&output).ends_with("403"), "{said}");
        assert!(!printed(&output).contains("served"), "{said}");
    }
}

#[test]
fn tls_passes_through_to_the_server_that_it_names_and_to_no_other() {
    with_hosts(|workspace| {
        let made = |words: &[&str]| {
            let made = Command::new("openssl").args(words).output();
            let made = made.expect("openssl starts");
            assert!(made.status.success(), "{}", text(&made));
        };
        let at = |name: &str| workspace.outside().join(name).display().to_string();
        let (key, certificate) = (at("key.pem"), workspace.work().join("web.pem"));
        let certificate = certificate.display().to_string();
        made(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-days",
            "2",
            "-subj",
            "/CN=web.test",
            "-addext",
            "subjectAltName=DNS:web.test,DNS:other.test",
        ]);
        workspace.own(certificate.as_ref());
        let web = Web::with(&[&certificate, &key]);
        let port = web.port;
        let script = format!(
            "
curl -sS --cacert web.pem -o /dev/null -w '%{{http_code}} ' https://web.test:{port}/
curl -sS --cacert web.pem -o /dev/null --connect-to other.test:{port}:web.test:{port} https://other.test:{port}/ || echo another server
curl -sS -m 20 http://web.test:{port}/ || echo no TLS"
        );
        let profile = workspace.profile(&format!(
            "aegis: 1\nname: named\nextends: [shell]\ncapabilities: {{net.outbound: [\"https://web.test:{port}\"], shell.exec: [curl], files.read: [$WORK]}}\n"
        ));
        let ran = Ran::new(workspace, &profile, &["sh", "-c", &script]);
        let (output, said) = (&ran.output, ran.told());
        assert!(
            printed(output).starts_with("200 another server\n"),
            "{said}"
        );
        assert!(printed(output).ends_with("no TLS\n"), "{said}");
        assert!(said.contains("TLS names another server"), "{said}");
    });
}

/// A run that waits for a line, its broker's pid, and what it says.
fn waiting(workspace: &Workspace) -> (Child, i32) {
    let profile = profile(workspace, &["http://web.test:8080".to_owned()]);
    let script = "echo up; read -r line; curl -sS http://web.test:8080/ || echo status $?";
    let mut command = workspace.command(program("aegis-run"));
    (command
        .arg("--report")
        .arg(workspace.outside().join("report.json")))
    .arg("--profile")
    .arg(profile)
    .args(["--", "sh", "-c", script]);
    let run = host::started(command.stderr(Stdio::piped()), "up");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id()));
    let children = children.expect("it runs");
    let is_broker = |pid: &&str| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim() == "aegis-broker")
    };
    let broker = children.split_whitespace().find(is_broker);
    let broker = broker.expect("a broker").parse().expect("a number");
    (run, broker)
}

/// Nobody else holds the sockets: connections are refused at once, and the run says so.
#[test]
fn a_broker_that_is_killed_leaves_nothing_open() {
    with_hosts(|workspace| {
        let (mut run, broker) = waiting(workspace);
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::kill(broker, libc::SIGKILL) }, 0);
        let mut errors = BufReader::new(run.stderr.take().expect("piped"));
        let mut said = String::new();
        while !said.contains("the egress broker has ended") {
            let length = errors.read_line(&mut said).expect("lines");
            assert_ne!(length, 0, "{said}");
        }
        let input = run.stdin.as_mut().expect("piped");
        input.write_all(b"\n").expect("it reads");
        errors.read_to_string(&mut said).expect("lines");
        let output = run.wait_with_output().expect("it ends");
        // The name is not found, or the connection is refused.
        let printed = printed(&output);
        assert!(
            printed.contains("status 6") || printed.contains("status 7"),
            "{printed} {said}"
        );
    });
}

/// As where it makes a call that its own filter does not have.
#[test]
fn a_broker_that_its_filter_ends_is_told_as_that() {
    with_hosts(|workspace| {
        let (mut run, broker) = waiting(workspace);
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::kill(broker, libc::SIGSYS) }, 0);
        let mut said = String::new();
        let mut errors = BufReader::new(run.stderr.take().expect("piped"));
        while !said.contains("the egress broker has ended") {
            assert_ne!(errors.read_line(&mut said).expect("lines"), 0, "{said}");
        }
        drop(run.stdin.take());
        run.wait().expect("it ends");
        let report = workspace.outside().join("report.json");
        let report = std::fs::read_to_string(report).expect("a report");
        assert!(
            report.contains("that its own filter does not have"),
            "{report}"
        );
    });
}

#[test]
fn a_supervisor_that_is_killed_leaves_no_broker() {
    with_hosts(|workspace| {
        let (mut run, broker) = waiting(workspace);
        run.kill().expect("it runs");
        run.wait().expect("it ends");
        host::eventually("the broker", || {
            let stat = std::fs::read_to_string(format!("/proc/{broker}/stat"));
            let is_left = |stat: &String| !stat.contains(") Z");
            stat.ok().filter(is_left).into_iter().collect::<Vec<_>>()
        });
    });
}

/// What says it serves by another policy than the launcher's, or nothing that can be understood, is not run by.
#[test]
fn a_broker_of_another_version_serves_nobody() {
    let workspace = Workspace::new(User::Root);
    workspace.policy(&format!("{EVERYTHING}\n{RULES}"));
    let alone = workspace.outside().join("aegis-run");
    std::fs::copy(program("aegis-run"), &alone).expect("a copy");
    let profile = profile(&workspace, &["https://web.test".to_owned()]);
    let hash = "0".repeat(64);
    for (answer, why) in [
        (
            format!("{{\"prepared\": {{\"policy\": \"{hash}\"}}}}"),
            "of another version",
        ),
        ("{\"prepared\": {}}".to_owned(), "cannot be set up"),
    ] {
        let script = format!(
            "#!/usr/bin/python3\nimport socket\ns = socket.socket(fileno=0)\ns.recv(65536)\ns.send({answer:?}.encode())\ns.recv(1)\n"
        );
        let stub = workspace.outside().join("aegis-broker");
        std::fs::write(&stub, script).expect("a file");
        std::fs::set_permissions(&stub, Permissions::from_mode(0o755)).expect("a file");
        let mut command = workspace.command(alone.clone());
        command
            .arg("--profile")
            .arg(&profile)
            .args(["--", "sh", "-c", "echo ran"]);
        let output = command.output().expect("aegis-run starts");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(printed(&output), "", "{said}");
    }
}

/// A proxy that is not spoken to in HTTP is refused before the command, and says what to do.
#[test]
fn a_proxy_that_cannot_be_used_is_named_with_what_to_do() {
    with_hosts(|workspace| {
        let profile = profile(workspace, &["https://web.test".to_owned()]);
        let mut command = workspace.aegis(&profile, &["sh", "-c", "echo ran"]);
        command.env("HTTPS_PROXY", "socks5://me:secret@proxy.test:1080");
        let output = command.output().expect("aegis-run starts");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(said.contains("https_proxy"), "{said}");
        assert!(said.contains("name one as http://HOST:PORT"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        assert_eq!(printed(&output), "", "{said}");
    });
}

#[test]
fn a_broker_that_is_not_installed_is_named() {
    let workspace = Workspace::new(User::Root);
    workspace.policy(&format!("{EVERYTHING}\n{RULES}"));
    let alone = workspace.outside().join("aegis-run");
    std::fs::copy(program("aegis-run"), &alone).expect("a copy");
    let profile = profile(&workspace, &["https://web.test".to_owned()]);
    let mut command = workspace.command(alone);
    command.arg("--profile").arg(profile).args(["--", "true"]);
    let output = command.output().expect("aegis-run starts");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("aegis-broker"), "{said}");
    assert!(
        said.contains("install all programs in one directory"),
        "{said}"
    );
}

/// What this version does not do is refused before anything starts.
#[test]
fn what_the_broker_cannot_do_is_refused_by_line() {
    let workspace = Workspace::new(User::Root);
    for (line, why) in [
        (
            "net.outbound: [\"udp://web.test:53\"]",
            "where names are looked up",
        ),
        (
            "net.outbound: [\"tcp://web.test:53\"]",
            "where names are looked up",
        ),
    ] {
        let profile = workspace.profile(&format!(
            "aegis: 1\nname: n\nextends: [shell]\ncapabilities: {{{line}}}\n"
        ));
        let output = workspace.aegis(&profile, &["true"]).output();
        let output = output.expect("aegis-run starts");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(125), "{line}: {said}");
        assert!(said.contains(why), "{line}: {said}");
        assert!(said.contains("profile.yaml:"), "{line}: {said}");
    }
}
