//! Recorded decisions are repeated from the log and the copies of policies beside it alone.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use aegis_audit::archive::{DIRECTORY, archived_policy};
use aegis_audit::event::{Event, EventType};
use aegis_audit::log::{Log, Options, Reader, verify};
use aegis_audit::replay::{Change, Found, Outcome, Recorded, Replayer, read_request, under};
use aegis_policy::model::{Action, CapabilityRule, Mode};
use aegis_policy::{
    Context, Decision, Document, Hash, Policy, Request, Verdict, What, decide, templates,
};
use proptest::prelude::*;
use serde_json::value::RawValue;

#[path = "../../policy/tests/support/arbitrary.rs"]
mod arbitrary;
mod reactions;

use crate::log_support;

use log_support::Scene;

const DECISIONS: u64 = 1_000_000;

fn policy(blocked: &str) -> Policy {
    let rule = |id: &str, pattern: &str, verdict| CapabilityRule {
        id: id.into(),
        matches: [pattern.to_owned()].into(),
        mode: Mode::Enforce,
        on: [Action::FilesRead].into(),
        otherwise: false,
        reason: None,
        verdict,
    };
    let document = Document {
        capabilities: vec![
            rule("work", "$WORK/**", Verdict::Allow),
            rule("secret", blocked, Verdict::Block),
        ],
        name: "replayed".into(),
        ..Document::default()
    };
    Policy::new(vec![document]).expect("a policy")
}

fn request(n: u64) -> Request {
    let at = if n.is_multiple_of(3) {
        "secret"
    } else {
        "open"
    };
    Request {
        approvals: Vec::new(),
        context: Context {
            home: "/h".into(),
            work: "/w".into(),
            ..Context::default()
        },
        what: What::Read {
            except: Vec::new(),
            path: format!("/w/{at}/{n}").as_str().into(),
            tree: false,
        },
    }
}

fn event(policy: &Policy, n: u64) -> Event {
    let request = request(n);
    let decision = decide(policy, &request);
    Event::new(
        EventType::FileAccess,
        &format!("run-{}", n / 1000),
        policy.hash(),
    )
    .decided(request, decision)
}

/// The policies whose copies are in a log's directory.
fn copies(log: &Path) -> impl FnMut(Hash) -> Found + use<> {
    let directory = log.join(DIRECTORY);
    move |hash| match archived_policy(&directory, hash) {
        Ok(Some(kept)) => {
            let engine = kept.engine.clone();
            let policy = Arc::new(Policy::new(kept.documents).expect("a policy"));
            match policy.hash() == hash {
                true => Found::Same(policy),
                false => Found::OtherEngine(policy, engine.to_string()),
            }
        }
        Ok(None) => Found::No("no copy".into()),
        Err(error) => Found::No(error.to_string()),
    }
}

/// Every record of a log, or a segment, and the result of repeating its decision.
fn replay(log: &Path, copies_of: &Path) -> Vec<(u64, Outcome)> {
    let mut replayer = Replayer::new(copies(copies_of), false);
    let mut reader = Reader::open(log).expect("a log");
    let mut outcomes = Vec::new();
    while let Some(line) = reader.next_line() {
        let line = line.expect("a line");
        assert_eq!(Hash::of(line.record), line.hash);
        let whole = line.whole().expect("it is there");
        let record = Recorded::parse(&whole).expect("a record");
        outcomes.push((record.seq, replayer.again(&record)));
    }
    outcomes
}

fn differing(outcomes: &[(u64, Outcome)]) -> Vec<(u64, &Outcome)> {
    (outcomes.iter())
        .filter(|(_, outcome)| !matches!(outcome, Outcome::Same | Outcome::NoDecision))
        .map(|(seq, outcome)| (*seq, outcome))
        .collect()
}

#[test]
fn a_log_of_a_million_decisions_is_replayed_without_a_difference() {
    let scene = Scene::new();
    let mut log = scene.open_with(Options {
        segment_bytes: 16 << 20,
        ..Options::default()
    });
    // The policy changes half-way, as in a real log.
    let policies = [policy("$WORK/secret/**"), policy("/**/secret/**")];
    for policy in &policies {
        log.archive_policy(policy).expect("a copy");
    }
    let (mut segment, mut same) = (1, 0);
    let mut settle = |path: &Path| {
        let outcomes = replay(path, &scene.dir());
        assert_eq!(differing(&outcomes), []);
        same += (outcomes.iter())
            .filter(|(_, o)| *o == Outcome::Same)
            .count() as u64;
        // The whole log would be a gigabyte.
        fs::remove_file(path).expect("a segment");
    };
    let mut n = 0;
    while n < DECISIONS {
        let batch: Vec<Event> = (n..n + 500)
            .map(|n| {
                let half = usize::from(n >= DECISIONS / 2);
                event(&policies[half], n)
            })
            .collect();
        log.append(&batch).expect("appended");
        n += 500;
        while scene.segment(segment + 1).exists() {
            settle(&scene.segment(segment));
            segment += 1;
        }
    }
    settle(&scene.segment(segment));
    assert_eq!(same, DECISIONS);
}

