//! What PID 1 tells the supervisor.

use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use aegis_sys::process::Change;
use aegis_sys::socket;

use crate::types::Step;

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

pub(super) fn send_running(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
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
            step: Step::from_number(*step).ok_or_else(malformed)?,
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
