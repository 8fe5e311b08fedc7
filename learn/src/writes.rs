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
        let Some(directory) = existing(lines, path, evidence) else {
            continue;
        };
        let home = lines.around.home;
        let own = lines.around.own_directory(path).is_some();
        let private = directory == home || places::cache(path, home);
        if !own && path.starts_with(home) && private {
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
        } else if lines.around.host.look(path).is_some() && !lines.around.is_directory(path) {
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
        .filter(|(path, _)| !needs.is_own_cache(path, home));
    needs.read = kept.collect();
    told(lines, needs);
}

/// The directory to grant: the nearest that was there before.
fn existing(lines: &Lines<'_, '_>, path: &Path, evidence: &Evidence) -> Option<PathBuf> {
    // A change of a directory's attributes is a change of itself; all else changes the one that it is in.
    let changed = evidence.is_only(Did::Changed);
    let mut above = path.ancestors().skip(usize::from(!changed));
    above
        .find(|at| lines.around.is_directory(at))
        .map(Path::to_owned)
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
fn told(lines: &mut Lines<'_, '_>, needs: &Needs) {
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
        let keep = match place.starts_with(home) && lines.is_tree(Read, &place) {
            true => "; to keep them, grant it below `files.write`",
            false => "",
        };
        lines
            .notes
            .add(About::Gone, format!("{shown}: {entries}{keep}"));
    }
}
