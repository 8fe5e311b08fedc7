//! Control groups: each limit set on a group of its own, in the place that a run would use; and the
//! process limit that stands in for one.

use std::os::fd::AsFd;
use std::path::Path;

use super::child;
use super::host::{Host, Version};
use super::layer::{Finding, Layer, NOT_HELD, Outcome, errno, error};
use crate::cgroup::Groups;
use crate::error::Error;
use crate::facts::cgroups::Layout;
use crate::plan::{GroupLimits, Limits};
use aegis_sys::process::Change;
use aegis_sys::{namespaces, process};

type Try = (Layer, &'static str, &'static str, fn(&mut GroupLimits));

/// The layer of each limit, its controller on v1 and on v2, and a limit to try.
const LIMITS: [Try; 4] = [
    (Layer::Memory, "memory", "memory", |limits| {
        limits.memory = Some(64 << 20);
    }),
    (Layer::Cpu, "cpu", "cpu", |limits| limits.cpu = Some(500)),
    (Layer::Pids, "pids", "pids", |limits| limits.pids = Some(16)),
    (Layer::Io, "blkio", "io", |limits| {
        limits.disk_read = Some(64 << 20);
        limits.disk_write = Some(64 << 20);
        limits.disks = disks();
    }),
];

pub(super) fn probe(host: &Host) -> Vec<Finding> {
    let layout = &host.layout;
    let mut all = child::apart(&[Layer::Group], || vec![leaf(layout)]);
    for (layer, v1, v2, set) in LIMITS {
        let mut limits = GroupLimits::default();
        set(&mut limits);
        all.extend(child::apart(&[layer], || {
            vec![limit(layout, layer, v1, v2, limits)]
        }));
    }
    all.extend(child::inside(&[Layer::ProcessLimit], 0, |door| {
        let result = door.take_ids().and_then(|()| process_limit());
        vec![Finding::of(
            Layer::ProcessLimit,
            "starting processes up to the limit",
            result,
        )]
    }));
    all
}

fn group(layout: &Layout, limits: &Limits) -> Result<Groups, Error> {
    Groups::create(
        layout,
        limits,
        &format!("doctor-{}", std::process::id()),
        None,
        || None,
    )
}

fn of_error(layer: Layer, error: &Error) -> Finding {
    match error {
        Error::Apply {
            step,
            cause,
            subject,
            ..
        } => {
            let place = subject.as_deref().unwrap_or(Path::new("")).display();
            Finding::new(
                layer,
                Outcome::Fails(errno(cause)),
                format!("{step} {place}"),
            )
        }
        other => Finding::new(layer, Outcome::Fails(libc::EIO), other.to_string()),
    }
}

fn leaf(layout: &Layout) -> Finding {
    let layer = Layer::Group;
    let doing = "looking for a place on the cgroup2 tree";
    match &layout.unified {
        None => return Finding::fails(layer, libc::ENOENT, doing),
        Some(place) if !place.writable => return Finding::fails(layer, libc::EACCES, doing),
        Some(_) => {}
    }
    let limits = Limits {
        unified_group: true,
        ..Limits::default()
    };
    let groups = match group(layout, &limits) {
        Ok(groups) => groups,
        Err(error) => return of_error(layer, &error),
    };
    let name = format!("/doctor-{}", std::process::id());
    let born = || {
        let leaf = groups.leaf().ok_or_else(|| error(libc::ENOENT))?;
        match namespaces::clone(0, Some(leaf.as_fd()))? {
            namespaces::Side::Child => {
                let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
                let there = own
                    .lines()
                    .any(|line| line.starts_with("0::") && line.ends_with(&name));
                process::exit_now(i32::from(!there))
            }
            namespaces::Side::Parent { pid, .. } => match process::reap(pid)? {
                Change::Exited(0) => Ok(()),
                _ => Err(error(NOT_HELD)),
            },
        }
    };
    Finding::of(layer, "clone3 into a group", born())
}

fn limit(layout: &Layout, layer: Layer, v1: &str, v2: &str, limits: GroupLimits) -> Finding {
    let on_v1 = layout.v1.get(v1).is_some_and(|place| place.writable);
    let unified = layout.unified.as_ref().is_some_and(|place| place.writable);
    if !on_v1 && !unified {
        return Finding::fails(layer, libc::EACCES, "looking for a group to make one in");
    }
    if !on_v1 && !layout.unified_controllers.contains(v2) {
        let on_the_other = layout.v1.contains_key(v1);
        let number = if on_the_other {
            libc::EACCES
        } else {
            libc::ENOENT
        };
        return Finding::fails(layer, number, format!("looking for the {v2} controller"));
    }
    let tried = layer != Layer::Io || !limits.disks.is_empty();
    let limits = Limits {
        group: limits,
        unified_group: !on_v1,
        ..Limits::default()
    };
    let version = if on_v1 { Version::V1 } else { Version::V2 };
    match group(layout, &limits) {
        Ok(_) if tried => Finding::new(layer, Outcome::Works, version.name()),
        Ok(_) => {
            let note = format!("{}; not tried: no disk below here and /tmp", version.name());
            Finding::new(layer, Outcome::Works, note)
        }
        Err(error) => of_error(layer, &error),
    }
}

/// The disks that the current directory and /tmp lie on. The kernel limits whole disks only.
fn disks() -> Vec<(u32, u32)> {
    let mut list: Vec<(u32, u32)> = [".", "/tmp"]
        .iter()
        .filter_map(|path| rustix::fs::stat(*path).ok())
        .map(|stat| (libc::major(stat.st_dev), libc::minor(stat.st_dev)))
        .filter(|(major, _)| *major != 0)
        .map(crate::facts::whole_disk)
        .collect();
    list.sort_unstable();
    list.dedup();
    list
}

/// With a limit of two, this process and one more: the first start must succeed, whatever else this
/// user runs on the host, and the second must not.
fn process_limit() -> std::io::Result<()> {
    process::set_limit(libc::RLIMIT_NPROC as _, 2)?;
    let first = child::second(child::idle)?;
    let second = child::second(child::idle);
    let result = super::layer::refused(second, libc::EAGAIN);
    // Also where the second was started: it ends with this process.
    process::kill(first, libc::SIGKILL)?;
    process::reap(first)?;
    result
}
