//! The report of a run: what was in force, how it ended, what it used, what was denied.

use std::collections::BTreeSet;
use std::time::Duration;

use aegis_policy::request::Traffic;
use aegis_policy::{Hash, Opinion, Verdict, What};
use aegis_sys::process::{self, Change};
use serde::Serialize;

use super::changes::Changed;
use super::denials::Denial;
use crate::cgroup::Usage;
use crate::plan::{Degraded, Grant, GroupLimits, Plan};
pub use crate::types::now;
use crate::types::{GrantOrigin, Identity};

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum Cause {
    /// The command exited.
    Exited {
        /// Its status.
        status: i32,
    },
    /// A signal ended it.
    Killed {
        /// The signal.
        signal: i32,
    },
    /// It did something out of the ordinary: see [`Report::anomalies`].
    Anomaly,
    /// `limits.time`.
    TimeLimit,
    /// `limits.memory`.
    MemoryLimit,
    /// `limits.output`.
    OutputLimit,
    /// `limits.file-size` (`SIGXFSZ`).
    FileSizeLimit,
    /// What the command wrote could not all be passed on: its disk is full, or it cannot be written. The command itself
    /// ended without an error.
    OutputLost,
}

impl Cause {
    /// The cause for a run that the supervisor did not end.
    pub(super) fn of(ended: Change, usage: &Usage, plan: &Plan) -> Self {
        let out_of_memory = usage.own_oom_kills().is_some();
        match ended {
            // A shell reports a child killed by SIGKILL as 128+9.
            Change::Killed(libc::SIGKILL) | Change::Exited(137) if out_of_memory => {
                Self::MemoryLimit
            }
            Change::Killed(libc::SIGXFSZ) if plan.limits.has_resource(libc::RLIMIT_FSIZE) => {
                Self::FileSizeLimit
            }
            Change::Exited(status) => Self::Exited { status },
            Change::Killed(signal) | Change::Stopped(signal) => Self::Killed { signal },
            Change::Continued => Self::Exited { status: 0 },
        }
    }

    /// The exit status for this cause: 124 for the time limit, 128+n for a signal.
    pub fn exit_status(self) -> u8 {
        let status = match self {
            Self::Exited { status } => status,
            Self::Killed { signal } => 128 + signal,
            Self::TimeLimit => 124,
            Self::Anomaly | Self::MemoryLimit | Self::OutputLimit => 128 + libc::SIGKILL,
            Self::FileSizeLimit => 128 + libc::SIGXFSZ,
            Self::OutputLost => 125,
        };
        (status & 0xff) as u8
    }

    /// The limit that ended the run, by its key.
    pub fn limit(self) -> Option<&'static str> {
        match self {
            Self::Anomaly | Self::Exited { .. } | Self::Killed { .. } | Self::OutputLost => None,
            Self::TimeLimit => Some("time"),
            Self::MemoryLimit => Some("memory"),
            Self::OutputLimit => Some("output"),
            Self::FileSizeLimit => Some("file-size"),
        }
    }
}

/// Resources used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Wall time from the start of the command, in microseconds.
    pub wall_us: u64,
    /// Processor time in user mode, in microseconds.
    pub user_us: u64,
    /// Processor time in the kernel, in microseconds.
    pub system_us: u64,
    /// The largest resident set of any one process, in KiB.
    pub max_rss_kib: u64,
    /// What the control groups report.
    #[serde(flatten)]
    pub group: Usage,
}

impl Resources {
    /// The use of this process's children, which ran for `wall`.
    pub(super) fn new(wall: Duration, group: Usage) -> Self {
        let (user_us, system_us, max_rss_kib) = process::children_usage();
        Self {
            wall_us: wall.as_micros() as u64,
            user_us,
            system_us,
            max_rss_kib,
            group,
        }
    }
}

/// Adds the limits that the control groups have counted. Each is named once.
pub(super) fn add_counted(limits: &mut Vec<&'static str>, group: &GroupLimits, usage: &Usage) {
    for (key, limit, hits) in [
        ("memory", group.memory, usage.own_oom_kills()),
        ("pids", group.pids, usage.pids_refused),
        ("cpu", group.cpu, usage.cpu_throttled),
    ] {
        if limit.is_some() && hits.unwrap_or(0) > 0 {
            limits.push(key);
        }
    }
    let mut seen = BTreeSet::new();
    limits.retain(|key| seen.insert(*key));
}

/// Each limit that error messages speak of, once, without those that were counted.
pub(super) fn not_counted(guessed: Vec<&'static str>, met: &[&'static str]) -> Vec<&'static str> {
    let mut seen: BTreeSet<_> = met.iter().copied().collect();
    guessed.into_iter().filter(|key| seen.insert(key)).collect()
}

/// A layer and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// The layer.
    pub layer: &'static str,
    /// How it is in force.
    pub state: String,
}

/// Where a run is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// The log's directory.
    pub log: Option<String>,
    /// The first record, by its place in the log.
    pub first: Option<u64>,
    /// The last record, not counting the checkpoint that signs it.
    pub last: Option<u64>,
    /// Why not all of the run is recorded.
    pub unrecorded: Option<String>,
}

