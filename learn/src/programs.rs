//! From what was executed to `shell.exec`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use aegis_observation::Text;

use crate::evidence::{About, Did, Evidence};
use crate::line::Lines;
use crate::needs::{Needs, Paths, Ran};
use crate::places;
use crate::rules::Rule;
use crate::surroundings::Access::Execute;

/// Adds the lines. What is covered already needs none.
pub(crate) fn add(lines: &mut Lines<'_, '_>, needs: &Needs) {
    for (ran, evidence) in &needs.programs {
        program(
            lines,
            &ran.asked,
            evidence.clone(),
            &needs.write,
            Rule::ByName,
        );
        if let Some(interpreter) = interpreter(lines, ran) {
            let mut of_it = Evidence::of(Did::Interpreted, &ran.asked, 0);
            of_it.runs = evidence.runs.clone();
            program(lines, &interpreter, of_it, &needs.write, Rule::Scripts);
        }
    }
    for (path, evidence) in &needs.libraries {
        library(lines, path, evidence.clone());
    }
}

/// A library, with the packages that it is one of.
fn library(lines: &mut Lines<'_, '_>, path: &Path, evidence: Evidence) {
    let around = lines.around;
    if lines.cover.has(Execute, path) {
        return;
    }
    if around.host.look(path).is_none() {
        return made(lines, path, evidence);
    }
    let packages = places::package_directory(path, around.home);
    match packages.filter(|tree| lines.is_tree(Execute, tree)) {
        Some(tree) => lines.path(Execute, &tree, evidence, Rule::Libraries),
        None => lines.path(Execute, path, evidence, Rule::Libraries),
    }
}

/// The interpreter of a script, as its first line names it where that is known.
fn interpreter(lines: &Lines<'_, '_>, ran: &Ran) -> Option<PathBuf> {
    let fact = lines.around.host.look(&ran.asked);
    match fact {
        Some(fact) => {
            let named = fact.interpreter.map(|path| lines.around.merged(&path));
            // Where the file leads is no interpreter.
            (fact.real != ran.path).then(|| named.unwrap_or(ran.path.clone()))
        }
        // Made by the run.
        None => (ran.asked != ran.path).then(|| ran.path.clone()),
    }
}

fn program(
    lines: &mut Lines<'_, '_>,
    path: &Path,
    evidence: Evidence,
    written: &Paths,
    rule: Rule,
) {
    if lines.cover.has(Execute, path) {
        return;
    }
    let shown = Text::from(path.as_os_str());
    if let Some(why) = lines.around.host.refused(Execute, path) {
        lines
            .notes
            .add(About::Secret, format!("executing {shown} ({why})"));
        return;
    }
    // What was written, and is there now, was not or will be another one.
    let fact = lines
        .around
        .host
        .look(path)
        .filter(|_| !written.contains_key(path));
    let Some(fact) = fact else {
        return made(lines, path, evidence);
    };
    let by_name = path.file_name().and_then(OsStr::to_str).filter(|name| {
        let found = lines.around.look_up(name);
        // A directory of PATH may be another's name, as /bin is of /usr/bin.
        found.is_some_and(|(there, found)| {
            (there == path || found.real == fact.real) && !in_own(lines, &there)
        })
    });
    if let Some(name) = by_name
        && lines.named_program(name, path, evidence.clone())
    {
        return;
    }
    let helpers = places::system_package(path).map(|(tree, _)| tree);
    let packages = places::package_directory(path, lines.around.home);
    let trees = [(packages, Rule::Packages), (helpers, Rule::Helpers)];
    for (tree, rule) in trees {
        if let Some(tree) = tree.filter(|tree| lines.is_tree(Execute, tree)) {
            return lines.path(Execute, &tree, evidence, rule);
        }
    }
    lines.path(Execute, path, evidence, rule);
}

fn in_own(lines: &Lines<'_, '_>, path: &Path) -> bool {
    lines.around.own_directory(path).is_some() || path.starts_with(lines.around.home)
}

/// A program that is not there without the run.
fn made(lines: &mut Lines<'_, '_>, path: &Path, evidence: Evidence) {
    let around = lines.around;
    if around.own_directory(path).is_none() && places::temporary(path) {
        let shown = Text::from(path.as_os_str());
        if !path.starts_with("/tmp") {
            let text = format!("executing {shown}: only $TMP can be executable");
            return lines.notes.add(About::NotGranted, text);
        }
        return lines.own_tmp(evidence);
    }
    let directory = path
        .ancestors()
        .skip(1)
        .find(|above| around.is_directory(above));
    match directory {
        Some(directory) if lines.is_tree(Execute, directory) => {
            lines.path(Execute, directory, evidence, Rule::MadePrograms);
        }
        _ => {
            let shown = Text::from(path.as_os_str());
            let text =
                format!("executing {shown}, which the run made where nothing can be granted");
            lines.notes.add(About::NotGranted, text);
        }
    }
}
