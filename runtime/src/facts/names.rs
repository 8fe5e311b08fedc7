//! Other names of the places that a request and a policy speak of. A policy decides by name, the kernel by file: what has
//! two names has one decision.
//!
//! Names come from symbolic links, of requested paths and of what the policy's patterns begin with; from second mounts;
//! from hard links of what a pattern names; from file systems that ignore case; and from a home directory that is not the
//! account's.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use aegis_policy::model::Documents;
use aegis_policy::request::Alias;
use aegis_policy::{Request, What, named};
use aegis_sys::walk;
use rustix::fs::{AtFlags, CWD, Stat, statat};

use super::Caller;
use super::mounts::{self, Mount};
use super::only::Only;
use super::paths::Link;
use crate::error::Error;
use crate::types::paths::{is_below, parents};

/// Sets the aliases ([`Alias`]) of a request. `links`: those on the way to what is requested.
pub fn find<'l>(
    request: &mut Request,
    policy: &Documents,
    caller: &Caller,
    mounts: &[Mount],
    links: impl IntoIterator<Item = &'l Link>,
) {
    let mut looked = Looked::default();
    for link in links {
        looked.look(&link.at);
    }
    looked.find(request, policy, caller, mounts);
}

/// Makes of a request that somebody wrote down what a run of this caller would ask here: its paths are free of links, a
/// directory is asked for with all below it, and other names are known. What is not there stays as it was written.
///
/// # Errors
///
/// What is mounted cannot be told.
pub fn resolve(request: &mut Request, policy: &Documents, caller: &Caller) -> Result<(), Error> {
    let mut looked = Looked::default();
    let Request { context, what, .. } = request;
    let places = [
        Some(&mut context.home),
        Some(&mut context.work),
        context.skill.as_mut(),
    ];
    for place in places
        .into_iter()
        .flatten()
        .filter(|place| place.is_plain())
    {
        *place = looked.real(&path_of(&place.0)).0.as_path().into();
    }
    let one = |what: &mut What, looked: &mut Looked| {
        let Some((except, path, tree)) = what.place_mut() else {
            return;
        };
        for path in except.iter_mut().filter(|path| path.is_plain()) {
            *path = looked.real(&path_of(&path.0)).0.as_path().into();
        }
        if path.is_plain() {
            let (real, is_directory) = looked.real(&path_of(&path.0));
            *path = real.as_path().into();
            *tree |= is_directory;
        }
    };
    one(what, &mut looked);
    if let What::Tool { grants, .. } = what {
        grants.iter_mut().for_each(|grant| one(grant, &mut looked));
    }
    let mounts = mounts::read().map_err(Error::Mounts)?;
    let granted: Vec<PathBuf> = (what.parts().filter_map(path))
        .map(|(path, _)| path)
        .collect();
    let mut only = Only::new(granted.iter().map(PathBuf::as_path).collect(), &mounts);
    // What would not be hidden here is asked for. Where there is no such tree, nobody can tell.
    let mut kept = |what: &mut What| {
        if let Some((except, path, _)) = what.place_mut()
            && stat(&path_of(&path.0)).is_ok()
        {
            except.retain(|path| only.shows(&path_of(&path.0)));
        }
    };
    match what {
        What::Tool { grants, .. } => grants.iter_mut().for_each(kept),
        what => kept(what),
    }
    looked.find(request, policy, caller, &mounts);
    Ok(())
}

/// A requested path, and whether it stands for all below it.
fn path(what: &What) -> Option<(PathBuf, bool)> {
    let place = what.place()?;
    Some((path_of(&place.path.0), place.tree))
}

fn path_of(bytes: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(bytes)).to_owned()
}

fn stat(path: &Path) -> rustix::io::Result<Stat> {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
}

/// What the system consists of.
const SYSTEM: [&str; 7] = [
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/sbin",
    "/usr/share",
];

/// What is at a path.
struct Found {
    /// Free of links.
    path: PathBuf,
    stat: Stat,
    /// Only the system's administrator can have made the links on the way.
    trusted: bool,
}

/// What was looked at.
#[derive(Default)]
struct Looked {
    /// By the path as it was named; `None`: nothing is there. Compared as text: by components takes ten times as long.
    found: BTreeMap<OsString, Option<Rc<Found>>>,
    aliases: BTreeSet<Alias>,
    /// Links in links, as deep as the kernel follows them.
    depth: usize,
}

