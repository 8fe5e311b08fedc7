//! What the policy wants a person to see: approved before, asked now, or not to be asked.

use std::time::SystemTime;

use aegis_audit::approvals::{Entry, Store, answered, to_review};
use aegis_audit::event::{self, Event, Person};
use aegis_audit::places::State;
use aegis_policy::{Decision, Policy, Request, Verdict};
use aegis_runtime::plan::{Plan, authority};

use crate::ask::{Answer, FrontEnd, Question};

/// What an answer is about, beside the plan.
pub(crate) struct Review<'a> {
    pub policy: &'a Policy,
    pub state: Option<&'a State>,
    /// The profile, as it was named.
    pub profile: Option<&'a str>,
    /// The person.
    pub person: &'a Person,
}

/// What came of it.
pub(crate) struct Reviewed {
    /// The decision that counts: with what was approved before, and with what the person says now.
    pub decision: Decision,
    /// What a person said, to be recorded before the command starts.
    pub said: Option<Event>,
    /// Why it is not to be started, and the decision that was asked about.
    pub refused: Option<(String, Decision)>,
    /// What is to be kept for later runs, once it is recorded.
    approved: Vec<Entry>,
    now: u64,
}

impl Reviewed {
    /// Keeps what was approved for later runs.
    pub fn keep(&self, state: Option<&State>) -> Result<(), String> {
        match state {
            Some(state) if !self.approved.is_empty() => Store::open(&state.dir)
                .add(&self.approved, self.now)
                .map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }
}

impl Review<'_> {
    /// Takes what was approved before, asks for the rest, and decides again. Where what was approved before
    /// cannot be read, nobody is asked: an answer could not be kept, and who damaged it is not known.
    pub fn of(
        &self,
        plan: &mut Plan,
        request: &mut Request,
        run: &str,
        front_end: &mut dyn FrontEnd,
    ) -> Reviewed {
        let mut unreadable = None;
        if let Some(state) = self.state {
            let policy = self.policy.hash();
            match Store::open(&state.dir).approvals_for(request, policy, now()) {
                Ok(approvals) => request.approvals = approvals,
                Err(error) => unreadable = Some(error.to_string()),
            }
        }
        let mut reviewed = Reviewed {
            decision: authority::decide(plan, self.policy, request),
            said: None,
            refused: None,
            approved: Vec::new(),
            now: 0,
        };
        if reviewed.decision.verdict != Verdict::Review {
            return reviewed;
        }
        let asked = to_review(self.policy, request, &reviewed.decision);
        let answer = match unreadable {
            Some(why) => Err(why),
            None => front_end.ask(&Question {
                asked: &asked,
                by: self.person,
                command: request.what.command(),
                context: &request.context,
                file: self.profile,
                policy: &self.policy.name(),
            }),
        };
        // The clock is read after the answer: a person takes time.
        let now = now();
        reviewed.now = now;
        let lasts = match &answer {
            Ok(Answer::Once) => Some(1),
            Ok(Answer::Always { lasts }) => Some(*lasts),
            Ok(Answer::No) | Err(_) => None,
        };
        let entries: Result<Vec<Entry>, _> = (asked.iter())
            .filter_map(|asked| {
                let until = now.saturating_add(lasts?);
                let policy = reviewed.decision.policy;
                Some(Entry::new(asked, request, policy, self.person, now, until))
            })
            .collect();
        let (answer, entries) = match entries {
            Ok(entries) => (answer, entries),
            Err(error) => {
                let why = format!("the approval cannot be made: {error}");
                (Err(why), Vec::new())
            }
        };
        let (said, why) = match &answer {
            Ok(Answer::Once) => (event::Answer::Once, None),
            Ok(Answer::Always { .. }) => (event::Answer::Always, None),
            Ok(Answer::No) => (event::Answer::No, Some("the answer was no")),
            Err(why) => (event::Answer::Unasked, Some(why.as_str())),
        };
        let event = answered(
            run,
            request,
            &reviewed.decision,
            said,
            answer.as_ref().err().map(String::as_str),
            &entries,
            self.person,
        );
        reviewed.said = Some(event);
        reviewed.refused = why.map(|why| (why.to_owned(), reviewed.decision.clone()));
        let command = request.what.command_hash();
        let approvals = (entries.iter()).filter_map(|entry| entry.approval(command, now));
        request.approvals.extend(approvals);
        reviewed.decision = authority::decide(plan, self.policy, request);
        if matches!(answer, Ok(Answer::Always { .. })) {
            reviewed.approved = entries;
        }
        reviewed
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
