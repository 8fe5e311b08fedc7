//! `aegis doctor`: whether this host lets `aegis-run` enforce everything for this user, and if not,
//! why, and how to fix it.
//!
//! Each layer is probed by using it, in a child of its own that ends with the probe (`child`);
//! the kernel's build and configuration are read only to explain *why* something
//! failed (`host`), by a pure function (`diagnose`). Nothing is left behind, except that
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

use crate::plan::CORE_LIMIT;
use crate::seccomp::Listener;
use child::{Child, apart, inside};
use host::Host;
use layer::{Finding, Layer, ProbeOutcome};
use namespaces::own;

/// The state of a layer.
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
    /// Its state.
    pub status: Status,
    /// What works, what stands in for it, or what is lost.
    pub what: String,
    /// Why it does not work in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How to fix that; where possible, a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What [`examine`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The kernel's release, as `uname -r` prints it.
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
    let mut findings: Vec<Finding> = Vec::new();
    for layer in Layer::ALL.iter().copied() {
        // Only root needs id-mapped mounts.
        if layer == Layer::Idmap && host.uid != 0 {
            continue;
        }
        let failed = |found: &&Finding| layer.needs(host.uid == 0).contains(&found.layer);
        let missing = findings
            .iter()
            .filter(failed)
            .find_map(|found| match found.outcome {
                ProbeOutcome::Fails(_) => Some(found.layer),
                // The first cause is the one thing to fix.
                ProbeOutcome::Needs(cause) => Some(cause),
                _ => None,
            });
        let (outcome, note) = match missing {
            Some(cause) => (ProbeOutcome::Needs(cause), String::new()),
            None => probe(layer, &host),
        };
        findings.push(Finding {
            layer,
            outcome,
            note,
        });
    }
    Report {
        kernel: host.release.clone(),
        user: host.uid,
        checks: findings.iter().map(|found| check(found, &host)).collect(),
    }
}

/// Tries one layer. Returns the outcome, and a note for [`Finding`].
fn probe(layer: Layer, host: &Host) -> (ProbeOutcome, String) {
    let done = |_: &Child| Ok(());
    let tried = match layer {
        Layer::Calls => apart("", &namespaces::calls),
        Layer::Pidfd => apart("clone3 with a pidfd", &namespaces::pidfd),
        Layer::User => inside(0, "", &done),
        Layer::Ids => inside(0, "mapping user and group", &Child::take_ids),
        Layer::Mount => own("mnt", libc::CLONE_NEWNS, "entering it", &done),
        Layer::Pid => own(
            "pid",
            libc::CLONE_NEWPID,
            "being process 1",
            &namespaces::first,
        ),
        Layer::Ipc => own("ipc", libc::CLONE_NEWIPC, "entering it", &done),
        Layer::Uts => own("uts", libc::CLONE_NEWUTS, "setting the host name", &|_| {
            Ok(rustix::system::sethostname(b"aegis")?)
        }),
        Layer::Cgroup => own("cgroup", 0, "unshare", &|_| {
            aegis_sys::namespaces::unshare(libc::CLONE_NEWCGROUP)
        }),
        Layer::Net => own("net", libc::CLONE_NEWNET, "bringing up lo", &|_| {
            aegis_sys::namespaces::loopback_up()
        }),
        Layer::MountCalls | Layer::Root | Layer::Devices | Layer::Proc | Layer::Terminals => {
            mounts::probe(layer)
        }
        Layer::Idmap => apart("mapping the ids of root", &mounts::idmap),
        Layer::Landlock => apart("landlock_create_ruleset", &confine::landlock),
        Layer::Filter => apart("installing a filter", &confine::filter),
        Layer::Notify => {
            let listen = |kind| apart("answering a call", &|_| confine::listen(kind));
            match listen(Listener::WaitKillable) {
                Err((_, libc::EINVAL)) if listen(Listener::Interruptible).is_ok() => {
                    return (ProbeOutcome::Partly(libc::EINVAL), String::new());
                }
                tried => tried,
            }
        }
        Layer::Privileges => inside(0, "giving up privileges", &confine::give_up),
        Layer::Memfd if !host.memfd_noexec => {
            return (ProbeOutcome::Partly(libc::ENOENT), String::new());
        }
        Layer::Memfd if host.uid != 0 => apart("executing a sealed memfd", &confine::sealed_memfd),
        Layer::Memfd => {
            let doing = "writing vm.memfd_noexec";
            inside(libc::CLONE_NEWPID, doing, &confine::forbidden_memfd)
        }
        Layer::Group => apart("", &|child| groups::leaf(&host.layout, child)),
        Layer::Memory | Layer::Cpu | Layer::Pids | Layer::Io => {
            apart("", &|child| groups::limit(layer, &host.layout, child))
        }
        Layer::ProcessLimit => process_limit(),
        Layer::Cores if confine::cores_stay(&host.core_pattern, CORE_LIMIT) => Ok(()),
        Layer::Cores => return (ProbeOutcome::Partly(libc::EINVAL), String::new()),
    };
    if layer == Layer::Pids && tried.is_err() && process_limit().is_ok() {
        let by = "by RLIMIT_NPROC of the sandbox's user namespace";
        return (ProbeOutcome::Works, by.to_owned());
    }
    if let Err((doing, errno)) = tried {
        return (ProbeOutcome::Fails(errno), doing);
    }
    match layer {
        Layer::Landlock if host.landlock_abi < confine::LANDLOCK_WANTED => {
            (ProbeOutcome::Partly(libc::EINVAL), String::new())
        }
        Layer::Landlock => (ProbeOutcome::Works, format!("ABI {}", host.landlock_abi)),
        Layer::Memory | Layer::Cpu | Layer::Pids | Layer::Io => {
            (ProbeOutcome::Works, groups::held_by(layer, &host.layout))
        }
        _ => (ProbeOutcome::Works, String::new()),
    }
}

fn process_limit() -> Result<(), (String, i32)> {
    let doing = "starting processes up to the limit";
    inside(0, doing, &groups::process_limit)
}

fn check(found: &Finding, host: &Host) -> Check {
    let texts = found.layer.texts();
    let status = found.layer.status(found.outcome);
    let what = match (status, found.outcome) {
        (Status::Ok, _) if found.note.is_empty() => texts.works.to_owned(),
        (Status::Ok, _) => format!("{} ({})", texts.works, found.note),
        (Status::Degraded, _) => texts.stand_in.unwrap_or("only in part").to_owned(),
        (Status::Missing, ProbeOutcome::Needs(_)) => "not tried".to_owned(),
        (Status::Missing, _) => texts.lost.to_owned(),
    };
    let diagnosis = (status != Status::Ok).then(|| diagnose::diagnose(found, host));
    let (why, fix) = diagnosis.unzip();
    Check {
        name: texts.name,
        status,
        what,
        why,
        fix: fix.flatten(),
    }
}
