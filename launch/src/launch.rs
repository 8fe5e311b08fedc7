//! From a request to a decided plan: everything that happens before anybody is asked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aegis_audit::places::State;
use aegis_policy::{Context, Decision, Hash, load};
use aegis_profile::{Files, Limits, Loaded, Profile};
use aegis_runtime::apply::Early;
use aegis_runtime::facts::mounts::{self, Mount};
use aegis_runtime::facts::paths::Link;
use aegis_runtime::facts::{self, Host, names};
use aegis_runtime::plan::{self, Op, Plan, Spec, authority};
use aegis_runtime::supervise;
use aegis_runtime::types::paths::is_below;
use aegis_secrets::places::Places;
use aegis_sys::{files, process};

use crate::observing::Observing;
use crate::policies::{self, Noted, Route, Router};
use crate::record::{self, Recorder};
use crate::run::{Declaration, Launch, Reference, Run, Sandbox};
use crate::watching::{self, Watching};
use crate::{Error, Event, FrontEnd, Prepared, broker, registry};
use aegis_sys::output::{self, Output};

/// What a run without a named profile is granted, beside `base`.
const DEFAULT_GRANT: &str = "capabilities.files.read=[-$WORK]";

/// The origin shown for [`DEFAULT_GRANT`].
const DEFAULT_ORIGIN: &str = "default (no --profile)";

/// What a run would do.
pub struct Explained {
    /// The profile, its limits lowered to the policy's ceilings.
    pub profile: Profile,
    /// The plan, with the decision about each grant.
    pub plan: Plan,
    /// The decision about the run.
    pub decision: Decision,
    /// The links on the paths to what is granted.
    pub links: Vec<Link>,
}

impl Launch {
    /// Explains what would happen. Nothing is started and nothing is recorded.
    ///
    /// # Errors
    ///
    /// The profile or policy is wrong, or the host cannot do what is asked.
    pub fn explain(self) -> Result<Explained, Error> {
        self.check()?;
        let mut nobody = ();
        let run = self.resolve(None, None, None, &mut nobody, false)?;
        Ok(Explained {
            profile: run.profile,
            plan: run.sandbox.plan().clone(),
            decision: run.decision,
            links: run.links,
        })
    }

