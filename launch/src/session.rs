//! A recorded run, from its start to its outcome.

mod anomalies;
mod told;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use aegis_audit::event::Person;
use aegis_observation::{self as observation, Text, Tier};
use aegis_policy::{Hash, Request};
use aegis_profile::Profile;
use aegis_runtime::plan::Plan;
use aegis_runtime::supervise::report::{Anomaly, Report};
use aegis_runtime::supervise::{self, Built, Progress, Watched};
use aegis_runtime::types::Network;

use crate::broker::Broker;
use crate::observing::Observing;
use crate::record::Recorder;
use crate::registry::{Registered, Running};
use crate::review::Reviewed;
use crate::run::Run;
use crate::watching::Watching;
use crate::{Error, Event, Launch};
use aegis_sys::output::Output;

/// Called once a sandbox is built, before its command executes.
pub type Hook<'h> = &'h mut dyn FnMut(&mut Built) -> Result<(), String>;

/// How a run is started.
#[derive(Default)]
pub struct Options<'h> {
    /// Called when everything is built and recorded, before the command executes: to enter the sandbox's
    /// namespaces, to inspect its leaf, to take its listeners. An error ends the run before the command
    /// starts.
    pub before_command: Option<Hook<'h>>,
}

/// A run in progress: poll it until it has ended. Dropping it kills everything inside.
pub struct Session<'a> {
    /// `Err`: why the supervisor failed; the state of the run is then unknown.
    session: Result<supervise::Session, Box<aegis_runtime::Error>>,
    launch: Launch,
    profile: Profile,
    profile_hash: Hash,
    /// `None`: it could not be started.
    plan_hash: Option<Hash>,
    report: Option<Output>,
    observing: Option<(Observing, observation::Run)>,
    watching: Option<Watching>,
    /// The way to the hosts that the profile names.
    broker: Option<Broker>,
    /// Who runs it.
    by: Person,
    /// What was out of the ordinary.
    anomalies: Vec<Anomaly>,
    /// How many more there were than are recorded.
    anomalies_left_out: u64,
    /// Whether it was killed for one of them.
    ended_by_anomaly: bool,
    /// Whether whoever observes has the kernel kill or refuse something.
    is_guarded: bool,
    request: Request,
    recorder: Recorder<'a>,
    registered: Option<Registered>,
    /// Keeps others from asking on the terminal until the command has it.
    lent: Option<OwnedFd>,
    /// What could not be recorded while it ran.
    unaccounted: Vec<String>,
}

/// The outcome of a run.
pub struct Outcome {
    /// The report, as written.
    pub report: Report,
    /// The profile, its limits lowered to the policy's ceilings.
    pub profile: Profile,
    /// The command's exit status, or 125 if that was 0 and the run could not be accounted for.
    pub exit_status: u8,
    /// What could not be recorded or written about the run.
    pub unaccounted: Vec<String>,
}

