//! Supervises a run from outside: limits of time and output, signals, the terminal, the calls that
//! seccomp hands over. Reports events during the run, and the result afterwards.
//!
//! [`Built`] is a sandbox in which nothing runs yet; [`Built::go`] lets the command start and gives the
//! [`Session`], which has to be polled until the command has ended; [`Session::finish`] ends it and gives
//! the [`report`].

mod changes;
pub mod denials;
mod error_messages;
mod notify;
mod observe;
mod pseudo;
mod relay;
pub mod report;
mod session;
mod sockets;
mod stdio;
mod system;
mod tail;
mod terminal;

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use crate::apply::Early;
pub use crate::cgroup::Leaf;
use crate::plan::Degraded;

pub use crate::types::run_id;
pub use changes::{Change, Changed};
pub use denials::Denial;
pub use session::{Built, Finished, NotBuilt, Session};
pub use system::SystemFile;

/// What a front end decides about a run besides its plan.
#[derive(Default)]
pub struct Options<'a> {
    /// The run's id, from [`run_id`]: names its control groups.
    pub id: &'a str,
    /// Namespaces that are being made already. Only for a program that runs nothing else: it joins them.
    pub early: Option<Early>,
    /// The leaf on the cgroup2 tree to run in.
    pub leaf: Leaf,
    /// Files that the host acts upon and that do not exist (see [`crate::facts::plantable`]): the report says
    /// which of them the run has made.
    pub absent: Vec<PathBuf>,
    /// Whether this process passes its signals on to the command, and takes part in the job control of its
    /// terminal. It then blocks these signals, and keeps them blocked.
    pub signals: bool,
}

/// What happens while a run is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The command was executed.
    Started,
    /// Something was denied, for the first time.
    Denied(Box<Denial>),
    /// Something is degraded, and may be.
    Degraded(Degraded),
    /// A person was to be asked, and nothing holds the command still ([`Session::freeze`]): it is killed.
    NotFrozen(Degraded),
    /// A signal has stopped the command.
    Stopped(i32),
    /// The command was continued.
    Continued,
    /// The terminal's `SIGINT` or `SIGQUIT` (Control-C, Control-\\) has ended the command. It went to the command's process
    /// group; without Aegis the caller's would have got it. A front end that is the command to its caller passes it on to its
    /// own process group, last of all.
    Interrupted(i32),
    /// A limit ends the run: its key.
    Limit(&'static str),
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Poll again.
    Running,
    /// The command has ended, or never started: [`Session::finish`] says which.
    Ended,
}

impl Progress {
    /// Whether it goes on.
    pub fn is_running(self) -> bool {
        self == Self::Running
    }
}

/// A descriptor that a front end wants polled together with the run's own.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Whether it can be read, or its other end was closed. Set by [`Session::poll`].
    pub ready: bool,
}