    /// Reads profile, policy and host, and has the policy decide. A request for more than can be granted at
    /// all is recorded as refused.
    ///
    /// A process that exists for the one run ([`Launch::own_process`]) begins to build the sandbox meanwhile. Nothing is
    /// executed in it before the run is permitted and recorded; dropping what this returns ends it.
    ///
    /// # Errors
    ///
    /// The profile or policy is wrong, the host cannot do what is asked, or the report or the record cannot
    /// be written.
    pub fn prepare(self, front_end: &mut dyn FrontEnd) -> Result<Prepared<'_>, Error> {
        self.check()?;
        // This takes as long as everything that follows, and runs on another processor.
        let early = self.own_process.then(Early::begin).flatten();
        let report = match &self.report {
            None => None,
            Some(place) => Some(Output::open(place, output::Kind::Report).map_err(|error| {
                let place = place.display();
                Error::Caller(format!("the report {place} cannot be written: {error}"))
            })?),
        };
        let mut observing = None;
        if self.observe || self.observation.is_some() {
            let prepared = Observing::prepare(self.observation.as_deref(), self.observe_by);
            observing = Some(prepared.map_err(Error::Caller)?);
        }
        let run = self.resolve(early, report, observing, front_end, true)?;
        Ok(Prepared { run })
    }

    /// Refuses what no front end may do on somebody's behalf.
    fn check(&self) -> Result<(), Error> {
        if process::has_others_authority() {
            return Err(Error::Caller("this program has the set-user-id or set-group-id bit, or capabilities of its own: whoever runs it would write files as another\n  help: remove the bit (chmod ug-s), and run it as the user whose authority it is to pass on".into()));
        }
        if process::has_threads() {
            return Err(Error::Caller("this process has several threads, and a sandbox can only be started by a process that has one\n  help: start it from a process of its own".into()));
        }
        // Before anything is opened: a given number must be the caller's file, not one of ours.
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

    /// From names to a decided plan. What cannot be granted is recorded, unless recording is off.
    fn resolve(
        mut self,
        early: Option<Early>,
        report: Option<Output>,
        observing: Option<Observing>,
        front_end: &mut dyn FrontEnd,
        recorded: bool,
    ) -> Result<Run<'_>, Error> {
        let (mut loaded, mut profile_files) = self.load()?;
        if let Some(baseline) = &loaded.profile.baseline {
            profile_files.push(watching::place_of(baseline, loaded.skill_dir.as_deref()));
        }
        let state = State::here();
        let (documents, deciding) = policies::documents(self.policy.as_deref())?;
        let own = self.protected_paths(state.as_ref(), &deciding, &profile_files)?;
        if self.is_default()
            && let Some(own) = own.at_work()
        {
            let read = &mut loaded.profile.capabilities.files_read;
            read.retain(|item| &*item.origin.file != DEFAULT_ORIGIN);
            front_end.event(&Event::WorkNotGranted(own.to_owned()));
        }
        let written = loaded.profile.hash();
        authority::narrow(&mut loaded.profile, &documents);
        let id = supervise::run_id();
        let may_be_missing = documents.may_be_missing().map(str::to_owned).collect();
        let observed = observing.as_ref().is_some_and(Observing::is_by_listener);
        let planned = self
            .plan(&loaded, written, &own, may_be_missing, observed)
            .and_then(|planned| {
                own.check(&planned.plan)?;
                Ok(planned)
            });
        // On another processor, while the policy is compiled and decides. No command runs before it has permitted it.
        let mut way_out = None;
        let planned = planned.map(|planned| {
            let Planned {
                host,
                absent,
                plan,
                context,
                mounts,
                links,
            } = planned;
            let mut request = authority::request(&plan, context, Vec::new());
            let mut find_names = || {
                names::find(&mut request, &documents, &host.caller, &mounts, &links);
            };
            // To build, an ordinary user's process joins the sandbox's user namespace, in which root's files belong to nobody.
            let joins = !rustix::process::geteuid().is_root();
            if joins {
                find_names();
            }
            // Before that, too: the broker is in the host's network. What another front end has put together, it serves itself.
            let is_profile = matches!(self.asked, Declaration::Profile { .. });
            if recorded && is_profile && plan.has_broker() {
                way_out = Some(broker::Started::new(&plan));
            }
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
                        leaf: self.take_leaf(),
                        signals: true,
                        ..supervise::Options::default()
                    },
                ));
            }
            if !joins {
                find_names();
            }
            (host, sandbox, request, links)
        });
        let policy = Rc::new(load::compile(documents)?);
        let mut recorder = Recorder::nowhere(&policy, &id, front_end);
        if recorded {
            recorder.name_log(self.audit.as_deref(), self.log_is_locked, state.as_ref())?;
        }
        let planned = planned.map_err(|PlanError { error, context }| -> Error {
            match recorder.no_plan(&error, self.file(), context.as_deref()) {
                Err(unrecorded) => unrecorded,
                Ok(()) => error.into(),
            }
        });
        let (host, mut sandbox, request, links) = planned?;
        let decision = sandbox.decide(&policy, &request);
        let watching = (self.observe && recorded).then(|| {
            let skill = loaded.skill_dir.as_deref();
            let home = host.caller.home.clone();
            Watching::prepare(&loaded.profile, skill, home, &request.context).map_err(Error::Caller)
        });
        let watching = watching.transpose()?;
        Ok(Run {
            recorder,
            launch: self,
            id,
            report,
            observing,
            watching,
            broker: way_out,
            profile: loaded.profile,
            profile_hash: request.context.profile_hash,
            state,
            policy,
            host,
            sandbox,
            request,
            decision,
            links,
        })
    }

    /// From a request to a plan that no policy has decided on yet.
    fn plan(
        &self,
        loaded: &Loaded,
        written: Hash,
        own: &ProtectedPaths,
        may_be_missing: BTreeSet<String>,
        observed: bool,
    ) -> Result<Planned, PlanError> {
        let profile = &loaded.profile;
        match &self.asked {
            Declaration::Profile {
                command,
                stdio,
                keep_fds,
                ..
            } => {
                let request = facts::Inputs {
                    command: command.clone(),
                    stdio: *stdio,
                    keep_fds: keep_fds.clone(),
                    reserved: own.reserved.clone(),
                    unwritable: own.unwritable.clone(),
                    kept: own.kept.clone(),
                    passed: own.passed.clone(),
                    may_be_missing,
                    observed,
                };
                let facts = facts::gather(profile, loaded.skill_dir.as_deref(), &request)?;
                let context = authority::context(profile, written, &facts);
                let plan = match plan::compile(profile, &request, &facts) {
                    Ok(plan) => plan,
                    Err(error) => {
                        let (error, context) = (error.into(), Some(context.into()));
                        return Err(PlanError { error, context });
                    }
                };
                let planned = Planned {
                    host: facts.host.clone(),
                    absent: facts.plantable.absent.clone(),
                    plan,
                    context,
                    links: facts.links().cloned().collect(),
                    mounts: facts.mounts,
                };
                Ok(planned)
            }
            Declaration::Operations { spec, .. } => {
                facts::refuse_locations(&spec.keep_fds)?;
                let host = facts::host();
                let mut spec = Spec::clone(spec);
                spec.syscalls.observed = observed;
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
                    spec.network,
                    !spec.listen.is_empty(),
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
                    mounts: mounts::read().map_err(aegis_runtime::Error::Mounts)?,
                    links: Vec::new(),
                })
            }
        }
    }

    /// A run that is held against what is ordinary has to stand still where a person is asked about it.
    pub(crate) fn take_leaf(&mut self) -> supervise::Leaf {
        match self.leaf.take() {
            Some(leaf) => supervise::Leaf::Given(leaf),
            None if self.observe => supervise::Leaf::IfPossible,
            None => supervise::Leaf::IfNeeded,
        }
    }

    /// Whether no profile was named.
    fn is_default(&self) -> bool {
        let asked = &self.asked;
        matches!(
            asked,
            Declaration::Profile {
                reference: Reference::Default,
                ..
            }
        )
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
        match reference {
            Reference::Named(reference) => {
                let files = Noted::default();
                let loaded = aegis_profile::load_with(reference, set, &files)?;
                return Ok((loaded, files.read.into_inner()));
            }
            Reference::Given(loaded) => return Ok((Loaded::clone(loaded), Vec::new())),
            Reference::Default => {}
        }
        let mut sets = vec![DEFAULT_GRANT];
        sets.extend(set.iter().map(String::as_str));
        let mut loaded = aegis_profile::load_with("base", &sets, &Files)?;
        // The first setting added is the default grant, not the user's `--set`.
        let read = &mut loaded.profile.capabilities.files_read;
        if let Some(item) = read.iter_mut().find(|item| &*item.origin.file == "--set") {
            item.origin.file = DEFAULT_ORIGIN.into();
        }
        Ok((loaded, Vec::new()))
    }

    /// The parts of the host that must not be granted to anybody.
    fn protected_paths(
        &self,
        state: Option<&State>,
        deciding: &[PathBuf],
        profile_files: &[PathBuf],
    ) -> Result<ProtectedPaths, Error> {
        let mut own = record::places(self.audit.as_deref(), state);
        own.extend(registry::directory());
        let places = Places::here();
        let commands = places.as_ref().map(policies::of_commands);
        let commands = commands.unwrap_or_default();
        let secrets = places.map(|places| [places.store, places.key, places.sources]);
        let secrets = secrets.into_iter().flatten().collect::<Vec<_>>();
        own.extend(secrets.iter().filter(|place| place.exists()).cloned());
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
        // A link that leads to Aegis's own files could be changed to lead elsewhere.
        let to_own = own.into_iter().flat_map(|route| route.links);
        let mut passed = Vec::new();
        let mut whole_routes = |paths: &[PathBuf]| -> Vec<PathBuf> {
            let mut whole = Vec::new();
            for route in paths.iter().map(|path| router.route(path)) {
                whole.extend(route.links);
                whole.push(route.end);
                passed.extend(route.passed);
            }
            whole
        };
        Ok(ProtectedPaths {
            reserved,
            unwritable: to_own
                .chain(whole_routes(deciding))
                .chain(whole_routes(&commands))
                .collect(),
            kept: whole_routes(profile_files),
            passed,
        })
    }
}

