//! `aegis-learn`: runs a command to see what it needs, writes the profile for that, and runs it under the profile.
//!
//! Exit statuses: 0 written and verified; 1 written and not verified, or an older profile lacks something; 125 nothing was
//! written.

mod baseline;
mod runs;
mod summary;

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aegis_launch::ObserveBy;
use aegis_launch::learning::{self, Learning, View};
use aegis_learn::{Around, Key, Network, Options, Proposal, Surroundings, Usage, propose};
use aegis_observation::{Observation, Tier};
use aegis_profile::{Files, Loaded, Outbound};
use aegis_runtime::facts::DEFAULT_PATH;
use aegis_sys::files;
use aegis_sys::private::{self, Put};
use anyhow::Context as _;
use clap::Parser as _;

use crate::host::ThisHost;
use crate::options::AegisLearn;
use crate::terminal::{complain, harmless, print, profile_error};
use runs::{Input, Run, Seen};
use summary::{Learnt, Verified};

/// Nothing was written.
const FAILED: u8 = 125;

/// Runs the program: `words` are its arguments, its own name first. Returns the exit status.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    let options = match AegisLearn::try_parse_from(words) {
        Ok(options) => options,
        Err(error) if !error.use_stderr() => {
            return match print(error.render().to_string().as_bytes()) {
                Ok(()) => 0,
                Err(_) => FAILED,
            };
        }
        Err(error) => {
            complain(&error.render().to_string());
            return FAILED;
        }
    };
    let done = match options.rules {
        true => print(summary::rules().as_bytes())
            .map(|()| 0)
            .map_err(Into::into),
        false => learn(&options),
    };
    done.unwrap_or_else(|error| {
        if let Some(Explained(status)) = error.downcast_ref() {
            return *status;
        }
        complain(&match error.downcast_ref() {
            Some(error) => profile_error("aegis-learn", error),
            None => format!("aegis-learn: error: {}\n", harmless(&format!("{error:#}"))),
        });
        FAILED
    })
}

/// An error of a run, which has been printed, with its exit status.
#[derive(Debug, thiserror::Error)]
#[error("the command did not run (status {0})")]
struct Explained(u8);

/// What there is to learn from.
#[derive(Default)]
struct Material {
    seen: Vec<Observation>,
    usage: Usage,
    /// The reports, where it was run here.
    runs: Vec<Seen>,
    /// Runs after which nothing new came.
    settled: bool,
}

