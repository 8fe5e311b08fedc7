//! `aegis audit show`: a line for each record, for people.

use std::io;

use aegis_audit::event::{EventType, Record};
use aegis_audit::log::Checkpoint;
use aegis_policy::Verdict;
use serde_json::Value;

use super::{Answer, Filter, Out, Place, tell};
use crate::terminal::{colour, harmless};

pub(super) fn show(log: &Place, filter: &Filter, json: bool) -> Answer {
    let mut out = Out::new();
    let style = Style::of_output(json);
    let mut right = true;
    for record in log.reader()? {
        match record {
            Ok(record) if filter.takes(&record) => {
                if !out.write(style.line(&record).as_bytes())? {
                    return Ok(right);
                }
            }
            Ok(_) => {}
            Err(error) => {
                // In its place among the others.
                out.flush()?;
                tell(&error);
                right = false;
            }
        }
    }
    out.flush()?;
    Ok(right)
}

/// How records are printed.
#[derive(Clone, Copy)]
pub(super) enum Style {
    Json,
    Text { colour: bool },
}

impl Style {
    pub fn of_output(json: bool) -> Self {
        match json {
            true => Self::Json,
            false => Self::Text {
                colour: colour(&io::stdout()),
            },
        }
    }

    /// A record as a line.
    pub fn line(self, record: &Record) -> String {
        match self {
            // As it stands in the log.
            Self::Json => serde_json::to_string(record).unwrap_or_default() + "\n",
            Self::Text { colour } => text(record, colour),
        }
    }
}

fn text(record: &Record, colour: bool) -> String {
    // To the second, and without what is the same in each.
    let time = record
        .time
        .get(..19)
        .unwrap_or(&record.time)
        .replace('T', " ");
    let kind = serde_json::to_value(record.kind).unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default();
    let head = one_line(&format!(
        "{time} {:>6} {kind:16} {}",
        record.seq, record.run
    ));
    let verdict = (record.decision.as_ref()).map_or_else(String::new, |decision| {
        format!("  {}", painted(decision.verdict, colour))
    });
    format!("{head}{verdict}  {}\n", one_line(&what(record)))
}

/// Records may hold line feeds, but one record is one line.
fn one_line(text: &str) -> String {
    harmless(text).replace('\n', "\\n")
}

fn painted(verdict: Verdict, colour: bool) -> String {
    let name = format!("{verdict:6}");
    let code = match verdict {
        Verdict::Allow => "32",
        Verdict::Warn => "33",
        Verdict::Review => "35",
        Verdict::Block => "31",
    };
    match colour {
        true => format!("\x1b[{code}m{name}\x1b[m"),
        false => name,
    }
}

fn what(record: &Record) -> String {
    if let Some(checkpoint) = Checkpoint::of(record) {
        let key = checkpoint.key.to_string();
        return format!(
            "number {} of log {}, key {key}",
            checkpoint.number, checkpoint.log
        );
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
            // Each says in sentences what stands in for it and how to mend it: `--json` has them.
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
