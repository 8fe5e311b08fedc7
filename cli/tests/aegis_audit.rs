//! `aegis audit` as a program: its exit statuses and the output of its subcommands.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aegis_audit::event::{Cause, Event, EventType, RunEnd, RunStart};
use aegis_audit::log::{Keep, Log};
use aegis_policy::{Context, Decision, Hash, Request, Verdict, What};
use serde_json::{Value, json};

use crate::support::{status, stderr, stdout};

pub(super) fn start(run: &str, start: RunStart) -> Event {
    Event::run_start(run, Hash::default(), start)
}

/// A log of a run in which something was blocked.
pub(super) struct Scene {
    root: tempfile::TempDir,
}

impl Scene {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let scene = Self { root };
        let mut log = scene.log();
        log.append(&[
            start(
                "run-1",
                RunStart {
                    profile: "ls\u{1b}[2J\n".into(),
                    ..RunStart::default()
                },
            ),
            scene.blocked("/root/.ssh/id"),
            Event::run_end(
                "run-1",
                Hash::default(),
                RunEnd::not_started(Cause::Exited, None, 1),
            ),
            Event::new(EventType::RunStart, "run-2", Hash::default()),
        ])
        .expect("appended");
        log.checkpoint().expect("signed");
        scene
    }

    fn blocked(&self, path: &str) -> Event {
        let what = What::Read {
            except: Vec::new(),
            path: path.into(),
            tree: false,
        };
        let request = Request {
            approvals: Vec::new(),
            context: Context::default(),
            what,
        };
        let decision = Decision {
            input: request.hash(),
            parts: Vec::new(),
            policy: Hash::default(),
            reason: "keys stay out".into(),
            rules: vec!["keys".into()],
            verdict: Verdict::Block,
        };
        Event::new(EventType::PolicyViolation, "run-1", Hash::default()).decided(request, decision)
    }

    pub(super) fn log(&self) -> Log {
        let keys = self.root.path().join("keys");
        Log::open(&self.dir(), &keys).expect("the log")
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("audit")
    }

    /// Forgets what was signed last.
    fn forget(&self) {
        for entry in fs::read_dir(self.root.path().join("keys")).expect("the keys") {
            let path = entry.expect("an entry").path();
            if path.to_string_lossy().contains("/signed-") {
                fs::remove_file(path).expect("removed");
            }
        }
    }

    fn segment(&self) -> PathBuf {
        self.dir().join("000001.jsonl")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aegis"));
        command
            .arg("audit")
            .args(words)
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        command
    }

    pub(super) fn aegis(&self, words: &[&str]) -> (i32, String, String) {
        told(&self.command(words).output().expect("aegis starts"))
    }

    fn verify(&self, words: &[&str]) -> (i32, String, String) {
        self.aegis(&[&["verify", "audit", "--key", "keys/audit.pub"], words].concat())
    }
}

fn told(output: &Output) -> (i32, String, String) {
    (status(output), stdout(output).into(), stderr(output).into())
}

#[test]
fn what_cannot_be_read_is_told_of_and_the_rest_is_shown() {
    let scene = Scene::new();
    let text = fs::read_to_string(scene.segment()).expect("the segment");
    fs::write(scene.segment(), text.replacen(".ssh", ".sSh", 1)).expect("written");
    let (status, out, err) = scene.aegis(&["show", "audit"]);
    assert_eq!((status, out.lines().count()), (1, 5));
    assert!(err.contains("000001.jsonl, line 3"), "{err}");
    let (status, _, err) = scene.aegis(&["show", "nowhere"]);
    assert!(
        status == 1 && err.contains("there is no audit log at nowhere"),
        "{err}"
    );
}