impl<'a> Session<'a> {
    pub(crate) fn start(
        mut run: Run<'a>,
        reviewed: Option<Reviewed>,
        options: Options<'_>,
    ) -> Result<Self, Error> {
        let events = run.events(reviewed.as_ref());
        let mut recorder = run.recorder;
        let started_us = aegis_runtime::supervise::report::now();
        let built = run.sandbox.build(
            &run.host,
            supervise::Options {
                id: &run.id,
                leaf: run.launch.take_leaf(),
                signals: run.launch.own_process,
                ..supervise::Options::default()
            },
        );
        let context = &run.request.context;
        let mut held = match built {
            Ok(built) => built.hold_signals().map(|()| *built),
            Err(failed) => Err(failed.error),
        };
        // Another process builds the sandbox meanwhile, and another one makes ready to observe it.
        let refused = aegis_runtime::Error::NotPermitted;
        let mut is_guarded = false;
        let asked = match (&run.observing, &mut held) {
            (Some(observing), Ok(built)) => {
                let guard =
                    (run.watching.as_ref()).map(|watching| watching.guard(&run.policy, context));
                if let Some(guard) = &guard {
                    is_guarded = guard.executed.is_some() || guard.reached.is_some();
                    (guard.reached.iter()).for_each(|reached| built.guard(reached.clone()));
                }
                observing.watch(built.init(), guard.as_ref())
            }
            _ => Ok(()),
        };
        recorder.record(&events)?;
        let mut built = match held {
            Ok(built) => built,
            Err(error) => {
                recorder.end(&Err(&error), None, context)?;
                return Err(error.into());
            }
        };
        let was_asked = reviewed.is_some();
        let kept = reviewed.map(|reviewed| reviewed.keep(&run.id, run.state.as_ref()));
        if let Some(Err((error, taken_back))) = kept {
            (recorder.front_end).event(&Event::ApprovalNotKept(error));
            recorder.record(&taken_back)?;
        }
        // Its own question is over: see `FrontEnd::turn`.
        let lent = match was_asked {
            true => recorder.front_end.lend(),
            false => None,
        };
        // It makes ready while the sandbox is built.
        let broker = run.broker.map(|broker| {
            broker.and_then(|broker| broker.prepare(&run.request, &run.policy, built.plan()))
        });
        let registered = Running {
            id: run.id.clone(),
            pid: std::process::id(),
            init_pid: built.init_pid(),
            uid: context.uid,
            profile: context.profile.clone(),
            profile_hash: run.profile_hash,
            policy: built
                .plan()
                .policy
                .as_ref()
                .map(|policy| policy.name.clone()),
            command: (built.plan().argv.iter())
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            group: built.leaf().and_then(path_of),
            limits: (run.profile.limits.iter())
                .map(|(key, limit)| (key.name().to_owned(), limit.value))
                .collect(),
            log: recorder.recorded.log.clone(),
            network: match built.plan().network {
                Network::None => "own".into(),
                Network::Brokered => "named".into(),
                Network::Host => "host".into(),
            },
            published: built.plan().published.clone(),
            passes_signals_on: run.launch.own_process,
            started_us,
            ..Running::default()
        }
        .register();
        let unregistered = |error: io::Error| {
            (recorder.front_end).event(&Event::Unregistered(error.to_string()));
        };
        let registered = registered.map_err(unregistered).ok();
        let mut ready = Ok(());
        let mut tier = Tier::Listener;
        if run.observing.is_some() || broker.is_some() || options.before_command.is_some() {
            ready = built.wait();
        }
        let broker = broker.and_then(|broker| {
            let served = broker.and_then(|broker| broker.serve(&run.policy, &mut built));
            match std::mem::replace(&mut ready, Ok(())) {
                Ok(()) => served.map_err(|why| ready = Err(refused(why))).ok(),
                failed => {
                    ready = failed;
                    None
                }
            }
        });
        if let Some(observing) = &run.observing {
            ready = ready.and_then(|()| {
                let begun = asked.and_then(|()| observing.begun());
                tier = begun.map_err(refused)?;
                Ok(())
            });
            if let (Ok(()), Some(help)) = (&ready, &observing.help) {
                (recorder.front_end).event(&Event::ObservedByListener(help.clone()));
            }
        }
        if let Some(hook) = options.before_command {
            ready = ready.and_then(|()| hook(&mut built).map_err(refused));
        }
        let observing = run.observing.map(|observing| {
            let plan = built.plan();
            let observed = observation::Run {
                id: run.id,
                command: plan.argv.iter().map(Text::from).collect(),
                directory: Text::from(&plan.directory),
                profile: run.profile_hash.to_string(),
                tier,
                kernel: kernel(),
                exit_status: None,
            };
            (observing, observed)
        });
        let session = ready.and_then(|()| built.go()).map_err(Box::new);
        Ok(Self {
            // The command begins meanwhile.
            plan_hash: session.as_ref().ok().map(|session| session.plan().hash()),
            session,
            launch: run.launch,
            profile: run.profile,
            profile_hash: run.profile_hash,
            report: run.report,
            observing,
            watching: run.watching,
            broker,
            by: Person {
                name: run.host.caller.name.clone(),
                uid: run.host.caller.uid,
            },
            anomalies: Vec::new(),
            anomalies_left_out: 0,
            ended_by_anomaly: false,
            is_guarded,
            request: run.request,
            recorder,
            registered,
            lent,
            unaccounted: Vec::new(),
        })
    }

