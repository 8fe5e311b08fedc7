//! `aegis-run`: reads the profile, compiles the plan, runs it, and says afterwards what was refused.
//!
//! Exit statuses: the command's own; 128+n when signal n ended it; 124 at the time limit; 125 when
//! Aegis refused or failed before the command started; 126 and 127 as the shell has them.
//!
//! No thread is ever started here. Standard descriptors that are closed have been opened onto
//! `/dev/null` before ([`aegis_sys::process::begin`]), so that no file opened later can
//! become one of them; the command finds `/dev/null` there too.

mod account;
pub mod args;
pub mod ask;
mod evidence;
mod policies;
mod review;

use std::ffi::OsString;
use std::io;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use aegis_audit::event::Person;
use aegis_audit::places::State;
use aegis_policy::{Policy, Verdict};
use aegis_profile::{Files, Loaded, Profile};
use aegis_runtime::plan::{self, Plan, authority};
use aegis_runtime::supervise::report::{Cause, Report};
use aegis_runtime::{facts, supervise};

use crate::terminal::{colour, complain, harmless, print, profile_error};
use crate::text::{self, said, why};
use account::Account;
use args::{Args, Explain, Invocation};
use evidence::Evidence;
use policies::Way;
use review::Review;

/// What `--help` prints; a test holds it against [`crate::options`].
pub const HELP: &str = include_str!("help.txt");

/// What a run may do when no profile is named, beside `base`.
const DEFAULT_GRANT: &str = "capabilities.files.read=[-$WORK]";

/// Where [`DEFAULT_GRANT`] is said to come from.
const DEFAULT_ORIGIN: &str = "default (no --profile)";

/// About what a start takes, in bytes.
const HEAP: usize = 320 << 10;

/// Aegis itself failed.
const FAILED: u8 = 125;

/// Runs the program: `words` are its arguments without its own name. Gives the exit status.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    let result = match args::parse(words) {
        Ok(Invocation::Run(args)) => run(&args),
        Ok(Invocation::Help) => say(HELP.to_owned()),
        Ok(Invocation::Version) => say(format!("aegis-run {}\n", env!("CARGO_PKG_VERSION"))),
        Err(usage) => Err(Failure::Aegis(
            format!("{usage}\n  help: aegis-run --help"),
            FAILED,
        )),
    };
    result.unwrap_or_else(|failure| failure.tell())
}

/// Why the command was not run, or its run not accounted for.
enum Failure {
    Profile(aegis_profile::Error),
    Aegis(String, u8),
}

impl Failure {
    fn tell(self) -> u8 {
        match self {
            Self::Profile(error) => {
                complain(&profile_error("aegis-run", &error));
                FAILED
            }
            Self::Aegis(text, status) => {
                complain(&format!("aegis-run: error: {}\n", harmless(&text)));
                status
            }
        }
    }
}

impl Failure {
    /// Refused, or failed before the command started.
    fn ours(text: impl Into<String>) -> Self {
        Self::Aegis(text.into(), FAILED)
    }
}

impl From<aegis_profile::Error> for Failure {
    fn from(error: aegis_profile::Error) -> Self {
        Self::Profile(error)
    }
}

impl From<aegis_runtime::Error> for Failure {
    fn from(error: aegis_runtime::Error) -> Self {
        Self::Aegis(error.to_string(), error.exit_status())
    }
}

fn say(text: String) -> Result<u8, Failure> {
    print(text.as_bytes()).map(|()| 0).map_err(|error| {
        Failure::Aegis(
            format!("standard output cannot be written: {error}"),
            FAILED,
        )
    })
}

