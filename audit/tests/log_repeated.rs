//! What is the same in many runs is stored once, and is part of the evidence all the same.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::fs;
use std::path::PathBuf;

use aegis_audit::event::{Cause, Degraded, Detail, Event, Grant, RunEnd, RunStart};
use aegis_audit::log::{Answer, REPEATED, Reader};
use aegis_policy::{Hash, Opinion, Verdict, What};

use crate::log_support;
use log_support::{Scene, decided, lines, verify_bytes};

/// The records of a run with a hundred grants, whose command is called with a word of its own.
fn run(n: u64) -> Vec<Event> {
    let grants = (0..100).map(|n| What::Read {
        except: Vec::new(),
        path: format!("/srv/data/{n}").as_str().into(),
        tree: true,
    });
    let what = What::Tool {
        command: vec!["/usr/bin/report".into(), n.to_string().as_str().into()],
        grants: grants.collect(),
    };
    let (request, mut decision) = decided(what, Verdict::Warn);
    decision.parts = vec![
        Opinion {
            reason: "allowed by rule `work`".into(),
            rules: vec!["work".into()],
            verdict: Verdict::Allow,
        };
        100
    ];
    let policy = decision.policy;
    let start = RunStart {
        argv: vec!["report".into(), n.to_string()],
        pid: n as u32,
        profile: "report".into(),
        degraded: vec![Degraded {
            layer: "cgroup".into(),
            fix: "a".repeat(2000),
            what: "b".into(),
        }],
        ..RunStart::default()
    };
    let (asked, warned) = decided(
        What::Read {
            except: Vec::new(),
            path: "/srv/data/1".into(),
            tree: true,
        },
        Verdict::Warn,
    );
    let from = Grant {
        from: "skill.yaml:1:2".into(),
    };
    let end = RunEnd::not_started(Cause::Exited, None, 0);
    let run = format!("run-{n}");
    vec![
        Event::run_start(&run, policy, start),
        Event::tool_exec(&run, request, decision),
        Event::violation(&run, asked, warned, from),
        Event::run_end(&run, policy, end),
    ]
}

fn files(scene: &Scene) -> Vec<PathBuf> {
    let names = fs::read_dir(scene.dir().join(REPEATED)).expect("the directory");
    names.map(|entry| entry.expect("an entry").path()).collect()
}

fn with_runs(runs: u64) -> Scene {
    let scene = Scene::new();
    for n in 0..runs {
        scene.open().append_and_sign(&run(n)).expect("appended");
    }
    scene
}

#[test]
fn what_every_run_has_is_stored_once_and_read_back_whole() {
    let scene = with_runs(10);
    assert_eq!(
        files(&scene).len(),
        3,
        "of the start, the decision and the warning"
    );
    let bytes = fs::read(scene.segment(1)).expect("the segment");
    // Without the warning.
    let usual: usize = lines(&bytes)[1..6].iter().map(|line| line.len()).sum();
    let size = usual - lines(&bytes)[3].len();
    assert!(size < 2000, "{size} bytes a run");
    let records: Vec<_> = (Reader::open(&scene.dir()).expect("the log"))
        .map(|record| record.expect("a record"))
        .filter(|record| record.run != "log")
        .collect();
    let events: Vec<Event> = (0..10).flat_map(run).collect();
    assert_eq!(records.len(), events.len());
    for (record, event) in records.iter().zip(&events) {
        assert_eq!(record.request, event.request);
        assert_eq!(record.decision, event.decision);
        assert_eq!(record.detail(), event.detail);
        assert_eq!(record.policy, event.policy);
    }
    let verified = scene.verify();
    assert!(verified.intact && verified.complete, "{verified:?}");
}

#[test]
fn an_approval_that_was_used_stays_with_its_record() {
    let scene = Scene::new();
    let mut events = run(1);
    for event in &mut events {
        if let Some(request) = &mut event.request {
            request.approvals = vec![aegis_policy::request::Approval {
                at: 1,
                command: Hash::of(b"c"),
                expires: 2,
                held_for: Hash::of(b"c"),
                id: "a".into(),
                policy: Hash::of(b"policy"),
                profile_hash: Hash::of(b"p"),
                skill: None,
                what: Hash::of(b"w"),
            }];
        }
    }
    scene.open().append_and_sign(&events).expect("appended");
    let requests: Vec<_> = (Reader::open(&scene.dir()).expect("the log"))
        .filter_map(|record| record.expect("a record").request)
        .collect();
    let expected: Vec<_> = events
        .into_iter()
        .filter_map(|event| event.request)
        .collect();
    assert_eq!(requests, expected);
}

