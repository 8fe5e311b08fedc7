//! Checks that the same policies come to the same decisions.

use std::collections::BTreeMap;

use aegis_audit::replay::{Difference, Outcome, Replayer, Undecidable, Undecided};
use serde::Serialize;

use super::{At, FEW, Known, Options, counted, records};
use crate::aegis::{CommandResult, answer};

#[derive(Default, Serialize)]
struct Report {
    /// Records with a decision.
    decisions: u64,
    /// How many of them came out otherwise.
    differing: u64,
    differences: Vec<Differing>,
    ok: bool,
    records: u64,
    /// Records that could not be decided again.
    undecidable: u64,
    undecidable_because: Vec<Because>,
    /// Lines that are not records.
    unreadable: Vec<String>,
}

#[derive(Serialize)]
struct Differing {
    #[serde(flatten)]
    at: At,
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Because {
    count: u64,
    first: At,
    why: String,
}

pub(super) fn check(options: &Options, known: &Known) -> CommandResult {
    let mut replayer = Replayer::new(|hash| known.find(hash), options.force);
    let mut report = Report::default();
    let mut undecidable: BTreeMap<Undecidable, Because> = BTreeMap::new();
    let mut undecided = Undecided::default();
    let unreadable = records(options, |record| {
        report.records += 1;
        if let Some(start) = undecided.next(record) {
            report.undecidable += 1;
            report.undecidable_because.push(Because {
                count: 1,
                first: At {
                    run: record.run.clone().into_owned(),
                    seq: start,
                    what: "the start of the run".into(),
                },
                why: "the record of its decision was taken out: every run that begins has one"
                    .into(),
            });
        }
        match replayer.again(record) {
            Outcome::NoDecision => return Ok(()),
            Outcome::Same => {}
            Outcome::Differs { differences } => {
                report.differing += 1;
                if options.all || report.differences.len() < FEW {
                    let at = At::of(record);
                    report.differences.push(Differing { at, differences });
                }
            }
            Outcome::Undecidable { why } => {
                report.undecidable += 1;
                let because = |why: &Undecidable| Because {
                    count: 0,
                    first: At::of(record),
                    why: why.to_string(),
                };
                undecidable.entry(why).or_insert_with_key(because).count += 1;
            }
        }
        report.decisions += 1;
        Ok(())
    })?;
    report.unreadable = unreadable;
    report.undecidable_because.extend(undecidable.into_values());
    report.ok = report.differing == 0 && report.undecidable == 0 && report.unreadable.is_empty();
    answer(options.json, &report, || text(&report))?;
    Ok(report.ok)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for line in &report.unreadable {
        text += &format!("not a record: {line}\n");
    }
    for because in &report.undecidable_because {
        text += &format!(
            "{} cannot be decided again: {}\n  the first: {}\n",
            counted(because.count, "record"),
            because.why,
            because.first
        );
    }
    for differing in &report.differences {
        text += &format!("{}\n", differing.at);
        for Difference { what, then, now } in &differing.differences {
            text += &format!("  {what}\n    then  {then}\n    now   {now}\n");
        }
    }
    let listed = report.differences.len() as u64;
    if report.differing > listed {
        let more = counted(report.differing - listed, "more difference");
        text += &format!("and {more}: --all lists them\n");
    }
    let decisions = counted(report.decisions, "decision");
    let records = counted(report.records, "record");
    text += &match (report.differing, report.undecidable) {
        (0, 0) => format!("{records}, {decisions}: decided again, all the same\n"),
        (differing, undecidable) => {
            let differing = match differing {
                1 => "1 differs".to_owned(),
                _ => format!("{differing} differ"),
            };
            format!("{records}, {decisions}: {differing}, {undecidable} cannot be decided again\n")
        }
    };
    text
}
