//! The end of a run: what is left inside is killed, what was written is passed on, and the report is made.

use std::os::fd::AsFd as _;
use std::time::Instant;

use aegis_observation::Observation;
use aegis_sys::process::{self, Change};

use super::{GRACE, Session};
use crate::cgroup::Usage;
use crate::error::Error;
use crate::facts::plantable;
use crate::plan::stdio::Errors;
use crate::supervise::changes::Changes;
use crate::supervise::report::{self, Cause, Report, Resources};
use crate::supervise::{Event, denials, system};

/// How a run went.
pub struct Finished {
    /// The report.
    pub report: Report,
    /// What has happened since the last call of [`Session::events`].
    pub events: Vec<Event>,
    /// What the listener has seen of a run whose filter asks about what is [observed](crate::seccomp::SyscallSpec::observed);
    /// which run it was is left to be added.
    pub observation: Option<Observation>,
}

impl Session {
    /// Ends what is left inside, and takes the run down. A run that was not polled to its end is
    /// reported as killed.
    fn take_down(&mut self) -> Usage {
        if !self.over {
            self.ended.get_or_insert(Change::Killed(libc::SIGKILL));
            self.over = true;
        }
        // PID 1 is dead, and everything in its namespace with it, before it can be reaped.
        let _ = process::signal(self.started.pidfd.as_fd(), libc::SIGKILL);
        let _ = process::reap(self.started.pid);
        self.reaped = true;
        if let Some(terminal) = &mut self.terminal {
            terminal.take_back(!matches!(self.ended, Some(Change::Exited(_))));
        }
        let usage = self.groups.usage();
        self.groups.remove();
        usage
    }

    /// Ends the run if it has not ended, and reports how it went.
    ///
    /// # Errors
    ///
    /// Why the command never started.
    pub fn finish(mut self) -> Result<Finished, Error> {
        let usage = self.take_down();
        let wall = self.began.elapsed();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.drain();
        // PID 1 reported nothing: it ended the run at its time limit, while we were stopped; or it was
        // killed, by the kernel when memory ran out or from inside.
        let late = |deadline| Instant::now() >= deadline;
        if self.ended.is_none() && self.deadline.is_some_and(late) {
            self.limit(Cause::TimeLimit);
        }
        let ended = self.ended.unwrap_or(Change::Killed(libc::SIGKILL));
        let cause = (self.cause).unwrap_or_else(|| Cause::of(ended, &usage, &self.plan));
        let (mut denials, mut tail, observation) =
            (self.listener.take()).map_or_else(Default::default, |l| l.finish(&self.plan));
        let mut limits_met: Vec<&'static str> = cause.limit().into_iter().collect();
        if let (Errors::Relayed, Some(relays)) = (self.plan.stdio.errors, &mut self.relays) {
            tail = relays.take_tail();
        } else if let Some(position) = self.errors_from {
            // What cannot be read is not known.
            let _ = tail.read(position);
        }
        // Whatever the status: a program may go on without what it was refused.
        let (guessed, limits) = denials::attribute(tail.text(), &self.plan, &system::find);
        (self.events).extend(
            guessed
                .iter()
                .cloned()
                .map(|denial| Event::Denied(denial.into())),
        );
        denials.extend(guessed);
        limits_met.extend(self.full.then_some("tmp"));
        report::add_counted(&mut limits_met, &self.plan.limits.group, &usage);
        let limits_guessed = report::not_counted(limits, &limits_met);
        let planted = (self.absent.iter())
            .filter(|path| plantable::appeared(path))
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let layers = self.layers.take();
        let changes = layers.map(|layers| Changes::new(layers, &self.plan).list());
        let (changed, changes_left_out) = changes.unwrap_or_default();
        let plan = &self.plan;
        let report = Report {
            version: 1,
            run: std::mem::take(&mut self.id),
            profile: plan.profile.clone(),
            profile_hash: None,
            plan_hash: None,
            policy_hash: plan.policy.as_ref().map(|policy| policy.hash),
            violations: report::violations(plan),
            audit: None,
            command: (plan.argv.iter())
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            identity: plan.identity.clone(),
            layers: report::layers(plan),
            degraded: std::mem::take(&mut self.degraded),
            started_us: self.started_us,
            ended_us: report::now(),
            cause,
            exit_status: cause.exit_status(),
            cause_unknown: cause.exit_status() != 0
                && denials.is_empty()
                && limits_met.is_empty()
                && limits_guessed.is_empty(),
            limits_met,
            limits_guessed,
            resources: Resources::new(wall, usage),
            denials,
            traffic: Vec::new(),
            planted,
            lost: (self.lost.iter())
                .map(|path| path.to_string_lossy().into_owned())
                .collect(),
            changed,
            changes_left_out,
            anomalies: Vec::new(),
            anomalies_left_out: 0,
            lost_events: 0,
        };
        Ok(Finished {
            report,
            events: self.events(),
            observation,
        })
    }

    /// Whether the command ended without an error, but that nobody took what it wrote.
    fn ended_well(&self) -> bool {
        const PIPE: i32 = libc::SIGPIPE;
        const OF_SHELL: i32 = 128 + PIPE;
        matches!(
            self.ended,
            Some(Change::Exited(0 | OF_SHELL) | Change::Killed(PIPE))
        )
    }

    /// Passes on the remaining output once everything inside is dead.
    fn drain(&mut self) {
        let Some(relays) = &mut self.relays else {
            return;
        };
        // A run that was ended does not wait long for its reader.
        let was_ended = self.cause.is_some() || matches!(self.ended, Some(Change::Killed(_)));
        let until = if was_ended {
            Some(Instant::now() + GRACE)
        } else {
            self.deadline
        };
        let missing = relays.drain(&self.signals, until);
        relays.give_back();
        match missing {
            None => {}
            Some(Cause::TimeLimit) if was_ended => {}
            // A command that failed has said so itself.
            Some(Cause::OutputLost | Cause::FileSizeLimit) if !self.ended_well() => {}
            Some(more) => self.limit(more),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.reaped {
            self.take_down();
        }
    }
}