/// A plan that no policy has decided on yet, with its context.
struct Planned {
    host: Host,
    absent: Vec<PathBuf>,
    plan: Plan,
    context: Context,
    mounts: Vec<Mount>,
    /// The links on the paths to what is asked for.
    links: Vec<Link>,
}

/// Why there is no plan, and the context, if known.
struct PlanError {
    error: Box<aegis_runtime::Error>,
    context: Option<Box<Context>>,
}

impl<E: Into<Box<aegis_runtime::Error>>> From<E> for PlanError {
    fn from(error: E) -> Self {
        let (error, context) = (error.into(), None);
        Self { error, context }
    }
}

/// The parts of the host that must not be granted to anybody, free of links.
struct ProtectedPaths {
    /// The audit log, its keys, the approvals, the registry of running sandboxes.
    reserved: Vec<PathBuf>,
    /// Policies in force, and links that lead to them or to reserved paths: not to be written.
    unwritable: Vec<PathBuf>,
    /// The profile, what it extends, and links that lead there: they stay as they are.
    kept: Vec<PathBuf>,
    /// Directories that the path to one of those goes through and leaves again by `..`.
    passed: Vec<PathBuf>,
}

impl ProtectedPaths {
    /// The one of Aegis's own places that the working directory contains or lies in.
    fn at_work(&self) -> Option<&Path> {
        let work = std::env::current_dir().ok()?;
        let overlaps = |own: &&PathBuf| is_below(own, &work) || is_below(&work, own);
        self.reserved.iter().find(overlaps).map(PathBuf::as_path)
    }

    /// Refuses a plan that gives the command access to any of these, whatever the front end has checked.
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
