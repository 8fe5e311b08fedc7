//! The layers that are probed, and what a probe found.

use std::io;

use super::Status;

/// The kernel accepted a restriction but did not enforce it.
pub(super) const NOT_HELD: i32 = libc::EBADE;
/// The probe ended without a result.
pub(super) const NO_RESULT: i32 = libc::ECHILD;

macro_rules! layers {
    ($($layer:ident = $name:literal: $works:literal, else $lost:literal $(, or $stand_in:literal)?;)*) => {
        /// A layer, in the order of the report.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Layer {
            $($layer,)*
        }

        impl Layer {
            pub const ALL: &[Self] = &[$(Self::$layer,)*];

            pub fn texts(self) -> Texts {
                match self {
                    $(Self::$layer => Texts {
                        name: $name,
                        works: $works,
                        lost: $lost,
                        stand_in: [$($stand_in)?].first().copied(),
                    },)*
                }
            }
        }
    };
}

/// A layer's name and texts.
pub(super) struct Texts {
    pub name: &'static str,
    /// What it does when it works.
    pub works: &'static str,
    /// What is lost when it does not.
    pub lost: &'static str,
    /// What stands in for it.
    pub stand_in: Option<&'static str>,
}

layers! {
    Calls = "system calls": "openat2, close_range, pidfd_open", else "nothing can be started";
    Pidfd = "pidfd": "a process is signalled and awaited by descriptor", else "nothing can be started";
    User = "user namespace": "made by clone3", else "nothing can be started";
    Ids = "id maps": "user and group mapped", else "nothing can be started";
    Mount = "mount namespace": "own mounts", else "nothing can be started";
    Pid = "pid namespace": "own processes", else "nothing can be started";
    Ipc = "ipc namespace": "own System V and POSIX queues", else "nothing can be started";
    Uts = "uts namespace": "own host name", else "nothing can be started";
    Cgroup = "cgroup namespace": "own view of control groups", else "nothing can be started";
    Net = "net namespace": "own network, loopback up", else "only runs with the host's network can be started";
    MountCalls = "mount calls": "fsopen, open_tree, mount_setattr, move_mount", else "nothing can be started";
    Root = "root": "pivot_root into a fresh tmpfs", else "nothing can be started";
    Devices = "devices": "host nodes bound and opened", else "nothing can be started";
    Proc = "proc": "mounted for the own pid namespace", else "nothing can be started";
    Terminals = "terminals": "own devpts", else "nothing that declares `pty` can be started";
    Idmap = "id-mapped mounts": "root's files appear as the sandbox's own",
        else "grants that belong to root cannot be used", or "where they are missing, what only root may read or write cannot be granted";
    Landlock = "landlock": "refuses what is not granted",
        else "nothing can be started", or "an old ABI: only other layers hold some rights";
    Filter = "seccomp": "filters system calls", else "nothing can be started";
    Notify = "seccomp listener": "asks the supervisor, and waits for it",
        else "nothing can be started", or "a signal can interrupt a call that the supervisor looks at";
    Privileges = "privileges": "capabilities dropped, securebits locked, no_new_privs", else "nothing can be started";
    Memfd = "memfd": "nothing is executed out of memory",
        else "nothing can be started", or "a program can be executed out of memory";
    Group = "cgroup of its own": "a run is born into its group on the cgroup2 tree",
        else "cgroup2 holds no limits", or "runs start in the caller's group, and cgroup2 holds no limits";
    Memory = "limits: memory": "held for the whole run",
        else "not held", or "each process is limited separately, by RLIMIT_DATA; `must-hold: [memory]` is refused";
    Cpu = "limits: cpu": "held for the whole run",
        else "not held", or "whole processors, by affinity; `must-hold: [cpu]` is refused for a part of one";
    Pids = "limits: pids": "held for the whole run",
        else "not held", or "RLIMIT_NPROC, which counts this user's other processes too";
    Io = "limits: disk": "held for the whole run", else "a profile with disk limits is refused";
    ProcessLimit = "process limit": "RLIMIT_NPROC counts the sandbox alone",
        else "not held", or "where it stands in for a control group, it counts this user's other processes too";
    Cores = "core dumps": "none leaves the sandbox",
        else "not held", or "a crash hands the memory of the program to a handler on the host";
}

impl Layer {
    /// Whether a restriction of user namespaces can be the reason for its refusal.
    pub fn of_user_namespace(self) -> bool {
        let mut needs = self.needs(false).iter();
        self == Self::User || needs.any(|other| other.of_user_namespace())
    }

    /// The layers that its probe uses.
    pub fn needs(self, root: bool) -> &'static [Self] {
        match self {
            Self::Ids | Self::Mount | Self::Pid | Self::Ipc => &[Self::User],
            Self::Uts | Self::Cgroup | Self::Net => &[Self::User],
            Self::MountCalls => &[Self::Ids, Self::Mount, Self::Pid, Self::Ipc],
            Self::Root => &[Self::MountCalls],
            Self::Devices | Self::Proc | Self::Terminals => &[Self::Root],
            Self::Notify => &[Self::Filter],
            Self::Privileges | Self::ProcessLimit => &[Self::Ids],
            // Root alone tries memfds in a namespace.
            Self::Memfd if root => &[Self::Ids, Self::Pid],
            Self::Group => &[Self::Pidfd],
            _ => &[],
        }
    }

    /// The status of this layer after a probe.
    pub fn status(self, outcome: ProbeOutcome) -> Status {
        // These have a stand-in even if they do not work at all.
        let replaced = matches!(
            self,
            Self::Idmap | Self::Group | Self::Memory | Self::Cpu | Self::Pids | Self::ProcessLimit
        );
        match outcome {
            ProbeOutcome::Works => Status::Ok,
            ProbeOutcome::Partly(_) => Status::Degraded,
            ProbeOutcome::Fails(_) if replaced => Status::Degraded,
            ProbeOutcome::Fails(_) | ProbeOutcome::Needs(_) => Status::Missing,
        }
    }
}

/// How a probe ended. The numbers are `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeOutcome {
    Works,
    Partly(i32),
    Fails(i32),
    /// Not tried, since this other layer does not work.
    Needs(Layer),
}

/// What a probe found about one layer.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub layer: Layer,
    pub outcome: ProbeOutcome,
    /// What was being done when the probe failed; or a detail of what works.
    pub note: String,
}

/// The `errno` of an error. Errors made in this crate have only a kind.
pub(super) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::PermissionDenied => libc::EACCES,
        io::ErrorKind::NotFound => libc::ENOENT,
        io::ErrorKind::ReadOnlyFilesystem => libc::EROFS,
        _ => libc::EIO,
    })
}

/// An error with this number.
pub(super) fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// Fails unless what the kernel accepted is in force.
pub(super) fn held(holds: bool) -> io::Result<()> {
    if holds { Ok(()) } else { Err(error(NOT_HELD)) }
}

/// Fails unless the call was refused, with `wanted`.
pub(super) fn refused<T>(result: Result<T, impl Into<io::Error>>, wanted: i32) -> io::Result<()> {
    match result.map_err(Into::into) {
        Err(error) if error.raw_os_error() == Some(wanted) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(error(NOT_HELD)),
    }
}
