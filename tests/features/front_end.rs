//! Front ends other than `aegis-run`, built on `aegis-launch`: its two examples.

use std::process::{Command, Stdio};

use aegis_tests::audit_log::{aegis, holds_up, of_type, records};
use aegis_tests::{EVERYTHING, USERS, User, Workspace, host, program, text};
use serde_json::Value;

/// The user's own log; root's is the machine's, so its tests use an ordinary user.
fn own_log(workspace: &Workspace) -> std::path::PathBuf {
    workspace.state().join("aegis/audit")
}

/// Tries a system call that the filter denies, and waits until the denial is reported to it.
const WAITS: &str = "unshare --user true 2>/dev/null && exit 9\n\
    read -r -t 30 told <&$DENIALS\n\
    echo \"told: $told\" > /work/told\n\
    cat /motd; ls /";

fn front_end(workspace: &Workspace, script: &str) -> Command {
    let mut command = workspace.command(program("front-end"));
    command
        .arg(workspace.work())
        .args(["/usr/bin/bash", "-c", script])
        .stdin(Stdio::null());
    command
}

#[test]
fn a_front_end_makes_a_plan_from_operations_and_gets_its_denials_while_it_runs() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let output = front_end(&workspace, WAITS).output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stdout);
        for part in [
            "denied by seccomp: the system call unshare",
            "from operations",
            "scratch",
        ] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        let told = std::fs::read_to_string(workspace.work().join("told")).expect("it was told");
        assert_eq!(told, "told: the system call unshare\n");
    }
}

/// Its supervisor may have other things to do, and a signal would end it.
#[test]
fn aegis_kill_sends_another_front_end_no_signal() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let mut child = host::started(&mut front_end(&workspace, "echo up; sleep 1000"), "up");
        let output = aegis(&workspace, &["ps", "--json"]);
        let list: Value = serde_json::from_slice(&output.stdout).expect("a list");
        let own = |run: &&Value| run["pid"] == child.id();
        let run = list.as_array().expect("a list").iter().find(own);
        let id = run.expect("it is listed")["id"].as_str().expect("an id");
        let output = aegis(&workspace, &["kill", id]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(
            text(&output).contains("--signal KILL ends"),
            "{}",
            text(&output)
        );
        assert_eq!(child.try_wait().expect("its state"), None);
        let output = aegis(&workspace, &["kill", "--signal", "KILL", id]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let ended = child.wait().expect("it ends");
        assert_eq!(
            ended.code(),
            Some(128 + libc::SIGKILL),
            "as the command did"
        );
    }
}

#[test]
fn what_a_front_end_mounts_is_asked_of_the_policy_and_recorded() {
    let workspace = Workspace::new(User::Ordinary);
    let output = front_end(&workspace, "true").output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let log = own_log(&workspace);
    let types: Vec<_> = records(&log).iter().map(|r| r["type"].clone()).collect();
    for kind in ["run.start", "tool.exec", "run.end"] {
        assert!(types.contains(&kind.into()), "no {kind} in {types:?}");
    }
    let grants = of_type(&log, "tool.exec")[0]["request"]["what"]["grants"].to_string();
    let work = workspace.work();
    let work = work
        .canonicalize()
        .expect("the workspace")
        .display()
        .to_string();
    for part in ["\"files.write\"", &work, "\"shell.exec\"", "\"/usr\""] {
        assert!(grants.contains(part), "no {part} in {grants}");
    }
    holds_up(&workspace, &log);

    let block = format!(
        "{EVERYTHING}  - {{id: mine, on: files.write, match: '{work}/**', verdict: block}}\n"
    );
    workspace.policy(&block);
    let output = front_end(&workspace, "touch /work/started")
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(125), "{}", text(&output));
    assert!(!workspace.work().join("started").exists());
    assert_eq!(of_type(&log, "policy.violation").len(), 1);
}

#[test]
fn a_front_end_cannot_mount_what_is_aegis_s_own() {
    let workspace = Workspace::new(User::Ordinary);
    let state = workspace.state().join("aegis");
    let mut command = workspace.command(program("front-end"));
    command.arg(&state).args(["/usr/bin/bash", "-c", "true"]);
    let output = command.output().expect("it starts");
    assert_eq!(output.status.code(), Some(125), "{}", text(&output));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("Aegis's own"),
        "{}",
        text(&output)
    );
}

#[test]
fn the_example_of_the_library_confines_a_command() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("home/secret", "secret\n");
        let profile = workspace.profile("aegis: 1\nextends: [shell]\n");
        let confine = |words: &[&str]| {
            let mut command = workspace.command(program("confine"));
            command.arg(&profile).args(words);
            command.output().expect("it starts")
        };
        let output = confine(&["sh", "-c", "cat ~/secret; unshare --user true; exit 7"]);
        assert_eq!(output.status.code(), Some(7), "{}", text(&output));
        assert!(output.stdout.is_empty(), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("denied by"), "{said}");
        let bare = Command::new("cat")
            .arg(workspace.home().join("secret"))
            .output();
        assert_eq!(bare.expect("cat").stdout, b"secret\n", "the control");
    }
}
