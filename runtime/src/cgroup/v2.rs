//! cgroup v2: one group, which the command is born into (`CLONE_INTO_CGROUP`).

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis_sys::process;

use super::{PARENT, PERIOD, Usage, keyed, needs, number, quota, value_of, write};
use crate::plan::GroupLimits;

const FREEZE: &str = "cgroup.freeze";

/// The v2 group of a run.
pub struct V2 {
    dir: PathBuf,
    /// The group of the caller, and the shared parent that is made below it; `None`: the leaf was given.
    above: Option<(PathBuf, PathBuf)>,
    limits: GroupLimits,
}

/// The controllers that limits need.
fn controllers(limits: &GroupLimits) -> impl Iterator<Item = &'static str> {
    let all = ["memory", "cpu", "pids", "io"].into_iter();
    all.filter(|name| needs(limits, name))
}

/// The files and what goes into them, in order.
pub(super) fn settings(limits: &GroupLimits) -> Vec<(&'static str, String)> {
    let mut list = Vec::new();
    if let Some(bytes) = limits.memory {
        list.push(("memory.max", bytes.to_string()));
        // v2 limits swap separately: 0, so that the limit holds for both together.
        list.push(("memory.swap.max", "0".to_string()));
    }
    if let Some(share) = limits.cpu {
        list.push(("cpu.max", format!("{} {PERIOD}", quota(share))));
    }
    if let Some(count) = limits.pids {
        list.push(("pids.max", count.to_string()));
    }
    for (major, minor) in &limits.disks {
        let mut line = format!("{major}:{minor}");
        if let Some(rate) = limits.disk_read {
            line += &format!(" rbps={rate}");
        }
        if let Some(rate) = limits.disk_write {
            line += &format!(" wbps={rate}");
        }
        list.push(("io.max", line));
    }
    list
}

/// The group in a caller's own group that its processes are moved to.
const CALLERS: &str = "aegis-callers";

/// Moves the processes of a group into a child of it: a group with processes of its own cannot hand controllers on.
/// What is started meanwhile is left, and moved the next time.
pub(super) fn make_room(place: &Path) -> io::Result<()> {
    let callers = place.join(CALLERS);
    match std::fs::create_dir(&callers) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let processes = std::fs::read_to_string(place.join("cgroup.procs"))?;
    // One of another pid namespace is 0, and would be this process.
    for pid in processes.lines().filter(|pid| *pid != "0") {
        match std::fs::write(callers.join("cgroup.procs"), pid) {
            // It has ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            result => result?,
        }
    }
    Ok(())
}

impl V2 {
    /// The group `place`/aegis/`id`, with the limits that v2 holds.
    pub fn new(place: &Path, id: &str, limits: GroupLimits) -> Self {
        let parent = place.join(PARENT);
        Self {
            dir: parent.join(id),
            above: Some((place.to_path_buf(), parent)),
            limits,
        }
    }

    /// A leaf that somebody else made, which stays open while this value is used.
    pub fn given(leaf: BorrowedFd<'_>, limits: GroupLimits) -> Self {
        Self {
            dir: format!("/proc/self/fd/{}", leaf.as_raw_fd()).into(),
            above: None,
            limits,
        }
    }

    /// Another run may remove the shared parent after we made it and before we make the leaf in it.
    fn make_directories(&self) -> io::Result<()> {
        let Some((place, parent)) = &self.above else {
            return Ok(());
        };
        for _ in 0..100 {
            match std::fs::create_dir(parent) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            match self
                .enable(place)
                .map_err(|error| (error.raw_os_error(), error))
            {
                Ok(()) => {}
                Err((Some(libc::EBUSY), _)) => {
                    make_room(place)?;
                    continue;
                }
                Err((_, error)) => return Err(error),
            }
            let enabled = self.enable(parent);
            let made = enabled.and_then(|()| std::fs::create_dir(&self.dir));
            match made.as_ref().map_err(io::Error::raw_os_error) {
                Err(Some(libc::ENOENT | libc::ENODEV)) => {}
                _ => return made,
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn enable(&self, dir: &Path) -> io::Result<()> {
        let file = dir.join("cgroup.subtree_control");
        let on = std::fs::read_to_string(&file).unwrap_or_default();
        for controller in controllers(&self.limits) {
            if !on.split_whitespace().any(|name| name == controller) {
                std::fs::write(&file, format!("+{controller}"))?;
            }
        }
        Ok(())
    }

    /// Makes the group and sets its limits.
    pub fn create(&self) -> io::Result<()> {
        self.make_directories()?;
        for (file, value) in settings(&self.limits) {
            if file == "memory.swap.max" && !self.dir.join(file).exists() {
                continue; // No swap in this kernel.
            }
            write(&self.dir, file, &value)?;
        }
        Ok(())
    }

    /// A descriptor of the group for `CLONE_INTO_CGROUP`.
    pub fn leaf(&self) -> io::Result<OwnedFd> {
        aegis_sys::files::open(&self.dir, libc::O_RDONLY | libc::O_DIRECTORY)
    }

    /// Whether the group is of this run alone.
    pub fn is_own(&self) -> bool {
        self.above.is_some()
    }

    /// Freezes the group (cgroup-v2.rst, "cgroup.freeze"): no signal continues what is in it, and only `SIGKILL` ends it.
    /// Waits until all of it is frozen, for `patience` at most; returns whether it is.
    pub fn freeze(&self, patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        let mut events = File::open(self.dir.join("cgroup.events"))?;
        write(&self.dir, FREEZE, "1")?;
        loop {
            let mut text = String::new();
            events.rewind()?;
            // The next change after it is told.
            events.read_to_string(&mut text)?;
            if value_of(&text, "frozen") == Some(1) {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut fds = [process::PollFd {
                fd: events.as_raw_fd(),
                events: libc::POLLPRI,
                revents: 0,
            }];
            process::poll(&mut fds, Some(left.as_nanos() as u64))?;
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) -> io::Result<()> {
        write(&self.dir, FREEZE, "0")
    }

    /// What the group counted.
    pub fn usage(&self) -> Usage {
        if controllers(&self.limits).next().is_none() {
            return Usage::default();
        }
        Usage {
            oom_kills: keyed(&self.dir, "memory.events", "oom_kill"),
            memory_limit_hits: keyed(&self.dir, "memory.events", "max"),
            memory_peak: number(&self.dir, "memory.peak"),
            pids_refused: keyed(&self.dir, "pids.events", "max"),
            cpu_throttled: keyed(&self.dir, "cpu.stat", "nr_throttled"),
        }
    }

    /// The group's directories, children first.
    pub fn directories(&self) -> Vec<PathBuf> {
        match &self.above {
            Some((_, parent)) => vec![self.dir.clone(), parent.clone()],
            None => Vec::new(),
        }
    }
}