    /// Waits for at most `timeout` until something happens, handles it, and tells the front end. Also waits for
    /// `watched`; the caller handles those.
    pub fn poll(&mut self, watched: &mut [Watched<'_>], timeout: Option<Duration>) -> Progress {
        let Ok(session) = &mut self.session else {
            return Progress::Ended;
        };
        let news = match (&self.observing, &self.watching) {
            (Some((observing, _)), Some(_)) => observing.news(),
            _ => None,
        };
        let told = self.broker.as_ref().and_then(Broker::told);
        let theirs = watched.iter().map(|watched| watched.fd);
        let mut all: Vec<Watched<'_>> = (theirs.chain(news).chain(told))
            .map(|fd| Watched { fd, ready: false })
            .collect();
        let progress = session.poll(&mut all, timeout);
        let mut own = all.iter().skip(watched.len()).map(|own| own.ready);
        let are_news = news.is_some() && own.next() == Some(true);
        let is_told = told.is_some() && own.next() == Some(true);
        for (watched, polled) in watched.iter_mut().zip(&all) {
            watched.ready = polled.ready;
        }
        for event in session.events() {
            if matches!(event, supervise::Event::Started) {
                self.lent = None;
            }
            if let (supervise::Event::Denied(_), Some(registered)) = (&event, &mut self.registered)
            {
                registered.denied();
            }
            self.recorder.front_end.event(&Event::Run(event));
        }
        if is_told {
            self.take_told();
        }
        let progress = match (progress, are_news) {
            (Ok(progress), true) => self.take_news().map(|()| progress),
            (progress, _) => progress,
        };
        progress.unwrap_or_else(|error| {
            self.session = Err(Box::new(error)); // Which kills everything inside.
            Progress::Ended
        })
    }

    /// Records events at the same time, together. What cannot be recorded ends the run, or does not, as the policy says.
    fn record(&mut self, events: &[aegis_audit::event::Event]) {
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.recorder.record(events) {
            self.unaccounted.push(error.to_string());
            self.kill();
        }
    }

    /// Sends the command a signal; if it has not been executed yet, it gets the signal then.
    pub fn signal(&mut self, signal: i32) {
        if let Ok(session) = &mut self.session {
            session.signal(signal);
        }
    }

    /// Kills everything inside.
    pub fn kill(&mut self) {
        if let Ok(session) = &mut self.session {
            session.kill();
        }
    }

    /// The plan of the run, while it goes on.
    pub fn plan(&self) -> Option<&Plan> {
        self.session.as_ref().ok().map(supervise::Session::plan)
    }

    /// The run's leaf on the cgroup2 tree, if it has one.
    pub fn leaf(&self) -> Option<BorrowedFd<'_>> {
        self.session.as_ref().ok()?.leaf()
    }

    /// Ends the run, if it has not ended; records its end and writes its report.
    ///
    /// # Errors
    ///
    /// The command never started, or the supervisor failed. The failure is recorded.
    pub fn finish(mut self) -> Result<Outcome, Error> {
        // The kernel tears the namespaces down meanwhile: the next line kills what is left inside.
        drop(self.registered.take());
        let session = std::mem::replace(
            &mut self.session,
            Err(Box::new(aegis_runtime::Error::NotPermitted(String::new()))),
        );
        let result = session.and_then(|session| session.finish().map_err(Box::new));
        let mut seen = None;
        let result = result.map(|finished| {
            for event in finished.events {
                self.recorder.front_end.event(&Event::Run(event));
            }
            seen = finished.observation;
            finished.report
        });
        let mut result = result;
        let (refused, traffic) = self.end_broker();
        if let Ok(report) = &mut result {
            report.cause_unknown &= refused.is_empty();
            report.denials.extend(refused);
            report.traffic = traffic;
        }
        let mut unaccounted = std::mem::take(&mut self.unaccounted);
        self.take_observation(&mut result, seen, &mut unaccounted);
        let context = &self.request.context;
        let recorded = (self.recorder).end(
            &result.as_ref().map_err(|error| &**error),
            self.plan_hash,
            context,
        );
        let mut report = result?;
        for denial in &mut report.denials {
            // What the policy itself refuses says why.
            let opinion = |what| self.recorder.opinion(what, context);
            denial.decision =
                (denial.decision.take()).or_else(|| denial.asked.clone().map(opinion));
        }
        if let Err(error) = recorded {
            unaccounted.push(error.to_string());
            // The failure of the command matters more than that of its record.
            if report.exit_status == 0 {
                report.exit_status = 125;
            }
        }
        if let (Some(file), Some(place)) = (self.report, &self.launch.report) {
            report.seal(
                self.profile_hash,
                self.plan_hash,
                self.recorder.recorded.clone(),
            );
            let mut text = serde_json::to_vec_pretty(&report).expect("strings and numbers");
            text.push(b'\n');
            if let Err(error) = file.write(&text) {
                let place = place.display();
                unaccounted.push(format!("the report {place} could not be written: {error}"));
            }
        }
        // Likewise.
        let exit_status = match report.exit_status {
            0 if !unaccounted.is_empty() => 125,
            status => status,
        };
        if self.launch.own_process {
            // The end of the process frees them at once.
            std::mem::forget((self.recorder, self.request));
        }
        Ok(Outcome {
            report,
            profile: self.profile,
            exit_status,
            unaccounted,
        })
    }
}

/// The kernel's release, as `uname -r` prints it.
fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// The path of an open directory.
fn path_of(dir: BorrowedFd<'_>) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).ok()?;
    Some(path.to_string_lossy().into_owned())
}
