//! A policy over whole runs: what it blocks does not start, what it warns of starts and is reported, its
//! limits apply; and everything is recorded out of the command's reach.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use aegis_tests::audit_log::{holds_up, of_type, place, record, records, run};
use aegis_tests::host::{bind, in_private_mounts, tmpfs};
use aegis_tests::outcome::{Ran, refused};
use aegis_tests::{EVERYTHING, USERS, Workspace, program, text};

const PROFILE: &str = "aegis: 1\nname: job\nextends: [shell]\n\
                       capabilities: {files.read: [$WORK, -$HOME/.ssh/id_ed25519]}\n";

/// A policy that lets everything through, followed by these rules.
fn and(rules: &str) -> String {
    format!("{EVERYTHING}{rules}")
}

fn keys_stay_out(verdict: &str) -> String {
    and(&format!(
        "  - {{id: keys, on: files.read, match: $HOME/.ssh/**, verdict: {verdict}, reason: keys stay out}}\n"
    ))
}

fn with_a_key(user: aegis_tests::User) -> Workspace {
    let workspace = Workspace::new(user);
    workspace.write("home/.ssh/id_ed25519", "a key\n");
    workspace
}

/// The types of the records of a log, except checkpoints.
fn types(log: &Path) -> Vec<String> {
    let list = records(log).into_iter();
    list.filter(|record| record["type"] != "checkpoint")
        .filter_map(|record| record["type"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn what_the_policy_blocks_is_not_started_and_is_recorded_with_the_rule() {
    for user in USERS {
        let workspace = with_a_key(user);
        workspace.policy(&keys_stay_out("block"));
        let profile = workspace.profile(PROFILE);
        let said = refused(
            &workspace,
            &mut run(&workspace, &profile, &["touch", "started"]),
            125,
        );
        for part in [
            "blocks this run",
            "files.read",
            ".ssh/id_ed25519",
            "profile.yaml:4",
            "`keys`",
            "keys stay out",
        ] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        let log = place(&workspace);
        assert_eq!(
            types(&log),
            ["run.start", "tool.exec", "policy.violation", "run.end"]
        );
        let violation = &of_type(&log, "policy.violation")[0];
        assert_eq!(violation["decision"]["verdict"], "block");
        assert_eq!(
            violation["decision"]["rules"],
            serde_json::json!(["files", "keys"])
        );
        assert_eq!(
            of_type(&log, "tool.exec")[0]["decision"]["verdict"],
            "block"
        );
        holds_up(&workspace, &log);
        // Without the rule the same profile reads the key.
        workspace.policy(EVERYTHING);
        let output = run(&workspace, &profile, &["sh", "-c", "cat ~/.ssh/id_ed25519"]).output();
        let output = output.expect("it starts");
        assert_eq!(output.stdout, b"a key\n", "{}", text(&output));
    }
}

#[test]
fn what_the_policy_wants_reviewed_is_blocked_where_nobody_can_be_asked() {
    for user in USERS {
        let workspace = with_a_key(user);
        workspace.policy(&keys_stay_out("review"));
        let profile = workspace.profile(PROFILE);
        let mut command = run(&workspace, &profile, &["touch", "started"]);
        // A session without a terminal.
        let program = command.get_program().to_owned();
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        command = workspace.command("setsid");
        command.arg("--wait").arg(program).args(words);
        let said = refused(&workspace, command.stdin(Stdio::null()), 125);
        assert!(said.contains("no terminal"), "{said}");
        let log = place(&workspace);
        assert_eq!(
            types(&log),
            [
                "run.start",
                "approval",
                "tool.exec",
                "policy.violation",
                "run.end"
            ]
        );
        assert_eq!(
            of_type(&log, "policy.violation")[0]["decision"]["verdict"],
            "review"
        );
        holds_up(&workspace, &log);
    }
}

#[test]
fn what_the_policy_warns_of_runs_and_is_told_everywhere() {
    for user in USERS {
        let workspace = with_a_key(user);
        for policy in [
            keys_stay_out("warn"),
            // A blocking rule that is being rolled out.
            keys_stay_out("block, mode: warn"),
        ] {
            workspace.policy(&policy);
            let profile = workspace.profile(PROFILE);
            let ran = Ran::new(&workspace, &profile, &["sh", "-c", "cat ~/.ssh/id_ed25519"]);
            ran.exits(0);
            assert_eq!(ran.printed(), "a key");
            let stderr = String::from_utf8_lossy(&ran.output.stderr);
            assert!(stderr.contains("warning: policy: files.read"), "{stderr}");
            assert!(stderr.contains("`keys`"), "{stderr}");
            // The operator's warning is not what `--quiet` is about.
            let mut quiet = workspace.command(program("aegis-run"));
            quiet
                .arg("--profile")
                .arg(&profile)
                .args(["--quiet", "true"]);
            let quiet = quiet.output().expect("it starts");
            let said = String::from_utf8_lossy(&quiet.stderr);
            assert!(said.contains("warning: policy: files.read"), "{said}");
            let violations = ran.report["violations"].as_array().expect("a list");
            assert_eq!(violations.len(), 1, "{}", ran.told());
            assert_eq!(violations[0]["verdict"], "warn");
            assert_eq!(violations[0]["rules"], serde_json::json!(["files", "keys"]));
            assert_eq!(ran.report["policy_hash"].as_str().map(str::len), Some(64));
            // The report says where in the log.
            let log = ran.report["audit"]["log"].as_str().expect("a log");
            let first = ran.report["audit"]["first"].as_u64().expect("a place");
            let start = record(Path::new(log), first).expect("the record");
            assert_eq!(start["type"], "run.start");
            assert_eq!(start["run"], ran.report["run"]);
        }
    }
}

#[test]
fn a_ceiling_holds_for_a_profile_that_asks_for_more_or_for_nothing() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.policy(&and("limits: {time: 300ms, files: 20}\n"));
        for asked in ["", "limits: {time: 1h}\n"] {
            let profile =
                workspace.profile(&format!("aegis: 1\nname: job\nextends: [shell]\n{asked}"));
            let ran = Ran::new(&workspace, &profile, &["sleep", "1000"]);
            ran.exits(124).because("time-limit");
            let ran = Ran::new(&workspace, &profile, &["sh", "-c", "ulimit -n"]);
            ran.exits(0);
            assert_eq!(ran.printed(), "20");
        }
        let profile =
            workspace.profile("aegis: 1\nname: job\nextends: [shell]\nlimits: {files: 16}\n");
        assert_eq!(
            Ran::new(&workspace, &profile, &["sh", "-c", "ulimit -n"]).printed(),
            "16"
        );
    }
}

#[test]
fn a_user_cannot_widen_the_system_s_policy() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = with_a_key(user);
            let profile = workspace.profile(PROFILE);
            let etc = Path::new("/mnt");
            tmpfs(etc, "mode=755");
            std::fs::write(etc.join("policy.yaml"), keys_stay_out("block")).expect("a policy");
            let there = Path::new("/etc/aegis");
            let made = !there.exists();
            if made {
                std::fs::create_dir(there).expect("mkdir");
            }
            bind(etc, there);
            workspace.policy(EVERYTHING);
            for words in [&[][..], &["--policy", "permissive"]] {
                let words: Vec<&str> = words.iter().copied().chain(["touch", "started"]).collect();
                let said = refused(&workspace, &mut run(&workspace, &profile, &words), 125);
                assert!(said.contains("keys"), "{said}");
            }
            // The user's policy narrows further.
            std::fs::write(etc.join("policy.yaml"), EVERYTHING).expect("a policy");
            workspace.policy(&keys_stay_out("block"));
            refused(
                &workspace,
                &mut run(&workspace, &profile, &["touch", "started"]),
                125,
            );
            workspace.policy(EVERYTHING);
            let output = run(&workspace, &profile, &["true"])
                .output()
                .expect("it starts");
            assert!(output.status.success(), "{}", text(&output));
            // A system policy that others may write is not trusted.
            let mode = std::fs::Permissions::from_mode(0o666);
            std::fs::set_permissions(etc.join("policy.yaml"), mode).expect("chmod");
            let said = refused(
                &workspace,
                &mut run(&workspace, &profile, &["touch", "started"]),
                125,
            );
            assert!(said.contains("/etc/aegis/policy.yaml"), "{said}");
            if made {
                // The directory that was mounted over; only this test uses it.
                let _ = std::process::Command::new("umount").arg(there).status();
                let _ = std::fs::remove_dir(there);
            }
        });
    }
}

