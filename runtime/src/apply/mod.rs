//! Applying a plan to the kernel: the only code that changes a process. It computes nothing.
//!
//! [`start`] clones the sandbox's PID 1, which builds the new root (`root`), gives up every
//! privilege, starts the command (`command`) and then only waits (`init`). What happened comes
//! back over a socket as [`Message`]s.

mod command;
mod early;
mod init;
mod layers;
mod message;
mod root;
mod sources;
mod stdio;
mod trust;
mod witness;

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Failure};
use crate::plan::{Namespace, Plan};
use crate::seccomp;
use crate::types::{Identity, Step};
use aegis_sys::process::{self, Program};
use aegis_sys::signal::Signals;
use aegis_sys::{namespaces, socket};

pub use early::Early;
pub(crate) use layers::written;
use message::Order;
pub use message::{Message, OwnRoot, unmapped};

/// What [`start`] needs besides the plan.
pub struct Outside<'a> {
    /// The cgroup2 group to start in.
    pub group: Option<BorrowedFd<'a>>,
    /// `tasks` files of v1 groups, open for writing: PID 1 puts itself in by writing 0.
    pub tasks: Vec<OwnedFd>,
    /// What becomes the command's 0, 1 and 2, where those are not the caller's.
    pub standard: [Option<BorrowedFd<'a>>; 3],
    /// Signals that the supervisor has blocked.
    pub signals: &'a Signals,
    /// The caller's terminal: the command stays in its session, with a process group of its own,
    /// which becomes the foreground group if the caller's is that.
    pub foreground: Option<(i32, bool)>,
}

/// A sandbox that was started.
pub struct Started {
    /// PID 1's pid in this pid namespace.
    pub pid: i32,
    /// PID 1.
    pub pidfd: OwnedFd,
    /// Where [`Message`]s come from, and orders go to. Closed when PID 1 has ended.
    pub messages: OwnedFd,
}

/// Everything that PID 1 and the command need, prepared before there is a second process.
struct Prepared<'a> {
    plan: &'a Plan,
    /// `CLONE_NEW*` of the namespaces that were made early.
    joined: u64,
    outside: &'a Outside<'a>,
    /// The caller's soft limit on open files: ours is raised where there are many mounts.
    open_files: u64,
    sources: sources::Sources,
    /// Those of 0, 1, 2 that the command may open again.
    reopened: Vec<stdio::Reopened>,
    filter: seccomp::Program,
    /// Tells the command's own execution from others: see [`seccomp::Filter::pass_first_execution`].
    token: u64,
    program: Program,
}

fn flags(plan: &Plan) -> u64 {
    plan.namespaces
        .iter()
        .map(|namespace| match namespace {
            Namespace::User => libc::CLONE_NEWUSER,
            Namespace::Mount => libc::CLONE_NEWNS,
            Namespace::Pid => libc::CLONE_NEWPID,
            Namespace::Ipc => libc::CLONE_NEWIPC,
            Namespace::Uts => libc::CLONE_NEWUTS,
            Namespace::Net => libc::CLONE_NEWNET,
            // Entered once PID 1 is in its groups, so that it sees these as the root.
            Namespace::Cgroup => 0,
        })
        .fold(0, |all, flag| all | flag as u64)
}

fn program(plan: &Plan) -> Result<Program, Error> {
    let variable = |(name, value): (&OsString, &OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
    };
    let program = || -> Result<Program, std::ffi::NulError> {
        let argv = plan.argv.iter().map(|word| CString::new(word.as_bytes()));
        Ok(Program::new(
            CString::new(plan.program.as_os_str().as_bytes())?,
            argv.collect::<Result<_, _>>()?,
            plan.environment
                .iter()
                .map(variable)
                .collect::<Result<_, _>>()?,
        ))
    };
    program().map_err(|error| Failure::of(Step::Strings)(error).into())
}