#[test]
fn a_decision_that_the_holder_of_the_key_has_rewritten_is_found() {
    let policy = policy("$WORK/secret/**");
    let falsify: [fn(&mut Decision); 4] = [
        |d| d.verdict = Verdict::Allow,
        |d| d.reason = "allowed by rule `work`".into(),
        |d| d.rules.clear(),
        |d| d.input = Hash::default(),
    ];
    for (n, falsify) in falsify.into_iter().enumerate() {
        let scene = Scene::new();
        let mut log = scene.open();
        log.archive_policy(&policy).expect("a copy");
        let mut events: Vec<Event> = (0..20).map(|n| event(&policy, n)).collect();
        falsify(events[6].decision.as_mut().expect("a decision"));
        let seqs = log.append(&events).expect("appended").seqs;
        log.checkpoint().expect("signed");
        let verified = verify(
            Reader::open(&scene.dir()).expect("a log"),
            &scene.expected(),
        );
        assert!(verified.expect("an answer").intact, "the chain is right");
        let outcomes = replay(&scene.dir(), &scene.dir());
        let found = differing(&outcomes);
        assert_eq!(found.len(), 1, "{n}: {found:?}");
        assert_eq!(found[0].0, seqs[6], "{n}");
        let Outcome::Differs { differences } = found[0].1 else {
            panic!("{n}: {found:?}");
        };
        let named = ["verdict", "reason", "rules", "input hash"][n];
        assert_eq!(differences.len(), 1, "{differences:?}");
        assert_eq!(differences[0].what, named);
    }
}

/// A record as it is in a log, made of an event.
fn line(event: Event) -> String {
    let record = aegis_audit::event::Record {
        decision: event.decision,
        detail: event
            .detail
            .map(|detail| serde_json::to_value(detail).expect("a detail")),
        policy: event.policy,
        prev: Hash::default(),
        request: event.request,
        run: event.run,
        seq: 1,
        time: "2026-01-02T03:04:05.678901Z".into(),
        kind: event.kind,
        v: aegis_audit::event::VERSION,
    };
    serde_json::to_string(&record).expect("a record")
}

fn again(line: &str, found: &Found) -> Outcome {
    let record = Recorded::parse(line.as_bytes()).expect("a record");
    Replayer::new(|_| found.clone(), false).again(&record)
}