#[test]
fn a_policy_that_cannot_be_used_stops_everything() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(PROFILE);
        for (policy, says) in [
            ("", "empty"),
            ("aegis-policy: 2\nname: x\n", "version"),
            ("name: x\n", "aegis-policy"),
            (
                "aegis-policy: 1\ncapabilites: []\n",
                "did you mean `capabilities`?",
            ),
            (
                "aegis-policy: 1\ncapabilities:\n  - {id: a, on: files.read, match: x, verdict: allow}\n",
                "policy.yaml:3",
            ),
            (
                "aegis-policy: 1\ncapabilities:\n  - {id: a, on: files.read, match: /x}\n",
                "verdict",
            ),
            (
                "aegis-policy: 1\ncapabilities:\n  - {id: a, on: files.raed, match: /x, verdict: allow}\n",
                "files.read",
            ),
            ("aegis-policy: 1\nname: &a x\n", "anchor"),
            (
                &format!("aegis-policy: 1\n# {}\n", "x".repeat(10 << 20)),
                "larger than",
            ),
            (
                &format!("aegis-policy: 1\nname: {}\n", "[".repeat(100_000)),
                "recursion limit",
            ),
        ] {
            workspace.policy(policy);
            let said = refused(
                &workspace,
                &mut run(&workspace, &profile, &["touch", "started"]),
                125,
            );
            let shown: String = policy.chars().take(80).collect();
            assert!(said.contains(says), "{shown}: {said}");
        }
        // A directory in its place, and one that cannot be read.
        let file = workspace.policy(EVERYTHING);
        std::fs::remove_file(&file).expect("rm");
        std::fs::create_dir(&file).expect("mkdir");
        refused(
            &workspace,
            &mut run(&workspace, &profile, &["touch", "started"]),
            125,
        );
        assert!(
            records(&place(&workspace)).is_empty(),
            "nothing was recorded of no run"
        );
    }
}

