//! The canonical form: the vectors of RFC 8785, and everything that is written conforms.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use aegis_audit::event::{Denial, Detail, Event, EventType, Evidence, Refused};
use aegis_audit::log::{Reader, canonical};
use aegis_policy::{Hash, HostPath, Verdict, What};
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::log_support;
use log_support::{Scene, decided};

macro_rules! vector {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("rfc8785/input/", $name, ".json")),
            include_str!(concat!("rfc8785/output/", $name, ".json")),
        )
    };
}

const VECTORS: [(&str, &str, &str); 6] = [
    vector!("arrays"),
    vector!("french"),
    vector!("structures"),
    vector!("unicode"),
    vector!("values"),
    vector!("weird"),
];

#[test]
fn the_official_vectors_come_out_as_they_should() {
    for (name, input, output) in VECTORS {
        let written = serde_json_canonicalizer::pipe(input).expect("JSON");
        assert_eq!(written, output.trim_end(), "{name}");
        assert_eq!(
            canonical::check(output.trim_end().as_bytes()),
            Ok(()),
            "{name}"
        );
        assert!(
            canonical::check(input.trim_end().as_bytes()).is_err(),
            "{name}"
        );
    }
}

/// RFC 8785, appendix B.
#[test]
fn numbers_are_written_as_the_rfc_says() {
    for (bits, text) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        assert_eq!(canonical::check(text.as_bytes()), Ok(()), "{text}");
        let number = f64::from_bits(bits);
        let written = serde_json_canonicalizer::to_string(&number).expect("a number");
        assert_eq!(written, text);
    }
    for wrong in [
        "-0",
        "00",
        "01",
        "1.0",
        "1.50",
        "1e5",
        "1E+21",
        "+1",
        ".5",
        "5.",
        "1e21",
        "0.0000001",
        "9007199254740993",
        "-",
        "1e999",
        "--1",
        "1-1",
    ] {
        assert!(canonical::check(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_not_canonical_is_told_with_its_place() {
    for (text, at) in [
        (&b""[..], 0),
        (b" 1", 0),
        (b"1 ", 1),
        (b"{\"b\":1,\"a\":2}", 7),
        (b"{\"a\":1,\"a\":2}", 7),
        (b"{\"a\": 1}", 5),
        (b"{\"a\":1,}", 7),
        (b"[1,]", 3),
        (b"\"\\/\"", 1),
        (b"\"\\u0041\"", 1),
        (b"\"\\u000a\"", 1),
        (b"\"\\u001F\"", 1),
        (b"\"\\ud83d\\ude02\"", 1),
        (b"\"\n\"", 1),
        (b"\"a\xff\"", 2),
        (b"\"abc", 4),
        (b"nul", 0),
        (b"[1", 2),
        // In UTF-16 order, the smiley comes first.
        ("{\"\u{fb33}\":1,\"\u{1f602}\":1}".as_bytes(), 9),
    ] {
        let fault = canonical::check(text).expect_err("it is not canonical");
        assert_eq!(fault.at, at, "{}: {fault}", String::from_utf8_lossy(text));
    }
    let deep = |n: usize| ["[".repeat(n), "]".repeat(n)].concat();
    assert_eq!(canonical::check(deep(127).as_bytes()), Ok(()));
    assert!(canonical::check(deep(128).as_bytes()).is_err());
    assert!(canonical::check(deep(1_000_000).as_bytes()).is_err());
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53) + 1..1 << 53).prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no others", |n| n.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\x00-\\x7f\u{e000}-\u{10ffff}]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let names = prop_oneof![any::<String>(), "[a-c]{0,2}", "[\u{e000}\u{1f602}\n]{0,2}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_the_reference_writes_is_canonical_and_nothing_else_is(value in values(), at: prop::sample::Index, byte: u8) {
        let mut bytes = serde_json_canonicalizer::to_vec(&value).expect("JSON");
        prop_assert_eq!(canonical::check(&bytes), Ok(()));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let again = std::str::from_utf8(&bytes).ok().and_then(|t| serde_json_canonicalizer::pipe(t).ok());
        let right = again.is_some_and(|again| again.as_bytes() == bytes);
        prop_assert_eq!(canonical::check(&bytes).is_ok(), right, "{}", String::from_utf8_lossy(&bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_record_is_written_as_the_reference_would(
        texts in prop::option::of(any::<[String; 3]>()),
        times in 0..1_u64 << 53,
        run in any::<String>(),
        path in any::<Vec<u8>>(),
        verdict in prop::sample::select(Verdict::ALL.to_vec()),
    ) {
        let scene = Scene::new();
        let (request, mut decision) = decided(What::Write { except: Vec::new(), path: HostPath(path), tree: true }, verdict);
        decision.reason = run.as_str().into();
        let mut event = Event::new(EventType::FileAccess, &run, Hash::of(run.as_bytes())).decided(request.clone(), decision);
        event.detail = texts.map(|[allow, layer, what]| Detail::Denial(Denial {
            allow: Some(allow),
            asked: Some(request.what.clone()),
            evidence: Evidence::Kernel,
            layer,
            outcome: Refused::Refused,
            times,
            what,
        }));
        scene.open().append(std::slice::from_ref(&event)).expect("appended");
        let mut reader = Reader::open(&scene.dir()).expect("the log");
        reader.next_line().expect("the checkpoint").expect("right");
        let line = reader.next_line().expect("the record").expect("right");
        let record = line.record().expect("a record");
        prop_assert_eq!(canonical::check(line.record), Ok(()));
        let reference = serde_json_canonicalizer::to_vec(&record).expect("JSON");
        prop_assert_eq!(String::from_utf8_lossy(line.record), String::from_utf8_lossy(&reference));
        prop_assert_eq!(record.detail(), event.detail);
        prop_assert_eq!((record.request, record.decision, record.run), (event.request, event.decision, event.run));
    }
}

#[test]
fn the_largest_limit_of_a_profile_is_recorded_in_canonical_form() {
    let largest = "9007199254740991B";
    let value = Some(aegis_profile::syntax::size(largest).expect("a size"));
    let limit = "memory".into();
    let (request, decision) = decided(What::Limit { limit, value }, Verdict::Allow);
    let scene = Scene::new();
    let event = Event::new(EventType::ToolExec, "run", Hash::of(b"policy"));
    let mut log = scene.open();
    log.append_and_sign(&[event.decided(request, decision)])
        .expect("appended");
    let verified = scene.verify();
    assert!(verified.intact, "{:?}", verified.findings);
    aegis_profile::syntax::size("9007199254740992B").expect_err("a larger one is no limit");
}
