//! From files that were read and directories that were listed to `files.read`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aegis_observation::Text;

use crate::evidence::{About, Did, Evidence};
use crate::line::Lines;
use crate::needs::{Needs, Paths};
use crate::places;
use crate::rules::Rule;
use crate::surroundings::Access::Read;

/// How many files of a directory stand for it.
const SEVERAL: usize = 3;

/// How many files a directory may have, whatever was read of it.
const FEW: usize = 16;

/// How many files stand for their directory, whatever else it has.
const MANY: usize = 64;

/// Adds the lines. What is covered already needs none.
pub(crate) fn add(lines: &mut Lines<'_, '_>, needs: &Needs) {
    let mut wanted: Paths = Paths::new();
    for (path, evidence) in &needs.read {
        if lines.cover.has(Read, path) {
            continue;
        }
        let shown = Text::from(path.as_os_str());
        if let Some(why) = lines.around.host.refused(Read, path) {
            lines.notes.add(About::Secret, format!("{shown} ({why})"));
        } else if evidence.is_only(Did::LookedAt) && lines.around.is_program(path) {
            let text = format!("{shown}, a program that was looked for and not executed");
            lines.notes.add(About::NotGranted, text);
        } else {
            wanted.insert(path.clone(), evidence.clone());
        }
    }
    own_directories(lines, &mut wanted, &needs.directories);
    let mut files = trees(lines, wanted);
    several(lines, &mut files);
    let listed = listed(lines, &needs.directories, &files);
    for (path, evidence) in files {
        if !listed.iter().any(|directory| path.starts_with(directory)) {
            lines.path(Read, &path, evidence, Rule::SingleFiles);
        }
    }
}

/// The directory that has all of some paths: one path itself, if it is a directory.
fn common<'p>(mut paths: impl Iterator<Item = &'p Path>) -> Option<PathBuf> {
    let first = paths.next()?.to_owned();
    Some(paths.fold(first, |common, path| {
        let above = common.ancestors().find(|above| path.starts_with(above));
        above.unwrap_or(Path::new("/")).to_owned()
    }))
}

/// What lies in `$WORK` and `$SKILL`.
fn own_directories(lines: &mut Lines<'_, '_>, wanted: &mut Paths, directories: &Paths) {
    let around = lines.around;
    let mut groups: BTreeMap<PathBuf, Paths> = BTreeMap::new();
    let own = |path: &Path| {
        let own = around.own_directory(path)?;
        let rest = path.strip_prefix(own).ok()?;
        let parts: Vec<_> = rest.components().take(2).collect();
        Some((own, parts.first().map(|part| own.join(part)), parts.len()))
    };
    let mut entries: BTreeMap<&Path, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut whole: BTreeSet<&Path> = BTreeSet::new();
    for path in wanted.keys() {
        match own(path) {
            Some((own, _, 1)) => drop(whole.insert(own)),
            Some((own, entry, _)) => entries.entry(own).or_default().extend(entry),
            None => {}
        }
    }
    for (path, evidence) in directories {
        match own(path) {
            Some((own, _, 0)) if evidence.has(Did::Listed) => drop(whole.insert(own)),
            _ => {}
        }
    }
    let several = entries
        .into_iter()
        .filter(|(_, entries)| entries.len() >= SEVERAL);
    whole.extend(several.map(|(own, _)| own));
    whole.retain(|own| lines.is_tree(Read, own));
    let all = wanted
        .iter()
        .map(|(path, evidence)| (path, evidence, false));
    let entered = directories
        .iter()
        .map(|(path, evidence)| (path, evidence, true));
    for (path, evidence, is_directory) in all.chain(entered) {
        let Some((own, entry, depth)) = own(path) else {
            continue;
        };
        if lines.cover.has(Read, path) || (is_directory && depth == 0 && !evidence.has(Did::Listed))
        {
            continue;
        }
        let group = match (whole.contains(own), entry) {
            (true, _) => own.to_owned(),
            (false, Some(entry)) if depth > 1 || is_directory => entry,
            _ => continue,
        };
        let group = groups.entry(group).or_default();
        group.entry(path.clone()).or_default().add(evidence.clone());
    }
    for (group, paths) in groups {
        let is_file = |path: &Path| directories.get(path).is_none();
        let holding = paths.keys().map(|path| match is_file(path) {
            true => path.parent().unwrap_or(path),
            false => path.as_path(),
        });
        let directory = match whole.contains(group.as_path()) {
            true => group,
            false => match common(holding) {
                Some(directory) if lines.is_tree(Read, &directory) => directory,
                _ => continue,
            },
        };
        let mut evidence = Evidence::default();
        for (path, of_path) in paths {
            wanted.remove(&path);
            evidence.add(of_path);
        }
        lines.path(Read, &directory, evidence, Rule::Work);
    }
}

