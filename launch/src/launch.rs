//! From names to a decided plan: all that happens before anybody is asked.

use std::path::PathBuf;
use std::rc::Rc;

use aegis_audit::places::State;
use aegis_policy::{Context, Decision, Policy};
use aegis_profile::{Files, Loaded, Profile};
use aegis_runtime::apply::Early;
use aegis_runtime::facts;
use aegis_runtime::plan::{self, Plan, authority};
use aegis_sys::{files, process};

use crate::policies::{self, Route};
use crate::record::{self, Recorder};
use crate::report_file::ReportFile;
use crate::run::{Launch, Run};
use crate::{Error, FrontEnd, Prepared, registry};

/// What a run may do when no profile is named, beside `base`.
const DEFAULT_GRANT: &str = "capabilities.files.read=[-$WORK]";

/// Where [`DEFAULT_GRANT`] is said to come from.
const DEFAULT_ORIGIN: &str = "default (no --profile)";

/// What a run would come to.
pub struct Explained {
    /// The profile, its limits lowered to the policy's ceilings.
    pub profile: Profile,
    /// The plan, with the decision about each grant.
    pub plan: Plan,
    /// The decision about the run.
    pub decision: Decision,
}

impl Launch {
    /// Says what would happen, and starts nothing. Nothing is recorded.
    ///
    /// # Errors
    ///
    /// The profile or policy is wrong, or the host cannot do what is asked.
    pub fn explain(self) -> Result<Explained, Error> {
        self.check()?;
        let run = self.resolve(None, None, None)?;
        Ok(Explained {
            profile: run.loaded.profile,
            plan: run.plan,
            decision: run.decision,
        })
    }

