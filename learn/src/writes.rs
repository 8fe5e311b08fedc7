//! From what was written, made, renamed and removed to `files.write`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aegis_observation::Text;

use crate::evidence::{About, Did, Evidence};
use crate::line::Lines;
use crate::needs::Needs;
use crate::places;
use crate::rules::Rule;
use crate::surroundings::Access::{Read, Write};
use crate::surroundings::Surroundings;

/// How many directories beside each other stand for their parent.
const SEVERAL: usize = 3;

/// Adds the lines. What is covered already needs none.
pub(crate) fn add(lines: &mut Lines<'_, '_>, needs: &mut Needs) {
    let mut directories: BTreeMap<PathBuf, Evidence> = BTreeMap::new();
    for (path, evidence) in &needs.write {
        if lines.cover.has(Write, path) || places::byte_code(path) {
            continue;
        }
        let shown = Text::from(path.as_os_str());
        if let Some(why) = lines.around.host.refused(Write, path) {
            let text = format!("writing {shown} ({why})");
            lines.notes.add(About::NotGranted, text);
            continue;
        }
        let Some(directory) = existing(lines.around, path, evidence) else {
            continue;
        };
        let is_new = lines.around.host.look(path).is_none();
        if is_private(lines.around, path, evidence) {
            needs
                .gone
                .entry(path.clone())
                .or_default()
                .add(evidence.clone());
        } else if lines.is_tree(Write, &directory) {
            directories
                .entry(directory)
                .or_default()
                .add(evidence.clone());
        } else if !is_new && !lines.around.is_directory(path) {
            lines.path(Write, path, evidence.clone(), Rule::SingleFiles);
        } else {
            let at = Text::from(directory.as_os_str());
            let text = format!(
                "writing {shown}: {at} is too much to grant; have it written in $WORK or $TMP"
            );
            lines.notes.add(About::NotGranted, text);
        }
    }
    beside(lines, &mut directories);
    for (directory, evidence) in directories {
        lines.path(Write, &directory, evidence, Rule::Written);
    }
    // The host's cache beside what is written would be read-only.
    let read = std::mem::take(&mut needs.read);
    let home = lines.around.home;
    let kept = read
        .into_iter()
        .filter(|(path, _)| !needs.is_own_cache(path, home) && !needs.gone.contains_key(path));
    needs.read = kept.collect();
}

/// Whether what is written is in the sandbox's own home: a cache, or new in the home itself.
pub(crate) fn is_private(around: &Surroundings<'_>, path: &Path, evidence: &Evidence) -> bool {
    let home = around.home;
    let is_new = || {
        let directory = existing(around, path, evidence);
        let in_home = |at: PathBuf| at.starts_with(home) && places::broad(&at, home);
        // `~/.config` that is there is made anew in a home that is empty.
        let there = around.host.look(path).is_some() && !places::broad(path, home);
        !there && directory.is_some_and(in_home)
    };
    around.own_directory(path).is_none() && (places::cache(path, home).is_some() || is_new())
}

/// The directory to grant: the nearest that was there before.
fn existing(around: &Surroundings<'_>, path: &Path, evidence: &Evidence) -> Option<PathBuf> {
    // A change of a directory's attributes is a change of itself; all else changes the one that it is in.
    let changed = evidence.is_only(Did::Changed);
    let mut above = path.ancestors().skip(usize::from(!changed));
    above.find(|at| around.is_directory(at)).map(Path::to_owned)
}

/// Directories beside each other stand for their parent.
fn beside(lines: &Lines<'_, '_>, directories: &mut BTreeMap<PathBuf, Evidence>) {
    let mut of_parent: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in directories.keys() {
        if let Some(parent) = path.parent() {
            of_parent
                .entry(parent.into())
                .or_default()
                .push(path.clone());
        }
    }
    for (parent, children) in of_parent.into_iter().rev() {
        if children.len() >= SEVERAL && lines.is_tree(Write, &parent) {
            let mut evidence = Evidence::default();
            for child in children {
                evidence.add(directories.remove(&child).unwrap_or_default());
            }
            directories.entry(parent).or_default().add(evidence);
        }
    }
}

/// Says what is gone after the run: the directory, and how much.
pub(crate) fn told(lines: &mut Lines<'_, '_>, needs: &Needs) {
    let home = lines.around.home;
    let mut of_place: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for path in needs.gone.keys() {
        let is_top = |above: &&Path| {
            let parent = above.parent();
            let in_home = parent == Some(home) || parent == Some(&home.join(".cache"));
            in_home
                || *above == Path::new("/tmp")
                || *above == Path::new("/dev/shm")
                || *above == Path::new("/var/tmp")
        };
        if let Some(top) = path.ancestors().find(is_top) {
            *of_place.entry(top.into()).or_default() += 1;
        }
    }
    for (place, number) in of_place {
        let shown = Text::from(place.as_os_str());
        let entries = match number {
            1 => "1 entry".to_owned(),
            more => format!("{more} entries"),
        };
        let in_home = place.starts_with(home);
        // The sandbox makes these, and what is not granted in them cannot be written.
        if in_home && lines.cover.is_on_the_way(&place) {
            let text = format!(
                "writing in {shown} ({entries}), which is read-only around what is granted in it"
            );
            lines.notes.add(About::NotGranted, text);
            continue;
        }
        let keep = match in_home && lines.is_tree(Read, &place) {
            true => "; to keep them, grant it below `files.write`",
            false => "",
        };
        let text = format!("{shown}: {entries}{keep}");
        lines.notes.add(About::Gone, text);
    }
}
