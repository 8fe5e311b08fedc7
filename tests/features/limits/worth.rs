//! What a limit is worth on this host: told before the start, and insisted on.

use aegis_tests::outcome::{Ran, refused};
use aegis_tests::{EVERYTHING, USERS, User, Workspace, text};

use super::{LINE, limited, profile};

/// Standard error without the line on limits that hold in part.
pub fn without_warning(ran: &Ran) -> String {
    let stderr = String::from_utf8_lossy(&ran.output.stderr);
    let lines = stderr.split_inclusive('\n');
    lines
        .filter(|line| !line.starts_with("aegis-run: warning: limits."))
        .collect()
}

#[test]
fn one_line_before_the_start_tells_of_limits_that_hold_in_part() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let limits = "memory: 256M, cpu: 0.5, pids: 16, time: 1m, files: 64";
        let ran = limited(&workspace, limits, &["true"]);
        ran.exits(0);
        let stderr = String::from_utf8_lossy(&ran.output.stderr);
        if user == User::Root {
            assert_eq!(stderr, "", "{}", ran.told());
            continue;
        }
        assert_eq!(stderr.lines().count(), 1, "{}", ran.told());
        for words in [
            "warning: limits.memory is held for",
            "limits.cpu is held to",
            "; for more, ",
        ] {
            assert!(stderr.contains(words), "{}", ran.told());
        }
        assert!(!stderr.contains("limits.pids"), "{}", ran.told());
        let whole =
            "pids: 16, cpu: 1, time: 1m, files: 64, file-size: 1M, output: 1M, tmp: 1M, net: 1M/s";
        let ran = limited(&workspace, whole, &["true"]);
        assert!(ran.output.stderr.is_empty(), "{}", ran.told());
        // A policy's ceiling is its author's concern.
        workspace.policy(&format!("{EVERYTHING}limits: {{memory: 256M}}\n"));
        let ran = limited(&workspace, "", &["true"]);
        ran.exits(0);
        assert!(ran.output.stderr.is_empty(), "{}", ran.told());
        assert!(ran.degraded("memory: "), "{}", ran.told());
    }
}

#[test]
fn quiet_says_nothing_of_limits() {
    let workspace = Workspace::new(User::Ordinary);
    let path = workspace.profile(&profile("memory: 256M"));
    let mut command = workspace.command(aegis_tests::program("aegis-run"));
    command.args(["--quiet", "--profile"]).arg(path).arg("true");
    let output = command.output().expect("aegis-run starts");
    assert!(output.status.success(), "{}", text(&output));
    assert!(output.stderr.is_empty(), "{}", text(&output));
}

#[test]
fn what_holds_each_limit_is_explained() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let limits = "memory: 256M, pids: 16, time: 1m, must-hold: [pids]";
        let path = workspace.profile(&profile(limits));
        let explained = |how: &str| {
            let mut command = workspace.command(aegis_tests::program("aegis-run"));
            command.args([how, "--profile"]).arg(&path).arg("true");
            let output = command.output().expect("aegis-run starts");
            assert!(output.status.success(), "{}", text(&output));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let (memory, pids) = match user {
            User::Root => ("control group", "control group"),
            User::Ordinary => (
                "RLIMIT_DATA of each process",
                "RLIMIT_NPROC of the sandbox's user namespace",
            ),
        };
        let json: serde_json::Value =
            serde_json::from_str(&explained("--explain=json")).expect("JSON");
        let held = json["plan"]["limits"]["held"].as_array().expect("a list");
        let by: Vec<_> = held
            .iter()
            .map(|held| (held["limit"].as_str(), held["by"].as_str()))
            .collect();
        let wanted = [("time", "supervisor"), ("memory", memory), ("pids", pids)];
        assert_eq!(by, wanted.map(|(limit, by)| (Some(limit), Some(by))));
        assert_eq!(
            held[1].get("less").is_some(),
            user == User::Ordinary,
            "{held:?}"
        );
        let page = explained("--explain");
        for words in [memory, pids, "pids must hold as it says"] {
            assert!(page.contains(words), "{page}");
        }
    }
}

#[test]
fn a_limit_that_must_hold_does_for_the_run_or_nothing_starts() {
    for user in USERS {
        let workspace = Workspace::new(user);
        for key in ["memory", "cpu"] {
            let limits = format!("memory: 256M, cpu: 0.5, must-hold: [{key}]");
            if user == User::Root {
                limited(&workspace, &limits, &["true"]).exits(0);
                continue;
            }
            let path = workspace.profile(&profile(&limits));
            let said = refused(
                &workspace,
                &mut workspace.aegis(&path, &["touch", "started"]),
                125,
            );
            assert!(
                said.contains(LINE) && said.contains(&format!("limits.{key}, which must hold")),
                "{said}"
            );
            assert!(
                said.contains("it would be held ") && said.contains("help: run it "),
                "{said}"
            );
        }
        let limits = "time: 1m, pids: 16, cpu: 1, files: 64, must-hold: [time, pids, cpu, files]";
        limited(&workspace, limits, &["true"]).exits(0);
    }
}

#[test]
fn a_policy_insists_for_every_profile() {
    let workspace = Workspace::new(User::Ordinary);
    workspace.policy(&format!("{EVERYTHING}limits: {{must-hold: [memory]}}\n"));
    let path = workspace.profile(&profile("memory: 256M"));
    let said = refused(
        &workspace,
        &mut workspace.aegis(&path, &["touch", "started"]),
        125,
    );
    assert!(said.contains("must-hold (policy everything)"), "{said}");
    // What is not limited has nothing to hold.
    limited(&workspace, "", &["true"]).exits(0);
}

#[test]
fn a_profile_that_insists_on_a_limit_that_it_does_not_set_is_refused_by_the_check() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let path = workspace.profile(&profile("pids: 16, must-hold: [memory]"));
        let mut check = workspace.command(aegis_tests::program("aegis"));
        let output = check
            .args(["profile", "check"])
            .arg(&path)
            .output()
            .expect("aegis starts");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(
            text(&output).contains("limits.memory, which must hold"),
            "{}",
            text(&output)
        );
        refused(
            &workspace,
            &mut workspace.aegis(&path, &["touch", "started"]),
            125,
        );
    }
}
