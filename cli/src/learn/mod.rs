//! `aegis-learn`: runs a command to see what it needs, writes the profile for that, and runs it under the profile.
//!
//! Exit statuses: 0 written and verified; 1 written and not verified, or an older profile lacks something; 125, or 126 and 127 as of
//! `aegis-run`: nothing was written.

mod baseline;
mod material;
mod output;
mod runs;
mod search_path;
mod summary;
mod verify;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aegis_launch::learning::{self, Learning};
use aegis_learn::{Around, Difference, Network, Options, Surroundings, propose};
use aegis_observation::{Observation, Text};
use aegis_profile::{Files, Profile};
use aegis_runtime::facts::DEFAULT_PATH;
use anyhow::Context as _;
use clap::Parser as _;

use crate::host::ThisHost;
use crate::options::AegisLearn;
use crate::terminal::{complain, harmless, print, profile_error};
use output::{can_be_written, how, written};
use runs::Input;
use summary::Learnt;
use verify::Verified;

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
        if let (None, Some(baseline)) = (&old, baseline::place(place)) {
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
        .is_some_and(|name| search_path::is_found(name, &view))
    {
        view.pass(search_path::PATH);
    }
    let input = Input::of_this_process();
    if matches!(input, Input::Once) && options.runs > 1 {
        anyhow::bail!(
            "standard input is a pipe, which can be read once, and --runs wants {}\n  help: give it as a file: < FILE",
            options.runs
        );
    }
    let material = match options.from.is_empty() {
        true => material::run(options, &view, &input)?,
        false => material::read(options, &mut view)?,
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
    pass.extend(search_path::is_needed(&material.seen).then(|| search_path::PATH.to_owned()));
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
        },
    );
    let hidden = summary::hidden(&view, &material.seen);
    if let Some((old, own)) = old {
        let difference = aegis_learn::difference(&material.seen, &proposal, &old.profile, &around);
        return compared(
            options,
            &old.profile,
            own,
            &difference,
            &material.seen,
            &hidden,
        );
    }
    let verified = match options.from.is_empty() && !options.no_verify {
        true => Some(verify::verify(
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

/// Says what an older profile lacks, and what of it no run used. `own`: its text, where it is a file.
fn compared(
    options: &AegisLearn,
    old: &Profile,
    own: Option<String>,
    difference: &Difference,
    seen: &[Observation],
    hidden: &BTreeMap<Text, String>,
) -> anyhow::Result<u8> {
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
            None => aegis_profile::show(&difference.trimmed(old), false),
        };
        written(options, &trimmed)?;
    }
    let text = match options.json {
        true => summary::difference_json(difference, hidden),
        false => summary::difference(difference, seen, hidden),
    };
    match options.trim && options.output.is_none() {
        true => complain(&harmless(&text)),
        false => print(harmless(&text).as_bytes())?,
    }
    // What it was not shown it may need.
    Ok(u8::from(
        !(difference.lacks.is_empty() && hidden.is_empty()),
    ))
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
