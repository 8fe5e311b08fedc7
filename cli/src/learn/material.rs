//! What there is to learn from: runs of the command, or saved observations.

use aegis_launch::learning::View;
use aegis_learn::Usage;
use aegis_observation::{Observation, Tier};
use aegis_profile::Loaded;
use anyhow::ensure;

use super::runs::{Input, Run, Seen};
use super::{Explained, say};
use crate::host::observation;
use crate::options::AegisLearn;

/// What there is to learn from.
#[derive(Default)]
pub(super) struct Material {
    pub seen: Vec<Observation>,
    /// All that was seen in runs here.
    pub all: Observation,
    pub usage: Usage,
    /// The reports, where it was run here.
    pub runs: Vec<Seen>,
    /// Whether the last run showed nothing new.
    pub settled: bool,
}

/// Runs the command as often as it is wanted.
pub(super) fn run(options: &AegisLearn, view: &View, input: &Input) -> anyhow::Result<Material> {
    let run = Run::of(options, input);
    let mut material = Material::default();
    for number in 1..=options.runs {
        say(
            options,
            &match options.runs {
                1 => "running the command to see what it does".to_owned(),
                all => format!("run {number} of {all}"),
            },
        );
        let seen = whole(options, &run, &view.profile)?.map_err(Explained)?;
        if number == 1 {
            all_calls(options, &seen.observation)?;
        }
        let is_asked_for = options.observe_by.as_deref() == Some("listener");
        if number == 1 && is_by_listener(&seen.observation) && !is_asked_for {
            let help = match rustix::process::geteuid().is_root() {
                true => "`aegis doctor` says why",
                false => "root starts the service once: aegis observe",
            };
            say(
                options,
                &format!("observed by seccomp (slower, and less is seen): {help}"),
            );
        }
        let before = material.all.things();
        material.all.merge(seen.observation.clone());
        let new = material.all.things() - before;
        if number > 1 {
            say(
                options,
                &match new {
                    0 => format!("run {number}: nothing new"),
                    1 => format!("run {number}: 1 new thing"),
                    new => format!("run {number}: {new} new things"),
                },
            );
        }
        material.settled = number > 1 && new == 0;
        let (used, usage) = (&seen.report.resources, &mut material.usage);
        // Without a group, neither what all processes have used is known, nor would a limit hold of more than address space.
        usage.memory = usage.memory.max(used.memory_peak);
        usage.time = usage.time.max(Some(used.wall_us.div_ceil(1000)));
        usage.interrupted |= seen.interrupted;
        // 0: the listener does not know.
        let tasks = seen.observation.counts.most_tasks;
        usage.tasks = usage.tasks.max((tasks > 0).then_some(tasks));
        material.seen.push(seen.observation.clone());
        material.runs.push(seen);
        if material.usage.interrupted {
            break;
        }
    }
    Ok(material)
}

fn is_by_listener(seen: &Observation) -> bool {
    seen.runs.iter().any(|run| run.tier == Tier::Listener)
}

/// Refuses to list the system calls of what the listener saw, which does not look at all of them.
fn all_calls(options: &AegisLearn, seen: &Observation) -> anyhow::Result<()> {
    ensure!(
        !(options.tight && is_by_listener(seen)),
        "--tight: the command was observed by seccomp, which does not see all system calls\n  help: root observes by probes, and starts the service for others once: aegis observe; or leave --tight out"
    );
    Ok(())
}

/// One run; once more if something of it was seen and lost, where a run changes nothing.
pub(super) fn whole(
    options: &AegisLearn,
    run: &Run<'_>,
    profile: &Loaded,
) -> anyhow::Result<Result<Seen, u8>> {
    let seen = run.under(profile.clone())?;
    let again = |seen: &Seen| {
        seen.observation.losses.lost() > 0
            && !seen.interrupted
            && !options.keep_changes
            && !matches!(run.input, Input::Once)
    };
    match seen {
        Ok(seen) if again(&seen) => {
            let lost = seen.observation.losses.lost();
            say(
                options,
                &format!("{lost} things were seen and lost: running it again"),
            );
            Ok(run.under(profile.clone())?)
        }
        seen => Ok(seen),
    }
}

/// Reads saved observations. What `$WORK` stands for is the directory of the first.
pub(super) fn read(options: &AegisLearn, view: &mut View) -> anyhow::Result<Material> {
    let mut material = Material::default();
    for place in &options.from {
        let seen = observation(place)?;
        all_calls(options, &seen)?;
        material.seen.push(seen);
    }
    let mut runs = material.seen.iter().flat_map(|seen| &seen.runs);
    if let Some(first) = runs.next() {
        view.work = first.directory.as_path().to_owned();
    }
    let tasks = material
        .seen
        .iter()
        .map(|seen| seen.counts.most_tasks)
        .max()
        .filter(|tasks| *tasks > 0);
    material.usage.tasks = tasks;
    Ok(material)
}
