//! What the audit log says of a run.

use std::path::Path;

use aegis_audit::event::{Answer, Denial, Detail, EventType, NoPlan, Record, RunEnd, RunStart};
use aegis_audit::log::{Error, Reader};
use aegis_policy::{Context, Verdict, What};
use anyhow::bail;
use serde::Serialize;

use crate::aegis::audit;
use crate::terminal::{complain, harmless};

/// How much of the end of a log is looked at before all of it.
const RECENT: u64 = 8 << 20;

/// A run, by its records.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::aegis) struct Recorded {
    /// Its id.
    pub run: String,
    /// When its first record was written.
    pub time: String,
    /// Its start. `None`: it was not started.
    pub start: Option<RunStart>,
    /// Who asked, and what the variables of paths stood for.
    pub context: Option<Context>,
    /// All that was granted, as the policy was asked.
    pub grants: Vec<What>,
    /// What the policy said of the run.
    pub verdict: Option<Verdict>,
    /// What a person said.
    pub answer: Option<Answer>,
    /// Grants of which the policy warned, or which it did not let through.
    pub violations: Vec<Violation>,
    /// What was denied. While a run goes on it is not recorded yet.
    pub denials: Vec<Denied>,
    /// What was outside of what the profile or its baseline has, in words.
    pub anomalies: Vec<String>,
    /// Why nothing was started.
    pub refused: Option<NoPlan>,
    /// How it ended. `None`: it goes on, or was killed with what watches it.
    pub end: Option<RunEnd>,
    /// When.
    pub ended: Option<String>,
}

/// What was denied, and what the policy would have said if it had been declared.
#[derive(Clone, Debug, Serialize)]
pub(in crate::aegis) struct Denied {
    #[serde(flatten)]
    pub denial: Denial,
    /// `None`: there is nothing that a policy could be asked.
    pub verdict: Option<Verdict>,
    /// Why.
    pub reason: Option<String>,
}

/// A grant that the policy says something about.
#[derive(Clone, Debug, Serialize)]
pub(in crate::aegis) struct Violation {
    /// The line that declares it.
    pub from: String,
    /// What it is.
    pub what: String,
    /// What the policy says.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

/// The run whose id begins so. `None`: the log has none.
///
/// # Errors
///
/// The log cannot be read, or several ids begin so.
pub(in crate::aegis) fn find(log: &Path, id: &str) -> anyhow::Result<Option<Recorded>> {
    // A run that is named in full is seldom long ago.
    let recent = |mut end| read(&mut end, id, &mut |_| ());
    let recent = Reader::of_end(log, RECENT).map(recent).unwrap_or_default();
    let exact = |run: &Recorded| run.run == id && run.start.is_some();
    if let Some(found) = recent.into_iter().find(exact) {
        return Ok(Some(found));
    }
    let found = read(&mut audit::open(log)?, id, &mut |error| {
        complain(&format!("aegis: {}\n", harmless(&error.to_string())));
    });
    let [one, more @ ..] = found.as_slice() else {
        return Ok(None);
    };
    match found.iter().find(|found| found.run == id) {
        Some(exact) => Ok(Some(exact.clone())),
        None if more.is_empty() => Ok(Some(one.clone())),
        None => {
            bail!("{id}: the ids of several runs begin so\n  help: aegis audit runs lists them")
        }
    }
}

fn read(reader: &mut Reader, id: &str, wrong: &mut dyn FnMut(Error)) -> Vec<Recorded> {
    let mut found: Vec<Recorded> = Vec::new();
    // Records are canonical JSON: those of other runs need not be read.
    let named = format!("\"run\":\"{id}");
    while let Some(line) = reader.next_line() {
        let record = line.and_then(|line| {
            let is_named = String::from_utf8_lossy(line.record).contains(&named);
            is_named.then(|| line.record()).transpose()
        });
        let record = match record {
            Ok(Some(record)) if record.run.starts_with(id) => record,
            Ok(_) => continue,
            Err(error) => {
                wrong(error);
                continue;
            }
        };
        let place = found.iter().position(|run| run.run == record.run);
        let place = place.unwrap_or_else(|| {
            found.push(Recorded {
                run: record.run.clone(),
                time: record.time.clone(),
                ..Recorded::default()
            });
            found.len() - 1
        });
        found[place].add(record);
    }
    // Commands that manage the log have ids as well.
    found.retain(|run| run.start.is_some() || run.end.is_some() || run.refused.is_some());
    found
}

impl Recorded {
    fn add(&mut self, record: Record) {
        let in_words = || audit::show::words(&record);
        match (record.kind, record.detail()) {
            (_, Some(Detail::RunStart(start))) => self.start = Some(*start),
            (_, Some(Detail::RunEnd(end))) => {
                self.end = Some(end);
                self.ended = Some(record.time);
            }
            (_, Some(Detail::NoPlan(no_plan))) => {
                self.context = no_plan.context.clone();
                self.refused = Some(no_plan);
            }
            (_, Some(Detail::Answered(answered))) => self.answer = Some(answered.answer),
            (_, Some(Detail::Denial(denial))) => {
                let decision = record.decision;
                self.denials.push(Denied {
                    denial,
                    verdict: decision.as_ref().map(|decision| decision.verdict),
                    reason: decision.map(|decision| decision.reason.to_string()),
                });
            }
            (EventType::Anomaly, _) => self.anomalies.push(in_words()),
            (_, Some(Detail::Grant(grant))) => {
                if let (Some(request), Some(decision)) = (record.request, record.decision) {
                    self.violations.push(Violation {
                        from: grant.from,
                        what: request.what.to_string(),
                        verdict: decision.verdict,
                        reason: decision.reason.to_string(),
                    });
                }
            }
            (EventType::ToolExec, None) => {
                self.verdict = record.decision.map(|decision| decision.verdict);
                if let Some(request) = record.request {
                    self.context = Some(request.context);
                    if let What::Tool { grants, .. } = request.what {
                        self.grants = grants;
                    }
                }
            }
            _ => {}
        }
    }
}
