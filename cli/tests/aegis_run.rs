//! `aegis-run` as a program: its statuses, what it says, its report.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::Once;

/// `aegis-run` in a directory of its own, recording in another.
struct Place(tempfile::TempDir, tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let place = Self(dir, tempfile::tempdir().expect("a directory"));
        // On a new machine the first run makes the key of its user's logs, and says so.
        static KEY: Once = Once::new();
        KEY.call_once(|| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_aegis-run"));
            command.current_dir(place.0.path()).stdin(Stdio::null());
            command.arg("--audit").arg(place.1.path().join("first"));
            let output = command.arg("true").output().expect("aegis-run starts");
            assert_eq!(status(&output), 0, "{}", stderr(&output));
        });
        place
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aegis-run"));
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command.arg("--audit").arg(self.log());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command()
            .args(words)
            .output()
            .expect("aegis-run starts")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("a file");
    }

    fn log(&self) -> std::path::PathBuf {
        self.1.path().join("audit")
    }

    /// What is in the log.
    fn records(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.log().join("000001.jsonl")).unwrap_or_default();
        (text.lines())
            .map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                line["record"].take()
            })
            .collect()
    }

    fn report(&self, name: &str) -> serde_json::Value {
        let text = fs::read(self.0.path().join(name)).expect("a report");
        serde_json::from_slice(&text).expect("the report is JSON")
    }
}

fn status(output: &Output) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    // As a shell's `$?` has it.
    let signal = output.status.signal().map(|signal| 128 + signal);
    output.status.code().or(signal).expect("an end")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

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
        (&["--observe", "true"], "not part of this version"),
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
fn a_profile_that_cannot_be_enforced_leaves_a_record() {
    let place = Place::new();
    place.write(
        "named.yaml",
        "aegis: 1\nname: job\ncapabilities: {net.outbound: [\"https://api.github.com\"]}\n",
    );
    place.write(
        "own.yaml",
        &format!(
            "aegis: 1\nname: job\ncapabilities: {{files.read: [{}]}}\n",
            place.log().parent().expect("a directory").display()
        ),
    );
    for (profile, why) in [
        ("named.yaml", "net.outbound by name cannot be enforced"),
        ("own.yaml", "which is Aegis's own"),
    ] {
        let _ = fs::remove_dir_all(place.log());
        let output = place.run(&["--profile", profile, "--", "touch", "started"]);
        assert_eq!(status(&output), 125, "{}", stderr(&output));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
        let records = place.records();
        let types: Vec<&str> = (records.iter())
            .filter_map(|record| record["type"].as_str())
            .collect();
        assert_eq!(
            types,
            ["checkpoint", "policy.violation", "run.end", "checkpoint"]
        );
        let (refused, end) = (&records[1]["detail"], &records[2]["detail"]);
        assert_eq!(refused["file"], profile);
        assert_eq!(refused["context"]["profile"], "job");
        for error in [&refused["error"], &end["error"]] {
            assert!(error.as_str().is_some_and(|e| e.contains(why)), "{error}");
        }
        assert_eq!(
            (&end["cause"], &end["exit_status"]),
            (&"refused".into(), &125.into())
        );
        assert_eq!(records[1]["run"], records[2]["run"]);
    }
    // A word that is misspelt is no refusal, and a plan that is only looked at is no run.
    let _ = fs::remove_dir_all(place.log());
    assert_eq!(status(&place.run(&["--", "no-such-command"])), 127);
    assert_eq!(
        status(&place.run(&["--explain", "--profile", "named.yaml", "--", "true"])),
        125
    );
    let records = place.records();
    assert!(records.iter().all(|record| record["type"] == "checkpoint"));
}

#[test]
fn what_is_recorded_is_as_the_schema_of_events_says() {
    let place = Place::new();
    let rules = include_str!("../../tests/policies/everything.yaml");
    let asks = "  - {id: asks, on: files.read, match: /etc/hostname, verdict: review}\n";
    place.write("asks.yaml", &format!("{rules}{asks}"));
    place.write(
        "named.yaml",
        "aegis: 1\ncapabilities: {net.outbound: [\"https://a.example\"]}\n",
    );
    let write = "echo x > out; echo y > /usr/out";
    let reads = "capabilities.files.read=[/etc/hostname]";
    for words in [
        &["true"][..],
        &["sh", "-c", write],
        &["--policy", "asks.yaml", "--set", reads, "--", "true"],
        &["--profile", "named.yaml", "--", "true"],
    ] {
        place.run(words);
    }
    let schema = include_str!("../../policy/schemas/events.schema.json");
    let schema = serde_json::from_str(schema).expect("JSON");
    let schema = jsonschema::draft202012::new(&schema).expect("a schema");
    let mut forms = Vec::new();
    for record in place.records() {
        let line = serde_json::json!({"hash": record["prev"], "record": record});
        if let Err(wrong) = schema.validate(&line) {
            panic!("{}: {wrong}: {record:#}", wrong.instance_path());
        }
        let of = |name: &str| record["detail"].get(name).is_some();
        let form = ["answer", "from", "context", "layer", "argv", "cause"]
            .into_iter()
            .find(|name| of(name));
        forms.extend(form.map(|form| format!("{} with {form}", record["type"])));
    }
    forms.sort_unstable();
    forms.dedup();
    assert_eq!(
        forms,
        [
            "\"approval\" with answer",
            "\"file.access\" with layer",
            "\"policy.violation\" with context",
            "\"policy.violation\" with from",
            "\"run.end\" with cause",
            "\"run.start\" with argv",
        ]
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
fn a_report_is_a_private_file_put_in_place_whole() {
    let place = Place::new();
    place.write("report.json", "something old");
    assert_eq!(status(&place.run(&["--report", "report.json", "false"])), 1);
    let report = place.report("report.json");
    assert_eq!(report["exit_status"], 1);
    assert_eq!(report["command"][0], "false");
    assert_eq!(report["plan_hash"].as_str().map(str::len), Some(64));
    let path = place.0.path().join("report.json");
    assert_eq!(
        fs::metadata(path).expect("metadata").permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(place.0.path()).expect("a listing").count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_report_goes_not_through_a_link() {
    let place = Place::new();
    place.write("precious", "mine");
    std::os::unix::fs::symlink("precious", place.0.path().join("report.json")).expect("a link");
    place.run(&["--report", "report.json", "true"]);
    assert_eq!(
        fs::read(place.0.path().join("precious")).expect("a file"),
        b"mine"
    );
    assert_eq!(place.report("report.json")["exit_status"], 0);
}

#[test]
fn a_report_on_standard_output_comes_after_the_command() {
    for place_of in ["-", "/dev/stdout", "/dev/fd/1"] {
        let output = Place::new().run(&["--report", place_of, "echo", "first"]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let (first, report) = text.split_once('\n').expect("two parts");
        assert_eq!(first, "first");
        let report: serde_json::Value = serde_json::from_str(report).expect("JSON");
        assert_eq!(report["exit_status"], 0);
    }
}

#[test]
fn a_report_that_finds_no_room_fails_a_run_that_succeeded() {
    let place = Place::new();
    let output = place.run(&["--report", "/dev/full", "true"]);
    assert_eq!(status(&output), 125);
    assert!(
        stderr(&output).contains("could not be written"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        status(&place.run(&[
            "--report",
            "/dev/full",
            "--profile",
            "shell",
            "sh",
            "-c",
            "exit 3"
        ])),
        3
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
