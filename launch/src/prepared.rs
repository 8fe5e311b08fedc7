//! A run that is prepared, and one that is permitted.

use aegis_audit::approvals::{Asked, to_review};
use aegis_audit::event::Cause;
use aegis_policy::{Decision, Policy, Verdict};
use aegis_profile::Profile;
use aegis_runtime::plan::Plan;

use crate::review::Reviewed;
use crate::run::Run;
use crate::{Error, Options, Refusal, Session};

/// What would happen: the plan, and what the policy says of it. No command has been started and nobody asked.
pub struct Prepared<'a> {
    pub(crate) run: Run<'a>,
}

/// A run that the policy, or a person whom it wanted to be asked, permits.
pub struct Permitted<'a> {
    run: Run<'a>,
    reviewed: Option<Reviewed>,
}

impl<'a> Prepared<'a> {
    /// The plan, with what the policy says of each grant.
    pub fn plan(&self) -> &Plan {
        self.run.sandbox.plan()
    }

    /// The profile, its limits lowered to the policy's ceilings.
    pub fn profile(&self) -> &Profile {
        &self.run.profile
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.run.policy
    }

    /// What the policy says of the run, before any approval is looked at.
    pub fn decision(&self) -> &Decision {
        &self.run.decision
    }

    /// What needs a person, unless it was approved before.
    pub fn to_review(&self) -> Vec<Asked> {
        to_review(&self.run.policy, &self.run.request, &self.run.decision)
    }

    /// Settles whether it may be started: by the policy, by what was approved before, or by asking. What may
    /// not is recorded, and on the disk when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`], or that it cannot be recorded.
    pub fn decide(self) -> Result<Permitted<'a>, Error> {
        let mut run = self.run;
        let reviewed = (run.decision.verdict == Verdict::Review).then(|| Reviewed::of(&mut run));
        if run.decision.verdict.lets_through() {
            return Ok(Permitted { run, reviewed });
        }
        let events = run.events(reviewed.as_ref());
        run.recorder.ends_early(events, Cause::Policy, None, 125)?;
        let (unanswered, decision) = match reviewed.and_then(|reviewed| reviewed.refused) {
            // As it was when the person was asked.
            Some((why, decision)) => (Some(why), decision),
            None => (None, run.decision),
        };
        Err(Error::Refused(Box::new(Refusal {
            plan: run.sandbox.plan().clone(),
            decision,
            unanswered,
        })))
    }
}

impl<'a> Permitted<'a> {
    /// The plan, with what the policy says of each grant.
    pub fn plan(&self) -> &Plan {
        self.run.sandbox.plan()
    }

    /// Records the run, and starts it: the command executes when its record is written, and not before.
    ///
    /// # Errors
    ///
    /// A step outside the sandbox failed, or the run cannot be recorded. What fails inside the sandbox is
    /// [`Session::finish`]'s error.
    pub fn start(self, options: Options<'_>) -> Result<Session<'a>, Error> {
        Session::start(self.run, self.reviewed, options)
    }
}
