//! Appending: the content of the log afterwards, and what is rejected.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::fs::{self, OpenOptions};
use std::io::Write;

use aegis_audit::event::{Detail, Event, EventType, Record, Recovered};
use aegis_audit::log::{Checkpoint, Error, Log, Options, Reader};
use aegis_policy::Hash;

use crate::log_support;
use log_support::{Scene, event, lines, refusal};

fn note(record: &Record) -> Recovered {
    match record.detail() {
        Some(Detail::Recovered(note)) => note,
        other => panic!("{other:?}"),
    }
}

fn records(scene: &Scene) -> Vec<Record> {
    let reader = Reader::open(&scene.dir()).expect("the log");
    reader.collect::<Result<_, _>>().expect("records")
}

fn kinds(scene: &Scene) -> Vec<EventType> {
    records(scene).iter().map(|record| record.kind).collect()
}

#[test]
fn a_new_log_begins_with_a_checkpoint_that_names_it_and_its_key() {
    let scene = Scene::new();
    let log = scene.open();
    let first = &records(&scene)[0];
    let checkpoint = Checkpoint::of(first).expect("a checkpoint");
    assert_eq!((first.seq, first.prev), (0, Hash::default()));
    assert_eq!((checkpoint.key, checkpoint.number), (log.key(), 0));
    assert_eq!(checkpoint.log.len(), 32);
    let verified = scene.verify();
    assert!(
        verified.intact && verified.complete,
        "{:?}",
        verified.findings
    );
}

#[test]
fn events_come_back_in_their_order_with_their_places() {
    let scene = Scene::new();
    let mut log = scene.open();
    let events: Vec<Event> = (0..30).map(event).collect();
    let first = log.append(&events[..10]).expect("appended");
    let second = log.append(&events[10..]).expect("appended");
    assert_eq!(first.seqs, (1..11).collect::<Vec<_>>());
    assert_eq!(second.seqs, (11..31).collect::<Vec<_>>());
    for (record, event) in records(&scene)[1..].iter().zip(&events) {
        assert_eq!(
            (record.kind, &record.run, &record.detail()),
            (event.kind, &event.run, &event.detail)
        );
        assert_eq!(
            (&record.request, &record.decision),
            (&event.request, &event.decision)
        );
        assert!(
            humantime::parse_rfc3339(&record.time).is_ok(),
            "{}",
            record.time
        );
    }
}

#[test]
fn only_what_was_refused_approved_or_secret_waits_for_the_disk() {
    let scene = Scene::new();
    let mut log = scene.open();
    let approval = Event::new(EventType::Approval, "r", Hash::default());
    let secret = Event::new(EventType::SecretUse, "r", Hash::default());
    assert!(!log.append(&[event(1), event(2)]).expect("appended").durable);
    for waits in [refusal(1), approval, secret] {
        assert!(log.append(&[event(1), waits]).expect("appended").durable);
    }
    assert!(log.append(&[]).expect("nothing to do").seqs.is_empty());
}

#[test]
fn the_log_writes_its_own_types_itself() {
    let scene = Scene::new();
    let mut log = scene.open();
    for kind in [EventType::Checkpoint, EventType::LogRecovered] {
        let refused = log.append(&[event(0), Event::new(kind, "r", Hash::default())]);
        assert!(matches!(refused, Err(Error::BadEvent(_))), "{refused:?}");
    }
    assert_eq!(records(&scene).len(), 1, "nothing of it is in the log");
}

#[test]
fn checkpoints_are_signed_on_the_way_and_on_request() {
    let scene = Scene::new();
    let options = Options {
        checkpoint_every: 10,
        ..Options::default()
    };
    let mut log = scene.open_with(options);
    let receipt = log
        .append(&(0..25).map(event).collect::<Vec<_>>())
        .expect("appended");
    assert!(!receipt.seqs.contains(&10) && !receipt.seqs.contains(&20));
    let last = log.checkpoint().expect("signed").seqs;
    assert_eq!(last, [28]);
    assert_eq!(log.checkpoint().expect("it is signed already").seqs, last);
    let found: Vec<_> = records(&scene)
        .iter()
        .filter_map(Checkpoint::of)
        .map(|c| c.number)
        .collect();
    assert_eq!(found, [0, 1, 2, 3]);
    // A later writer continues the numbers, also from far away.
    drop(log);
    let mut log = scene.open();
    log.append(&(0..500).map(event).collect::<Vec<_>>())
        .expect("appended");
    drop(log);
    scene.open().checkpoint().expect("signed");
    let verified = scene.verify();
    assert!(
        verified.intact && verified.complete,
        "{:?}",
        verified.findings
    );
    assert_eq!(verified.last_checkpoint.expect("one").number, 4);
}

