//! `aegis` as a program: its exit statuses and the output of its subcommands.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{aegis as aegis_in, json, status, stderr, stdout};

fn aegis(words: &[&str]) -> Output {
    aegis_in(Path::new("/"), words)
}

/// A directory with a valid profile, an invalid one, and a wider one.
fn profiles() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in [
        (
            "right.yaml",
            "aegis: 1\nextends: [base]\nlimits: {time: 1m}\n",
        ),
        (
            "wider.yaml",
            "aegis: 1\nextends: [base]\nlimits: {time: 1m}\ncapabilities: {files.read: [/srv]}\n",
        ),
        ("wrong.yaml", "aegis: 1\nlimits: {tme: 1m}\n"),
    ] {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    dir
}

#[test]
fn a_wrong_command_line_is_2() {
    for words in [
        &[][..],
        &["bogus"],
        &["profile"],
        &["profile", "show"],
        &["profile", "check"],
        &["doctor", "--bogus"],
    ] {
        let output = aegis(words);
        assert_eq!(status(&output), 2, "{words:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{words:?}"
        );
    }
}

#[test]
fn every_command_has_help() {
    let list = aegis(&["man"]);
    for page in stdout(&list).lines() {
        let words: Vec<&str> = page.trim_end_matches(".1").split('-').skip(1).collect();
        if words == ["run"] || words == ["learn"] {
            continue; // Programs of their own.
        }
        let output = aegis(&[&words[..], &["--help"]].concat());
        assert_eq!(status(&output), 0, "{page}");
        assert!(stdout(&output).contains("Usage: aegis"), "{page}");
    }
}

