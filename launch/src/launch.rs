//! From what is asked for to a decided plan: all that happens before anybody is asked.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

use aegis_audit::places::State;
use aegis_policy::{Context, Decision, Hash, load};
use aegis_profile::{Files, Limits, Loaded, Profile};
use aegis_runtime::apply::Early;
use aegis_runtime::facts::{self, Host};
use aegis_runtime::plan::{self, Op, Plan, Spec, authority};
use aegis_runtime::supervise;
use aegis_runtime::types::paths::is_below;
use aegis_sys::{files, process};

use crate::policies::{self, Noted, Route, Router};
use crate::record::{self, Recorder};
use crate::report_file::ReportFile;
use crate::run::{Declaration, Launch, Run, Sandbox};
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
        let mut nobody = ();
        let run = self.resolve(None, None, &mut nobody, false)?;
        Ok(Explained {
            profile: run.profile,
            plan: run.sandbox.plan().clone(),
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
            Some(place) => Some(ReportFile::open(place).map_err(|error| {
                let place = place.display();
                Error::Caller(format!("the report {place} cannot be written: {error}"))
            })?),
        };
        let run = self.resolve(early, report, front_end, true)?;
        Ok(Prepared { run })
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
        let keep_fds = match &self.asked {
            Declaration::Profile { keep_fds, .. } => keep_fds,
            Declaration::Operations { spec, .. } => &spec.keep_fds,
        };
        match keep_fds.iter().find(|fd| !files::is_open(**fd)) {
            Some(fd) => Err(Error::Caller(format!(
                "--keep-fd {fd}: this descriptor is not open"
            ))),
            None => Ok(()),
        }
    }

    /// From names to a decided plan. What cannot be granted is recorded, unless nothing is to be.
    fn resolve(
        mut self,
        early: Option<Early>,
        report: Option<ReportFile>,
        front_end: &mut dyn FrontEnd,
        recorded: bool,
    ) -> Result<Run<'_>, Error> {
        let (mut loaded, profile_files) = self.load()?;
        let state = State::here();
        let (documents, deciding) = policies::documents(self.policy.as_deref())?;
        let written = loaded.profile.hash();
        authority::narrow(&mut loaded.profile, &documents);
        let id = supervise::run_id();
        let own = self.own_places(state.as_ref(), &deciding, &profile_files)?;
        let may_be_missing = documents.may_be_missing().map(str::to_owned).collect();
        let planned = self
            .plan(&loaded, written, &own, may_be_missing)
            .and_then(|planned| {
                own.check(&planned.plan)?;
                Ok(planned)
            });
        // On another processor, while the policy is compiled and asked. No command runs before it has permitted it.
        let planned = planned.map(|planned| {
            let Planned {
                host,
                absent,
                plan,
                context,
            } = planned;
            let request = authority::request(&plan, context, Vec::new());
            let mut sandbox = Sandbox::Planned {
                plan: Box::new(plan),
                absent,
            };
            if self.own_process && recorded {
                sandbox = Sandbox::Begun(sandbox.build(
                    &host,
                    supervise::Options {
                        id: &id,
                        early,
                        leaf: self.leaf.take(),
                        signals: true,
                        ..supervise::Options::default()
                    },
                ));
            }
            (host, sandbox, request)
        });
        let policy = Rc::new(load::compile(documents)?);
        let mut recorder = Recorder::nowhere(&policy, &id, front_end);
        if recorded {
            recorder.name_log(self.audit.as_deref(), self.log_is_locked, state.as_ref())?;
        }
        let planned = planned.map_err(|NoPlan { error, context }| -> Error {
            match recorder.no_plan(&error, self.file(), context.as_deref()) {
                Err(unrecorded) => unrecorded,
                Ok(()) => error.into(),
            }
        });
        let (host, mut sandbox, request) = planned?;
        let decision = sandbox.decide(&policy, &request);
        Ok(Run {
            recorder,
            launch: self,
            id,
            report,
            profile: loaded.profile,
            profile_hash: request.context.profile_hash,
            state,
            policy,
            host,
            sandbox,
            request,
            decision,
        })
    }

    /// From what is asked for to a plan that no policy has been asked about.
    fn plan(
        &self,
        loaded: &Loaded,
        written: Hash,
        own: &OwnPlaces,
        may_be_missing: BTreeSet<String>,
    ) -> Result<Planned, NoPlan> {
        let profile = &loaded.profile;
        match &self.asked {
            Declaration::Profile {
                command, keep_fds, ..
            } => {
                let request = facts::Inputs {
                    command: command.clone(),
                    keep_fds: keep_fds.clone(),
                    reserved: own.reserved.clone(),
                    unwritable: own.unwritable.clone(),
                    kept: own.kept.clone(),
                    may_be_missing,
                };
                let facts = facts::gather(profile, loaded.skill_dir.as_deref(), &request)?;
                let context = authority::context(profile, written, &facts);
                let plan = match plan::compile(profile, &request, &facts) {
                    Ok(plan) => plan,
                    Err(error) => {
                        let (error, context) = (error.into(), Some(context.into()));
                        return Err(NoPlan { error, context });
                    }
                };
                let planned = Planned {
                    host: facts.host.clone(),
                    absent: facts.plantable.absent.clone(),
                    plan,
                    context,
                };
                Ok(planned)
            }
            Declaration::Operations { spec, .. } => {
                facts::refuse_locations(&spec.keep_fds)?;
                let host = facts::host();
                let mut spec = Spec::clone(spec);
                let disks =
                    facts::disks(spec.operations.iter().filter_map(|made| match &made.op {
                        Op::Bind { source, .. } => Some(source.dev),
                        _ => None,
                    }));
                spec.limits = plan::limits::compile(
                    &profile.limits,
                    &may_be_missing,
                    &host,
                    disks,
                    &mut spec.degraded,
                )?;
                spec.grants.extend(authority::limits(&profile.limits));
                let work = std::env::current_dir();
                let work = work.map_err(aegis_runtime::Error::WorkingDirectory)?;
                let plan = plan::assemble(spec, &host)?;
                let context = authority::context_of(
                    profile.name.clone(),
                    plan.hash(),
                    &host.caller,
                    None,
                    &work,
                );
                Ok(Planned {
                    host,
                    absent: Vec::new(),
                    plan,
                    context,
                })
            }
        }
    }

    /// The profile, and the files that it was read from.
    fn load(&self) -> Result<(Loaded, Vec<PathBuf>), aegis_profile::Error> {
        let (reference, set) = match &self.asked {
            Declaration::Profile { reference, set, .. } => (reference, set),
            Declaration::Operations { spec, limits } => {
                let profile = Profile {
                    name: spec.name.clone(),
                    limits: Limits::clone(limits),
                    ..Profile::default()
                };
                let skill_dir = None;
                return Ok((Loaded { profile, skill_dir }, Vec::new()));
            }
        };
        if let Some(reference) = reference {
            let files = Noted::default();
            let loaded = aegis_profile::load_with(reference, set, &files)?;
            return Ok((loaded, files.read.into_inner()));
        }
        let mut sets = vec![DEFAULT_GRANT];
        sets.extend(set.iter().map(String::as_str));
        let mut loaded = aegis_profile::load_with("base", &sets, &Files)?;
        // The first of what `--set` adds is ours, and not the user's doing.
        let read = &mut loaded.profile.capabilities.files_read;
        if let Some(item) = read.iter_mut().find(|item| &*item.origin.file == "--set") {
            item.origin.file = DEFAULT_ORIGIN.into();
        }
        Ok((loaded, Vec::new()))
    }

    /// What of the host is nobody's to be granted.
    fn own_places(
        &self,
        state: Option<&State>,
        deciding: &[PathBuf],
        profile_files: &[PathBuf],
    ) -> Result<OwnPlaces, Error> {
        let mut own = record::places(self.audit.as_deref(), state);
        own.extend(registry::directory());
        let mut router = Router::new();
        let own: Vec<Route> = own.iter().map(|place| router.route(place)).collect();
        let reserved: Vec<PathBuf> = own.iter().map(|route| route.end.clone()).collect();
        if let Some(place) = self.report.as_deref().map(|place| router.route(place).end)
            && let Some(own) = reserved.iter().find(|own| place.starts_with(own))
        {
            return Err(Error::Caller(format!(
                "--report {}: {} is Aegis's own\n  help: name a file elsewhere",
                place.display(),
                own.display()
            )));
        }
        // A link that leads to what is Aegis's own could be made to lead elsewhere.
        let to_own = own.into_iter().flat_map(|route| route.links);
        let mut whole_routes = |paths: &[PathBuf]| -> Vec<PathBuf> {
            let routes = paths.iter().map(|path| router.route(path));
            routes
                .flat_map(|route| route.links.into_iter().chain([route.end]))
                .collect()
        };
        Ok(OwnPlaces {
            reserved,
            unwritable: to_own.chain(whole_routes(deciding)).collect(),
            kept: whole_routes(profile_files),
        })
    }
}

