//! Limits: which kernel mechanism holds each, and what stands in where a host lacks one.

use std::collections::BTreeSet;

use aegis_profile::{Declared, LimitKey};
use serde::Serialize;

use super::Degraded;
use crate::error::Error;
use crate::facts::Host;
use crate::facts::cgroups::Layout;
use crate::types::Network;

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
    /// Bytes exchanged with the outside in a second, held by the broker, which serves the plan's listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<u64>,
    /// What each declared limit is worth on this host.
    pub held: Vec<Held>,
}

/// What holds a declared limit on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The limit.
    pub limit: LimitKey,
    /// What holds it.
    pub by: &'static str,
    /// How far it falls short of what it says; `None`: it holds as declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub less: Option<Less>,
}

/// How far a limit falls short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Less {
    /// What is held in its place.
    pub what: String,
    /// How to have it held as declared.
    pub fix: String,
}

impl Limits {
    /// Whether `setrlimit(2)` holds a limit with this resource number.
    pub(crate) fn has_resource(&self, number: u32) -> bool {
        self.resources.iter().any(|(found, _)| *found == number)
    }
}

/// Whether groups with this controller can be made on v1, which then holds the limit.
fn on_v1(layout: &Layout, controller: &str) -> bool {
    (layout.v1.get(controller)).is_some_and(|place| place.writable)
}

/// Whether groups with this controller, by its v1 or v2 name, can be made.
fn available(layout: &Layout, v1: &str, v2: &str) -> bool {
    on_v1(layout, v1)
        || (layout.unified.as_ref().is_some_and(|place| place.writable)
            && layout.unified_controllers.contains(v2))
}

/// How a run gets a control group.
pub(crate) const DELEGATE: &str = "run it in a control group of this user's own: systemd-run --user --scope -p Delegate=yes -- aegis-run ..., or as root";

/// How this user gets a control group with this controller, by its v1 or v2 name.
fn how_to_get(layout: &Layout, v1: &str, v2: &str) -> String {
    match (layout.v1.contains_key(v1), v2) {
        (true, _) => {
            format!(
                "run it as root, or in a {v1} control group that root has given to this user, or boot with cgroup v2, which can be delegated (on the kernel's command line: systemd.unified_cgroup_hierarchy=1)"
            )
        }
        // systemd delegates it only where it is told to.
        (false, "io") => "`aegis doctor` says how this user gets the io controller".into(),
        _ => DELEGATE.into(),
    }
}

/// Chooses what holds each limit on this host. `may_be_missing`: limits that the policy lets it leave unenforced.
/// `disks`: the whole disks (major, minor) that limits on block traffic are for. `network`: what traffic goes through; `publishes`: its
/// ports are published.
///
/// # Errors
/// Nothing on this host can hold a limit, or not as declared where it must.
pub fn compile(
    asked: &aegis_profile::Limits,
    may_be_missing: &BTreeSet<String>,
    host: &Host,
    disks: Vec<(u32, u32)>,
    network: Network,
    publishes: bool,
    degraded: &mut Vec<Degraded>,
) -> Result<Limits, Error> {
    check(asked, network)?;
    let mut limits = Limits::default();
    for (key, limit) in asked.iter() {
        let (by, less) = limits.hold(
            key,
            limit.value,
            host,
            network == Network::Brokered || publishes,
        );
        if by == NOTHING && !may_be_missing.contains(key.name()) {
            let fix = less.map(|less| less.fix).unwrap_or_default();
            return Err(Error::unenforceable(
                &limit.origin,
                format!("limits.{key}"),
                "this user has no control group with the io controller",
                &fix,
            ));
        }
        limits.held.push(Held {
            limit: key,
            by,
            less,
        });
    }
    for insisted in asked.must_hold() {
        let held = limits.held.iter().find(|held| held.limit == insisted.value);
        if let Some(less) = held.and_then(|held| held.less.as_ref()) {
            return Err(must_hold(
                insisted,
                &format!("it would be {}", less.what),
                &less.fix,
            ));
        }
    }
    if limits.group.disk_read.is_some() || limits.group.disk_write.is_some() {
        limits.group.disks = disks;
    }
    for Held { limit, less, .. } in &limits.held {
        degraded.extend(less.iter().map(|less| Degraded {
            layer: "cgroup",
            what: format!("{limit}: {}", less.what),
            fix: less.fix.clone(),
        }));
    }
    Ok(limits)
}

/// Refuses what [`compile`] would refuse on any host: that a limit must hold which is not set, or one that nothing could hold.
///
/// # Errors
/// There is such a limit.
pub(super) fn check(asked: &aegis_profile::Limits, network: Network) -> Result<(), Error> {
    if let (Some(rate), Network::Host) = (asked.get(LimitKey::Net), network) {
        return Err(Error::unenforceable(
            &rate.origin,
            "limits.net",
            "the traffic of a command in the host's network passes nobody who could bound it",
            "name the hosts that it needs in `net.outbound`, in place of `host`, or remove `limits.net`",
        ));
    }
    let mut insisted = asked.must_hold().iter();
    match insisted.find(|limit| asked.get(limit.value).is_none()) {
        Some(limit) => Err(must_hold(
            limit,
            "it is not set",
            "set it, or take it off the list",
        )),
        None => Ok(()),
    }
}

