//! `aegis-learn`: profiles of what commands were seen to do.

mod cases;

use std::process::Output;

use aegis_tests::{User, Workspace, program, text};

use crate::observation::observed;
use serde_json::Value;

/// `aegis-learn` with these words, in the workspace's directory.
fn learn(workspace: &Workspace, words: &[&str]) -> Output {
    (workspace.command(program("aegis-learn")).args(words))
        .output()
        .expect("aegis-learn starts")
}

fn value(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// The skill reads keys, a password and the network, and is not shown them.
#[test]
fn secrets_are_kept_from_what_is_learnt_and_asking_for_them_is_told() {
    let workspace = Workspace::new(User::Root);
    workspace.write("home/.ssh/id_ed25519", "top secret\n");
    workspace.write("home/.aws/credentials", "top secret\n");
    workspace.write("work/file", "mine\n");
    let script = "cat file ~/.ssh/id_ed25519 ~/.aws/credentials /etc/shadow; echo x > ~/.ssh/authorized_keys; \
                  exec 3<>/dev/tcp/127.0.0.1/22; cat ~/.ssh/id_ed25519 > stolen; true";
    let output = learn(
        &workspace,
        &[
            "--policy",
            "standard",
            "--json",
            "--no-verify",
            "--",
            "bash",
            "-c",
            script,
        ],
    );
    let told = text(&output);
    assert!(!told.contains("top secret"), "{told}");
    let learnt = value(&output);
    let hidden: Vec<&str> = (learnt["hidden"].as_array().expect("a list").iter())
        .map(|hidden| hidden["path"].as_str().expect("a path"))
        .collect();
    for secret in [".ssh/id_ed25519", ".aws/credentials"] {
        let path = workspace.home().join(secret).display().to_string();
        assert!(hidden.contains(&&*path), "{secret}: {learnt:#}");
    }
    let profile = learnt["profile"].as_str().expect("text");
    for secret in [".ssh", ".aws", "shadow"] {
        let granted = profile
            .lines()
            .find(|line| line.trim_start().starts_with("- ") && line.contains(secret));
        assert_eq!(granted, None, "{profile}");
    }
    assert!(!workspace.home().join(".ssh/authorized_keys").exists());
}

#[test]
fn several_runs_are_merged_and_the_last_says_that_nothing_new_came() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/a", "1\n");
    let output = learn(
        &workspace,
        &["--runs", "3", "-o", "out.yaml", "--", "cat", "a"],
    );
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("run 3: nothing new"), "{told}");
    let profile = std::fs::read_to_string(workspace.work().join("out.yaml")).expect("written");
    assert!(profile.contains("from 3 runs of"), "{profile}");
    assert!(profile.contains("# Verified on "), "{profile}");
}

#[test]
fn what_was_saved_is_learnt_from_without_running_anything() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/a", "1\n");
    for (number, script) in ["cat a", "tr a b < a", "ls"].iter().enumerate() {
        let saved = format!("{number}.json");
        let ran = (workspace.command(program("aegis-run")))
            .args([
                "--profile",
                "shell",
                "--set",
                "capabilities.files.read=[$WORK]",
                "--record",
                &saved,
            ])
            .args(["sh", "-c", script])
            .output()
            .expect("aegis-run starts");
        assert!(ran.status.success(), "{}", text(&ran));
    }
    let all = learn(&workspace, &["--from", "0.json", "1.json", "2.json"]);
    let told = text(&all);
    assert_eq!(all.status.code(), Some(0), "{told}");
    for program in ["cat", "tr", "ls"] {
        assert!(told.contains(&format!("- {program} ")), "{told}");
    }
    let backwards = learn(&workspace, &["--from", "2.json", "0.json", "1.json"]);
    assert_eq!(
        backwards.stdout, all.stdout,
        "the order makes no difference"
    );
    let wrong = workspace.write("work/wrong.json", "{\"aegis-observation\": 1");
    let refused = learn(&workspace, &["--from", &wrong.display().to_string()]);
    assert_eq!(refused.status.code(), Some(125), "{}", text(&refused));
    assert!(
        text(&refused).contains("line 1, column"),
        "{}",
        text(&refused)
    );
}

