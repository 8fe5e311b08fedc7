//! From observations to a proposal: one step after the other.

use std::collections::BTreeSet;
use std::path::PathBuf;

use aegis_observation::{Observation, Text, Tier};
use aegis_profile::syntax::scalar;
use aegis_profile::{Device, Variable, parse_str};

use crate::evidence::{About, Evidence, Notes, number};
use crate::extends::{Extended, choose};
use crate::headroom::limits;
use crate::line::{Key, Lines, spec};
use crate::needs::Needs;
use crate::proposal::{Head, Proposal};
use crate::rules::Rule;
use crate::surroundings::{Access, Options, Surroundings, Usage};
use crate::{calls, network, programs, reads, writes};

/// The least profile that lets a command do what it was seen to do. Each observation is of one run, or of several that
/// were merged; their order makes no difference.
pub fn propose(
    seen: &[Observation],
    around: &Surroundings<'_>,
    usage: Option<&Usage>,
    options: &Options,
) -> Proposal {
    let mut seen: Vec<&Observation> = seen.iter().collect();
    if seen.len() > 1 {
        seen.sort_by_cached_key(|seen| seen.to_json());
    }
    let around = &around.checked();
    let mut notes = Notes::default();
    let head = head(&seen, options, &mut notes);
    if usage.is_some_and(|usage| usage.interrupted) {
        notes.add(
            About::End,
            "interrupted, so there is no limits.time: a server is to go on until it is ended",
        );
    }
    let mut needs = Needs::of(&seen, around, &mut notes);
    let (extends, cover) = choose(&needs, around);
    for extended in &extends {
        for beyond in &extended.beyond {
            notes.add(About::Beyond, format!("{}: {beyond}", extended.name));
        }
    }
    let made = calls::made(&seen);
    let possible_calls = calls::beyond(&seen, around.host, &mut notes);
    let by_probes = |seen: &&Observation| seen.runs.iter().all(|run| run.tier != Tier::Listener);
    let tight = options.tight && seen.iter().all(by_probes);
    if options.tight && !tight {
        notes.add(
            About::Incomplete,
            "the listener does not see all system calls, so the default set stays".to_owned(),
        );
    }
    let mut lines = Lines::new(around, &mut notes, cover);
    programs::add(&mut lines, &needs);
    writes::add(&mut lines, &mut needs);
    reads::add(&mut lines, &needs);
    writes::told(&mut lines, &needs);
    network::add(&mut lines, &seen, options.network);
    for (path, evidence) in &needs.devices {
        if let Some(device) = Device::of_node(path) {
            lines.device(device, path, evidence.clone());
        }
    }
    for name in &options.pass {
        if !passes(&extends, name) {
            lines.variable(name);
        }
    }
    if tight {
        for call in calls::rounded(&made, around.host) {
            let rule = Rule::EquivalentCalls;
            lines.word(Key::Calls, &call, Evidence::default(), rule, None);
        }
    }
    let (work, cover) = (around.work, &lines.cover);
    let is_there = cover.has(Access::Read, work) || cover.is_on_the_way(work);
    let is_sandboxes = work.parent().is_none() || around.home.starts_with(work);
    // What it asked for relative to its directory cannot be told from the rest; the listener does not see who asks for its name.
    let may_ask = made.contains("getcwd") || !seen.iter().all(by_probes);
    if may_ask && !is_there && !is_sandboxes {
        lines.notes.add(
            About::Place,
            "in /, as it used nothing in the working directory; if it is to begin there: files.read: [$WORK]",
        );
    }
    let lines = lines.done();
    for line in lines.iter().filter(|line| line.key == Key::Write) {
        let is_changed =
            |path: &&PathBuf| path.starts_with(&line.place) && !needs.write.contains_key(*path);
        let executed = needs.programs.keys().map(|ran| &ran.asked);
        if let Some(path) = executed.chain(needs.read.keys()).find(is_changed) {
            let shown = Text::from(path.as_os_str());
            let text = format!(
                "{} may be written, and with it {shown}, which it reads: where its output has a directory of its own before it is learnt, only that is granted",
                line.value
            );
            notes.add(About::Risk, text);
        }
    }
    let name = options.name.clone().filter(|name| is_name(name));
    let run = run(&seen, &needs, around, &mut notes);
    Proposal {
        head,
        name,
        extends,
        run,
        lines,
        tight,
        possible_calls,
        limits: limits(usage, &seen),
        notes: notes.done(),
        observations: seen.len(),
        baseline: None,
    }
}

