//! What the policy wants a person to see: approved before, asked now, or not to be asked.

use std::time::SystemTime;

use aegis_policy::approvals::{Entry, Person, Said, Store, answered, to_review};
use aegis_policy::event::Event;
use aegis_policy::places::State;
use aegis_policy::{Decision, Policy, Request, Verdict, What};
use aegis_runtime::plan::{Plan, authority};

use super::ask::{Answer, Question, ask};
use super::said;

/// What an answer is about, beside the plan.
pub(super) struct Review<'a> {
    pub policy: &'a Policy,
    pub state: Option<&'a State>,
    /// The profile, as it was named.
    pub profile: Option<&'a str>,
    /// The person.
    pub person: &'a Person,
}

/// What came of it.
pub(super) struct Reviewed {
    /// The decision that counts: with what was approved before, and with what the person says now.
    pub decision: Decision,
    /// What a person said, to be recorded before the command starts.
    pub said: Vec<Event>,
    /// Why it is not to be started.
    pub refused: Option<String>,
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
    /// Takes what was approved before, asks for the rest, and decides again.
    pub fn of(
        &self,
        plan: &mut Plan,
        request: &mut Request,
        run: &str,
    ) -> Result<Reviewed, String> {
        if let Some(state) = self.state {
            request.approvals = Store::open(&state.dir)
                .approvals_for(&request.context, &request.what, now())
                .map_err(|error| error.to_string())?;
        }
        let mut reviewed = Reviewed {
            decision: authority::decide(plan, self.policy, request),
            said: Vec::new(),
            refused: None,
            approved: Vec::new(),
            now: 0,
        };
        if reviewed.decision.verdict != Verdict::Review {
            return Ok(reviewed);
        }
        let asked = to_review(self.policy, request, &reviewed.decision);
        let command = match &request.what {
            What::Tool { command, .. } => command.as_slice(),
            _ => &[],
        };
        let answer = ask(&Question {
            asked: &asked,
            by: self.person,
            command,
            context: &request.context,
            file: self.profile,
            policy: &self.policy.name(),
        });
        // The clock is read after the answer: a person takes time.
        let now = now();
        reviewed.now = now;
        let (lasts, why) = match &answer {
            Ok(Answer::Once) => (1, None),
            Ok(Answer::Always { lasts }) => (*lasts, None),
            Ok(Answer::No) => (0, Some("the answer was no".to_owned())),
            Err(why) => (0, Some(why.to_string())),
        };
        let entries: Vec<Entry> = match &why {
            Some(_) => Vec::new(),
            None => asked
                .iter()
                .map(|asked| {
                    let until = now.saturating_add(lasts);
                    let (context, policy) = (&request.context, reviewed.decision.policy);
                    Entry::new(asked, context, policy, self.person, now, until)
                })
                .collect::<Result<_, _>>()
                .map_err(|error| format!("the approval cannot be made: {error}"))?,
        };
        let said = match (&answer, &why) {
            (Ok(Answer::Once), _) => Said::Once,
            (Ok(Answer::Always { .. }), _) => Said::Always,
            (Ok(Answer::No), _) => Said::No,
            (Err(_), why) => Said::Unasked(why.as_deref().unwrap_or_default()),
        };
        let event = answered(
            run,
            request,
            &reviewed.decision,
            said,
            &entries,
            self.person,
        );
        reviewed.said.push(event);
        reviewed.refused = why.map(|why| said::refusal(plan, &reviewed.decision, Some(&why)));
        let approvals = entries.iter().filter_map(|entry| entry.approval(now));
        request.approvals.extend(approvals);
        reviewed.decision = authority::decide(plan, self.policy, request);
        if matches!(answer, Ok(Answer::Always { .. })) {
            reviewed.approved = entries;
        }
        Ok(reviewed)
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
