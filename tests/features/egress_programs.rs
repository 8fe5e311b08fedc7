//! Programs as people have them, on the way out: unmodified, unread and opened; and what users of other tools have met.
//!
//! `scripts/programs` runs many more than are installed here, and measures them.

mod company;
mod keys;
mod refused;
pub mod stand;
mod streams;

use std::process::Command;

use aegis_tests::{program, repository, text};
use serde_json::Value;

/// What is run here of the list in `scripts/programs.d/workloads.py`: nothing may be left out because something is not installed.
const PROGRAMS: [&str; 25] = [
    "curl, HTTP/1.1",
    "curl, HTTP/2",
    "curl, an upload of 1 MiB",
    "curl, a redirect",
    "curl, server-sent events",
    "wget",
    "git clone",
    "git push",
    "git over ssh",
    "ssh",
    "apt-get update, download",
    "pip, of the system",
    "npm",
    "go mod download",
    "Java, HttpURLConnection",
    "Java, java.net.http",
    "Node.js, fetch",
    "Node.js, https",
    "Node.js, http2",
    "Python, urllib",
    "Ruby, net/http",
    "openssl s_client",
    "psql, TLS verified",
    "redis-cli",
    "curl, a pinned key",
];

#[test]
fn programs_work_unmodified_unread_and_opened_as_root_and_as_a_user() {
    let programs = program("aegis-run").with_file_name("");
    let output = Command::new("/usr/bin/python3")
        .arg(repository("scripts/programs"))
        .args([
            "--installed",
            "--json",
            "--stances",
            "1,2,3,4",
            "--programs",
        ])
        .arg(programs)
        .output()
        .expect("python3 starts");
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    for name in PROGRAMS {
        let cells = &told["programs"][name];
        let of = |stance: &str| cells[stance]["said"].as_str().unwrap_or("left out");
        let opened = match name {
            "git over ssh" | "ssh" | "psql, TLS verified" | "redis-cli" => "passes",
            "curl, a pinned key" => "cannot",
            _ => "yes",
        };
        for (stance, expected) in [("passing", "yes"), ("opened", opened)] {
            for user in ["root", "user"] {
                let stance = format!("{stance}, {user}");
                assert_eq!(
                    of(&stance),
                    expected,
                    "{name}, {stance}: {cells}\n{}",
                    text(&output)
                );
            }
        }
    }
    assert!(output.status.success(), "{}", text(&output));
}
