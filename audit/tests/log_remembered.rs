//! What a log cannot show by itself: that it was cut off and has grown again, or that its end was made to look
//! torn. Somebody who remembers a checkpoint and looks at the quarantined files can detect it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::fs;

use aegis_audit::event::Record;
use aegis_audit::log::{Answer, Expected, NotACheckpoint, Remembered, Verified};
use aegis_policy::Hash;

use crate::log_support;
use log_support::{Scene, event, lines, verify_at, verify_bytes};

/// Expectations with a remembered checkpoint.
fn against(scene: &Scene, checkpoint: &str) -> Expected {
    Expected {
        min_checkpoint: Some(checkpoint.parse().expect("a checkpoint")),
        ..scene.expected()
    }
}

/// Appends a run and signs; returns the newest checkpoint.
fn grow(scene: &Scene, runs: &[u64]) -> Remembered {
    let mut log = scene.open();
    for run in runs {
        log.append(&[event(*run)]).expect("appended");
        log.checkpoint().expect("signed");
    }
    let verified = scene.verify();
    assert!(verified.intact && verified.complete, "{verified:?}");
    verified.last_checkpoint.expect("one").remembered()
}

fn only_finding(verified: &Verified) -> (Answer, &str) {
    match verified.findings.as_slice() {
        [one] => (one.against, &one.what),
        more => panic!("{more:?}"),
    }
}

#[test]
fn a_log_that_was_cut_back_and_has_grown_again_is_another_one() {
    let scene = Scene::new();
    grow(&scene, &[1]);
    let early = fs::read(scene.segment(1)).expect("the segment");
    let remembered = grow(&scene, &[2, 3]);
    assert_eq!(remembered.number, 3);
    let (with_hash, number) = (remembered.to_string(), remembered.number.to_string());
    let longer = grow(&scene, &[4]);
    for checkpoint in [&with_hash, &number, &longer.to_string()] {
        let verified = verify_at(&scene.dir(), &against(&scene, checkpoint));
        assert!(verified.intact && verified.complete, "{verified:?}");
    }

    fs::write(scene.segment(1), &early).expect("cut back");
    scene.forget();
    let cut = verify_at(&scene.dir(), &against(&scene, &with_hash));
    let (answer, what) = only_finding(&cut);
    assert!(what.contains("checkpoint 3 is missing"), "{what}");
    assert_eq!(answer, Answer::Complete);

    grow(&scene, &[5, 6, 7]);
    let verified = verify_at(&scene.dir(), &against(&scene, &number));
    assert!(
        verified.intact && verified.complete,
        "the number is there again: {verified:?}"
    );
    let verified = verify_at(&scene.dir(), &against(&scene, &with_hash));
    let (answer, what) = only_finding(&verified);
    assert!(what.contains("cut back, and has grown again"), "{what}");
    assert_eq!(answer, Answer::Intact);
    let place = verified.findings[0].place.as_ref().expect("a place");
    assert_eq!(place.line, 7, "where that checkpoint is");
}

#[test]
fn a_checkpoint_that_was_archived_cannot_be_held_against_its_hash() {
    let scene = Scene::new();
    let remembered = grow(&scene, &[1]);
    grow(&scene, &[2]);
    let bytes = fs::read(scene.segment(1)).expect("the segment");
    let left = lines(&bytes)[3..].concat();
    let of = |checkpoint: &str| {
        let expected = Expected {
            first: 3,
            ..against(&scene, checkpoint)
        };
        verify_bytes(&left, &expected)
    };
    assert!(of(&remembered.number.to_string()).complete);
    let verified = of(&remembered.to_string());
    let (answer, what) = only_finding(&verified);
    assert!(what.contains("cannot be told"), "{what}");
    assert_eq!(answer, Answer::Complete);
}

#[test]
fn a_remembered_checkpoint_is_a_number_and_maybe_a_hash() {
    let hash = Hash::of(b"a checkpoint");
    let both = format!("7:{hash}");
    let parsed: Remembered = both.parse().expect("a checkpoint");
    assert_eq!((parsed.number, parsed.hash), (7, Some(hash)));
    assert_eq!(parsed.to_string(), both);
    assert_eq!("7".parse::<Remembered>().map(|r| r.hash), Ok(None));
    for text in ["", ":", "+7", "-1", "7:", "7:ab", "x", &format!(":{hash}")] {
        assert_eq!(text.parse::<Remembered>(), Err(NotACheckpoint), "{text}");
    }
}

