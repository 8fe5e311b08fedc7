//! `aegis-run` as a program: its exit statuses, its messages, what it passes on.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;

use crate::support::place::Place;
use crate::support::{status, stderr};

#[test]
fn the_status_of_the_command_is_passed_on() {
    let place = Place::new();
    for (words, expected) in [
        (&["true"][..], 0),
        (&["false"], 1),
        (&["--", "false"], 1),
        (&["--profile", "shell", "sh", "-c", "exit 42"], 42),
        (&["--profile", "shell", "sh", "-c", "kill -TERM $$"], 143),
        (&["no-such-command"], 127),
    ] {
        assert_eq!(status(&place.run(words)), expected, "{words:?}");
    }
    place.write("plain", "no program");
    assert_eq!(status(&place.run(&["./plain"])), 126);
}

#[test]
fn a_wrong_command_line_is_125_and_starts_nothing() {
    let place = Place::new();
    for (words, says) in [
        (&[][..], "no command"),
        (&["--frobnicate", "true"], "there is no option --frobnicate"),
        (&["--policy", "strikt", "true"], "did you mean `strict`?"),
        (&["--policy", "missing.yaml", "true"], "there is no file"),
        (&["--profile", "pyton", "true"], "did you mean `python`?"),
        (&["--profile", "missing.yaml", "true"], "there is no file"),
        (&["--set", "limits.memory=much", "true"], "memory"),
        (&["--keep-fd", "99", "true"], "not open"),
        (
            &["--report", "missing/report.json", "true"],
            "cannot be written",
        ),
        (&["--report", ".", "true"], "cannot be written"),
        (&["--report", "/dev/fd/77", "true"], "cannot be written"),
    ] {
        let output = place.run(words);
        assert_eq!(status(&output), 125, "{words:?}");
        let told = stderr(&output);
        assert!(
            told.starts_with("aegis-run: error: ") && told.contains(says),
            "{words:?}: {told}"
        );
    }
}

#[test]
fn help_and_version_are_answers() {
    let place = Place::new();
    for words in [["--help"], ["-h"]] {
        let output = place.run(&words);
        assert_eq!(status(&output), 0);
        assert!(String::from_utf8_lossy(&output.stdout).contains("--keep-fd <N>"));
    }
    let version = place.run(&["--version"]);
    assert_eq!(
        version.stdout,
        format!("aegis-run {}\n", env!("CARGO_PKG_VERSION")).into_bytes()
    );
}

#[test]
fn without_a_profile_the_current_directory_is_readable_and_not_writable() {
    let place = Place::new();
    place.write("note", "hello");
    assert_eq!(place.run(&["cat", "note"]).stdout, b"hello");
    let output = place.run(&["touch", "other"]);
    assert_ne!(status(&output), 0);
    assert!(!place.0.path().join("other").exists());
}

#[test]
fn the_command_of_the_profile_is_used_when_none_is_given() {
    let place = Place::new();
    place.write(
        "skill.yaml",
        "aegis: 1\nextends: [base]\nrun: [echo, from the profile]\n",
    );
    assert_eq!(
        place.run(&["--profile", "skill.yaml"]).stdout,
        b"from the profile\n"
    );
    assert_eq!(
        place
            .run(&["--profile", "skill.yaml", "echo", "mine"])
            .stdout,
        b"mine\n"
    );
}

#[test]
fn arguments_need_not_be_utf8() {
    let output = Place::new()
        .command()
        .args([
            OsStr::new("printf"),
            OsStr::new("%s"),
            OsStr::from_bytes(b"a\xffb"),
        ])
        .output()
        .expect("aegis-run starts");
    assert_eq!(output.stdout, b"a\xffb");
}

#[test]
fn the_last_line_of_a_failed_run_names_the_refusal_and_the_line_that_would_allow_it() {
    let place = Place::new();
    place.write("skill.yaml", "aegis: 1\nextends: [base]\n");
    let words = ["--profile", "skill.yaml", "cat", "/etc/fstab"];
    let output = place.run(&words);
    assert_eq!(status(&output), 1);
    let told = stderr(&output);
    let last = told.lines().last().unwrap_or_default();
    assert!(last.starts_with("aegis-run: refused by "), "{told}");
    assert!(
        last.contains("the command's error message names it"),
        "{told}"
    );
    assert!(
        last.ends_with("to allow it add to skill.yaml: capabilities: {files.read: [/etc/fstab]}"),
        "{told}"
    );
    let quiet = place.run(&[&["--quiet"], &words[..]].concat());
    assert!(!stderr(&quiet).contains("aegis-run"), "{}", stderr(&quiet));
}

