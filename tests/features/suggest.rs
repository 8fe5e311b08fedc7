//! `aegis suggest`: what a profile lacks, by what was denied in a run; and adding it in place, after a yes.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use aegis_tests::audit_log::{self, aegis};
use aegis_tests::terminal::{OUTER, Terminal};
use aegis_tests::{EVERYTHING, USERS, User, Workspace, program, text};
use serde_json::Value;

const PROFILE: &str = "\
aegis: 1
# What it is for.
name: lacks
extends: [shell]
capabilities:
  files.read: # what it reads
    - $WORK/there.txt   # kept
";

/// A run that was denied a file, by its own error message, and a system call, by the kernel; its id, and the log's place.
fn denied(workspace: &Workspace) -> (PathBuf, String, String) {
    let outside = workspace.outside().join("data.txt");
    std::fs::write(&outside, "data\n").expect("write");
    workspace.own(&outside);
    workspace.write("work/there.txt", "there\n");
    let profile = workspace.write("work/p.yaml", PROFILE);
    let output = run(workspace, &outside);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let log = audit_log::place(workspace);
    let ends = audit_log::of_type(&log, "run.start");
    let id = ends[ends.len() - 1]["run"]
        .as_str()
        .expect("an id")
        .to_owned();
    (profile, id, log.to_str().expect("UTF-8").to_owned())
}

fn run(workspace: &Workspace, outside: &Path) -> Output {
    let mut command = workspace.command(program("aegis-run"));
    command.arg("--audit").arg(audit_log::place(workspace));
    // As it is named, the file is in the directory of the run.
    command.args(["--profile", "./p.yaml", "--", "cat"]);
    command.arg(outside).output().expect("it starts")
}

#[test]
fn what_a_profile_lacks_is_said_with_why_and_what_it_means() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let (profile, id, log) = denied(&workspace);
        let outside = workspace.outside().join("data.txt");
        let line = format!("capabilities: {{files.read: [{}]}}", outside.display());
        // Not from the directory of the run: the record knows that.
        let mut command = workspace.command(program("aegis"));
        command
            .current_dir("/")
            .args(["suggest", &id[..id.len() - 1], "--log", &log]);
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        let file = profile.to_str().expect("UTF-8");
        for part in [
            file,
            &line,
            "the command's error message names it",
            "risk    it can read what is there",
            "policy  allow",
        ] {
            assert!(page.contains(part), "no {part:?}, as {user:?}:\n{page}");
        }
        let output = aegis(&workspace, &["suggest", &id, "--log", &log, "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            told["file"].as_str().map(Path::new).map(Path::file_name),
            Some(profile.file_name())
        );
        assert_eq!(told["suggestions"][0]["line"], line, "{told:#}");
        assert_eq!(told["suggestions"][0]["proven"], false, "{told:#}");
        assert_eq!(told["suggestions"][0]["verdict"], "allow", "{told:#}");
        // Nothing is changed without being asked to, nor without a terminal to say yes on.
        let output = aegis(&workspace, &["suggest", &id, "--log", &log, "--apply"]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        for part in ["no terminal", "help: run this on a terminal"] {
            assert!(text(&output).contains(part), "{part}: {}", text(&output));
        }
        assert_eq!(std::fs::read_to_string(&profile).expect("text"), PROFILE);
        let output = aegis(&workspace, &["suggest", "none-such", "--log", &log]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(
            text(&output).contains("has no run whose id begins so"),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn after_a_yes_the_line_is_added_and_all_else_stays() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let (profile, id, log) = denied(&workspace);
        let outside = workspace.outside().join("data.txt");
        std::fs::set_permissions(&profile, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        std::os::unix::fs::symlink(program("aegis"), workspace.work().join("aegis"))
            .expect("a link");
        let terminal = Terminal::open(&workspace, OUTER);
        terminal.prompt("outer>", 1);
        let ask = format!("clear; ./aegis suggest {id} --log {log} --apply");
        terminal.line(&ask);
        terminal.wait("a question", |screen| screen.contains("y or N:"));
        terminal.line("n");
        terminal.wait("an answer", |screen| screen.contains("It stays as it is."));
        assert_eq!(std::fs::read_to_string(&profile).expect("text"), PROFILE);
        terminal.line(&ask);
        terminal.wait("a question", |screen| {
            screen.contains("y or N:") && !screen.contains("It stays")
        });
        terminal.line("yes");
        terminal.wait("an answer", |screen| screen.contains("1 line added"));
        let expected = format!("{PROFILE}    - {}\n", outside.display());
        assert_eq!(
            std::fs::read_to_string(&profile).expect("text"),
            expected,
            "as {user:?}"
        );
        let found = std::fs::metadata(&profile).expect("it is there");
        let owner = std::fs::metadata(workspace.work())
            .expect("it is there")
            .uid();
        assert_eq!(
            (found.mode() & 0o777, found.uid()),
            (0o640, owner),
            "as {user:?}"
        );
        // Once is enough; and it is what the run lacked.
        terminal.line(&ask);
        terminal.wait("an answer", |screen| {
            screen.contains("has all of them already")
        });
        let output = run(&workspace, &outside);
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn what_the_policy_blocks_is_left_out() {
    let workspace = Workspace::new(User::Ordinary);
    let outside = workspace.outside();
    let rule = format!(
        "capabilities:\n  - {{id: not-there, on: files.read, match: [{}/**], verdict: block}}\n",
        outside.display()
    );
    workspace.policy(&EVERYTHING.replace("capabilities:\n", &rule));
    let (profile, id, log) = denied(&workspace);
    let output = aegis(&workspace, &["suggest", &id, "--log", &log]);
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(page.contains("policy  block: "), "{page}");
    assert!(
        page.contains("The policy blocks, whatever a profile says:"),
        "{page}"
    );
    assert!(
        !page.contains("capabilities: {"),
        "it proposes no line: {page}"
    );
    let output = aegis(&workspace, &["suggest", &id, "--log", &log, "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["suggestions"], serde_json::json!([]), "{told:#}");
    assert_eq!(told["blocked"][0]["verdict"], "block", "{told:#}");
    let output = aegis(&workspace, &["show", &id, "--log", &log]);
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(page.contains("the policy blocks it: "), "{page}");
    assert!(!page.contains("allow: "), "{page}");
    for (file, says) in [
        ("none.yaml", "none.yaml cannot be read"),
        ("-", "standard input cannot be added to"),
    ] {
        let words = ["suggest", &id, "--log", &log, "--profile", file];
        let output = aegis(&workspace, &words);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(says), "{}", text(&output));
    }
    let output = aegis(&workspace, &["suggest", &id, "--log", &log, "--apply"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        text(&output).contains("Nothing is to be added."),
        "{}",
        text(&output)
    );
    assert_eq!(std::fs::read_to_string(&profile).expect("text"), PROFILE);
}
