//! Records as events of the Open Cybersecurity Schema Framework (OCSF 1.3), for systems that collect
//! these: a pure function of the record and the host's name.
//!
//! | type | class |
//! |---|---|
//! | `run.start`, `run.end`, `tool.exec` | Process Activity (1007) |
//! | `file.access` | File System Activity (1001) |
//! | `net.req` | Network Activity (4001) |
//! | `secret.use`, `approval` | Entity Management (3004) |
//! | `policy.violation`, `anomaly` | Detection Finding (2004) |
//! | `checkpoint`, `log.missing`, `log.pruned`, `log.recovered` | Event Log Activity (1008) |
//!
//! The verdict is the profile `security_control`. Anything without an attribute is in `unmapped`.
#![expect(
    clippy::disallowed_types,
    reason = "a time that was written down is read; none is taken"
)]

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::event::{Answer, Detail, EventType, Record};
use aegis_policy::model::{Scheme, Verdict};
use aegis_policy::request::What;

/// The version of the schema.
pub const VERSION: &str = "1.3.0";

/// A record's time cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} has no time that can be exported: {time:?}")]
pub struct BadTime {
    seq: u64,
    time: String,
}

/// The generic `activity_id`, for classes without a specific one.
const OTHER: u32 = 99;

/// The event of a record, from the host with this name.
pub fn event(record: &Record, host: &str) -> Result<Value, BadTime> {
    let time = humantime::parse_rfc3339(&record.time).ok();
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let since = since.ok_or_else(|| BadTime {
        seq: record.seq,
        time: record.time.clone(),
    })?;
    let (class, activity, attributes) = mapped(record, host);
    let kind = kind(record);
    let mut event = json!({
        "activity_id": activity,
        "category_uid": class / 1000,
        "class_uid": class,
        "message": message(record),
        "metadata": {
            "correlation_uid": record.run,
            "log_name": "aegis",
            "original_time": record.time,
            "product": {"name": "Aegis", "vendor_name": "Aegis", "version": env!("CARGO_PKG_VERSION")},
            "sequence": record.seq,
            "uid": format!("{}/{}", record.run, record.seq),
            "version": VERSION,
        },
        "severity_id": severity(record),
        "time": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        "type_uid": class * 100 + activity,
        "unmapped": {
            "decision": record.decision,
            "detail": record.detail,
            "policy": record.policy,
            "prev": record.prev,
            "type": kind,
        },
    });
    if activity == OTHER {
        event["activity_name"] = kind;
    }
    if let Some(decision) = &record.decision {
        // A `review` without an answer is a refusal; an answered one has an approval record of its own.
        let through = decision.verdict.lets_through() && !is_denied(record);
        event["metadata"]["profiles"] = json!(["security_control"]);
        for id in ["action_id", "disposition_id", "status_id"] {
            event[id] = json!(if through { 1 } else { 2 });
        }
        event["status_detail"] = json!(decision.reason);
    }
    if let (Value::Object(event), Value::Object(more)) = (&mut event, attributes) {
        event.extend(more);
    }
    Ok(event)
}

/// Whether something was denied when it was tried, whatever the policy would say of it.
fn is_denied(record: &Record) -> bool {
    matches!(record.detail(), Some(Detail::Denial(_)))
}

/// The type's name.
fn kind(record: &Record) -> Value {
    serde_json::to_value(record.kind).unwrap_or_default()
}

fn message(record: &Record) -> String {
    let kind = kind(record);
    let kind = kind.as_str().unwrap_or_default();
    match (&record.request, &record.decision) {
        (Some(request), Some(decision)) => format!(
            "{kind}: {}: {}: {}",
            request.what, decision.verdict, decision.reason
        ),
        (Some(request), None) => format!("{kind}: {}", request.what),
        _ => kind.to_owned(),
    }
}

/// 1 informational, 2 low, 3 medium, 4 high.
fn severity(record: &Record) -> u32 {
    match (record.decision.as_ref().map(|d| d.verdict), record.kind) {
        (Some(Verdict::Block), _) | (_, EventType::Anomaly | EventType::LogMissing) => 4,
        (Some(Verdict::Review), _) | (_, EventType::PolicyViolation | EventType::LogRecovered) => 3,
        (Some(Verdict::Warn), _) => 2,
        _ => 1,
    }
}

