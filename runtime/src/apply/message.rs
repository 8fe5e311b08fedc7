//! What PID 1 tells the supervisor, and the names of the steps that can fail.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use aegis_sys::process::Change;
use aegis_sys::socket;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A step of applying a plan.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The step in words: "WHAT failed".
            pub fn describe(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

steps! {
    /// `clone3`.
    Clone = "creating the namespaces",
    /// uid_map, gid_map, setresuid.
    Ids = "mapping user ids",
    /// v1 `tasks`, cgroup namespace.
    Group = "entering the control groups",
    /// `lo`, host name.
    Network = "bringing up the sandbox's loopback",
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
}

/// What to do about a failed step.
pub(crate) fn help(step: &str, error: &io::Error) -> String {
    let errno = error.raw_os_error();
    let text = match (step, errno) {
        (step, Some(libc::EPERM | libc::ENOSPC | libc::EUSERS | libc::EACCES))
            if step == Step::Clone.describe() || step == Step::Ids.describe() =>
        {
            "unprivileged user namespaces seem to be restricted on this host; `aegis doctor` says by what, and how to permit them"
        }
        (step, _) if step == Step::Changed.describe() => {
            "somebody is changing the files under a grant: run again when it is quiet, or grant another path"
        }
        (step, Some(libc::EAGAIN | libc::ENOMEM)) if step == Step::Clone.describe() => {
            "the host is out of processes or memory"
        }
        (step, Some(libc::ENOENT)) if step == Step::Exec.describe() => {
            "its ELF or script interpreter is missing in the sandbox: `file` names it; grant it with shell.exec, or extend `base`"
        }
        (step, Some(libc::EACCES)) if step == Step::Exec.describe() => {
            "its loader or script interpreter is not granted (extend `base`, or name it in shell.exec), or its permission bits keep the sandbox's user out"
        }
        (step, Some(libc::ENOEXEC)) if step == Step::Exec.describe() => {
            "it is neither an ELF file of this architecture nor a script with a #! line"
        }
        (step, Some(libc::E2BIG)) if step == Step::Exec.describe() => {
            "arguments and environment are longer than the kernel takes; pass data in a file"
        }
        (_, Some(libc::EMFILE)) => {
            "too many grants for the limit on open files: raise it (ulimit -n), or grant fewer paths"
        }
        _ => "`aegis doctor` checks each layer on this host",
    };
    text.into()
}

/// What PID 1 tells.
#[derive(Debug)]
pub enum Message {
    /// A step failed; nothing was executed.
    Failed {
        /// The step.
        step: Step,
        /// Why.
        errno: i32,
        /// On what.
        subject: Option<PathBuf>,
    },
    /// The command was executed.
    Running {
        /// The command.
        pidfd: OwnedFd,
        /// seccomp's listener.
        listener: Option<OwnedFd>,
    },
    /// Something is not as planned, but permitted to be: (layer, what).
    Degraded(&'static str, String),
    /// The command changed its state.
    Changed(Change),
}

pub(super) fn send_failure(
    socket: BorrowedFd<'_>,
    step: Step,
    error: &io::Error,
    subject: Option<&Path>,
) {
    let mut bytes = vec![b'F', step as u8];
    bytes.extend(error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes());
    if let Some(subject) = subject {
        bytes.extend(subject.as_os_str().as_bytes());
    }
    // The supervisor sees the end of the socket if this cannot be told.
    let _ = socket::send(socket, &bytes, &[]);
}

pub(super) fn send_change(socket: BorrowedFd<'_>, change: Change) -> io::Result<()> {
    let (kind, value) = match change {
        Change::Exited(status) => (b'x', status),
        Change::Killed(signal) => (b'k', signal),
        Change::Stopped(signal) => (b's', signal),
        Change::Continued => (b'c', 0),
    };
    let mut bytes = vec![b'C', kind];
    bytes.extend(value.to_ne_bytes());
    socket::send(socket, &bytes, &[])
}

pub(super) fn send_running(socket: BorrowedFd<'_>, fds: &[i32]) -> io::Result<()> {
    socket::send(socket, b"R", fds)
}

pub(super) fn send_unmapped(socket: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let mut bytes = vec![b'M'];
    bytes.extend(path.as_os_str().as_bytes());
    socket::send(socket, &bytes, &[])
}

pub(super) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut buffer = [0; 8192];
    let (length, mut fds) = socket::receive(socket, &mut buffer)?;
    let malformed = || io::Error::from_raw_os_error(libc::EBADMSG);
    let integer = |bytes: &[u8]| -> io::Result<i32> {
        Ok(i32::from_ne_bytes(
            bytes
                .get(..4)
                .and_then(|word| word.try_into().ok())
                .ok_or_else(malformed)?,
        ))
    };
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    match &buffer[..length] {
        [] => Ok(None),
        [b'F', step, rest @ ..] => Ok(Some(Message::Failed {
            step: *Step::ALL.get(usize::from(*step)).ok_or_else(malformed)?,
            errno: integer(rest)?,
            subject: rest.get(4..).filter(|rest| !rest.is_empty()).map(path),
        })),
        [b'R'] => {
            if fds.is_empty() {
                return Err(malformed());
            }
            let pidfd = fds.remove(0);
            Ok(Some(Message::Running {
                pidfd,
                listener: fds.pop(),
            }))
        }
        [b'M', rest @ ..] => Ok(Some(Message::Degraded(
            "mount",
            format!(
                "the file system of {} has no id-mapped mounts: what root alone may read or write there is refused",
                path(rest).display()
            ),
        ))),
        [b'C', kind, rest @ ..] => {
            let value = integer(rest)?;
            Ok(Some(Message::Changed(match kind {
                b'x' => Change::Exited(value),
                b'k' => Change::Killed(value),
                b's' => Change::Stopped(value),
                _ => Change::Continued,
            })))
        }
        _ => Err(malformed()),
    }
}
