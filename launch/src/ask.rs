//! The questions and events that a front end gets.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use aegis_audit::approvals::Asked;
use aegis_audit::event::Person;
use aegis_policy::{Context, HostPath};
use aegis_runtime::supervise::{self, report};
use zeroize::Zeroizing;

/// The program on whose behalf a command is run.
pub trait FrontEnd {
    /// Asks a person where the policy requires it, and waits for the answer.
    ///
    /// # Errors
    ///
    /// Why nobody could be asked. It is recorded, and the run is refused.
    fn ask(&mut self, question: &Question<'_>) -> Result<Answer, String> {
        let _ = question;
        Err("there is nobody to ask".into())
    }

    /// Asks the person who has said yes for a policy's passphrase. `None`: they have none. It is compared with the policy's
    /// by whoever called this; nothing else counts as a yes.
    ///
    /// # Errors
    ///
    /// Why nobody could be asked. It is recorded, and the run is refused.
    fn passphrase(
        &mut self,
        wanted: &WantedPassphrase<'_>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        Err(format!(
            "there is nobody to ask for the passphrase of the policy {}",
            wanted.policy
        ))
    }

    /// Waits until nobody else asks at the same place, such as on the same terminal. What it returns keeps others waiting
    /// until it is dropped; nothing: nobody else can ask there.
    ///
    /// # Errors
    ///
    /// Why nobody can be asked.
    fn turn(&mut self) -> Result<Vec<OwnedFd>, String> {
        Ok(Vec::new())
    }

    /// Waits until nobody asks there, or waits to, before the command of a run that was asked about gets the terminal. What it
    /// returns keeps others from asking until the command is executed.
    fn lend(&mut self) -> Option<OwnedFd> {
        None
    }

    /// Receives an event when it happens.
    fn event(&mut self, event: &Event) {
        let _ = event;
    }
}

/// Nobody: asks no one, reports to no one.
impl FrontEnd for () {}

/// What a person is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What needs a yes.
    pub asked: &'a [Asked],
    /// The person who is asked.
    pub by: &'a Person,
    /// The command to be run.
    pub command: &'a [HostPath],
    /// Who runs it, and under which profile.
    pub context: &'a Context,
    /// Whether the command runs, and stands still while it is asked: a yes is for this once.
    pub is_running: bool,
    /// The profile as it was named, if it was.
    pub file: Option<&'a str>,
    /// The policies whose passphrase is asked for after a yes.
    pub passphrases: &'a [&'a str],
    /// The policy's name.
    pub policy: &'a str,
}

/// Which passphrase is asked for.
#[derive(Clone, Copy, Debug)]
pub struct WantedPassphrase<'a> {
    /// The name of the policy that asks for it.
    pub policy: &'a str,
    /// Whether a wrong one was given just now.
    pub wrong: bool,
}

/// The person's answer.
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

/// An event that a front end receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of the run.
    Run(supervise::Event),
    /// Something out of the ordinary, and what is done about it.
    Anomaly(report::Anomaly),
    /// A new key to sign the audit log was made in this directory.
    NewKey(PathBuf),
    /// The audit log is shorter than it was when it was last signed, or another one; what is missing.
    LogMissing(String),
    /// No profile was named, and the working directory is not readable as it would be otherwise: this place of Aegis's own
    /// is there.
    WorkNotGranted(PathBuf),
    /// The run is observed by its seccomp listener, since nobody has probes; what to do about that.
    ObservedByListener(String),
    /// The run is no longer recorded, as the policy permits; the reason.
    Unrecorded(String),
    /// The approval could not be stored and holds for this run only; the reason.
    ApprovalNotKept(String),
    /// The run is not in the registry of running sandboxes; the reason.
    Unregistered(String),
    /// The egress broker has ended before the run: no host is reached any more.
    BrokerEnded,
}
