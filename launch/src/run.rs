//! What is to be run, and all that is known of it before it is.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aegis_audit::places::State;
use aegis_policy::{Decision, Hash, Policy, Request};
use aegis_profile::{Limits, Profile};
use aegis_runtime::apply::Early;
use aegis_runtime::facts::Host;
use aegis_runtime::plan::{Plan, Spec};

use crate::record::Recorder;
use crate::report_file::ReportFile;

/// What a command asks for.
#[derive(Clone, Debug)]
pub enum Declaration {
    /// What a profile declares.
    Profile {
        /// A built-in name, a file, or `-`. `None`: `base`, and the working directory readable.
        reference: Option<String>,
        /// Keys to override, as `KEY=VALUE`.
        set: Vec<String>,
        /// The command; empty: the profile's `run`.
        command: Vec<OsString>,
        /// Open descriptors to hand on beside 0, 1, 2.
        keep_fds: Vec<RawFd>,
    },
    /// What a front end of its own asks for, in kernel terms.
    Operations {
        /// Everything but limits.
        spec: Box<Spec>,
        /// Limits, which a policy's ceilings may lower.
        limits: Box<Limits>,
    },
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What is asked for.
    pub asked: Declaration,
    /// The policy: a template, a file or a directory. `None`: the configured one, or else `standard`.
    pub policy: Option<String>,
    /// The audit log's directory. `None`: the user's.
    pub audit: Option<PathBuf>,
    /// Where the report goes: a file, `-`, or `/dev/fd/N`.
    pub report: Option<PathBuf>,
    /// Called with the log's directory when others have it locked for longer than a second.
    pub log_is_locked: Option<fn(&Path)>,
    /// Whether this process exists for the one run alone. It then joins namespaces of the sandbox (which is
    /// quicker), passes signals on, and takes part in its terminal's job control.
    pub own_process: bool,
}

impl Launch {
    /// A run under a profile; no words: the command that the profile has.
    pub fn profile<W: Into<OsString>>(
        reference: impl Into<String>,
        command: impl IntoIterator<Item = W>,
    ) -> Self {
        Self::new(Declaration::Profile {
            reference: Some(reference.into()),
            set: Vec::new(),
            command: command.into_iter().map(Into::into).collect(),
            keep_fds: Vec::new(),
        })
    }

    /// A run of what a front end has put together itself.
    pub fn operations(spec: Spec) -> Self {
        Self::new(Declaration::Operations {
            spec: Box::new(spec),
            limits: Box::default(),
        })
    }

    /// A run with the user's own policy and log.
    pub fn new(asked: Declaration) -> Self {
        Self {
            asked,
            policy: None,
            audit: None,
            report: None,
            log_is_locked: None,
            own_process: false,
        }
    }

    /// The profile, as it was named.
    pub fn file(&self) -> Option<&str> {
        match &self.asked {
            Declaration::Profile { reference, .. } => reference.as_deref(),
            Declaration::Operations { .. } => None,
        }
    }
}

/// All that is known of a run before anybody is asked.
pub(crate) struct Run<'a> {
    pub recorder: Recorder<'a>,
    pub launch: Launch,
    pub id: String,
    pub early: Option<Early>,
    pub report: Option<ReportFile>,
    /// The profile; of other front ends, its name and limits alone.
    pub profile: Profile,
    /// Of the profile as it was written; of operations, of the plan before it was decided about.
    pub profile_hash: Hash,
    pub state: Option<State>,
    pub policy: Rc<Policy>,
    pub host: Host,
    /// Files that the host acts upon and that are not there.
    pub absent: Vec<PathBuf>,
    pub plan: Plan,
    /// What the policy was asked.
    pub request: Request,
    pub decision: Decision,
}
