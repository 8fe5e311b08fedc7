//! Control groups of a run, on v1, v2 or both: `cgroups(7)`,
//! `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/`.
//!
//! On a hybrid host a run has a group in each v1 hierarchy that limits something, and a leaf on the
//! cgroup2 tree, which has no controllers there but is what observing and killing go by.

pub(crate) mod janitor;
mod v1;
mod v2;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Error;
use crate::facts::cgroups::Layout;
use crate::plan::{GroupLimits, Limits};
use crate::types::Step;

pub use janitor::Janitor;
pub use v1::V1;
pub use v2::V2;

/// The directory that all runs of a caller share on the cgroup2 tree, so that a probe can tell
/// sandboxes from the rest by one ancestor.
pub const PARENT: &str = "aegis";

/// What a group has seen and used. `None`: this hierarchy does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Processes killed because the group was out of memory.
    pub oom_kills: Option<u64>,
    /// Allocations refused or reclaimed at the memory limit.
    pub memory_limit_hits: Option<u64>,
    /// The most memory used at once, in bytes.
    pub memory_peak: Option<u64>,
    /// Forks refused at the pids limit.
    pub pids_refused: Option<u64>,
    /// Periods in which the processor limit held the group back.
    pub cpu_throttled: Option<u64>,
}

impl Usage {
    fn or(self, other: Self) -> Self {
        Self {
            oom_kills: self.oom_kills.or(other.oom_kills),
            memory_limit_hits: self.memory_limit_hits.or(other.memory_limit_hits),
            memory_peak: self.memory_peak.or(other.memory_peak),
            pids_refused: self.pids_refused.or(other.pids_refused),
            cpu_throttled: self.cpu_throttled.or(other.cpu_throttled),
        }
    }
}

/// One control group hierarchy, v1's several mounts taken as one.
pub trait Hierarchy {
    /// Makes the group and sets its limits.
    fn create(&self, limits: &GroupLimits) -> io::Result<()>;
    /// A descriptor of the group for `CLONE_INTO_CGROUP`, where the hierarchy has that.
    fn leaf(&self) -> io::Result<Option<OwnedFd>>;
    /// `tasks` files by which a process puts itself in, where the hierarchy needs that.
    fn tasks(&self) -> io::Result<Vec<OwnedFd>>;
    /// What happened in the group.
    fn usage(&self) -> Usage;
    /// The group's directories, children first.
    fn directories(&self) -> Vec<PathBuf>;
}

/// Every group of one run. Dropping it removes them, but for a leaf that was given.
pub struct Groups {
    hierarchies: Vec<Box<dyn Hierarchy>>,
    leaf: Option<OwnedFd>,
    janitor: Option<Janitor>,
}

impl Groups {
    /// Makes the groups that the limits need, under the name `id`. `given` is a leaf on the cgroup2 tree that
    /// somebody else made and will remove: it takes the place of one of our own, and gets the limits that
    /// cgroup2 holds. `janitor` is asked for one only if groups are to be made.
    pub fn create(
        layout: &Layout,
        limits: &Limits,
        id: &str,
        given: Option<OwnedFd>,
        janitor: impl FnOnce() -> Option<Janitor>,
    ) -> Result<Self, Error> {
        let mut hierarchies: Vec<Box<dyn Hierarchy>> = Vec::new();
        let v1 = V1::new(layout, &limits.group, id);
        let rest = v1
            .as_ref()
            .map_or_else(|| limits.group.clone(), |v1| v1.leaves(&limits.group));
        hierarchies.extend(v1.map(|v1| Box::new(v1) as Box<dyn Hierarchy>));
        if let Some(leaf) = &given {
            hierarchies.push(Box::new(V2::given(leaf.as_fd(), rest)));
        } else if let (true, Some(place)) = (limits.unified_group, &layout.unified) {
            hierarchies.push(Box::new(V2::new(&place.dir, id, rest)));
        }
        let mut groups = Self {
            hierarchies,
            leaf: given,
            janitor: None,
        };
        let directories = groups.directories();
        if directories.is_empty() {
            return groups.set_limits(limits);
        }
        // Before the first directory is made, so that there is no moment at which being killed
        // would leave one behind.
        let janitor = match janitor() {
            Some(janitor) => Ok(janitor),
            None => Janitor::start(),
        };
        let charged = janitor.and_then(|janitor| {
            janitor.charge(&directories)?;
            Ok(janitor)
        });
        groups.janitor = Some(charged.map_err(|error| Error::outside(Step::Janitor, None, error))?);
        groups.set_limits(limits)
    }

    /// Makes each group with its limits, and opens the leaf.
    fn set_limits(mut self, limits: &Limits) -> Result<Self, Error> {
        for hierarchy in &self.hierarchies {
            let opened = hierarchy
                .create(&limits.group)
                .and_then(|()| match &self.leaf {
                    Some(_) => Ok(None),
                    None => hierarchy.leaf(),
                });
            let leaf = opened.map_err(|error| {
                let dir = hierarchy.directories().into_iter().next();
                Error::outside(Step::MakeGroup, dir, error)
            })?;
            self.leaf = self.leaf.take().or(leaf);
        }
        Ok(self)
    }

    fn directories(&self) -> Vec<PathBuf> {
        self.hierarchies
            .iter()
            .flat_map(|hierarchy| hierarchy.directories())
            .collect()
    }

    /// The run's leaf on the cgroup2 tree, where it has one: what observing and killing go by.
    pub fn leaf(&self) -> Option<BorrowedFd<'_>> {
        self.leaf.as_ref().map(AsFd::as_fd)
    }

    /// See [`Hierarchy::tasks`].
    pub fn tasks(&self) -> io::Result<Vec<OwnedFd>> {
        let mut all = Vec::new();
        for hierarchy in &self.hierarchies {
            all.extend(hierarchy.tasks()?);
        }
        Ok(all)
    }

    /// What happened, over all hierarchies.
    pub fn usage(&self) -> Usage {
        self.hierarchies
            .iter()
            .map(|hierarchy| hierarchy.usage())
            .fold(Usage::default(), Usage::or)
    }

    /// Has the groups removed, which must be empty by now: the janitor does it, on another processor,
    /// while we go on. They are gone when this value is.
    pub fn remove(&mut self) {
        if let Some(janitor) = &mut self.janitor {
            janitor.dismiss();
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // Waits for its end.
        self.janitor = None;
        // Should it have been killed. A shared parent stays while another run is in it.
        for dir in self.directories() {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    std::fs::write(dir.join(file), value)
        .map_err(|error| io::Error::new(error.kind(), format!("{file} = {value}: {error}")))
}

fn number(dir: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(dir.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The value of `key` in a file of `key value` lines.
fn keyed(dir: &Path, file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(dir.join(file)).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

/// The processes of the group count PID 1, which is ours and not the command's.
fn pids_with_init(count: u64) -> String {
    count.saturating_add(1).to_string()
}

#[cfg(test)]
mod tests;
