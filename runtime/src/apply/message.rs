//! The messages between PID 1 and the supervisor: one enum for each direction.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use aegis_sys::process::Change;
use aegis_sys::socket;

use crate::error::Failure;
use crate::plan::Degraded;
use crate::types::Step;

/// A message of PID 1 to the supervisor.
#[derive(Debug)]
pub enum Message {
    /// A step failed; nothing was executed.
    Failed(Failure),
    /// The files of this grant could not be id-mapped; see [`unmapped`].
    Unmapped(PathBuf),
    /// Everything is built, and PID 1 waits for the order to go. Not sent if that order has already come and
    /// there are no listeners.
    Ready {
        /// The sockets of the plan's listeners, in their order, and after them those that reach inside.
        listeners: Vec<OwnedFd>,
        /// The files to be written of [`Op::Trust`](crate::plan::Op::Trust).
        trust: Vec<OwnedFd>,
    },
    /// The command was executed.
    Running {
        /// The command.
        pidfd: OwnedFd,
        /// seccomp's listener.
        listener: Option<OwnedFd>,
        /// Where private sockets are, if there are to be such.
        own: Option<OwnRoot>,
        /// The layers over trees of the host, if there are any.
        layers: Option<OwnedFd>,
    },
    /// The command has written this to a private place, and it is gone with the sandbox.
    Lost(PathBuf),
    /// When the command ended, no space or no inode was left in the sandbox's own file system.
    Full,
    /// The command changed its state.
    Changed {
        /// How.
        change: Change,
        /// Whether the terminal had sent the signal for it: see `apply/witness.rs`.
        by_terminal: bool,
    },
}

/// The sandbox's root with nothing of the host in it.
#[derive(Debug)]
pub struct OwnRoot {
    /// A detached copy of the mounts of its own file system.
    pub root: OwnedFd,
    /// The user namespace that it belongs to, where that is not the supervisor's.
    pub user: Option<OwnedFd>,
    /// The [network namespace](socket::network_namespace), whose abstract names are its own; 0: it has none of its own, or
    /// that is unknown, and abstract names cannot be used.
    pub network: u64,
}

/// An order of the supervisor to PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    /// The ids are mapped.
    Mapped = b'm',
    /// The command may start.
    Go = b'g',
}

/// The degradation where the files of a grant could not be id-mapped.
pub fn unmapped(path: &Path) -> Degraded {
    Degraded {
        layer: "mount",
        what: format!(
            "the file system of {} has no id-mapped mounts: what root alone may read or write there is refused",
            path.display()
        ),
        fix: "make the grant belong to the sandbox's user, or use a file system with id-mapped mounts".into(),
    }
}

fn malformed() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADMSG)
}

impl Message {
    /// Sends the message.
    pub(super) fn send(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let (bytes, fds) = self.encode();
        socket::send(socket, &bytes, &fds)
    }