impl Looked {
    /// Completes a request whose paths are free of links.
    fn find(
        mut self,
        request: &mut Request,
        policy: &Documents,
        caller: &Caller,
        mounts: &[Mount],
    ) {
        let Request { context, what, .. } = request;
        let mut asked: Vec<(PathBuf, bool)> = what.parts().filter_map(path).collect();
        asked.extend(context.skill.iter().map(|skill| (path_of(&skill.0), false)));
        asked.sort_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()).then(a.1.cmp(&b.1)));
        asked.dedup();
        for place in named::places(policy, context) {
            self.look(Path::new(&place));
        }
        let home = path_of(&context.home.0);
        if home == caller.policy_home {
            for other in std::iter::once(&caller.home).chain(&caller.account_home) {
                if let Some(found) = self.look(other) {
                    self.add(&home, &found.path, false);
                }
            }
        }
        self.mounts(&asked, mounts);
        let named = self.by_file();
        let has_links = |found: &Rc<Found>| {
            found.stat.st_nlink > 1 && found.stat.st_mode & libc::S_IFMT == libc::S_IFREG
        };
        let hard_links = self.found.values().flatten().any(has_links);
        let above: BTreeSet<&OsStr> = (asked.iter())
            .flat_map(|(path, _)| std::iter::once(path.as_path()).chain(parents(path)))
            .map(Path::as_os_str)
            .collect();
        for place in above.into_iter().map(Path::new) {
            // Most of what is asked for. Links and mounts are known, and it does not ignore case.
            let of_system = SYSTEM.iter().any(|tree| is_below(place, Path::new(tree)));
            if of_system && !hard_links {
                continue;
            }
            let Ok(found) = stat(place) else {
                continue;
            };
            let same = named.get(&(found.st_dev, found.st_ino));
            for name in same.into_iter().flatten() {
                self.add(name, place, false);
            }
            if of_system {
                continue;
            }
            for name in spelled(place, &found) {
                self.add(&name, place, false);
            }
        }
        context.aliases = relevant(self.aliases, &asked);
    }

    /// Where a path leads, as far as it is there, and whether to a directory.
    fn real(&mut self, path: &Path) -> (PathBuf, bool) {
        for known in std::iter::once(path).chain(parents(path)) {
            if let Some(found) = self.look(known) {
                let rest = path.strip_prefix(known).unwrap_or(Path::new(""));
                let is_directory = found.stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
                let real: PathBuf = found.path.join(rest).components().collect();
                return (real, is_directory && known == path);
            }
        }
        (path.to_owned(), false)
    }

    /// Follows a path, and notes each link on the way.
    fn look(&mut self, path: &Path) -> Option<Rc<Found>> {
        if let Some(known) = self.found.get(path.as_os_str()) {
            return known.clone();
        }
        let found = self.look_anew(path);
        self.found.insert(path.into(), found.clone());
        found
    }

    fn look_anew(&mut self, path: &Path) -> Option<Rc<Found>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            let stat = stat(path).ok()?;
            let path = path.to_owned();
            return Some(Rc::new(Found {
                path,
                stat,
                trusted: true,
            }));
        };
        let parent = self.look(parent)?;
        let at = parent.path.join(name);
        let found = stat(&at).ok()?;
        if found.st_mode & libc::S_IFMT != libc::S_IFLNK {
            return Some(Rc::new(Found {
                path: at,
                stat: found,
                trusted: parent.trusted,
            }));
        }
        if self.depth >= walk::MAX_LINKS {
            return None;
        }
        let target = rustix::fs::readlink(&at, Vec::new()).ok()?;
        let target = std::ffi::OsString::from_vec(target.into_bytes());
        let end = std::fs::canonicalize(&at).ok()?;
        self.depth += 1;
        // Links on the way of this one: it is trusted if all are. Where `..` leads is not looked into.
        let way = parent.path.join(target);
        let is_plain = way.components().all(|part| part != Component::ParentDir);
        let way = is_plain.then(|| self.look(&way)).flatten();
        let end = self.look(&end);
        self.depth -= 1;
        let end = end?;
        let trusted = walk::is_the_administrators(found.st_uid, &parent.stat, &at)
            && way.is_some_and(|way| way.trusted && way.path == end.path);
        self.add(&at, &end.path, trusted);
        Some(Rc::new(Found {
            path: end.path.clone(),
            stat: end.stat,
            trusted: trusted && parent.trusted,
        }))
    }

    fn add(&mut self, name: &Path, place: &Path, trusted: bool) {
        self.aliases.extend((name != place).then(|| Alias {
            name: name.into(),
            place: place.into(),
            trusted,
        }));
    }

    /// Notes where else the files are that mounts show: those that requested paths lie in, and those below requested trees.
    fn mounts(&mut self, asked: &[(PathBuf, bool)], mounts: &[Mount]) {
        for mount in mounts {
            let is_shown = |(path, tree): &(PathBuf, bool)| {
                is_below(path, &mount.at) || (*tree && is_below(&mount.at, path))
            };
            if !asked.iter().any(is_shown) {
                continue;
            }
            for name in mount.elsewhere(mounts) {
                // A tree that holds both is asked about with both.
                let holds = |(path, tree): &(PathBuf, bool)| {
                    *tree && is_below(&name, path) && is_below(&mount.at, path)
                };
                if !asked.iter().any(holds) {
                    self.add(&name, &mount.at, false);
                }
            }
        }
    }

    /// The paths that were found, by device and inode.
    fn by_file(&self) -> BTreeMap<(u64, u64), Vec<PathBuf>> {
        let mut named: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
        for found in self.found.values().flatten() {
            let Found { path, stat, .. } = &**found;
            let names = named.entry((stat.st_dev, stat.st_ino)).or_default();
            if !names.contains(path) {
                names.push(path.clone());
            }
        }
        named
    }
}

