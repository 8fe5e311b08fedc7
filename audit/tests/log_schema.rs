//! `events.schema.json` and the types agree: what is written validates, and what is refused by the one is
//! refused by the other.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use aegis_audit::approvals::{Asked, Entry, Person, Said, answered, revoked};
use aegis_audit::event::{Event, EventType, Record};
use aegis_audit::log::{Checkpoint, Line, Reader, Recovered};
use aegis_policy::model::{Inject, Scheme};
use aegis_policy::request::{Approval, Destination};
use aegis_policy::{Hash, HostPath, Opinion, Verdict, What};
use jsonschema::Validator;
use serde_json::{Value, json};

mod log_support;
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

/// Every kind of thing that can be asked for.
fn whats() -> Vec<What> {
    let path = || HostPath::from("/srv/ü");
    let net = |address: Option<&str>, method: Option<&str>| {
        What::Net(Destination {
            address: address.map(|a| a.parse().expect("an address")),
            host: "example.org".into(),
            method: method.map(Into::into),
            path: method.map(|_| "/a?b".into()),
            port: 443,
            request_size: Some((1 << 53) - 1),
            requests_last_minute: None,
            response_size: Some(0),
            scheme: Scheme::Https,
        })
    };
    let mut all = vec![
        What::Device {
            device: "gpu".into(),
        },
        What::Environment {
            name: "LANG".into(),
        },
        What::Read {
            path: path(),
            tree: true,
        },
        What::Write {
            path: HostPath(b"/srv/\xff".to_vec()),
            tree: false,
        },
        What::Limit {
            limit: "memory".into(),
            value: Some(1),
        },
        What::Limit {
            limit: "memory".into(),
            value: None,
        },
        What::NetHost {},
        What::Listen { port: 65535 },
        net(None, None),
        net(Some("192.0.2.1"), Some("GET")),
        net(Some("2001:db8::1"), None),
        What::Secret {
            alias: "a".into(),
            host: "b".into(),
            inject: Some(Inject::Query),
        },
        What::Secret {
            alias: "a".into(),
            host: "b".into(),
            inject: None,
        },
        What::Exec {
            name: Some("git".into()),
            path: path(),
            tree: false,
        },
        What::Exec {
            name: None,
            path: path(),
            tree: true,
        },
        What::Syscall {
            name: "ptrace".into(),
        },
    ];
    let command = vec!["./a".into(), HostPath(b"\xff".to_vec())];
    all.push(What::Tool {
        command,
        grants: all.clone(),
    });
    all
}

/// Details in every form that there is, by the types that have them.
fn details() -> Vec<(&'static [EventType], Value)> {
    let hash = Hash::of(b"x");
    let by = Person {
        name: Some("ana".into()),
        uid: 1000,
    };
    let (request, decision) = decided(whats().remove(0), Verdict::Review);
    let asked = Asked {
        opinion: Opinion {
            reason: "r".into(),
            rules: vec![],
            verdict: Verdict::Review,
        },
        what: request.what.clone(),
    };
    let entry = Entry::new(&asked, &request, hash, &by, 1, 2).expect("an entry");
    let answer = |said, entries: &[Entry]| {
        let event = answered("run", &request, &decision, said, entries, &by);
        event.detail.expect("it has one")
    };
    let entries = [entry];
    let mut all: Vec<(&[EventType], Value)> = [
        answer(Said::No, &[]),
        answer(Said::Once, &entries),
        answer(Said::Always, &entries),
        answer(Said::Unasked("no terminal"), &[]),
        (revoked("run", &entries[0], &by).detail).expect("it has one"),
    ]
    .into_iter()
    .map(|detail| (&[EventType::Approval][..], detail))
    .collect();
    let ended = json!({
        "cause": "exited", "exit_status": 0, "limits_met": ["time"], "max_rss_kib": 1,
        "plan_hash": hash, "planted": ["a/Makefile"], "refused": 0, "wall_us": 1,
    });
    let not_started = json!({
        "cause": "refused", "error": "e", "exit_status": 125, "limits_met": [],
        "plan_hash": "", "planted": [], "refused": 0,
    });
    let started = json!({
        "aegis": "0.1.0", "argv": ["a"], "degraded": [{"layer": "l", "mend": "m", "what": "w"}],
        "file": null, "keep_fds": [3], "pid": 1, "policy": "p", "profile": "p", "profile_hash": hash, "uid": 0,
    });
    let refused = json!({
        "allow": null, "asked": request.what, "evidence": "kernel", "layer": "landlock",
        "outcome": "refused", "times": 1, "what": "w",
    });
    let no_plan = json!({
        "context": request.context, "error": "e", "file": "skill.yaml", "outcome": "refused",
    });
    all.push((&[EventType::RunEnd], ended));
    all.push((&[EventType::RunEnd], not_started));
    all.push((&[EventType::RunStart], started));
    let at_run_time = &[
        EventType::FileAccess,
        EventType::NetReq,
        EventType::PolicyViolation,
        EventType::ToolExec,
    ];
    all.push((at_run_time, refused));
    let violation = &[EventType::PolicyViolation];
    all.push((violation, json!({"from": "skill.yaml:1:2"})));
    all.push((violation, no_plan));
    all
}