    /// Receives one; `None`: the other side is closed.
    pub(super) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let mut buffer = [0; 8192];
        let (length, fds) = socket::receive(socket, &mut buffer)?;
        match &buffer[..length] {
            [] => Ok(None),
            bytes => Self::decode(bytes, fds).map(Some),
        }
    }

    fn encode(&self) -> (Vec<u8>, Vec<BorrowedFd<'_>>) {
        let mut fds = Vec::new();
        let bytes = match self {
            Self::Failed(failure) => {
                let errno = failure.cause.raw_os_error().unwrap_or(libc::EIO);
                let subject = failure.subject.as_deref().unwrap_or(Path::new(""));
                let (step, subject) = (failure.step as u8, subject.as_os_str().as_bytes());
                [&[b'F', step], &errno.to_ne_bytes()[..], subject].concat()
            }
            Self::Unmapped(path) => [b"U", path.as_os_str().as_bytes()].concat(),
            Self::Lost(path) => [b"L", path.as_os_str().as_bytes()].concat(),
            Self::Full => vec![b'T'],
            Self::Ready { listeners, trust } => {
                fds.extend(trust.iter().chain(listeners).map(AsFd::as_fd));
                vec![b'B', trust.len() as u8]
            }
            Self::Running {
                pidfd,
                listener,
                own,
                layers,
            } => {
                let user = own.as_ref().and_then(|own| own.user.as_ref());
                fds.push(pidfd.as_fd());
                fds.extend(listener.as_ref().map(AsFd::as_fd));
                fds.extend(own.as_ref().map(|own| own.root.as_fd()));
                fds.extend(user.map(AsFd::as_fd));
                fds.extend(layers.as_ref().map(AsFd::as_fd));
                let network = own.as_ref().map_or(0, |own| own.network).to_ne_bytes();
                let (listener, layers) = (listener.is_some(), layers.is_some());
                let given = [listener, own.is_some(), user.is_some(), layers].map(u8::from);
                [&b"R"[..], &given, &network].concat()
            }
            Self::Changed {
                change,
                by_terminal,
            } => {
                let (kind, value) = match change {
                    Change::Exited(status) => (b'x', *status),
                    Change::Killed(signal) => (b'k', *signal),
                    Change::Stopped(signal) => (b's', *signal),
                    Change::Continued => (b'c', 0),
                };
                [
                    &[b'C', kind, u8::from(*by_terminal)],
                    &value.to_ne_bytes()[..],
                ]
                .concat()
            }
        };
        (bytes, fds)
    }

    fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> io::Result<Self> {
        let integer = |bytes: &[u8]| -> io::Result<i32> {
            let word = bytes.first_chunk().ok_or_else(malformed)?;
            Ok(i32::from_ne_bytes(*word))
        };
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        Ok(match bytes {
            [b'F', step, rest @ ..] => Self::Failed(Failure {
                step: Step::from_number(*step).ok_or_else(malformed)?,
                subject: rest.get(4..).filter(|rest| !rest.is_empty()).map(path),
                cause: io::Error::from_raw_os_error(integer(rest)?),
            }),
            [b'U', rest @ ..] => Self::Unmapped(path(rest)),
            [b'L', rest @ ..] => Self::Lost(path(rest)),
            [b'T'] => Self::Full,
            [b'B', of_trust] if fds.len() >= usize::from(*of_trust) => {
                let mut trust = fds;
                let listeners = trust.split_off((*of_trust).into());
                Self::Ready { listeners, trust }
            }
            [b'R', listener, own, user, layers, network @ ..] => {
                let mut fds = fds.into_iter();
                let mut next = |given: u8| match given {
                    0 => Ok(None),
                    _ => fds.next().map(Some).ok_or_else(malformed),
                };
                let network = network.first_chunk().ok_or_else(malformed)?;
                let pidfd = next(1)?.ok_or_else(malformed)?;
                let (listener, root, user) = (next(*listener)?, next(*own)?, next(*user)?);
                let layers = next(*layers)?;
                Self::Running {
                    pidfd,
                    listener,
                    own: root.map(|root| OwnRoot {
                        root,
                        user,
                        network: u64::from_ne_bytes(*network),
                    }),
                    layers,
                }
            }
            [b'C', kind, by_terminal, rest @ ..] => {
                let value = integer(rest)?;
                Self::Changed {
                    change: match kind {
                        b'x' => Change::Exited(value),
                        b'k' => Change::Killed(value),
                        b's' => Change::Stopped(value),
                        b'c' => Change::Continued,
                        _ => return Err(malformed()),
                    },
                    by_terminal: *by_terminal != 0,
                }
            }
            _ => return Err(malformed()),
        })
    }
}

impl Order {
    /// Sends the order.
    pub fn send(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        socket::send(socket, &[self as u8], &[])
    }

    /// Waits for one; `None`: the other side is closed.
    pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let mut byte = [0];
        let (length, _) = socket::receive(socket, &mut byte)?;
        if length == 0 {
            return Ok(None);
        }
        let mut all = [Self::Mapped, Self::Go].into_iter();
        let order = all.find(|order| *order as u8 == byte[0]);
        order.ok_or_else(malformed).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(message: &Message) -> String {
        let (ours, theirs) = socket::pair().expect("a pair");
        message.send(theirs.as_fd()).expect("sent");
        let received = Message::receive(ours.as_fd()).expect("received");
        format!("{:?}", received.expect("there is one"))
    }

    fn changed(change: Change, by_terminal: bool) -> Message {
        Message::Changed {
            change,
            by_terminal,
        }
    }

    #[test]
    fn messages_arrive_as_they_were_sent() {
        for message in [
            Message::Failed(Failure {
                step: Step::Watch,
                subject: None,
                cause: io::Error::from_raw_os_error(libc::ENOENT),
            }),
            Message::Failed(Failure {
                step: Step::Command,
                subject: Some("/a b".into()),
                cause: io::Error::from_raw_os_error(-1),
            }),
            Message::Unmapped("/data".into()),
            Message::Lost("/home/x".into()),
            Message::Full,
            changed(Change::Exited(3), false),
            changed(Change::Stopped(libc::SIGTSTP), true),
            changed(Change::Continued, false),
        ] {
            assert_eq!(pass(&message), format!("{message:?}"));
        }
        let (ours, theirs) = socket::pair().expect("a pair");
        for order in [Order::Mapped, Order::Go] {
            order.send(ours.as_fd()).expect("sent");
            let received = Order::receive(theirs.as_fd()).expect("received");
            assert_eq!(received, Some(order));
        }
        drop(theirs);
        assert!(Message::receive(ours.as_fd()).expect("an end").is_none());
    }

    #[test]
    fn as_many_descriptors_arrive_as_were_sent() {
        let (ours, theirs) = socket::pair().expect("a pair");
        let null = || std::fs::File::open("/dev/null").map(OwnedFd::from);
        let some = |count| -> Vec<OwnedFd> {
            let all: Result<_, _> = (0..count).map(|_| null()).collect();
            all.expect("descriptors")
        };
        let ready = Message::Ready {
            listeners: some(40),
            trust: some(3),
        };
        ready.send(theirs.as_fd()).expect("sent");
        match Message::receive(ours.as_fd()).expect("received") {
            Some(Message::Ready { listeners, trust }) => {
                assert_eq!((listeners.len(), trust.len()), (40, 3));
            }
            other => panic!("{other:?}"),
        }
    }
}
