//! What the grants come to: what of the host is mounted where, and the pins that keep a command from renaming what lies
//! between mounts.

use std::path::{Path, PathBuf};

use aegis_profile::Origin;

use super::Grant;
use crate::facts::paths::{Kind, Link, Resolved};
use crate::types::PathMap;
use crate::types::paths::{above, is_below, parents};

/// A host path to be mounted.
#[derive(Clone, Debug)]
pub(super) struct Bind {
    pub found: Resolved,
    pub write: bool,
    pub exec: bool,
    /// What is written stays in the sandbox.
    pub overlay: bool,
    /// Kept even below a mount with the same rights, since nothing can be renamed over a mount point.
    pin: bool,
}

/// What is granted, in the form from which the root is made.
pub(super) struct Granted {
    /// Host paths to mount, by where.
    pub binds: PathMap<Bind>,
    /// Links on the path to them, by location, and their texts.
    pub links: PathMap<PathBuf>,
    /// What is hidden in them, and whether nothing else shows it.
    pub hidden: PathMap<(Resolved, bool)>,
    /// The line by which files in the private `/tmp` may be executed.
    pub executable_tmp: Option<Origin>,
    /// `LANDLOCK_ACCESS_FS_*`, by path.
    pub rules: PathMap<u64>,
    /// Each grant with its origin.
    pub grants: Vec<Grant>,
}

/// A directory that was not looked up itself, but something above or below it. It is found again by path when the plan
/// is applied.
fn directory_in(looked_up: &Resolved, path: &Path) -> Resolved {
    Resolved {
        real: path.to_path_buf(),
        links: Vec::new(),
        ino: 0,
        kind: Kind::Directory,
        ..looked_up.clone()
    }
}

impl Granted {
    /// Whether a host mount shows this path.
    pub fn covers(&self, path: &Path) -> bool {
        self.binds.contains_key(path.as_os_str()) || above(&self.binds, path).is_some()
    }

    /// Recreates the links on the path to a path.
    pub fn add_links(&mut self, found: &Resolved) {
        for link in &found.links {
            self.add_link(link);
        }
    }

    pub fn add_link(&mut self, link: &Link) {
        self.links
            .insert(link.at.clone().into(), link.target.clone());
    }

    pub fn bind(&mut self, found: &Resolved, write: bool, exec: bool) -> &mut Bind {
        let bind = self
            .binds
            .entry(found.real.clone().into())
            .or_insert_with(|| Bind {
                found: found.clone(),
                write: false,
                exec: false,
                overlay: false,
                pin: false,
            });
        bind.write |= write;
        bind.exec |= exec;
        bind
    }

    pub fn pin(&mut self, found: Resolved, write: bool, exec: bool) {
        let path = found.real.clone();
        let bind = Bind {
            found,
            write,
            exec,
            overlay: false,
            pin: true,
        };
        self.binds.insert(path.into(), bind);
    }

    /// Pins directories in writable mounts.
    pub fn pin_passed(&mut self, passed: &[PathBuf]) {
        let is_hidden = |dir: &Path, hidden: &Self| {
            let mut hidden = hidden.hidden.values();
            hidden.any(|(found, _)| is_below(dir, &found.real))
        };
        for dir in passed {
            // It cannot be renamed: it is a mount's place, or below one.
            if is_hidden(dir, self) {
                continue;
            }
            let tree = above(&self.binds, dir).filter(|tree| tree.write);
            if let Some(tree) = tree.filter(|_| !self.binds.contains_key(dir.as_os_str())) {
                let (found, exec) = (directory_in(&tree.found, dir), tree.exec);
                self.pin(found, true, exec);
            }
        }
    }

    /// Pins the directories between a mount and the writable mount that contains it: a command could rename one and put
    /// another in its place, which the next run, or the host, would then find there.
    pub fn pin_parents(&mut self) {
        let writable = |inner: &Resolved| above(&self.binds, &inner.real).filter(|tree| tree.write);
        let inner = (self.binds.values().map(|bind| &bind.found))
            .chain(self.hidden.values().map(|(found, _)| found));
        let nested: Vec<(PathBuf, Bind)> = inner
            .filter_map(|inner| Some((inner.real.clone(), writable(inner)?.clone())))
            .collect();
        for (inner, tree) in nested {
            for dir in parents(&inner) {
                if self.binds.contains_key(dir.as_os_str()) {
                    break;
                }
                // With the tree's owner: an id map of what lies in the directory would give its other files away.
                self.pin(directory_in(&tree.found, dir), true, tree.exec);
            }
        }
    }

    /// Drops mounts that a mount above shows already, with the same rights.
    pub fn prune(&mut self) {
        let all = self.binds.clone();
        self.binds.retain(|path, bind| {
            let above = above(&all, Path::new(path));
            let rights = |bind: &Bind| (bind.write, bind.exec, bind.overlay);
            bind.pin || above.is_none_or(|above| rights(above) != rights(bind))
        });
    }
}
