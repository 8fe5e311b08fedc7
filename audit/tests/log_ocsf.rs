//! The export to OCSF: every type has its class, with the attributes that the class requires.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use aegis_audit::event::{Cause, EventType, Record, RunEnd};
use aegis_audit::ocsf;
use aegis_policy::model::{Inject, Scheme};
use aegis_policy::request::Destination;
use aegis_policy::{Hash, Verdict, What};
use serde_json::{Value, json};

use crate::log_support;
use log_support::decided;

fn record(kind: EventType, what: Option<What>, verdict: Verdict) -> Record {
    let decided = what.map(|what| decided(what, verdict));
    let (request, decision) = decided.unzip();
    let detail = match kind {
        EventType::Approval => Some(json!({"answer": "revoked", "by": {"uid": 0}})),
        EventType::RunEnd => {
            let end = RunEnd::not_started(Cause::Exited, None, 3);
            Some(serde_json::to_value(end).expect("JSON"))
        }
        _ => None,
    };
    Record {
        decision,
        detail,
        policy: Hash::of(b"policy"),
        prev: Hash::default(),
        request,
        run: "r1".into(),
        seq: 7,
        time: "2026-01-02T03:04:05.678901Z".into(),
        kind,
        v: 1,
    }
}

fn net() -> What {
    What::Net(Destination {
        address: Some([192, 0, 2, 1].into()),
        host: "api.example.org".into(),
        method: None,
        path: None,
        port: 443,
        request_size: None,
        requests_last_minute: None,
        response_size: None,
        scheme: Scheme::Https,
    })
}

fn has(event: &Value, pointer: &str) -> bool {
    event.pointer(pointer).is_some_and(|value| !value.is_null())
}

#[test]
fn every_type_has_its_class_with_what_that_requires() {
    let read = || What::Read {
        except: Vec::new(),
        path: "/srv/a b/c".into(),
        tree: false,
    };
    let exec = || What::Exec {
        except: Vec::new(),
        name: None,
        path: "/usr/bin/git".into(),
        tree: false,
    };
    let tool = || What::Tool {
        command: vec!["./a".into(), "b".into()],
        grants: vec![read()],
    };
    let secret = || What::Secret {
        alias: "github".into(),
        host: "api.github.com".into(),
        inject: Some(Inject::Header),
    };
    let process = [
        "/actor/app_name",
        "/device/type_id",
        "/process/name",
        "/process/uid",
    ];
    let file = [
        "/actor/app_name",
        "/device/type_id",
        "/file/name",
        "/file/type_id",
    ];
    let network = ["/src_endpoint/hostname", "/connection_info/direction_id"];
    let log = [
        "/actor/app_name",
        "/device/type_id",
        "/log_name",
        "/activity_name",
    ];
    let finding = ["/finding_info/uid", "/finding_info/title"];
    let entity = ["/entity/name", "/actor/app_name"];
    use EventType::*;
    for (kind, what, class, activity, required) in [
        (RunStart, None, 1007, 1, &process[..]),
        (RunEnd, None, 1007, 2, &process),
        (ToolExec, Some(tool()), 1007, 1, &process),
        (ToolExec, Some(exec()), 1007, 1, &process),
        (FileAccess, Some(read()), 1001, 2, &file),
        (
            FileAccess,
            Some(What::Write {
                except: Vec::new(),
                path: "/".into(),
                tree: true,
            }),
            1001,
            3,
            &file,
        ),
        (FileAccess, None, 1001, 0, &file),
        (NetReq, Some(net()), 4001, 1, &network),
        (NetReq, Some(What::Listen { port: 80 }), 4001, 99, &network),
        (NetReq, Some(What::NetHost {}), 4001, 1, &network),
        (NetReq, None, 4001, 1, &network),
        (SecretUse, Some(secret()), 3004, 2, &entity),
        (Approval, Some(exec()), 3004, 4, &entity),
        (PolicyViolation, Some(read()), 2004, 1, &finding),
        (Anomaly, None, 2004, 1, &finding),
        (Checkpoint, None, 1008, 99, &log),
        (LogRecovered, None, 1008, 99, &log),
    ] {
        let decided = what.is_some();
        let event = ocsf::event(&record(kind, what, Verdict::Allow), "host").expect("an event");
        // Required of every event: <https://schema.ocsf.io/1.3.0/base_event>.
        let base = [
            "/activity_id",
            "/category_uid",
            "/class_uid",
            "/metadata/product/vendor_name",
            "/metadata/version",
            "/severity_id",
            "/time",
            "/type_uid",
        ];
        for pointer in base.iter().chain(required) {
            assert!(has(&event, pointer), "{kind:?}: {pointer} in {event:#}");
        }
        assert_eq!(event["class_uid"], class, "{kind:?}");
        assert_eq!(event["activity_id"], activity, "{kind:?}");
        assert_eq!(event["category_uid"], class / 1000);
        assert_eq!(event["type_uid"], class * 100 + activity);
        assert_eq!(event["time"], 1_767_323_045_678_u64);
        assert_eq!(has(&event, "/disposition_id"), decided);
        if kind == EventType::RunEnd {
            assert_eq!(event["exit_code"], 3);
        }
    }
}

#[test]
fn what_was_refused_is_denied() {
    for (verdict, action, severity) in [
        (Verdict::Allow, 1, 1),
        (Verdict::Warn, 1, 2),
        (Verdict::Review, 2, 3),
        (Verdict::Block, 2, 4),
    ] {
        let event = ocsf::event(&record(EventType::NetReq, Some(net()), verdict), "host")
            .expect("an event");
        assert_eq!(
            (&event["action_id"], &event["severity_id"]),
            (&json!(action), &json!(severity)),
            "{verdict}"
        );
        assert_eq!(event["activity_id"], if action == 1 { 1 } else { 5 });
        assert_eq!(
            event["dst_endpoint"],
            json!({"hostname": "api.example.org", "ip": "192.0.2.1", "port": 443})
        );
    }
}

/// Whatever the policy would say: the broker has refused it by itself.
#[test]
fn what_was_refused_although_the_policy_lets_it_through_is_denied() {
    let mut record = record(EventType::NetReq, Some(net()), Verdict::Allow);
    record.detail = Some(json!({
        "allow": null, "evidence": "broker", "layer": "egress broker", "outcome": "refused", "times": 1,
        "what": "TLS names another server",
    }));
    let event = ocsf::event(&record, "host").expect("an event");
    assert_eq!(
        (&event["activity_id"], &event["disposition_id"]),
        (&json!(5), &json!(2))
    );
}

#[test]
fn a_time_that_is_none_is_an_error() {
    let mut record = record(EventType::RunStart, None, Verdict::Allow);
    for time in ["", "yesterday", "1969-12-31T00:00:00Z"] {
        record.time = time.into();
        assert!(ocsf::event(&record, "host").is_err(), "{time}");
    }
}