fn learn(options: &AegisLearn) -> anyhow::Result<u8> {
    let old = match &options.against {
        Some(reference) => Some((
            aegis_profile::load(reference, &Files)?,
            own_text(reference)?,
        )),
        None => None,
    };
    let place = options.output.as_deref();
    if let Some(place) = place {
        can_be_written(place, options.force)?;
        if let Some(baseline) = baseline::place(place) {
            can_be_written(&baseline, options.force)?;
        }
    }
    let here = std::env::current_dir().context("the working directory")?;
    let skill = place.map(|place| match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => here.join(parent),
        _ => here.clone(),
    });
    let mut view = learning::view(&Learning {
        policy: options.policy.clone(),
        audit: options.audit.clone(),
        skill: skill.clone(),
        show: options.show.clone(),
        network: options.allow_net.is_some(),
        keep: options.keep_changes,
        pass: options.pass.clone(),
    })?;
    if options
        .command
        .first()
        .is_some_and(|name| is_found_by_own_path(name, &view))
    {
        view.pass(PATH);
    }
    let input = Input::of_this_process();
    if matches!(input, Input::Once) && options.runs > 1 {
        anyhow::bail!(
            "standard input is a pipe, which can be read once, and --runs wants {}\n  help: give it as a file: < FILE",
            options.runs
        );
    }
    let material = match options.from.is_empty() {
        true => run(options, &view, &input)?,
        false => read(options, &mut view)?,
    };
    let host = ThisHost::new(Some(&view));
    let path: Vec<PathBuf> = DEFAULT_PATH.split(':').map(PathBuf::from).collect();
    let skill = skill.and_then(|skill| fs::canonicalize(skill).ok());
    let around = Surroundings {
        work: &view.work,
        home: &view.home,
        skill: skill.as_deref(),
        path: &path,
        host: &host,
    };
    let mut pass = options.pass.clone();
    pass.extend(needs_path(&material.seen).then(|| PATH.to_owned()));
    let named = place.and_then(|place| Some(place.file_stem()?.to_str()?.to_owned()));
    let mut proposal = propose(
        &material.seen,
        &around,
        Some(&material.usage),
        &Options {
            tight: options.tight,
            network: match options.allow_net {
                Some(_) => Network::Host,
                None => Network::Closed,
            },
            pass,
            name: options.name.clone().or(named),
            date: today(),
            run: true,
        },
    );
    let hidden = summary::hidden(&view, &material.seen);
    if let Some((old, own)) = old {
        let difference = aegis_learn::difference(&material.seen, &proposal, &old.profile, &around);
        if options.trim {
            let trimmed = match own {
                // With its comments.
                Some(text) if difference.unused.is_empty() => text,
                Some(text) => {
                    let own = aegis_profile::parse_str(
                        &text,
                        options.against.as_deref().unwrap_or_default(),
                    )?;
                    aegis_profile::show(&difference.trimmed(&own), false)
                }
                None => aegis_profile::show(&difference.trimmed(&old.profile), false),
            };
            written(options, &trimmed)?;
        }
        let text = match options.json {
            true => summary::difference_json(&difference, &hidden),
            false => summary::difference(&difference, &material.seen, &hidden),
        };
        match options.trim && options.output.is_none() {
            true => complain(&harmless(&text)),
            false => print(harmless(&text).as_bytes())?,
        }
        // What it was not shown it may need.
        return Ok(u8::from(
            !(difference.lacks.is_empty() && hidden.is_empty()),
        ));
    }
    let verified = match options.from.is_empty() && !options.no_verify {
        true => Some(verify(
            options, &view, &proposal, &material, &around, &input,
        )?),
        false => None,
    };
    proposal.head.verified = verified.as_ref().and_then(Verified::line);
    let ordinary = Around {
        work: around.work,
        home: around.home,
        skill: around.skill,
    };
    let under_it = verified.as_ref().and_then(|verified| verified.seen.clone());
    let all: Vec<Observation> = material.seen.iter().cloned().chain(under_it).collect();
    let baseline = place.and_then(|place| baseline::of(&all, &ordinary, place));
    proposal.baseline = baseline.as_ref().map(|baseline| baseline.named.clone());
    if let Some(baseline) = &baseline {
        baseline.write(how(options))?;
    }
    let text = proposal.to_yaml();
    let learnt = Learnt {
        proposal: &proposal,
        runs: &material.runs,
        settled: material.settled,
        hidden,
        verified: verified.as_ref(),
        place,
        text: &text,
        kept: options.keep_changes,
    };
    match options.json {
        true => {
            if place.is_some() {
                written(options, &text)?;
            }
            print(learnt.json().as_bytes())?;
        }
        false => written(options, &text)?,
    }
    if !options.quiet && !options.json {
        complain(&harmless(&learnt.text()));
    }
    let is_good = verified.as_ref().is_none_or(Verified::is_good) && proposal.is_complete();
    Ok(u8::from(!is_good))
}

/// The text of a profile that is a file.
fn own_text(reference: &str) -> anyhow::Result<Option<String>> {
    if aegis_profile::builtin::text(reference).is_some() {
        return Ok(None);
    }
    let bytes = match reference {
        // It was read to its end when it was loaded.
        "-" => return Ok(None),
        file => aegis_profile::Source::read(&Files, Path::new(file))
            .map_err(|_| anyhow::anyhow!("{file} cannot be read"))?,
    };
    Ok(String::from_utf8(bytes).ok())
}

