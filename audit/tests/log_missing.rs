//! What was signed and is not there any more: whoever has the key is told, in the log too.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use aegis_audit::event::{Detail, EventType, Missing};
use aegis_audit::log::{
    Answer, Error, Expected, LastSigned, Log, Options, PublicKey, Reader, Remembered, Verified,
};

use crate::log_support;
use log_support::{Scene, event, lines, verify_at};

fn grow(scene: &Scene, runs: u64) {
    let mut log = scene.open();
    for run in 0..runs {
        log.append_and_sign(&[event(run)]).expect("appended");
    }
}

/// What is remembered of the log.
fn signed(scene: &Scene) -> LastSigned {
    let signed = LastSigned::in_directory(&scene.keys(), &scene.dir()).expect("it is read");
    signed.expect("something was signed")
}

/// What `aegis audit verify` would say to whoever has the key.
fn verified(scene: &Scene, moved: Vec<Remembered>) -> Verified {
    let expected = Expected {
        signed: Some(signed(scene)),
        moved,
        ..scene.expected()
    };
    verify_at(&scene.dir(), &expected)
}

fn missing_records(scene: &Scene) -> Vec<Missing> {
    let records = Reader::open(&scene.dir()).expect("the log");
    let details = records.filter_map(|record| record.expect("a record").detail());
    details
        .filter_map(|detail| match detail {
            Detail::Missing(missing) => Some(missing),
            _ => None,
        })
        .collect()
}

