//! Control groups of a run, on v1, v2 or both: `cgroups(7)`,
//! `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/`.
//!
//! A run has a group in each v1 hierarchy that holds one of its limits, and a leaf on the cgroup2 tree where that holds
//! one, or where a front end gives one.

pub(crate) mod janitor;
mod sweep;
mod v1;
mod v2;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Failure};
use crate::facts::cgroups::{GroupParent, Layout};
use crate::plan::{GroupLimits, Limits};
use crate::types::Step;

pub use janitor::Janitor;
pub use v1::V1;
pub use v2::V2;

/// The directory that all runs of a caller share on the cgroup2 tree.
pub const PARENT: &str = "aegis";

/// What a group has counted. `None`: this hierarchy does not report it.
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
    /// Processes killed at the group's own limit. Where that was never reached, it was the limit of a group around it, or
    /// the machine had no memory left.
    pub fn own_oom_kills(&self) -> Option<u64> {
        let reached = self.memory_limit_hits.is_none_or(|hits| hits > 0);
        self.oom_kills.filter(|kills| *kills > 0 && reached)
    }

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

/// The leaf on the cgroup2 tree that a run gets.
#[derive(Debug, Default)]
pub enum Leaf {
    /// One of its own, if its limits need that.
    #[default]
    IfNeeded,
    /// One of its own, if this user can make one: so that everything inside can be made to stand still.
    IfPossible,
    /// One that somebody else made and will remove. It gets the limits that cgroup2 holds.
    Given(OwnedFd),
}

/// Every group of one run. Dropping it removes them, except a leaf that was given.
pub struct Groups {
    v1: V1,
    v2: Option<V2>,
    leaf: Option<OwnedFd>,
    janitor: Option<Janitor>,
}

impl Groups {
    /// Makes the groups that the limits need, under the name `id`. `janitor` is called only if groups are to be made.
    pub fn create(
        layout: &Layout,
        limits: &Limits,
        id: &str,
        leaf: Leaf,
        janitor: impl FnOnce() -> Option<Janitor>,
    ) -> Result<Self, Error> {
        let v1 = V1::new(layout, &limits.group, id);
        let rest = v1.leaves(&limits.group);
        let is_wanted = |place: &&GroupParent| match leaf {
            Leaf::IfPossible if place.writable => true,
            _ => limits.unified_group,
        };
        let v2 = match (&leaf, layout.unified.as_ref().filter(is_wanted)) {
            (Leaf::Given(leaf), _) => Some(V2::given(leaf.as_fd(), rest)),
            (_, Some(place)) => Some(V2::new(&place.dir, id, rest)),
            (_, None) => None,
        };
        let given = match leaf {
            Leaf::Given(leaf) => Some(leaf),
            Leaf::IfNeeded | Leaf::IfPossible => None,
        };
        let mut groups = Self {
            v1,
            v2,
            leaf: given,
            janitor: None,
        };
        let directories = groups.directories();
        if !directories.is_empty() {
            // Before the first directory is made, so that being killed at any moment
            // leaves none behind.
            let janitor = janitor().map_or_else(Janitor::start, Ok);
            let charged = janitor.and_then(|janitor| {
                janitor.charge(&directories)?;
                Ok(janitor)
            });
            groups.janitor = Some(charged.map_err(Failure::of(Step::Janitor))?);
        }
        groups.make(&limits.group)?;
        Ok(groups)
    }

    /// Makes each group with its limits, and opens the leaf.
    fn make(&mut self, limits: &GroupLimits) -> Result<(), Failure> {
        let failed = |dirs: Vec<PathBuf>| {
            let subject = dirs.into_iter().next();
            |cause| Failure {
                step: Step::MakeGroup,
                subject,
                cause,
            }
        };
        let made = self.v1.create(limits);
        made.map_err(failed(self.v1.directories()))?;
        if let Some(v2) = &self.v2 {
            v2.create().map_err(failed(v2.directories()))?;
            if self.leaf.is_none() {
                self.leaf = Some(v2.leaf().map_err(failed(v2.directories()))?);
            }
        }
        Ok(())
    }

    /// Children first.
    fn directories(&self) -> Vec<PathBuf> {
        let mut all = self.v1.directories();
        all.extend(self.v2.iter().flat_map(V2::directories));
        all
    }

    /// The run's leaf on the cgroup2 tree, if it has one.
    pub fn leaf(&self) -> Option<BorrowedFd<'_>> {
        self.leaf.as_ref().map(AsFd::as_fd)
    }

    /// Makes everything inside stand still, for as long as that takes up to `patience`. Returns whether it does: it does not
    /// where the run has no leaf of its own.
    pub fn freeze(&self, patience: Duration) -> io::Result<bool> {
        match self.v2.as_ref().filter(|v2| v2.is_own()) {
            Some(v2) => v2.freeze(patience),
            None => Ok(false),
        }
    }

    /// Lets everything inside go on.
    pub fn thaw(&self) -> io::Result<()> {
        match self.v2.as_ref().filter(|v2| v2.is_own()) {
            Some(v2) => v2.thaw(),
            None => Ok(()),
        }
    }

    /// `tasks` files of v1: a process joins the groups by writing to them.
    pub fn tasks(&self) -> io::Result<Vec<OwnedFd>> {
        self.v1.tasks()
    }

    /// What the groups counted, over all hierarchies.
    pub fn usage(&self) -> Usage {
        let v2 = self.v2.as_ref().map(V2::usage).unwrap_or_default();
        self.v1.usage().or(v2)
    }

    /// Removes groups of other runs that nobody else has removed. Takes a while: for when there is nothing else to do.
    pub fn sweep(&self) {
        sweep::sweep(&self.directories());
    }

    /// Has the janitor remove the groups, which must be empty by now, on another processor
    /// while we go on. They are gone when this value is dropped.
    pub fn remove(&mut self) {
        if let Some(janitor) = &mut self.janitor {
            janitor.dismiss();
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // Waits for the janitor to end.
        self.janitor = None;
        // In case the janitor was killed.
        janitor::remove(&self.directories(), Some(janitor::PATIENCE));
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
    value_of(&std::fs::read_to_string(dir.join(file)).ok()?, key)
}

/// The value of `key` in lines of `key value`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

/// Whether the limits need this controller.
fn needs(limits: &GroupLimits, controller: &str) -> bool {
    match controller {
        "memory" => limits.memory.is_some(),
        "cpu" => limits.cpu.is_some(),
        "pids" => limits.pids.is_some(),
        // On v2 "io", on v1 "blkio".
        _ => limits.disk_read.is_some() || limits.disk_write.is_some(),
    }
}

/// The length of a scheduling period, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// The quota for a share in thousandths, in one period. The kernel takes no quota below a millisecond.
fn quota(share: u64) -> u64 {
    (share * PERIOD / 1000).max(1000)
}

#[cfg(test)]
mod tests;
