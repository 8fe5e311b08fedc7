//! A network with a site on a public address, an authority that the caller trusts, and runs that reach the site.

use std::path::PathBuf;
use std::process::{Child, Command};

use aegis_tests::audit_log::place;
use aegis_tests::outcome::Ran;
use aegis_tests::{EVERYTHING, USERS, User, Workspace, host, program, repository, text};
use serde_json::Value;

/// Where the site is: an address of a documentation's website, which policies class as public.
pub const SITE: &str = "93.184.215.14";

/// Another, of nobody or of what a test starts there.
pub const OTHER: &str = "93.184.215.15";

/// The names of the site: of tests, and of `docs/egress.md`.
const NAMES: [&str; 7] = [
    "web.test",
    "cdn.test",
    "other.test",
    "apex.test",
    "a.apex.test",
    "api.github.com",
    "codeload.github.com",
];

/// A policy that opens TLS: which methods are used is what it asks.
pub const OPENS: &str = "network-egress: [{id: all, hosts: [web.test, other.test, cdn.test, apex.test, '*.apex.test'], methods: [GET, HEAD, POST, PUT], verdict: allow}]";

/// One that looks at hosts alone.
pub const PASSES: &str = "network-egress: [{id: all, hosts: [web.test, other.test, cdn.test, apex.test, '*.apex.test'], verdict: allow}]";

/// What tests have at hand, as one of both users.
pub struct Stand {
    pub workspace: Workspace,
    /// The certificate and the key of all [`NAMES`].
    pub certificate: [PathBuf; 2],
    /// Variables of the caller: `SSL_CERT_FILE` has the site's authority.
    pub environment: Vec<(&'static str, String)>,
    asked: PathBuf,
    servers: Vec<Child>,
}

/// Runs `body` as both users.
pub fn on_stand(body: impl Fn(&mut Stand) + Send + Sync) {
    for user in USERS {
        on_stand_of(user, &body);
    }
}

/// The same where the whole host trusts the site's authority, as one to which `update-ca-certificates` has added it.
pub fn where_all_trust_it(body: impl Fn() + Send + Sync) {
    on_stand_of(User::Ordinary, |stand| {
        let script = "set -e
cp -a /etc/ssl/certs certs
cat ca.pem >> certs/ca-certificates.crt
cp ca.pem certs/$(openssl x509 -hash -noout -in ca.pem).0
chmod 755 . certs";
        let outside = stand.workspace.outside();
        let mut made = Command::new("sh");
        made.args(["-c", script]).current_dir(&outside);
        assert!(made.status().expect("sh starts").success());
        host::bind(&outside.join("certs"), "/etc/ssl/certs".as_ref());
        body();
    });
}

fn on_stand_of(user: User, body: impl Fn(&mut Stand) + Send + Sync) {
    host::in_private_network(|| {
        for address in [SITE, OTHER] {
            let mut ip = Command::new("ip");
            ip.args(["address", "add", &format!("{address}/32"), "dev", "lo"]);
            assert!(ip.status().expect("ip starts").success());
        }
        let workspace = Workspace::new(user);
        let lines = NAMES.map(|name| format!("{SITE} {name}\n")).concat();
        let hosts = workspace.write("hosts", format!("127.0.0.1 localhost\n{lines}"));
        host::bind(&hosts, "/etc/hosts".as_ref());
        body(&mut Stand::new(workspace));
    });
}

impl Stand {
    fn new(workspace: Workspace) -> Self {
        let at = |name: &str| workspace.outside().join(name);
        let asked = at("asked.jsonl");
        let [authority, certificate, key] = ["ca.pem", "site.pem", "site.key"].map(at);
        let names = NAMES.map(|name| format!("DNS:{name}")).join(",");
        let script = format!(
            "set -e
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $new -keyout ca.key -out ca.pem -days 2 -subj '/CN=The authority of a company'
openssl req $new -keyout site.key -out site.csr -subj /CN=web.test
echo subjectAltName={names} > names
openssl x509 -req -in site.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out site.pem
chmod 644 ca.pem"
        );
        let made = Command::new("sh")
            .args(["-c", &script])
            .current_dir(workspace.outside())
            .output()
            .expect("sh starts");
        assert!(made.status.success(), "{}", text(&made));
        let mut stand = Self {
            environment: vec![("SSL_CERT_FILE", authority.display().to_string())],
            certificate: [certificate, key],
            workspace,
            asked: asked.clone(),
            servers: Vec::new(),
        };
        let mut site = Command::new("/usr/bin/python3");
        site.arg(repository("tests/features/egress_programs/site.py"))
            .arg(SITE)
            .args(&stand.certificate)
            .arg(&asked);
        stand.start(&mut site);
        stand
    }

    /// Starts a server that says `up`.
    pub fn start(&mut self, server: &mut Command) {
        self.servers.push(host::started(server, "up"));
    }

    /// Also starts the server of HTTP/2, at port 8443.
    pub fn with_http2(&mut self) {
        let mut server = Command::new("node");
        server
            .arg(repository("tests/features/egress_programs/http2.js"))
            .arg(SITE)
            .args(&self.certificate);
        self.start(&mut server);
    }

    /// Runs a script of the shell by a policy, under a profile that names these destinations, and has further capabilities.
    pub fn run(&self, policy: &str, outbound: &[&str], more: &str, script: &str) -> Ran {
        self.workspace.policy(&format!("{EVERYTHING}\n{policy}\n"));
        let profile = self.workspace.profile(&format!(
            "aegis: 1\nname: stand\nextends: [shell, python, node]\ncapabilities: {{net.outbound: {outbound:?}, shell.exec: [curl, getent], files.write: [$WORK]{more}}}\n"
        ));
        let report = self.workspace.outside().join("report.json");
        let _ = std::fs::remove_file(&report);
        let mut command = self.workspace.command(program("aegis-run"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        (command.arg("--audit").arg(place(&self.workspace)))
            .arg("--report")
            .arg(&report)
            .arg("--profile")
            .arg(&profile)
            .args(["--", "sh", "-c", script]);
        let output = command.output().expect("aegis-run starts");
        let report = std::fs::read(&report).map_or(Value::Null, |json| {
            serde_json::from_slice(&json).expect("JSON")
        });
        Ran { output, report }
    }

    /// What the site was asked since this was last called.
    pub fn asked(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.asked).unwrap_or_default();
        let _ = std::fs::remove_file(&self.asked);
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// Stores a secret.
    pub fn secret(&self, alias: &str, value: &str) {
        let script = format!(
            "{0} secrets init; printf %s '{value}' | {0} secrets set {alias}",
            program("aegis").display()
        );
        let mut command = self.workspace.command("sh");
        let stored = command.args(["-c", &script]).output().expect("sh starts");
        assert!(stored.status.success(), "{}", text(&stored));
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
