//! The new root: combines the grants and the sandbox's own places into directories,
//! links, mounts and Landlock rules.

use std::path::{Path, PathBuf};

use aegis_profile::{LimitKey, Profile};

use super::granted::{Bind, Granted};
use super::grants;
use super::stdio::Stdio;
use super::{Op, Operation, Spec, limits, own_places};
use crate::error::Error;
use crate::facts::mounts::Mount;
use crate::facts::paths::{Kind, Resolved};
use crate::facts::{HostFacts, Inputs};
use crate::types::paths::{above, is_below, parents};
use crate::types::{Identity, PathMap};

/// Adds the profile's root, Landlock rules, grants and working directory to `spec`.
pub(super) fn lay_out(
    spec: &mut Spec,
    profile: &Profile,
    request: &Inputs,
    facts: &HostFacts,
) -> Result<(), Error> {
    let counted = profile.limits.get(LimitKey::Output).is_some();
    let mut root = Root {
        facts,
        identity: &spec.identity,
        stdio: Stdio::of(request.stdio, &facts.host.standard, counted),
        granted: grants::compile(profile, request, facts, spec.network)?,
        entries: PathMap::default(),
        mounts: Vec::new(),
    };
    own_places::add(&mut root, profile)?;
    for at in kernel(&root.granted, &facts.mounts) {
        root.mounts.push(Op::Mask.at(at));
    }
    let work = &facts.work;
    let (operations, granted) = root.finish(limits::tmp(&profile.limits));
    if granted.covers(work) || operations.iter().any(|made| made.at == *work) {
        spec.directory.clone_from(work);
    }
    spec.operations = operations;
    spec.rules = granted.rules;
    spec.grants = granted.grants;
    Ok(())
}

/// What of the host's kernel is mounted below the granted trees, and would be shown with them.
fn kernel<'m>(granted: &Granted, mounts: &'m [Mount]) -> Vec<&'m Path> {
    let kernel = mounts.iter().filter(|mount| mount.is_of_the_kernel());
    let shown = kernel.map(|mount| mount.at.as_path()).filter(|at| {
        let hidden =
            granted.hidden.contains_key(at.as_os_str()) || above(&granted.hidden, at).is_some();
        let own = granted.binds.contains_key(at.as_os_str());
        above(&granted.binds, at).is_some() && !hidden && !own
    });
    let mut shown: Vec<&Path> = shown.collect();
    shown.sort();
    // The first covers what is mounted below it.
    shown.dedup_by(|below, at| is_below(below, at));
    shown
}

/// The root while it is made. Grants come first: they replace the sandbox's
/// own places.
pub(super) struct Root<'a> {
    pub facts: &'a HostFacts,
    pub identity: &'a Identity,
    pub stdio: Stdio,
    pub granted: Granted,
    /// What is made in the root's tmpfs, parents first.
    pub entries: PathMap<Operation>,
    pub mounts: Vec<Operation>,
}

impl Root<'_> {
    /// Notes an operation, in place of an earlier one at the same path.
    pub fn make(&mut self, operation: Operation) {
        let at = operation.at.clone();
        self.entries.insert(at.into(), operation);
    }

    /// Makes a directory and those above it, where the root's own tmpfs shows.
    pub fn directory(&mut self, path: &Path) {
        for dir in std::iter::once(path).chain(parents(path)) {
            let made = self.entries.contains_key(dir.as_os_str());
            if dir != Path::new("/") && !made && !self.granted.covers(dir) {
                self.make(directory(dir));
            }
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
        self.make(Op::File { text, mode: 0o444 }.at(path));
    }

    /// Makes an empty file to mount on, unless a host mount above shows a file there.
    pub fn mount_point(&mut self, path: &Path) {
        self.parents(path);
        if above(&self.granted.binds, path).is_none() {
            self.make(Op::MountPoint.at(path));
        }
    }

    /// Makes a link, unless the host's link shows there.
    pub fn link(&mut self, path: &str, target: &str) {
        if !self.granted.covers(Path::new(path)) {
            let links = &mut self.granted.links;
            links.entry(path.into()).or_insert_with(|| target.into());
        }
    }

    /// The topmost directories in private places that are only the way to something.
    fn ways(&self) -> Vec<Operation> {
        let private = |path: &Path| {
            let mut private = self
                .mounts
                .iter()
                .filter(|mount| matches!(mount.op, Op::Private { .. }));
            private.any(|mount| mount.at == path)
        };
        (self.entries.values())
            .filter(|made| matches!(made.op, Op::Directory { .. }))
            .filter(|made| made.at.parent().is_some_and(private) && !private(&made.at))
            .filter(|made| !self.granted.binds.contains_key(made.at.as_os_str()))
            .map(|made| Op::Way.at(&made.at))
            .collect()
    }

    /// Whether it may be written, if only in the sandbox, or is the directory of the run or of its profile.
    fn is_own(&self, bind: &Bind) -> bool {
        let projects = [Some(&self.facts.work), self.facts.skill.as_ref()];
        let mut projects = projects.into_iter().flatten();
        bind.write || bind.overlay || projects.any(|project| is_below(&bind.found.real, project))
    }

    fn finish(mut self, size: u64) -> (Vec<Operation>, Granted) {
        let binds: Vec<Bind> = self.granted.binds.values().cloned().collect();
        for bind in binds {
            let path = &bind.found.real;
            if bind.found.kind != Kind::Directory {
                self.mount_point(path);
            } else if above(&self.granted.binds, path).is_none() {
                self.parents(path);
                self.make(directory(path));
            }
            self.mounts.push(
                Op::Bind {
                    source: bind.found.host_path(self.identity, self.is_own(&bind)),
                    write: bind.write,
                    exec: bind.exec,
                    overlay: bind.overlay,
                }
                .at(path),
            );
        }
        for (at, target) in std::mem::take(&mut self.granted.links) {
            // Below a host mount the link exists already; if a directory of the sandbox's own is
            // there instead, programs must find that.
            if !self.granted.covers(Path::new(&at)) && !self.entries.contains_key(&at) {
                let at = PathBuf::from(at);
                self.parents(&at);
                self.make(Op::Symlink { target }.at(at));
            }
        }
        let hide = |(found, only): &(Resolved, bool)| {
            let (dev, ino, only) = (found.dev, found.ino, *only);
            Op::Hide { dev, ino, only }.at(&found.real)
        };
        self.mounts.extend(self.granted.hidden.values().map(hide));
        let ways = self.ways();
        self.mounts.extend(ways);
        // Private places first: the way to one is a copy that has it already. The ways next, so that the root without
        // anything of the host, which private sockets are looked up in, has them too.
        let order = |mount: &Operation| {
            let kind = match mount.op {
                Op::Private { .. } => 0,
                Op::Way => 1,
                _ => 2,
            };
            (kind, mount.at.clone().into_os_string())
        };
        self.mounts.sort_by_cached_key(order);
        let top = Op::Tmpfs { size, mode: 0o755 }.at("/");
        // Everything is made now: the root itself is read-only from here on.
        let closed = Op::Remount {
            read_only: true,
            noexec: true,
        }
        .at("/");
        let operations = std::iter::once(top)
            .chain(self.entries.into_values())
            .chain(self.mounts)
            .chain([closed])
            .collect();
        (operations, self.granted)
    }
}

fn directory(at: &Path) -> Operation {
    Op::Directory { mode: 0o755 }.at(at)
}