fn must_hold(limit: &Declared<LimitKey>, reason: &str, help: &str) -> Error {
    let what = format!(
        "limits.{}, which must hold (limits.must-hold),",
        limit.value
    );
    Error::unenforceable(&limit.origin, what, reason, help)
}

const GROUP: &str = "control group";
const SUPERVISOR: &str = "supervisor";
const BROKER: &str = "egress broker";
const NOTHING: &str = "nothing";

impl Limits {
    /// Sets a limit where this host can hold it. Returns what holds it, and how far that falls short.
    fn hold(
        &mut self,
        key: LimitKey,
        value: u64,
        host: &Host,
        has_broker: bool,
    ) -> (&'static str, Option<Less>) {
        let groups = &host.cgroups;
        let less = |what: String, v1, v2| Less {
            what,
            fix: how_to_get(groups, v1, v2),
        };
        match key {
            LimitKey::Time => {
                self.time = Some(value);
                (SUPERVISOR, None)
            }
            LimitKey::Output => {
                self.output = Some(value);
                (SUPERVISOR, None)
            }
            LimitKey::Files => {
                self.resources.push((libc::RLIMIT_NOFILE, value));
                ("RLIMIT_NOFILE of each process", None)
            }
            LimitKey::FileSize => {
                self.resources.push((libc::RLIMIT_FSIZE, value));
                ("RLIMIT_FSIZE for each file", None)
            }
            LimitKey::Tmp => ("size of the private tmpfs", None),
            // The host's network is refused with it.
            LimitKey::Net if has_broker => {
                self.net = Some(value);
                (BROKER, None)
            }
            LimitKey::Net => ("no network but its own loopback device", None),
            LimitKey::Memory if available(groups, "memory", "memory") => {
                self.group.memory = Some(value);
                (
                    GROUP,
                    groups.swap_not_counted.then(|| Less {
                        what: "held for memory, and not for swap, which this kernel does not count"
                            .into(),
                        fix: "put swapaccount=1 on the kernel's command line, or switch swap off"
                            .into(),
                    }),
                )
            }
            LimitKey::Memory => {
                self.resources.push((libc::RLIMIT_DATA, value));
                let what = "held for the private memory of each process apart (RLIMIT_DATA), and not for all together, memfds and shared memory";
                (
                    "RLIMIT_DATA of each process",
                    Some(less(what.into(), "memory", "memory")),
                )
            }
            LimitKey::Cpu if available(groups, "cpu", "cpu") => {
                self.group.cpu = Some(value);
                (GROUP, None)
            }
            LimitKey::Cpu => {
                let count = usize::try_from(value.div_ceil(1000)).unwrap_or(usize::MAX);
                let count = count.min(host.kernel.processors).max(1);
                self.processors = Some(count);
                let what = || format!("held to whole processors, {count} (affinity)");
                let more = (count as u64) * 1000 > value;
                (
                    "processor affinity",
                    more.then(|| less(what(), "cpu", "cpu")),
                )
            }
            LimitKey::Pids => {
                // PID 1, and on a terminal the witness in the command's process group.
                let value = value.saturating_add(1 + u64::from(host.has_terminal()));
                if available(groups, "pids", "pids") {
                    self.group.pids = Some(value);
                    return (GROUP, None);
                }
                // It is counted per user namespace and user, so it bounds this sandbox, and as a whole
                // (user_namespaces(7), "Limits"); the supervisor is in the count.
                let value = value.saturating_add(1);
                self.resources.push((libc::RLIMIT_NPROC, value));
                ("RLIMIT_NPROC of the sandbox's user namespace", None)
            }
            LimitKey::DiskRead if available(groups, "blkio", "io") => {
                self.group.disk_read = Some(value);
                (GROUP, None)
            }
            LimitKey::DiskWrite if available(groups, "blkio", "io") => {
                self.group.disk_write = Some(value);
                // What the page cache writes later is put down to the group that its pages belong to, if that is on the same
                // tree (cgroup-v2.rst, "Writeback").
                let later = !on_v1(groups, "blkio") && !groups.v1.contains_key("memory");
                let less = (!later).then(|| Less {
                    what: "held for direct and synchronous writes, and not for what the page cache writes back later".into(),
                    fix: "boot with cgroup v2 alone: systemd.unified_cgroup_hierarchy=1 on the kernel's command line".into(),
                });
                (GROUP, less)
            }
            LimitKey::DiskRead | LimitKey::DiskWrite => {
                let what = "not held; the policy permits that (may-be-missing)";
                (NOTHING, Some(less(what.into(), "blkio", "io")))
            }
        }
    }
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
    // queues are counted for the caller as well (`kernel/ucount.c`), and so is what is locked in memory: a part of what the user has.
    let always = [
        (libc::RLIMIT_CORE, CORE_LIMIT),
        (libc::RLIMIT_RTPRIO, 0),
        (libc::RLIMIT_SIGPENDING, 1024),
        (libc::RLIMIT_MSGQUEUE, 256 << 10),
        (libc::RLIMIT_MEMLOCK, 4 << 20),
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
        let disk = self.disk_read.is_some() || self.disk_write.is_some();
        [
            ("memory", self.memory.is_some()),
            ("cpu", self.cpu.is_some()),
            ("pids", self.pids.is_some()),
            ("blkio", disk),
        ]
        .iter()
        .any(|(controller, asked)| *asked && !on_v1(layout, controller))
    }
}
