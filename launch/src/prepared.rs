//! A run that is prepared, and one that is permitted.

use aegis_audit::approvals::{Asked, to_review};
use aegis_audit::event::Person;
use aegis_policy::{Decision, Policy, Verdict};
use aegis_profile::Profile;
use aegis_runtime::plan::Plan;

use crate::record::Recorder;
use crate::review::{Review, Reviewed};
use crate::run::Run;
use crate::{Error, FrontEnd, Options, Refusal, Session};

/// What would happen: the plan, and what the policy says of it. Nothing has been started or asked.
pub struct Prepared<'a> {
    run: Run,
    recorder: Recorder,
    front_end: &'a mut dyn FrontEnd,
}

/// A run that the policy, or a person whom it wanted to be asked, permits.
pub struct Permitted<'a> {
    run: Run,
    recorder: Recorder,
    reviewed: Option<Reviewed>,
    front_end: &'a mut dyn FrontEnd,
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(run: Run, recorder: Recorder, front_end: &'a mut dyn FrontEnd) -> Self {
        Self {
            run,
            recorder,
            front_end,
        }
    }

    /// The plan, with what the policy says of each grant.
    pub fn plan(&self) -> &Plan {
        &self.run.plan
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
    pub fn decide(mut self) -> Result<Permitted<'a>, Error> {
        let run = &mut self.run;
        let mut reviewed = None;
        if run.decision.verdict == Verdict::Review {
            let review = Review {
                policy: &run.policy,
                state: run.state.as_ref(),
                profile: run.launch.file(),
                person: &Person {
                    name: run.host.caller.name.clone(),
                    uid: run.host.caller.uid,
                },
            };
            let done = review.of(&mut run.plan, &mut run.request, &run.id, self.front_end);
            run.decision = done.decision.clone();
            reviewed = Some(done);
        }
        if run.decision.verdict.lets_through() {
            return Ok(Permitted {
                run: self.run,
                recorder: self.recorder,
                reviewed,
                front_end: self.front_end,
            });
        }
        let events = self.recorder.start(run, reviewed.as_ref());
        self.recorder.not_started(events, self.front_end)?;
        let (plan, decision, unanswered) = match reviewed {
            // As it was when the person was asked.
            Some(Reviewed {
                refused: Some((why, decision)),
                ..
            }) => (self.run.plan, decision, Some(why)),
            _ => (self.run.plan, self.run.decision, None),
        };
        Err(Error::Refused(Box::new(Refusal {
            plan,
            decision,
            unanswered,
        })))
    }
}

impl<'a> Permitted<'a> {
    /// The plan, with what the policy says of each grant.
    pub fn plan(&self) -> &Plan {
        &self.run.plan
    }

    /// Records the run, and starts it: the command executes when its record is written, and not before.
    ///
    /// # Errors
    ///
    /// A step outside the sandbox failed, or the run cannot be recorded. What fails inside the sandbox is
    /// [`Session::finish`]'s error.
    pub fn start(self, options: Options<'_>) -> Result<Session<'a>, Error> {
        Session::start(
            self.run,
            self.recorder,
            self.reviewed,
            options,
            self.front_end,
        )
    }
}
