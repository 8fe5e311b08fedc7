//! `aegis audit show`: a line for each record, for people.

use std::io;

use aegis_audit::event::{Cause, Denial, Detail, EventType, Evidence, Record, RunEnd, RunStart};
use aegis_audit::log::{Checkpoint, Error};
use aegis_policy::{Decision, Verdict};
use aegis_profile::syntax::escape;
use serde::Serialize;
use serde_json::Value;

use super::Recorded;
use crate::terminal::colour;
use crate::text::page::painted;
use crate::text::why;

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
    // To the second.
    let time = record.time.get(..19).unwrap_or(&record.time);
    let head = format!(
        "{}Z {:>6} {:16} {}",
        time.replace('T', " "),
        record.seq,
        name_of(record.kind),
        record.run
    );
    // What was denied at run time was denied whatever the policy says.
    let detail = record.detail();
    let denial = matches!(detail, Some(Detail::Denial(_)));
    let decision = record.decision.as_ref().filter(|_| !denial);
    let verdict = decision.map(|decision| {
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
    format!(
        "{}{verdict}  {}\n",
        escape(&head),
        escape(&what(record, detail))
    )
}

/// The name of a type, a cause, as in a record.
pub(in crate::aegis) fn name_of(named: impl Serialize) -> String {
    let name = serde_json::to_value(named).unwrap_or_default();
    name.as_str().unwrap_or("?").to_owned()
}

pub(in crate::aegis) fn words(record: &Record) -> String {
    what(record, record.detail())
}

fn what(record: &Record, detail: Option<Detail>) -> String {
    if let Some(checkpoint) = Checkpoint::of(record) {
        let Checkpoint {
            number, log, key, ..
        } = checkpoint;
        return format!("number {number} of log {log}, key {key}");
    }
    match detail {
        Some(Detail::RunStart(start)) => return started(&start),
        Some(Detail::RunEnd(end)) => return ended(&end),
        Some(Detail::Denial(denial)) => return denied(&denial, record.decision.as_ref()),
        Some(Detail::NoPlan(no_plan)) => return format!("refused: {}", in_line(&no_plan.error)),
        Some(Detail::Missing(missing)) => return missing.to_string(),
        Some(Detail::Pruned(pruned)) => return pruned.to_string(),
        _ => {}
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

/// The start of a run: `--json` has hashes, and what the host lacked.
fn started(start: &RunStart) -> String {
    let file = start.file.as_ref().filter(|file| **file != start.profile);
    let file = file.map_or(String::new(), |file| format!(" ({file})"));
    let less = match start.degraded.len() {
        0 => String::new(),
        1 => ", 1 layer degraded".into(),
        n => format!(", {n} layers degraded"),
    };
    format!(
        "profile {}{file}, policy {}, uid {}{less}: {}",
        start.profile,
        start.policy,
        start.uid,
        start.argv.join(" ")
    )
}

fn ended(end: &RunEnd) -> String {
    let mut text = match end.cause {
        Cause::Exited => format!("exited with {}", end.exit_status),
        cause => format!("{}, status {}", name_of(cause), end.exit_status),
    };
    if let Some(us) = end.wall_us {
        text += &format!(", after {:.2}s", us as f64 / 1e6);
    }
    if end.denials > 0 {
        text += &format!(", {} refused", end.denials);
    }
    for (what, list) in [("limits met", &end.limits_met), ("planted", &end.planted)] {
        if !list.is_empty() {
            text += &format!(", {what}: {}", list.join(" "));
        }
    }
    if let Some(error) = &end.error {
        text += &format!(": {}", in_line(error));
    }
    text
}

/// What was denied, and how that is known.
pub(in crate::aegis) fn in_words(denial: &Denial) -> String {
    let is_proven = denial.evidence != Evidence::ErrorMessage;
    why::denied(&denial.what, is_proven, denial.times)
}

fn denied(denial: &Denial, decision: Option<&Decision>) -> String {
    let mut text = format!("refused by {}: {}", denial.layer, in_words(denial));
    if let Some(decision) = decision {
        text += &format!("; the policy: {}", decision.reason);
    }
    text
}

/// An error, its help in the same line.
fn in_line(error: &str) -> String {
    let lines: Vec<&str> = error.lines().map(str::trim).collect();
    lines.join("; ")
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
            value => format!("{name}={value}"),
        })
        .collect();
    words.join(" ")
}
