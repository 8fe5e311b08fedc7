//! What was learnt, as a person reads it, and as a program does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use aegis_launch::learning::Hidden;
use aegis_learn::{Difference, HEADROOM, Key, Outside, Proposal, Rule};
use aegis_observation::{Observation, Text};
use aegis_profile::syntax::escape;
use serde_json::{Value, json};

use super::output::as_reference;
use super::runs::Seen;
use super::verify::Verified;

/// At most so many of a kind are named.
const MOST: usize = 8;

/// The rules, as a table.
pub(super) fn rules() -> String {
    let mut out = String::new();
    for rule in Rule::ALL {
        let _ = writeln!(out, "{:<17} {}", rule.name(), rule.does());
    }
    out.push('\n');
    for made in &HEADROOM {
        let _ = writeln!(
            out,
            "limits.{:<10} {} times what was measured, at least {}",
            made.limit.to_string(),
            made.times,
            made.limit.show(made.least),
        );
    }
    out
}

/// All that is told of what was learnt.
pub(super) struct Learnt<'a> {
    pub proposal: &'a Proposal,
    pub runs: &'a [Seen],
    pub settled: bool,
    pub hidden: Vec<Hidden>,
    pub verified: Option<&'a Verified>,
    pub place: Option<&'a Path>,
    pub text: &'a str,
    /// Where what was written was kept, if it was.
    pub kept: Option<&'a Path>,
}

pub(super) fn list(out: &mut String, before: &str, items: impl Iterator<Item = String>) {
    let items: Vec<String> = items.collect();
    for item in items.iter().take(MOST) {
        let _ = writeln!(out, "{before}{item}");
    }
    if items.len() > MOST {
        let _ = writeln!(out, "{before}... and {} more", items.len() - MOST);
    }
}

/// What was kept from the command.
fn kept(out: &mut String, hidden: &[Hidden]) {
    let (blocked, others): (Vec<&Hidden>, Vec<&Hidden>) =
        hidden.iter().partition(|hidden| hidden.is_blocked);
    for (head, hidden) in [
        (
            "kept from the command, which asked for it (--show PATH shows it, once a person has said yes)",
            others,
        ),
        (
            "kept from the command, which asked for it, and from every profile, as the policy blocks it",
            blocked,
        ),
    ] {
        if !hidden.is_empty() {
            let _ = writeln!(out, "{head}:");
            let words = |hidden: &&Hidden| format!("{} ({})", shown(&hidden.path), hidden.reason);
            list(out, "  ", hidden.iter().map(words));
        }
    }
}

fn shown(path: &Path) -> String {
    Text::from(path.as_os_str()).to_string()
}

fn notes_json(proposal: &Proposal) -> Vec<Value> {
    (proposal.notes.iter())
        .map(|note| json!({"about": note.about.heading(), "text": note.text}))
        .collect()
}

fn hidden_json(hidden: &[Hidden]) -> Vec<Value> {
    (hidden.iter())
        .map(|hidden| {
            json!({"path": shown(&hidden.path), "why": hidden.reason, "blocked": hidden.is_blocked})
        })
        .collect()
}