/// Whether the directory of a path ignores case.
pub(super) fn ignores_case(path: &Path) -> bool {
    stat(path).is_ok_and(|found| is_also_spelled_otherwise(path, &found))
}

fn is_also_spelled_otherwise(path: &Path, found: &Stat) -> bool {
    let Some(name) = path.file_name() else {
        return false;
    };
    let changed: Vec<u8> = (name.as_bytes().iter())
        .map(|byte| match byte.is_ascii_lowercase() {
            true => byte.to_ascii_uppercase(),
            false => byte.to_ascii_lowercase(),
        })
        .collect();
    let other = path.with_file_name(OsStr::from_bytes(&changed));
    let is_same = |other: Stat| (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino);
    changed != name.as_bytes() && stat(&other).is_ok_and(is_same)
}

/// Other spellings of a path's last component that patterns may have, where its directory ignores case.
fn spelled(path: &Path, found: &Stat) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    if !is_also_spelled_otherwise(path, found) {
        return Vec::new();
    }
    let folded = |name: &OsStr| name.to_string_lossy().to_lowercase();
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let on_disk = entries.map(|entry| entry.file_name());
    (on_disk.filter(|entry| folded(entry) == folded(name)))
        .chain([folded(name).into()])
        .map(|name| directory.join(name))
        .collect()
}

/// Those that name something requested, or something that has such a name.
fn relevant(aliases: BTreeSet<Alias>, asked: &[(PathBuf, bool)]) -> Vec<Alias> {
    let mut names: Vec<(PathBuf, bool)> = asked.to_vec();
    let mut left: Vec<Alias> = aliases.into_iter().collect();
    let mut kept = Vec::new();
    loop {
        let (met, rest): (Vec<_>, Vec<_>) = (left.into_iter())
            .map(|alias| (by(&alias, &names), alias))
            .partition(|(further, _)| !further.is_empty());
        if met.is_empty() {
            break;
        }
        left = rest.into_iter().map(|(_, alias)| alias).collect();
        for (further, alias) in met {
            names.extend(further);
            kept.push(alias);
        }
        names.sort();
        names.dedup();
    }
    kept.sort();
    kept
}

/// What an alias makes of the names that it is about.
fn by(alias: &Alias, names: &[(PathBuf, bool)]) -> Vec<(PathBuf, bool)> {
    let (name, place) = (path_of(&alias.name.0), path_of(&alias.place.0));
    let other = |(path, tree): &(PathBuf, bool)| match path.strip_prefix(&place) {
        Ok(rest) => Some((name.join(rest), *tree)),
        Err(_) => (*tree && is_below(&place, path)).then(|| (name.clone(), true)),
    };
    names.iter().filter_map(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a directory ignores case, both spellings are one file: as hard links are elsewhere.
    #[test]
    fn spellings_of_one_file_are_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let [file, other, alone] = ["Key", "kEY", "Other"].map(|name| dir.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::fs::write(&alone, "").unwrap();
        std::fs::write(dir.path().join("oTHER"), "").unwrap();
        assert!(!ignores_case(&file), "there is no other");
        std::fs::hard_link(&file, &other).unwrap();
        assert!(ignores_case(&file));
        assert!(!ignores_case(&alone), "the other is another file");
        let spellings = |path: &Path| -> BTreeSet<PathBuf> {
            spelled(path, &stat(path).unwrap()).into_iter().collect()
        };
        let expected = ["Key", "kEY", "key"].map(|name| dir.path().join(name));
        assert_eq!(spellings(&file), expected.into());
        assert!(spellings(&alone).is_empty());
    }
}
