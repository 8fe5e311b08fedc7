//! Datagrams to hosts by name.

use std::net::UdpSocket;

use aegis_tests::audit_log::{holds_up, of_type, place};
use aegis_tests::{program, text};
use serde_json::Value;

use super::{printed, profile, with_hosts};

/// A server of the host's that answers datagrams, for as long as the test.
fn answering() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut packet = [0; 100];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let _ = socket.send_to(&[b"answer to ", &packet[..length]].concat(), from);
        }
    });
    port
}

#[test]
fn datagrams_reach_what_the_profile_names_and_nothing_else() {
    with_hosts(|workspace| {
        let port = answering();
        let script = format!(
            "
import socket
def ask(name, patience):
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(patience); asking.connect((name, {port})); asking.send(name.encode())
    return asking.recv(100).decode()
print(ask('web.test', 50))
try: print(ask('other.test', 1))
except OSError: print('nothing')
"
        );
        let destination = format!("udp://web.test:{port}");
        let report = workspace.outside().join("report.json");
        let mut command = workspace.command(program("aegis-run"));
        (command.arg("--audit").arg(place(workspace)))
            .arg("--report")
            .arg(&report)
            .arg("--profile")
            .arg(profile(workspace, std::slice::from_ref(&destination)))
            .args(["--", "python3", "-c", &script]);
        let output = command.output().expect("aegis-run starts");
        let said = text(&output);
        assert_eq!(printed(&output), "answer to web.test\nnothing\n", "{said}");
        let line = format!("capabilities: {{net.outbound: [\"udp://other.test:{port}\"]}}");
        let report: Value =
            serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("JSON");
        assert_eq!(report["denials"][0]["allow"], line, "{report}");
        let traffic = &report["traffic"][0];
        assert_eq!(traffic["to"], destination, "{report}");
        assert_eq!(traffic["sent"], "web.test".len(), "{report}");
        assert_eq!(traffic["received"], "answer to web.test".len(), "{report}");
        let records = of_type(&place(workspace), "net.req");
        assert_eq!(
            records[0]["request"]["what"]["scheme"], "udp",
            "{records:?}"
        );
        holds_up(workspace, &place(workspace));
    });
}