/// The filter, and what is in a register when the command is executed. Of an observed run nobody inside can guess it: an
/// execution that had it would not be seen.
fn filter(plan: &Plan) -> Result<(seccomp::Program, u64), Failure> {
    let fail = Failure::of(Step::Seccomp);
    let mut token = [0; 8];
    let compiled = if plan.syscalls.observed {
        let got = rustix::rand::getrandom(&mut token, rustix::rand::GetRandomFlags::empty());
        if got.map_err(|error| fail(error.into()))? != token.len() {
            return Err(fail(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut filter = plan.seccomp.clone();
        filter.pass_first_execution(u64::from_ne_bytes(token));
        filter.compile()
    } else {
        plan.seccomp.compile()
    };
    let compiled =
        compiled.map_err(|error| fail(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    Ok((compiled, u64::from_ne_bytes(token)))
}

/// Starts the command as the plan says. A failure inside is reported as a [`Message::Failed`].
pub fn start(
    plan: &Plan,
    outside: &Outside<'_>,
    mut early: Option<Early>,
) -> Result<Started, Error> {
    let (open_files, most) = process::limits(libc::RLIMIT_NOFILE);
    let needed = plan.root.mounts().count() as u64 + 64;
    if open_files < needed {
        process::set_soft_limit(libc::RLIMIT_NOFILE, needed.min(most))
            .map_err(Failure::of(Step::Limits))?;
    }
    let (filter, token) = filter(plan)?;
    let mut prepared = Prepared {
        plan,
        open_files,
        joined: 0,
        outside,
        sources: sources::open(plan)?,
        reopened: stdio::reopened(&plan.identity, outside.standard)
            .map_err(Failure::of(Step::Descriptors))?,
        filter,
        token,
        program: program(plan)?,
    };
    let (ours, theirs) = socket::pair().map_err(Failure::of(Step::Socket))?;
    if let Some(early) = &mut early {
        prepared.joined = early
            .join(&plan.identity, plan.network)
            .map_err(Failure::of(Step::Clone))?;
    }
    let flags = flags(plan) & !prepared.joined;
    let cloned = namespaces::clone(flags, outside.group).map_err(Failure::of(Step::Clone))?;
    let Some((pid, pidfd)) = cloned else {
        drop(ours);
        init::run(prepared, theirs, early.as_ref())
    };
    drop(theirs);
    // Ends a janitor that is not needed for control groups; by now there is another process to wait for.
    let unneeded = early;
    let started = Started {
        pid,
        pidfd,
        messages: ours,
    };
    if plan.identity.switch {
        let Identity { uid, gid, .. } = plan.identity;
        let mapped = namespaces::map_ids_of(pid, (uid, uid), (gid, gid));
        let mapped = mapped.and_then(|()| Order::Mapped.send(started.messages.as_fd()));
        mapped.map_err(|error| started.failed(Failure::of(Step::Ids)(error)))?;
    }
    drop(unneeded);
    Ok(started)
}

impl Started {
    /// Why PID 1 has failed, if that is why a step of ours did.
    fn failed(&self, ours: Failure) -> Failure {
        match socket::has_message(self.messages.as_fd()).then(|| self.receive()) {
            Some(Ok(Some(Message::Failed(theirs)))) => theirs,
            _ => ours,
        }
    }

    /// Lets the command start. If PID 1 has failed meanwhile, there is a message to read.
    ///
    /// # Errors
    ///
    /// PID 1 exists but the order cannot be sent.
    pub fn go(&self) -> Result<(), Error> {
        match Order::Go.send(self.messages.as_fd()) {
            // Closed, with or without something unread in it.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Err(Failure::of(Step::Fork)(error).into())
            }
            _ => Ok(()),
        }
    }

    /// The next message; `None` once PID 1 is gone.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        Message::receive(self.messages.as_fd())
    }

    /// The descriptor to poll for [`Started::receive`].
    pub fn raw(&self) -> i32 {
        self.messages.as_raw_fd()
    }
}
