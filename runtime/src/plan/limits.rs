//! Limits: which kernel mechanism holds each, and what stands in where a host lacks one.

use aegis_profile::{LimitKey, Profile};
use serde::Serialize;

use super::Degradation;
use crate::error::Error;
use crate::facts::cgroups::Layout;
use crate::facts::{HostFacts, Request};

/// Bytes of the private tmpfs when neither `tmp` nor `memory` is limited.
const DEFAULT_TMP: u64 = 1 << 30;

/// `RLIMIT_CORE`: a dump would carry the sandbox's memory to a handler on the host. A handler that
/// is a program behind a pipe is stopped by 1, which the kernel takes for a handler that crashed
/// itself (`fs/coredump.c`); 0 stops files only.
pub const CORE_LIMIT: u64 = 1;

/// Limits of a control group. Bytes, bytes per second, thousandths of a processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupLimits {
    /// Memory, and memory with swap.
    pub memory: Option<u64>,
    /// Processor time.
    pub cpu: Option<u64>,
    /// Processes and threads.
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
    /// A control group of its own on the cgroup2 tree, for observation and for killing.
    pub unified_group: bool,
    /// Held by `setrlimit(2)`: resource number and value.
    pub resources: Vec<(u32, u64)>,
    /// Processors that the command may run on, where no control group limits its share.
    pub processors: Option<usize>,
    /// Wall time in milliseconds, held by the supervisor.
    pub time: Option<u64>,
    /// Bytes on standard output and error, held by the supervisor.
    pub output: Option<u64>,
    /// Bytes of the private tmpfs.
    pub tmp: u64,
}

/// Whether groups with this controller can be made: its v1 name and its v2 name.
fn available(layout: &Layout, v1: &str, v2: &str) -> bool {
    layout.v1.get(v1).is_some_and(|place| place.writable)
        || (layout.unified.as_ref().is_some_and(|place| place.writable)
            && layout.unified_controllers.contains(v2))
}

pub(super) fn compile(
    profile: &Profile,
    request: &Request,
    facts: &HostFacts,
    degraded: &mut Vec<Degradation>,
) -> Result<Limits, Error> {
    const DELEGATE: &str = "run below a delegated cgroup: systemd-run --user --scope -p Delegate=yes -- aegis-run ..., or as root";
    let asked = &profile.limits;
    let mut limits = Limits {
        time: asked.value(LimitKey::Time),
        output: asked.value(LimitKey::Output),
        tmp: (asked.value(LimitKey::Tmp))
            .or(asked.value(LimitKey::Memory))
            .unwrap_or(DEFAULT_TMP),
        unified_group: facts
            .cgroups
            .unified
            .as_ref()
            .is_some_and(|place| place.writable),
        ..Limits::default()
    };
    let mut resource = |number: u32, value: u64| limits.resources.push((number, value));
    resource(libc::RLIMIT_CORE, CORE_LIMIT);
    // An inherited right to real-time priority could starve the host.
    resource(libc::RLIMIT_RTPRIO, 0);
    if let Some(files) = asked.value(LimitKey::Files) {
        resource(libc::RLIMIT_NOFILE, files);
    }
    if let Some(size) = asked.value(LimitKey::FileSize) {
        resource(libc::RLIMIT_FSIZE, size);
    }
    if let Some(bytes) = asked.value(LimitKey::Memory) {
        if available(&facts.cgroups, "memory", "memory") {
            limits.group.memory = Some(bytes);
        } else {
            limits.resources.push((libc::RLIMIT_DATA, bytes));
            degraded.push(Degradation {
                layer: "cgroup",
                what: "memory: no memory control group; the private memory of each process is held to it by RLIMIT_DATA; all processes together, memfds and shared memory are not".into(),
                mend: DELEGATE.into(),
            });
        }
    }
    if let Some(count) = asked.value(LimitKey::Pids) {
        if available(&facts.cgroups, "pids", "pids") {
            limits.group.pids = Some(count);
        } else {
            // RLIMIT_NPROC is counted per user namespace and user, so it bounds this sandbox alone
            // (user_namespaces(7), "Limits"); PID 1 and the supervisor are in the count.
            limits
                .resources
                .push((libc::RLIMIT_NPROC, count.saturating_add(2)));
            degraded.push(Degradation {
                layer: "cgroup",
                what: "pids: no pids control group; held by RLIMIT_NPROC of the sandbox's user namespace".into(),
                mend: DELEGATE.into(),
            });
        }
    }
    if let Some(share) = asked.value(LimitKey::Cpu) {
        if available(&facts.cgroups, "cpu", "cpu") {
            limits.group.cpu = Some(share);
        } else {
            let count = usize::try_from(share.div_ceil(1000)).unwrap_or(usize::MAX);
            limits.processors = Some(count.min(facts.kernel.processors).max(1));
            degraded.push(Degradation {
                layer: "cgroup",
                what: format!(
                    "cpu: no cpu control group; held to {count} whole processors by affinity"
                ),
                mend: DELEGATE.into(),
            });
        }
    }
    for key in [LimitKey::DiskRead, LimitKey::DiskWrite] {
        let (Some(limit), name) = (asked.get(key), key.name()) else {
            continue;
        };
        if !available(&facts.cgroups, "blkio", "io") {
            if request.may_be_missing.contains(name) {
                degraded.push(Degradation {
                    layer: "cgroup",
                    what: format!("{name}: not limited; the policy permits that (may-be-missing)"),
                    mend: DELEGATE.into(),
                });
                continue;
            }
            return Err(Error::Unenforceable {
                origin: limit.origin.to_string(),
                what: format!("limits.{name}"),
                reason: "this user has no control group with the io controller".into(),
                help: DELEGATE.into(),
            });
        }
        if key == LimitKey::DiskRead {
            limits.group.disk_read = Some(limit.value);
        } else {
            limits.group.disk_write = Some(limit.value);
        }
    }
    if limits.group.disk_read.is_some() || limits.group.disk_write.is_some() {
        let mut disks: Vec<(u32, u32)> = facts
            .paths
            .values()
            .flatten()
            .map(|found| (libc::major(found.dev), libc::minor(found.dev)))
            .map(|device| facts.disks.get(&device).copied().unwrap_or(device))
            // Major 0: no block device behind it (tmpfs, overlay, network).
            .filter(|(major, _)| *major != 0)
            .collect();
        disks.sort_unstable();
        disks.dedup();
        limits.group.disks = disks;
    }
    if !limits.unified_group {
        degraded.push(Degradation {
            layer: "cgroup",
            what: "no group of its own on the cgroup2 tree: observing this run by eBPF is not possible".into(),
            mend: DELEGATE.into(),
        });
    }
    Ok(limits)
}