/// Something that the command did out of the ordinary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// What it was.
    pub what: What,
    /// The policy's opinion.
    #[serde(flatten)]
    pub said: Opinion,
    /// What was done about it: `recorded`, `warned`, `continued`, `refused` or `killed`.
    pub reaction: &'static str,
    /// What the policy asks for instead, where the host could not do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<&'static str>,
}

/// A grant about which the policy says more than `allow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The line that declares it.
    pub from: GrantOrigin,
    /// The policy's opinion.
    #[serde(flatten)]
    pub said: Opinion,
    /// What was asked for.
    pub what: What,
}

/// The report of one run, as `--report` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The format of this value.
    pub version: u32,
    /// The run's id.
    pub run: String,
    /// The profile's name.
    pub profile: String,
    /// SHA-256 of the merged profile; see [`Report::seal`].
    pub profile_hash: Option<Hash>,
    /// SHA-256 of the plan; see [`Report::seal`].
    pub plan_hash: Option<Hash>,
    /// SHA-256 of the policy that decided about the plan.
    pub policy_hash: Option<Hash>,
    /// What was granted although the policy warns of it.
    pub violations: Vec<Violation>,
    /// Where the run is recorded.
    pub audit: Option<Recorded>,
    /// The command, as text.
    pub command: Vec<String>,
    /// The user and group of the command.
    pub identity: Identity,
    /// What was in force.
    pub layers: Vec<Layer>,
    /// What was degraded on this host.
    pub degraded: Vec<Degraded>,
    /// Start, in microseconds since 1970.
    pub started_us: u64,
    /// End, in microseconds since 1970.
    pub ended_us: u64,
    /// Why it ended.
    #[serde(flatten)]
    pub cause: Cause,
    /// The exit status of `aegis-run`.
    pub exit_status: u8,
    /// Limits that were met, whether or not they ended the run, as the kernel or the supervisor has counted.
    pub limits_met: Vec<&'static str>,
    /// Limits that the command's error messages speak of.
    pub limits_guessed: Vec<&'static str>,
    /// Resources used.
    pub resources: Resources,
    /// What was denied.
    pub denials: Vec<Denial>,
    /// What was exchanged with the hosts that it reached by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
    /// Files that the run made and programs of the host act upon: see [`crate::facts::plantable`].
    pub planted: Vec<String>,
    /// What the command wrote to its private home and is gone: a few names.
    pub lost: Vec<String>,
    /// What the command wrote over directories of `files.overlay` and is gone, by path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<Changed>,
    /// How many such changes are not listed, at least: there were too many, or the command has made them unreadable.
    #[serde(skip_serializing_if = "is_zero")]
    pub changes_left_out: u64,
    /// Whether the command failed and no denial explains it.
    pub cause_unknown: bool,
    /// What was out of the ordinary, of a run under `--observe`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<Anomaly>,
    /// How many more there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub anomalies_left_out: u64,
    /// Events that were lost; without observation there are none to lose.
    pub lost_events: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Report {
    /// Adds the hashes of what was run, and where it is recorded.
    pub fn seal(&mut self, profile: Hash, plan: Option<Hash>, recorded: Recorded) {
        self.profile_hash = Some(profile);
        self.plan_hash = plan;
        self.audit = Some(recorded);
    }
}

/// The violations of a plan, by the policy that decided about it.
pub(super) fn violations(plan: &Plan) -> Vec<Violation> {
    let violation = |grant: &Grant| {
        let said = grant.decision.clone()?;
        (said.verdict > Verdict::Allow).then(|| Violation {
            from: grant.from.clone(),
            said,
            what: grant.what.clone(),
        })
    };
    plan.grants.iter().filter_map(violation).collect()
}

/// What is in force under a plan.
pub fn layers(plan: &Plan) -> Vec<Layer> {
    let namespaces: Vec<String> = (plan.namespaces.iter())
        .map(|namespace| format!("{namespace:?}").to_lowercase())
        .collect();
    let group = &plan.limits.group;
    let held: Vec<&str> = [
        ("memory", group.memory),
        ("cpu", group.cpu),
        ("pids", group.pids),
        ("disk-read", group.disk_read),
        ("disk-write", group.disk_write),
    ]
    .into_iter()
    .filter_map(|(name, limit)| limit.map(|_| name))
    .collect();
    let landlock = &plan.landlock;
    let calls = plan.seccomp.rules.iter().len();
    [
        ("namespaces", namespaces.join(" ")),
        (
            "root",
            format!("tmpfs, {} mounts", plan.root.mounts().count()),
        ),
        (
            "landlock",
            format!("ABI {}, {} rules", landlock.abi, landlock.paths.len()),
        ),
        (
            "seccomp",
            format!("default-deny, {calls} system calls known"),
        ),
        (
            "capabilities",
            "all sets empty, no_new_privs, securebits locked".into(),
        ),
        (
            "cgroup",
            match (plan.limits.unified_group, held.is_empty()) {
                (_, false) => format!("limits {}", held.join(" ")),
                (true, true) => "a group of its own, nothing limited".into(),
                (false, true) => "none".into(),
            },
        ),
    ]
    .map(|(layer, state)| Layer { layer, state })
    .into()
}