/// A plan that no policy has been asked about, and what belongs to it.
struct Planned {
    host: Host,
    absent: Vec<PathBuf>,
    plan: Plan,
    context: Context,
}

/// Why there is no plan, and who asked, where that is known.
struct NoPlan {
    error: Box<aegis_runtime::Error>,
    context: Option<Box<Context>>,
}

impl<E: Into<Box<aegis_runtime::Error>>> From<E> for NoPlan {
    fn from(error: E) -> Self {
        let (error, context) = (error.into(), None);
        Self { error, context }
    }
}

/// What of the host is nobody's to be granted, free of links.
struct OwnPlaces {
    /// The audit log, its keys, the approvals, the registry of running sandboxes.
    reserved: Vec<PathBuf>,
    /// Policies in force, and links that lead to those or to what is reserved: not to be written.
    unwritable: Vec<PathBuf>,
    /// The profile, what it extends, and links that lead there: they stay as they are.
    kept: Vec<PathBuf>,
}

impl OwnPlaces {
    /// Refuses a plan that shows the command any of it, whatever the front end has checked.
    fn check(&self, plan: &Plan) -> Result<(), Box<aegis_runtime::Error>> {
        for operation in plan.root.iter() {
            let Op::Bind { source, write, .. } = &operation.op else {
                continue;
            };
            let meets = |own: &&PathBuf| is_below(&source.path, own) || is_below(own, &source.path);
            let unwritable = self.unwritable.iter().filter(|_| *write);
            if let Some(own) = self.reserved.iter().chain(unwritable).find(meets) {
                return Err(Box::new(aegis_runtime::Error::OwnPlace {
                    name: source.path.clone(),
                    own: own.clone(),
                }));
            }
        }
        Ok(())
    }
}
