//! Pruning: what is removed is told, and what stays is verified as before.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::fs;
use std::time::{Duration, SystemTime};

use aegis_audit::event::{Event, EventType};
use aegis_audit::log::{Error, Expected, Keep, LastSigned, Log, Options, REPEATED, Reader};
use aegis_policy::{Hash, Verdict, What};

use crate::log_support;
use log_support::{Scene, decided, event, lines, verify_at, verify_bytes};

/// A log of so many runs in segments of about five, each of which refers to a file of its own.
fn with_runs(runs: u64) -> (Scene, Log) {
    let scene = Scene::new();
    let options = Options {
        segment_bytes: 5_000,
        ..Options::default()
    };
    let mut log = scene.open_with(options);
    for n in 0..runs {
        let grants = vec![What::Environment {
            name: format!("VARIABLE_{n}"),
        }];
        let command = vec!["a".into()];
        let (request, decision) = decided(What::Tool { command, grants }, Verdict::Allow);
        let run = format!("run-{n}");
        let exec = Event::tool_exec(&run, request, decision);
        log.append_and_sign(&[exec, event(1)]).expect("appended");
    }
    (scene, log)
}

fn size(scene: &Scene) -> u64 {
    let sizes = |dir: std::path::PathBuf| -> u64 {
        let entries = fs::read_dir(dir).expect("a directory");
        let sizes = entries.map(|entry| entry.expect("an entry").metadata().expect("it"));
        sizes
            .filter(|found| found.is_file())
            .map(|found| found.len())
            .sum()
    };
    sizes(scene.dir()) + sizes(scene.dir().join(REPEATED))
}

fn repeated(scene: &Scene) -> usize {
    fs::read_dir(scene.dir().join(REPEATED))
        .expect("the directory")
        .count()
}

#[track_caller]
fn holds(scene: &Scene) {
    let signed = LastSigned::in_directory(&scene.keys(), &scene.dir());
    let expected = Expected {
        signed: signed.expect("it is read"),
        ..scene.expected()
    };
    let verified = verify_at(&scene.dir(), &expected);
    assert!(verified.intact && verified.complete, "{verified:?}");
    let mut reader = Reader::open(&scene.dir()).expect("the log");
    assert!(
        reader.all(|record| record.is_ok()),
        "what is referred to is there"
    );
}

#[test]
fn what_stays_is_no_more_than_asked_and_verified_as_before() {
    for most in [60_000, 20_000, 12_345, 5_000] {
        let (scene, mut log) = with_runs(40);
        let before = size(&scene);
        let keep = Keep {
            bytes: Some(most),
            ..Keep::default()
        };
        let pruned = log.prune(&keep).expect("pruned");
        if most > before {
            assert!(pruned.is_none());
            continue;
        }
        let pruned = pruned.expect("something was removed");
        // The record of it and its checkpoint come on top.
        assert!(size(&scene) < most + 2_000, "{} of {most}", size(&scene));
        assert!(
            size(&scene) + 4_000 > most.min(before),
            "no more than needed: {}",
            size(&scene)
        );
        holds(&scene);
        let first = Reader::open(&scene.dir())
            .expect("the log")
            .next()
            .expect("one")
            .expect("it");
        assert_eq!((first.seq, first.prev), (pruned.first, pruned.last.hash));
        assert!(repeated(&scene) < 40);
        // The same log goes on, and is pruned again; nothing is left to prune then.
        log.append_and_sign(&[event(1)]).expect("appended");
        holds(&scene);
        let again = Keep {
            bytes: Some(3_000),
            ..Keep::default()
        };
        let _ = log.prune(&again).expect("pruned");
        holds(&scene);
        let names = fs::read_dir(scene.dir()).expect("the log");
        let left: Vec<_> = names
            .map(|name| name.expect("a name").file_name())
            .collect();
        assert!(
            left.len() <= 4,
            "a segment or two, the lock, what is referred to: {left:?}"
        );
    }
}

#[test]
fn what_is_younger_stays() {
    let (scene, mut log) = with_runs(10);
    let records = Reader::open(&scene.dir()).expect("the log").count();
    let of = |since| Keep {
        since: Some(since),
        ..Keep::default()
    };
    let hour = Duration::from_secs(3600);
    assert!(
        log.prune(&of(SystemTime::now() - hour))
            .expect("pruned")
            .is_none()
    );
    assert_eq!(
        Reader::open(&scene.dir()).expect("the log").count(),
        records
    );
    let pruned = log
        .prune(&of(SystemTime::now() + hour))
        .expect("pruned")
        .expect("all but the last");
    assert!(pruned.records as usize >= records - 4);
    holds(&scene);
    assert_eq!(repeated(&scene), 1, "of the newest run");
}

