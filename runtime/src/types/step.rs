//! The steps of preparing and applying a plan that can fail, and what to do about each.

use std::fmt;
use std::io;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A step of preparing or applying a plan. Printed in front of "failed".
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }

        impl fmt::Display for Step {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

steps! {
    /// Resolving its path.
    Command = "looking for the command",
    /// A process for it.
    Janitor = "starting the janitor",
    /// `mkdir` and limits, outside.
    MakeGroup = "making a control group",
    /// `signalfd`.
    Signals = "blocking signals",
    /// What counts the command's output.
    Pipe = "opening what the command reads and writes",
    /// Read-only, where output is counted.
    Input = "reopening standard input",
    /// Between supervisor and PID 1.
    Socket = "opening a socket pair",
    /// No NUL may be in them.
    Strings = "passing arguments and environment",
    /// `clone3`.
    Clone = "creating the namespaces",
    /// uid_map, gid_map, setresuid.
    Ids = "mapping user ids",
    /// v1 `tasks`, cgroup namespace.
    Group = "entering the control groups",
    /// `lo`.
    Network = "bringing up the sandbox's loopback",
    /// A socket for the broker.
    Listen = "opening a listener in the sandbox",
    /// sethostname.
    Hostname = "setting the host name",
    /// `vm.memfd_noexec`.
    Memfd = "forbidding the execution of memfds",
    /// The root's tmpfs.
    Root = "making the new root",
    /// One entry of it.
    Entry = "making an entry of the new root",
    /// One mount.
    Mount = "mounting",
    /// The path is no longer what it was.
    Changed = "mounting a path that was swapped meanwhile",
    /// One overlay.
    Layer = "laying the sandbox's own layer over a directory",
    /// pivot_root.
    Pivot = "changing to the new root",
    /// Working directory.
    Directory = "entering the working directory",
    /// Capabilities, securebits, no_new_privs.
    Capabilities = "giving up privileges",
    /// Landlock.
    Landlock = "applying Landlock",
    /// clone.
    Fork = "starting a process for the command",
    /// setpgid, tcsetpgrp, setsid.
    Terminal = "handing over the terminal",
    /// prlimit.
    Limits = "setting resource limits",
    /// Descriptors.
    Descriptors = "closing inherited descriptors",
    /// seccomp.
    Seccomp = "installing the seccomp filter",
    /// execve.
    Exec = "executing the command",
    /// poll.
    Watch = "watching the command",
}

impl Step {
    /// The step with this number, the reverse of `as u8`.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// What to do when the step failed with `error`.
    pub(crate) fn help(self, error: &io::Error) -> &'static str {
        match (self, error.raw_os_error().unwrap_or(0)) {
            (Self::Clone | Self::Ids, libc::EPERM | libc::ENOSPC | libc::EUSERS | libc::EACCES) => {
                "unprivileged user namespaces seem to be restricted on this host; `aegis doctor` says by what, and how to permit them"
            }
            (Self::Changed, _) => {
                "somebody is changing the files under a grant: run again when it is quiet, or grant another path"
            }
            (Self::Layer, libc::ENODEV | libc::EPERM | libc::EINVAL) => {
                "`files.overlay` needs overlayfs in user namespaces (Linux 5.11), and a file system that overlayfs can stand on: name another directory, or remove the line"
            }
            (Self::Clone, libc::EAGAIN | libc::ENOMEM) => "the host is out of processes or memory",
            (Self::Exec, libc::ENOENT) => {
                "its ELF or script interpreter is missing in the sandbox: `file` names it; grant it with shell.exec, or extend `base`"
            }
            (Self::Exec, libc::EACCES) => {
                "its loader or script interpreter is not granted (extend `base`, or name it in shell.exec), or its permission bits keep the sandbox's user out"
            }
            (Self::Exec, libc::ENOEXEC) => {
                "it is neither an ELF file of this architecture nor a script with a #! line"
            }
            (Self::Exec, libc::E2BIG) => {
                "arguments and environment are longer than the kernel takes; pass data in a file"
            }
            (_, libc::EMFILE) => {
                "too many grants for the limit on open files: raise it (ulimit -n), or grant fewer paths"
            }
            _ => "`aegis doctor` checks each layer on this host",
        }
    }
}