/// The form of detail that comes first of a type.
fn detail(kind: EventType) -> Value {
    let mut all = details().into_iter();
    let found = all.find(|(kinds, _)| kinds.contains(&kind));
    found.map_or(json!({"more": [1, "x", null]}), |(_, detail)| detail)
}

/// A log with a record of every type, of every action, and of every verdict.
fn everything() -> Vec<Value> {
    let scene = Scene::new();
    let mut log = scene.open();
    let mut events: Vec<Event> = (0..10).map(event).collect();
    for event in &mut events {
        if event.detail.is_some() {
            event.detail = Some(detail(event.kind));
        }
    }
    log.append(&events).expect("appended");
    for (n, what) in whats().into_iter().enumerate() {
        let (mut request, mut decision) = decided(what, Verdict::ALL[n % 4]);
        request.context.skill = Some("/srv/skill".into());
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
        let event =
            Event::new(kinds[n % kinds.len()], "run", decision.policy).decided(request, decision);
        let detail = detail(event.kind);
        log.append(&[event.detailed(&detail)]).expect("appended");
    }
    drop(log);
    let segment = scene.segment(1);
    let mut bytes = std::fs::read(&segment).expect("the segment");
    bytes.extend(b"torn");
    std::fs::write(&segment, bytes).expect("written");
    scene.open().checkpoint().expect("signed");
    let bytes = std::fs::read(&segment).expect("the segment");
    log_support::lines(&bytes)
        .iter()
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect()
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
    assert_eq!(types.len(), 11, "every type is there: {types:?}");
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
    for (own, detail) in details() {
        for kind in &kinds {
            assert_eq!(
                validator.is_valid(&line(*kind, Some(&detail))),
                own.contains(kind),
                "{kind:?} with {detail:#}"
            );
        }
        // There are no other names, and no values of another kind.
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

/// What the types say of a line.
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
    // What serde reads, but would write otherwise, is in no log: arrays for objects, `null` for nothing.
    let same = serde_json::to_vec(&parsed).is_ok_and(|written| written == record);
    let detail = parsed.detail.clone().unwrap_or_default();
    same && match parsed.kind {
        EventType::Checkpoint => Checkpoint::of(&parsed).is_some(),
        EventType::LogRecovered => serde_json::from_value::<Recovered>(detail.clone())
            .is_ok_and(|note| serde_json::to_value(note).is_ok_and(|note| note == detail)),
        _ => true,
    }
}

/// Every way to leave a name out, to add one, and to put a value of another kind in a value's place.
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
        // The reader of a log takes any detail, but of two types.
        let free = !matches!(
            line["record"]["type"].as_str(),
            Some("checkpoint" | "log.recovered")
        );
        places.retain(|at| !(at.is_empty() || free && at.starts_with("/record/detail")));
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
                // Beyond the types: what the log itself always writes in one form, and pairs.
                let record = &changed["record"];
                let only_schema = at == "/record/time"
                    || at == "/record/v"
                    || at == "/record/detail/log"
                    || at == "/record/detail/signature"
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
