//! What of a run is out of the ordinary, and what is done about it.

use aegis_audit::approvals::{answered, to_review};
use aegis_audit::event::{self, Event, Reaction};
use aegis_observation::Observation;
use aegis_runtime::supervise::report::{Anomaly, Cause, Report};

use super::Session;
use crate::ask::{Answer, Question};
use crate::passphrases;
use crate::watching::Found;

/// So many are recorded of a run, and asked about at one time; the rest is decided, reacted to, and counted.
const MOST: usize = 100;

type Failed = Box<aegis_runtime::Error>;

impl Session<'_> {
    /// Takes news of the run, and reacts to what is out of the ordinary in them.
    pub(super) fn take_news(&mut self) -> Result<(), aegis_runtime::Error> {
        let Some((observing, _)) = &self.observing else {
            return Ok(());
        };
        let news = observing.receive();
        let is_over = news.is_none();
        let mut news = news.unwrap_or_default();
        // What is not seen can be anything.
        news.losses.dropped += u64::from(is_over);
        let found = self.found(&news);
        if is_over {
            self.watching = None;
        }
        self.react(found, true)?;
        // Nothing is killed or refused by the kernel any more.
        if is_over && self.is_guarded {
            self.kill();
        }
        Ok(())
    }

    fn found(&mut self, news: &Observation) -> Vec<Found> {
        let policy = self.recorder.policy().clone();
        match &mut self.watching {
            Some(watching) => watching.look(news, &policy, &self.request.context),
            None => Vec::new(),
        }
    }

    /// Does what the policy says to each, and records it. First what is done, then the record: that can take its time.
    fn react(&mut self, found: Vec<Found>, is_running: bool) -> Result<(), aegis_runtime::Error> {
        if found.is_empty() {
            return Ok(());
        }
        let kill = |found: &Found| found.reaction() == Some(Reaction::Killed);
        let is_killed = found.iter().any(kill);
        if is_killed {
            self.kill();
        }
        let asked: Vec<&Found> = found
            .iter()
            .filter(|found| found.reaction().is_none())
            .collect();
        let mut answer = Reaction::Killed;
        if !asked.is_empty() && !is_killed && is_running {
            // Nobody reads a question that is longer.
            if asked.len() <= MOST
                && let Ok(session) = &mut self.session
                && session.freeze()?
                && self.may_go_on(&asked)
            {
                answer = Reaction::Continued;
            }
            match (answer, &mut self.session) {
                (Reaction::Continued, Ok(session)) => session.go_on()?,
                _ => self.kill(),
            }
        }
        let baseline = self
            .watching
            .as_ref()
            .and_then(|watching| watching.baseline());
        let mut events = Vec::new();
        for found in found {
            let reaction = found.reaction().unwrap_or(answer);
            let ends_it = reaction == Reaction::Killed && !self.ended_by_anomaly;
            // What a person has said is never left out.
            let is_said = reaction == Reaction::Continued;
            if self.anomalies.len() >= MOST && !ends_it && !is_said {
                self.anomalies_left_out += 1;
                continue;
            }
            self.ended_by_anomaly |= ends_it;
            let instead_of = found.instead_of(reaction);
            let Found {
                request, decision, ..
            } = found;
            let anomaly = Anomaly {
                what: request.what.clone(),
                said: decision.clone().into(),
                reaction: word(reaction),
                instead_of: instead_of.map(word),
            };
            (self.recorder.front_end).event(&crate::Event::Anomaly(anomaly.clone()));
            self.anomalies.push(anomaly);
            let detail = event::Anomaly {
                baseline,
                instead_of,
                reaction,
            };
            events.push(Event::anomaly(
                self.recorder.run(),
                request,
                decision,
                detail,
            ));
        }
        self.record(&events);
        Ok(())
    }

    /// Asks a person whether a run that stands still may go on. Where nobody can be asked, it may not.
    fn may_go_on(&mut self, found: &[&Found]) -> bool {
        let policy = self.recorder.policy().clone();
        let asked: Vec<_> = (found.iter())
            .flat_map(|found| to_review(&policy, &found.request, &found.decision))
            .collect();
        let wanted: Vec<&str> = policy
            .documents()
            .passphrases()
            .map(|(name, _)| name)
            .collect();
        let mut is_yes = || -> Result<bool, String> {
            let _turn = self.recorder.front_end.turn()?;
            let answer = self.recorder.front_end.ask(&Question {
                asked: &asked,
                by: &self.by,
                command: self.request.what.command(),
                context: &self.request.context,
                is_running: true,
                file: self.launch.file(),
                passphrases: &wanted,
                policy: &policy.name(),
            })?;
            if answer == Answer::No {
                return Ok(false);
            }
            let run = self.recorder.run().to_owned();
            let wrong = |reason: &str| {
                let Found {
                    request, decision, ..
                } = found[0];
                let wrong = event::Answer::Wrong;
                answered(&run, request, decision, wrong, Some(reason), &[], &self.by)
            };
            Ok(passphrases::of(&mut self.recorder, policy.documents(), wrong)?.is_ok())
        };
        is_yes() == Ok(true)
    }

    /// Gets the whole observation when the run has ended, and looks at what was not looked at while it ran. A run that did what the
    /// policy ends it for has ended by that, also where it was quicker.
    pub(super) fn take_observation(
        &mut self,
        result: &mut Result<Report, Failed>,
        by_listener: Option<Observation>,
        unaccounted: &mut Vec<String>,
    ) {
        let (Some((observing, mut observed)), Ok(report)) = (self.observing.take(), &mut *result)
        else {
            return;
        };
        observed.exit_status = Some(report.exit_status);
        match observing.finish(observed, by_listener) {
            Ok((json, lost)) => {
                report.lost_events = lost;
                if self.watching.is_some()
                    && let Ok(seen) = Observation::from_json(&json)
                {
                    let found = self.found(&seen);
                    let _ = self.react(found, false);
                }
            }
            Err(error) => {
                report.lost_events += 1;
                unaccounted.push(error);
            }
        }
        report.anomalies = std::mem::take(&mut self.anomalies);
        report.anomalies_left_out = self.anomalies_left_out;
        if self.ended_by_anomaly {
            report.cause = Cause::Anomaly;
            report.exit_status = report.cause.exit_status();
        }
    }
}

fn word(reaction: Reaction) -> &'static str {
    match reaction {
        Reaction::Continued => "continued",
        Reaction::Killed => "killed",
        Reaction::Recorded => "recorded",
        Reaction::Refused => "refused",
        Reaction::Warned => "warned",
    }
}