#[test]
fn check_tells_right_from_wrong() {
    let dir = profiles();
    let right = aegis_in(dir.path(), &["profile", "check", "right.yaml", "python"]);
    assert_eq!(
        (status(&right), stdout(&right)),
        (0, "right.yaml: ok\npython: ok\n")
    );
    let wrong = aegis_in(
        dir.path(),
        &["profile", "check", "wrong.yaml", "right.yaml"],
    );
    assert_eq!((status(&wrong), stdout(&wrong)), (1, "right.yaml: ok\n"));
    assert!(
        stderr(&wrong).contains("wrong.yaml:2:10"),
        "{}",
        stderr(&wrong)
    );
    let told = json(&aegis_in(
        dir.path(),
        &["profile", "check", "--json", "wrong.yaml", "right.yaml"],
    ));
    assert_eq!(
        (&told[0]["ok"], &told[1]["ok"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    assert_eq!(told[0]["diagnostics"][0]["line"], 2);
    assert_eq!(told[1]["hash"].as_str().map(str::len), Some(64));
}

#[test]
fn standard_input_is_a_profile() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aegis"))
        .args(["profile", "check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("aegis starts");
    let text = b"aegis: 1\nextends: [base]\n";
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(text)
        .expect("a profile");
    assert!(child.wait_with_output().expect("an end").status.success());
}

#[test]
fn what_show_prints_is_the_same_profile() {
    let dir = profiles();
    let shown = aegis_in(
        dir.path(),
        &["profile", "show", "wider.yaml", "--set", "limits.pids=5"],
    );
    assert_eq!(status(&shown), 0);
    assert!(stdout(&shown).contains("pids: 5"));
    fs::write(dir.path().join("shown.yaml"), &shown.stdout).expect("a file");
    let hash = |name: &str, sets: &[&str]| {
        let words = [&["profile", "show", "--json", name], sets].concat();
        json(&aegis_in(dir.path(), &words))["profile"].clone()
    };
    let (mut one, mut other) = (
        hash("wider.yaml", &["--set", "limits.pids=5"]),
        hash("shown.yaml", &[]),
    );
    // The only difference is that it no longer extends anything.
    for profile in [&mut one, &mut other] {
        profile
            .as_object_mut()
            .expect("an object")
            .remove("extends");
    }
    assert_eq!(one, other);
    let origins = aegis_in(dir.path(), &["profile", "show", "--origins", "wider.yaml"]);
    assert!(stdout(&origins).contains("# from wider.yaml:4"));
}

#[test]
fn diff_answers_whether_they_differ() {
    let dir = profiles();
    let same = aegis_in(
        dir.path(),
        &["profile", "diff", "right.yaml", "./right.yaml"],
    );
    assert_eq!(status(&same), 0);
    let differ = aegis_in(dir.path(), &["profile", "diff", "right.yaml", "wider.yaml"]);
    assert_eq!(status(&differ), 1);
    assert!(
        stdout(&differ).contains("+ files.read  /srv"),
        "{}",
        stdout(&differ)
    );
    let told = json(&aegis_in(
        dir.path(),
        &["profile", "diff", "--json", "right.yaml", "wider.yaml"],
    ));
    assert_eq!(told["only_b"][0]["value"], "/srv");
}

#[test]
fn the_built_in_profiles_are_listed_and_right() {
    let list = json(&aegis(&["profile", "list", "--json"]));
    let names: Vec<&str> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert!(names.contains(&"base"));
    assert_eq!(
        status(&aegis(&[&["profile", "check"], &names[..]].concat())),
        0
    );
    assert_eq!(
        stdout(&aegis(&["profile", "list"])).lines().count(),
        names.len()
    );
}

#[test]
fn the_schema_is_json() {
    let schema = json(&aegis(&["profile", "schema"]));
    assert!(
        schema["$schema"]
            .as_str()
            .is_some_and(|version| version.contains("2020-12"))
    );
}

#[test]
fn completions_know_every_program() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = aegis(&["completions", shell]);
        assert_eq!(status(&output), 0, "{shell}");
        let each = ["aegis", "aegis-run", "aegis-learn"].map(|program| {
            let one = aegis(&["completions", shell, program]);
            assert!(stdout(&one).contains(program), "{shell}");
            stdout(&one).to_owned()
        });
        assert_eq!(stdout(&output), each.concat(), "{shell}");
    }
    assert_eq!(status(&aegis(&["completions", "tcsh"])), 2);
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let dir = tempfile::tempdir().expect("a directory");
    let pages = dir.path().join("man1");
    assert_eq!(status(&aegis(&["man", pages.to_str().expect("UTF-8")])), 0);
    for name in stdout(&aegis(&["man"])).lines() {
        let text = fs::read_to_string(pages.join(name)).expect("a page");
        assert!(text.contains(".SH NAME"), "{name}");
        assert!(
            text.contains(".SH FILES\n")
                && text.contains("/etc/aegis/policy.yaml")
                && text.contains("aegis\\-broker"),
            "{name}"
        );
        let (_, also) = text.split_once(".SH SEE ALSO\n").expect("other pages");
        for page in also.lines() {
            let page = page
                .trim_start_matches(".BR ")
                .trim_end_matches(',')
                .replace('\\', "");
            assert!(
                pages.join(page.replace(" (1)", ".1")).exists(),
                "{name}: {page}"
            );
        }
    }
    let run = fs::read_to_string(pages.join("aegis-run.1")).expect("a page");
    assert!(run.contains(".SH EXIT STATUS") && run.contains("\\-\\-explain"));
}

#[test]
fn the_doctor_answers_in_both_ways_alike() {
    let (text, told) = (aegis(&["doctor"]), aegis(&["doctor", "--json"]));
    assert_eq!(status(&text), status(&told));
    let report = json(&told);
    assert_eq!(report["complete"], Value::Bool(status(&told) == 0));
    for check in report["checks"].as_array().expect("a list") {
        let name = check["name"].as_str().expect("a name");
        assert!(stdout(&text).contains(name), "{name}");
    }
    for held in report["policy"]["documents"].as_array().expect("a list") {
        let name = held["name"].as_str().expect("a name");
        assert!(stdout(&text).contains(&format!("  {name} (")), "{name}");
    }
}

#[test]
fn the_doctor_says_what_is_wrong_with_a_policy_where_it_says_the_rest() {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = dir.path().join("aegis/policy.yaml");
    fs::create_dir(dir.path().join("aegis")).expect("a directory");
    fs::write(&policy, "aegis-policy: 1\nno-key: 1\n").expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_aegis"))
        .arg("doctor")
        .env("XDG_CONFIG_HOME", dir.path())
        .output()
        .expect("aegis starts");
    assert_eq!((status(&output), stderr(&output)), (1, ""));
    let (_, said) = stdout(&output)
        .split_once("No policy can be read, so nothing is started:\n")
        .expect("it is said");
    assert!(said.contains("no-key"), "{said}");
}

#[test]
fn a_profile_that_no_run_could_enforce_is_not_right() {
    let dir = tempfile::tempdir().expect("a directory");
    let check = |text: &str| {
        let file = dir.path().join("skill.yaml");
        fs::write(&file, format!("aegis: 1\n{text}\n")).expect("write");
        aegis(&["profile", "check", file.to_str().expect("UTF-8")])
    };
    for (text, why) in [
        (
            "capabilities: {net.outbound: [\"udp://a.example:53\"]}",
            "cannot be enforced",
        ),
        (
            "capabilities: {net.listen: [8080], net.outbound: [\"tcp://a.example:8080\"]}",
            "cannot be enforced",
        ),
        (
            "capabilities: {net.outbound: host}\nlimits: {net: 1M/s}",
            "cannot be enforced",
        ),
        ("syscalls: {allow: [no_such_call]}", "no_such_call"),
        ("syscalls: {deny: [opn]}", "opn"),
        ("syscalls: {allow: [mount]}", "mount"),
    ] {
        let output = check(text);
        assert_eq!(status(&output), 1, "{text}: {}", stderr(&output));
        assert!(stderr(&output).contains(why), "{text}: {}", stderr(&output));
        assert!(
            stderr(&output).contains("skill.yaml"),
            "{text}: {}",
            stderr(&output)
        );
    }
    for (text, what) in [
        (
            "capabilities: {files.read: [$TMP/x]}",
            "`$TMP/x` has no effect",
        ),
        (
            "capabilities: {files.read: [-/data/$USER/x]}",
            "`$USER` is taken as it is written",
        ),
        (
            "environment: {set: {PATH: \"${HOME}/bin\"}}",
            "`${HOME` is taken as it is written",
        ),
    ] {
        let output = check(text);
        assert_eq!(status(&output), 0, "{text}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(
            said.contains("warning: ") && said.contains(what) && said.contains(":2:"),
            "{text}: {said}"
        );
    }
    let output =
        check("capabilities: {files.read: [$WORK, -/a$]}\nenvironment: {set: {PRICE: \"5 $\"}}");
    assert_eq!((status(&output), stderr(&output)), (0, ""));
}
