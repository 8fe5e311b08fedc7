//! `limits.net`, of whole runs.

use aegis_tests::outcome::Ran;
use aegis_tests::{EVERYTHING, program, text};

use super::{RULES, Web, with_hosts};

/// By the profile, and by the ceiling of a policy. Only a lower bound of the time is asserted.
#[test]
fn what_is_exchanged_is_no_faster_than_limits_net() {
    const BYTES: u64 = 512 << 10;
    with_hosts(|workspace| {
        let web = Web::new();
        let name = format!("http://web.test:{}", web.port);
        // The server tells the path again.
        let path = "x".repeat(7 << 10);
        let script = format!("for n in $(seq 40); do curl -sS -o /dev/null {name}/{path}; done");
        let profile = |limits: &str| {
            workspace.profile(&format!(
                "aegis: 1\nname: slow\nextends: [shell]\ncapabilities: {{net.outbound: [{name:?}], shell.exec: [curl, seq]}}\n{limits}"
            ))
        };
        let limited = "limits: {net: 512K/s, must-hold: [net]}\n";
        let ceiling = format!("{EVERYTHING}\n{RULES}\nlimits: {{net: 512K/s}}\n");
        let open = format!("{EVERYTHING}\n{RULES}");
        for (limits, policy) in [(limited, &open), ("", &ceiling)] {
            workspace.policy(policy);
            let profile = profile(limits);
            let began = std::time::Instant::now();
            let ran = Ran::new(workspace, &profile, &["sh", "-c", &script]);
            ran.exits(0);
            let took = began.elapsed();
            let traffic = &ran.report["traffic"][0];
            let exchanged = traffic["sent"].as_u64().zip(traffic["received"].as_u64());
            let exchanged = exchanged.map(|(sent, received)| sent + received);
            assert!(exchanged >= Some(BYTES), "{}", ran.told());
            // 50 ms of it may pass at once.
            assert!(took.as_millis() >= 950, "{took:?}: {}", ran.told());
            let mut command = workspace.command(program("aegis-run"));
            command
                .args(["--explain", "--profile"])
                .arg(&profile)
                .arg("true");
            let explained = text(&command.output().expect("aegis-run starts"));
            let line = explained.lines().find(|line| line.contains("512K/s"));
            assert!(
                line.is_some_and(|line| line.contains("egress broker")),
                "{explained}"
            );
        }
    });
}