fn undecidable(line: &str, found: &Found) -> String {
    match again(line, found) {
        Outcome::Undecidable { why } => why.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_decided_again_is_told_from_what_differs() {
    let policy = Arc::new(policy("$WORK/secret/**"));
    let known = Found::Same(policy.clone());
    let whole = line(event(&policy, 1));
    assert_eq!(again(&whole, &known), Outcome::Same);
    assert_eq!(
        undecidable(&whole, &Found::No("lost".into())),
        format!("made under policy {}: lost", policy.hash())
    );
    let mut half = event(&policy, 1);
    half.request = None;
    assert_eq!(
        undecidable(&line(half), &known),
        "a decision without a request"
    );
    let unknown = whole.replace("\"files.read\"", "\"files.smell\"");
    assert!(undecidable(&unknown, &known).starts_with("this version cannot read its request: "));
    let nothing = Event::new(EventType::RunEnd, "run", policy.hash());
    assert_eq!(again(&line(nothing), &known), Outcome::NoDecision);
    let mut elsewhere = event(&policy, 1);
    elsewhere.policy = Hash::default();
    assert!(matches!(
        again(&line(elsewhere), &known),
        Outcome::Differs { .. }
    ));
}

#[test]
fn what_another_engine_decided_is_decided_again_only_by_force() {
    let policy = Arc::new(policy("$WORK/secret/**"));
    let found = Found::OtherEngine(policy.clone(), "aegis-policy 0.0.1".into());
    // Its policy has another hash there, since the engine is part of it.
    let theirs = Hash::of(b"of another engine");
    let mut recorded = event(&policy, 3);
    recorded.policy = theirs;
    recorded.decision.as_mut().expect("a decision").policy = theirs;
    let text = line(recorded.clone());
    let record = Recorded::parse(text.as_bytes()).expect("a record");
    assert!(undecidable(&text, &found).starts_with("decided by aegis-policy 0.0.1 under policy "));
    let mut forced = Replayer::new(|_| found.clone(), true);
    assert_eq!(forced.again(&record), Outcome::Same);
    recorded.decision.as_mut().expect("a decision").verdict = Verdict::Allow;
    let text = line(recorded);
    let record = Recorded::parse(text.as_bytes()).expect("a record");
    assert!(matches!(forced.again(&record), Outcome::Differs { .. }));
}

#[test]
fn a_copy_of_a_policy_proves_itself() {
    let scene = Scene::new();
    let log = scene.open();
    let directory = scene.dir().join(DIRECTORY);
    let mut policies = vec![policy("/a"), policy("/b")];
    for template in templates::ALL {
        policies.push(Policy::new(vec![template.document()]).expect("a policy"));
    }
    let both = [templates::ALL[0].document(), templates::ALL[1].document()];
    policies.push(Policy::new(both.to_vec()).expect("a policy"));
    for policy in &policies {
        assert_eq!(Hash::of(&policy.canonical()), policy.hash());
        log.archive_policy(policy).expect("a copy");
        log.archive_policy(policy).expect("it is there already");
        let kept = archived_policy(&directory, policy.hash())
            .expect("a copy")
            .expect("it is there");
        assert_eq!(kept.engine, aegis_policy::decide::ENGINE);
        assert_eq!(
            Policy::new(kept.documents).expect("a policy").hash(),
            policy.hash()
        );
    }
    assert_eq!(
        fs::read_dir(&directory).expect("the copies").count(),
        policies.len(),
        "nothing is left over"
    );
    let hash = policies[0].hash();
    let path = directory.join(format!("{hash}.json"));
    let text = fs::read_to_string(&path).expect("a copy");
    fs::write(&path, text.replace("block", "allow")).expect("changed");
    let told = archived_policy(&directory, hash).expect_err("it is another");
    assert!(
        told.to_string()
            .contains("its contents were changed: their hash is"),
        "{told}"
    );
    fs::remove_file(&path).expect("removed");
    assert!(matches!(archived_policy(&directory, hash), Ok(None)));
}

#[test]
fn what_another_policy_changes_is_told_for_the_run_and_for_its_grants() {
    let (old, new) = (policy("$WORK/secret/**"), policy("$WORK/open/**"));
    let mut run = request(1);
    run.what = What::Tool {
        command: vec!["/w/x".into()],
        grants: (0..3).map(|n| request(n).what).collect(),
    };
    let decision = decide(&old, &run);
    let event = Event::new(EventType::ToolExec, "run", old.hash()).decided(run.clone(), decision);
    let text = line(event);
    let record = Recorded::parse(text.as_bytes()).expect("a record");
    let told = |changes: Vec<Change>| -> Vec<(String, bool, Verdict, Verdict)> {
        (changes.into_iter())
            .map(|c| (c.what.to_string(), c.is_part, c.then.verdict, c.now.verdict))
            .collect()
    };
    let changes = under(&new, &record).expect("readable").expect("a decision");
    assert_eq!(
        told(changes),
        [
            (
                "files.read /w/secret/0".into(),
                true,
                Verdict::Block,
                Verdict::Allow
            ),
            (
                "files.read /w/open/1".into(),
                true,
                Verdict::Allow,
                Verdict::Block
            ),
            (
                "files.read /w/open/2".into(),
                true,
                Verdict::Allow,
                Verdict::Block
            ),
        ],
        "the run as a whole is blocked by either"
    );
    let none = Policy::new(vec![Document::default()]).expect("a policy");
    let changes = under(&none, &record)
        .expect("readable")
        .expect("a decision");
    assert_eq!(changes.len(), 2);
    assert_eq!(under(&old, &record), Ok(Some(Vec::new())));
}

/// The same JSON, but every object's keys the other way round.
fn reversed(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let entries: Vec<String> = (map.iter().rev())
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), reversed(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(reversed).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn requests_are_read_as_serde_reads_them(request in arbitrary::request()) {
        let read = |text: String| {
            read_request(&RawValue::from_string(text).expect("JSON"))
        };
        let canonical = serde_json::to_string(&request).expect("JSON");
        prop_assert_eq!(&read(canonical.clone()), &Ok(request.clone()));
        let value = serde_json::from_str(&canonical).expect("JSON");
        prop_assert_eq!(read(reversed(&value)), Ok(request));
        for (from, to) in [("\"tree\":", "\"trees\":"), ("\"path\":", "\"path\":1,\"path\":"), ("true", "1")] {
            let text = canonical.replace(from, to);
            let known = serde_json::from_str::<Request>(&text);
            match read(text) {
                Ok(read) => prop_assert_eq!(read, known.expect("serde reads it too")),
                Err(_) => prop_assert!(known.is_err()),
            }
        }
    }

    #[test]
    fn what_was_decided_is_decided_again(
        document in arbitrary::document(),
        request in arbitrary::request(),
    ) {
        let policy = Arc::new(Policy::new(vec![document]).unwrap());
        let request = arbitrary::approved_by(&policy, &request);
        let decision = decide(&policy, &request);
        let event = Event::new(EventType::ToolExec, "run", policy.hash()).decided(request, decision);
        prop_assert_eq!(again(&line(event), &Found::Same(policy)), Outcome::Same);
    }
}

#[test]
fn a_log_that_is_opened_again_keeps_its_copies() {
    let scene = Scene::new();
    let policy = policy("$WORK/secret/**");
    let mut log: Log = scene.open();
    log.archive_policy(&policy).expect("a copy");
    log.append(&[event(&policy, 0)]).expect("appended");
    drop(log);
    scene.open().append(&[event(&policy, 1)]).expect("appended");
    assert_eq!(differing(&replay(&scene.dir(), &scene.dir())), []);
}