/// Whether a profile can be called that.
pub fn is_name(name: &str) -> bool {
    let text = format!("aegis: 1\nname: {}\n", scalar(name));
    parse_str(&text, "learnt").is_ok_and(|read| read.name == name)
}

fn head(seen: &[&Observation], options: &Options, notes: &mut Notes) -> Head {
    let mut head = Head {
        date: options.date.clone(),
        ..Head::default()
    };
    for seen in seen {
        for run in &seen.runs {
            let words: Vec<String> = run.command.iter().map(shown).collect();
            head.commands.insert(words.join(" "));
            head.tiers.insert(run.tier);
            head.kernels.insert(run.kernel.clone());
            if run.exit_status.is_some_and(|status| status != 0) {
                let status = run.exit_status.unwrap_or_default();
                notes.add(
                    About::End,
                    format!("with status {status}: what the run did not come to is not seen"),
                );
            }
        }
        head.runs += seen.runs.len();
        head.lost += seen.losses.lost();
        for unobserved in &seen.losses.unobserved {
            notes.add(About::Incomplete, format!("not observed: {unobserved}"));
        }
    }
    if head.lost > 0 {
        let text = format!(
            "{} lost: the profile may lack lines",
            number(head.lost as usize, "event")
        );
        notes.add(About::Incomplete, text);
    }
    head
}

/// A word of a command line, in quotes where a shell would need them.
fn shown(word: &Text) -> String {
    let word = word.to_string();
    let plain = |c: char| c.is_alphanumeric() || "_-./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Whether a built-in profile that is extended passes a variable.
fn passes(extends: &[Extended], name: &str) -> bool {
    let profiles = extends
        .iter()
        .filter_map(|extended| crate::extends::built_in(&extended.name));
    let mut passed = profiles.flat_map(|profile| profile.environment.pass);
    passed.any(|passed| passed.value == name)
}

/// The command, if all runs had the same one and a profile can say it.
fn run(
    seen: &[&Observation],
    needs: &Needs,
    around: &Surroundings<'_>,
    notes: &mut Notes,
) -> Vec<String> {
    let commands = seen
        .iter()
        .flat_map(|seen| &seen.runs)
        .map(|run| &run.command);
    let commands: BTreeSet<&Vec<Text>> = commands.collect();
    let Some(command) = commands.first().filter(|_| commands.len() == 1) else {
        return Vec::new();
    };
    let word = |word: &Text| {
        // A variable at the start of a word would be replaced.
        let plain = word.as_str().filter(|word| !word.starts_with('$'))?;
        Some(of_skill(plain, needs, around).unwrap_or_else(|| plain.to_owned()))
    };
    let words: Option<Vec<String>> = command.iter().map(word).collect();
    let possible = words.filter(|words| {
        let list: Vec<String> = words.iter().map(|word| scalar(word)).collect();
        let text = format!("aegis: 1\nrun: [{}]\n", list.join(", "));
        parse_str(&text, "learnt").is_ok_and(|read| read.run == *words)
    });
    possible.unwrap_or_else(|| {
        notes.add(
            About::Unwritable,
            "the command, as `run`: give it after `--`",
        );
        Vec::new()
    })
}

/// A word that names something of the skill's, which was used, as it can be said wherever the command is started.
fn of_skill(word: &str, needs: &Needs, around: &Surroundings<'_>) -> Option<String> {
    let path = around.work.join(word);
    let path = match path.file_name() {
        Some(name) => around.real(path.parent()?)?.join(name),
        None => around.real(&path)?,
    };
    let executed = needs.programs.keys().any(|ran| ran.asked == path);
    let sets = [&needs.read, &needs.write, &needs.directories];
    let is_used = executed || sets.iter().any(|set| set.contains_key(&path));
    let spec = spec(&path, false, around).filter(|_| is_used)?;
    let base = spec.base.filter(|base| *base == Variable::Skill)?;
    // As a word, without a profile's escapes.
    Some(match spec.rest.is_empty() {
        true => base.to_string(),
        false => format!("{base}/{}", spec.rest),
    })
}
