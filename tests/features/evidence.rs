//! The record of whole runs as evidence: what is said where it cannot be written or has lost something, and what it takes.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use aegis_tests::audit_log::{aegis, holds_up, of_type, place, run};
use aegis_tests::host::{in_private_mounts, tmpfs};
use aegis_tests::outcome::refused;
use aegis_tests::{EVERYTHING, USERS, User, Workspace, program, text};

const PROFILE: &str = "aegis: 1\nname: job\nextends: [shell]\n";

#[test]
fn a_log_that_cannot_be_written_stops_the_run_unless_the_policy_says_otherwise() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = Workspace::new(user);
            let profile = workspace.profile(PROFILE);
            // Space for the log's beginning, but not for a run.
            tmpfs(Path::new("/mnt"), "mode=1777,size=4k");
            let attempt = || {
                let mut command = workspace.command(aegis_tests::program("aegis-run"));
                command
                    .args(["--audit", "/mnt/log"])
                    .arg("--profile")
                    .arg(&profile);
                command
            };
            let mut command = attempt();
            let said = refused(&workspace, command.args(["touch", "started"]), 125);
            assert!(said.contains("cannot be recorded"), "{said}");
            assert!(said.contains("No space left on device"), "{said}");
            workspace.policy(&format!("{EVERYTHING}audit-failure: continue\n"));
            let mut command = attempt();
            let report = workspace.outside().join("report.json");
            command.arg("--report").arg(&report).arg("true");
            let output = command.output().expect("it starts");
            assert!(output.status.success(), "{}", text(&output));
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(stderr.contains("not recorded"), "{stderr}");
            let report = std::fs::read(report).expect("a report");
            let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
            let why = report["audit"]["unrecorded"].as_str().expect("a reason");
            assert!(why.contains("No space left on device"), "{why}");
        });
    }
}

#[test]
fn a_report_says_that_the_end_of_its_run_could_not_be_recorded() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let log = place(&workspace);
        let report = workspace.outside().join("report.json");
        let mut command = run(&workspace, Path::new("shell"), &[]);
        command.arg("--report").arg(&report);
        command.args(["sh", "-c", "echo started; cat"]);
        let mut child = (command.stdin(Stdio::piped()).stdout(Stdio::piped()))
            .spawn()
            .expect("aegis-run starts");
        let mut started = [0; 8];
        let out = child.stdout.as_mut().expect("a pipe");
        out.read_exact(&mut started).expect("it says so");
        // Nothing is appended to a log whose end was changed.
        let mut segment = OpenOptions::new()
            .append(true)
            .open(log.join("000001.jsonl"))
            .expect("the log");
        segment.write_all(b"not a record\n").expect("written");
        drop(child.stdin.take());
        let status = child.wait().expect("an end");
        assert_eq!(status.code(), Some(125));
        let report = std::fs::read(report).expect("a report");
        let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
        assert_eq!(report["exit_status"], 125);
        let why = report["audit"]["unrecorded"].as_str().expect("a reason");
        assert!(why.contains("tampered with or damaged"), "{why}");
    }
}

#[test]
fn a_log_that_was_emptied_is_told_of_by_the_next_run_and_by_verify() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let log = place(&workspace);
        let started = || {
            let output = run(&workspace, Path::new("base"), &["true"]).output();
            let output = output.expect("aegis-run starts");
            assert!(output.status.success(), "{}", text(&output));
            String::from_utf8(output.stderr).expect("text")
        };
        assert_eq!(started() + &started(), "");
        std::fs::write(log.join("000001.jsonl"), "").expect("emptied");
        let verify = || {
            aegis(
                &workspace,
                &["audit", "verify", log.to_str().expect("a path")],
            )
        };
        let said = text(&verify());
        assert!(said.contains("was the last that was signed here"), "{said}");
        let said = started();
        assert!(
            said.contains("it was emptied or removed: checkpoint 2:"),
            "{said}"
        );
        assert_eq!(started(), "", "it is told once");
        let output = verify();
        assert!(!output.status.success(), "{}", text(&output));
        let hash = &of_type(&log, "log.missing")[0]["detail"]["signed"]["hash"];
        assert!(
            text(&output).contains(hash.as_str().expect("a hash")),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn a_usual_run_adds_less_than_two_kilobytes_to_the_log_and_is_decided_again() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let log = place(&workspace);
        let length = || {
            std::fs::metadata(log.join("000001.jsonl"))
                .expect("the log")
                .len()
        };
        let repeated = || std::fs::read_dir(log.join("repeated")).expect("it").count();
        let words = ["sh", "-c", "echo of the usual length >/dev/null"];
        let mut before = (0, 0);
        for n in 0..3 {
            let output = run(&workspace, Path::new("shell"), &words).output();
            assert!(
                output.as_ref().is_ok_and(|output| output.status.success()),
                "{output:?}"
            );
            let now = (length(), repeated());
            if n > 0 {
                let added = now.0 - before.0;
                assert!(added <= 2048, "{added} bytes");
                assert_eq!(now.1, before.1, "what is the same is stored once");
            }
            before = now;
        }
        holds_up(&workspace, &log);
        let output = aegis(
            &workspace,
            &["audit", "runs", log.to_str().expect("a path")],
        );
        let lines = String::from_utf8_lossy(&output.stdout).lines().count();
        assert_eq!(lines, 4, "{}", text(&output));
        let export = aegis(
            &workspace,
            &["audit", "export", log.to_str().expect("a path")],
        );
        let file = workspace.outside().join("log.jsonl");
        std::fs::write(&file, export.stdout).expect("written");
        holds_up(&workspace, &file);
        // And what is left of it after pruning.
        let prune = [
            "audit",
            "prune",
            log.to_str().expect("a path"),
            "--max",
            "1K",
        ];
        let output = aegis(&workspace, &prune);
        assert!(output.status.success(), "{}", text(&output));
        assert!(output.stdout.starts_with(b"pruned: "), "{}", text(&output));
        holds_up(&workspace, &log);
    }
}

#[test]
fn the_run_that_makes_a_key_says_so() {
    // Root's log is the machine's.
    let workspace = Workspace::new(User::Ordinary);
    let own = workspace.state().join("aegis");
    let run = || {
        let mut command = workspace.command(program("aegis-run"));
        let output = command.arg("true").output().expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stderr).expect("text")
    };
    assert_eq!(run(), "", "a key is there");
    let note = format!(
        "aegis-run: note: a new signing key was made in {}\n",
        own.join("keys").display()
    );
    // If its state was moved away, that is reported.
    std::fs::remove_dir_all(&own).expect("removed");
    assert_eq!(run(), note);
    assert_eq!(run(), "", "once");
}