fn run(args: &Args) -> Result<u8, Failure> {
    if aegis_sys::process::has_others_authority() {
        let text = "aegis-run has the set-user-id or set-group-id bit, or capabilities of its own: whoever runs it would write files as another\n  help: remove the bit (chmod ug-s), and run it as the user whose authority it is to pass on";
        return Err(Failure::ours(text));
    }
    // Before anything is opened: a number given must be the caller's file, not one of ours.
    for fd in &args.keep_fds {
        if !is_open(*fd) {
            let text = format!("--keep-fd {fd}: this descriptor is not open");
            return Err(Failure::Aegis(text, FAILED));
        }
    }
    // Takes as long as all that follows, on another processor.
    let early = match args.explain {
        None => aegis_runtime::apply::Early::begin(),
        Some(_) => None,
    };
    aegis_sys::process::expect_heap(HEAP);
    let account = match &args.report {
        None => None,
        Some(place) => Some(Account::open(place).map_err(|error| {
            Failure::Aegis(
                format!("the report {} cannot be written: {error}", place.display()),
                FAILED,
            )
        })?),
    };
    // What lives as long as the process is not given back piece by piece: it ends with the process.
    let mut loaded = ManuallyDrop::new(load(args)?);
    let profile_hash = loaded.profile.hash();
    let state = State::of(uid(), &|name| std::env::var_os(name));
    let (policy, deciding) = policies::in_force(args)?;
    let policy = ManuallyDrop::new(policy);
    authority::narrow(&mut loaded.profile, &policy);
    let id = supervise::run_id();
    let mut evidence = match args.explain {
        Some(_) => None,
        None => {
            let evidence = Evidence::of(args.audit.as_deref(), state.as_ref(), &policy, &id);
            Some(evidence.map_err(Failure::ours)?)
        }
    };
    let request = request(args, &loaded.profile, &policy, &deciding, state.as_ref())?;
    let facts = facts::gather(&loaded.profile, loaded.skill_dir.as_deref(), &request);
    if let (Err(error), Some(evidence)) = (&facts, &mut evidence) {
        let recorded = evidence.no_plan(error, args.profile.as_deref(), None);
        recorded.map_err(Failure::ours)?;
    }
    let facts = ManuallyDrop::new(facts?);
    let context = authority::context(&loaded.profile, profile_hash, &facts);
    let plan = plan::compile(&loaded.profile, &request, &facts);
    if let (Err(error), Some(evidence)) = (&plan, &mut evidence) {
        let recorded = evidence.no_plan(error, args.profile.as_deref(), Some(&context));
        recorded.map_err(Failure::ours)?;
    }
    let mut plan = ManuallyDrop::new(plan?);
    let mut asked = ManuallyDrop::new(authority::request(&plan, context, Vec::new()));
    let mut decision = authority::decide(&mut plan, &policy, &asked);
    let evidence = match (&mut evidence, args.explain) {
        (Some(evidence), _) => evidence,
        (None, format) => {
            let format = format.unwrap_or(Explain::Text);
            return say(explained(&plan, &loaded.profile, format));
        }
    };
    let mut reviewed = None;
    if decision.verdict == Verdict::Review {
        let review = Review {
            policy: &policy,
            state: state.as_ref(),
            profile: args.profile.as_deref(),
            person: &Person {
                name: facts.caller.name.clone(),
                uid: facts.caller.uid,
            },
        };
        reviewed = Some(review.of(&mut plan, &mut asked, &id));
    }
    if let Some(reviewed) = &reviewed {
        decision = reviewed.decision.clone();
    }
    let mut events = evidence.start(&plan, args.profile.as_deref(), &asked, &decision);
    // After the start of the run, before what came of it.
    events.splice(1..1, reviewed.iter_mut().flat_map(|r| r.said.drain(..)));
    if !decision.verdict.lets_through() {
        evidence.not_started(events).map_err(Failure::ours)?;
        let why = reviewed.and_then(|reviewed| reviewed.refused);
        let text = why.unwrap_or_else(|| said::refusal(&plan, &decision, None));
        return Err(Failure::ours(text));
    }
    if !args.quiet {
        complain(&said::warnings(&plan));
    }
    let mut plan_hash = None;
    let mut started = false;
    let result = supervise::run(&plan, &facts, early, &id, || {
        evidence.record(&events)?;
        if let Some(Err(error)) = reviewed.map(|reviewed| reviewed.keep(state.as_ref())) {
            let text =
                format!("aegis-run: warning: the approval holds for this run alone: {error}\n");
            complain(&harmless(&text));
        }
        started = true;
        plan_hash = Some(plan.hash());
        Ok(())
    });
    let end = |evidence: &mut Evidence<'_>| evidence.end(&result, plan_hash, &asked.context);
    let unrecorded = match &result {
        _ if started => end(evidence),
        // That it could not be recorded.
        Err(aegis_runtime::Error::NotPermitted(_)) => Ok(()),
        // It did not come so far that it could have been started.
        _ => evidence.record(&events).and_then(|()| end(evidence)),
    };
    let mut report = result?;
    if let (Some(plan_hash), true) = (plan_hash, account.is_some()) {
        report.seal(profile_hash, plan_hash, evidence.recorded());
    }
    let status = tell(args, &loaded.profile, &report, unrecorded, account);
    if let Cause::Killed { signal } = report.cause {
        die_likewise(signal);
    }
    Ok(status)
}

