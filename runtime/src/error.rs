//! The crate's one error type: what was being done, to what, why it failed, what to do about it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use aegis_profile::Origin;

use crate::types::{Fault, Step};

/// Why nothing was started, or why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the command line nor the profile has a command.
    #[error(
        "there is no command to run\n  help: name it, as in `aegis-run ls -l`, or as `run` in a profile; aegis-run --help"
    )]
    NoCommand,
    /// The command does not exist.
    #[error("{}: command not found: {hint}", .name.display())]
    CommandNotFound {
        /// As given.
        name: OsString,
        /// What to do.
        hint: String,
    },
    /// The command exists but cannot be executed.
    #[error("{}: cannot be executed: {reason}", .name.display())]
    CommandNotExecutable {
        /// As given.
        name: OsString,
        /// Why.
        reason: String,
    },
    /// The command, or an interpreter that its first line names, lies where the command must not reach.
    #[error(
        "{}: cannot be executed: it lies in {}, which is Aegis's own\n  help: keep programs elsewhere", .name.display(), .own.display()
    )]
    OwnPlace {
        /// Its path, as it was found.
        name: PathBuf,
        /// The directory that belongs to Aegis.
        own: PathBuf,
    },
    /// A descriptor that would give more than was granted.
    #[error(
        "descriptor {0} is a directory or a location (O_PATH) of the host, which would be open to the command whatever the profile says\n  help: redirect it from a file, a pipe or /dev/null"
    )]
    Descriptor(i32),
    /// The current directory cannot be used.
    #[error("the current directory cannot be used as $WORK: {0}")]
    WorkingDirectory(io::Error),
    /// The profile's directory cannot be used.
    #[error("the profile's directory cannot be used as $SKILL: {0}")]
    SkillDirectory(Fault),
    /// What has to stay read-only cannot be looked for.
    #[error("{} has to stay read-only, and cannot be looked for: you may not enter {}, and a command could open it again\n  help: make it one that you may enter (chmod u+rx), or remove it", .path.display(), .dir.display())]
    Shut {
        /// The directory that may not be entered.
        dir: PathBuf,
        /// What may be in it.
        path: PathBuf,
    },
    /// A declared path cannot be granted.
    #[error("{origin}: {what}: {reason}\n  help: {help}")]
    Grant {
        /// The line that declares it.
        origin: Origin,
        /// The declaration.
        what: String,
        /// Why it cannot be granted.
        reason: String,
        /// What to do.
        help: String,
    },
    /// The profile asks for something that this build or host cannot enforce.
    #[error("{origin}: {what} cannot be enforced: {reason}\n  help: {help}")]
    Unenforceable {
        /// The line that asks.
        origin: String,
        /// What it asks for.
        what: String,
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
    },
    /// What is mounted below a grant cannot be told.
    #[error(
        "what is mounted cannot be read from /proc/self/mountinfo: {0}\n  help: is /proc mounted?"
    )]
    Mounts(io::Error),
    /// The profile asks for more grants than can be decided and recorded.
    #[error(
        "the profile {profile} asks for {grants} grants; at most {most} can be decided and recorded\n  help: declare directories rather than each file in them, and only variables that are needed"
    )]
    TooMuch {
        /// Its name.
        profile: String,
        /// How many it asks for.
        grants: usize,
        /// How many it may.
        most: usize,
    },
    /// No filter can be made of the profile's system calls.
    #[error("{}{cause}", .origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default())]
    Syscalls {
        /// The line that names the call.
        origin: Option<Origin>,
        /// The call.
        name: String,
        /// Why no filter can be made.
        cause: String,
    },
    /// No valid root can be made of a plan's operations.
    #[error("{0}")]
    Root(String),
    /// The caller of the supervisor refused the start.
    #[error("{0}")]
    NotPermitted(String),
    /// A step of applying the plan failed.
    #[error(transparent)]
    Apply(#[from] Failure),
}

impl Error {
    /// The exit status for this error: 127 not found, 126 not executable, 125 anything else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::CommandNotFound { .. } => 127,
            Self::CommandNotExecutable { .. } | Self::OwnPlace { .. } => 126,
            Self::Apply(failure) if failure.step == Step::Exec => {
                match failure.cause.raw_os_error() {
                    Some(libc::ENOENT) => 127,
                    _ => 126,
                }
            }
            _ => 125,
        }
    }

    /// The error for what a profile, on the line `origin`, or the host asks for and cannot have.
    pub(crate) fn unenforceable(
        origin: impl ToString,
        what: impl Into<String>,
        reason: &str,
        help: &str,
    ) -> Self {
        Self::Unenforceable {
            origin: origin.to_string(),
            what: what.into(),
            reason: reason.into(),
            help: help.into(),
        }
    }
}

/// A step of applying a plan that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step} failed: {cause}{}\n  help: {}", .subject.as_ref().map(|subject| format!(" ({})", subject.display())).unwrap_or_default(), .step.help(.cause))]
pub struct Failure {
    /// What was being done.
    pub step: Step,
    /// To what.
    pub subject: Option<PathBuf>,
    /// Why it failed.
    pub cause: io::Error,
}

impl Failure {
    /// A failure of a step.
    pub(crate) fn of<E: Into<io::Error>>(step: Step) -> impl Fn(E) -> Self + Copy {
        move |cause| Self {
            step,
            subject: None,
            cause: cause.into(),
        }
    }

    /// A failure of a step on a path.
    pub(crate) fn on<E: Into<io::Error>>(step: Step, path: &Path) -> impl Fn(E) -> Self + Copy {
        move |cause| Self {
            step,
            subject: Some(path.to_path_buf()),
            cause: cause.into(),
        }
    }
}
