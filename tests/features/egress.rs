//! Hosts by name: what a profile names and the policy lets through is reached, and nothing else, by programs as they are.

use std::io::{Read, Write};
use std::net::TcpListener;
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
        let script = "
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = ('served ' + self.path + ' of ' + self.headers['Host'] + '\\n').encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
";
        let mut server = Command::new("python3")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = Vec::new();
        let output = server.stdout.as_mut().expect("piped");
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            output.read_exact(&mut byte).expect("a line");
            line.push(byte[0]);
        }
        let port = String::from_utf8_lossy(&line).trim().parse();
        let port = port.expect("a port");
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
        let (output, report) = run(workspace, &[named.clone()], &script);
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

/// By its address, by another name in the request, by a name that leads inside, by a port that nobody named, by datagrams.
#[test]
fn there_is_no_other_way_out() {
    with_hosts(|workspace| {
        let web = Web::new();
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        silent.set_nonblocking(true).expect("a socket");
        let port = web.port;
        let closed = silent.local_addr().expect("an address").port();
        let script = format!(
            "
curl -sS -m 20 http://127.0.0.1:{port}/ && echo
curl -sS -m 20 -H 'Host: other.test:{port}' http://web.test:{port}/ && echo
curl -sS -m 20 http://rebound.test:{port}/ && echo
curl -sS -m 20 -H 'Host: other.test:{port}' http://web.test:{port}/a http://web.test:{port}/b
curl -sS -m 20 http://web.test:{closed}/ || echo refused
curl -sS -m 20 --proxy http://web.test:{port} -p https://web.test:{port}/ || echo no tunnel
python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((\"127.0.0.1\", {closed}))
try: s.send(b\"x\"); s.send(b\"x\"); print(\"sent\")
except OSError as e: print(\"no datagrams\")
'
grep -q nameserver /etc/resolv.conf && echo own names"
        );
        let named = [
            format!("http://web.test:{port}"),
            format!("http://rebound.test:{port}"),
        ];
        let (output, _) = run(workspace, &named, &script);
        let said = text(&output);
        assert!(!said.contains("served"), "{said}");
        for word in ["refused", "no tunnel", "no datagrams", "own names"] {
            assert!(printed(&output).contains(word), "{word}: {said}");
        }
        assert!(printed(&output).contains("127.0.0.1"), "{said}");
        assert!(silent.accept().is_err(), "{said}");
        holds_up(workspace, &place(workspace));
    });
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
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let mut server = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-www",
                "-accept",
                &format!("127.0.0.1:{port}"),
            ])
            .args(["-key", &key, "-cert", &certificate])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        host::eventually("the server", || {
            let served = std::net::TcpStream::connect(("127.0.0.1", port));
            served.err().into_iter().collect::<Vec<_>>()
        });
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
        let _ = server.kill();
        let _ = server.wait();
        let (output, said) = (&ran.output, ran.told());
        assert!(
            printed(&output).starts_with("200 another server\n"),
            "{said}"
        );
        assert!(printed(&output).ends_with("no TLS\n"), "{said}");
        assert!(said.contains("TLS names another server"), "{said}");
    });
}

/// Nobody else holds the sockets: connections are refused at once, and the run says so.
#[test]
fn a_broker_that_is_killed_leaves_nothing_open() {
    host::in_private_mounts(|| {
        let workspace = Workspace::new(User::Root);
        let hosts = workspace.write("hosts", HOSTS);
        host::bind(&hosts, "/etc/hosts".as_ref());
        workspace.policy(&format!("{EVERYTHING}\n{RULES}"));
        let profile = profile(&workspace, &["http://web.test:8080".to_owned()]);
        let script = "echo up; read -r line; curl -sS http://web.test:8080/ || echo status $?";
        let mut command = workspace.aegis(&profile, &["sh", "-c", script]);
        let mut run = host::started(command.stderr(Stdio::piped()), "up");
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id()));
        let children = children.expect("it runs");
        let is_broker = |pid: &&str| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "aegis-broker")
        };
        let broker = children.split_whitespace().find(is_broker);
        let broker: i32 = broker.expect("a broker").parse().expect("a number");
        // SAFETY: no pointers.
        unsafe { libc::kill(broker, libc::SIGKILL) };
        let input = run.stdin.as_mut().expect("piped");
        input.write_all(b"\n").expect("it reads");
        let output = run.wait_with_output().expect("it ends");
        let said = text(&output);
        // 6 or 7: the name is not found, or the connection is refused.
        let ended = printed(&output);
        assert!(
            ended.contains("status 6") || ended.contains("status 7"),
            "{said}"
        );
        assert!(said.contains("the egress broker has ended"), "{said}");
    });
}

/// What this version does not do is refused before anything starts.
#[test]
fn what_the_broker_cannot_do_is_refused_by_line() {
    let workspace = Workspace::new(User::Root);
    for (line, why) in [
        ("net.outbound: [\"udp://web.test:123\"]", "no datagrams"),
        (
            "net.outbound: [\"tcp://web.test:53\"]",
            "where names are looked up",
        ),
        (
            "net.outbound: [\"https://web.test\"], net.listen: [8080]",
            "publishes no port",
        ),
        (
            "net.outbound: [\"https://web.test\"]}, limits: {net: 1M/s",
            "not shaped",
        ),
    ] {
        let profile = workspace.profile(
            &format!("aegis: 1\nname: n\nextends: [shell]\ncapabilities: {{{line}}}\n")
                .replace("}, limits", "}\nlimits"),
        );
        let output = workspace.aegis(&profile, &["true"]).output();
        let output = output.expect("aegis-run starts");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(125), "{line}: {said}");
        assert!(said.contains(why), "{line}: {said}");
        assert!(said.contains("profile.yaml:"), "{line}: {said}");
    }
}