#[test]
fn a_run_that_succeeds_or_fails_by_itself_has_nothing_added() {
    let place = Place::new();
    assert_eq!(stderr(&place.run(&["true"])), "");
    assert_eq!(stderr(&place.run(&["false"])), "");
}

#[test]
fn the_limit_that_ended_a_run_is_named_with_its_line() {
    let place = Place::new();
    place.write(
        "skill.yaml",
        "aegis: 1\nextends: [base]\nlimits:\n  output: 1K\n",
    );
    let output = place.run(&["--profile", "skill.yaml", "yes"]);
    assert_eq!(
        stderr(&output).lines().last(),
        Some("aegis-run: ended by the output limit of 1K (skill.yaml:4:11: limits.output)")
    );
    let late = place.run(&["--set", "limits.time=10ms", "sleep", "60"]);
    assert_eq!(status(&late), 124);
    assert!(
        stderr(&late).ends_with(": limits.time)\n"),
        "{}",
        stderr(&late)
    );
}

#[test]
fn a_plan_is_explained_the_same_each_time_and_nothing_is_started() {
    let place = Place::new();
    for format in ["--explain", "--explain=text", "--explain=json"] {
        let first = place.run(&[format, "--profile", "shell", "touch", "/tmp/started"]);
        let second = place.run(&[format, "--profile", "shell", "touch", "/tmp/started"]);
        assert_eq!(status(&first), 0, "{}", stderr(&first));
        assert_eq!(first.stdout, second.stdout);
        assert!(
            !first.stdout.contains(&0x1b),
            "no colour where there is no terminal"
        );
    }
    let json = place.run(&["--explain=json", "true"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["hash"].as_str().map(str::len), Some(64));
    assert_eq!(json["plan"]["argv"][0], "true");
    let text = place.run(&["--explain", "true"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("default (no --profile)"));
}

#[test]
fn descriptors_are_handed_on_when_asked_for() {
    let place = Place::new();
    place.write("kept", "through the descriptor");
    let file = File::open(place.0.path().join("kept")).expect("the file");
    let run = |words: &[&str]| {
        let mut command = place.command();
        let fd = file.as_raw_fd();
        // SAFETY: dup2 may be called between fork and exec.
        unsafe {
            command.pre_exec(move || match libc::dup2(fd, 9) {
                9 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        command.args(words).output().expect("aegis-run starts")
    };
    let script = ["--profile", "shell", "sh", "-c", "cat <&9"];
    let kept = run(&[&["--keep-fd", "9"], &script[..]].concat());
    assert_eq!(kept.stdout, b"through the descriptor");
    assert_ne!(status(&run(&script)), 0);
}

#[test]
fn closed_standard_descriptors_are_empty_not_reused() {
    let place = Place::new();
    place.write(
        "skill.yaml",
        "aegis: 1\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n",
    );
    let mut command = place.command();
    command.args([
        "--profile",
        "skill.yaml",
        "sh",
        "-c",
        "readlink /proc/self/fd/0 > seen; cat >> seen",
    ]);
    // SAFETY: close may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            (0..3).for_each(|fd| {
                libc::close(fd);
            });
            Ok(())
        });
    }
    let status = command.status().expect("aegis-run starts");
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        fs::read(place.0.path().join("seen")).expect("what it saw"),
        b"/dev/null\n"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let place = Place::new();
    for words in [
        &["--help"][..],
        &["--explain=json", "true"],
        &["--frobnicate"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = place
            .command()
            .args(words)
            .stdout(writer.try_clone().expect("a copy"))
            .stderr(writer)
            .status()
            .expect("aegis-run starts");
        assert!(
            matches!(status.code(), Some(0 | 125)),
            "{words:?}: {status}"
        );
    }
}
