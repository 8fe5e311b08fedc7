//! A company's network: its proxy is the only way out, and its authority is whom everybody trusts.

use std::process::Command;

use super::stand::{OPENS, OTHER, PASSES, on_stand};

/// A proxy that knows `CONNECT` alone, and prints where to. Words: its address, and a file that gets a line for each.
const PROXY: &str = r#"
import socket, socketserver, sys, threading
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        method, target, _ = self.rfile.readline().split()
        while self.rfile.readline().strip(): pass
        with open(sys.argv[2], "a") as asked: asked.write(f"{method.decode()} {target.decode()}\n")
        host, port = target.decode().rsplit(":", 1)
        with socket.create_connection((host, int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            def copy(source, sink):
                while data := source.recv(65536): sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            back = threading.Thread(target=copy, args=(there, self.connection), daemon=True)
            back.start()
            try: copy(self.connection, there)
            except OSError: pass
            back.join()
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
server = Server((sys.argv[1], 3128), Handler)
print("up", flush=True)
server.serve_forever()
"#;

/// The caller's proxy carries what was decided, to the address that was decided; the caller's `SSL_CERT_FILE` names whom the broker trusts,
/// and inside both are nobody's business.
#[test]
fn the_callers_proxy_and_authority_are_the_brokers_to_use() {
    on_stand(|stand| {
        let asked = stand.workspace.outside().join("proxied");
        let mut proxy = Command::new("/usr/bin/python3");
        proxy.args(["-c", PROXY, OTHER]).arg(&asked);
        stand.start(&mut proxy);
        let script = "env | grep -i proxy; curl -sS -w '%{http_code} ' -o /dev/null https://web.test/a; curl -sS -w '%{http_code} ' -o /dev/null https://other.test/";
        let name = ("HTTPS_PROXY", format!("http://{OTHER}:3128"));
        stand.environment.push(name);
        let ran = stand.run(OPENS, &["https://web.test"], "", script);
        assert_eq!(ran.printed(), "200 403", "{}", ran.told());
        let proxied = || std::fs::read_to_string(&asked).unwrap_or_default();
        assert_eq!(proxied(), "CONNECT 93.184.215.14:443\n");
        assert_eq!(stand.asked().len(), 1);
        // TLS that passes through goes there too.
        let script = "curl -sS --insecure -w '%{http_code}' -o /dev/null https://web.test/a";
        let ran = stand.run(PASSES, &["https://web.test"], "", script);
        assert_eq!(ran.printed(), "200", "{}", ran.told());
        assert_eq!(proxied().lines().count(), 2);
    });
}

/// Without it, the server is nobody whom the host trusts: the program is told so by a status, and not by its own certificate.
#[test]
fn an_authority_that_the_caller_does_not_trust_is_not_trusted_inside() {
    on_stand(|stand| {
        stand.environment.clear();
        let script = "curl -sS -w '%{http_code}' https://web.test/a";
        let ran = stand.run(OPENS, &["https://web.test"], "", script);
        assert!(ran.printed().ends_with("502"), "{}", ran.told());
        assert!(stand.asked().is_empty());
    });
}