/// What is asked for beside the profile, and what of the host is nobody's to be granted.
fn request(
    args: &Args,
    profile: &Profile,
    policy: &Policy,
    deciding: &[PathBuf],
    state: Option<&State>,
) -> Result<facts::Request, Failure> {
    let own = evidence::places(args.audit.as_deref(), state);
    let own: Vec<Way> = own.iter().map(|place| Way::of(place)).collect();
    let reserved: Vec<PathBuf> = own.iter().map(|way| way.end.clone()).collect();
    if let Some(place) = args.report.as_deref().map(|place| Way::of(place).end)
        && let Some(own) = reserved.iter().find(|own| place.starts_with(own))
    {
        return Err(Failure::ours(format!(
            "--report {}: {} is Aegis's own\n  help: name a file elsewhere",
            place.display(),
            own.display()
        )));
    }
    Ok(facts::Request {
        command: args.command.clone(),
        keep_fds: args.keep_fds.clone(),
        reserved,
        unwritable: match profile.capabilities.files_write.is_empty() {
            true => Vec::new(),
            false => {
                // A link that leads to what is Aegis's own could be made to lead elsewhere.
                let to_own = own.into_iter().flat_map(|way| way.links);
                let deciding = deciding.iter().map(|place| Way::of(place));
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

/// Tells of a run that has ended, on standard error and in its report. The exit status: the command's, or ours
/// where the run could not be accounted for.
fn tell(
    args: &Args,
    profile: &Profile,
    report: &Report,
    unrecorded: Result<(), String>,
    account: Option<Account>,
) -> u8 {
    for path in report.planted.iter().filter(|_| !args.quiet) {
        complain(&harmless(&format!(
            "aegis-run: warning: the run made {path}, which programs of the host act upon: look at it\n"
        )));
    }
    let mut status = report.exit_status;
    let mut unaccounted = |text: String| {
        complain(&harmless(&format!("aegis-run: error: {text}\n")));
        // A command that failed has more to say than its report.
        if status == 0 {
            status = FAILED;
        }
    };
    if let Err(text) = unrecorded {
        unaccounted(text);
    }
    if let (Some(account), Some(place)) = (account, &args.report)
        && let Err(error) = account.write(report)
    {
        let place = place.to_string_lossy();
        unaccounted(format!("the report {place} could not be written: {error}"));
    }
    // Last, so that it is what a person sees.
    if report.exit_status != 0 && !args.quiet {
        complain(&why::explain(report, profile, args.profile.as_deref()));
    }
    status
}

/// Ends by the signal that ended the command, where that is one by which a person or a shell ends
/// programs: a shell that runs us in a loop goes on after an exit, whatever its status, and stops
/// after a signal. `$?` is 128+n either way.
fn die_likewise(signal: i32) {
    let signals = [
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGPIPE,
    ];
    if signals.contains(&signal) {
        aegis_sys::process::die_of(signal);
    }
}

fn load(args: &Args) -> Result<Loaded, aegis_profile::Error> {
    if let Some(reference) = &args.profile {
        return aegis_profile::load_with(reference, &args.set, &Files);
    }
    let mut sets = vec![DEFAULT_GRANT];
    sets.extend(args.set.iter().map(String::as_str));
    let mut loaded = aegis_profile::load_with("base", &sets, &Files)?;
    // The first of what `--set` adds is ours, and not the user's doing.
    let ours = loaded
        .profile
        .capabilities
        .files_read
        .iter_mut()
        .find(|item| &*item.origin.file == "--set");
    if let Some(item) = ours {
        item.origin.file = DEFAULT_ORIGIN.into();
    }
    Ok(loaded)
}

/// Of the caller.
fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn explained(plan: &Plan, profile: &Profile, format: Explain) -> String {
    match format {
        Explain::Text => text::plan::text(plan, profile, colour(&io::stdout())),
        Explain::Json => format!(
            "{{\"plan\":{},\"hash\":\"{}\"}}\n",
            plan.to_json(),
            plan.hash()
        ),
    }
}

fn is_open(fd: i32) -> bool {
    // SAFETY: F_GETFD takes no pointer, and is defined for numbers that are not open.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}