#[test]
fn an_end_overwritten_by_zeros_is_set_aside_and_seen() {
    let scene = Scene::new();
    let remembered = grow(&scene, &[1, 2]);
    let bytes = fs::read(scene.segment(1)).expect("the segment");
    let kept: usize = lines(&bytes)[..3].iter().map(|line| line.len()).sum();
    let mut zeroed = bytes.clone();
    zeroed[kept..].fill(0);
    fs::write(scene.segment(1), &zeroed).expect("written");
    scene.forget();
    grow(&scene, &[3]);

    let verified = scene.verify();
    assert!(verified.intact && verified.complete, "{verified:?}");
    let aside = match verified.set_aside.as_slice() {
        [aside] => aside,
        more => panic!("{more:?}"),
    };
    let lost = &zeroed[kept..];
    assert_eq!((aside.seq, aside.place.line), (3, 4));
    assert_eq!(aside.files[0].bytes, lost.len() as u64);
    assert_eq!(aside.files[0].sha256, Hash::of(lost));
    let verified = verify_at(&scene.dir(), &against(&scene, &remembered.to_string()));
    assert!(!verified.intact, "what was signed is not there any more");

    // The quarantined file has to stay.
    let file = scene.dir().join(&aside.files[0].name);
    let elsewhere = scene.root.path().join("elsewhere");
    let incomplete = |words: &str| {
        let verified = scene.verify();
        let (answer, what) = only_finding(&verified);
        assert!(what.contains(words), "{what}");
        assert_eq!(answer, Answer::Complete);
        assert_eq!(verified.findings[0].seq, Some(3));
    };
    fs::rename(&file, &elsewhere).expect("moved");
    incomplete("is missing");
    std::os::unix::fs::symlink(&elsewhere, &file).expect("a link");
    incomplete("cannot be read");
    fs::remove_file(&file).expect("removed");
    for other in [
        &lost[1..],
        &[lost, b"0"].concat(),
        &lost.iter().map(|_| 1).collect::<Vec<u8>>(),
    ] {
        fs::write(&file, other).expect("written");
        incomplete("changed since");
    }
    fs::write(&file, lost).expect("written");
    assert!(scene.verify().complete);
    // A stream has no quarantined files beside it.
    fs::remove_file(&file).expect("removed");
    let bytes = fs::read(scene.segment(1)).expect("the segment");
    let verified = verify_bytes(&bytes, &scene.expected());
    assert!(verified.complete && verified.set_aside.len() == 1);
}

#[test]
fn what_is_behind_the_newest_checkpoint_is_signed_by_the_next_whoever_wrote_it() {
    let scene = Scene::new();
    grow(&scene, &[1]);
    // Chained correctly by somebody who can write the file but has no key.
    let mut bytes = fs::read(scene.segment(1)).expect("the segment");
    let record = |line: &[u8]| -> Record {
        let line: serde_json::Value = serde_json::from_slice(line).expect("a line");
        serde_json::from_value(line["record"].clone()).expect("a record")
    };
    let [.., plain, last] = lines(&bytes)[..] else {
        panic!("a plain record and a checkpoint")
    };
    let (last, mut forged) = (record(last), record(plain));
    forged.seq = last.seq + 1;
    forged.prev = Hash::of(&serde_json::to_vec(&last).expect("JSON"));
    forged.run = "never-was".into();
    let forged = serde_json::to_string(&forged).expect("JSON");
    let hash = Hash::of(forged.as_bytes());
    bytes.extend(format!("{{\"hash\":\"{hash}\",\"record\":{forged}}}\n").bytes());
    fs::write(scene.segment(1), bytes).expect("written");
    let verified = scene.verify();
    assert!(
        verified.intact && !verified.complete,
        "until then it is told as not signed: {verified:?}"
    );
    grow(&scene, &[3]);
}
