//! A company of its own: an authority, and a web server whose certificate it has signed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use aegis_tests::{Workspace, text};
use serde_json::Value;

/// A web server of the host's, over TLS: see `tls_server.py`. It ends with the value.
pub(crate) struct Secure {
    pub port: u16,
    /// The authority that signed its certificate (PEM).
    pub authority: PathBuf,
    log: PathBuf,
    server: Child,
    #[expect(dead_code, reason = "the server ends when it is closed")]
    input: Option<ChildStdin>,
}

/// The hosts in its certificate.
const HOSTS: &str = "subjectAltName=DNS:web.test,DNS:other.test,DNS:localhost";

impl Secure {
    pub fn new(workspace: &Workspace) -> Self {
        let directory = workspace.outside();
        let (key, certificate, authority) = certified(&directory, HOSTS);
        let log = directory.join("requests");
        let mut server = Command::new("python3")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/features/egress/tls_server.py"
            ))
            .args([&certificate, &key, &log])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = server.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("a line");
        Self {
            port: line.trim().parse().expect("a port"),
            authority,
            log,
            input: server.stdin.take(),
            server,
        }
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Value> {
        let lines = std::fs::read_to_string(&self.log).unwrap_or_default();
        let line = |line: &str| serde_json::from_str(line).expect("JSON");
        lines.lines().map(line).collect()
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A key, the certificate of a server with it, and the authority that signed that.
fn certified(directory: &Path, names: &str) -> (PathBuf, PathBuf, PathBuf) {
    let at = |name: &str| directory.join(name);
    let made = |words: &str| {
        let mut openssl = Command::new("openssl");
        let made = openssl
            .args(words.split(' '))
            .current_dir(directory)
            .output();
        let made = made.expect("openssl starts");
        assert!(made.status.success(), "{words}: {}", text(&made));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    made(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=company"
    ));
    made(&format!(
        "req {key} -keyout web.key -out web.csr -subj /CN=web.test"
    ));
    std::fs::write(at("names"), names).expect("written");
    made("x509 -req -in web.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out web.pem");
    (at("web.key"), at("web.pem"), at("ca.pem"))
}
