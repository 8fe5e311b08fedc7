//! What the policy wants a person to review: approved before, asked now, or not to be asked; and, from that, the
//! events of a start.

use aegis_audit::approvals::{Entry, Store, answered, to_review};
use aegis_audit::event::{self, Degraded, Event, Grant, Person, RunStart};
use aegis_audit::places::State;
use aegis_policy::{Decision, Request, Verdict, decide};

use crate::ask::{Answer, Question};
use crate::record::text;
use crate::run::Run;

/// The result of a review.
pub(crate) struct Reviewed {
    /// The person's answer, to be recorded before the command starts.
    pub said: Option<Event>,
    /// Why the run must not start, and the decision that was asked about.
    pub refused: Option<(String, Decision)>,
    /// Approvals to store for later runs, once the answer is recorded.
    approved: Vec<Entry>,
}

impl Reviewed {
    /// Stores the approvals for later runs.
    pub fn keep(&self, state: Option<&State>) -> Result<(), String> {
        match (state, self.approved.first()) {
            (Some(state), Some(first)) => Store::open(&state.dir)
                .add(&self.approved, first.granted)
                .map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    /// Uses earlier approvals, asks for the rest, and decides again. If earlier approvals
    /// cannot be read, nobody is asked: an answer could not be stored, and who damaged them is unknown.
    pub fn of(run: &mut Run<'_>) -> Self {
        let (policy, request) = (&*run.policy, &mut run.request);
        let mut unreadable = None;
        if let Some(state) = &run.state {
            match Store::open(&state.dir).approvals_for(request, policy.hash(), now()) {
                Ok(approvals) => request.approvals = approvals,
                Err(error) => unreadable = Some(error.to_string()),
            }
        }
        let mut reviewed = Self {
            said: None,
            refused: None,
            approved: Vec::new(),
        };
        let before = run.sandbox.decide(policy, request);
        if before.verdict != Verdict::Review {
            run.decision = before;
            return reviewed;
        }
        let person = Person {
            name: run.host.caller.name.clone(),
            uid: run.host.caller.uid,
        };
        let asked = to_review(policy, request, &before);
        let answer = match unreadable {
            Some(why) => Err(why),
            None => run.recorder.front_end.ask(&Question {
                asked: &asked,
                by: &person,
                command: request.what.command(),
                context: &request.context,
                file: run.launch.file(),
                policy: &policy.name(),
            }),
        };
        // The clock is read after the answer: a person takes time.
        let now = now();
        let answer = answer.and_then(|answer| {
            let lasts = match answer {
                Answer::No => return Ok((answer, Vec::new())),
                Answer::Once => 1,
                Answer::Always { lasts } => lasts,
            };
            let until = now.saturating_add(lasts);
            let entry = |asked| Entry::new(asked, request, before.policy, &person, now, until);
            let entries = asked.iter().map(entry).collect::<Result<Vec<_>, _>>();
            let entries =
                entries.map_err(|error| format!("the approval cannot be made: {error}"))?;
            Ok((answer, entries))
        });
        let (said, why) = match &answer {
            Ok((Answer::Once, _)) => (event::Answer::Once, None),
            Ok((Answer::Always { .. }, _)) => (event::Answer::Always, None),
            Ok((Answer::No, _)) => (event::Answer::No, Some("the answer was no")),
            Err(why) => (event::Answer::Unasked, Some(why.as_str())),
        };
        let unasked = answer.as_ref().err().map(String::as_str);
        let entries = answer.as_ref().map_or(&[][..], |(_, entries)| entries);
        let event = answered(&run.id, request, &before, said, unasked, entries, &person);
        reviewed.said = Some(event);
        reviewed.refused = why.map(|why| (why.to_owned(), before));
        let command = request.what.command_hash();
        let approvals = (entries.iter()).filter_map(|entry| entry.approval(command, now));
        request.approvals.extend(approvals);
        run.decision = run.sandbox.decide(policy, request);
        if let Ok((Answer::Always { .. }, entries)) = answer {
            reviewed.approved = entries;
        }
        reviewed
    }
}

impl Run<'_> {
    /// The events of the start of the run, or of its refusal.
    pub fn events(&self, reviewed: Option<&Reviewed>) -> Vec<Event> {
        let (plan, request) = (self.sandbox.plan(), &self.request);
        let context = &request.context;
        let degraded = plan.degraded.iter().map(|less| Degraded {
            layer: less.layer.into(),
            fix: less.fix.clone(),
            what: less.what.clone(),
        });
        let start = RunStart {
            aegis: env!("CARGO_PKG_VERSION").into(),
            argv: text(plan.argv.iter().map(|word| word.to_string_lossy())),
            degraded: degraded.collect(),
            file: self.launch.file().map(str::to_owned),
            keep_fds: plan.keep_fds.clone(),
            pid: std::process::id(),
            policy: self.policy.name(),
            profile: context.profile.clone(),
            profile_hash: context.profile_hash,
            uid: context.uid,
        };
        let mut events = vec![Event::run_start(&self.id, self.policy.hash(), start)];
        // After the start of the run, before its outcome.
        events.extend(reviewed.and_then(|reviewed| reviewed.said.clone()));
        events.push(Event::tool_exec(
            &self.id,
            request.clone(),
            self.decision.clone(),
        ));
        for grant in &plan.grants {
            let said = grant.decision.as_ref();
            if said.is_some_and(|said| said.verdict > Verdict::Allow) {
                let hash = grant.what.hash();
                let approvals = request.approvals.iter();
                let request = Request {
                    approvals: approvals.filter(|a| a.what == hash).cloned().collect(),
                    context: context.clone(),
                    what: grant.what.clone(),
                };
                let decision = decide(&self.policy, &request);
                let from = Grant {
                    from: grant.from.to_string(),
                };
                events.push(Event::violation(&self.id, request, decision, from));
            }
        }
        events
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    aegis_runtime::supervise::report::now() / 1_000_000
}
