//! `aegis audit show`: a line for each record, for people.

use std::io;

use aegis_audit::event::{EventType, Record};
use aegis_audit::log::{Checkpoint, Error};
use aegis_policy::Verdict;
use aegis_profile::syntax::escape;
use serde_json::Value;

use super::Recorded;
use crate::terminal::colour;
use crate::text::page::painted;

/// How records are printed.
#[derive(Clone, Copy)]
pub(super) struct Style {
    json: bool,
    colour: bool,
}

impl Style {
    pub fn of_output(json: bool) -> Self {
        let colour = colour(&io::stdout());
        Self { json, colour }
    }

    /// A record as a line; or why it cannot be read.
    pub fn line(self, recorded: Result<Recorded, Error>) -> Result<String, String> {
        let recorded = recorded.map_err(|error| error.to_string())?;
        match self.json {
            false => Ok(text(&recorded.record, self.colour)),
            true => serde_json::to_string(&recorded)
                .map(|text| text + "\n")
                .map_err(|error| error.to_string()),
        }
    }
}

/// One line, whatever the record holds.
fn text(record: &Record, colour: bool) -> String {
    // To the second, without the parts that never vary.
    let time = record.time.get(..19).unwrap_or(&record.time);
    let head = format!(
        "{} {:>6} {:16} {}",
        time.replace('T', " "),
        record.seq,
        name_of(record.kind),
        record.run
    );
    let verdict = record.decision.as_ref().map(|decision| {
        let code = match decision.verdict {
            Verdict::Allow => "32",
            Verdict::Warn => "33",
            Verdict::Review => "35",
            Verdict::Block => "31",
        };
        let name = format!("{:6}", decision.verdict);
        format!("  {}", painted(colour, code, &name))
    });
    let verdict = verdict.unwrap_or_default();
    format!("{}{verdict}  {}\n", escape(&head), escape(&what(record)))
}

/// The name of a type, as in a record.
pub(in crate::aegis) fn name_of(kind: EventType) -> String {
    let name = serde_json::to_value(kind).unwrap_or_default();
    name.as_str().unwrap_or("?").to_owned()
}

fn what(record: &Record) -> String {
    if let Some(checkpoint) = Checkpoint::of(record) {
        let Checkpoint {
            number, log, key, ..
        } = checkpoint;
        return format!("number {number} of log {log}, key {key}");
    }
    let mut parts = Vec::new();
    if let Some(request) = &record.request {
        parts.push(request.what.to_string());
    }
    if let Some(decision) = &record.decision {
        parts.push(decision.reason.to_string());
    }
    // Of a request and its decision there is enough to say.
    let alone = parts.is_empty() || record.kind == EventType::Approval;
    if let (true, Some(detail)) = (alone, &record.detail) {
        parts.push(brief(detail));
    }
    parts.join(": ")
}

/// A detail's names and plain values.
fn brief(detail: &Value) -> String {
    let Value::Object(map) = detail else {
        return detail.to_string();
    };
    let words: Vec<String> = map
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            // Each says in sentences what stands in for it and how to fix it: `--json` has them.
            Value::Array(missing) if name == "degraded" => match missing.len() {
                0 => format!("{name}=none"),
                1 => format!("{name}=1 layer"),
                n => format!("{name}={n} layers"),
            },
            value => format!("{name}={value}"),
        })
        .collect();
    words.join(" ")
}