#[test]
fn the_chain_goes_on_in_the_next_segment() {
    let scene = Scene::new();
    let options = Options {
        segment_bytes: 4096,
        ..Options::default()
    };
    let (mut one, mut other) = (scene.open_with(options), scene.open_with(options));
    for n in 0..100 {
        one.append(&[event(n)]).expect("appended");
        other.append(&[event(n)]).expect("appended");
    }
    one.checkpoint().expect("signed");
    let verified = scene.verify();
    assert!(
        verified.intact && verified.complete,
        "{:?}",
        verified.findings
    );
    let segments = fs::read_dir(scene.dir()).expect("the log").count() - 1;
    assert!(segments > 10, "{segments}");
    for number in 1..segments as u32 {
        let bytes = fs::read(scene.segment(number)).expect("a segment");
        let last = String::from_utf8_lossy(lines(&bytes).last().expect("a line")).into_owned();
        assert!(
            last.contains("\"type\":\"checkpoint\""),
            "segment {number} ends with {last}"
        );
    }
    // Archived segments may be missing, if that is stated.
    fs::remove_file(scene.segment(1)).expect("removed");
    let verified = scene.verify();
    assert!(
        verified.intact && !verified.complete,
        "{:?}",
        verified.findings
    );
    let first = Reader::open(&scene.dir())
        .expect("the log")
        .next()
        .expect("one")
        .expect("right")
        .seq;
    let expected = aegis_audit::log::Expected {
        first,
        ..scene.expected()
    };
    let verified = log_support::verify_at(&scene.dir(), &expected);
    assert!(
        verified.intact && verified.complete,
        "{:?}",
        verified.findings
    );
    // A segment in the middle may not be missing.
    fs::remove_file(scene.segment(5)).expect("removed");
    let verified = log_support::verify_at(&scene.dir(), &expected);
    assert!(!verified.intact);
    assert!(
        verified.findings[0]
            .what
            .contains("segment 000005 is missing"),
        "{}",
        verified.findings[0]
    );
}

#[test]
fn a_torn_line_is_set_aside_and_noted() {
    let scene = Scene::new();
    scene
        .open()
        .append(&[event(0), event(1)])
        .expect("appended");
    let whole = fs::read(scene.segment(1)).expect("the segment");
    for torn in [
        &whole[..100],
        b"{",
        b"\0\0\0\0",
        b"x\0y\n",
        b"{\"hash\":\0\0\n\0\0\n\0",
    ] {
        fs::write(scene.segment(1), [&whole, torn].concat()).expect("written");
        let mut log = scene.open();
        log.append(&[event(2)]).expect("appended");
        let records = records(&scene);
        assert_eq!(records.len(), 5);
        assert_eq!(records[3].kind, EventType::LogRecovered);
        let note = note(&records[3]);
        let file = note.files.last().expect("a file");
        let kept = fs::read(scene.dir().join(&file.name)).expect("what was set aside");
        assert_eq!(
            (kept.as_slice(), file.bytes, file.sha256),
            (torn, torn.len() as u64, Hash::of(torn))
        );
        assert!(scene.verify().intact);
        for file in note.files {
            fs::remove_file(scene.dir().join(file.name)).expect("removed");
        }
        fs::write(scene.segment(1), &whole).expect("written");
    }
}

#[test]
fn a_recovery_that_was_killed_is_finished_by_the_next() {
    let scene = Scene::new();
    scene.open().append(&[event(0)]).expect("appended");
    let whole = fs::read(scene.segment(1)).expect("the segment");
    // Killed during the copy, before the segment was cut.
    fs::write(scene.segment(1), [&whole, &b"torn"[..]].concat()).expect("written");
    fs::write(scene.dir().join("torn.part"), "to").expect("written");
    fs::write(scene.dir().join("torn-2.bin"), "torn").expect("written");
    drop(scene.open());
    assert_eq!(kinds(&scene)[2..], [EventType::LogRecovered]);
    assert!(
        !scene.dir().join("torn-2.1.bin").exists(),
        "the same is not kept twice"
    );
    // Killed after the segment was cut, before the record.
    fs::write(scene.segment(1), &whole).expect("written");
    drop(scene.open());
    assert_eq!(kinds(&scene)[2..], [EventType::LogRecovered]);
    // Killed while the record was written.
    fs::write(scene.segment(1), [&whole, &b"{\"hash\""[..]].concat()).expect("written");
    drop(scene.open());
    let last = records(&scene).pop().expect("a note");
    let note = note(&last);
    let names: Vec<_> = note.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["torn-2.bin", "torn-2.1.bin"]);
    // It is recorded only once.
    drop(scene.open());
    assert_eq!(kinds(&scene).len(), 3);
}

