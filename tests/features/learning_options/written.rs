//! Where a profile and its baseline are written, what they replace, and where they are found again.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use aegis_tests::audit_log::{aegis, place};
use aegis_tests::{ORDINARY, USERS, User, Workspace, host, program, text};
use serde_json::Value;

use super::{learn, output, refused, shell};
use crate::observation::observed;

#[test]
fn only_a_regular_file_is_replaced_by_what_is_written() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("work/a", "1\n");
        let work = workspace.work();
        let made = shell(
            &workspace,
            "mkfifo pipe both.baseline.json filter; ln -s a link; mkdir directory",
        );
        assert!(made.status.success(), "{}", text(&made));
        for place in ["/dev/null", "pipe", "link", "directory", "both.yaml"] {
            let output = learn(&workspace, &["--force", "-o", place, "--", "cat", "a"]);
            refused(&output, 125, "cannot be written: it is not a regular file");
        }
        let export = [
            "profile", "export", "--force", "--format", "bwrap", "python",
        ];
        let named = |words: &[&'static str]| -> Vec<&'static str> {
            [&export[..], words, &["--", "python3"]].concat()
        };
        for place in ["/dev/null", "filter", "-"] {
            let words = named(&["-o", "run.sh", "--seccomp", place]);
            refused(&aegis(&workspace, &words), 1, "help:");
        }
        refused(
            &aegis(
                &workspace,
                &named(&["-o", "run.sh", "--seccomp", "./run.sh"]),
            ),
            1,
            "would have both",
        );
        for place in ["pipe", "link"] {
            let output = aegis(&workspace, &["policy", "new", "-o", place]);
            refused(&output, 1, "it is not a regular file");
        }
        for pipe in ["pipe", "both.baseline.json", "filter"] {
            let found = fs::symlink_metadata(work.join(pipe)).expect("it is there");
            assert!(found.file_type().is_fifo(), "{pipe}");
        }
        assert_eq!(fs::read_to_string(work.join("a")).expect("a file"), "1\n");
        assert!(!work.join("run.sh").exists() && !work.join("both.yaml").exists());
        let null = fs::metadata("/dev/null").expect("a device");
        assert!(null.file_type().is_char_device());
    }
}

#[test]
fn a_dash_is_standard_output_and_standard_input() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/a", "1\n");
    let learnt = learn(&workspace, &["-o", "-", "--", "cat", "a"]);
    assert_eq!(learnt.status.code(), Some(0), "{}", text(&learnt));
    assert!(
        learnt.stdout.starts_with(b"aegis: 1\n"),
        "{}",
        text(&learnt)
    );
    let given = shell(
        &workspace,
        "aegis-learn --quiet -o /dev/fd/3 -- cat a 3> given.yaml",
    );
    assert_eq!(given.status.code(), Some(0), "{}", text(&given));
    assert_eq!(given.stdout, b"1\n1\n", "the command's own");
    let given = fs::read_to_string(workspace.work().join("given.yaml")).expect("it is there");
    assert!(
        given.starts_with("aegis: 1\n") && !given.contains("baseline"),
        "{given}"
    );
    let line = "aegis-run --record r.json cat a > out && aegis-learn --from - < r.json && aegis show --record - < r.json";
    let read = shell(&workspace, line);
    assert_eq!(read.status.code(), Some(0), "{}", text(&read));
    assert!(text(&read).contains("- cat "), "{}", text(&read));
    let export = [
        "profile", "export", "--format", "bwrap", "python", "-o", "-", "--", "python3",
    ];
    let script = aegis(&workspace, &export);
    assert!(
        script.stdout.starts_with(b"#!/bin/sh\n"),
        "{}",
        text(&script)
    );
    let policy = aegis(&workspace, &["policy", "new", "-o", "-"]);
    assert!(
        String::from_utf8_lossy(&policy.stdout).contains("aegis-policy: 1"),
        "{}",
        text(&policy)
    );
    for name in ["-", "-.baseline.json", "-.test.yaml"] {
        assert!(!workspace.work().join(name).exists(), "{name}");
    }
}

#[test]
fn what_can_be_written_nowhere_is_an_error() {
    let workspace = Workspace::new(User::Ordinary);
    workspace.write("work/a", "1\n");
    for (line, status) in [
        ("aegis-learn -- cat a >&-", 125),
        ("aegis-learn -- cat a > /dev/full", 125),
        ("aegis-learn --rules >&-", 125),
        ("aegis-run --help >&-", 125),
        ("aegis profile show python >&-", 1),
        ("aegis profile show python > /dev/full", 1),
    ] {
        let output = shell(&workspace, line);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{line}: {}",
            text(&output)
        );
        assert!(
            text(&output).contains("standard output"),
            "{line}: {}",
            text(&output)
        );
    }
}

/// Each is a page, and there is room for one.
#[test]
fn a_profile_and_its_baseline_are_written_both_or_neither() {
    host::in_private_mounts(|| {
        let workspace = Workspace::new(User::Root);
        workspace.write("work/a", "1\n");
        let full = workspace.outside();
        host::tmpfs(&full, "size=4k");
        let profile = full.join("p.yaml");
        let output = learn(
            &workspace,
            &["-o", profile.to_str().expect("UTF-8"), "--", "cat", "a"],
        );
        refused(&output, 125, "No space left on device");
        assert_eq!(
            fs::read_dir(&full).expect("it is there").count(),
            0,
            "{}",
            text(&output)
        );
    });
}

/// As in containers, and under `sudo`.
#[test]
fn what_was_learnt_in_another_home_than_the_accounts_is_ordinary_there() {
    observed(|workspace| {
        // Once in each mount namespace.
        if workspace.by != "probes" {
            return;
        }
        let line = format!("ana:x:{ORDINARY}:{ORDINARY}::/home/ana:/bin/sh\n");
        let passwd = workspace.write("passwd", line);
        host::bind(&passwd, Path::new("/etc/passwd"));
        let notes = workspace.write("home/notes/today.txt", "a note\n");
        let notes = notes.display().to_string();
        let words = ["--force", "-o", "skill.yaml", "--", "cat", &notes];
        let learnt = learn(workspace, &words);
        assert_eq!(learnt.status.code(), Some(0), "{}", text(&learnt));
        let profile = fs::read_to_string(workspace.work().join("skill.yaml")).expect("a profile");
        assert!(profile.contains("$HOME/notes"), "{profile}");
        ordinary(workspace, "skill.yaml");
    });
}

#[test]
fn a_profile_and_its_baseline_can_be_moved() {
    observed(|workspace| {
        workspace.write("work/data.csv", "1 2 3\n");
        let words = ["--force", "-o", "skill.yaml", "--", "cat", "data.csv"];
        let learnt = learn(workspace, &words);
        assert_eq!(learnt.status.code(), Some(0), "{}", text(&learnt));
        workspace.outside();
        let moved = shell(workspace, "mv skill.yaml skill.baseline.json ../outside");
        assert!(moved.status.success(), "{}", text(&moved));
        ordinary(workspace, "../outside/skill.yaml");
    });
}

/// A run under a learnt profile does nothing out of the ordinary.
fn ordinary(workspace: &Workspace, profile: &str) {
    let report = workspace.outside().join("report.json");
    let ran = output(
        (workspace.command(program("aegis-run")))
            .args(["--observe", "--profile", profile, "--report"])
            .arg(&report)
            .arg("--audit")
            .arg(place(workspace)),
    );
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran));
    let report: Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
    let none = report["anomalies"].as_array().is_none_or(Vec::is_empty);
    assert!(none, "{:#}", report["anomalies"]);
}
