//! What is to be run, and all that is known of it before it is.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aegis_audit::places::State;
use aegis_policy::{Decision, Hash, Policy, Request};
use aegis_profile::Loaded;
use aegis_runtime::apply::Early;
use aegis_runtime::facts::HostFacts;
use aegis_runtime::plan::Plan;

use crate::report_file::ReportFile;

/// What is to be run.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The profile: a built-in name, a file, or `-`. `None`: `base`, and the working directory readable.
    pub profile: Option<String>,
    /// Keys of the profile to override, as `KEY=VALUE`.
    pub set: Vec<String>,
    /// The command; empty: the profile's `run`.
    pub command: Vec<OsString>,
    /// Open descriptors to hand on beside 0, 1, 2.
    pub keep_fds: Vec<RawFd>,
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
    /// A run under a profile.
    pub fn profile(reference: impl Into<String>) -> Self {
        Self {
            profile: Some(reference.into()),
            ..Self::default()
        }
    }

    /// With this command.
    #[must_use]
    pub fn command<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }
}

/// All that is known of a run before anybody is asked.
pub(crate) struct Run {
    pub launch: Launch,
    pub id: String,
    pub early: Option<Early>,
    pub report: Option<ReportFile>,
    pub loaded: Loaded,
    /// Of the profile as it was written.
    pub profile_hash: Hash,
    pub state: Option<State>,
    pub policy: Rc<Policy>,
    pub facts: HostFacts,
    pub plan: Plan,
    /// What the policy was asked.
    pub request: Request,
    pub decision: Decision,
}