#[test]
fn verify_answers_twice() {
    let scene = Scene::new();
    let (status, out, _) = scene.verify(&[]);
    assert_eq!(status, 0, "{out}");
    assert!(out.starts_with("intact: yes\ncomplete: yes\n"), "{out}");
    assert!(
        out.contains("the last checkpoint is 1")
            && out.contains("not ended, or were killed: run-2"),
        "{out}"
    );
    let (status, out, _) = scene.verify(&["--min-checkpoint", "2"]);
    assert_eq!(status, 1);
    assert!(out.starts_with("intact: yes\ncomplete: no\n"), "{out}");
    let text = fs::read_to_string(scene.segment()).expect("the segment");
    fs::write(scene.segment(), text.replacen(".ssh", ".sSh", 1)).expect("written");
    let (status, out, _) = scene.verify(&["--json"]);
    let verified: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(status, 1);
    assert_eq!(
        (&verified["intact"], &verified["complete"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(verified["findings"][0]["place"]["line"], 3);
}

#[test]
fn what_verify_prints_of_a_checkpoint_is_what_it_takes() {
    let scene = Scene::new();
    let newest = |scene: &Scene| {
        let (_, out, _) = scene.verify(&[]);
        let line = (out.lines()).find_map(|line| line.strip_prefix("the last checkpoint is "));
        let (checkpoint, _) = line.and_then(|line| line.split_once(' ')).expect("one");
        checkpoint.to_owned()
    };
    let early = fs::read(scene.segment()).expect("the segment");
    let grow = |path: &str| {
        let mut log = scene.log();
        log.append(&[scene.blocked(path)]).expect("appended");
        log.checkpoint().expect("signed");
    };
    grow("/a");
    let remembered = newest(&scene);
    assert!(
        remembered.starts_with("2:") && remembered.len() == 66,
        "{remembered}"
    );
    assert_eq!(scene.verify(&["--min-checkpoint", &remembered]).0, 0);
    fs::write(scene.segment(), early).expect("cut back");
    scene.forget();
    grow("/b");
    assert_eq!(scene.verify(&["--min-checkpoint", "2"]).0, 0);
    let (status, out, _) = scene.verify(&["--min-checkpoint", &remembered]);
    assert_eq!(status, 1);
    assert!(
        out.starts_with("intact: no\n  000001.jsonl, line 8"),
        "{out}"
    );
    assert!(out.contains("cut back, and has grown again"), "{out}");
    for nonsense in ["x", "2:", "2:abc", "-1"] {
        let option = format!("--min-checkpoint={nonsense}");
        let (status, _, err) = scene.verify(&[&option]);
        assert!(status == 2 && err.contains("NUMBER:HASH"), "{err}");
    }
}

#[test]
fn verify_lists_what_was_set_aside() {
    let scene = Scene::new();
    let whole = fs::read(scene.segment()).expect("the segment");
    let mut zeroed = whole.clone();
    zeroed[whole.len() - 600..].fill(0);
    fs::write(scene.segment(), zeroed).expect("written");
    scene.forget();
    scene.log().checkpoint().expect("signed");
    let (status, out, _) = scene.verify(&[]);
    assert_eq!(status, 0, "{out}");
    let line = out
        .lines()
        .find(|line| line.starts_with("quarantined as torn"));
    assert!(line.is_some_and(|line| line.contains("in torn-")), "{out}");
    let (_, out, _) = scene.verify(&["--json"]);
    let verified: Value = serde_json::from_str(&out).expect("JSON");
    let aside = &verified["set_aside"][0];
    let name = aside["files"][0]["name"].as_str().expect("a name");
    assert_eq!(aside["place"]["segment"], "000001.jsonl");
    let kept = fs::metadata(scene.dir().join(name)).expect("what was set aside");
    assert_eq!(aside["files"][0]["bytes"], kept.len());
    fs::remove_file(scene.dir().join(name)).expect("removed");
    let (status, out, _) = scene.verify(&[]);
    assert_eq!(status, 1);
    assert!(out.starts_with("intact: yes\ncomplete: no\n"), "{out}");
    assert!(out.contains(&format!("{name} is missing")), "{out}");
}

#[test]
fn verify_wants_to_know_whose_signature_counts() {
    let scene = Scene::new();
    let verify = |key: &str| scene.aegis(&["verify", "audit", "--key", key]);
    let key = fs::read_to_string(scene.root.path().join("keys/audit.pub")).expect("a key");
    assert_eq!(verify(key.trim()).0, 0);
    let (status, out, _) = verify(&"0".repeat(64));
    assert!(
        status == 1 && out.contains(&format!("signed by an unknown key, {}", key.trim())),
        "{out}"
    );
    let (status, _, err) = verify("keys");
    assert!(status == 1 && err.contains("keys"), "{err}");
    // The default is the user's own, wherever the log is.
    let state = scene.root.path().join("state/aegis");
    fs::create_dir_all(&state).expect("a directory");
    let own = |scene: &Scene| {
        let mut command = scene.command(&["verify", "audit"]);
        command.env("XDG_STATE_HOME", scene.root.path().join("state"));
        told(&command.output().expect("aegis starts"))
    };
    if !rustix::process::geteuid().is_root() {
        assert_eq!(own(&scene).0, 1);
        fs::rename(scene.root.path().join("keys"), state.join("keys")).expect("moved");
        assert_eq!(own(&scene).0, 0);
    }
}

#[test]
fn what_is_exported_as_jsonl_verifies() {
    let scene = Scene::new();
    let (status, out, _) = scene.aegis(&["export", "audit"]);
    assert_eq!(status, 0);
    let own = fs::read_to_string(scene.segment()).expect("the segment");
    let (repeated, lines): (Vec<_>, Vec<_>) =
        (out.lines()).partition(|line| line.contains("\",\"repeated\":{"));
    assert_eq!(lines, own.lines().collect::<Vec<_>>());
    assert_eq!(repeated.len(), 1, "what the start of the run refers to");
    let mut child = scene
        .command(&["verify", "-", "--key", "keys/audit.pub"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("aegis starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(out.as_bytes()).expect("written");
    drop(input);
    let (status, out, _) = told(&child.wait_with_output().expect("ended"));
    assert_eq!(status, 0, "{out}");
}

#[test]
fn what_is_exported_as_ocsf_has_a_class_for_each_record() {
    let scene = Scene::new();
    let (status, out, _) = scene.aegis(&["export", "audit", "--format", "ocsf", "--host", "h7"]);
    assert_eq!(status, 0);
    let events: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let classes: Vec<u64> = events
        .iter()
        .filter_map(|event| event["class_uid"].as_u64())
        .collect();
    assert_eq!(classes, [1008, 1007, 2004, 1007, 1007, 1008]);
    assert_eq!(events[1]["device"]["hostname"], "h7");
}

#[test]
fn what_is_no_log_is_not_pruned_and_stays_as_it_is() {
    let root = tempfile::tempdir().expect("a directory");
    let empty = root.path().join("empty");
    fs::create_dir(&empty).expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegis"));
    command.args(["audit", "prune", "--keep", "1d"]).arg(&empty);
    let (status, out, err) = told(&command.output().expect("aegis starts"));
    assert_eq!((status, &*out), (1, ""), "{err}");
    assert!(err.contains("holds no audit log"), "{err}");
    assert_eq!(fs::read_dir(&empty).expect("the directory").count(), 0);
}

#[test]
fn tail_shows_the_last_and_follows() {
    let scene = Scene::new();
    let (status, out, _) = scene.aegis(&["tail", "audit", "-n", "2"]);
    assert_eq!((status, out.lines().count()), (0, 2));
    let (_, all, _) = scene.aegis(&["show", "audit"]);
    let (status, last, _) = scene.aegis(&["show", "audit", "-n", "2"]);
    assert_eq!((status, last.lines().count()), (0, 2));
    assert!(all.ends_with(&last), "{last}");
    let mut child = scene
        .command(&["tail", "audit", "-n", "1", "-f", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("aegis starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("read");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(next()["seq"], 5);
    let mut log = scene.log();
    for n in 6..9 {
        log.append(&[scene.blocked(&format!("/{n}"))])
            .expect("appended");
        assert_eq!(next()["request"]["what"]["path"], format!("/{n}"));
    }
    // Pruning replaces the file, and nothing is shown twice.
    let all = Keep {
        bytes: Some(0),
        ..Keep::default()
    };
    log.checkpoint().expect("signed");
    assert_eq!(next()["seq"], 9);
    log.prune(&all).expect("pruned").expect("something");
    for seq in [10, 11] {
        assert_eq!(next()["seq"], seq, "what pruning records");
    }
    for n in 12..15 {
        log.append(&[scene.blocked(&format!("/{n}"))])
            .expect("appended");
        assert_eq!(next()["request"]["what"]["path"], format!("/{n}"));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let (status, _, err) = scene.aegis(&[
        "tail",
        Path::new("audit/000001.jsonl").to_str().expect("UTF-8"),
        "-f",
    ]);
    assert!(status == 1 && err.contains("cannot be followed"), "{err}");
}