    /// Reads profile, policy and host, and has the policy decide. What asks for more than can be granted at
    /// all is recorded as refused.
    ///
    /// # Errors
    ///
    /// The profile or policy is wrong, the host cannot do what is asked, or the report or the record cannot
    /// be written.
    pub fn prepare(self, front_end: &mut dyn FrontEnd) -> Result<Prepared<'_>, Error> {
        self.check()?;
        // Takes as long as all that follows, on another processor.
        let early = self.own_process.then(Early::begin).flatten();
        let report = match &self.report {
            None => None,
            Some(place) => Some(ReportFile::open(place).map_err(|error| Error::Report {
                place: place.display().to_string(),
                cause: error.to_string(),
            })?),
        };
        let mut recorder = None;
        let run = self.resolve(early, report, Some((&mut recorder, front_end)))?;
        let recorder = recorder.unwrap_or_else(|| unreachable!("made before there is a run"));
        Ok(Prepared::new(run, recorder, front_end))
    }

    /// What no front end may do on somebody's behalf.
    fn check(&self) -> Result<(), Error> {
        if process::has_others_authority() {
            return Err(Error::Caller("this program has the set-user-id or set-group-id bit, or capabilities of its own: whoever runs it would write files as another\n  help: remove the bit (chmod ug-s), and run it as the user whose authority it is to pass on".into()));
        }
        if process::has_threads() {
            return Err(Error::Caller("this process has several threads, and a sandbox can only be started by a process that has one\n  help: start it from a process of its own".into()));
        }
        // Before anything is opened: a number given must be the caller's file, not one of ours.
        match self.keep_fds.iter().find(|fd| !files::is_open(**fd)) {
            Some(fd) => Err(Error::Caller(format!(
                "--keep-fd {fd}: this descriptor is not open"
            ))),
            None => Ok(()),
        }
    }

    /// From names to a decided plan. `recording`: what cannot be granted is recorded there.
    fn resolve(
        self,
        early: Option<Early>,
        report: Option<ReportFile>,
        recording: Option<(&mut Option<Recorder>, &mut dyn FrontEnd)>,
    ) -> Result<Run, Error> {
        let mut loaded = self.load()?;
        let profile_hash = loaded.profile.hash();
        let state = State::of(rustix::process::geteuid().as_raw(), &|name| {
            std::env::var_os(name)
        });
        let (policy, deciding) = policies::in_force(self.policy.as_deref())?;
        let policy = Rc::new(policy);
        authority::narrow(&mut loaded.profile, &policy);
        let id = aegis_runtime::supervise::run_id();
        let mut recording = match recording {
            None => None,
            Some((place, front_end)) => {
                let recorder = Recorder::new(&self, state.as_ref(), &policy, &id, front_end)?;
                Some((place.insert(recorder), front_end))
            }
        };
        let mut refused = |error: aegis_runtime::Error, context: Option<&Context>| -> Error {
            let recorded = recording.as_mut().map(|(recorder, front_end)| {
                recorder.no_plan(&error, self.profile.as_deref(), context, *front_end)
            });
            match recorded {
                Some(Err(unrecorded)) => unrecorded,
                _ => error.into(),
            }
        };
        let asked = self.facts_request(&loaded.profile, &policy, &deciding, state.as_ref())?;
        let facts = facts::gather(&loaded.profile, loaded.skill_dir.as_deref(), &asked)
            .map_err(|error| refused(error, None))?;
        let context = authority::context(&loaded.profile, profile_hash, &facts);
        let mut plan = plan::compile(&loaded.profile, &asked, &facts)
            .map_err(|error| refused(error, Some(&context)))?;
        let request = authority::request(&plan, context, Vec::new());
        let decision = authority::decide(&mut plan, &policy, &request);
        Ok(Run {
            launch: self,
            id,
            early,
            report,
            loaded,
            profile_hash,
            state,
            policy,
            facts,
            plan,
            request,
            decision,
        })
    }

    fn load(&self) -> Result<Loaded, aegis_profile::Error> {
        if let Some(reference) = &self.profile {
            return aegis_profile::load_with(reference, &self.set, &Files);
        }
        let mut sets = vec![DEFAULT_GRANT];
        sets.extend(self.set.iter().map(String::as_str));
        let mut loaded = aegis_profile::load_with("base", &sets, &Files)?;
        // The first of what `--set` adds is ours, and not the user's doing.
        let read = &mut loaded.profile.capabilities.files_read;
        if let Some(item) = read.iter_mut().find(|item| &*item.origin.file == "--set") {
            item.origin.file = DEFAULT_ORIGIN.into();
        }
        Ok(loaded)
    }

    /// What is asked for beside the profile, and what of the host is nobody's to be granted.
    fn facts_request(
        &self,
        profile: &Profile,
        policy: &Policy,
        deciding: &[PathBuf],
        state: Option<&State>,
    ) -> Result<facts::Request, Error> {
        let mut own = record::places(self.audit.as_deref(), state);
        own.extend(registry::directory());
        let own: Vec<Route> = own.iter().map(|place| Route::of(place)).collect();
        let reserved: Vec<PathBuf> = own.iter().map(|route| route.end.clone()).collect();
        if let Some(place) = self.report.as_deref().map(|place| Route::of(place).end)
            && let Some(own) = reserved.iter().find(|own| place.starts_with(own))
        {
            return Err(Error::Caller(format!(
                "--report {}: {} is Aegis's own\n  help: name a file elsewhere",
                place.display(),
                own.display()
            )));
        }
        Ok(facts::Request {
            command: self.command.clone(),
            keep_fds: self.keep_fds.clone(),
            reserved,
            unwritable: match profile.capabilities.files_write.is_empty() {
                true => Vec::new(),
                false => {
                    // A link that leads to what is Aegis's own could be made to lead elsewhere.
                    let to_own = own.into_iter().flat_map(|route| route.links);
                    let deciding = deciding.iter().map(|place| Route::of(place));
                    let deciding = deciding.flat_map(|way| way.links.into_iter().chain([way.end]));
                    to_own.chain(deciding).collect()
                }
            },
            may_be_missing: (policy.documents())
                .flat_map(|document| &document.may_be_missing)
                .filter(|layer| policy.may_be_missing(layer))
                .cloned()
                .collect(),
        })
    }
}
