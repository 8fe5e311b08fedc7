//! What the policy wants a person to review: approved before, asked now, or not to be asked; and, from that, the
//! events of a start.

use std::io;
use std::os::fd::OwnedFd;

use aegis_audit::approvals::{Entry, Store, answered, revoked, to_review};
use aegis_audit::event::{self, Degraded, Event, Grant, Person, RunStart};
use aegis_audit::places::State;
use aegis_policy::{Decision, Request, Verdict, decide};

use crate::ask::{Answer, Question};
use crate::passphrases;
use crate::record::text;
use crate::run::Run;
use crate::surroundings;

/// The result of a review.
pub(crate) struct Reviewed {
    /// The person's answer, to be recorded before the command starts.
    pub said: Option<Event>,
    /// Why the run must not start, and the decision that was asked about.
    pub refused: Option<(String, Decision)>,
    /// Approvals to store for later runs, once the answer is recorded.
    approved: Vec<Entry>,
    /// Who approved them.
    by: Person,
    /// Others who ask at the same place wait until the answer is recorded and stored: they may need no answer then.
    _turn: Vec<OwnedFd>,
}

impl Reviewed {
    /// Stores the approvals for later runs. An error has the events that take them back.
    pub fn keep(&self, run: &str, state: Option<&State>) -> Result<(), (String, Vec<Event>)> {
        let (Some(state), Some(first)) = (state, self.approved.first()) else {
            return Ok(());
        };
        let kept = Store::open(&state.dir).add(&self.approved, first.granted);
        kept.map_err(|error| {
            let back = self
                .approved
                .iter()
                .map(|entry| revoked(run, entry, &self.by));
            (error.to_string(), back.collect())
        })
    }

