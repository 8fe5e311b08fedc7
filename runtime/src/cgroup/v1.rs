//! cgroup v1: a hierarchy, and so a directory, for each controller.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{PARENT, PERIOD, Usage, keyed, needs, number, quota, write};
use crate::facts::cgroups::{Layout, V1_CONTROLLERS};
use crate::plan::GroupLimits;
use aegis_sys::process;

/// The v1 groups of a run, by controller.
pub struct V1 {
    dirs: Vec<(&'static str, PathBuf)>,
}

/// Files that a kernel can be without: swap is counted only where it was started with `swapaccount=1`, and the memory of
/// sockets by kernels that still have this file.
const OPTIONAL: [&str; 2] = [
    "memory.memsw.limit_in_bytes",
    "memory.kmem.tcp.limit_in_bytes",
];

/// The files and what goes into them, in order. The first part of a file's name is its controller.
pub(super) fn settings(limits: &GroupLimits) -> Vec<(&'static str, String)> {
    let mut list = Vec::new();
    if let Some(bytes) = limits.memory {
        // The limit with swap may not be below the one without, so the one without goes first.
        list.push(("memory.limit_in_bytes", bytes.to_string()));
        list.push(("memory.memsw.limit_in_bytes", bytes.to_string()));
        // What waits in sockets is counted apart, and only where it is limited.
        list.push(("memory.kmem.tcp.limit_in_bytes", bytes.to_string()));
    }
    if let Some(share) = limits.cpu {
        list.push(("cpu.cfs_period_us", PERIOD.to_string()));
        list.push(("cpu.cfs_quota_us", quota(share).to_string()));
    }
    if let Some(count) = limits.pids {
        list.push(("pids.max", count.to_string()));
    }
    for (major, minor) in &limits.disks {
        for (file, rate) in [
            ("blkio.throttle.read_bps_device", limits.disk_read),
            ("blkio.throttle.write_bps_device", limits.disk_write),
        ] {
            list.extend(rate.map(|rate| (file, format!("{major}:{minor} {rate}"))));
        }
    }
    list
}

impl V1 {
    /// The groups that `limits` needs and v1 can give.
    pub fn new(layout: &Layout, limits: &GroupLimits, id: &str) -> Self {
        let needed = V1_CONTROLLERS
            .into_iter()
            .filter(|name| needs(limits, name));
        let dir = |name| {
            let place = layout.v1.get(name).filter(|place| place.writable)?;
            Some((name, place.dir.join(format!("{PARENT}-{id}"))))
        };
        Self {
            dirs: needed.filter_map(dir).collect(),
        }
    }

    fn dir(&self, controller: &str) -> Option<&PathBuf> {
        let found = self.dirs.iter().find(|(name, _)| *name == controller);
        found.map(|(_, dir)| dir)
    }

    /// The part of `limits` that is left for another hierarchy.
    pub fn leaves(&self, limits: &GroupLimits) -> GroupLimits {
        let mut rest = limits.clone();
        for (controller, _) in &self.dirs {
            match *controller {
                "memory" => rest.memory = None,
                "cpu" => rest.cpu = None,
                "pids" => rest.pids = None,
                _ => {
                    rest.disk_read = None;
                    rest.disk_write = None;
                    rest.disks.clear();
                }
            }
        }
        rest
    }

    /// Makes the groups and sets their limits.
    pub fn create(&self, limits: &GroupLimits) -> io::Result<()> {
        for (controller, dir) in &self.dirs {
            std::fs::create_dir(dir)?;
            if *controller == "cpu" {
                refuse_real_time(dir)?;
            }
            for (file, value) in settings(limits) {
                let absent = || OPTIONAL.contains(&file) && !dir.join(file).exists();
                if file.split('.').next() == Some(*controller) && !absent() {
                    write(dir, file, &value)?;
                }
            }
        }
        Ok(())
    }

    /// `tasks` files: a process joins the groups by writing to them.
    pub fn tasks(&self) -> io::Result<Vec<OwnedFd>> {
        let open = |dir: &PathBuf| aegis_sys::files::open(dir.join("tasks"), libc::O_WRONLY);
        self.dirs.iter().map(|(_, dir)| open(dir)).collect()
    }

    /// What the groups counted.
    pub fn usage(&self) -> Usage {
        let [memory, pids, cpu] = ["memory", "pids", "cpu"].map(|name| self.dir(name));
        Usage {
            oom_kills: memory.and_then(|dir| keyed(dir, "memory.oom_control", "oom_kill")),
            memory_limit_hits: memory.and_then(|dir| memory_limit_hits(dir)),
            memory_peak: memory.and_then(|dir| number(dir, "memory.max_usage_in_bytes")),
            pids_refused: pids.and_then(|dir| keyed(dir, "pids.events", "max")),
            cpu_throttled: cpu.and_then(|dir| keyed(dir, "cpu.stat", "nr_throttled")),
        }
    }

    /// The groups' directories.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|(_, dir)| dir.clone()).collect()
    }
}

/// How often the limit on memory was met. Newer kernels no longer count that on v1: once, if what was used came as close
/// to it as the largest allocation for which the kernel ends processes (`PAGE_ALLOC_COSTLY_ORDER`: 8 pages of at most
/// 64 KiB).
fn memory_limit_hits(dir: &Path) -> Option<u64> {
    let counted = number(dir, "memory.failcnt")?;
    let met = || {
        let peak = number(dir, "memory.max_usage_in_bytes")?;
        Some(peak.saturating_add(8 << 16) >= number(dir, "memory.limit_in_bytes")?)
    };
    Some(counted.max(u64::from(met().unwrap_or(false))))
}

/// A new cpu group has no real-time bandwidth (`Documentation/scheduler/sched-rt-group.rst`), and without
/// it the kernel admits no real-time task: this error says so, where the kernel's would be a bare `EINVAL`.
fn refuse_real_time(dir: &Path) -> io::Result<()> {
    // The file exists only in kernels with CONFIG_RT_GROUP_SCHED; other kernels refuse nothing.
    if number(dir, "cpu.rt_runtime_us") == Some(0) && process::children_are_real_time() {
        return Err(io::Error::other(
            "the kernel refuses real-time tasks in a group without real-time bandwidth: start aegis-run without real-time priority, or drop limits.cpu",
        ));
    }
    Ok(())
}
