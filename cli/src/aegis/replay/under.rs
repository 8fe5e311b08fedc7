//! What another policy would decide otherwise.

use std::collections::BTreeMap;

use aegis_audit::replay::under;
use aegis_policy::{Opinion, Verdict};
use serde::Serialize;

use super::{At, FEW, Options, counted, records};
use crate::aegis::policy::{compiled, document};
use crate::aegis::{CommandResult, answer, one_stdin};

#[derive(Default, Serialize)]
struct Report {
    changes: Vec<Group>,
    /// Decisions that would change, in the verdict or in an opinion on a grant.
    changing: u64,
    /// Records with a decision.
    decisions: u64,
    records: u64,
    unreadable: Vec<String>,
}

/// All changes of one action from one verdict to another.
#[derive(Serialize)]
struct Group {
    action: &'static str,
    count: u64,
    examples: Vec<Example>,
    now: Verdict,
    then: Verdict,
}

#[derive(Serialize)]
struct Example {
    #[serde(flatten)]
    at: At,
    /// The change is about one grant of a run.
    is_part: bool,
    now: Opinion,
    then: Opinion,
}

pub(super) fn list(options: &Options, reference: &str) -> CommandResult {
    one_stdin([reference, &*options.log.resolve()?.to_string_lossy()])?;
    let other = compiled(document(reference)?)?;
    // One example is enough to see what changes.
    let shown = if options.all { usize::MAX } else { 1 };
    let mut report = Report::default();
    let mut groups: BTreeMap<((u8, Verdict, Verdict), &'static str), Group> = BTreeMap::new();
    let mut unread = Vec::new();
    let unreadable = records(options, |record| {
        report.records += 1;
        let changes = match under(&other, record) {
            Ok(Some(changes)) => changes,
            Ok(None) => return Ok(()),
            Err(why) => {
                unread.push(format!("{}: {why}", At::of(record)));
                return Ok(());
            }
        };
        report.decisions += 1;
        report.changing += u64::from(!changes.is_empty());
        for change in changes {
            let (then, now) = (change.then.verdict, change.now.verdict);
            let action = change.what.action();
            let key = (aegis_policy::compare::rank(then, now), action);
            let group = groups.entry(key).or_insert_with(|| Group {
                action,
                count: 0,
                examples: Vec::new(),
                now,
                then,
            });
            group.count += 1;
            if group.examples.len() < shown {
                group.examples.push(Example {
                    at: At {
                        run: record.run.clone().into_owned(),
                        seq: record.seq,
                        what: change.what.to_string(),
                    },
                    is_part: change.is_part,
                    now: change.now,
                    then: change.then,
                });
            }
        }
        Ok(())
    })?;
    report.changes = groups.into_values().collect();
    report.unreadable = [unreadable, unread].concat();
    answer(options.json, &report, || text(&report))?;
    Ok(report.changes.is_empty() && report.unreadable.is_empty())
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for line in report.unreadable.iter().take(FEW) {
        text += &format!("not decided: {line}\n");
    }
    for group in &report.changes {
        let requests = counted(group.count, "request");
        text += &format!(
            "{} -> {}: {} of {}\n",
            group.then, group.now, requests, group.action
        );
        for example in &group.examples {
            let grant = if example.is_part {
                ", a grant of the run"
            } else {
                ""
            };
            text += &format!(
                "  {}{grant}\n    then  {}\n    now   {}\n",
                example.at, example.then.reason, example.now.reason
            );
        }
    }
    let decisions = counted(report.decisions, "decision");
    text += &match report.changes.is_empty() {
        true => format!("{decisions}: none would change\n"),
        false => {
            let changing = report.changing;
            let answers: u64 = report.changes.iter().map(|group| group.count).sum();
            // The decision about a run has an answer for each of its grants.
            let more = match answers > changing {
                true => format!(
                    " ({}, those about the grants of runs included)",
                    counted(answers, "answer")
                ),
                false => String::new(),
            };
            format!("{decisions}: {changing} would change{more}\n")
        }
    };
    text
}