#[test]
fn only_the_log_itself_says_that_it_was_pruned() {
    let (scene, mut log) = with_runs(20);
    let keep = Keep {
        bytes: Some(8_000),
        ..Keep::default()
    };
    log.prune(&keep).expect("pruned").expect("something");
    let forged = Event::new(EventType::LogPruned, "r", Hash::default());
    assert!(log.append(&[forged]).is_err());
    // More was removed than it says.
    let mut all = Vec::new();
    for number in 1.. {
        match fs::read(scene.segment(number)) {
            Ok(bytes) => all.extend(bytes),
            Err(_) if all.is_empty() => {}
            Err(_) => break,
        }
    }
    let lines = lines(&all);
    assert!(verify_bytes(&lines.concat(), &scene.expected()).complete);
    let verified = verify_bytes(&lines[3..].concat(), &scene.expected());
    assert!(!verified.complete, "{verified:?}");
    let what = &verified.findings[0].what;
    assert!(what.contains("the log begins here"), "{what}");
    // And where it does not say it, because that was cut off.
    let cut = lines.len() - 2;
    assert!(!verify_bytes(&lines[..cut].concat(), &scene.expected()).complete);
}

#[test]
fn killed_before_it_has_removed_anything_it_leaves_a_log_that_verifies() {
    let (scene, mut log) = with_runs(20);
    let copy = scene.root.path().join("copy");
    let before: Vec<_> = (1..9)
        .filter_map(|number| Some((scene.segment(number), fs::read(scene.segment(number)).ok()?)))
        .collect();
    let keep = Keep {
        bytes: Some(8_000),
        ..Keep::default()
    };
    log.prune(&keep).expect("pruned").expect("something");
    // As if nothing had been removed yet: the newest segment has the record of it.
    fs::create_dir(&copy).expect("a directory");
    let (_, older) = before.split_last().expect("segments");
    for (path, bytes) in older {
        fs::write(copy.join(path.file_name().expect("a name")), bytes).expect("a copy");
    }
    for number in 1..20 {
        let name = format!("{number:06}.jsonl");
        if scene.segment(number).exists() && !copy.join(&name).exists() {
            fs::copy(scene.segment(number), copy.join(name)).expect("a copy");
        }
    }
    let verified = verify_at(&copy, &scene.expected());
    assert!(verified.intact, "{verified:?}");
}

/// Verified afterwards, the log would be complete.
#[test]
fn a_loss_is_not_hidden() {
    let keep = Keep {
        bytes: Some(8_000),
        ..Keep::default()
    };
    let refused = |log: &mut Log, scene: &Scene| {
        let before = size(scene);
        match log.prune(&keep) {
            Err(Error::Loss { what, .. }) => {
                assert_eq!(size(scene), before, "nothing is removed or written");
                what
            }
            other => panic!("it must be refused: {other:?}"),
        }
    };
    // Segments were removed by somebody, before and after some were pruned.
    let (scene, mut log) = with_runs(40);
    let gone = fs::read(scene.segment(1)).expect("the segment");
    fs::remove_file(scene.segment(1)).expect("removed");
    let what = refused(&mut log, &scene);
    assert!(what.contains("records 0 to"), "{what}");
    assert!(!verify_at(&scene.dir(), &scene.expected()).complete);
    fs::write(scene.segment(1), gone).expect("put back");
    let most = Keep {
        bytes: Some(40_000),
        ..Keep::default()
    };
    log.prune(&most).expect("pruned").expect("something");
    let first = (1..).find(|number| scene.segment(*number).exists());
    fs::remove_file(scene.segment(first.expect("one"))).expect("removed");
    let what = refused(&mut log, &scene);
    assert!(what.contains("were not pruned"), "{what}");

    // The log was found cut back, as it says itself.
    let (scene, mut log) = with_runs(4);
    let bytes = fs::read(scene.segment(1)).expect("the segment");
    let signed = LastSigned::in_directory(&scene.keys(), &scene.dir()).expect("it is read");
    for number in 2..9 {
        let _ = fs::remove_file(scene.segment(number));
    }
    fs::write(scene.segment(1), lines(&bytes)[..4].concat()).expect("cut back");
    for _ in 0..20 {
        log.append_and_sign(&[event(1)]).expect("appended");
    }
    let what = refused(&mut log, &scene);
    assert!(what.contains("--moved "), "{what}");
    let moved = vec![signed.expect("something was signed").remembered()];
    let known = Keep {
        moved,
        ..keep.clone()
    };
    log.prune(&known).expect("pruned").expect("something");
    holds(&scene);
}

#[test]
fn a_reader_goes_on_where_the_log_was_pruned_below_it() {
    let scene = Scene::new();
    let mut log = scene.open();
    for n in 0..20 {
        log.append_and_sign(&[event(n)]).expect("appended");
    }
    let mut reader = Reader::open(&scene.dir()).expect("the log");
    let last = reader.by_ref().last().expect("one").expect("it");
    let keep = Keep {
        bytes: Some(3_000),
        ..Keep::default()
    };
    log.prune(&keep).expect("pruned").expect("something");
    log.append(&[event(1)]).expect("appended");
    let left = Reader::open_at(&scene.dir(), reader.position()).expect("the log");
    let seqs: Vec<u64> = left.map(|record| record.expect("whole").seq).collect();
    // All that is left, then the record of pruning, its checkpoint, and the event.
    let appended = last.seq + 1..=last.seq + 3;
    assert!(
        seqs[0] <= last.seq && seqs.ends_with(&appended.collect::<Vec<_>>()),
        "{seqs:?}"
    );
}
