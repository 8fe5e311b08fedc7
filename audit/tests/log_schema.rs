//! `events.schema.json` and the types agree: what is written validates, and each rejects what the other
//! rejects.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use aegis_audit::event::{Detail, Event, EventType, Record};
use aegis_audit::log::{Line, Reader};
use aegis_policy::request::{Alias, Approval};
use aegis_policy::{Hash, Opinion, Verdict};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::log_samples::{details, whats};
use crate::log_support;
use log_support::{Scene, decided, event};

const SCHEMA: &str = include_str!("../schemas/events.schema.json");

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    assert!(
        jsonschema::draft202012::meta::is_valid(&schema),
        "the schema is one"
    );
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .expect("a schema")
}

fn json(detail: &Detail) -> Value {
    serde_json::to_value(detail).expect("JSON")
}

/// The first form of detail of a type.
fn detail(kind: EventType) -> Option<Detail> {
    let mut all = details().into_iter();
    let found = all.find(|(kinds, _)| kinds.contains(&kind));
    found.map(|(_, detail)| detail)
}

/// A log with a record of every type, of every action, and of every verdict.
fn everything() -> Vec<Value> {
    let scene = Scene::new();
    let mut log = scene.open();
    let mut events: Vec<Event> = (0..10).map(event).collect();
    for event in &mut events {
        if event.detail.is_some() {
            event.detail = detail(event.kind);
        }
    }
    log.append(&events).expect("appended");
    for (n, what) in whats().into_iter().enumerate() {
        let (mut request, mut decision) = decided(what, Verdict::ALL[n % 4]);
        request.context.skill = Some("/srv/skill".into());
        request.context.aliases = vec![Alias {
            name: "/srv/link".into(),
            place: "/srv/skill".into(),
            trusted: false,
        }];
        request.approvals = vec![Approval {
            at: 1,
            command: request.what.command_hash(),
            expires: 2,
            held_for: request.what.command_hash(),
            id: "a".into(),
            policy: decision.policy,
            profile_hash: Hash::of(b"p"),
            skill: None,
            what: request.what.hash(),
        }];
        decision.parts = vec![Opinion {
            reason: "r".into(),
            rules: vec![],
            verdict: Verdict::Block,
        }];
        let kinds = [
            EventType::Anomaly,
            EventType::Approval,
            EventType::FileAccess,
            EventType::NetReq,
            EventType::PolicyViolation,
            EventType::SecretUse,
            EventType::ToolExec,
        ];
        let mut event =
            Event::new(kinds[n % kinds.len()], "run", decision.policy).decided(request, decision);
        event.detail = detail(event.kind);
        log.append(&[event]).expect("appended");
    }
    drop(log);
    let segment = scene.segment(1);
    let mut bytes = std::fs::read(&segment).expect("the segment");
    bytes.extend(b"torn");
    std::fs::write(&segment, bytes).expect("written");
    scene.open().checkpoint().expect("signed");
    let mut lines = whole(&scene);
    std::fs::write(&segment, "").expect("emptied");
    let mut log = scene.open();
    lines.extend(whole(&scene));
    log.append_and_sign(&[Event::new(EventType::SecretUse, "r", Hash::default())])
        .expect("appended");
    let details = Reader::open(&scene.dir()).expect("the log");
    let moved = details.filter_map(|record| match record.expect("a record").detail() {
        Some(Detail::Missing(missing)) => Some(missing.signed.remembered()),
        _ => None,
    });
    let keep = aegis_audit::log::Keep {
        bytes: Some(0),
        moved: moved.collect(),
        ..Default::default()
    };
    assert!(log.prune(&keep).expect("pruned").is_some());
    lines.extend(whole(&scene));
    lines
}

/// The lines of a log, with what they refer to.
fn whole(scene: &Scene) -> Vec<Value> {
    let mut reader = Reader::open(&scene.dir()).expect("the log");
    let lines = std::iter::from_fn(|| {
        let line = reader.next_line()?.expect("a line");
        let record: Value = serde_json::from_slice(&line.whole().expect("a record")).expect("JSON");
        Some(json!({"hash": line.hash, "record": record}))
    });
    lines.collect()
}

#[test]
fn everything_that_is_written_validates() {
    let validator = validator();
    let lines = everything();
    let mut types: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["record"]["type"].as_str())
        .collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), 13, "every type is there: {types:?}");
    for line in &lines {
        let wrong: Vec<String> = validator
            .iter_errors(line)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{line:#}: {wrong:#?}");
    }
}