#[test]
fn a_log_whose_first_line_was_never_finished_begins_anew() {
    let scene = Scene::new();
    drop(scene.open());
    let first = fs::read(scene.segment(1)).expect("the segment");
    for cut in [0, 1, 200, first.len() - 1] {
        fs::write(scene.segment(1), &first[..cut]).expect("written");
        // Whoever was killed then had nothing to remember.
        scene.forget();
        let mut log = scene.open();
        log.append(&[event(1)]).expect("appended");
        log.checkpoint().expect("signed");
        let verified = scene.verify();
        assert!(
            verified.intact && verified.complete,
            "{cut}: {:?}",
            verified.findings
        );
        assert_eq!(kinds(&scene).contains(&EventType::LogRecovered), cut > 0);
        fs::remove_dir_all(scene.dir()).expect("removed");
        drop(scene.open());
    }
}

#[test]
fn nothing_is_appended_to_what_was_tampered_with() {
    let scene = Scene::new();
    scene
        .open()
        .append(&[event(0), event(1), event(2)])
        .expect("appended");
    let whole = fs::read(scene.segment(1)).expect("the segment");
    let all = lines(&whole);
    let changed = |n: usize, from: &str, to: &str| {
        let mut lines: Vec<String> = all
            .iter()
            .map(|l| String::from_utf8_lossy(l).into_owned())
            .collect();
        assert!(lines[n].contains(from));
        lines[n] = lines[n].replacen(from, to, 1);
        lines.concat()
    };
    for (bytes, line, what) in [
        (changed(3, "srv", "etc"), 4, "changed"),
        (
            changed(3, "{\"hash\"", "{\"hush\""),
            4,
            "not a line of a log",
        ),
        (changed(2, "srv", "etc"), 3, "changed"),
        (changed(3, "\n", " \n"), 4, "not a line of a log"),
        ([all[0], all[1], all[3]].concat().text(), 3, "follow"),
        (
            [all[0], all[1], all[2], all[3], all[3]].concat().text(),
            5,
            "follow",
        ),
    ] {
        fs::write(scene.segment(1), &bytes).expect("written");
        let refused = Log::open(&scene.dir(), &scene.keys())
            .err()
            .expect("it is refused");
        let Error::Damaged { place, .. } = &refused else {
            panic!("{refused}");
        };
        assert_eq!(place.line, line, "{refused}");
        let told = refused.to_string();
        assert!(
            told.contains(what) && told.contains("aegis audit verify"),
            "{told}"
        );
        assert_eq!(
            fs::read(scene.segment(1)).expect("the segment"),
            bytes.into_bytes(),
            "left as it is"
        );
    }
}

trait Text {
    fn text(self) -> String;
}

impl Text for Vec<u8> {
    fn text(self) -> String {
        String::from_utf8(self).expect("UTF-8")
    }
}

#[test]
fn a_log_that_changes_under_a_writer_is_noticed() {
    let scene = Scene::new();
    let mut log = scene.open();
    log.append(&[event(0)]).expect("appended");
    // Torn by another writer that was killed.
    let mut file = OpenOptions::new()
        .append(true)
        .open(scene.segment(1))
        .expect("the segment");
    file.write_all(b"{\"hash").expect("written");
    log.append(&[event(1)]).expect("appended");
    assert_eq!(kinds(&scene)[2], EventType::LogRecovered);
    // Moved away together with its lock: a new log begins.
    fs::rename(scene.dir(), scene.root.path().join("old")).expect("moved");
    fs::create_dir(scene.dir()).expect("a directory");
    let moved = scene.root.path().join("old");
    drop(log);
    let mut log = scene.open();
    log.append(&[event(2)]).expect("appended");
    for entry in fs::read_dir(scene.dir()).expect("the log") {
        let entry = entry.expect("an entry");
        fs::rename(entry.path(), moved.join(entry.file_name())).expect("moved");
    }
    assert_eq!(log.append(&[event(3)]).expect("appended").seqs, [3]);
    assert_eq!(kinds(&scene)[1], EventType::LogMissing);
    assert!(scene.verify().intact);
}
