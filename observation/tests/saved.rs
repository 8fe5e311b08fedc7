//! Saved observations: read as they were written, merged, refused.

use std::os::unix::ffi::OsStrExt;

use aegis_observation::{Abi, Error, Executed, Losses, Named, Observation, Text};
use proptest::prelude::*;

fn text(bytes: &[u8]) -> Text {
    Text::from(std::ffi::OsStr::from_bytes(bytes))
}

fn seen(calls: &[&str], paths: &[&[u8]]) -> Observation {
    let mut seen = Observation::default();
    let calls = calls.iter().map(|call| (*call).to_owned()).collect();
    seen.calls.insert(Abi::Native, calls);
    for path in paths {
        seen.named.insert(Named {
            call: "stat".into(),
            path: text(path),
            error: Some("ENOENT".into()),
        });
        seen.executed.insert(Executed {
            asked: text(path),
            path: text(path),
        });
    }
    seen
}

proptest! {
    /// Whatever a path's bytes are, also those of a number in base 16.
    #[test]
    fn what_is_written_is_read(paths in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
        let written = seen(&["read"], &paths);
        prop_assert_eq!(Observation::from_json(written.to_json().as_bytes()).unwrap(), written);
    }

    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Observation::from_json(&bytes);
    }
}

#[test]
fn merging_is_the_union_and_no_order_matters() {
    let mut one = seen(&["read", "write"], &[b"/a"]);
    let mut two = seen(&["write", "open"], &[b"/b", b"/a"]);
    one.capabilities = [("CAP_KILL".into(), true)].into();
    two.capabilities = [("CAP_KILL".into(), false)].into();
    (one.counts.most_tasks, two.counts.most_tasks) = (3, 5);
    (one.counts.forks, two.counts.forks) = (1, 2);
    (one.counts.sent, two.counts.sent) = (Some(10), Some(20));
    one.counts.sent_in_a_second = Some(7);
    (one.counts.forks_in_a_second, two.counts.forks_in_a_second) = (Some(1), Some(2));
    two.losses.dropped = 7;
    let (mut forth, mut back) = (one.clone(), two.clone());
    forth.merge(two);
    back.merge(one);
    assert_eq!(forth, back);
    assert_eq!(forth.calls[&Abi::Native].len(), 3);
    assert_eq!(forth.named.len(), 2);
    assert_eq!((forth.counts.most_tasks, forth.counts.forks), (5, 3));
    assert_eq!(forth.counts.sent, Some(30));
    assert_eq!(forth.counts.forks_in_a_second, Some(2));
    // It was not counted in the other.
    assert_eq!(forth.counts.sent_in_a_second, Some(7));
    assert!(!forth.capabilities["CAP_KILL"], "it was lacked once");
    assert!(!forth.is_complete());
}

#[test]
fn what_could_not_be_seen_does_not_make_it_incomplete() {
    let mut seen = seen(&[], &[]);
    seen.losses = Losses {
        unobserved: ["capabilities".to_owned()].into(),
        ..Losses::default()
    };
    assert!(seen.is_complete());
}

#[test]
fn what_is_no_observation_is_refused_with_its_place() {
    let good = seen(&["read"], &[b"/a"]).to_json();
    let cut = &good[..good.len() / 2];
    for (bad, says) in [
        (cut.to_owned(), "line "),
        (
            good.replace("\"losses\"", "\"loses\""),
            "unknown field `loses`",
        ),
        (
            good.replace("\"/a\"", "{\"base16\": \"f\"}"),
            "base16 wants pairs",
        ),
        (
            good.replace("\"/a\"", "{\"base16\": \"\u{e9}\"}"),
            "base16 wants pairs",
        ),
        (good.replacen(":1,", ":2,", 1), "version 2"),
    ] {
        let error = Observation::from_json(bad.as_bytes()).expect_err(&bad);
        assert!(error.to_string().contains(says), "{error}");
    }
    assert!(matches!(
        Observation::from_json(good.replacen(":1,", ":2,", 1).as_bytes()),
        Err(Error::Version(2))
    ));
}

#[test]
fn control_characters_are_not_printed() {
    assert_eq!(text(b"/a\n\x1b[1m\xff").to_string(), "/a\\n\\u{1b}[1m\\xff");
}
