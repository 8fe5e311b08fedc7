//! What a profile denies inside of what it grants, as it is found on the host when the run starts.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aegis_profile::{Declared, Denied, Origin};

use super::mounts::Mount;
use super::only::Only;
use super::paths::{self, Kind, Resolved, Trust, shut};
use super::tree::{self, Entry};
use crate::error::Error;
use crate::types::Fault;
use crate::types::paths::is_below;

/// Most entries that are looked through for names: a start is not to take longer than a fraction of a second.
const MOST: usize = 200_000;

/// Most files and directories that are hidden: each is a mount.
const MOST_FOUND: usize = 1_000;

/// One item of `files.deny`, and what it denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As it was declared.
    pub item: Declared<Denied>,
    /// What is there, free of links.
    pub there: Vec<Resolved>,
    /// Those of them that are all that shows their files: a policy is not asked about what is hidden there.
    pub only: BTreeSet<PathBuf>,
    /// The links on the way: by another one, the next run would deny something else.
    pub links: Vec<PathBuf>,
}

/// Finds what is denied. `granted`: what is granted, by whatever line; `expand`: from a declared path to a host path.
pub(super) fn find(
    list: &[Declared<Denied>],
    granted: &[&Resolved],
    trust: &Trust,
    mounts: &[Mount],
    expand: impl Fn(&aegis_profile::PathSpec) -> Option<PathBuf>,
) -> Result<Vec<Found>, Error> {
    let mut looked_through = 0;
    let mut all = 0;
    let places = granted.iter().map(|found| found.real.as_path());
    let mut only = Only::new(places.collect(), mounts);
    let mut found = Vec::new();
    for item in list {
        let fail =
            |reason: String, help: &str| grant_error(&item.origin, &item.value, reason, help);
        let closed = |dir: PathBuf| {
            fail(
                format!(
                    "it cannot be looked for in {}, which you may not enter, and a command could open again",
                    dir.display()
                ),
                "make it one that you may enter (chmod u+rx), or remove it",
            )
        };
        let mut links = Vec::new();
        let mut passed =
            |found: &Resolved| links.extend(found.links.iter().map(|link| link.at.clone()));
        let paths = match &item.value {
            Denied::Path(spec) => expand(spec).into_iter().collect(),
            Denied::Named { below, name } => {
                let below = match below {
                    None => None,
                    Some(below) => match expand(below).map(|dir| paths::resolve(&dir, trust)) {
                        Some(Ok(found)) => {
                            passed(&found);
                            Some(found.real)
                        }
                        None | Some(Err(Fault::Missing(_) | Fault::NotADirectory(_))) => continue,
                        Some(Err(fault)) => return Err(fail(fault.to_string(), remedy(&fault))),
                    },
                };
                let trees = tops(&trees(granted, below.as_deref()), below.as_deref());
                let mut search = Search {
                    uid: trust.uid,
                    name: Path::new(name),
                    looked_through: &mut looked_through,
                    found: Vec::new(),
                };
                for tree in trees {
                    tree::walk(&tree, &mut search).map_err(|fault| match fault {
                        None => fail(
                            format!("for this name and those before it there are more than {MOST} files to look through"),
                            "name the directories that it may be in: `$WORK/config/**/NAME`",
                        ),
                        Some(Fault::Denied(dir)) => closed(dir),
                        Some(fault) => fail(
                            format!("it cannot be looked for: {fault}"),
                            "deny that directory too, or grant others",
                        ),
                    })?;
                }
                // What is granted by its own line is in no tree that was looked through.
                let own = granted.iter().map(|found| &found.real).filter(|path| {
                    path.ends_with(name) && below.as_ref().is_none_or(|dir| is_below(path, dir))
                });
                search.found.extend(own.cloned());
                search.found
            }
        };
        let mut there = BTreeMap::new();
        for path in paths {
            match paths::resolve(&path, trust) {
                Ok(found) => {
                    passed(&found);
                    there.insert(found.real.clone(), found);
                }
                Err(Fault::Missing(_) | Fault::NotADirectory(_)) => {}
                Err(Fault::Denied(at)) => {
                    if let Some(dir) = shut(&at, trust.uid) {
                        return Err(closed(dir));
                    }
                    // The command may not look there either.
                }
                Err(fault) => return Err(fail(fault.to_string(), remedy(&fault))),
            }
        }
        all += there.len();
        if all > MOST_FOUND {
            return Err(fail(
                format!("more than {MOST_FOUND} files are denied"),
                "deny the directories that they are in",
            ));
        }
        let (item, there) = (item.clone(), there.into_values().collect::<Vec<_>>());
        found.push(Found {
            item,
            only: only.of(&there),
            there,
            links,
        });
    }
    Ok(found)
}

fn remedy(fault: &Fault) -> &'static str {
    match fault {
        Fault::LinkLeaves { .. } | Fault::ForeignLink { .. } => "name what is meant without links",
        _ => "deny the directories above it, or raise the limit on open files (ulimit -n)",
    }
}

/// The error about one item.
pub(crate) fn grant_error(origin: &Origin, item: &Denied, reason: String, help: &str) -> Error {
    Error::Grant {
        origin: origin.clone(),
        what: format!("files.deny: {item}"),
        reason,
        help: help.into(),
    }
}

