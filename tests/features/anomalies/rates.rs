//! How much is done: in all, and in a second. Each is compared by itself.

use std::fs;
use std::process::Command;

use aegis_tests::{Workspace, text};
use serde_json::{Value, json};

use super::{anomalies, baseline, by_probes, grafted, reported, run_wide, skill};
use crate::observation::{observed, python};

/// The learnt skill under its own profile, with a baseline in which this is the most that may be done.
fn with_most(workspace: &Workspace, most: &[(&str, u64)]) {
    let place = workspace.work().join("skill.baseline.json");
    let json = fs::read(&place).expect("it is there");
    let mut changed: Value = serde_json::from_slice(&json).expect("JSON");
    for (name, value) in most {
        assert!(changed["most"][*name].is_u64(), "{name}: {changed}");
        changed["most"][*name] = json!(value);
    }
    let named = baseline(workspace);
    let changed = changed.to_string();
    fs::write(&place, &changed).expect("written");
    let (before, _) = named.rsplit_once(' ').expect("a name and a hash");
    let sum = Command::new("sha256sum")
        .arg(&place)
        .output()
        .expect("it starts");
    let sum = String::from_utf8(sum.stdout).expect("UTF-8");
    let hash = sum.split(' ').next().expect("a hash");
    for profile in ["skill.yaml", "wide.yaml"] {
        let place = workspace.work().join(profile);
        let yaml = fs::read_to_string(&place).expect("a profile");
        let named_anew = format!("{before} sha256:{hash}");
        fs::write(place, yaml.replace(&named, &named_anew)).expect("written");
    }
}

/// What of a run is out of the ordinary as a rate.
fn rates(workspace: &Workspace) -> Vec<String> {
    let output = run_wide(workspace);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let found = anomalies(&reported(workspace)).into_iter();
    let mut rates: Vec<String> = found
        .filter(|(kind, _)| kind == "rate")
        .map(|(_, of)| of.split(':').next().unwrap_or_default().to_owned())
        .collect();
    rates.sort();
    rates
}

/// The same file again and again: no more different files than ever.
const BURST: &str = "for _ in range(3000): open('data.csv').close()";

#[test]
fn a_burst_is_flagged_within_a_total_and_a_total_without_a_burst() {
    by_probes(|workspace| {
        skill(workspace);
        grafted(workspace, "");
        assert_eq!(rates(workspace), [""; 0]);
        grafted(workspace, BURST);
        with_most(workspace, &[("files-in-a-second", 100_000)]);
        assert_eq!(rates(workspace), [""; 0]);
        with_most(workspace, &[("files-in-a-second", 300)]);
        assert_eq!(rates(workspace), ["files opened in a second"]);
        // Slowly enough, but more of them.
        with_most(workspace, &[("files-in-a-second", 100_000), ("files", 3)]);
        assert_eq!(rates(workspace), ["different files opened"]);
        let forks = "for _ in range(12):\n    if os.fork() == 0: os._exit(0)\n    os.wait()";
        grafted(workspace, forks);
        with_most(workspace, &[("files", 1000), ("processes-in-a-second", 3)]);
        assert_eq!(rates(workspace), ["processes and threads made in a second"]);
        with_most(
            workspace,
            &[("processes-in-a-second", 1000), ("processes", 3)],
        );
        assert_eq!(rates(workspace), ["processes and threads made"]);
    });
}

/// To the byte, whatever call sends them; what stays between processes of the machine does not count.
#[test]
fn bytes_that_are_sent_are_counted_where_the_kernel_tells_them() {
    let script = r#"
import os, socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
c = socket.create_connection(s.getsockname()); a, _ = s.accept()
c.send(b"x" * 100); c.sendmsg([b"x" * 20, b"x" * 3]); os.write(c.fileno(), b"x" * 4000); os.writev(c.fileno(), [b"x", b"x"])
with open("data", "wb+") as f: f.write(b"x" * 50000)
with open("data", "rb") as f: os.sendfile(c.fileno(), f.fileno(), 0, 50000)
u = socket.socket(type=socket.SOCK_DGRAM); u.sendto(b"x" * 600, s.getsockname())
one, two = socket.socketpair(); one.send(b"x" * 7000); os.write(os.pipe()[1], b"x" * 9000)
if os.fork() == 0: c.send(b"x" * 1000); os._exit(0)
os.wait()
"#;
    observed(|scene| {
        let profile = "aegis: 1\nname: sends\nextends: [python]\ncapabilities: {files.write: [$WORK]}\nsyscalls: {allow: [socket, listen, accept4]}\n";
        let seen = python(scene, profile, script);
        let counts = &seen["counts"];
        let told = seen["losses"]["unobserved"].to_string();
        let is_counted = scene.by == "probes" && !told.contains("bytes that are sent");
        match is_counted {
            true => {
                assert_eq!(counts["sent"], 100 + 23 + 4000 + 2 + 50_000 + 600 + 1000);
                // It may have begun in one second and ended in another.
                let most = counts["sent-in-a-second"].as_u64().expect("a number");
                assert!((25_000..=55_725).contains(&most), "{most}");
            }
            false => {
                assert_eq!(counts["sent"], Value::Null);
                assert_eq!(counts["sent-in-a-second"], Value::Null);
                assert!(told.contains("sent"), "{told}");
            }
        }
        let a_second = |name: &str| counts[name].as_u64();
        match scene.by {
            "probes" => {
                assert_eq!(a_second("forks-in-a-second"), Some(1));
                assert!(a_second("opened-in-a-second") >= Some(10), "{counts}");
            }
            _ => assert_eq!(a_second("opened-in-a-second"), None),
        }
    });
}