#[test]
fn the_log_is_out_of_the_command_s_reach() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let log = workspace.work().join("log");
        let profile = workspace.profile(
            "aegis: 1\nname: job\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n",
        );
        let mut command = workspace.command(aegis_tests::program("aegis-run"));
        command
            .arg("--audit")
            .arg(&log)
            .arg("--profile")
            .arg(&profile)
            .args(["touch", "started"]);
        let said = refused(&workspace, &mut command, 125);
        assert!(
            said.contains("Aegis's own") && said.contains("/work/log"),
            "{said}"
        );
        // By another name, and from inside.
        std::os::unix::fs::symlink(&log, workspace.work().join("link")).expect("a link");
        for grant in ["$WORK/log", "$WORK/link", "$WORK/log/policies"] {
            let set = format!("capabilities.files.read=[{grant}]");
            let mut command = workspace.command(aegis_tests::program("aegis-run"));
            command
                .arg("--audit")
                .arg(&log)
                .args(["--profile", "shell", "--set", &set]);
            let said = refused(&workspace, command.args(["touch", "started"]), 125);
            assert!(said.contains("Aegis's own"), "{grant}: {said}");
        }
        // No descriptor of it is left open in the command.
        let profile = workspace.profile(PROFILE);
        let output = run(
            &workspace,
            &profile,
            &["sh", "-c", "ls /proc/self/fd | sort -n | tr '\\n' ' '"],
        );
        let output = { output }.output().expect("it starts");
        // 0, 1, 2, and the directory that ls reads.
        assert_eq!(output.stdout, b"0 1 2 3 ", "{}", text(&output));
    }
}

#[test]
fn each_refusal_at_run_time_is_an_event() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let secret = workspace.outside().join("secret");
        std::fs::write(&secret, "x").expect("a file");
        let profile =
            workspace.profile(&PROFILE.replace("{files", "{shell.exec: [unshare], files"));
        let log = place(&workspace);
        for (line, kind, action) in [
            (
                format!("cat {}", secret.display()),
                "file.access",
                "files.read",
            ),
            ("touch made".into(), "file.access", "files.write"),
            ("git --version".into(), "tool.exec", "shell.exec"),
            (
                "unshare -U true".into(),
                "policy.violation",
                "syscalls.allow",
            ),
        ] {
            let before = records(&log).len();
            let output = run(&workspace, &profile, &["sh", "-c", &line])
                .output()
                .expect("it starts");
            assert!(!output.status.success(), "{line}: {}", text(&output));
            let new = records(&log).split_off(before);
            let found = new
                .iter()
                .find(|record| record["type"] == kind && record["detail"]["outcome"] == "refused");
            let found = found.unwrap_or_else(|| panic!("{line}: no {kind} in {new:#?}"));
            assert_eq!(found["request"]["what"]["action"], action, "{line}");
            let start = new.iter().find(|record| record["type"] == "run.start");
            assert_eq!(found["run"], start.expect("a start")["run"], "{line}");
        }
        holds_up(&workspace, &log);
    }
}

#[test]
fn many_runs_write_one_log_and_a_killed_one_leaves_it_whole() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(PROFILE);
        let log = place(&workspace);
        let start = |words: &[&str]| {
            let mut command = run(&workspace, &profile, words);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("it starts")
        };
        let runs: Vec<_> = (0..24).map(|_| start(&["true"])).collect();
        for run in runs {
            let output = run.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", text(&output));
        }
        assert_eq!(of_type(&log, "run.start").len(), 24);
        assert_eq!(of_type(&log, "run.end").len(), 24);
        holds_up(&workspace, &log);
        // Killed while the command runs: its record has no end, and the log continues.
        let mut killed = start(&["sh", "-c", "echo on; exec sleep 1000"]);
        let mut line = [0; 3];
        let stdout = killed.stdout.as_mut().expect("a pipe");
        std::io::Read::read_exact(stdout, &mut line).expect("the command runs");
        killed.kill().expect("kill");
        killed.wait().expect("it ends");
        assert_eq!(of_type(&log, "run.start").len(), 25);
        assert!(start(&["true"]).wait().expect("it ends").success());
        assert_eq!(of_type(&log, "run.end").len(), 25);
    }
}
