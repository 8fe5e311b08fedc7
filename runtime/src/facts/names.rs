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
use super::paths::{Link, normal};
use super::spelling::{ignores_case, spelled, stat};
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
    /// By the path as it was named; `None`: nothing is there.
    found: BTreeMap<OsString, Option<Rc<Found>>>,
    /// What was found that is no link, each by its path free of links.
    files: Vec<Rc<Found>>,
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
            self.look(&normal(Path::new(&place)));
        }
        let home = path_of(&context.home.0);
        if home == caller.policy_home {
            for other in std::iter::once(&caller.home).chain(&caller.account_home) {
                if let Some(found) = self.look(&normal(other)) {
                    self.add(&home, &found.path, false);
                }
            }
        }
        self.mounts(&asked, mounts);
        let mut named = std::mem::take(&mut self.files);
        named.sort_by_key(|found| found.file());
        let has_links = |found: &Rc<Found>| {
            found.stat.st_nlink > 1 && found.stat.st_mode & libc::S_IFMT == libc::S_IFREG
        };
        let hard_links = named.iter().any(has_links);
        let mut above: Vec<&OsStr> = (asked.iter())
            .flat_map(|(path, _)| std::iter::once(path.as_path()).chain(parents(path)))
            .map(Path::as_os_str)
            .collect();
        above.sort_unstable();
        above.dedup();
        for place in above.into_iter().map(Path::new) {
            // Most of what is asked for. Links and mounts are known, and it does not ignore case.
            let of_system = SYSTEM.iter().any(|tree| is_below(place, Path::new(tree)));
            if of_system && !hard_links {
                continue;
            }
            let known = self.itself(place).map(|found| found.stat);
            let Some(found) = known.or_else(|| stat(place).ok()) else {
                continue;
            };
            let from = named.partition_point(|known| known.file() < file(&found));
            let same = named.iter().skip(from);
            for name in same.take_while(|known| known.file() == file(&found)) {
                self.add(&name.path, place, false);
            }
            if !of_system && ignores_case(place, &found) {
                for name in spelled(place) {
                    self.add(&name, place, false);
                }
            }
        }
        context.aliases = relevant(self.aliases, &asked);
    }

    /// What was found at a path that no link leads to.
    fn itself(&self, path: &Path) -> Option<&Rc<Found>> {
        let found = self.found.get(path.as_os_str())?.as_ref()?;
        (found.path.as_os_str() == path.as_os_str()).then_some(found)
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

    /// Follows an absolute path, and notes each link on the way.
    fn look(&mut self, path: &Path) -> Option<Rc<Found>> {
        if let Some(known) = self.found.get(path.as_os_str()) {
            return known.clone();
        }
        let found = self.look_anew(path);
        self.found.insert(path.into(), found.clone());
        found
    }

    fn look_anew(&mut self, path: &Path) -> Option<Rc<Found>> {
        let Some(above) = parents(path).next() else {
            let is_root = path.as_os_str() == "/";
            let root = is_root.then(|| Found::at(path)).flatten();
            self.files.extend(root.clone());
            return root;
        };
        let parent = self.look(above)?;
        if parent.path.as_os_str() != above.as_os_str() {
            let name = &path.as_os_str().as_bytes()[above.as_os_str().len()..];
            let found = self.look(&renamed(name, &parent.path))?;
            return Some(match parent.trusted {
                true => found,
                false => found.by_others(),
            });
        }
        let found = Found::at(path)?;
        if found.stat.st_mode & libc::S_IFMT != libc::S_IFLNK {
            self.files.push(found.clone());
            return Some(found);
        }
        // What the kernel does not follow leads nowhere; whatever it follows has no more links than are followed here.
        let leads = || statat(CWD, path, AtFlags::empty()).is_ok();
        if self.depth >= walk::MAX_LINKS || (self.depth == 0 && !leads()) {
            return None;
        }
        let target = rustix::fs::readlink(path, Vec::new()).ok()?;
        let end = above.join(OsString::from_vec(target.into_bytes()));
        // Where `..` leads is not looked into: nobody knows whose the links on that way are.
        let is_plain = end.components().all(|part| part != Component::ParentDir);
        let end = match is_plain {
            true => normal(&end),
            false => std::fs::canonicalize(path).ok()?.into(),
        };
        self.depth += 1;
        let end = self.look(&end);
        self.depth -= 1;
        let end = end?;
        let own = walk::is_the_administrators(found.stat.st_uid, &parent.stat, path);
        let trusted = own && is_plain && end.trusted;
        self.add(path, &end.path, trusted);
        Some(match trusted {
            true => end,
            false => end.by_others(),
        })
    }

    fn add(&mut self, name: &Path, place: &Path, trusted: bool) {
        self.aliases
            .extend((name.as_os_str() != place.as_os_str()).then(|| Alias {
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
}

fn file(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Found {
    /// What is at a path that no link leads to.
    fn at(path: &Path) -> Option<Rc<Self>> {
        let stat = stat(path).ok()?;
        Some(Rc::new(Self {
            path: path.to_owned(),
            stat,
            trusted: true,
        }))
    }

    /// The same by a name that somebody else can have made.
    fn by_others(&self) -> Rc<Self> {
        Rc::new(Self {
            path: self.path.clone(),
            stat: self.stat,
            trusted: false,
        })
    }

    /// Which file it is, by whatever name.
    fn file(&self) -> (u64, u64) {
        file(&self.stat)
    }
}

/// Those that name something requested, or something that has such a name.
fn relevant(aliases: BTreeSet<Alias>, asked: &[(PathBuf, bool)]) -> Vec<Alias> {
    let mut names: Vec<(OsString, bool)> = (asked.iter())
        .map(|(path, tree)| (path.into(), *tree))
        .collect();
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
fn by(alias: &Alias, names: &[(OsString, bool)]) -> Vec<(OsString, bool)> {
    let [name, place] =
        [&alias.name, &alias.place].map(|path| Path::new(OsStr::from_bytes(&path.0)));
    let other = |(path, tree): &(OsString, bool)| match is_below(Path::new(path), place) {
        true => {
            let rest = &path.as_bytes()[place.as_os_str().len()..];
            Some((renamed(rest, name).into(), *tree))
        }
        false => (*tree && is_below(place, Path::new(path))).then(|| (name.into(), true)),
    };
    names.iter().filter_map(other).collect()
}

/// What remains of a path, in another directory.
fn renamed(rest: &[u8], directory: &Path) -> PathBuf {
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let directory = directory.as_os_str().as_bytes();
    let slash: &[u8] = match directory == b"/" || rest.is_empty() {
        true => b"",
        false => b"/",
    };
    OsString::from_vec([directory, slash, rest].concat()).into()
}
