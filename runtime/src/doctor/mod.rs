//! `aegis doctor`: whether this host lets `aegis-run` enforce everything for this user, and if not,
//! why, and what mends it.
//!
//! Each layer is probed by using it, in a child of its own that ends with the probe ([`child`]);
//! a list of what the kernel was built or configured with is read only to tell *why* something
//! failed ([`host`]), and that is a pure function ([`diagnose`]). Nothing is left behind, but that
//! on cgroup v2 controllers stay enabled for children of the group that runs are made in, as after
//! any run.

mod child;
mod confine;
mod diagnose;
mod groups;
mod host;
mod layer;
mod mend;
mod mounts;
mod namespaces;
#[cfg(test)]
mod tests;
mod text;

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
    pub mend: Option<String>,
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

    /// The report for people: a line for each layer, what is wrong and how to mend it below.
    pub fn text(&self, colour: bool) -> String {
        text::render(self, colour)
    }
}

/// Probes every layer on this host, as this user.
pub fn examine() -> Report {
    let host = Host::read();
    let mut findings = namespaces::probe(&host);
    findings.extend(mounts::probe(&host));
    findings.extend(confine::probe(&host));
    findings.extend(groups::probe(&host));
    // Where no user namespace can be made, that is the one thing to mend.
    let without_user = findings
        .iter()
        .any(|found| found.layer == Layer::User && matches!(found.outcome, Outcome::Fails(_)));
    if without_user {
        for found in &mut findings {
            if found.layer != Layer::User
                && found.outcome != Outcome::Works
                && found.layer.in_user_namespace()
            {
                found.outcome = Outcome::Needs(Layer::User);
            }
        }
    }
    findings.sort_by_key(|found| found.layer);
    Report {
        kernel: host.release.clone(),
        user: host.uid,
        checks: findings.iter().map(|found| check(found, &host)).collect(),
    }
}

fn check(found: &Finding, host: &Host) -> Check {
    let layer = found.layer;
    let status = layer.status(found.outcome);
    let mut what = match (status, found.outcome) {
        (Status::Ok, _) => layer.works().to_owned(),
        (Status::Degraded, _) => layer.stand_in().unwrap_or("only in part").to_owned(),
        (Status::Missing, _) => layer.lost().to_owned(),
    };
    if status == Status::Ok && !found.note.is_empty() {
        what = format!("{what} ({})", found.note);
    }
    let diagnosis = (status != Status::Ok).then(|| diagnose::diagnose(found, host));
    let (why, mend) = diagnosis.map_or((None, None), |found| (Some(found.why), found.mend));
    Check {
        name: layer.name(),
        status,
        what,
        why,
        mend,
    }
}
