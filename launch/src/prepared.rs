//! A prepared run, and a permitted one.

use aegis_audit::approvals::{Asked, to_review};
use aegis_audit::event::Cause;
use aegis_policy::{Decision, Policy, Verdict};
use aegis_profile::Profile;
use aegis_runtime::plan::Plan;

use crate::review::Reviewed;
use crate::run::Run;
use crate::{Error, Options, Refusal, Session};

/// What would happen: the plan, and the policy's decision. No command has been started and nobody was asked.
pub struct Prepared<'a> {
    pub(crate) run: Run<'a>,
}

/// A run permitted by the policy, or by a person whom the policy wanted to be asked.
pub struct Permitted<'a> {
    run: Run<'a>,
    reviewed: Option<Reviewed>,
}

impl<'a> Prepared<'a> {
    /// The plan, with the policy's opinion on each grant.
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

    /// The policy's decision about the run, before any approval is considered.
    pub fn decision(&self) -> &Decision {
        &self.run.decision
    }

    /// What needs a person's yes, unless it was approved before.
    pub fn to_review(&self) -> Vec<Asked> {
        to_review(&self.run.policy, &self.run.request, &self.run.decision)
    }

    /// Decides whether the run may start: by the policy, by earlier approvals, or by asking. A refusal
    /// is recorded, and on the disk when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`], or the decision cannot be recorded.
    pub fn decide(self) -> Result<Permitted<'a>, Error> {
        let mut run = self.run;
        let reviewed = (run.decision.verdict == Verdict::Review).then(|| Reviewed::of(&mut run));
        if run.decision.verdict.lets_through() {
            return Ok(Permitted { run, reviewed });
        }
        let events = run.events(reviewed.as_ref());
        run.recorder.ends_early(events, Cause::Policy, None, 125)?;
        let (unanswered, decision) = match reviewed.and_then(|reviewed| reviewed.refused) {
            // The decision that the person was asked about.
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
    /// The plan, with the policy's opinion on each grant.
    pub fn plan(&self) -> &Plan {
        self.run.sandbox.plan()
    }

    /// Records the run, and starts it: the command executes only after its record is written.
    ///
    /// # Errors
    ///
    /// A step outside the sandbox failed, or the run cannot be recorded. What fails inside the sandbox is
    /// [`Session::finish`]'s error.
    pub fn start(self, options: Options<'_>) -> Result<Session<'a>, Error> {
        Session::start(self.run, self.reviewed, options)
    }
}
