//! `aegis ps`: running sandboxes are listed, and nothing else.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

use crate::support::place::Place;
use crate::support::stderr;

/// The listed entry of the supervisor `pid`.
fn listed(place: &Place, pid: u32) -> Option<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_aegis"))
        .args(["ps", "--json"])
        .env("XDG_RUNTIME_DIR", place.0.path())
        .output()
        .expect("aegis starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let all = all.as_array().expect("a list");
    all.iter().find(|run| run["pid"] == pid).cloned()
}

/// What the last of these words of `aegis` can become.
fn completed(place: &Place, words: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_aegis"))
        .args(["__complete", "aegis"])
        .args(words)
        .env("XDG_RUNTIME_DIR", place.0.path())
        .output()
        .expect("aegis starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().skip(1).map(str::to_owned).collect()
}

/// A run that was recorded is one of those that `aegis audit show --run` can be completed with.
#[test]
fn a_recorded_run_is_completed_by_its_id() {
    let place = Place::new();
    let mut run = Command::new(env!("CARGO_BIN_EXE_aegis-run"));
    run.current_dir(place.0.path()).stdin(Stdio::null());
    let output = run
        .args(["--report", "-", "true"])
        .output()
        .expect("aegis-run starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let id = report["run"].as_str().expect("an id").to_owned();
    for words in [
        &["audit", "show", "--run", ""],
        &["audit", "show", "--run", &id[..6]],
    ] {
        assert!(completed(&place, words).contains(&id), "{words:?}");
    }
    assert!(completed(&place, &["replay", "--id", &id[..6]]).contains(&id));
    assert!(completed(&place, &["show", &id[..6]]).contains(&id));
}

/// A sandbox whose command runs until its input ends.
fn started(place: &Place) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let mut run = place
        .command()
        .args(["cat", "-"])
        .env("XDG_RUNTIME_DIR", place.0.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("aegis-run starts");
    let mut input = run.stdin.take().expect("standard input");
    let mut output = BufReader::new(run.stdout.take().expect("standard output"));
    input.write_all(b"are you there?\n").expect("it reads");
    output.read_line(&mut String::new()).expect("it answers");
    (run, input, output)
}

#[test]
fn a_sandbox_is_listed_as_long_as_it_runs() {
    let place = Place::new();
    let (mut run, input, output) = started(&place);

    let found = listed(&place, run.id()).expect("it is listed");
    assert_eq!(found["command"], serde_json::json!(["cat", "-"]));
    assert_eq!(found["stale"], false);
    assert_eq!(found["profile_hash"].as_str().map(str::len), Some(64));

    // Its id, or its profile's name, is one that `aegis kill` and `aegis show` can be completed with.
    let id = found["id"].as_str().expect("an id");
    for command in ["kill", "show"] {
        let offered = completed(&place, &[command, ""]);
        assert!(offered.contains(&id.to_owned()), "{offered:?}");
        assert!(
            offered.contains(&found["profile"].as_str().expect("text").to_owned()),
            "{offered:?}"
        );
    }

    drop((input, output));
    assert!(run.wait().expect("it ends").success());
    assert!(!completed(&place, &["kill", ""]).contains(&id.to_owned()));
    assert_eq!(listed(&place, run.id()), None);
    let records = place.records();
    assert!(records.iter().any(|record| record["run"] == found["id"]));
}

#[test]
fn a_sandbox_whose_supervisor_was_killed_is_gone_and_told_so_once_at_most() {
    let place = Place::new();
    let (mut run, _input, mut output) = started(&place);
    run.kill().expect("it is killed");
    run.wait().expect("it ends");
    // Until the whole sandbox is gone, a process that is ending may hold the lock.
    output.read_line(&mut String::new()).expect("its end");

    // The first to list root's sandboxes, perhaps another test, sees the stale entry and removes it.
    let found = listed(&place, run.id());
    assert!(found.is_none_or(|run| run["stale"] == true));
    assert_eq!(listed(&place, run.id()), None);
}

fn kill(place: &Place, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aegis"))
        .arg("kill")
        .args(words)
        .env("XDG_RUNTIME_DIR", place.0.path())
        .output()
        .expect("aegis starts")
}

#[test]
fn a_listed_sandbox_takes_something_and_ends_when_it_is_told_to() {
    let place = Place::new();
    for (words, signal) in [
        (&[][..], libc::SIGTERM),
        (&["--signal", "KILL"], libc::SIGKILL),
        (&["-s", "sigint"], libc::SIGINT),
    ] {
        let (mut run, _input, _output) = started(&place);
        let found = listed(&place, run.id()).expect("it is listed");
        assert_eq!(found["usage"]["processes"], 1, "{found}");
        assert!(
            found["usage"]["memory"]
                .as_u64()
                .is_some_and(|bytes| bytes > 100_000),
            "{found}"
        );
        let id = found["id"].as_str().expect("text");
        let output = kill(&place, &[words, &[id]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        // As the command did.
        let ended = run.wait().expect("it ends");
        let by_signal = (ended.signal()).or(ended.code().map(|status| status - 128));
        assert_eq!(by_signal, Some(signal), "{words:?}");
    }
}

/// One that is stopped takes no signal before it is continued.
#[test]
fn a_stopped_sandbox_is_ended_too() {
    let place = Place::new();
    // The command stops itself; then aegis-run is stopped.
    let mut run = place
        .command()
        .args([
            "--profile",
            "shell",
            "sh",
            "-c",
            "echo on; kill -STOP $$; exec sleep 1000",
        ])
        .env("XDG_RUNTIME_DIR", place.0.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("aegis-run starts");
    let mut output = BufReader::new(run.stdout.take().expect("standard output"));
    output.read_line(&mut String::new()).expect("it answers");
    let pid = run.id().cast_signed();
    aegis_sys::process::kill(pid, libc::SIGSTOP).expect("a signal");
    let (_, change) = aegis_sys::process::wait(Some(pid)).expect("it stops");
    assert_eq!(change, aegis_sys::process::Change::Stopped(libc::SIGSTOP));
    let found = listed(&place, run.id()).expect("it is listed");
    let output = kill(&place, &[found["id"].as_str().expect("text")]);
    assert!(output.status.success(), "{}", stderr(&output));
    let ended = run.wait().expect("it ends");
    let by_signal = (ended.signal()).or(ended.code().map(|status| status - 128));
    assert_eq!(by_signal, Some(libc::SIGTERM));
}

#[test]
fn what_cannot_be_ended_is_said_and_nothing_is() {
    let place = Place::new();
    let (mut run, input, output) = started(&place);
    let found = listed(&place, run.id()).expect("it is listed");
    let id = found["id"].as_str().expect("text");
    for (words, says, status) in [
        (&[id, "no-such-run"][..], "nothing runs under an id", 1),
        (&[""], "nothing runs under an id", 1),
        (&["--signal", "STOP", id], "these can: HUP", 2),
        (&[], "RUN", 2),
    ] {
        let output = kill(&place, words);
        assert_eq!(output.status.code(), Some(status), "{words:?}");
        assert!(
            stderr(&output).contains(says),
            "{words:?}: {}",
            stderr(&output)
        );
    }
    drop((input, output));
    assert!(
        run.wait().expect("it ends").success(),
        "nothing has ended it"
    );
}
