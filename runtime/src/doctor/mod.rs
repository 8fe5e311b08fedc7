//! `aegis doctor`: whether this host lets `aegis-run` enforce everything for this user, and if not,
//! why, and how to fix it.
//!
//! Each layer is probed by using it, in a child of its own that ends with the probe (`child`);
//! a list of what the kernel was built or configured with is read only to tell *why* something
//! failed (`host`), and that is a pure function (`diagnose`). Nothing is left behind, but that
//! on cgroup v2 controllers stay enabled for children of the group that runs are made in, as after
//! any run.

mod child;
mod confine;
mod diagnose;
mod fix;
mod groups;
mod host;
mod layer;
mod mounts;
mod namespaces;
#[cfg(test)]
mod tests;

use serde::Serialize;

use host::Host;
use layer::{Finding, Layer, Outcome};

/// How a layer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It works in full.
    Ok,
    /// A part of it, or a stand-in, works.
    Degraded,
    /// It does not work.
    Missing,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The layer.
    pub name: &'static str,
    /// How it stands.
    pub status: Status,
    /// What works, what stands in for it, or what is lost.
    pub what: String,
    /// Why it does not work in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do about that; where it can be, a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What [`examine`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The kernel's release, as `uname -r` has it.
    pub kernel: String,
    /// The user that the probes ran as.
    pub user: u32,
    /// Every layer, in the order in which a run needs them.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether `aegis-run` can enforce everything for this user on this host. A limit that only a
    /// stand-in holds is not enforced as it was asked for.
    pub fn complete(&self) -> bool {
        self.checks.iter().all(|check| check.status == Status::Ok)
    }
}

/// Probes every layer on this host, as this user.
pub fn examine() -> Report {
    let host = Host::read();
    let mut findings = namespaces::probe(&host);
    findings.extend(mounts::probe(&host));
    findings.extend(confine::probe(&host));
    findings.extend(groups::probe(&host));
    blame(&mut findings, host.uid == 0);
    findings.sort_by_key(|found| found.layer);
    Report {
        kernel: host.release.clone(),
        user: host.uid,
        checks: findings.iter().map(|found| check(found, &host)).collect(),
    }
}

/// Where one layer makes others fail, it is the one thing to fix.
fn blame(findings: &mut [Finding], root: bool) {
    for cause in [Layer::Pidfd, Layer::User, Layer::Ids] {
        let fails = |found: &Finding| {
            found.layer == cause && matches!(found.outcome, Outcome::Fails(_) | Outcome::Needs(_))
        };
        if !findings.iter().any(fails) {
            continue;
        }
        for found in findings.iter_mut() {
            // Root alone tries memfds in a namespace.
            let depends = found.layer.depends_on(cause)
                || (root && found.layer == Layer::Memfd && cause != Layer::Pidfd);
            if depends && matches!(found.outcome, Outcome::Fails(_)) {
                found.outcome = Outcome::Needs(cause);
            }
        }
    }
}

fn check(found: &Finding, host: &Host) -> Check {
    let layer = found.layer;
    let status = layer.status(found.outcome);
    let what = match (status, found.outcome) {
        (Status::Ok, _) if found.note.is_empty() => layer.works().to_owned(),
        (Status::Ok, _) => format!("{} ({})", layer.works(), found.note),
        (Status::Degraded, _) => layer.stand_in().unwrap_or("only in part").to_owned(),
        (Status::Missing, Outcome::Needs(_)) => "not tried".to_owned(),
        (Status::Missing, _) => layer.lost().to_owned(),
    };
    let diagnosis = (status != Status::Ok).then(|| diagnose::diagnose(found, host));
    let (why, fix) = diagnosis.map_or((None, None), |found| (Some(found.why), found.fix));
    Check {
        name: layer.name(),
        status,
        what,
        why,
        fix,
    }
}