/// The granted trees that a name may be in. What the system shares with everybody has nothing to hide and much to look
/// through: it is looked through only where the line names it, but for what the administrator has put there.
fn trees(granted: &[&Resolved], below: Option<&Path>) -> Vec<PathBuf> {
    let local = Path::new("/usr/local");
    let mut trees = Vec::new();
    for found in granted.iter().filter(|found| found.kind == Kind::Directory) {
        let real = &found.real;
        if below.is_some()
            || (!real.starts_with("/usr") && real.parent().is_some())
            || real.starts_with(local)
        {
            trees.push(real.clone());
        } else if is_below(local, real) {
            trees.push(local.to_owned());
        }
    }
    trees
}

/// The granted trees to look through, none in another: those below a directory, or that directory in one of them.
fn tops(granted: &[PathBuf], below: Option<&Path>) -> Vec<PathBuf> {
    let mut tops: Vec<PathBuf> = match below {
        None => granted.to_vec(),
        Some(dir) if granted.iter().any(|tree| is_below(dir, tree)) => vec![dir.to_path_buf()],
        Some(dir) => (granted.iter().filter(|tree| is_below(tree, dir)).cloned()).collect(),
    };
    tops.sort();
    tops.dedup_by(|later, earlier| is_below(later, earlier));
    tops
}

/// Looks for a name in trees. The error is `None` where there is too much to look through, and [`Fault::Denied`] where its
/// owner, the caller, may not enter a directory.
struct Search<'a> {
    /// The caller's.
    uid: u32,
    name: &'a Path,
    looked_through: &'a mut usize,
    found: Vec<PathBuf>,
}

impl tree::Visit for Search<'_> {
    type Error = Option<Fault>;

    fn entry(&mut self, entry: &Entry<'_>) -> Result<bool, Option<Fault>> {
        *self.looked_through += 1;
        if *self.looked_through > MOST {
            return Err(None);
        }
        let last = self.name.file_name().unwrap_or_default();
        if last.as_bytes() == entry.name.to_bytes() {
            let path = entry.path();
            if path.ends_with(self.name) {
                self.found.push(path);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whoever may not enter it finds nothing there; nor does the command, unless it can change that.
    fn closed(&mut self, path: &Path, owner: Option<u32>) -> Result<(), Option<Fault>> {
        match owner == Some(self.uid) {
            true => Err(Some(Fault::Denied(path.to_path_buf()))),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_wherever_it_is_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for sub in ["a/b", "a/config", "outside"] {
            std::fs::create_dir_all(top.join("tree").join(sub)).unwrap();
        }
        std::fs::create_dir(top.join("elsewhere")).unwrap();
        for file in [
            "tree/.env",
            "tree/a/b/.env",
            "tree/a/config/key",
            "tree/a/key",
            "elsewhere/.env",
        ] {
            std::fs::write(top.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("../elsewhere", top.join("tree/link")).unwrap();
        for (name, expected) in [
            (".env", &["tree/.env", "tree/a/b/.env"][..]),
            ("config/key", &["tree/a/config/key"]),
        ] {
            let mut looked_through = 0;
            let mut search = Search {
                uid: 0,
                name: Path::new(name),
                looked_through: &mut looked_through,
                found: Vec::new(),
            };
            tree::walk(&top.join("tree"), &mut search).unwrap();
            search.found.sort();
            let expected: Vec<_> = expected.iter().map(|path| top.join(path)).collect();
            assert_eq!(search.found, expected, "{name}");
        }
    }

    /// A start has a limit on open files, which a command can have made a tree wider than.
    #[test]
    fn a_wide_tree_is_looked_through_with_few_open_files() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..300 {
            let sub = dir.path().join(number.to_string());
            std::fs::create_dir(&sub).unwrap();
            std::fs::write(sub.join(".env"), "").unwrap();
        }
        let before = aegis_sys::process::limits(libc::RLIMIT_NOFILE).0;
        aegis_sys::process::set_soft_limit(libc::RLIMIT_NOFILE, 200).unwrap();
        let mut looked_through = 0;
        let mut search = Search {
            uid: 0,
            name: Path::new(".env"),
            looked_through: &mut looked_through,
            found: Vec::new(),
        };
        let result = tree::walk(dir.path(), &mut search);
        aegis_sys::process::set_soft_limit(libc::RLIMIT_NOFILE, before).unwrap();
        result.unwrap();
        assert_eq!(search.found.len(), 300);
    }

    #[test]
    fn trees_within_trees_are_looked_through_once() {
        let granted = ["/w/a", "/w", "/x"].map(PathBuf::from);
        assert_eq!(tops(&granted, None), ["/w", "/x"].map(PathBuf::from));
        assert_eq!(
            tops(&granted, Some(Path::new("/w/a/b"))),
            [PathBuf::from("/w/a/b")]
        );
        assert_eq!(
            tops(&granted, Some(Path::new("/"))),
            ["/w", "/x"].map(PathBuf::from)
        );
        assert!(tops(&granted, Some(Path::new("/y"))).is_empty());
    }
}
