//! The last steps, in the process that becomes the command. It shares PID 1's memory until it
//! executes, as `vfork(2)` has it: nothing here may allocate or take a lock.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::Prepared;
use super::root::Failure;
use crate::seccomp;
use crate::types::Step;
use aegis_sys::{descriptors, process, terminal};

/// The command, executed.
pub(super) struct Running {
    /// In the sandbox's pid namespace.
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub listener: Option<OwnedFd>,
}

struct Job<'a> {
    prepared: &'a Prepared<'a>,
    argv: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    listener: Option<RawFd>,
    failure: Option<(Step, io::Error)>,
}

/// Starts the command; returns once it is executed, or has failed to.
pub(super) fn start(prepared: &Prepared<'_>) -> Result<Running, Failure> {
    let pointers = |list: &[std::ffi::CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|text| text.as_ptr())
            .chain(std::iter::once(std::ptr::null()))
            .collect()
    };
    let mut job = Job {
        prepared,
        argv: pointers(&prepared.argv),
        environment: pointers(&prepared.environment),
        listener: None,
        failure: None,
    };
    // Sharing descriptors lets seccomp's listener, opened by the command, stay here after it has
    // executed: `exec` takes a copy of the table before it closes anything.
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: `entry` expects a `Job`, which outlives the child's use of it: with CLONE_VFORK we
    // go on when it has executed or exited. It allocates nothing.
    let pid = unsafe { process::clone_with_stack(entry, flags, (&raw mut job).cast()) }
        .map_err(Failure::of(Step::Fork))?;
    if let Some((step, error)) = job.failure {
        return Err(Failure {
            step,
            error,
            subject: Some(prepared.plan.program.clone()),
        });
    }
    let pidfd = process::open(pid).map_err(Failure::of(Step::Fork))?;
    // SAFETY: the kernel gave the child this descriptor in the table that we share.
    let listener = job.listener.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(Running {
        pid,
        pidfd,
        listener,
    })
}

extern "C" fn entry(job: *mut libc::c_void) -> libc::c_int {
    // SAFETY: [`start`] passes a `Job` and is suspended while we use it.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    let failure = become_command(job);
    job.failure = Some(failure);
    127
}

fn become_command(job: &mut Job<'_>) -> (Step, io::Error) {
    match prepare(job) {
        Err(failure) => failure,
        Ok(()) => {
            // SAFETY: both arrays end with NULL, and what they point to outlives the call.
            let error = unsafe {
                process::exec(
                    &job.prepared.program,
                    job.argv.as_ptr(),
                    job.environment.as_ptr(),
                )
            };
            (Step::Exec, error)
        }
    }
}

fn prepare(job: &mut Job<'_>) -> Result<(), (Step, io::Error)> {
    let plan = job.prepared.plan;
    let outside = job.prepared.outside;
    let at = |step: Step| move |error: io::Error| (step, error);

    match outside.foreground {
        Some((fd, in_foreground)) => {
            let group = process::new_group().map_err(at(Step::Terminal))?;
            if in_foreground {
                terminal::set_foreground(fd, group).map_err(at(Step::Terminal))?;
            }
        }
        // In the caller's process group the command could signal its neighbours there.
        None => process::new_session().map_err(at(Step::Terminal))?,
    }
    if let Some(input) = outside.input {
        descriptors::duplicate_to(input.as_raw_fd(), 0).map_err(at(Step::Descriptors))?;
    }
    for (fd, output) in outside.output.iter().enumerate() {
        if let Some(output) = output {
            descriptors::duplicate_to(output.as_raw_fd(), fd as RawFd + 1)
                .map_err(at(Step::Descriptors))?;
        }
    }
    descriptors::close_on_exec_from(3).map_err(at(Step::Descriptors))?;
    for fd in &plan.keep_fds {
        descriptors::keep_on_exec(*fd).map_err(at(Step::Descriptors))?;
    }
    if let Some(count) = plan.limits.processors {
        process::use_processors(count).map_err(at(Step::Limits))?;
    }
    process::set_soft_limit(libc::RLIMIT_NOFILE, job.prepared.open_files)
        .map_err(at(Step::Limits))?;
    for (resource, value) in &plan.limits.resources {
        // The caller's own hard limit stays where it is lower.
        let value = (*value).min(process::limits(*resource).1);
        process::set_limit(*resource, value).map_err(at(Step::Limits))?;
    }
    for signal in process::IGNORED {
        process::default_action(signal);
    }
    outside.signals.restore_mask();
    let filter = job.prepared.filter.as_slice();
    job.listener = match seccomp::install(filter, seccomp::Listener::WaitKillable) {
        // Linux before 5.19.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            seccomp::install(filter, seccomp::Listener::Interruptible)
        }
        result => result,
    }
    .map_err(at(Step::Seccomp))?;
    Ok(())
}