#[test]
fn an_older_profile_is_compared_and_trimmed_and_never_widened() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/a", "1\n");
    let old = "aegis: 1\nname: old\nextends: [base]\ncapabilities:\n  files.read: [/opt]\n  shell.exec: [cat, wc, git]\n";
    let place = workspace.profile(old);
    let place = place.display().to_string();
    let output = learn(&workspace, &["--against", &place, "--", "cat", "a"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "it lacks something: {told}");
    for part in [
        "it lacks:",
        "files.read: $WORK",
        "no run used:",
        "files.read: /opt",
        "shell.exec: git",
        "shell.exec: wc",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let trimmed = learn(
        &workspace,
        &["--against", &place, "--trim", "--", "cat", "a"],
    );
    let smaller = String::from_utf8_lossy(&trimmed.stdout);
    assert!(
        smaller.contains("cat") && !smaller.contains("/opt") && !smaller.contains("git"),
        "{smaller}"
    );
    assert!(!smaller.contains("$WORK"), "it is not widened: {smaller}");
    assert_eq!(std::fs::read_to_string(&place).expect("it is there"), old);
    // As JSON, which standard output has alone wherever the profile goes.
    for (written, to) in [(false, &["-o", "-"][..]), (true, &["-o", "smaller.yaml"])] {
        let words = ["--against", &place, "--trim", "--json", "--", "cat", "a"];
        let told = value(&learn(&workspace, &[to, &words].concat()));
        assert_eq!(told["profile"], *smaller, "{told:#}");
        assert_eq!(told["lines"][0]["value"], "$WORK", "{told:#}");
        assert_eq!(told["runs"], 1, "{told:#}");
        assert!(told["complete"].is_boolean(), "{told:#}");
        let file = std::fs::read_to_string(workspace.work().join("smaller.yaml"));
        assert_eq!(file.ok().as_deref(), written.then_some(&*smaller));
    }
    // The same of a new profile.
    let told = value(&learn(
        &workspace,
        &["--json", "--no-verify", "-o", "-", "--", "true"],
    ));
    assert!(told["profile"].is_string(), "{told:#}");
}

#[test]
fn changes_are_kept_on_request_alone() {
    observed(|workspace| {
        let output = learn(
            workspace,
            &["--no-verify", "--", "sh", "-c", "echo x > made"],
        );
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(text(&output).contains("added "), "{}", text(&output));
        assert!(!workspace.work().join("made").exists());
        let kept = learn(
            workspace,
            &[
                "--keep-changes",
                "--no-verify",
                "--",
                "sh",
                "-c",
                "echo x > made",
            ],
        );
        assert_eq!(kept.status.code(), Some(0), "{}", text(&kept));
        assert!(workspace.work().join("made").exists(), "{}", text(&kept));
    });
}

#[test]
fn what_cannot_be_learnt_is_said_and_nothing_is_written() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/there.yaml", "mine\n");
    for (words, status, expected) in [
        (
            &["-o", "there.yaml", "--", "true"][..],
            125,
            "--force replaces it",
        ),
        (&["--", "not-a-command"][..], 127, "command not found"),
        (
            &["-o", "none/skill.yaml", "--", "true"][..],
            125,
            "cannot be written",
        ),
        (
            &["--from", "none.json"][..],
            125,
            "none.json cannot be read",
        ),
        (
            &["--policy", "none.yaml", "--", "true"][..],
            125,
            "none.yaml",
        ),
        (
            &["--allow-net", "example.org", "--", "true"][..],
            125,
            "host",
        ),
        (&[][..], 125, "COMMAND"),
    ] {
        let output = learn(&workspace, words);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {told}");
        assert!(told.contains(expected), "{words:?}: {told}");
    }
    let kept = std::fs::read_to_string(workspace.work().join("there.yaml"));
    assert_eq!(kept.expect("it is there"), "mine\n");
}

/// Under the profile there are fewer mounts than there are to learn from.
#[test]
fn a_run_that_ends_otherwise_is_not_verified() {
    let workspace = Workspace::new(User::Root);
    let script = "exit $(( $(wc -l < /proc/self/mountinfo) % 200 ))";
    let output = learn(&workspace, &["-o", "p.yaml", "--", "sh", "-c", script]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("NOT verified: under the profile it ended with status"),
        "{told}"
    );
    let profile = std::fs::read_to_string(workspace.work().join("p.yaml")).expect("written");
    assert!(!profile.contains("# Verified"), "{profile}");
}

#[test]
fn where_the_working_directory_is_not_there_that_is_told() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/sub/other", "");
    workspace.write("work/data", "1\n");
    let learnt = |words: &[&str]| {
        let output = (workspace.command(program("aegis-learn")))
            .args(words)
            .current_dir(workspace.work().join("sub"))
            .output()
            .expect("aegis-learn starts");
        (output.status.code(), text(&output))
    };
    // It ends as before; its output is another.
    let (status, told) = learnt(&["--", "pwd"]);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("where it begins: in /"), "{told}");
    // What the command itself names relative to its directory.
    let (status, told) = learnt(&["-o", "../p.yaml", "--", "sh", "-c", "cat ../data"]);
    assert_eq!(status, Some(1), "{told}");
    let cause = "it began in /, as the profile grants nothing in the working directory";
    assert!(told.contains(cause), "{told}");
    // The line that is told.
    let place = workspace.work().join("p.yaml");
    let profile = std::fs::read_to_string(&place).expect("written");
    let healed = profile.replacen("files.read:\n", "files.read:\n    - $WORK\n", 1);
    std::fs::write(&place, healed).expect("written");
    let ran = (workspace.command(program("aegis-run")))
        .args(["--profile", "../p.yaml"])
        .current_dir(workspace.work().join("sub"))
        .output()
        .expect("aegis-run starts");
    assert_eq!(ran.stdout, b"1\n", "{}", text(&ran));
}

#[test]
fn the_rules_are_printed() {
    let workspace = Workspace::new(User::Ordinary);
    let output = learn(&workspace, &["--rules"]);
    assert_eq!(output.status.code(), Some(0));
    for rule in ["variables", "packages", "limits.memory"] {
        assert!(text(&output).contains(rule), "{}", text(&output));
    }
}
