//! The run under the profile that was made: whether it went as those that were learnt from.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use aegis_launch::learning::View;
use aegis_learn::{Key, Missing, Outside, Proposal, Surroundings, missing};
use aegis_observation::Observation;
use aegis_profile::{Declared, Loaded, Outbound, PathSpec, Variable};

use super::material::{Material, whole};
use super::runs::{Input, Run};
use super::summary::list;
use super::{say, today};
use crate::options::AegisLearn;

/// Why a run says nothing of the profile.
const INTERRUPTED: &str = "it was interrupted: try the profile yourself";

/// How the run under the profile went.
#[derive(Debug)]
pub(super) struct Verified {
    pub date: String,
    /// Why it was not run again.
    pub untried: Option<&'static str>,
    /// Whether the command started.
    pub started: bool,
    pub status: u8,
    /// With what the runs ended that were learnt from.
    pub expected: BTreeSet<u8>,
    /// What it did that the profile does not grant.
    pub outside: Vec<Outside>,
    /// What it could do before, and not any more.
    pub missing: BTreeSet<Missing>,
    pub lost: u64,
    /// Whether it began in another directory: nothing in the working directory is granted.
    pub elsewhere: bool,
    /// What it did.
    pub seen: Option<Observation>,
}

impl Verified {
    /// The command was not run again.
    pub fn not_tried(why: &'static str) -> Self {
        Self {
            untried: Some(why),
            ..Self::did_not_start(0)
        }
    }

    /// The command could not be started under the profile, which has been explained.
    pub fn did_not_start(status: u8) -> Self {
        Self {
            date: String::new(),
            untried: None,
            started: false,
            status,
            expected: BTreeSet::new(),
            outside: Vec::new(),
            missing: BTreeSet::new(),
            lost: 0,
            elsewhere: false,
            seen: None,
        }
    }

    pub fn is_good(&self) -> bool {
        self.started
            && self.expected.contains(&self.status)
            && self.outside.is_empty()
            && self.missing.is_empty()
            && self.lost == 0
    }

    /// For the head of the profile.
    pub fn line(&self) -> Option<String> {
        self.is_good().then(|| {
            format!(
                "on {}: the command ran under this profile with status {} as before, and did nothing outside of it",
                self.date, self.status
            )
        })
    }

    pub fn text(&self) -> String {
        if self.is_good() {
            return format!(
                "verified: it ran under the profile with status {}, as before, and did nothing outside of it\n",
                self.status
            );
        }
        let mut out = String::from("NOT verified: ");
        if let Some(why) = self.untried {
            let _ = writeln!(out, "{why}");
            return out;
        }
        match (self.started, self.expected.contains(&self.status)) {
            (false, _) => out += "under the profile the command did not start\n",
            (true, false) => {
                let before: Vec<String> = self.expected.iter().map(u8::to_string).collect();
                let _ = writeln!(
                    out,
                    "under the profile it ended with status {}, before with {}",
                    self.status,
                    before.join(", ")
                );
            }
            (true, true) => out += "the run under the profile was another one\n",
        }
        let missing = self.missing.iter().map(|missing| {
            format!(
                "{} {} failed ({})",
                missing.call, missing.path, missing.error
            )
        });
        list(&mut out, "  ", missing);
        list(
            &mut out,
            "  outside: ",
            self.outside.iter().map(Outside::to_string),
        );
        if self.elsewhere {
            out += "  it began in /, as the profile grants nothing in the working directory; to have it begin there: files.read: [$WORK]\n";
        }
        if self.lost > 0 {
            let _ = writeln!(out, "  {} things of it were seen and lost", self.lost);
        }
        out
    }
}

/// What is written there stays in memory. An overlay is of one file system: where others are mounted in the place, it was learnt from
/// several, and so they are.
fn in_memory(item: Declared<PathSpec>, view: &View) -> Vec<Declared<PathSpec>> {
    let top = match item.value.base {
        Some(Variable::Tmp) => return Vec::new(),
        Some(Variable::Work) => Some(view.work.clone()),
        Some(Variable::Home) => Some(view.home.clone()),
        Some(Variable::Skill) => view.profile.skill_dir.clone(),
        None => Some(PathBuf::from("/")),
    };
    let Some(place) = top.map(|top| top.join(&item.value.rest)) else {
        return vec![item];
    };
    let learnt = &view.profile.profile.capabilities.files_overlay;
    let is_inside = |part: &&Declared<PathSpec>| {
        let part = Path::new("/").join(&part.value.rest);
        part != place && part.starts_with(&place)
    };
    let inside: Vec<_> = learnt.iter().filter(is_inside).cloned().collect();
    match inside.is_empty() {
        true => vec![item],
        false => inside,
    }
}

/// Runs the command once more, under the profile. What it writes stays in memory, unless changes are kept.
pub(super) fn verify(
    options: &AegisLearn,
    view: &View,
    proposal: &Proposal,
    material: &Material,
    around: &Surroundings<'_>,
    input: &Input,
) -> anyhow::Result<Verified> {
    let untried = match input {
        _ if material.usage.interrupted => Some(INTERRUPTED),
        Input::Once => Some(
            "standard input is a pipe, which can be read once: give it as a file (< FILE), or try the profile yourself",
        ),
        _ => None,
    };
    if let Some(why) = untried {
        return Ok(Verified::not_tried(why));
    }
    let profile = proposal.profile()?;
    let mut confined = profile.clone();
    if !options.keep_changes {
        let granted = &mut confined.capabilities;
        let written = std::mem::take(&mut granted.files_write);
        for item in written {
            granted.files_overlay.extend(in_memory(item, view));
        }
    }
    say(options, "running it again under the profile");
    let profile_of_run = Loaded {
        profile: confined,
        skill_dir: view.profile.skill_dir.clone(),
    };
    let mut run = Run::of(options, input);
    if !proposal.run.is_empty() {
        // As the profile has it.
        run.command = &[];
    }
    let run = whole(options, &run, &profile_of_run)?;
    let seen = match run {
        Ok(seen) if seen.interrupted => return Ok(Verified::not_tried(INTERRUPTED)),
        Ok(seen) => seen,
        Err(status) => return Ok(Verified::did_not_start(status)),
    };
    let mut outside =
        aegis_learn::outside_beyond(&seen.observation, &material.all, &profile, around);
    let closed = !matches!(profile.capabilities.net_outbound, Outbound::Host(_));
    outside.retain(|outside| match outside.key {
        // In the home directory, what no grant covers is the sandbox's own.
        Key::Read => !outside.what.as_path().starts_with(around.home),
        // Nothing was reached.
        Key::Outbound => !closed,
        _ => true,
    });
    Ok(Verified {
        date: today(),
        untried: None,
        started: true,
        status: seen.report.exit_status,
        expected: material
            .runs
            .iter()
            .map(|run| run.report.exit_status)
            .collect(),
        outside,
        missing: missing(&material.all, &seen.observation, around),
        lost: seen.observation.losses.lost(),
        elsewhere: {
            let began = |seen: &Observation| seen.runs.first().map(|run| run.directory.clone());
            began(&seen.observation) != began(&material.all)
        },
        seen: Some(seen.observation),
    })
}
