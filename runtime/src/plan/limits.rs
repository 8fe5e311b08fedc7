//! Limits: which kernel mechanism holds each, and what stands in where a host lacks one.

use std::collections::BTreeSet;

use aegis_profile::LimitKey;
use serde::Serialize;

use super::Degraded;
use crate::error::Error;
use crate::facts::Host;
use crate::facts::cgroups::Layout;

/// Bytes of the private tmpfs when neither `tmp` nor `memory` is limited.
const DEFAULT_TMP: u64 = 1 << 30;

/// `RLIMIT_CORE`: a dump would carry the sandbox's memory to a handler on the host. The value 1
/// stops a handler behind a pipe, since the kernel takes it for a handler that crashed itself
/// (`fs/coredump.c`); 0 stops files only.
pub const CORE_LIMIT: u64 = 1;

/// Limits of a control group. Bytes, bytes per second, thousandths of a processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupLimits {
    /// Memory, and memory with swap.
    pub memory: Option<u64>,
    /// Processor time.
    pub cpu: Option<u64>,
    /// Processes and threads, Aegis's own in the sandbox included.
    pub pids: Option<u64>,
    /// Block reads.
    pub disk_read: Option<u64>,
    /// Block writes.
    pub disk_write: Option<u64>,
    /// The disks (major, minor) that the grants lie on, for the two above.
    pub disks: Vec<(u32, u32)>,
}

/// All limits of a run, by who holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Held by control groups.
    pub group: GroupLimits,
    /// A control group of its own on the cgroup2 tree, for what v1 does not hold.
    pub unified_group: bool,
    /// Held by `setrlimit(2)`: resource number and value.
    pub resources: Vec<(u32, u64)>,
    /// Processors that the command may run on, where no control group limits its share.
    pub processors: Option<usize>,
    /// Wall time in milliseconds, held by the supervisor.
    pub time: Option<u64>,
    /// Bytes on standard output and error, held by the supervisor.
    pub output: Option<u64>,
}

impl Limits {
    /// Whether `setrlimit(2)` holds a limit with this resource number.
    pub(crate) fn has_resource(&self, number: u32) -> bool {
        self.resources.iter().any(|(found, _)| *found == number)
    }
}

/// Whether groups with this controller, by its v1 or v2 name, can be made.
fn available(layout: &Layout, v1: &str, v2: &str) -> bool {
    layout.v1.get(v1).is_some_and(|place| place.writable)
        || (layout.unified.as_ref().is_some_and(|place| place.writable)
            && layout.unified_controllers.contains(v2))
}

/// How this user gets control groups: `aegis doctor` says it in full.
fn remedy(host: &Host) -> &'static str {
    match host.cgroups.v1.is_empty() {
        true => {
            "run below a delegated cgroup: systemd-run --user --scope -p Delegate=yes -- aegis-run ..., or as root"
        }
        false => {
            "run as root, or boot with cgroup v2, which can be delegated (on the kernel's command line: systemd.unified_cgroup_hierarchy=1)"
        }
    }
}

fn less(host: &Host, what: impl Into<String>) -> Degraded {
    Degraded {
        layer: "cgroup",
        what: what.into(),
        fix: remedy(host).into(),
    }
}

