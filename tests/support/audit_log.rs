//! The audit log of a workspace, as seen by `aegis` and by anybody who can read JSON.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::{Workspace, program, text};

/// The directory of a log for the runs of one test: `--audit`.
pub fn place(workspace: &Workspace) -> PathBuf {
    workspace.state().join("log")
}

/// `aegis-run --audit PLACE --profile PROFILE WORDS...`.
pub fn run(workspace: &Workspace, profile: &Path, words: &[&str]) -> Command {
    let mut command = workspace.command(program("aegis-run"));
    command
        .arg("--audit")
        .arg(place(workspace))
        .arg("--profile")
        .arg(profile)
        .args(words);
    command
}

/// Every record of a log, in its order.
pub fn records(log: &Path) -> Vec<Value> {
    let lines = lines(log).into_iter();
    lines.map(|record| whole(log, record)).collect()
}

/// One record of a log that may have those of many other runs.
pub fn record(log: &Path, seq: u64) -> Option<Value> {
    let mut lines = lines(log).into_iter();
    let record = lines.find(|record| record["seq"] == seq)?;
    Some(whole(log, record))
}

/// Every record, without what it refers to.
fn lines(log: &Path) -> Vec<Value> {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(log)
        .map(|dir| dir.map(|entry| entry.expect("an entry").path()).collect())
        .unwrap_or_default();
    segments.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    });
    segments.sort();
    segments
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("a segment");
            let lines = text.lines().map(|line| {
                let mut line: Value = serde_json::from_str(line).expect("a line is JSON");
                line["record"].take()
            });
            lines.collect::<Vec<_>>()
        })
        .collect()
}

/// A record with what it refers to.
fn whole(log: &Path, mut record: Value) -> Value {
    let Some(Value::String(hash)) = record
        .as_object_mut()
        .and_then(|record| record.remove("rest"))
    else {
        return record;
    };
    let path = log.join("repeated").join(format!("{hash}.json"));
    let text = std::fs::read(path).expect("what it refers to");
    merge(&mut record, serde_json::from_slice(&text).expect("JSON"));
    record
}

fn merge(to: &mut Value, from: Value) {
    match (to, from) {
        (Value::Object(to), Value::Object(from)) => {
            for (name, value) in from {
                merge(to.entry(name).or_insert(Value::Null), value);
            }
        }
        (to @ Value::Null, from) => *to = from,
        (to, from) => panic!("both {to} and {from}"),
    }
}

/// The records of one type.
pub fn of_type(log: &Path, kind: &str) -> Vec<Value> {
    let mut list = records(log);
    list.retain(|record| record["type"] == kind);
    list
}

/// Runs `aegis` with these words as the workspace's user.
pub fn aegis(workspace: &Workspace, words: &[&str]) -> Output {
    workspace
        .command(program("aegis"))
        .args(words)
        .output()
        .expect("aegis starts")
}

/// Asserts that `aegis audit verify` finds the log intact and complete, and that `aegis replay` comes to
/// the same decision on every request in it.
#[track_caller]
pub fn holds_up(workspace: &Workspace, log: &Path) {
    let log = log.to_str().expect("a path in UTF-8");
    for words in [&["audit", "verify", log][..], &["replay", log]] {
        let output = aegis(workspace, words);
        assert!(output.status.success(), "{words:?}: {}", text(&output));
    }
}