/// A way in which a log loses what was signed, in words and done.
type Loss = (&'static str, fn(&Scene));

fn losses() -> Vec<Loss> {
    vec![
        ("emptied", |scene| {
            fs::write(scene.segment(1), "").expect("emptied");
        }),
        ("segment removed", |scene| {
            fs::remove_file(scene.segment(1)).expect("removed");
        }),
        ("all of it moved away", |scene| {
            fs::rename(scene.dir(), scene.root.path().join("away")).expect("moved");
        }),
        ("cut back to a checkpoint", |scene| {
            let bytes = fs::read(scene.segment(1)).expect("the segment");
            fs::write(scene.segment(1), lines(&bytes)[..3].concat()).expect("cut back");
        }),
        ("another log with the same key", |scene| {
            let other = scene.root.path().join("other");
            let mut log = Log::open(&other, &scene.keys()).expect("a log");
            for n in 0..20 {
                log.append_and_sign(&[event(n)]).expect("appended");
            }
            fs::copy(other.join("000001.jsonl"), scene.segment(1)).expect("replaced");
        }),
        ("cut back and grown again elsewhere", |scene| {
            let elsewhere = scene.root.path().join("elsewhere");
            fs::create_dir(&elsewhere).expect("a directory");
            let bytes = fs::read(scene.segment(1)).expect("the segment");
            let copy = elsewhere.join("000001.jsonl");
            fs::write(&copy, lines(&bytes)[..5].concat()).expect("a copy");
            let mut log = Log::open(&elsewhere, &scene.keys()).expect("a log");
            log.append_and_sign(&[event(7)]).expect("appended");
            fs::copy(copy, scene.segment(1)).expect("replaced");
        }),
    ]
}

#[test]
fn whoever_has_the_key_and_finds_less_than_was_signed_is_told_in_the_log_too() {
    for (how, lose) in losses() {
        let scene = Scene::new();
        grow(&scene, 3);
        let before = signed(&scene);
        assert_eq!(before.number, 3);
        assert!(verified(&scene, vec![]).complete);
        lose(&scene);

        // Before the next run, by whoever verifies.
        if scene.dir().exists() {
            let found = verified(&scene, vec![]);
            assert!(!found.complete, "{how}");
            let what = &found.findings.last().expect("a finding").what;
            assert!(
                what.contains("was the last that was signed here"),
                "{how}: {what}"
            );
        }

        // By the next run.
        let mut log = scene.open();
        let told = log
            .take_missing()
            .unwrap_or_else(|| panic!("{how}: nothing is told"));
        assert_eq!(told.signed, before, "{how}");
        assert!(log.take_missing().is_none(), "{how}: it is told once");
        log.append_and_sign(&[event(1)]).expect("appended");
        assert_eq!(missing_records(&scene), [told], "{how}");
        assert!(
            scene.open().take_missing().is_none(),
            "{how}: it is told once"
        );
        assert_eq!(missing_records(&scene).len(), 1, "{how}");

        // And afterwards, by what is in the log.
        let found = scene.verify();
        assert!(found.intact && !found.complete, "{how}: {found:?}");
        let [finding] = found.findings.as_slice() else {
            panic!("{how}: {:?}", found.findings);
        };
        assert_eq!(finding.against, Answer::Complete);
        assert!(
            finding.what.contains(&before.hash.to_string()),
            "{how}: {finding}"
        );
        // Unless it was moved away by who verifies.
        let moved = Remembered {
            number: before.number,
            hash: Some(before.hash),
        };
        let found = verified(&scene, vec![moved]);
        assert!(found.intact && found.complete, "{how}: {found:?}");
    }
}

#[test]
fn a_log_that_is_emptied_while_it_is_open_is_told_of() {
    let scene = Scene::new();
    let mut log = scene.open();
    log.append_and_sign(&[event(1)]).expect("appended");
    // As `copytruncate` of logrotate does.
    let file = OpenOptions::new()
        .write(true)
        .open(scene.segment(1))
        .expect("the segment");
    file.set_len(0).expect("emptied");
    log.append_and_sign(&[event(2)]).expect("appended");
    assert_eq!(log.take_missing().expect("told").signed.number, 1);
    assert_eq!(missing_records(&scene).len(), 1);
}

#[test]
fn several_writers_and_segments_are_no_loss() {
    let scene = Scene::new();
    let options = Options {
        segment_bytes: 2000,
        checkpoint_every: 7,
        ..Options::default()
    };
    let (mut one, mut other) = (scene.open_with(options), scene.open_with(options));
    for n in 0..40 {
        one.append(&[event(n)]).expect("appended");
        other.append_and_sign(&[event(n)]).expect("appended");
        assert!(one.take_missing().is_none() && other.take_missing().is_none());
    }
    let found = verified(&scene, vec![]);
    assert!(found.intact && found.complete, "{found:?}");
    assert_eq!(
        Some(signed(&scene).number),
        found.last_checkpoint.map(|last| last.number)
    );
}

/// A log whose newest segment is empty, as a writer leaves it that is killed when it has made it, and of which all others
/// were archived.
fn with_an_empty_newest_segment() -> (Scene, PathBuf) {
    let scene = Scene::new();
    grow(&scene, 3);
    let archived = scene.root.path().join("000001.jsonl");
    fs::rename(scene.segment(1), &archived).expect("archived");
    fs::write(scene.segment(2), "").expect("an empty segment");
    (scene, archived)
}

#[test]
fn an_empty_newest_segment_continues_what_was_archived() {
    let (scene, archived) = with_an_empty_newest_segment();
    let mut log = scene.open();
    assert!(log.take_missing().is_none());
    log.append_and_sign(&[event(1)]).expect("appended");
    let all = [archived, scene.segment(2)].map(|path| fs::read(path).expect("a segment"));
    let found = log_support::verify_bytes(&all.concat(), &scene.expected());
    assert!(found.intact && found.complete, "{found:?}");

    // Emptied later, it is not what the archived one is continued by.
    fs::write(scene.segment(2), "").expect("emptied");
    let refused = Log::open(&scene.dir(), &scene.keys());
    assert!(
        matches!(refused, Err(Error::NoPredecessor { .. })),
        "{:?}",
        refused.err()
    );
}

#[test]
fn an_empty_newest_segment_without_the_one_before_is_told_with_the_remedy() {
    let (scene, archived) = with_an_empty_newest_segment();
    scene.forget();
    let error = Log::open(&scene.dir(), &scene.keys())
        .err()
        .expect("refused")
        .to_string();
    assert!(error.contains("put 000001.jsonl back"), "{error}");
    fs::rename(archived, scene.segment(1)).expect("put back");
    grow(&scene, 1);
    assert!(verified(&scene, vec![]).complete);
}

#[test]
fn what_is_remembered_is_written_over_in_place_and_a_torn_one_is_told() {
    use std::os::unix::fs::MetadataExt;
    let scene = Scene::new();
    grow(&scene, 1);
    let file = scene.memory();
    let before = fs::metadata(&file).expect("the file");
    grow(&scene, 12);
    let after = fs::metadata(&file).expect("the file");
    assert_eq!((before.ino(), before.len()), (after.ino(), after.len()));
    assert_eq!(signed(&scene).number, 13);

    fs::write(&file, "{").expect("written");
    let error = Log::open(&scene.dir(), &scene.keys())
        .err()
        .expect("refused");
    assert!(matches!(error, Error::BadSigned { .. }), "{error}");
    scene.forget();
    grow(&scene, 1);
    assert_eq!(
        signed(&scene).number,
        14,
        "it begins anew with what is there"
    );
}

#[test]
fn the_public_key_is_the_secret_ones_be_it_there_or_not() {
    let scene = Scene::new();
    grow(&scene, 1);
    let file = scene.keys().join("audit.pub");
    let text = fs::read_to_string(&file).expect("the public key");
    // As whoever made the key leaves it when it is killed.
    fs::remove_file(&file).expect("removed");
    assert!(scene.verify().intact);
    grow(&scene, 1);
    assert_eq!(fs::read_to_string(&file).expect("it is there again"), text);

    let other = Scene::new();
    grow(&other, 1);
    fs::copy(other.keys().join("audit.pub"), &file).expect("another's");
    let error = PublicKey::in_directory(&scene.keys()).expect_err("refused");
    assert!(matches!(error, Error::NotAPair { .. }), "{error}");
    // Where logs are judged there is only the public one.
    fs::remove_file(scene.keys().join("audit.key")).expect("removed");
    let public = PublicKey::in_directory(&scene.keys()).expect("it is read");
    assert_eq!(
        public,
        PublicKey::in_directory(&other.keys()).expect("it is read")
    );
}

#[test]
fn nobody_else_records_that_something_is_missing() {
    let scene = Scene::new();
    let forged = aegis_audit::event::Event::new(EventType::LogMissing, "r", Default::default());
    assert!(matches!(
        scene.open().append(&[forged]),
        Err(Error::BadEvent(_))
    ));
}