const PATH: &str = "PATH";

/// The directories of the caller's `PATH` that a sandbox's own has not.
fn own_directories() -> Vec<PathBuf> {
    let path = std::env::var_os(PATH).unwrap_or_default();
    let usual: Vec<&Path> = DEFAULT_PATH.split(':').map(Path::new).collect();
    std::env::split_paths(&path)
        .filter(|directory| !usual.contains(&&**directory))
        .collect()
}

/// Whether a program is found in a directory that only the caller's `PATH` has: because no other has it, or because the
/// caller's comes first and may be executed.
fn is_found_by_own_path(name: &OsString, view: &View) -> bool {
    if name.as_encoded_bytes().contains(&b'/') {
        return false;
    }
    let found = |directory: PathBuf| Some(directory.join(name)).filter(|path| path.is_file());
    let own = own_directories().into_iter().find_map(found);
    let usual = DEFAULT_PATH.split(':').map(PathBuf::from).find_map(found);
    own.is_some_and(|own| usual.is_none() || view.may_execute(&own))
}

/// Whether a program was executed from a directory that only the caller's `PATH` has.
fn needs_path(seen: &[Observation]) -> bool {
    let own = own_directories();
    let mut executed = seen.iter().flat_map(|seen| &seen.executed);
    executed.any(|executed| {
        let directory = executed.asked.as_path().parent();
        own.iter().any(|own| directory == Some(own))
    })
}

/// Runs the command as often as it is wanted.
fn run(options: &AegisLearn, view: &View, input: &Input) -> anyhow::Result<Material> {
    let run = runs_of(options, input);
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
        let by_listener = |run: &aegis_observation::Run| run.tier == Tier::Listener;
        if number == 1 && seen.observation.runs.iter().any(by_listener) {
            say(
                options,
                "observed by seccomp (slower, and less is seen): root starts the service once: aegis observe",
            );
        }
        let new = new_in(&seen.observation, &material.seen);
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
        // 0: the listener does not know.
        let tasks = seen.observation.counts.most_tasks;
        usage.tasks = usage.tasks.max((tasks > 0).then_some(tasks));
        material.seen.push(seen.observation.clone());
        material.runs.push(seen);
    }
    Ok(material)
}