/// Chooses what holds each limit on this host. `may_be_missing`: limits that the policy lets it leave unenforced.
/// `disks`: the whole disks (major, minor) that limits on block traffic are for.
///
/// # Errors
/// Nothing on this host can hold a limit.
pub fn compile(
    asked: &aegis_profile::Limits,
    may_be_missing: &BTreeSet<String>,
    host: &Host,
    disks: Vec<(u32, u32)>,
    degraded: &mut Vec<Degraded>,
) -> Result<Limits, Error> {
    let mut limits = Limits {
        time: asked.value(LimitKey::Time),
        output: asked.value(LimitKey::Output),
        ..Limits::default()
    };
    if let Some(files) = asked.value(LimitKey::Files) {
        limits.resources.push((libc::RLIMIT_NOFILE, files));
    }
    if let Some(size) = asked.value(LimitKey::FileSize) {
        limits.resources.push((libc::RLIMIT_FSIZE, size));
    }
    if let Some(bytes) = asked.value(LimitKey::Memory) {
        if available(&host.cgroups, "memory", "memory") {
            limits.group.memory = Some(bytes);
        } else {
            limits.resources.push((libc::RLIMIT_DATA, bytes));
            degraded.push(less(host, "memory: no memory control group; the private memory of each process is held to it by RLIMIT_DATA; all processes together, memfds and shared memory are not"));
        }
    }
    if let Some(count) = asked.value(LimitKey::Pids) {
        // PID 1, and on a terminal the witness in the command's process group.
        let count = count.saturating_add(1 + u64::from(host.has_terminal()));
        if available(&host.cgroups, "pids", "pids") {
            limits.group.pids = Some(count);
        } else {
            // RLIMIT_NPROC is counted per user namespace and user, so it bounds this sandbox alone
            // (user_namespaces(7), "Limits"); the supervisor is in the count.
            let count = count.saturating_add(1);
            limits.resources.push((libc::RLIMIT_NPROC, count));
            degraded.push(less(
                host,
                "pids: no pids control group; held by RLIMIT_NPROC of the sandbox's user namespace",
            ));
        }
    }
    if let Some(share) = asked.value(LimitKey::Cpu) {
        if available(&host.cgroups, "cpu", "cpu") {
            limits.group.cpu = Some(share);
        } else {
            let count = usize::try_from(share.div_ceil(1000)).unwrap_or(usize::MAX);
            limits.processors = Some(count.min(host.kernel.processors).max(1));
            degraded.push(less(
                host,
                format!("cpu: no cpu control group; held to {count} whole processors by affinity"),
            ));
        }
    }
    for key in [LimitKey::DiskRead, LimitKey::DiskWrite] {
        let (Some(limit), name) = (asked.get(key), key.name()) else {
            continue;
        };
        if !available(&host.cgroups, "blkio", "io") {
            if may_be_missing.contains(name) {
                degraded.push(less(
                    host,
                    format!("{name}: not limited; the policy permits that (may-be-missing)"),
                ));
                continue;
            }
            return Err(Error::unenforceable(
                &limit.origin,
                format!("limits.{name}"),
                "this user has no control group with the io controller",
                remedy(host),
            ));
        }
        if key == LimitKey::DiskRead {
            limits.group.disk_read = Some(limit.value);
        } else {
            limits.group.disk_write = Some(limit.value);
        }
    }
    if limits.group.disk_read.is_some() || limits.group.disk_write.is_some() {
        limits.group.disks = disks;
    }
    Ok(limits)
}

/// Bytes that the private tmpfs may hold.
pub fn tmp(asked: &aegis_profile::Limits) -> u64 {
    (asked.value(LimitKey::Tmp))
        .or(asked.value(LimitKey::Memory))
        .unwrap_or(DEFAULT_TMP)
}

/// Adds limits that hold in every sandbox, whatever front end makes the plan.
pub(super) fn held(mut limits: Limits, host: &Host) -> Limits {
    // An inherited right to real-time priority could starve the host. Pending signals, which timers take too, and message
    // queues are counted for the caller as well (`kernel/ucount.c`): a part of what the user has.
    let always = [
        (libc::RLIMIT_CORE, CORE_LIMIT),
        (libc::RLIMIT_RTPRIO, 0),
        (libc::RLIMIT_SIGPENDING, 1024),
        (libc::RLIMIT_MSGQUEUE, 256 << 10),
    ];
    limits
        .resources
        .retain(|(resource, _)| always.iter().all(|(known, _)| known != resource));
    limits.resources.splice(0..0, always);
    limits.unified_group = limits.group.needs_unified(&host.cgroups);
    limits
}

impl GroupLimits {
    /// Whether one of them is held by the cgroup2 tree: v1 holds what it has a controller for.
    fn needs_unified(&self, layout: &Layout) -> bool {
        let v1 = |controller: &str| {
            layout
                .v1
                .get(controller)
                .is_some_and(|place| place.writable)
        };
        let disk = self.disk_read.is_some() || self.disk_write.is_some();
        [
            ("memory", self.memory.is_some()),
            ("cpu", self.cpu.is_some()),
            ("pids", self.pids.is_some()),
            ("blkio", disk),
        ]
        .iter()
        .any(|(controller, asked)| *asked && !v1(controller))
    }
}
