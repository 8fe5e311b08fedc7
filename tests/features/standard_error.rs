//! Standard error, whatever it is: what it says of refusals is found, and it reaches the caller as it was written.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aegis_tests::host::ends;
use aegis_tests::{USERS, Workspace, attacks_directory, program, text};
use serde_json::Value;

/// Runs a shell command line of the caller's, in which `$AEGIS` starts a run whose report the other value is.
fn caller(workspace: &Workspace, line: &str) -> (Command, PathBuf) {
    let profile = workspace.profile("aegis: 1\nextends: [shell]\n");
    let report = workspace.outside().join("report.json");
    let _ = std::fs::remove_file(&report);
    let start = format!(
        "{} --profile {} --report {} --",
        program("aegis-run").display(),
        profile.display(),
        report.display()
    );
    let mut command = workspace.command("sh");
    command.args(["-c", line]).env("AEGIS", start);
    (command, report)
}

/// What was refused, as far as the messages said it.
fn refused(report: &Path) -> Vec<String> {
    let report = std::fs::read(report).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let denials = report["denials"].as_array().expect("a list");
    let what = denials.iter().filter_map(|denial| denial["what"].as_str());
    what.map(str::to_owned).collect()
}

const SHADOW: [&str; 1] = ["reading /etc/shadow"];

#[test]
fn a_refusal_is_found_in_it_whatever_it_is() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let onpty = attacks_directory().join("onpty").display().to_string();
        for line in [
            "$AEGIS cat /etc/shadow",
            "$AEGIS cat /etc/shadow 2>&1",
            "$AEGIS cat /etc/shadow >/dev/null 2>&1",
            "$AEGIS cat /etc/shadow 2>/dev/null",
            "$AEGIS cat /etc/shadow 2>&-",
            "$AEGIS cat /etc/shadow 2> errors",
            "$AEGIS cat /etc/shadow > errors 2>&1",
            // Whatever was there before was said by somebody else.
            "echo 'cat: /etc/gshadow: Permission denied' > errors; $AEGIS cat /etc/shadow 2>> errors",
            // What is there may be overwritten.
            "seq 1000 > errors; exec 2<> errors; $AEGIS sh -c 'cat /etc/shadow'",
            &format!("{onpty} $AEGIS cat /etc/shadow"),
        ] {
            let (mut command, report) = caller(&workspace, line);
            let output = command.output().expect("sh starts");
            let found = refused(&report);
            assert_eq!(found, SHADOW, "{user:?}: {line}: {}", text(&output));
        }
        // In pieces, of which the ends of lines are not looked at.
        let line = format!("{onpty} $AEGIS cat /etc/shadow /etc/gshadow");
        let (mut command, report) = caller(&workspace, &line);
        let output = command.output().expect("sh starts");
        let both = ["reading /etc/gshadow", "reading /etc/shadow"];
        assert_eq!(refused(&report), both, "{user:?}: {}", text(&output));
        let (mut command, report) = caller(&workspace, "exec $AEGIS cat /etc/shadow");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        command.stderr(Stdio::from(OwnedFd::from(theirs)));
        let status = command.status().expect("sh starts");
        drop((command, ours));
        assert_eq!(refused(&report), SHADOW, "{user:?}: {status}, on a socket");
    }
}

#[test]
fn every_byte_of_it_comes_through_in_the_order_in_which_it_was_written() {
    let lines = "$AEGIS sh -c 'for i in $(seq 2000); do echo out $i; echo error $i >&2; done'";
    let both: String = (1..=2000)
        .map(|i| format!("out {i}\nerror {i}\n"))
        .collect();
    let one = |name: &str| -> String { (1..=2000).map(|i| format!("{name} {i}\n")).collect() };
    for user in USERS {
        let workspace = Workspace::new(user);
        for (redirected, out, error) in [
            ("", one("out"), one("error")),
            ("2>&1", both.clone(), String::new()),
            ("> both 2>&1; cat both", both.clone(), String::new()),
            ("2> errors; cat errors >&2", one("out"), one("error")),
        ] {
            let (mut command, _) = caller(&workspace, &format!("{lines} {redirected}"));
            let output = command.output().expect("sh starts");
            let got = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
            assert_eq!(got, [out, error], "{user:?}: {redirected}");
        }
    }
}

#[test]
fn a_terminal_and_a_file_stay_the_callers_own() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let onpty = attacks_directory().join("onpty").display().to_string();
        let (mut command, _) = caller(&workspace, &format!("{onpty} $AEGIS test -t 2"));
        let output = command.output().expect("sh starts");
        assert_eq!(output.status.code(), Some(0), "{user:?}: {}", text(&output));
        let (mut command, _) = caller(&workspace, "$AEGIS test -f /dev/fd/2 2> errors");
        let output = command.output().expect("sh starts");
        assert_eq!(output.status.code(), Some(0), "{user:?}: {}", text(&output));
    }
}

#[test]
fn who_does_not_read_it_ends_a_command_as_without_a_sandbox() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let (mut command, _) = caller(&workspace, "exec $AEGIS sh -c 'exec yes >&2'");
        let mut child = (command.stderr(Stdio::piped()).spawn()).expect("sh starts");
        drop(child.stderr.take());
        let ended = ends(&child);
        if !ended {
            child.kill().expect("a child of ours");
        }
        let status = child.wait().expect("a child of ours");
        let signal = status.signal().or(status.code().map(|code| code - 128));
        assert_eq!(signal, Some(libc::SIGPIPE), "{user:?}: {status}");
    }
}
