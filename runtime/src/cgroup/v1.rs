//! cgroup v1: a hierarchy, and so a directory, for each controller.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{Hierarchy, Usage, keyed, number, pids_with_init, write};
use crate::facts::cgroups::Layout;
use crate::plan::GroupLimits;
use aegis_sys::process;

/// The length of a scheduling period, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// The v1 groups of a run, by controller.
pub struct V1 {
    dirs: Vec<(&'static str, PathBuf)>,
}

/// Whether a limit set needs this controller.
fn needs(limits: &GroupLimits, controller: &str) -> bool {
    match controller {
        "memory" => limits.memory.is_some(),
        "cpu" => limits.cpu.is_some(),
        "pids" => limits.pids.is_some(),
        "blkio" => limits.disk_read.is_some() || limits.disk_write.is_some(),
        _ => false,
    }
}

/// The files of one controller and what goes into them, in order.
pub(super) fn settings(controller: &str, limits: &GroupLimits) -> Vec<(&'static str, String)> {
    let mut list = Vec::new();
    match controller {
        "memory" => {
            if let Some(bytes) = limits.memory {
                // With swap may not be less than without, so without goes first.
                list.push(("memory.limit_in_bytes", bytes.to_string()));
                list.push(("memory.memsw.limit_in_bytes", bytes.to_string()));
            }
        }
        "cpu" => {
            if let Some(share) = limits.cpu {
                list.push(("cpu.cfs_period_us", PERIOD.to_string()));
                // The kernel takes no quota below a millisecond.
                list.push((
                    "cpu.cfs_quota_us",
                    (share * PERIOD / 1000).max(1000).to_string(),
                ));
            }
        }
        "pids" => {
            if let Some(count) = limits.pids {
                list.push(("pids.max", pids_with_init(count)));
            }
        }
        _ => {
            for (major, minor) in &limits.disks {
                if let Some(rate) = limits.disk_read {
                    list.push((
                        "blkio.throttle.read_bps_device",
                        format!("{major}:{minor} {rate}"),
                    ));
                }
                if let Some(rate) = limits.disk_write {
                    list.push((
                        "blkio.throttle.write_bps_device",
                        format!("{major}:{minor} {rate}"),
                    ));
                }
            }
        }
    }
    list
}

impl V1 {
    /// The groups that `limits` needs and v1 can give; `None`: none.
    pub fn new(layout: &Layout, limits: &GroupLimits, id: &str) -> Option<Self> {
        let dirs: Vec<_> = crate::facts::cgroups::V1_CONTROLLERS
            .into_iter()
            .filter(|controller| needs(limits, controller))
            .filter_map(|controller| {
                let place = layout.v1.get(controller)?;
                place.writable.then(|| {
                    (
                        controller,
                        place.dir.join(format!("{}-{id}", super::PARENT)),
                    )
                })
            })
            .collect();
        (!dirs.is_empty()).then_some(Self { dirs })
    }

    fn has(&self, controller: &str) -> bool {
        self.dirs.iter().any(|(name, _)| *name == controller)
    }

    fn dir(&self, controller: &str) -> Option<&PathBuf> {
        self.dirs
            .iter()
            .find(|(name, _)| *name == controller)
            .map(|(_, dir)| dir)
    }

    /// What of `limits` is left for another hierarchy.
    pub fn leaves(&self, limits: &GroupLimits) -> GroupLimits {
        let mut rest = limits.clone();
        if self.has("memory") {
            rest.memory = None;
        }
        if self.has("cpu") {
            rest.cpu = None;
        }
        if self.has("pids") {
            rest.pids = None;
        }
        if self.has("blkio") {
            rest.disk_read = None;
            rest.disk_write = None;
            rest.disks.clear();
        }
        rest
    }
}

/// A new cpu group has no real-time bandwidth (`Documentation/scheduler/sched-rt-group.rst`), and
/// without any the kernel lets no real-time task in: said here, where it would say `EINVAL` alone.
fn refuse_real_time(dir: &Path) -> io::Result<()> {
    // The file is there only in kernels with CONFIG_RT_GROUP_SCHED, and nothing is refused by others.
    if number(dir, "cpu.rt_runtime_us") == Some(0) && process::children_are_real_time() {
        return Err(io::Error::other(
            "the kernel refuses real-time tasks in a group without real-time bandwidth: start aegis-run without real-time priority, or drop limits.cpu",
        ));
    }
    Ok(())
}

impl Hierarchy for V1 {
    fn create(&self, limits: &GroupLimits) -> io::Result<()> {
        for (controller, dir) in &self.dirs {
            std::fs::create_dir(dir)?;
            if *controller == "cpu" {
                refuse_real_time(dir)?;
            }
            for (file, value) in settings(controller, limits) {
                // Swap is accounted only where the kernel was started with it.
                if file == "memory.memsw.limit_in_bytes" && !dir.join(file).exists() {
                    continue;
                }
                write(dir, file, &value)?;
            }
        }
        Ok(())
    }

    fn leaf(&self) -> io::Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn tasks(&self) -> io::Result<Vec<OwnedFd>> {
        self.dirs
            .iter()
            .map(|(_, dir)| {
                Ok(std::fs::OpenOptions::new()
                    .write(true)
                    .open(dir.join("tasks"))?
                    .into())
            })
            .collect()
    }

    fn usage(&self) -> Usage {
        let memory = self.dir("memory");
        Usage {
            oom_kills: memory.and_then(|dir| keyed(dir, "memory.oom_control", "oom_kill")),
            memory_limit_hits: memory.and_then(|dir| number(dir, "memory.failcnt")),
            memory_peak: memory.and_then(|dir| number(dir, "memory.max_usage_in_bytes")),
            pids_refused: self
                .dir("pids")
                .and_then(|dir| keyed(dir, "pids.events", "max")),
            cpu_throttled: self
                .dir("cpu")
                .and_then(|dir| keyed(dir, "cpu.stat", "nr_throttled")),
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|(_, dir)| dir.clone()).collect()
    }
}