impl Learnt<'_> {
    pub fn text(&self) -> String {
        let mut out = String::new();
        let proposal = self.proposal;
        self.changes(&mut out);
        if !self.hidden.is_empty() {
            kept(&mut out, &self.hidden);
        }
        let extended: Vec<&str> = proposal
            .extends
            .iter()
            .map(|extended| &*extended.name)
            .collect();
        let count = |key| proposal.lines.iter().filter(|line| line.key == key).count();
        let _ = writeln!(
            out,
            "the profile: extends {}, and reads {}, writes {}, executes {} places and programs more; network {}",
            extended.join(", "),
            count(Key::Read),
            count(Key::Write),
            count(Key::Execute),
            if count(Key::Outbound) > 0 {
                "of the host"
            } else {
                "none"
            },
        );
        let mut about = None;
        // What was kept from the command was named above.
        let is_named =
            |text: &str| (self.hidden.iter()).any(|hidden| text.starts_with(&shown(&hidden.path)));
        let notes = || proposal.notes.iter().filter(|note| !is_named(&note.text));
        for note in notes() {
            if about != Some(note.about) {
                let notes = notes().filter(|other| other.about == note.about).count();
                let first = &note.text;
                let more = match notes {
                    1 => String::new(),
                    all => format!(" (and {} more, in the profile)", all - 1),
                };
                let _ = writeln!(out, "{}: {first}{more}", note.about.heading());
            }
            about = Some(note.about);
        }
        if self.settled {
            out += "the last run showed nothing new\n";
        }
        if let Some(verified) = self.verified {
            out += &verified.text();
            if verified.is_good() && self.hidden.iter().any(|hidden| !hidden.is_blocked) {
                out += "but something was kept from it both times (above): if it needs that, learn it with --show\n";
            }
        }
        if let Some(place) = self.place {
            let _ = writeln!(out, "wrote {}: {}", place.display(), self.next(place));
        }
        let lines: String = out
            .lines()
            .map(|line| format!("aegis-learn: {line}\n"))
            .collect();
        lines
    }

    /// The command line that runs the command under the profile.
    fn next(&self, place: &Path) -> String {
        let command = match self.proposal.run.is_empty() {
            true => " -- COMMAND",
            false => "",
        };
        format!("aegis-run --profile {}{command}", as_reference(place))
    }

    /// What was changed in the working directory, and kept: with what was done.
    fn kept_changes(&self) -> Vec<(&Path, &'static str)> {
        let Some(work) = self.kept else {
            return Vec::new();
        };
        let written = (self.proposal.lines.iter())
            .filter(|line| line.key == Key::Write)
            .flat_map(|line| &line.evidence.done);
        written
            .flat_map(|(did, paths)| paths.iter().map(|path| (path.as_path(), did.word())))
            .filter(|(path, _)| path.starts_with(work))
            .collect()
    }

    fn changes(&self, out: &mut String) {
        let kept = self.kept_changes();
        if !kept.is_empty() {
            *out += "changes that were kept in the working directory:\n";
            let words = |(path, did): (&Path, &str)| format!("{did} {}", shown(path));
            list(out, "  ", kept.into_iter().map(words));
        }
        let changed: BTreeSet<String> = (self.runs.iter())
            .flat_map(|seen| &seen.report.changed)
            .map(|changed| format!("{} {}", changed.change, escape(&changed.path)))
            .collect();
        let lost: BTreeSet<String> = (self.runs.iter())
            .flat_map(|seen| seen.report.lost.clone())
            .collect();
        if changed.is_empty() && lost.is_empty() {
            return;
        }
        *out += match self.kept {
            Some(_) => "changes that were made in memory, and are gone:\n",
            None => {
                "changes that were made in memory, and are gone (--keep-changes keeps those of the working directory):\n"
            }
        };
        let lost = lost
            .into_iter()
            .map(|path| format!("added {}", escape(&path)));
        list(out, "  ", changed.into_iter().chain(lost));
        let left_out: u64 = self
            .runs
            .iter()
            .map(|seen| seen.report.changes_left_out)
            .sum();
        if left_out > 0 {
            let _ = writeln!(out, "  ... and at least {left_out} that are not listed");
        }
    }

    pub fn json(&self) -> String {
        let proposal = self.proposal;
        let changes: Vec<Value> = (self.runs.iter())
            .flat_map(|seen| &seen.report.changed)
            .map(|changed| json!({"path": changed.path, "change": changed.change}))
            .collect();
        let kept: Vec<Value> = (self.kept_changes().into_iter())
            .map(|(path, did)| json!({"path": shown(path), "change": did}))
            .collect();
        let lines: Vec<Value> = (proposal.lines.iter())
            .map(|line| {
                json!({
                    "key": line.key.name(),
                    "value": line.value,
                    "why": line.evidence.words(&line.place, proposal.observations),
                    "rule": line.rule.name(),
                    "risk": line.risk,
                })
            })
            .collect();
        let verified = self.verified.map(|verified| {
            json!({
                "verified": verified.is_good(),
                "started": verified.started,
                "status": verified.status,
                "lost": verified.lost,
                "outside": verified.outside.iter().map(Outside::to_string).collect::<Vec<_>>(),
                "missing": verified.missing.iter()
                    .map(|missing| json!({"call": missing.call, "path": missing.path, "error": missing.error}))
                    .collect::<Vec<_>>(),
            })
        });
        let value = json!({
            "profile": self.text,
            "complete": proposal.is_complete(),
            "runs": proposal.head.runs,
            "extends": proposal.extends.iter().map(|extended| &extended.name).collect::<Vec<_>>(),
            "lines": lines,
            "notes": notes_json(proposal),
            "hidden": hidden_json(&self.hidden),
            "changes": changes,
            "changes-kept": kept,
            "verification": verified,
        });
        format!("{value}\n")
    }
}

/// An older profile against what was seen.
pub(super) fn difference(
    difference: &Difference,
    seen: &[Observation],
    hidden: &[Hidden],
) -> String {
    let mut out = String::new();
    let runs = seen.iter().flat_map(|seen| &seen.runs);
    let failed: BTreeSet<u8> = runs
        .filter_map(|run| run.exit_status.filter(|status| *status != 0))
        .collect();
    for status in failed {
        let _ = writeln!(
            out,
            "a run ended with status {status}: what it did not come to is not seen"
        );
    }
    if !hidden.is_empty() {
        kept(&mut out, hidden);
    } else if difference.is_empty() {
        out += "it grants what was seen, and nothing that was not used\n";
    }
    if !difference.lacks.is_empty() {
        out += "it lacks:\n";
        list(
            &mut out,
            "  ",
            difference.lacks.iter().map(Outside::to_string),
        );
        out += "which these lines would grant:\n";
        for line in &difference.lines {
            let _ = writeln!(out, "  {}: {}", line.key.name(), line.value);
        }
    }
    if !difference.unused.is_empty() {
        out += "no run used:\n";
        for unused in &difference.unused {
            let _ = writeln!(
                out,
                "  {} {}: {}",
                unused.origin,
                unused.key.name(),
                unused.value
            );
        }
    }
    out
}

/// The same for programs. `proposal`: the profile for what was seen; `trimmed`: the older one without what no run used.
pub(super) fn difference_json(
    difference: &Difference,
    proposal: &Proposal,
    hidden: &[Hidden],
    trimmed: Option<&str>,
) -> String {
    let lacks: Vec<Value> = (difference.lacks.iter())
        .map(|lack| json!({"key": lack.key.name(), "what": lack.what}))
        .collect();
    let lines: Vec<Value> = (difference.lines.iter())
        .map(|line| json!({"key": line.key.name(), "value": line.value}))
        .collect();
    let unused: Vec<Value> = (difference.unused.iter())
        .map(|unused| json!({"key": unused.key.name(), "value": unused.value, "from": unused.origin.to_string()}))
        .collect();
    format!(
        "{}\n",
        json!({
            "profile": trimmed,
            "complete": proposal.is_complete(),
            "runs": proposal.head.runs,
            "notes": notes_json(proposal),
            "lacks": lacks,
            "lines": lines,
            "unused": unused,
            "hidden": hidden_json(hidden),
        })
    )
}