#[test]
fn what_was_changed_or_removed_is_found_by_verify_and_by_who_reads() {
    type Change = fn(&PathBuf);
    let changes: [(&str, Change); 4] = [
        ("removed", |path| fs::remove_file(path).expect("removed")),
        ("changed", |path| {
            let text = fs::read_to_string(path).expect("the file");
            fs::write(
                path,
                text.replace("srv", "etc").replace("report", "rapport"),
            )
            .expect("changed");
        }),
        ("emptied", |path| fs::write(path, "").expect("emptied")),
        ("replaced by a pipe", |path| {
            fs::remove_file(path).expect("removed");
            let mode = rustix::fs::Mode::RWXU;
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("a pipe");
        }),
    ];
    for (how, change) in changes {
        let scene = with_runs(2);
        for file in files(&scene) {
            let whole = fs::read(&file).expect("the file");
            change(&file);
            let verified = scene.verify();
            assert!(verified.intact && !verified.complete, "{how}: {verified:?}");
            assert_eq!(verified.findings.len(), 1, "{how}: told once of each");
            assert_eq!(verified.findings[0].against, Answer::Complete);
            let mut reader = Reader::open(&scene.dir()).expect("the log");
            let wrong = reader.by_ref().filter(Result::is_err).count();
            assert_eq!(wrong, 2, "{how}: it is told of each record");
            let _ = fs::remove_file(&file);
            fs::write(&file, whole).expect("put back");
        }
        assert!(scene.verify().complete, "{how}");
    }
}

#[test]
fn a_wrong_copy_is_mended_by_the_next_run_that_has_the_same() {
    let scene = with_runs(1);
    for file in files(&scene) {
        fs::write(file, "torn").expect("written");
    }
    scene.open().append_and_sign(&run(2)).expect("appended");
    assert!(scene.verify().complete);
}

#[test]
fn a_stream_has_what_its_lines_refer_to_before_them() {
    let scene = with_runs(2);
    let mut stream = Vec::new();
    let mut reader = Reader::open(&scene.dir()).expect("the log");
    let mut told = std::collections::BTreeSet::new();
    while let Some(line) = reader.next_line() {
        let line = line.expect("a line");
        if let Some((hash, text)) = line.repeated().expect("it is there")
            && told.insert(hash)
        {
            stream.extend(text.bytes());
        }
        let record = std::str::from_utf8(line.record).expect("text");
        stream.extend(format!("{{\"hash\":\"{}\",\"record\":{record}}}\n", line.hash).bytes());
    }
    let verified = verify_bytes(&stream, &scene.expected());
    assert!(verified.intact && verified.complete, "{verified:?}");
    let read = |bytes: Vec<u8>| {
        Reader::stream("-", Box::new(std::io::Cursor::new(bytes))).collect::<Vec<_>>()
    };
    let own: Vec<_> = Reader::open(&scene.dir())
        .expect("the log")
        .map(Result::unwrap)
        .collect();
    let records: Vec<_> = read(stream.clone())
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(records, own);
    // What was changed is no such line, and what refers to it cannot be read.
    let text = String::from_utf8(stream)
        .expect("text")
        .replacen("/srv/data/7", "/etc/data/7", 1);
    let wrong = read(text.into_bytes())
        .into_iter()
        .filter(Result::is_err)
        .count();
    assert_eq!(wrong, 3);
    // The lines alone can be verified.
    let bytes = fs::read(scene.segment(1)).expect("the segment");
    assert!(verify_bytes(&bytes, &scene.expected()).complete);
    let error = read(lines(&bytes)[1].to_vec())
        .remove(0)
        .expect_err("not whole");
    assert!(error.to_string().contains("aegis audit export"), "{error}");
}

#[test]
fn details_alone_are_no_start_of_a_run() {
    // Of types that have parts, but not in this form.
    let scene = Scene::new();
    let mut odd = run(1).remove(1);
    odd.detail = Some(Detail::Grant(Grant { from: "x".into() }));
    odd.kind = aegis_audit::event::EventType::PolicyViolation;
    scene
        .open()
        .append_and_sign(std::slice::from_ref(&odd))
        .expect("appended");
    let read = Reader::open(&scene.dir())
        .expect("the log")
        .nth(1)
        .expect("it")
        .expect("a record");
    assert_eq!((read.request, read.decision), (odd.request, odd.decision));
}
