//! Control groups: each limit set on a group of its own, in the place that a run would use; and the
//! process limit that stands in for one.

use std::io;
use std::os::fd::AsFd;

use super::child::{self, Child};
use super::layer::{Layer, errno, error, held, refused};
use crate::cgroup::{Groups, Leaf};
use crate::error::{Error, Failure};
use crate::facts::cgroups::Layout;
use crate::plan::{GroupLimits, Limits};
use aegis_sys::{namespaces, process};

fn group(layout: &Layout, limits: &Limits, child: &Child) -> io::Result<Groups> {
    let name = format!("doctor-{}", std::process::id());
    Groups::create(layout, limits, &name, Leaf::IfNeeded, || None).map_err(|failed| match &failed {
        Error::Apply(Failure {
            step,
            cause,
            subject,
        }) => {
            let place = subject.as_deref().unwrap_or_else(|| "".as_ref()).display();
            child.step(format_args!("{step} {place}"));
            error(errno(cause))
        }
        other => {
            child.step(other);
            error(libc::EIO)
        }
    })
}

pub(super) fn leaf(layout: &Layout, child: &Child) -> io::Result<()> {
    match &layout.unified {
        None => return Err(error(libc::ENOENT)),
        Some(place) if !place.writable => return Err(error(libc::EACCES)),
        Some(_) => {}
    }
    let limits = Limits {
        unified_group: true,
        ..Limits::default()
    };
    let groups = group(layout, &limits, child)?;
    child.step("clone3 into a group");
    let leaf = groups.leaf().ok_or_else(|| error(libc::ENOENT))?;
    let name = format!("/doctor-{}", std::process::id());
    match namespaces::clone(0, Some(leaf.as_fd()))? {
        None => child::finish(|| {
            let own = std::fs::read_to_string("/proc/self/cgroup")?;
            let mut lines = own.lines();
            held(lines.any(|line| line.starts_with("0::") && line.ends_with(&name)))
        }),
        Some((pid, _)) => child::ended(pid),
    }
}

/// The controller for a limit, on v1 and on v2, and a limit to try it with.
fn sample(layer: Layer) -> (&'static str, &'static str, GroupLimits) {
    let mut limits = GroupLimits::default();
    let (v1, v2) = match layer {
        Layer::Memory => {
            limits.memory = Some(64 << 20);
            ("memory", "memory")
        }
        Layer::Cpu => {
            limits.cpu = Some(500);
            ("cpu", "cpu")
        }
        Layer::Pids => {
            limits.pids = Some(16);
            ("pids", "pids")
        }
        _ => {
            limits.disk_read = Some(64 << 20);
            limits.disk_write = Some(64 << 20);
            limits.disks = disks();
            ("blkio", "io")
        }
    };
    (v1, v2, limits)
}

fn on_v1(layout: &Layout, v1: &str) -> bool {
    layout.v1.get(v1).is_some_and(|place| place.writable)
}

/// By which cgroup version a working limit is held.
pub(super) fn held_by(layer: Layer, layout: &Layout) -> String {
    let (v1, _, _) = sample(layer);
    let on_v1 = on_v1(layout, v1);
    let by = match on_v1 {
        true => "by its control group, v1",
        false => "by its control group, v2",
    };
    match layer {
        Layer::Io if disks().is_empty() => {
            format!("{by}; not tried: no disk below here and /tmp")
        }
        Layer::Io if on_v1 => format!("{by}, but for what the page cache writes later"),
        Layer::Memory if on_v1 && layout.swap_not_counted => format!("{by}, but for swap"),
        _ => by.to_owned(),
    }
}

pub(super) fn limit(layer: Layer, layout: &Layout, child: &Child) -> io::Result<()> {
    let (v1, v2, group_limits) = sample(layer);
    let on_v1 = on_v1(layout, v1);
    let unified = layout.unified.as_ref().is_some_and(|place| place.writable);
    let on_v2 = unified && layout.unified_controllers.contains(v2);
    if !on_v1 && !on_v2 {
        let absent = unified && !layout.v1.contains_key(v1);
        return Err(error(if absent { libc::ENOENT } else { libc::EACCES }));
    }
    let limits = Limits {
        group: group_limits,
        unified_group: !on_v1,
        ..Limits::default()
    };
    group(layout, &limits, child).map(drop)
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

/// With a limit of two, for this process and one more: the first start must succeed, whatever else this
/// user runs on the host, and the second must fail.
pub(super) fn process_limit(child: &Child) -> io::Result<()> {
    child.take_ids()?;
    process::set_limit(libc::RLIMIT_NPROC as _, 2)?;
    let first = child::second(child::idle)?;
    let second = child::second(child::idle);
    // If a second one was started all the same, it ends with this process.
    process::kill(first, libc::SIGKILL)?;
    process::reap(first)?;
    refused(second, libc::EAGAIN)
}
