//! Why a command was not run, or why its run could not be recorded.

use aegis_policy::Decision;
use aegis_runtime::plan::Plan;

/// See the module's documentation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile or the policy is wrong.
    #[error(transparent)]
    Profile(#[from] aegis_profile::Error),
    /// The host cannot do what is asked, or a step failed.
    #[error(transparent)]
    Runtime(#[from] Box<aegis_runtime::Error>),
    /// The policy, or the person it asks, does not permit the run. The refusal is recorded.
    #[error("the policy {} does not permit this run", .0.plan.policy.as_ref().map_or("", |policy| &policy.name))]
    Refused(Box<Refusal>),
    /// The run cannot be recorded, so it was not started.
    #[error("{0}")]
    Unrecorded(String),
    /// The caller asks for something that front ends may not do, or for a report that cannot be written.
    #[error("{0}")]
    Caller(String),
}

/// A run that was not permitted.
#[derive(Debug)]
pub struct Refusal {
    /// The plan, with the decision about each grant.
    pub plan: Plan,
    /// The decision about the run.
    pub decision: Decision,
    /// Why no person has permitted it: the answer, or why nobody could be asked. `None`: a person could
    /// not permit it.
    pub unanswered: Option<String>,
}

impl From<aegis_runtime::Error> for Error {
    fn from(error: aegis_runtime::Error) -> Self {
        Box::new(error).into()
    }
}

impl Error {
    /// The exit status for this error: 127 not found, 126 not executable, 125 otherwise.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Runtime(error) => error.exit_status(),
            _ => 125,
        }
    }
}
