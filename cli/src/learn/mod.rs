//! `aegis-learn`: runs a command to see what it needs, writes the profile for that, and runs it under the profile.
//!
//! Exit statuses: 0 written and verified, or not to be; 1 written and not verified, or an older profile lacks something; 125, or 126,
//! 127 and 128+n as of `aegis-run`: nothing was written.

mod material;
mod output;
mod runs;
mod search_path;
mod summary;
mod verify;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aegis_launch::learning::{self, Hidden, Learning, View};
use aegis_learn::{
    Baseline, Difference, Network, Options, Proposal, Surroundings, Variables, propose,
};
use aegis_observation::Observation;
use aegis_profile::{BaselineFile, Files, Hash, Profile};
use aegis_runtime::facts::DEFAULT_PATH;
use anyhow::{anyhow, bail};
use clap::Parser as _;

use crate::host::ThisHost;
use crate::options::AegisLearn;
use crate::terminal::{complain, failure, harmless, print};
use material::Material;
use output::Destination;
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
        complain(&failure("aegis-learn", &error));
        FAILED
    })
}

/// An error of a run, which has been printed, with its exit status.
#[derive(Debug, thiserror::Error)]
#[error("the command did not run (status {0})")]
struct Explained(u8);

fn learn(options: &AegisLearn) -> anyhow::Result<u8> {
    let old = options.against.as_deref().map(Older::read).transpose()?;
    if let (Some(_), false, Some(place)) = (&old, options.trim, &options.output) {
        bail!(
            "--against writes no profile\n  help: --trim writes the older one, without what no run used, to {}; or leave -o out",
            place.display()
        );
    }
    if options.tight && options.observe_by.as_deref() == Some("listener") {
        bail!(
            "--tight needs all system calls, and the listener does not see them\n  help: --observe-by probes"
        );
    }
    if let Some(name) = options
        .name
        .as_deref()
        .filter(|name| !aegis_learn::is_name(name))
    {
        bail!(
            "--name {name}: a profile cannot be called that\n  help: take letters, digits and `-`"
        );
    }
    let unset = |name: &&String| std::env::var_os(name).is_none();
    if options.from.is_empty()
        && let Some(name) = options.pass.iter().find(unset)
    {
        bail!("--pass {name}: there is no such variable here\n  help: set it, or leave it out");
    }
    let destination = Destination::open(options, old.is_none())?;
    let here = std::env::current_dir().map_err(|error| {
        anyhow!("the working directory: {error}\n  help: go to one that is there")
    })?;
    let skill = destination.place.map(|place| match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => here.join(parent),
        _ => here.clone(),
    });
    let mut view = view(options, skill.clone())?;
    let input = Input::of_this_process();
    if matches!(input, Input::Once) && options.runs > 1 {
        bail!(
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
    let mut proposal = proposed(options, &material, &around, destination.place);
    let hidden = view.missed(&material.seen);
    if let Some(old) = old {
        let difference = aegis_learn::difference(&material.seen, &proposal, &old.profile, &around);
        return old.compared(
            options,
            &destination,
            &difference,
            &proposal,
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
    let baseline = destination.baseline().map(|name| {
        let under_it = verified.as_ref().and_then(|verified| verified.seen.clone());
        let all: Vec<Observation> = material.seen.iter().cloned().chain(under_it).collect();
        let json = Baseline::of(&all, &Variables::of(&around)).to_json();
        proposal.baseline = Some(BaselineFile {
            file: name.to_owned(),
            hash: Hash::of(json.as_bytes()).to_string(),
        });
        json
    });
    let text = proposal.to_yaml();
    let learnt = Learnt {
        proposal: &proposal,
        runs: &material.runs,
        settled: material.settled,
        hidden,
        verified: verified.as_ref(),
        place: destination.place,
        text: &text,
        kept: options.keep_changes.then_some(&*view.work),
    };
    if !(options.json && destination.is_standard_output()) {
        destination.write(&text, baseline.as_deref())?;
    }
    if options.json {
        print(learnt.json().as_bytes())?;
    } else if !options.quiet {
        complain(&harmless(&learnt.text()));
    }
    let is_good = verified.as_ref().is_none_or(Verified::is_good) && proposal.head.lost == 0;
    Ok(u8::from(!is_good))
}

/// What the command is shown.
fn view(options: &AegisLearn, skill: Option<PathBuf>) -> anyhow::Result<View> {
    let mut view = learning::view(&Learning {
        policy: options.policy.clone(),
        audit: options.audit.clone(),
        skill,
        show: options.show.clone(),
        network: options.allow_net.is_some(),
        keep: options.keep_changes,
        pass: options.pass.clone(),
    })?;
    let command = options.command.first();
    if command.is_some_and(|name| search_path::is_found(name, &view)) {
        view.pass(search_path::PATH);
    }
    Ok(view)
}

/// The profile for what was seen.
fn proposed(
    options: &AegisLearn,
    material: &Material,
    around: &Surroundings<'_>,
    place: Option<&Path>,
) -> Proposal {
    let mut pass = options.pass.clone();
    pass.extend(search_path::is_needed(&material.seen).then(|| search_path::PATH.to_owned()));
    let named = place.and_then(|place| Some(place.file_stem()?.to_str()?.to_owned()));
    let wanted = Options {
        tight: options.tight,
        network: match options.allow_net {
            Some(_) => Network::Host,
            None => Network::Closed,
        },
        pass,
        name: options.name.clone().or(named),
        date: today(),
    };
    propose(&material.seen, around, Some(&material.usage), &wanted)
}

/// An older profile, which what was seen is held against.
struct Older<'o> {
    reference: &'o str,
    /// Merged with what it extends.
    profile: Profile,
    /// Its own text. `None`: it came from standard input, which was read to its end.
    text: Option<String>,
}

impl<'o> Older<'o> {
    fn read(reference: &'o str) -> anyhow::Result<Self> {
        let profile = aegis_profile::load(reference, &Files)?.profile;
        let text = match (reference, aegis_profile::builtin::text(reference)) {
            ("-", _) => None,
            (_, Some(text)) => Some(text.to_owned()),
            (file, None) => {
                let bytes = aegis_profile::Source::read(&Files, Path::new(file));
                let bytes = bytes.map_err(|error| anyhow!("{file} cannot be read: {error}"))?;
                String::from_utf8(bytes).ok()
            }
        };
        Ok(Self {
            reference,
            profile,
            text,
        })
    }

    /// The profile without what no run used.
    fn trimmed(&self, difference: &Difference) -> anyhow::Result<String> {
        Ok(match &self.text {
            // With its comments.
            Some(text) if difference.unused.is_empty() => text.clone(),
            Some(text) => {
                let own = aegis_profile::parse_str(text, self.reference)?;
                aegis_profile::show(&difference.trimmed(&own), false)
            }
            None => aegis_profile::show(&difference.trimmed(&self.profile), false),
        })
    }

    /// Says what it lacks, and what of it no run used.
    fn compared(
        &self,
        options: &AegisLearn,
        destination: &Destination<'_>,
        difference: &Difference,
        proposal: &Proposal,
        seen: &[Observation],
        hidden: &[Hidden],
    ) -> anyhow::Result<u8> {
        let trimmed = match options.trim {
            true => Some(self.trimmed(difference)?),
            false => None,
        };
        let to_file = |_: &&String| !(options.json && destination.is_standard_output());
        if let Some(trimmed) = trimmed.as_ref().filter(to_file) {
            destination.write(trimmed, None)?;
        }
        if options.json {
            let json = summary::difference_json(difference, proposal, hidden, trimmed.as_deref());
            print(json.as_bytes())?;
        } else {
            let text = harmless(&summary::difference(difference, seen, hidden));
            match options.trim && destination.is_standard_output() {
                true => complain(&text),
                false => print(text.as_bytes())?,
            }
        }
        // What it was not shown it may need.
        Ok(u8::from(
            !(difference.lacks.is_empty() && hidden.is_empty()),
        ))
    }
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
