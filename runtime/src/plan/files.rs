//! The new root: what the grants and the sandbox's own places come to, together, in directories,
//! links, mounts and Landlock rules.

use std::path::{Path, PathBuf};

use aegis_profile::Profile;

use super::grants::{self, Bind, Granted};
use super::{Grant, Operation, limits, own_places};
use crate::error::Error;
use crate::facts::paths::Kind;
use crate::facts::{HostFacts, Request};
use crate::types::paths::parents;
use crate::types::{Identity, Network, PathMap};

/// See the module's documentation.
pub(super) struct Layout {
    pub operations: Vec<Operation>,
    pub rules: PathMap<u64>,
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
    Ok(root.finish(limits::tmp(&profile.limits)))
}

/// The root while it is made. What is granted comes first: it stands in the place of the
/// sandbox's own.
pub(super) struct Root<'a> {
    pub facts: &'a HostFacts,
    pub identity: &'a Identity,
    pub granted: Granted,
    /// What is made in the root's tmpfs, parents first.
    pub entries: PathMap<Operation>,
    pub mounts: Vec<Operation>,
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
                .or_insert_with(|| make_directory(dir, 0o755));
        }
    }

    fn parents(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
    }

    /// Makes a file, and the directories above it.
    pub fn file(&mut self, path: &Path, text: String) {
        self.parents(path);
        let (at, mode) = (path.to_path_buf(), 0o444);
        self.entries
            .insert(path, Operation::File { at, text, mode });
    }

    /// Makes an empty file to mount on, unless a host mount above shows one.
    pub fn mount_point(&mut self, path: &Path) {
        self.parents(path);
        if !self.granted.covers(path)
            || self.granted.binds.contains(path) && self.granted.binds.above(path).is_none()
        {
            let at = path.to_path_buf();
            self.entries.insert(path, Operation::MountPoint { at });
        }
    }

    /// Makes a link, unless the host's is there.
    pub fn link(&mut self, path: &str, target: &str) {
        let path = Path::new(path);
        if !self.granted.covers(path) && !self.granted.links.contains(path) {
            self.granted.links.insert(path, target.into());
        }
    }

    fn finish(mut self, size: u64) -> Layout {
        let binds: Vec<Bind> = self
            .granted
            .binds
            .iter()
            .map(|(_, bind)| bind.clone())
            .collect();
        for bind in binds {
            let path = &bind.found.real;
            if self.granted.binds.above(path).is_none() {
                if bind.found.kind == Kind::Directory {
                    self.parents(path);
                    self.entries.insert(path, make_directory(path, 0o755));
                } else {
                    self.mount_point(path);
                }
            }
            self.mounts.push(Operation::Bind {
                at: path.clone(),
                source: bind.found.host_path(self.identity),
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
                let (at, target) = (at.to_path_buf(), target.clone());
                self.entries
                    .insert(at.clone(), Operation::Symlink { at, target });
            }
        }
        self.mounts
            .sort_by(|a, b| a.at().as_os_str().cmp(b.at().as_os_str()));
        let work = &self.facts.work;
        let directory = if self.granted.covers(work) || self.entries.contains(work) {
            self.facts.work.clone()
        } else {
            "/".into()
        };
        let top = Operation::Tmpfs {
            at: "/".into(),
            size,
            mode: 0o755,
        };
        // Whatever is to be made is made: the root itself is read-only from here on.
        let closed = Operation::Remount {
            at: "/".into(),
            read_only: true,
            noexec: true,
        };
        let operations = std::iter::once(top)
            .chain(self.entries.into_values())
            .chain(self.mounts)
            .chain([closed])
            .collect();
        Layout {
            operations,
            rules: self.granted.rules,
            grants: self.granted.grants,
            directory,
        }
    }
}

fn make_directory(at: &Path, mode: u32) -> Operation {
    let at = at.to_path_buf();
    Operation::Directory { at, mode }
}
