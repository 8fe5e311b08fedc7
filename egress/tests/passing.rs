//! What passes through unread: TLS, whose client names the server, and TCP.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::world::{
    OPEN, OTHER_PUBLIC, PRIVATE, PUBLIC, PUBLIC_V6, World, curl, echo_server, python, rest, say,
    text,
};

/// A server of HTTP in TLS, whose certificate is for two names.
struct TlsServer {
    directory: tempfile::TempDir,
    server: Child,
}

const SERVER: &str = "
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = ('hello to ' + self.headers['Host']).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print('up', flush=True)
server.serve_forever()
";

impl TlsServer {
    fn start(address: Ipv4Addr) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = (directory.path().join("cert"), directory.path().join("key"));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        openssl.args(["-nodes", "-subj", "/CN=test", "-addext"]);
        openssl.arg("subjectAltName=DNS:allowed.example,DNS:other.example");
        openssl
            .arg("-out")
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key);
        let made = openssl.output().expect("openssl starts");
        assert!(made.status.success(), "{made:?}");
        let mut python = Command::new("/usr/bin/python3");
        python
            .args(["-c", SERVER, &address.to_string()])
            .args([&certificate, &key]);
        let mut server = python
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let mut line = String::new();
        let output = server.stdout.as_mut().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "up\n");
        Self { directory, server }
    }

    fn certificate(&self) -> String {
        let path: PathBuf = self.directory.path().join("cert");
        path.display().to_string()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn tls_passes_through_to_the_server_that_its_client_names() {
    World::new(OPEN).run(
        || TlsServer::start(PUBLIC),
        |inside, server| {
            let certificate = server.certificate();
            let (status, body, output) =
                curl(&["--cacert", &certificate, "https://allowed.example/"]);
            assert!(output.status.success(), "{output:?}");
            assert_eq!(
                (status.as_str(), body.as_str()),
                ("200", "hello to allowed.example")
            );
            let (to, through, _) = inside.ruling();
            assert!(through && to.address == Some(PUBLIC.into()) && to.method.is_none());
            let (sent, received, error) = inside.ended();
            assert!(sent > 500 && received > 500 && error.is_none(), "{error:?}");
        },
    );
}

/// Says hello byte by byte, with an extension of so many bytes, and asks for a page.
const PIECES: &str = "
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
if int(sys.argv[2]): context.set_alpn_protocols(['x' * 250] * (int(sys.argv[2]) // 251))
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(incoming, outgoing, server_hostname='allowed.example')
connection = socket.create_connection(('allowed.example', 443))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def until(step):
    while True:
        try:
            result = step()
        except ssl.SSLWantReadError:
            result = None
        data = outgoing.read()
        for at in range(0, len(data), 1 + len(data) // 2000): connection.send(data[at:at + 1 + len(data) // 2000])
        if result is not None: return result
        incoming.write(connection.recv(65536) or sys.exit('closed'))
until(lambda: tls.do_handshake() or True)
until(lambda: tls.write(b'GET / HTTP/1.1\\r\\nHost: allowed.example\\r\\nConnection: close\\r\\n\\r\\n'))
print(until(lambda: tls.read(12)).decode())
";

#[test]
fn a_hello_may_come_in_pieces_and_be_long() {
    World::new(OPEN).run(
        || TlsServer::start(PUBLIC),
        |_, server| {
            for length in ["0", "20000", "60000"] {
                let said = python(PIECES, &[&server.certificate(), length]);
                assert_eq!(said, "HTTP/1.1 200\n", "{length}");
            }
        },
    );
}

#[test]
fn tls_to_another_server_than_the_one_connected_to_is_closed() {
    let mut world = World::new(OPEN);
    world.destinations.push("https://other.example");
    world.hosts += &format!("{OTHER_PUBLIC} other.example\n");
    world.run(
        || [PUBLIC, OTHER_PUBLIC].map(TlsServer::start),
        |inside, _| {
            // Both are let through, and still not by each other's address.
            let at = format!("other.example:443:{}", inside.address("allowed.example"));
            let (_, _, output) = curl(&["--insecure", "--resolve", &at, "https://other.example/"]);
            // It fails at once, and does not look like a failure of the network.
            assert!(text(&output.stderr).contains("access denied"), "{output:?}");
            let (to, through, why) = inside.ruling();
            assert!(!through && why.contains("names another server"), "{why}");
            assert_eq!(to.host, "allowed.example");
            // An address is no name, so that none is sent.
            let url = format!("https://{}/", inside.address("allowed.example"));
            assert!(!curl(&["--insecure", &url]).2.status.success());
            let (_, _, why) = inside.ruling();
            assert!(why.contains("names no server"), "{why}");
            assert!(
                curl(&["--insecure", "https://other.example/"])
                    .2
                    .status
                    .success()
            );
            inside.ruling();
            // Not TLS at all.
            let request = b"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n";
            assert_eq!(say(inside.connect("allowed.example", 443), request), "");
            let (_, through, why) = inside.ruling();
            assert!(
                !through && why.contains("not the beginning of a TLS connection"),
                "{why}"
            );
        },
    );
}

#[test]
fn tls_that_a_rule_wants_looked_into_does_not_pass() {
    let open = "{id: open, hosts: '*', verdict: warn}";
    for (rules, passes) in [
        (
            &["{id: n, hosts: allowed.example, paths: /open/**, verdict: allow}"][..],
            false,
        ),
        (
            &[
                open,
                "{id: n, hosts: allowed.example, paths: /open/**, verdict: allow}",
            ],
            true,
        ),
        (
            &[
                open,
                "{id: n, hosts: allowed.example, methods: POST, verdict: block}",
            ],
            false,
        ),
        (
            &[
                open,
                "{id: n, hosts: allowed.example, budget: {requests: 9/m}, verdict: allow}",
            ],
            false,
        ),
        // Only the address is known to the rule.
        (
            &[
                open,
                "{id: n, hosts: 93.184.215.14, methods: POST, verdict: block}",
            ],
            false,
        ),
        (
            &[
                open,
                "{id: n, hosts: allowed.example, methods: POST, verdict: block, mode: warn}",
            ],
            true,
        ),
        (
            &[
                open,
                "{id: n, hosts: other.example, methods: POST, verdict: block}",
            ],
            true,
        ),
        (
            &[
                open,
                "{id: n, hosts: allowed.example, schemes: http, methods: POST, verdict: block}",
            ],
            true,
        ),
    ] {
        World::new(&policy_of(rules)).run(
            || TlsServer::start(PUBLIC),
            |inside, _| {
                let (_, _, output) = curl(&["--insecure", "https://allowed.example/"]);
                assert_eq!(output.status.success(), passes, "{rules:?}");
                let is_told = text(&output.stderr).contains("access denied");
                assert_eq!(is_told, !passes, "{rules:?}");
                let (_, through, why) = inside.ruling();
                assert_eq!(through, passes, "{rules:?}: {why}");
            },
        );
    }
}

fn policy_of(rules: &[&str]) -> String {
    let rules = rules.join(", ");
    format!("aegis-policy: 1\nnetwork-egress: [{rules}]\n")
}

#[test]
fn tcp_that_a_rule_wants_looked_into_does_not_pass() {
    let open = "{id: open, hosts: '*', verdict: warn}";
    for (rule, passes) in [
        (
            "{id: n, hosts: allowed.example, methods: POST, verdict: block}",
            false,
        ),
        (
            "{id: n, hosts: 93.184.215.14, paths: /x, verdict: block}",
            false,
        ),
        (
            "{id: n, hosts: allowed.example, schemes: [http, https], methods: POST, verdict: block}",
            true,
        ),
        (
            "{id: n, hosts: allowed.example, ports: 80, methods: POST, verdict: block}",
            true,
        ),
    ] {
        World::new(&policy_of(&[open, rule])).run(
            || echo_server(PUBLIC, 7000),
            |inside, ()| {
                let stream = inside.connect("allowed.example", 7000);
                // It may be closed already.
                let _ = (&stream).write_all(b"POST / HTTP/1.1\r\n\r\n");
                let _ = stream.shutdown(Shutdown::Write);
                assert_eq!(rest(stream).is_empty(), !passes, "{rule}");
                let (_, through, why) = inside.ruling();
                assert_eq!(through, passes, "{rule}: {why}");
            },
        );
    }
}

#[test]
fn tls_does_not_pass_where_a_module_in_rego_says_worse_of_a_request() {
    let module = "package aegis\nimport rego.v1\nblock contains \"posts\" if { input.what.method == \"POST\"; input.what.host == HOST }\n";
    for (host, passes) in [("allowed.example", false), ("other.example", true)] {
        let mut world = World::new(OPEN);
        world.rego = Some(module.replace("HOST", &format!("{host:?}")));
        world.run(
            || TlsServer::start(PUBLIC),
            |inside, _| {
                let (_, _, output) = curl(&["--insecure", "https://allowed.example/"]);
                assert_eq!(output.status.success(), passes, "{host}");
                let (_, through, why) = inside.ruling();
                assert_eq!(through, passes, "{host}: {why}");
            },
        );
    }
}

#[test]
fn tls_to_loopback_passes_to_the_hosts_where_the_profile_asks_for_localhost() {
    let rule = "{id: own, hosts: localhost, private-addresses: true, verdict: allow}";
    let mut world = World::new(&policy_of(&[rule]));
    world.destinations.push("https://localhost");
    world.hosts += "127.0.0.1 localhost\n";
    world.run(
        || TlsServer::start(Ipv4Addr::LOCALHOST),
        |inside, _| {
            for host in ["localhost", "127.0.0.1"] {
                let (status, body, _) = curl(&["--insecure", &format!("https://{host}/")]);
                assert_eq!((&*status, body), ("200", format!("hello to {host}")));
                let (to, through, _) = inside.ruling();
                assert!(through && to.host == "localhost", "{to:?}");
            }
        },
    );
}

#[test]
fn tcp_passes_in_both_directions_until_both_have_ended() {
    World::new(OPEN).run(
        || echo_server(PUBLIC, 7000),
        |inside, ()| {
            let mut stream = inside.connect("allowed.example", 7000);
            stream.write_all(&[b'x'; 100_000]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(stream).len(), 100_000);
            assert!(inside.ruling().1);
            assert_eq!(inside.ended(), (100_000, 100_000, None));
            // Another host on that port, and an address that is no name.
            assert_eq!(rest(inside.connect("denied.example", 7000)), "");
            let (to, through, _) = inside.ruling();
            assert!(!through && to.host == "denied.example");
            assert_eq!(rest(TcpStream::connect((PUBLIC, 7000)).unwrap()), "");
            let (to, through, _) = inside.ruling();
            assert!(!through && to.host == PUBLIC.to_string());
            // A port that nobody declared.
            let elsewhere = (inside.address("allowed.example"), 7001);
            assert!(TcpStream::connect(elsewhere).is_err());
        },
    );
}

#[test]
fn addresses_are_destinations_where_the_profile_names_them() {
    let mut world = World::new(OPEN);
    world.destinations.extend([
        "tcp://93.184.215.15:7000",
        "tcp://[2606:2800:220:1::1]:7000",
    ]);
    let v6: std::net::Ipv6Addr = PUBLIC_V6.parse().unwrap();
    world.run(
        || {
            echo_server(OTHER_PUBLIC, 7000);
            echo_server(v6, 7000);
        },
        |inside, ()| {
            for address in [OTHER_PUBLIC.into(), v6.into()] {
                let address: std::net::IpAddr = address;
                let stream = TcpStream::connect((address, 7000)).unwrap();
                (&stream).write_all(b"hello").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(rest(stream), "hello", "{address}");
                let (to, through, _) = inside.ruling();
                assert!(through && to.address == Some(address), "{to:?}");
            }
        },
    );
}

#[test]
fn of_several_addresses_the_first_that_is_let_through_and_answers_is_dialled_and_recorded() {
    let mut world = World::new(OPEN);
    world.destinations = vec!["tcp://many.example:7000"];
    // A private one, one that nobody listens at, and one of IPv6.
    world.hosts =
        format!("{PRIVATE} many.example\n{OTHER_PUBLIC} many.example\n{PUBLIC_V6} many.example\n");
    let v6: std::net::Ipv6Addr = PUBLIC_V6.parse().unwrap();
    world.run(
        || {
            echo_server(PRIVATE, 7000);
            echo_server(v6, 7000);
        },
        |inside, ()| {
            let stream = inside.connect("many.example", 7000);
            (&stream).write_all(b"hello").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rest(stream), "hello");
            // Nobody is connected to before it is told, so each that is tried is.
            let (to, through, _) = inside.ruling();
            assert!(through && to.address == Some(OTHER_PUBLIC.into()), "{to:?}");
            let (sent, received, error) = inside.ended();
            assert_eq!((sent, received), (0, 0));
            assert!(error.is_some_and(|error| error.contains("refused")));
            let (to, through, _) = inside.ruling();
            assert!(through && to.address == Some(v6.into()), "{to:?}");
            assert_eq!(inside.ended(), (5, 5, None));
        },
    );
}
