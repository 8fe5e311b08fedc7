//! What to run, and everything known about it before it starts.

use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aegis_audit::places::State;
use aegis_policy::{Decision, Hash, Policy, Request};
use aegis_profile::{Limits, Loaded, Profile};
use aegis_runtime::facts::Host;
use aegis_runtime::facts::paths::Link;
use aegis_runtime::plan::{Plan, Spec, authority};
use aegis_runtime::supervise::{self, Built, NotBuilt};
use aegis_runtime::types::StdioMode;

use crate::broker;
use crate::observing::{ObserveBy, Observing};
use crate::record::Recorder;
use crate::watching::Watching;
use aegis_sys::output::Output;

/// What a command asks for.
#[derive(Clone, Debug)]
pub enum Declaration {
    /// What a profile declares.
    Profile {
        /// Which profile.
        reference: Reference,
        /// Keys to override, as `KEY=VALUE`.
        set: Vec<String>,
        /// The command; empty: the profile's `run`.
        command: Vec<OsString>,
        /// How the command gets 0, 1, 2.
        stdio: StdioMode,
        /// Open descriptors to pass on beside 0, 1, 2.
        keep_fds: Vec<RawFd>,
    },
    /// What another front end asks for, in kernel terms.
    Operations {
        /// Everything except limits.
        spec: Box<Spec>,
        /// Limits, which a policy's ceilings may lower.
        limits: Box<Limits>,
    },
}

/// Which profile a command is run under.
#[derive(Clone, Debug)]
pub enum Reference {
    /// `base`, and the working directory readable.
    Default,
    /// A built-in name, a file, or `-`.
    Named(String),
    /// One that was put together by the front end.
    Given(Box<Loaded>),
}

/// A run to be launched.
#[derive(Debug)]
pub struct Launch {
    /// What is asked for.
    pub asked: Declaration,
    /// The policy: a template, a file or a directory. `None`: the configured one, or else `standard`.
    pub policy: Option<String>,
    /// The audit log's directory. `None`: the user's.
    pub audit: Option<PathBuf>,
    /// Where the report goes: a file, `-`, or `/dev/fd/N`.
    pub report: Option<PathBuf>,
    /// Where what the command was seen to do is written: a place as for the report. `None`: it is not observed.
    pub observation: Option<PathBuf>,
    /// By what it is observed, if it is.
    pub observe_by: ObserveBy,
    /// Whether it is held against what is ordinary while it runs: the baseline that the profile names, or what the sandbox
    /// refuses.
    pub observe: bool,
    /// Called with the log's directory if others keep it locked for longer than a second.
    pub log_is_locked: Option<fn(&Path)>,
    /// A leaf on the cgroup2 tree to run in, instead of a new one. It is not removed.
    pub leaf: Option<OwnedFd>,
    /// Whether this process exists for this one run only. It then joins namespaces of the sandbox and begins to
    /// build it before the policy has decided (which is quicker), passes signals on, and takes part in its
    /// terminal's job control.
    pub own_process: bool,
}

impl Launch {
    /// A run under a profile; without words, of the profile's own command.
    pub fn profile<W: Into<OsString>>(
        reference: impl Into<String>,
        command: impl IntoIterator<Item = W>,
    ) -> Self {
        Self::new(Declaration::Profile {
            reference: Reference::Named(reference.into()),
            set: Vec::new(),
            command: command.into_iter().map(Into::into).collect(),
            stdio: StdioMode::Inherit,
            keep_fds: Vec::new(),
        })
    }

    /// A run that a front end has put together itself.
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
            observation: None,
            observe_by: ObserveBy::default(),
            observe: false,
            log_is_locked: None,
            leaf: None,
            own_process: false,
        }
    }

    /// The profile, as it was named.
    pub fn file(&self) -> Option<&str> {
        match &self.asked {
            Declaration::Profile {
                reference: Reference::Named(name),
                ..
            } => Some(name),
            _ => None,
        }
    }
}

/// Everything known about a run before anybody is asked.
pub(crate) struct Run<'a> {
    pub recorder: Recorder<'a>,
    pub launch: Launch,
    pub id: String,
    pub report: Option<Output>,
    pub observing: Option<Observing>,
    pub watching: Option<Watching>,
    /// The way to the hosts that the profile names; or why there is none.
    pub broker: Option<Result<broker::Started, String>>,
    /// The profile; for other front ends, only its name and limits.
    pub profile: Profile,
    /// The hash of the profile as written; for operations, of the undecided plan.
    pub profile_hash: Hash,
    pub state: Option<State>,
    pub policy: Rc<Policy>,
    pub host: Host,
    pub sandbox: Sandbox,
    /// The request to the policy.
    pub request: Request,
    pub decision: Decision,
    /// The links on the paths to what is asked for.
    pub links: Vec<Link>,
}

/// The sandbox of a run that is not recorded yet: nothing runs in it.
pub(crate) enum Sandbox {
    /// To be built by [`Sandbox::build`].
    Planned {
        plan: Box<Plan>,
        /// Files that the host acts upon and that do not exist.
        absent: Vec<PathBuf>,
    },
    /// Being built by another process; or why not, which matters only when it is to be started.
    Begun(Result<Box<Built>, Box<NotBuilt>>),
}

impl Sandbox {
    pub fn plan(&self) -> &Plan {
        match self {
            Self::Planned { plan, .. } => plan,
            Self::Begun(Ok(built)) => built.plan(),
            Self::Begun(Err(failed)) => &failed.plan,
        }
    }

    /// Asks the policy, and writes its opinions into the plan.
    pub fn decide(&mut self, policy: &Policy, request: &Request) -> Decision {
        match self {
            Self::Planned { plan, .. } => authority::decide(plan, policy, request),
            Self::Begun(Ok(built)) => built.decide(policy, request),
            Self::Begun(Err(failed)) => authority::decide(&mut failed.plan, policy, request),
        }
    }

    /// Begins to build the sandbox, unless that has begun.
    pub fn build(
        self,
        host: &Host,
        options: supervise::Options<'_>,
    ) -> Result<Box<Built>, Box<NotBuilt>> {
        match self {
            Self::Begun(result) => result,
            Self::Planned { plan, absent } => {
                let options = supervise::Options { absent, ..options };
                Built::new(*plan, host, options).map(Box::new)
            }
        }
    }
}
