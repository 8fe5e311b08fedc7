//! TLS that is opened: both versions of HTTP, requests at once, what goes on after an upgrade, and bounds.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use aegis_egress::protocol::Event;

use crate::world::{Inside, PUBLIC, World, python, text};

/// Requests are told apart by their method.
const METHODS: &str = "
aegis-policy: 1
network-egress:
  - {id: read, hosts: allowed.example, methods: [GET, POST], paths: [/open/**], verdict: allow}
  - {id: other, hosts: other.example, verdict: warn}
";

/// Speaks both versions. `/open/echo` repeats the body, with a trailer; `/open/slow` answers when `/open/go` was asked for; an upgrade
/// is an echo of bytes.
const SERVER: &str = "
const http2 = require('http2'), fs = require('fs');
const [address, certificate, key] = process.argv.slice(1);
let waiting = [];
const server = http2.createSecureServer({key: fs.readFileSync(key), cert: fs.readFileSync(certificate), allowHTTP1: true}, (request, response) => {
  if (request.url == '/open/slow') { waiting.push(response); return; }
  if (request.url == '/open/go') { waiting.forEach(slow => slow.end('slow')); waiting = []; response.end('gone'); return; }
  response.writeHead(200, request.httpVersion == '2.0' ? {'x-version': '2.0'} : {'x-version': request.httpVersion, 'trailer': 'x-end', 'transfer-encoding': 'chunked'});
  request.on('data', piece => response.write(piece));
  request.on('end', () => { response.addTrailers({'x-end': 'here'}); response.end(); });
});
server.on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n');
  socket.pipe(socket);
});
server.listen(443, address, () => console.log('up'));
";

struct Server {
    directory: tempfile::TempDir,
    server: Option<Child>,
}

impl Server {
    /// A certificate; the server is started later, in the network of servers.
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let names = "subjectAltName=DNS:allowed.example,DNS:other.example";
        std::fs::write(directory.path().join("names"), names).expect("written");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for words in [
            format!("req -x509 {key} -subj /CN=company -out ca -keyout ca.key"),
            format!("req {key} -subj /CN=test -out request -keyout key"),
            "x509 -req -in request -CA ca -CAkey ca.key -extfile names -out cert".to_owned(),
        ] {
            let mut openssl = Command::new("openssl");
            openssl.args(words.split(' ')).current_dir(directory.path());
            let made = openssl.output().expect("openssl starts");
            assert!(made.status.success(), "{words}: {made:?}");
        }
        let server = None;
        Self { directory, server }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(mut self, address: Ipv4Addr) -> Self {
        let mut node = Command::new("node");
        node.args(["-e", SERVER, &address.to_string()])
            .args([self.at("cert"), self.at("key")]);
        let mut server = node.stdout(Stdio::piped()).spawn().expect("node starts");
        let mut line = String::new();
        let output = server.stdout.as_mut().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "up\n");
        self.server = Some(server);
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// `allowed.example` speaks both versions, and its TLS is opened.
fn opened(body: impl FnOnce(&Inside, &Server) + Send) {
    let server = Server::new();
    let mut world = World::new(METHODS);
    world.roots = Some(std::fs::read(server.at("ca")).expect("a certificate"));
    world.run(
        || server.start(PUBLIC),
        |inside, server| {
            let authority = inside.authority.as_deref().expect("there is one");
            std::fs::write(server.at("authority"), authority).expect("written");
            body(inside, server);
        },
    );
}

/// Runs a script of Node's that trusts the run's authority.
fn node(server: &Server, script: &str) -> String {
    let output = Command::new("node")
        .args(["-e", script])
        .env("NODE_EXTRA_CA_CERTS", server.at("authority"))
        .stdin(Stdio::null())
        .output()
        .expect("node starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text(&output.stdout)
}

/// All decisions on requests so far: method, path, and whether they were let through.
fn decided(inside: &Inside) -> Vec<(String, String, bool)> {
    let events = inside.end().into_iter().filter_map(|event| match event {
        Event::Decided { decision, to, .. } => Some((to, decision.verdict.lets_through())),
        Event::Refused { to, .. } => Some((to, false)),
        _ => None,
    });
    let mut decided: Vec<_> = events
        .filter_map(|(to, through)| Some((to.method?, to.path?, through)))
        .collect();
    decided.sort();
    decided
}

#[test]
fn requests_of_http2_go_on_at_once_and_each_is_decided() {
    opened(|inside, server| {
        let said = node(
            server,
            "
const client = require('http2').connect('https://allowed.example');
const ask = (headers, body) => new Promise((done, fail) => {
  const request = client.request(headers); let all = '', status, version, end;
  request.on('response', head => { status = head[':status']; version = head['x-version']; });
  request.on('trailers', trailers => end = trailers['x-end']);
  request.on('data', piece => all += piece); request.on('error', fail);
  request.on('end', () => done([status, version, all.slice(0, 60), end]));
  request.end(body);
});
(async () => {
  const slow = ask({':path': '/open/slow'});
  const echo = await ask({':path': '/open/echo', ':method': 'POST'}, 'hello');
  const wrong = await ask({':path': '/open/echo', ':method': 'DELETE'});
  const fronted = await ask({':path': '/open/echo', ':authority': 'other.example'});
  const hosted = await ask({':path': '/open/echo', 'host': 'other.example'});
  await ask({':path': '/open/go'});
  const path = await ask({':path': '/closed'});
  console.log(JSON.stringify([echo, wrong[0], fronted[0], hosted[0], path[0], (await slow)[2]]));
  client.close();
})();",
        );
        assert_eq!(
            said,
            "[[200,\"2.0\",\"hello\",\"here\"],403,403,403,403,\"slow\"]\n"
        );
        let refused = |method: &str, path: &str| (method.to_owned(), path.to_owned(), false);
        let decided = decided(inside);
        for expected in [
            refused("DELETE", "/open/echo"),
            refused("GET", "/closed"),
            refused("GET", "/open/echo"),
        ] {
            assert!(decided.contains(&expected), "{expected:?}: {decided:?}");
        }
        assert_eq!(
            decided.iter().filter(|(_, _, through)| *through).count(),
            3,
            "{decided:?}"
        );
    });
}

#[test]
fn http1_keeps_its_trailers_and_goes_on_after_an_upgrade() {
    opened(|inside, server| {
        let authority = server.at("authority").display().to_string();
        let said = python(
            "
import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
def connect():
    import socket
    return context.wrap_socket(socket.create_connection(('allowed.example', 443)), server_hostname='allowed.example')
def head(stream):
    said = b''
    while not said.endswith(b'\\r\\n\\r\\n'): said += stream.recv(1)
    return said
tls = connect()
tls.sendall(b'POST /open/echo HTTP/1.1\\r\\nHost: allowed.example\\r\\nTE: trailers\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nhello')
said = b''
while piece := tls.recv(4096): said += piece
print(said.split(b'\\r\\n')[0].decode(), b'x-end: here' in said.lower(), b'hello' in said)
tls = connect()
tls.sendall(b'GET /open/socket HTTP/1.1\\r\\nHost: allowed.example\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n')
print(head(tls).split(b'\\r\\n')[0].decode())
for word in [b'one', b'two']:
    tls.sendall(word); print(tls.recv(3).decode())
tls.close()
tls = connect()
tls.sendall(b'DELETE /open/x HTTP/1.1\\r\\nHost: allowed.example\\r\\n\\r\\n')
print(head(tls).split(b'\\r\\n')[0].decode())
tls = connect()
tls.sendall(b'SSH-2.0-x\\r\\n')
print(tls.recv(12).decode()[:12])
",
            &[&authority],
        );
        assert_eq!(
            said,
            "HTTP/1.1 200 OK True True\nHTTP/1.1 101 Switching Protocols\none\ntwo\nHTTP/1.1 403 Forbidden\nHTTP/1.1 400\n"
        );
        let decided = decided(inside);
        let through: Vec<&str> = decided
            .iter()
            .filter(|(_, _, through)| *through)
            .map(|(_, path, _)| &**path)
            .collect();
        assert_eq!(through, ["/open/socket", "/open/echo"], "{decided:?}");
    });
}

#[test]
fn whoever_is_not_asked_for_is_told_in_http_and_what_passes_is_not_opened() {
    let server = Server::new();
    let mut world = World::new(METHODS);
    world.destinations.push("https://other.example");
    world.hosts += &format!("{PUBLIC} other.example\n");
    world.roots = Some(std::fs::read(server.at("ca")).expect("a certificate"));
    world.run(
        || server.start(PUBLIC),
        |inside, server| {
            std::fs::write(server.at("authority"), inside.authority.as_deref().unwrap()).unwrap();
            let said = node(
                server,
                "fetch('https://nowhere.example/x').then(async answer => console.log(answer.status, (await answer.json()).allow))",
            );
            assert_eq!(said, "403 capabilities: {net.outbound: [\"https://nowhere.example\"]}\n");
            // Below a name at which TLS passes, nobody can be spoken for.
            let said = node(
                server,
                "fetch('https://below.other.example/x').then(() => console.log('told'), error => console.log(error.cause.code))",
            );
            assert_eq!(said, "ERR_SSL_TLSV1_ALERT_ACCESS_DENIED\n");
            let passed = node(
                server,
                "process.env.NODE_TLS_REJECT_UNAUTHORIZED = 0; require('tls').connect(443, 'other.example', {servername: 'other.example'}, function () { console.log(this.getPeerCertificate().subject.CN); this.end() })",
            );
            assert_eq!(passed, "test\n");
        },
    );
}

#[test]
fn streams_that_are_begun_and_given_up_are_ended_and_others_stay_served() {
    opened(|_, server| {
        let said = node(
            server,
            "
const http2 = require('http2');
const client = http2.connect('https://allowed.example');
let ended = false, rounds = 0;
client.on('error', () => {}); client.on('close', () => ended = true); client.on('goaway', () => ended = true);
const storm = () => {
  for (let n = 0; n < 200 && !ended; n++) { const request = client.request({':path': '/open/slow'}); request.on('error', () => {}); request.close(8); }
  if (ended || ++rounds > 20) other(); else setImmediate(storm);
};
const other = () => fetch('https://allowed.example/open/echo', {method: 'POST', body: 'still'}).then(answer => answer.text()).then(text => { console.log(ended ? 'ended' : 'goes on', text); process.exit(0) }, error => { console.log(error.cause, ended, rounds); process.exit(0) });
client.on('connect', storm);
",
        );
        assert_eq!(said, "ended still\n");
    });
}