/// One run; once more if something of it was seen and lost, where a run changes nothing.
fn whole(
    options: &AegisLearn,
    run: &Run<'_>,
    profile: &Loaded,
) -> anyhow::Result<Result<Seen, u8>> {
    let seen = run.under(profile.clone())?;
    let again = |seen: &Seen| {
        seen.observation.losses.lost() > 0
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

fn runs_of<'a>(options: &'a AegisLearn, input: &'a Input) -> Run<'a> {
    Run {
        input,
        command: &options.command,
        policy: options.policy.as_deref(),
        audit: options.audit.clone(),
        observe_by: observer(options.observe_by.as_deref()),
        // The profile goes to standard output.
        output: match options.output.is_none() || options.json {
            true => files::inherited(2),
            false => None,
        },
    }
}

fn observer(name: Option<&str>) -> ObserveBy {
    match name {
        Some("probes") => ObserveBy::Probes,
        Some("listener") => ObserveBy::Listener,
        _ => ObserveBy::Auto,
    }
}

/// How many things an observation has that the others have not.
fn new_in(seen: &Observation, others: &[Observation]) -> usize {
    let mut all = Observation::default();
    others.iter().cloned().for_each(|other| all.merge(other));
    let before = size(&all);
    all.merge(seen.clone());
    size(&all) - before
}

fn size(seen: &Observation) -> usize {
    let calls: usize = seen.calls.values().map(|calls| calls.len()).sum();
    calls + seen.executed.len() + seen.opened.len() + seen.named.len() + seen.addresses.len()
}

/// Reads saved observations. What `$WORK` stands for is the directory of the first.
fn read(options: &AegisLearn, view: &mut View) -> anyhow::Result<Material> {
    let mut material = Material::default();
    for place in &options.from {
        let name = place.display();
        let file = files::open_regular(place).with_context(|| format!("{name} cannot be read"))?;
        let mut bytes = Vec::new();
        file.take(aegis_observation::LONGEST + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("{name} cannot be read"))?;
        if bytes.len() as u64 > aegis_observation::LONGEST {
            anyhow::bail!("{name} is longer than 256 MiB: it is no saved observation");
        }
        let seen = Observation::from_json(&bytes).with_context(|| {
            format!("{name} is no observation that `aegis-run --record` or `aegis-learn` has saved")
        })?;
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

/// Runs the command once more, under the profile. What it writes stays in memory, unless changes are kept.
fn verify(
    options: &AegisLearn,
    view: &View,
    proposal: &Proposal,
    material: &Material,
    around: &Surroundings<'_>,
    input: &Input,
) -> anyhow::Result<Verified> {
    let untried = match input {
        _ if material.runs.iter().any(|run| run.interrupted) => {
            Some("it was interrupted: try the profile yourself")
        }
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
        let inside_tmp = |item: &aegis_profile::Declared<aegis_profile::PathSpec>| {
            item.value.base == Some(aegis_profile::Variable::Tmp)
        };
        granted
            .files_overlay
            .extend(written.into_iter().filter(|item| !inside_tmp(item)));
    }
    say(options, "running it again under the profile");
    let profile_of_run = Loaded {
        profile: confined,
        skill_dir: view.profile.skill_dir.clone(),
    };
    let run = whole(options, &runs_of(options, input), &profile_of_run)?;
    let seen = match run {
        Ok(seen) => seen,
        Err(status) => return Ok(Verified::did_not_start(status)),
    };
    let mut learnt = Observation::default();
    material
        .seen
        .iter()
        .cloned()
        .for_each(|seen| learnt.merge(seen));
    let mut outside = aegis_learn::outside_baseline(&seen.observation, &learnt, &profile, around);
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
        missing: summary::missing(&learnt, &seen.observation, view),
        lost: seen.observation.losses.lost(),
        seen: Some(seen.observation),
    })
}

/// Writes the profile, or prints it.
fn written(options: &AegisLearn, text: &str) -> anyhow::Result<()> {
    let Some(place) = &options.output else {
        return Ok(print(text.as_bytes())?);
    };
    let how = how(options);
    let (directory, name) = directory_and_name(place)?;
    let put = private::put_public(&directory, name, text.as_bytes(), how)
        .with_context(|| format!("{} cannot be written", place.display()))?;
    anyhow::ensure!(
        put,
        "{} has appeared meanwhile, and was left alone",
        place.display()
    );
    Ok(())
}

fn how(options: &AegisLearn) -> Put {
    match options.force {
        true => Put::Replace,
        false => Put::New,
    }
}

fn can_be_written(place: &Path, force: bool) -> anyhow::Result<()> {
    let (directory, name) = directory_and_name(place)?;
    if !force && fs::symlink_metadata(place).is_ok() {
        anyhow::bail!(
            "{} is there already\n  help: --force replaces it; --against {} says what is between it and what the command does",
            place.display(),
            place.display()
        );
    }
    private::can_put(&directory, name)
        .with_context(|| format!("{} cannot be written", place.display()))
}

fn directory_and_name(place: &Path) -> anyhow::Result<(std::os::fd::OwnedFd, &std::ffi::OsStr)> {
    let name = place
        .file_name()
        .with_context(|| format!("{} is not the name of a file", place.display()))?;
    let parent = place
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = aegis_sys::walk::directory(parent.unwrap_or(Path::new(".")), false);
    let directory = directory.with_context(|| format!("{} cannot be written", place.display()))?;
    Ok((directory, name))
}

/// One line of progress.
fn say(options: &AegisLearn, text: &str) {
    if !options.quiet {
        complain(&format!("aegis-learn: {text}\n"));
    }
}

/// The date, in UTC.
fn today() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}
