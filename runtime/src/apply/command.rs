//! The last steps, in the process that becomes the command. It shares PID 1's memory until it
//! executes (`vfork(2)`): nothing here may allocate or take a lock.

use std::os::fd::{OwnedFd, RawFd};

use super::Prepared;
use super::witness::Witness;
use crate::error::Failure;
use crate::seccomp;
use crate::types::Step;
use aegis_sys::capabilities::{self, CapabilitySet};
use aegis_sys::{files, process, signal, terminal};

/// The running command.
pub(super) struct Running {
    /// Its pid in the sandbox's pid namespace.
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub listener: Option<OwnedFd>,
    /// On a terminal.
    pub witness: Option<Witness>,
}

/// Starts the command; returns once it was executed, or has failed to.
pub(super) fn start(prepared: &Prepared<'_>) -> Result<Running, Failure> {
    let (mut listener, mut witness, mut failure) = (None, None, None);
    // Sharing descriptors keeps seccomp's listener, which the command opened, here after the command has
    // executed: `exec` copies the table before it closes anything.
    let pid = process::vfork(libc::CLONE_FILES, || {
        failure = Some(match prepare(prepared, &mut witness) {
            Err(failure) => failure,
            Ok(opened) => {
                listener = opened;
                Failure::of(Step::Exec)(prepared.program.execute(prepared.token))
            }
        });
        127
    })
    .map_err(Failure::of(Step::Fork))?;
    if let Some(failure) = failure {
        return Err(Failure {
            subject: Some(prepared.plan.program.clone()),
            ..failure
        });
    }
    let pidfd = process::open(pid).map_err(Failure::of(Step::Fork))?;
    Ok(Running {
        pid,
        pidfd,
        listener,
        witness,
    })
}

/// Prepares this process to become the command. Returns seccomp's listener.
fn prepare(
    prepared: &Prepared<'_>,
    witness: &mut Option<Witness>,
) -> Result<Option<OwnedFd>, Failure> {
    let plan = prepared.plan;
    let outside = prepared.outside;

    match outside.foreground {
        Some((fd, in_foreground)) => {
            let group = process::new_group().map_err(Failure::of(Step::Terminal))?;
            *witness = Some(Witness::start().map_err(Failure::of(Step::Terminal))?);
            if in_foreground {
                terminal::set_foreground(fd, group).map_err(Failure::of(Step::Terminal))?;
            }
        }
        // In the caller's process group the command could signal the other processes there.
        None => {
            rustix::process::setsid().map_err(Failure::of(Step::Terminal))?;
            if let (true, Some(own)) = (plan.stdio.has_terminal(), outside.standard[0]) {
                terminal::make_controlling(own).map_err(Failure::of(Step::Terminal))?;
                *witness = Some(Witness::start().map_err(Failure::of(Step::Terminal))?);
            }
        }
    }
    if plan.identity.switch {
        process::become_user(plan.identity.uid, plan.identity.gid)
            .map_err(Failure::of(Step::Ids))?;
        // Changing ids may have made the memory that we share with PID 1 traceable: `fs.suid_dumpable`.
        process::not_dumpable().map_err(Failure::of(Step::Capabilities))?;
        capabilities::keep(CapabilitySet::empty()).map_err(Failure::of(Step::Capabilities))?;
    }
    process::leave_real_time().map_err(Failure::of(Step::Limits))?;
    for (fd, other) in outside.standard.iter().enumerate() {
        if let Some(other) = other {
            files::duplicate_to(*other, fd as RawFd).map_err(Failure::of(Step::Descriptors))?;
        }
    }
    files::close_on_exec_from(3).map_err(Failure::of(Step::Descriptors))?;
    for fd in &plan.keep_fds {
        files::keep_on_exec(*fd).map_err(Failure::of(Step::Descriptors))?;
    }
    if let Some(count) = plan.limits.processors {
        process::use_processors(count).map_err(Failure::of(Step::Limits))?;
    }
    process::set_soft_limit(libc::RLIMIT_NOFILE, prepared.open_files)
        .map_err(Failure::of(Step::Limits))?;
    for (resource, value) in &plan.limits.resources {
        // A lower hard limit of the caller stays.
        let value = (*value).min(process::limits(*resource).1);
        process::set_limit(*resource, value).map_err(Failure::of(Step::Limits))?;
    }
    for signal in signal::IGNORED {
        signal::default_action(signal);
    }
    outside.signals.restore_mask();
    let filter = prepared.filter.as_slice();
    match seccomp::install(filter, seccomp::Listener::WaitKillable) {
        // Linux before 5.19.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            seccomp::install(filter, seccomp::Listener::Interruptible)
        }
        result => result,
    }
    .map_err(Failure::of(Step::Seccomp))
}
