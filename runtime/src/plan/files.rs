//! The new root: what the grants and the sandbox's own places come to, together, in directories,
//! links, mounts and Landlock rules.

use std::path::{Path, PathBuf};

use aegis_profile::Profile;

use super::grants::{self, Bind, Granted};
use super::{Entry, Grant, Mount, PathRule, Source, own_places};
use crate::error::Error;
use crate::facts::paths::{Kind, Resolved};
use crate::facts::{HostFacts, Request};
use crate::types::paths::parents;
use crate::types::{Identity, Network, PathMap};

pub use own_places::{MASKED_DIRECTORY, MASKED_FILE, TMP};

/// See the module's documentation.
pub(super) struct Layout {
    pub root: PathMap<Entry>,
    pub mounts: Vec<Mount>,
    pub rules: Vec<PathRule>,
    pub grants: Vec<Grant>,
    pub directory: PathBuf,
}

/// See the module's documentation.
pub(super) fn lay_out(
    profile: &Profile,
    request: &Request,
    facts: &HostFacts,
    identity: &Identity,
    network: Network,
) -> Result<Layout, Error> {
    let mut root = Root {
        facts,
        identity,
        granted: grants::compile(profile, request, facts, network)?,
        entries: PathMap::default(),
        mounts: Vec::new(),
    };
    own_places::add(&mut root, profile)?;
    Ok(root.finish())
}

/// The root while it is made. What is granted comes first: it stands in the place of the
/// sandbox's own.
pub(super) struct Root<'a> {
    pub facts: &'a HostFacts,
    pub identity: &'a Identity,
    pub granted: Granted,
    pub entries: PathMap<Entry>,
    mounts: Vec<Mount>,
}

impl Root<'_> {
    /// Makes a directory and those above it, where the root's own tmpfs shows.
    pub fn directory(&mut self, path: &Path) {
        for dir in std::iter::once(path).chain(parents(path)) {
            if dir == Path::new("/") || self.entries.contains(dir) || self.granted.covers(dir) {
                continue;
            }
            self.entries
                .entry(dir.to_path_buf())
                .or_insert(Entry::Directory { mode: 0o755 });
        }
    }

    fn parents(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
    }

    /// Makes a file, and the directories above it.
    pub fn file(&mut self, path: &Path, contents: String) {
        self.parents(path);
        self.entries.insert(path, Entry::File { contents });
    }

    /// Makes an empty file to mount on, unless a host mount above shows one.
    pub fn mount_point(&mut self, path: &Path) {
        self.parents(path);
        if !self.granted.covers(path)
            || self.granted.binds.contains(path) && self.granted.binds.above(path).is_none()
        {
            self.entries.insert(path, Entry::MountPoint);
        }
    }

    /// Makes a link, unless the host's is there.
    pub fn link(&mut self, path: &str, target: &str) {
        let path = Path::new(path);
        if !self.granted.covers(path) && !self.granted.links.contains(path) {
            self.granted.links.insert(path, target.into());
        }
    }

    /// Mounts something of the sandbox's own, from which nothing is executed.
    pub fn mount(&mut self, at: impl Into<PathBuf>, source: Source, write: bool) {
        self.mounts.push(Mount {
            at: at.into(),
            source,
            write,
            exec: false,
        });
    }

    fn finish(mut self) -> Layout {
        let binds = self.granted.binds.iter().map(|(_, bind)| bind.clone());
        let binds: Vec<Bind> = binds.collect();
        for bind in binds {
            let path = bind.found.real.clone();
            if self.granted.binds.above(&path).is_none() {
                if bind.found.kind == Kind::Directory {
                    self.parents(&path);
                    self.entries
                        .insert(path.clone(), Entry::Directory { mode: 0o755 });
                } else {
                    self.mount_point(&path);
                }
            }
            self.mounts.push(Mount {
                at: path.clone(),
                source: Source::Host {
                    idmap: self.idmap(&bind.found),
                    dev: bind.found.dev,
                    ino: bind.found.ino,
                    path,
                },
                write: bind.write,
                exec: bind.exec,
            });
        }
        let links = std::mem::take(&mut self.granted.links);
        for (at, target) in links.iter() {
            // Below a host mount the link is there already; where a directory of the sandbox's own
            // stands instead, that is what programs shall find.
            if !self.granted.covers(at) && !self.entries.contains(at) {
                self.parents(at);
                let target = target.clone();
                self.entries.insert(at, Entry::Symlink { target });
            }
        }
        self.mounts
            .sort_by(|a, b| a.at.as_os_str().cmp(b.at.as_os_str()));
        let work = &self.facts.work;
        let directory = if self.granted.covers(work) || self.entries.contains(work) {
            self.facts.work.clone()
        } else {
            "/".into()
        };
        Layout {
            root: self.entries,
            mounts: self.mounts,
            rules: without_redundant(&self.granted.rules),
            grants: self.granted.grants,
            directory,
        }
    }

    /// Started by root, the command is somebody else: what belongs to another user is mounted so
    /// that it appears as the command's own. The system's own places are open to everybody anyway.
    fn idmap(&self, found: &Resolved) -> Option<(u32, u32)> {
        let system = found.real.starts_with("/usr") || found.real.starts_with("/etc");
        let own = found.uid == self.identity.uid;
        let mappable = matches!(found.kind, Kind::Directory | Kind::File);
        (self.identity.switch && !system && !own && mappable).then_some((found.uid, found.gid))
    }
}

/// The rules that add something to those above them: Landlock grants what any directory above does.
fn without_redundant(rules: &PathMap<u64>) -> Vec<PathRule> {
    let above = |path: &Path| {
        parents(path)
            .filter_map(|dir| rules.get(dir))
            .fold(0, |all, access| all | access)
    };
    rules
        .iter()
        .filter(|(path, access)| **access & !above(path) != 0)
        .map(|(path, access)| PathRule {
            path: path.to_path_buf(),
            access: *access,
        })
        .collect()
}
