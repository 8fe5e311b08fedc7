//! Every kind of tampering with a log of 10,000 records is found, at the right place, with the right one of the
//! two answers.
//!
//! Tests that flip single bits verify only the records around the change, as archived logs are verified
//! (`first`): the rest of the log is unchanged and verified once, so every bit can be tried.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::fs;
use std::sync::LazyLock;

use aegis_audit::event::Record;
use aegis_audit::log::{Answer, Expected, Finding, PublicKey, Reader, Verified, verify_telling};
use aegis_policy::Hash;
use serde_json::{Value, json};

use crate::log_support;
use log_support::{Scene, event, lines, verify_bytes};

const RECORDS: u64 = 10_000;

struct Made {
    scene: Scene,
    bytes: Vec<u8>,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let scene = Scene::new();
    let bytes = scene.filled(RECORDS);
    Made { scene, bytes }
});

impl Made {
    fn lines(&self) -> Vec<&[u8]> {
        lines(&self.bytes)
    }

    fn expected(&self) -> Expected {
        self.scene.expected()
    }

    /// Verifies these lines.
    fn verify(&self, lines: &[&[u8]]) -> Verified {
        verify_bytes(&lines.concat(), &self.expected())
    }
}

fn against(verified: &Verified) -> Vec<Answer> {
    verified
        .findings
        .iter()
        .map(|finding| finding.against)
        .collect()
}

#[track_caller]
fn found<'a>(verified: &'a Verified, answer: Answer, line: usize, words: &str) -> &'a Finding {
    let yes = match answer {
        Answer::Intact => verified.intact,
        Answer::Complete => verified.complete,
    };
    assert!(!yes, "{verified:?}");
    let is_it = |f: &&Finding| {
        let here = f
            .place
            .as_ref()
            .is_some_and(|place| place.line == line as u64);
        f.against == answer && here && f.what.contains(words)
    };
    let found = verified.findings.iter().find(is_it);
    found.unwrap_or_else(|| panic!("line {line}, {words}: {:#?}", verified.findings))
}

#[test]
fn what_nobody_touched_is_intact_and_complete() {
    let verified = MADE.verify(&MADE.lines());
    assert!(
        verified.intact && verified.complete && verified.findings.is_empty(),
        "{verified:?}"
    );
    assert_eq!(verified.records, RECORDS);
    assert_eq!(
        verified.last_checkpoint.map(|last| last.seq),
        Some(RECORDS - 1)
    );
    let reader = Reader::stream("-", Box::new(std::io::Cursor::new(MADE.bytes.clone())));
    let mut told = Vec::new();
    let again = verify_telling(reader, &MADE.expected(), 4_000, |read| told.push(read));
    assert!(again.is_ok_and(|verified| verified.intact));
    assert_eq!(told, [4_000, 8_000]);
}

#[test]
fn every_bit_of_a_record_counts() {
    let lines = MADE.lines();
    let signed = |at: usize| at.is_multiple_of(1000) || at == lines.len() - 1;
    // Plain records, a checkpoint in the middle, and the last one.
    for at in [2, 3_000, 4_321, RECORDS as usize - 1] {
        let from = at - 1;
        let around = &lines[from..(at + 2).min(lines.len())];
        let expected = Expected {
            first: from as u64,
            ..MADE.expected()
        };
        let bytes = around.concat();
        assert!(verify_bytes(&bytes, &expected).intact, "before: {at}");
        let start: usize = lines[from..at].iter().map(|line| line.len()).sum();
        let last_line_feed = at == lines.len() - 1;
        for byte in start..start + lines[at].len() {
            // In a checkpoint, one bit of each byte: signatures are slow without optimisation.
            let bits = if signed(at) {
                byte % 8..byte % 8 + 1
            } else {
                0..8
            };
            for bit in bits {
                let mut changed = bytes.clone();
                changed[byte] ^= 1 << bit;
                let verified = verify_bytes(&changed, &expected);
                let torn = last_line_feed && (byte == bytes.len() - 1 || changed[byte] == 0);
                let line = at - from + 1;
                match torn {
                    true => found(&verified, Answer::Complete, line, "torn"),
                    false => found(&verified, Answer::Intact, line, ""),
                };
            }
        }
    }
}