/// The class, its activity, and the attributes of the class.
fn mapped(record: &Record, host: &str) -> (u32, u32, Value) {
    let actor = actor(record);
    let device = json!({"hostname": host, "type_id": 0});
    let what = record.request.as_ref().map(|request| &request.what);
    match record.kind {
        EventType::RunStart | EventType::RunEnd | EventType::ToolExec => {
            let mut attributes =
                json!({"actor": actor, "device": device, "process": process(record, what)});
            if let Some(Detail::RunEnd(end)) = record.detail() {
                attributes["exit_code"] = json!(end.exit_status);
            }
            let ends = record.kind == EventType::RunEnd;
            (1007, if ends { 2 } else { 1 }, attributes)
        }
        EventType::FileAccess => {
            let (activity, file) = match what {
                Some(What::Read { path, tree, .. }) => (2, file(&path.to_string(), *tree)),
                Some(What::Write { path, tree, .. }) => (3, file(&path.to_string(), *tree)),
                _ => (0, json!({"name": "unknown", "type_id": 0})),
            };
            let attributes = json!({"actor": actor, "device": device, "file": file});
            (1001, activity, attributes)
        }
        EventType::NetReq => network(record, what, host),
        EventType::SecretUse => {
            let entity = match what {
                Some(What::Secret { alias, host, .. }) => {
                    json!({"data": {"host": host}, "name": alias, "type": "secret"})
                }
                _ => json!({"name": "unknown", "type": "secret"}),
            };
            (3004, 2, json!({"actor": actor, "entity": entity}))
        }
        EventType::Approval => {
            let answer = match record.detail() {
                Some(Detail::Answered(answered)) => Some(answered.answer),
                _ => None,
            };
            let activity = if answer == Some(Answer::Revoked) {
                4
            } else {
                1
            };
            let name = what.map_or_else(|| "approval".to_owned(), ToString::to_string);
            let entity = json!({"name": name, "type": "approval"});
            let attributes = json!({"actor": actor, "comment": answer, "entity": entity});
            (3004, activity, attributes)
        }
        EventType::PolicyViolation | EventType::Anomaly => {
            let title = what.map_or_else(|| message(record), ToString::to_string);
            let finding = json!({
                "desc": message(record),
                "title": title,
                "types": [kind(record)],
                "uid": format!("{}/{}", record.run, record.seq),
            });
            (2004, 1, json!({"finding_info": finding, "is_alert": true}))
        }
        EventType::Checkpoint
        | EventType::LogMissing
        | EventType::LogPruned
        | EventType::LogRecovered => {
            let attributes = json!({"actor": actor, "device": device, "log_name": "aegis"});
            (1008, OTHER, attributes)
        }
    }
}

fn actor(record: &Record) -> Value {
    let mut actor = json!({"app_name": "aegis-run", "session": {"uid": record.run}});
    if let Some(request) = &record.request {
        actor["user"] = json!({"uid": request.context.uid.to_string()});
    }
    actor
}

fn file(path: &str, tree: bool) -> Value {
    let name = path
        .rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or("/");
    // 1 is a regular file, 2 is a folder.
    json!({"name": name, "path": path, "type_id": if tree { 2 } else { 1 }})
}

fn process(record: &Record, what: Option<&What>) -> Value {
    let mut process = json!({"name": "aegis-run", "uid": record.run});
    match what {
        Some(What::Exec { path, tree, .. }) => {
            process["file"] = file(&path.to_string(), *tree);
            process["name"] = process["file"]["name"].clone();
        }
        Some(What::Tool { command, .. }) => {
            let words: Vec<String> = command.iter().map(ToString::to_string).collect();
            let program = words.first().map_or("", String::as_str);
            process["name"] = file(program, false)["name"].take();
            process["cmd_line"] = json!(words.join(" "));
        }
        _ => {}
    }
    process
}

fn network(record: &Record, what: Option<&What>, host: &str) -> (u32, u32, Value) {
    let decision = record.decision.as_ref();
    let through =
        decision.is_none_or(|decision| decision.verdict.lets_through()) && !is_denied(record);
    // Activity 1 is opened, 5 refused. Direction 1 is inbound, 2 outbound, 0 unknown.
    let activity = if through { 1 } else { 5 };
    let (activity, name, direction, destination) = match what {
        Some(What::Net(to)) => {
            let mut destination = json!({"hostname": to.host, "port": to.port});
            if let Some(address) = to.address {
                destination["ip"] = json!(address);
            }
            let udp = to.scheme == Scheme::Udp;
            let name = if udp { "udp" } else { "tcp" };
            (activity, name, 2, destination)
        }
        Some(What::Listen { port }) => (OTHER, "tcp", 1, json!({"hostname": host, "port": port})),
        _ => (activity, "unknown", 0, Value::Null),
    };
    let mut attributes = json!({
        "actor": actor(record),
        "connection_info": {"direction_id": direction, "protocol_name": name},
        "src_endpoint": {"hostname": host},
    });
    if !destination.is_null() {
        attributes["dst_endpoint"] = destination;
    }
    (4001, activity, attributes)
}