    /// Uses earlier approvals, asks for the rest, and decides again. If earlier approvals
    /// cannot be read, nobody is asked: an answer could not be stored, and who damaged them is unknown.
    pub fn of(run: &mut Run<'_>) -> Self {
        let program = run.sandbox.plan().program.clone();
        let around = surroundings::of(&run.policy, &run.request, &run.decision, &program);
        let surroundings = around.hash();
        let (policy, request) = (&*run.policy, &mut run.request);
        let store = run.state.as_ref().map(|state| Store::open(&state.dir));
        let earlier = |request: &Request| match &store {
            None => Ok(Vec::new()),
            Some(store) => (store.approvals_for(request, policy.hash(), surroundings, now()))
                .map_err(|error| error.to_string()),
        };
        let mut reviewed = Self {
            said: None,
            refused: None,
            approved: Vec::new(),
            by: Person {
                name: run.host.caller.name.clone(),
                uid: run.host.caller.uid,
            },
            _turn: Vec::new(),
        };
        let mut found = earlier(request);
        request.approvals = found.clone().unwrap_or_default();
        let mut before = run.sandbox.decide(policy, request);
        if before.verdict == Verdict::Review && found.is_ok() {
            match run.recorder.front_end.turn() {
                Err(why) => found = Err(why),
                Ok(turn) if turn.is_empty() => {}
                Ok(turn) => {
                    reviewed._turn = turn;
                    // The same may have been asked and answered meanwhile.
                    found = earlier(request);
                    request.approvals = found.clone().unwrap_or_default();
                    before = run.sandbox.decide(policy, request);
                }
            }
        }
        if before.verdict != Verdict::Review {
            run.decision = before;
            return reviewed;
        }
        let person = &reviewed.by;
        let asked = to_review(policy, request, &before);
        let wanted: Vec<&str> = policy
            .documents()
            .passphrases()
            .map(|(name, _)| name)
            .collect();
        let answer = found.and_then(|_| {
            run.recorder.front_end.ask(&Question {
                asked: &asked,
                by: person,
                command: request.what.command(),
                context: &request.context,
                is_running: false,
                file: run.launch.file(),
                passphrases: &wanted,
                policy: &policy.name(),
            })
        });
        let mut not_counted = None;
        let answer = answer.and_then(|answer| match answer {
            Answer::No => Ok(answer),
            yes => {
                let wrong = |reason: &str| {
                    let wrong = event::Answer::Wrong;
                    answered(&run.id, request, &before, wrong, Some(reason), &[], person)
                };
                let known = passphrases::of(&mut run.recorder, policy.documents(), wrong)?;
                not_counted = known.err();
                Ok(if not_counted.is_none() {
                    yes
                } else {
                    Answer::No
                })
            }
        });
        // The clock is read after the answer: a person takes time.
        let now = now();
        let entries = |lasts| {
            let term = now..now.saturating_add(lasts);
            let entry = |asked| {
                let entry = Entry::new(
                    asked,
                    request,
                    before.policy,
                    person,
                    surroundings,
                    term.clone(),
                )?;
                let passphrases = wanted.iter().map(|policy| (*policy).to_owned()).collect();
                Ok(Entry {
                    passphrases,
                    ..entry
                })
            };
            let entries = asked.iter().map(entry).collect::<io::Result<Vec<_>>>();
            entries.map_err(|error| format!("the approval cannot be made: {error}"))
        };
        let mut not_kept = None;
        let answer = answer.and_then(|answer| match answer {
            Answer::No => Ok((answer, Vec::new())),
            Answer::Once => Ok((answer, entries(1)?)),
            Answer::Always { lasts } => {
                let entries_kept = entries(lasts)?;
                // What cannot be kept is not recorded as if it were.
                match store
                    .as_ref()
                    .map(|store| store.can_add(&entries_kept, now))
                {
                    Some(Err(error)) => {
                        not_kept = Some(error.to_string());
                        Ok((Answer::Once, entries(1)?))
                    }
                    _ => Ok((answer, entries_kept)),
                }
            }
        });
        let shown = request.clone();
        let mut void = None;
        if let Ok((Answer::Once | Answer::Always { .. }, entries)) = &answer {
            void = surroundings::changed(&around, request, &program)
                .map(|path| format!("{path} was changed"));
            if void.is_none() {
                // What was approved earlier may have ended, or been taken back.
                request.approvals = earlier(request).unwrap_or_default();
                let command = request.what.command_hash();
                let made = entries.iter();
                let made = made.filter_map(|entry| entry.approval(command, now));
                request.approvals.extend(made);
            }
        }
        run.decision = run.sandbox.decide(policy, request);
        let (said, entries) = match &answer {
            Ok((Answer::Once, entries)) => (event::Answer::Once, &entries[..]),
            Ok((Answer::Always { .. }, entries)) => (event::Answer::Always, &entries[..]),
            Ok((Answer::No, _)) => (event::Answer::No, &[][..]),
            Err(_) => (event::Answer::Unasked, &[][..]),
        };
        let yes = matches!(said, event::Answer::Once | event::Answer::Always);
        if yes && void.is_none() && !run.decision.verdict.lets_through() {
            void = Some("an earlier approval that it needs ended, or was revoked,".into());
        }
        let void = void.map(|what| format!("{what} while the question was open: start it again"));
        let (said, entries) = match void {
            Some(_) => (event::Answer::Void, &[][..]),
            None => (said, entries),
        };
        let why = void.as_ref().or(answer.as_ref().err());
        let reason = why.or(not_kept.as_ref()).or(not_counted.as_ref());
        let reason = reason.map(String::as_str);
        let event = answered(&run.id, &shown, &before, said, reason, entries, person);
        reviewed.said = Some(event);
        let no = not_counted.unwrap_or_else(|| "the answer was no".into());
        let no = (said == event::Answer::No).then_some(no);
        reviewed.refused = why.cloned().or(no).map(|why| (why, before));
        if let (None, Some(why)) = (&void, not_kept) {
            run.recorder
                .front_end
                .event(&crate::Event::ApprovalNotKept(why));
        }
        if said == event::Answer::Always {
            reviewed.approved = entries.to_vec();
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
