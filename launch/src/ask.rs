//! What a front end is asked, and what it is told.

use std::path::PathBuf;

use aegis_audit::approvals::Asked;
use aegis_audit::event::Person;
use aegis_policy::{Context, HostPath};
use aegis_runtime::supervise;

/// Somebody on whose behalf a command is run.
pub trait FrontEnd {
    /// Asks a person for what the policy leaves to one, and waits for the answer.
    ///
    /// # Errors
    ///
    /// Why nobody could be asked. It is recorded, and the run refused.
    fn ask(&mut self, question: &Question<'_>) -> Result<Answer, String> {
        let _ = question;
        Err("there is nobody to ask".into())
    }

    /// Tells what happens, when it happens.
    fn event(&mut self, event: &Event) {
        let _ = event;
    }
}

/// Nobody: asks no one, tells no one.
impl FrontEnd for () {}

/// What a person is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What takes a yes.
    pub asked: &'a [Asked],
    /// Who is asked.
    pub by: &'a Person,
    /// What is to be run.
    pub command: &'a [HostPath],
    /// By whom, and under which profile.
    pub context: &'a Context,
    /// The profile as it was named, if it was.
    pub file: Option<&'a str>,
    /// The policy's name.
    pub policy: &'a str,
}

/// What the person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No, or nothing that is clearly a yes.
    No,
    /// Yes, for this run.
    Once,
    /// Yes, for a time.
    Always {
        /// In seconds.
        lasts: u64,
    },
}

/// What a front end is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of the run.
    Run(supervise::Event),
    /// A key to sign the audit log with was made, in this directory.
    NewKey(PathBuf),
    /// The run is not recorded from here on, as the policy permits: why.
    Unrecorded(String),
    /// An approval that was to be kept holds for this run alone: why.
    ApprovalNotKept(String),
    /// The run is not in the registry of running sandboxes: why.
    Unregistered(String),
}
