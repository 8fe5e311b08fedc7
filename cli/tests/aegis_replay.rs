//! `aegis replay`: exit statuses and output.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{json, status, stderr, stdout};
use aegis_audit::event::{Event, EventType};
use aegis_audit::log::Log;
use aegis_policy::{Context, Policy, Request, Verdict, What, ask, decide, load};

pub(super) const POLICY: &str = "\
aegis-policy: 1
name: workshop
capabilities:
  - {id: work, on: files.read, match: [$WORK/**], verdict: allow}
  - {id: keys, on: files.read, match: [/**/keys/**], verdict: block, reason: keys stay out}
";

/// A directory with a policy, another one, and a log of the first one's decisions.
pub(super) struct Scene {
    root: tempfile::TempDir,
}

impl Scene {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let scene = Self { root };
        scene.write("policy.yaml", POLICY);
        scene.write(
            "other.yaml",
            &POLICY.replace("/**/keys/**", "/**/drafts/**"),
        );
        scene
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    pub(super) fn policy(&self) -> Policy {
        let document = load::parse_str(POLICY, "policy.yaml").expect("a policy");
        Policy::new(vec![document]).expect("a policy")
    }

    /// Records the policy's decisions on these files; `falsify` changes the events.
    fn log(&self, files: &[&str], falsify: impl Fn(&mut Event)) {
        let policy = self.policy();
        let dir = self.path("audit");
        let mut log = Log::open(&dir, &self.path("keys")).expect("a log");
        log.archive_policy(&policy).expect("a copy");
        let events: Vec<Event> = (files.iter())
            .map(|file| {
                let request = request(file);
                let decision = decide(&policy, &request);
                let event = Event::new(EventType::FileAccess, "77-abc", policy.hash());
                let mut event = event.decided(request, decision);
                falsify(&mut event);
                event
            })
            .collect();
        log.append(&events).expect("appended");
    }

    pub(super) fn aegis(&self, words: &[&str]) -> Output {
        self.aegis_with(words, "")
    }

    pub(super) fn aegis_with(&self, words: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aegis"))
            .args(words)
            .current_dir(self.root.path())
            .env("HOME", "/home/ana")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("aegis starts");
        // A command that does not read its input may have ended.
        let _ = child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(input.as_bytes());
        child.wait_with_output().expect("an end")
    }
}

pub(super) fn request(file: &str) -> Request {
    Request {
        approvals: Vec::new(),
        context: Context {
            uid: 1000,
            ..ask::somebody()
        },
        what: What::Read {
            except: Vec::new(),
            path: format!("/home/ana/work/{file}").as_str().into(),
            tree: false,
        },
    }
}

#[test]
fn a_log_is_decided_again_from_itself_alone() {
    let scene = Scene::new();
    scene.log(&["a", "keys/b", "c"], |_| ());
    // The policy's file is not needed, only the copy beside the log.
    fs::remove_file(scene.path("policy.yaml")).expect("removed");
    let directory = scene.aegis(&["replay", "audit"]);
    assert_eq!(status(&directory), 0, "{directory:?}");
    assert!(
        stdout(&directory).contains("3 decisions: decided again, all the same"),
        "{}",
        stdout(&directory)
    );
    let segment = scene.aegis(&["replay", "audit/000001.jsonl", "--json"]);
    assert_eq!(status(&segment), 0);
    assert_eq!(json(&segment)["decisions"], 3);
    assert_eq!(json(&segment)["ok"], true);
    let lines = fs::read_to_string(scene.path("audit/000001.jsonl")).expect("a log");
    let piped = scene.aegis_with(&["replay", "-", "--policies", "audit/policies"], &lines);
    assert_eq!(status(&piped), 0, "{piped:?}");
}

#[test]
fn a_decision_that_was_falsified_is_named() {
    let scene = Scene::new();
    scene.log(&["a", "keys/b"], |event| {
        let decision = event.decision.as_mut().expect("a decision");
        decision.verdict = Verdict::Allow;
    });
    let output = scene.aegis(&["replay", "audit"]);
    assert_eq!(status(&output), 1);
    let text = stdout(&output);
    assert!(
        text.contains("(run 77-abc): files.read /home/ana/work/keys/b"),
        "{text}"
    );
    assert!(
        text.contains("then  allow") && text.contains("now   block"),
        "{text}"
    );
    assert!(
        text.contains("1 differs, 0 cannot be decided again"),
        "{text}"
    );
}

#[test]
fn a_policy_that_is_missing_or_changed_is_reported() {
    let scene = Scene::new();
    scene.log(&["a"], |_| ());
    let copy = scene.path(&format!("audit/policies/{}.json", scene.policy().hash()));
    let text = fs::read_to_string(&copy).expect("a copy");
    fs::write(&copy, text.replace("keys stay out", "keys go out")).expect("changed");
    let changed = scene.aegis(&["replay", "audit"]);
    assert_eq!(status(&changed), 1);
    assert!(
        stdout(&changed).contains("its contents were changed: their hash is"),
        "{changed:?}"
    );
    fs::remove_file(&copy).expect("removed");
    let missing = scene.aegis(&["replay", "--json", "audit"]);
    assert_eq!(status(&missing), 1);
    assert_eq!(json(&missing)["undecidable"], 1);
    let why = json(&missing)["undecidable_because"][0]["why"].to_string();
    assert!(
        why.contains("there is no copy of it in audit/policies"),
        "{why}"
    );
}

#[test]
fn another_policy_is_reviewed_against_what_was_asked_for() {
    let scene = Scene::new();
    scene.log(&["a", "keys/b", "keys/c", "drafts/d"], |_| ());
    let same = scene.aegis(&["replay", "audit", "--policy", "policy.yaml"]);
    assert_eq!(
        (status(&same), stdout(&same)),
        (0, "4 decisions: none would change\n")
    );
    let other = scene.aegis(&["replay", "audit", "--policy", "other.yaml"]);
    assert_eq!(status(&other), 1);
    let text = stdout(&other);
    let block = text.find("block -> allow: 2 requests of files.read");
    let allow = text.find("allow -> block: 1 request of files.read");
    assert!(block.is_some() && block < allow, "{text}");
    assert!(
        text.contains("/home/ana/work/keys/b") && !text.contains("keys/c"),
        "{text}"
    );
    assert!(text.ends_with("4 decisions: 3 would change\n"), "{text}");
    let all = scene.aegis(&["replay", "audit", "--policy", "other.yaml", "--all"]);
    assert!(stdout(&all).contains("keys/c"), "{}", stdout(&all));
}

#[test]
fn a_run_whose_grants_would_change_is_one_decision_that_would() {
    let scene = Scene::new();
    let policy = scene.policy();
    let grants = |files: &[&str]| files.iter().map(|file| request(file).what).collect();
    let run = |files: &[&str]| {
        let what = What::Tool {
            command: vec!["cat".into()],
            grants: grants(files),
        };
        let request = Request {
            what,
            ..request("")
        };
        let decision = decide(&policy, &request);
        Event::new(EventType::ToolExec, "77-abc", policy.hash()).decided(request, decision)
    };
    let mut log = Log::open(&scene.path("audit"), &scene.path("keys")).expect("a log");
    log.append(&[run(&["a", "keys/b", "keys/c"]), run(&["a"])])
        .expect("appended");
    let other = ["replay", "audit", "--policy", "other.yaml"];
    let said = scene.aegis(&other);
    let text = stdout(&said);
    assert!(
        text.ends_with(
            "2 decisions: 1 would change (3 answers, those about the grants of runs included)\n"
        ),
        "{text}"
    );
    let told = json(&scene.aegis(&[&other[..], &["--json"]].concat()));
    assert_eq!(
        (&told["decisions"], &told["changing"]),
        (&Value::from(2), &Value::from(1))
    );
}

#[test]
fn a_record_is_explained_in_words() {
    let scene = Scene::new();
    scene.log(&["a", "keys/b"], |_| ());
    let listed = json(&scene.aegis(&["replay", "audit", "--id", "77-abc", "--json"]));
    let seq = listed[1]["seq"].to_string();
    for id in [seq.clone(), format!("77-abc/{seq}")] {
        let output = scene.aegis(&["replay", "audit", "--id", &id]);
        assert_eq!(status(&output), 0, "{output:?}");
        let text = stdout(&output);
        for part in [
            "user 1000 under the profile example",
            "files.read /home/ana/work/keys/b",
            "block, by keys, work: blocked by rule `keys`: keys stay out",
            "(workshop)",
            "the same policy decides the same",
            "today   the policy in force",
            "change `keys`, which blocks it",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    for id in ["9999", "nobody", "77-abc/0"] {
        let output = scene.aegis(&["replay", "audit", "--id", id]);
        assert_eq!(status(&output), 1, "{id}");
        assert!(stderr(&output).contains("there is no"), "{id}");
    }
    assert_eq!(status(&scene.aegis(&["replay", "audit", "--id", "a/b"])), 2);
}

#[test]
fn a_changed_line_is_no_record() {
    let scene = Scene::new();
    scene.log(&["a", "b"], |_| ());
    let path = scene.path("audit/000001.jsonl");
    let text = fs::read_to_string(&path).expect("a log");
    fs::write(
        &path,
        text.replacen("/home/ana/work/a", "/home/ana/work/z", 1),
    )
    .expect("changed");
    let output = scene.aegis(&["replay", "audit"]);
    assert_eq!(status(&output), 1);
    assert!(
        stdout(&output).contains("one of them was changed"),
        "{output:?}"
    );
}

#[test]
fn a_decision_that_was_taken_out_is_not_all_the_same() {
    use aegis_audit::event::{Cause, Detail, Grant, RunEnd, RunStart};
    let scene = Scene::new();
    let without = |event: &mut Event| {
        event.request = None;
        event.decision = None;
    };
    for (kind, detail) in [
        (EventType::FileAccess, None),
        (EventType::NetReq, None),
        (EventType::ToolExec, None),
        (EventType::Approval, None),
        (
            EventType::PolicyViolation,
            Some(Detail::Grant(Grant {
                from: "a:1:2".into(),
            })),
        ),
    ] {
        let _ = fs::remove_dir_all(scene.path("audit"));
        scene.log(&["a", "b"], |event| {
            event.kind = kind;
            event.detail = detail.clone();
        });
        let output = scene.aegis(&["replay", "audit"]);
        assert_eq!(status(&output), 0, "{kind:?}: {}", stdout(&output));
        let _ = fs::remove_dir_all(scene.path("audit"));
        scene.log(&["a", "b"], |event| {
            event.kind = kind;
            event.detail = detail.clone();
            without(event);
        });
        let output = scene.aegis(&["replay", "audit"]);
        assert_eq!(status(&output), 1, "{kind:?}: {}", stdout(&output));
        assert!(
            stdout(&output).contains("were taken out"),
            "{}",
            stdout(&output)
        );
    }

    // The whole record of a run's decision.
    let policy = scene.policy().hash();
    let run = |with_decision: bool| {
        let _ = fs::remove_dir_all(scene.path("audit"));
        scene.log(&[], |_| ());
        let mut log = Log::open(&scene.path("audit"), &scene.path("keys")).expect("a log");
        let mut events = vec![Event::run_start("1-a", policy, RunStart::default())];
        if with_decision {
            let (request, decision) = (request("a"), decide(&scene.policy(), &request("a")));
            events.push(Event::tool_exec("1-a", request, decision));
        }
        log.append(&events).expect("appended");
        let torn = stdout(&scene.aegis(&["replay", "audit"])).to_owned();
        assert!(
            torn.contains("all the same"),
            "of a run that was killed: {torn}"
        );
        let end = RunEnd::not_started(Cause::Exited, None, 0);
        log.append(&[Event::run_end("1-a", policy, end)])
            .expect("appended");
        scene.aegis(&["replay", "audit"])
    };
    assert_eq!(status(&run(true)), 0);
    let output = run(false);
    assert_eq!(status(&output), 1);
    assert!(stdout(&output).contains("the record of its decision was taken out"));
}