#[test]
fn a_bit_anywhere_in_the_log_is_found_where_it_is() {
    let lines = MADE.lines();
    for n in 0..8_u64 {
        let random = Hash::of(&n.to_le_bytes()).0;
        let number =
            |at: usize| u32::from_le_bytes(random[at..at + 4].try_into().expect("four")) as usize;
        let at = number(0) % MADE.bytes.len();
        let mut changed = MADE.bytes.clone();
        changed[at] ^= 1 << (number(4) % 8);
        let line = MADE.bytes[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        let verified = verify_bytes(&changed, &MADE.expected());
        let finding = found(&verified, Answer::Intact, line, "");
        let offset: usize = lines[..line - 1].iter().map(|line| line.len()).sum();
        assert_eq!(
            finding.place.as_ref().map(|place| place.offset),
            Some(offset as u64)
        );
    }
}

#[test]
fn records_left_out_are_named() {
    let lines = MADE.lines();
    for (from, to) in [
        (1, 1),
        (5_000, 5_000),
        (5_000, 5_017),
        (999, 1_001),
        (8_998, 8_998),
    ] {
        let mut left = lines.clone();
        left.drain(from..=to);
        let words = format!("records {from} to {to} are missing");
        found(&MADE.verify(&left), Answer::Intact, from + 1, &words);
    }
    // The beginning is missing, and the lines are not known to be a first segment.
    found(
        &MADE.verify(&lines[3..]),
        Answer::Complete,
        1,
        "records 0 to 2 are missing",
    );
    fs::create_dir(MADE.scene.root.path().join("cut")).expect("a directory");
    let cut = MADE.scene.root.path().join("cut/000001.jsonl");
    fs::write(&cut, lines[3..].concat()).expect("written");
    let verified = log_support::verify_at(&cut, &MADE.expected());
    found(&verified, Answer::Intact, 1, "records 0 to 2 are missing");
}

#[test]
fn records_that_change_places_are_found() {
    let lines = MADE.lines();
    for (a, b) in [(0, 1), (1, 2), (2_000, 2_001), (17, 9_000), (9_998, 9_999)] {
        let mut swapped = lines.clone();
        swapped.swap(a, b);
        let verified = MADE.verify(&swapped);
        assert!(!verified.intact);
        let first = verified.findings[0].place.as_ref().expect("a place").line;
        assert_eq!(first, a as u64 + 1, "{:?}", verified.findings);
    }
}

#[test]
fn records_that_are_there_twice_are_found() {
    let lines = MADE.lines();
    for at in [0, 1, 4_000, 5_555, RECORDS as usize - 1] {
        let mut twice = lines.clone();
        twice.insert(at + 1, lines[at]);
        found(&MADE.verify(&twice), Answer::Intact, at + 2, "there twice");
    }
    // A stretch of records repeated at the end.
    let mut twice = lines.clone();
    twice.extend(&lines[9_000..]);
    found(
        &MADE.verify(&twice),
        Answer::Intact,
        RECORDS as usize + 1,
        "there twice",
    );
}

#[test]
fn an_end_cut_off_anywhere_is_incomplete() {
    let lines = MADE.lines();
    // Three records: plain ones and the last checkpoint.
    let from = lines.len() - 3;
    let expected = Expected {
        first: from as u64,
        ..MADE.expected()
    };
    let bytes = lines[from..].concat();
    assert!(verify_bytes(&bytes, &expected).complete);
    for length in 0..bytes.len() {
        let verified = verify_bytes(&bytes[..length], &expected);
        assert!(
            verified.intact && !verified.complete,
            "{length}: {verified:?}"
        );
        let mid_line = length > 0 && bytes[length - 1] != b'\n';
        if mid_line {
            let line = bytes[..length].split(|byte| *byte == b'\n').count();
            found(&verified, Answer::Complete, line, "torn");
        }
    }
    // In the whole log, at a few places.
    for left in [0, 1, 500, 2_001, 9_999] {
        let verified = MADE.verify(&lines[..left]);
        assert!(verified.intact, "{left}: {verified:?}");
        // If cut exactly after a checkpoint, only somebody who remembers a later one misses the rest.
        assert_eq!(
            verified.complete,
            left == 1 || left == 2_001,
            "{left}: {verified:?}"
        );
    }
}

#[test]
fn an_end_cut_off_at_a_checkpoint_is_found_by_its_number() {
    let lines = MADE.lines();
    let last = MADE.verify(&lines).last_checkpoint.expect("one").number;
    assert_eq!(last, 10);
    for checkpoint in 0..10 {
        let cut = &lines[..checkpoint * 1000 + 1];
        let verified = MADE.verify(cut);
        assert!(verified.intact && verified.complete, "{checkpoint}");
        let expected = Expected {
            min_checkpoint: Some(last.to_string().parse().expect("a number")),
            ..MADE.expected()
        };
        let verified = verify_bytes(&cut.concat(), &expected);
        assert!(verified.intact && !verified.complete, "{checkpoint}");
        assert!(
            verified.findings[0]
                .what
                .contains("checkpoint 10 is missing"),
            "{:?}",
            verified.findings
        );
    }
    // A run whose end was cut off counts as open.
    let open = MADE.verify(&lines[..2_504]).open_runs;
    let starts = lines[..2_504]
        .iter()
        .rposition(|line| line.windows(9).any(|w| w == b"run.start"));
    assert_eq!(open.last().map(|run| run.seq), starts.map(|at| at as u64));
}

#[test]
fn parts_of_another_log_are_found() {
    let other = Scene::new();
    // By the same user: signed with the same key.
    fs::create_dir(other.keys()).expect("a directory");
    for name in ["audit.key", "audit.pub"] {
        fs::copy(MADE.scene.keys().join(name), other.keys().join(name)).expect("copied");
    }
    let foreign = other.filled(RECORDS);
    let foreign = log_support::lines(&foreign);
    let lines = MADE.lines();
    for at in [1, 2, 3_000, 3_001, 9_999] {
        // One record; and everything from it on.
        let mut spliced = lines.clone();
        spliced[at] = foreign[at];
        found(
            &MADE.verify(&spliced),
            Answer::Intact,
            at + 1,
            "does not follow",
        );
        let spliced = [&lines[..at], &foreign[at..]].concat();
        let verified = MADE.verify(&spliced);
        found(&verified, Answer::Intact, at + 1, "does not follow");
        let checkpoint = at.div_ceil(1000) * 1000;
        if checkpoint < 9_999 {
            found(&verified, Answer::Intact, checkpoint + 1, "of another log");
        }
    }
}

/// Somebody without the key who recomputes all hashes.
fn rechained(lines: &[&[u8]], change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut prev = Hash::default();
    for line in lines {
        let text = std::str::from_utf8(line).expect("UTF-8");
        let (_, record) = text.split_once(",\"record\":").expect("a line");
        let record = record.strip_suffix("}\n").expect("a line");
        let mut record: Value = serde_json::from_str(record).expect("a record");
        record["prev"] = prev.to_string().into();
        change(&mut record);
        let bytes = serde_json::to_vec(&record).expect("JSON");
        prev = Hash::of(&bytes);
        out.extend(format!("{{\"hash\":\"{prev}\",\"record\":").bytes());
        out.extend(bytes);
        out.extend(b"}\n");
    }
    out
}

#[test]
fn hashes_that_were_computed_anew_do_not_help() {
    let lines = MADE.lines();
    assert_eq!(
        rechained(&lines, |_| ()),
        MADE.bytes,
        "without a change nothing changes"
    );
    let changed = rechained(&lines, |record| {
        if record["seq"] == 2_500 {
            record["run"] = "another".into();
        }
    });
    let verified = verify_bytes(&changed, &MADE.expected());
    let signature = "the signature of this checkpoint is wrong";
    assert!(!verified.intact);
    assert_eq!(
        found(&verified, Answer::Intact, 3_001, signature).seq,
        Some(3_000)
    );
    assert_eq!(
        verified.last_checkpoint.map(|last| last.seq),
        Some(2_000),
        "what is before is signed"
    );
    // A checkpoint's own fields are signed too, even in the last one.
    let changed = rechained(&lines, |record| {
        if record["seq"] == RECORDS - 1 {
            record["time"] = "2001-01-01T00:00:00.000000Z".into();
        }
    });
    found(
        &verify_bytes(&changed, &MADE.expected()),
        Answer::Intact,
        RECORDS as usize,
        signature,
    );
    // The same checkpoint in another form that serde reads as the same.
    let text = String::from_utf8_lossy(lines[RECORDS as usize - 1]);
    let (_, record) = text.split_once(",\"record\":").expect("a line");
    let record = record.strip_suffix("}\n").expect("a line");
    let parsed: Record = serde_json::from_str(record).expect("a record");
    let detail = parsed.detail.expect("a detail");
    let array = json!([
        detail["key"],
        detail["log"],
        detail["number"],
        detail["signature"]
    ]);
    for (same, words) in [
        (
            record.replacen('{', "{\"decision\":null,", 1),
            "no record has `decision`",
        ),
        (
            record.replacen(&detail.to_string(), &array.to_string(), 1),
            "lacks the details of a checkpoint",
        ),
    ] {
        assert_ne!(same, record);
        let hash = Hash::of(same.as_bytes());
        let line = format!("{{\"hash\":\"{hash}\",\"record\":{same}}}\n");
        let mut other = lines.clone();
        other[RECORDS as usize - 1] = line.as_bytes();
        found(
            &MADE.verify(&other),
            Answer::Intact,
            RECORDS as usize,
            words,
        );
    }
    // Records after the last checkpoint, chained correctly.
    let mut more = lines.clone();
    more.pop();
    let changed = rechained(&more, |record| {
        if record["seq"] == RECORDS - 2 {
            record["run"] = "another".into();
        }
    });
    let verified = verify_bytes(&changed, &MADE.expected());
    assert!(verified.intact && !verified.complete, "{verified:?}");
    assert!(
        verified.findings[0].what.contains("is not signed"),
        "{:?}",
        verified.findings
    );
}

#[test]
fn a_log_signed_with_another_key_is_not_taken() {
    let forger = Scene::new();
    let forged = forger.filled(RECORDS);
    let verified = verify_bytes(&forged, &MADE.expected());
    let unknown = format!("unknown key, {}", forger.expected().keys[0]);
    found(&verified, Answer::Intact, 1, &unknown);
    assert_eq!(against(&verified), [Answer::Intact], "said once");
    // Intact for the forger's key; without any trusted key, the key is unknown.
    assert!(verify_bytes(&forged, &forger.expected()).intact);
    let verified = verify_bytes(&forged, &Expected::default());
    found(&verified, Answer::Intact, 1, &unknown);
    // The forger's key in place of the real one, beside the real signatures.
    let key = forger.expected().keys[0];
    let lines = MADE.lines();
    let renamed = rechained(&lines, |record| {
        if record["detail"]["signature"].is_string() {
            record["detail"]["key"] = key.to_string().into();
        }
    });
    let both = Expected {
        keys: vec![key, MADE.expected().keys[0]],
        ..Expected::default()
    };
    found(
        &verify_bytes(&renamed, &both),
        Answer::Intact,
        1,
        "signature",
    );
}

#[test]
fn keys_are_read_from_files_and_from_text() {
    let key = MADE.expected().keys[0];
    assert_eq!(key.to_string().parse(), Ok(key));
    let path = MADE.scene.keys().join("audit.pub");
    assert_eq!(PublicKey::in_file(&path).ok(), Some(key));
    assert!("".parse::<PublicKey>().is_err() && "G".repeat(64).parse::<PublicKey>().is_err());
    let none = MADE.scene.root.path().join("none");
    assert_eq!(PublicKey::in_directory(&none).ok(), Some(None));
}

#[test]
fn nothing_is_no_log() {
    for bytes in [&b""[..], b"\n", b"x", b"{}\n", b"\0\n"] {
        let verified = verify_bytes(bytes, &MADE.expected());
        assert!(!verified.complete, "{bytes:?}: {verified:?}");
    }
    let long = vec![b'x'; 40 << 20];
    let verified = verify_bytes(&[&long, &b"\n"[..]].concat(), &MADE.expected());
    found(&verified, Answer::Intact, 1, "longer than 16 MiB");
    let mut events = MADE.lines().concat();
    events.extend(format!("{:?}\n", event(1)).bytes());
    found(
        &verify_bytes(&events, &MADE.expected()),
        Answer::Intact,
        RECORDS as usize + 1,
        "not a line of a log",
    );
}