/// Trees that rules name. What is left are files.
fn trees(lines: &mut Lines<'_, '_>, wanted: Paths) -> Paths {
    let mut of_package: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for (package, _) in wanted
        .keys()
        .filter_map(|path| places::system_package(path))
    {
        *of_package.entry(package).or_default() += 1;
    }
    let home = lines.around.home;
    let mut files = Paths::new();
    let mut trees: BTreeMap<(Rule, PathBuf), Evidence> = BTreeMap::new();
    // Many paths lie in few trees: each is looked at once.
    let mut known: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for (path, evidence) in wanted {
        let system = || {
            let (package, deeper) = places::system_package(&path)?;
            (deeper || of_package[&package] > 1).then_some(package)
        };
        let changing = || {
            let changes = |part: &&Path| part.file_name().is_some_and(places::changes);
            let outermost = path.ancestors().filter(changes).last()?;
            outermost.parent().map(Path::to_owned)
        };
        let mut is_tree = |tree: &PathBuf| match known.get(tree) {
            Some(known) => *known,
            None => *known
                .entry(tree.clone())
                .or_insert(lines.is_tree(Read, tree)),
        };
        let tree = [
            (Rule::Packages, places::package_directory(&path, home)),
            (Rule::DataSets, places::data_set(&path)),
            (Rule::SystemPackages, system()),
            (Rule::ChangingNames, changing()),
        ]
        .into_iter()
        .find_map(|(rule, tree)| Some((rule, tree.filter(&mut is_tree)?)));
        match tree {
            Some(tree) => trees.entry(tree).or_default().add(evidence),
            None => drop(files.insert(path, evidence)),
        }
    }
    for ((rule, tree), evidence) in trees {
        lines.path(Read, &tree, evidence, rule);
    }
    files
}

/// Directories of which several files were read.
fn several(lines: &mut Lines<'_, '_>, files: &mut Paths) {
    let mut of_directory: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in files.keys() {
        if let Some(parent) = path.parent() {
            of_directory
                .entry(parent.into())
                .or_default()
                .push(path.clone());
        }
    }
    for (directory, paths) in of_directory {
        let most = FEW.max(3 * paths.len());
        let is_small = || lines.around.host.files_below(&directory, most + 1) <= most;
        let is_many = paths.len() >= MANY;
        if paths.len() < SEVERAL || !lines.is_tree(Read, &directory) || !(is_many || is_small()) {
            continue;
        }
        let mut evidence = Evidence::default();
        for path in paths {
            evidence.add(files.remove(&path).unwrap_or_default());
        }
        lines.path(Read, &directory, evidence, Rule::SeveralFiles);
    }
}

/// Directories that were listed, outside of `$WORK` and `$SKILL`.
fn listed(lines: &mut Lines<'_, '_>, directories: &Paths, files: &Paths) -> Vec<PathBuf> {
    let mut granted = Vec::new();
    for (directory, evidence) in directories {
        let looked_at = !evidence.has(Did::Listed) && lines.cover.is_on_the_way(directory);
        let own = lines.around.own_directory(directory).is_some();
        if looked_at || lines.cover.has(Read, directory) || places::own(directory) || own {
            continue;
        }
        let home = lines.around.home;
        if let Some(why) = lines.around.secret(Read, directory) {
            let shown = Text::from(directory.as_os_str());
            lines.notes.add(About::Secret, format!("{shown} ({why})"));
            continue;
        }
        let named = places::package_directory(directory, home)
            .map(|tree| (tree, Rule::Packages))
            .or_else(|| places::data_set(directory).map(|tree| (tree, Rule::DataSets)));
        // There is no lesser grant for one that was only looked at; of a large one nothing is needed then.
        let is_small = |tree: &Path| lines.around.host.files_below(tree, FEW + 1) <= FEW;
        if let Some((tree, rule)) = named
            && lines.is_tree(Read, &tree)
            && (evidence.has(Did::Listed) || is_small(&tree))
        {
            lines.path(Read, &tree, evidence.clone(), rule);
            continue;
        }
        let read_of_it = files.keys().any(|file| file.parent() == Some(directory));
        let is_empty = || lines.around.host.files_below(directory, 1) == 0;
        if evidence.has(Did::Listed) && lines.is_tree(Read, directory) && (read_of_it || is_empty())
        {
            lines.path(Read, directory, evidence.clone(), Rule::Listed);
            granted.push(directory.clone());
        } else if !(places::broad(directory, home)
            || places::temporary(directory)
            || places::cache(directory, home).is_some())
        {
            let shown = Text::from(directory.as_os_str());
            let did = if evidence.has(Did::Listed) {
                "listed"
            } else {
                "looked at"
            };
            let text = format!("{shown}, a directory that was {did}");
            lines.notes.add(About::NotGranted, text);
        }
    }
    granted
}
