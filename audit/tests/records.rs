//! The fields that every record has.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use aegis_audit::event::{Event, EventType, Record};
use aegis_audit::log::{Log, Reader};
use aegis_policy::{Hash, Policy, templates};
use serde_json::Value;

#[test]
fn every_event_has_the_policys_hash_the_versions_and_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let policy = Policy::new(vec![templates::ALL[1].document()]).unwrap();
    let mut log = Log::open(&path, &directory.path().join("keys")).unwrap();
    let kinds = [
        EventType::RunStart,
        EventType::ToolExec,
        EventType::NetReq,
        EventType::SecretUse,
        EventType::FileAccess,
        EventType::PolicyViolation,
        EventType::Anomaly,
        EventType::Approval,
        EventType::RunEnd,
    ];
    let events: Vec<Event> = kinds
        .iter()
        .map(|kind| Event::new(*kind, "run-7", policy.hash()))
        .collect();
    log.append(&events).unwrap();
    let written: Vec<Value> = Reader::open(&path)
        .unwrap()
        .map(|record| serde_json::to_value(record.unwrap()).unwrap())
        .filter(|record| record["type"] != "checkpoint")
        .collect();
    assert_eq!(written.len(), kinds.len());
    for record in written {
        assert_eq!(record["policy"], policy.hash().to_string(), "{record}");
        assert_eq!(record["run"], "run-7", "{record}");
        assert_eq!(record["v"], 1, "{record}");
    }
    // The hash identifies the version of the policy.
    let mut changed = templates::ALL[1].document();
    changed.name.push('2');
    assert_ne!(Policy::new(vec![changed]).unwrap().hash(), policy.hash());
}

#[test]
fn the_record_on_the_page_has_the_hashes_that_it_says() {
    let page = include_str!("../../docs/policy.md");
    let (_, block) = page.split_once("```json\n").expect("a record is shown");
    let (block, _) = block.split_once("```").expect("its end");
    let line: Value = serde_json::from_str(block).unwrap();
    let record: Record = serde_json::from_value(line["record"].clone()).unwrap();
    let hash = Hash::of(&serde_json::to_vec(&record).unwrap());
    assert_eq!(line["hash"], hash.to_string());
    let (request, decision) = (record.request.unwrap(), record.decision.unwrap());
    assert_eq!(decision.input, request.hash());
    assert_eq!(decision.policy, record.policy);
}
