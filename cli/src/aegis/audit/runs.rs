//! `aegis audit runs`: a line for each run.

use std::collections::BTreeMap;

use aegis_audit::event::{Answer, Cause, Detail, EventType, Record};
use aegis_policy::{Verdict, What};
use clap::Args;
use serde::Serialize;

use super::{CommandResult, Filter, LogArg, recorded};
use crate::aegis::answer;
use crate::names;
use crate::terminal::{complain, harmless};
use crate::text::page::{shortened, table};

/// The command line.
#[derive(Debug, Args)]
pub(in crate::aegis) struct Options {
    #[command(flatten)]
    log: LogArg,
    /// Only runs of the profile with this name
    #[arg(long, value_name = "NAME", add = names::profiles())]
    profile: Option<String>,
    /// Only the last so many
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Only those that began since: a date, a time in UTC, or so long ago (2h, 3days)
    #[arg(long, value_name = "TIME", value_parser = super::since)]
    since: Option<std::time::SystemTime>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// What the records of a run say.
#[derive(Default, Serialize)]
struct Run {
    run: String,
    /// When its first record was written.
    started: String,
    /// When it ended. `None`: it goes on, or was killed.
    ended: Option<String>,
    profile: String,
    policy: String,
    uid: Option<u32>,
    command: Vec<String>,
    /// The decision about the run.
    verdict: Option<Verdict>,
    /// A person's answer.
    answer: Option<Answer>,
    /// Grants of which the policy warned, or which it did not let through.
    violations: u64,
    /// What was refused at run time.
    denials: u64,
    cause: Option<Cause>,
    exit_status: Option<u8>,
    wall_us: Option<u64>,
}

impl Options {
    pub fn run(self) -> CommandResult {
        let mut runs: Vec<Run> = Vec::new();
        let mut places = BTreeMap::new();
        let mut right = true;
        let since = Filter {
            since: self.since,
            ..Filter::default()
        };
        let mut reader = self.log.reader()?;
        for record in recorded(&mut reader) {
            let record = match record {
                Ok(recorded) => recorded.record,
                Err(error) => {
                    complain(&format!("aegis: {}\n", harmless(&error.to_string())));
                    right = false;
                    continue;
                }
            };
            // Later records of a run belong to it whenever they were written.
            let begins_here = || begins(&record) && since.takes(&record);
            if places.contains_key(&record.run) || begins_here() {
                let place = *places.entry(record.run.clone()).or_insert_with(|| {
                    runs.push(Run::begun(&record));
                    runs.len() - 1
                });
                runs[place].add(record);
            }
        }
        if let Some(profile) = &self.profile {
            runs.retain(|run| run.profile == *profile);
        }
        let skipped = self
            .lines
            .map_or(0, |lines| runs.len().saturating_sub(lines));
        let shown = &runs[skipped..];
        answer(self.json, &shown, || text(shown))?;
        Ok(right)
    }
}

/// Whether a run can begin with the record: with its start, or with why there was none.
fn begins(record: &Record) -> bool {
    match record.kind {
        EventType::RunStart | EventType::RunEnd => true,
        EventType::PolicyViolation => matches!(record.detail(), Some(Detail::NoPlan(_))),
        _ => false,
    }
}

impl Run {
    fn begun(record: &Record) -> Self {
        Self {
            run: record.run.clone(),
            started: record.time.clone(),
            ..Self::default()
        }
    }

    fn add(&mut self, record: Record) {
        match (record.kind, record.detail()) {
            (_, Some(Detail::RunStart(start))) => {
                self.profile = start.profile;
                self.policy = start.policy;
                self.uid = Some(start.uid);
                self.command = start.argv;
            }
            (_, Some(Detail::RunEnd(end))) => {
                self.ended = Some(record.time);
                self.cause = Some(end.cause);
                self.exit_status = Some(end.exit_status);
                self.wall_us = end.wall_us;
            }
            (_, Some(Detail::NoPlan(no_plan))) => {
                if let Some(context) = no_plan.context {
                    self.profile = context.profile;
                    self.uid = Some(context.uid);
                }
            }
            (_, Some(Detail::Answered(answered))) => self.answer = Some(answered.answer),
            (_, Some(Detail::Denial(denial))) => self.denials += denial.times,
            (EventType::PolicyViolation, _) => self.violations += 1,
            (EventType::ToolExec, None) => {
                self.verdict = record.decision.map(|decision| decision.verdict);
                if let Some(What::Tool { command, .. }) = record.request.map(|request| request.what)
                {
                    self.command = command.iter().map(ToString::to_string).collect();
                }
            }
            _ => {}
        }
    }

    /// How it ended, in a word or two.
    fn end(&self) -> String {
        match (self.cause, self.exit_status) {
            (None, _) => "goes on, or was killed".into(),
            (Some(Cause::Exited), Some(status)) => status.to_string(),
            (Some(cause), _) => super::show::name_of(cause),
        }
    }

    /// What the policy or a person said.
    fn said(&self) -> String {
        match (self.answer, self.verdict) {
            (Some(Answer::Always | Answer::Once), _) => "approved".into(),
            (_, Some(verdict)) => verdict.to_string(),
            (_, None) => "-".into(),
        }
    }
}

fn text(runs: &[Run]) -> String {
    let head = [
        "STARTED (UTC)",
        "RUN",
        "PROFILE",
        "POLICY SAID",
        "ENDED",
        "SECONDS",
        "DENIED",
        "COMMAND",
    ];
    let row = |run: &Run| {
        [
            run.started
                .get(..19)
                .unwrap_or(&run.started)
                .replace('T', " "),
            run.run.clone(),
            run.profile.clone(),
            run.said(),
            run.end(),
            run.wall_us
                .map_or("-".into(), |us| format!("{:.2}", us as f64 / 1e6)),
            run.denials.to_string(),
            shortened(&run.command.join(" "), 60),
        ]
    };
    table((!runs.is_empty()).then_some(head), runs.iter().map(row))
}