#[test]
fn a_detail_has_the_form_of_its_type_and_no_other() {
    let validator = validator();
    let line = |kind: EventType, detail: Option<&Value>| {
        let zeros = Hash::default();
        let mut record = json!({
            "policy": zeros, "prev": zeros, "run": "r", "seq": 1,
            "time": "2026-01-01T00:00:00.000000Z", "type": kind, "v": 1,
        });
        if let Some(detail) = detail {
            record["detail"] = detail.clone();
        }
        json!({"hash": zeros, "record": record})
    };
    let kinds: Vec<EventType> = details()
        .iter()
        .flat_map(|(kinds, _)| kinds.to_vec())
        .collect();
    for (own, typed) in details() {
        let detail = json(&typed);
        for kind in &kinds {
            let line = line(*kind, Some(&detail));
            let read: Record = serde_json::from_value(line["record"].clone()).expect("a record");
            let expected = own.contains(kind).then_some(&typed);
            assert_eq!(read.detail().as_ref(), expected, "{kind:?}");
        }
        for kind in &kinds {
            assert_eq!(
                validator.is_valid(&line(*kind, Some(&detail))),
                own.contains(kind),
                "{kind:?} with {detail:#}"
            );
        }
        // No other names, and no values of another kind.
        let mut places = Vec::new();
        changes(&detail, "", &mut places);
        for at in places {
            let inner = detail.pointer(&at).expect("it is there");
            if let Value::Object(map) = inner {
                for name in map.keys() {
                    let mut other = detail.clone();
                    let inside = other.pointer_mut(&at).expect("it is there");
                    inside[format!("{name}-more")] = json!("x");
                    assert!(
                        !validator.is_valid(&line(own[0], Some(&other))),
                        "{other:#}"
                    );
                }
            }
            let mut other = detail.clone();
            *other.pointer_mut(&at).expect("it is there") = json!({"x": 1.5});
            assert!(
                !validator.is_valid(&line(own[0], Some(&other))),
                "{other:#}"
            );
        }
    }
    for kind in [EventType::Approval, EventType::RunEnd, EventType::RunStart] {
        assert!(
            !validator.is_valid(&line(kind, None)),
            "{kind:?} without one"
        );
    }
}

/// Whether the types accept a line.
fn accepted(line: &Value) -> bool {
    let mut bytes = serde_json_canonicalizer::to_vec(line).expect("JSON");
    bytes.push(b'\n');
    let mut reader = Reader::stream("-", Box::new(std::io::Cursor::new(bytes)));
    let line = reader.next_line();
    let Some(Ok(Line { record, .. })) = line else {
        return false;
    };
    let Ok(parsed) = serde_json::from_slice::<Record>(record) else {
        return false;
    };
    // No log has what serde reads but writes differently: arrays for objects, `null` for nothing.
    let same = serde_json::to_vec(&parsed).is_ok_and(|written| written == record);
    same && match parsed.kind {
        EventType::SecretUse => true,
        EventType::FileAccess
        | EventType::NetReq
        | EventType::PolicyViolation
        | EventType::ToolExec
            if parsed.detail.is_none() =>
        {
            true
        }
        _ => parsed.detail().is_some(),
    }
}

/// Every way to drop a name, to add one, and to replace a value by one of another kind.
fn changes(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(name, value)| changes(value, &format!("{at}/{name}"), out)),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .for_each(|(n, value)| changes(value, &format!("{at}/{n}"), out)),
        _ => {}
    }
}

#[test]
fn what_the_types_refuse_does_not_validate_and_the_reverse() {
    let validator = validator();
    let mut refused = 0;
    for line in everything() {
        let mut places = Vec::new();
        changes(&line, "", &mut places);
        places.retain(|at| !at.is_empty());
        for at in places {
            let (parent, name) = at.rsplit_once('/').expect("a name");
            let mut variants = Vec::new();
            for other in [
                json!(-1),
                json!("\u{1f602}"),
                json!({"x": 1}),
                json!(true),
                json!([[]]),
            ] {
                let mut changed = line.clone();
                *changed.pointer_mut(&at).expect("it is there") = other;
                variants.push(changed);
            }
            let mut without = line.clone();
            if let Some(Value::Object(map)) = without.pointer_mut(parent) {
                map.remove(name);
                variants.push(without);
                let mut more = line.clone();
                more.pointer_mut(parent).expect("it is there")["unknown"] = json!(1);
                variants.push(more);
            }
            for changed in variants {
                // Stricter than the types: what the log always writes in one form, and pairs.
                let record = &changed["record"];
                let only_schema = at == "/record/time"
                    || at == "/record/v"
                    || at == "/record/detail/log"
                    || at == "/record/detail/signature"
                    || at.starts_with("/record/detail/keep_fds/")
                    || record.get("decision").is_some() != record.get("request").is_some();
                let (valid, read) = (validator.is_valid(&changed), accepted(&changed));
                refused += u32::from(!read);
                assert!(
                    valid == read || (only_schema && !valid),
                    "{at}: schema {valid}, types {read}: {changed:#}"
                );
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}
