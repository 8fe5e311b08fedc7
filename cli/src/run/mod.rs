//! `aegis-run`: reads the profile, compiles the plan, runs it, and says afterwards what was refused.
//!
//! Exit statuses: the command's own; 128+n when signal n ended it; 124 at the time limit; 125 when
//! Aegis refused or failed before the command started; 126 and 127 as the shell has them.
//!
//! No thread is ever started here. Standard descriptors that are closed have been opened onto
//! `/dev/null` before ([`aegis_sys::process::begin`]), so that no file opened later can
//! become one of them; the command finds `/dev/null` there too.

pub mod args;
pub mod ask;

use std::ffi::OsString;
use std::io;
use std::mem::ManuallyDrop;

use aegis_launch::{
    Answer, Asked, Error, Event, Explained, FrontEnd, Launch, Options, Outcome, Question,
};
use aegis_runtime::supervise::report::Cause;

use crate::terminal::{colour, complain, harmless, log_is_locked, print, profile_error};
use crate::text::{self, said, why};
use args::{Args, Explain, Invocation};

/// What `--help` prints; a test holds it against [`crate::options`].
pub const HELP: &str = include_str!("help.txt");

/// About what a start takes, in bytes.
const HEAP: usize = 320 << 10;

/// Runs the program: `words` are its arguments without its own name. Gives the exit status.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    let result = match args::parse(words) {
        Ok(Invocation::Run(args)) => match args.explain {
            Some(format) => explained(launch(&args), format),
            None => run(&args),
        },
        Ok(Invocation::Help) => say(HELP),
        Ok(Invocation::Version) => say(&format!("aegis-run {}\n", env!("CARGO_PKG_VERSION"))),
        Err(usage) => Err(Error::Caller(format!("{usage}\n  help: aegis-run --help"))),
    };
    result.unwrap_or_else(|error| {
        match &error {
            Error::Profile(error) => complain(&profile_error("aegis-run", error)),
            Error::Refused(refusal) => fail(&said::refusal(refusal)),
            error => fail(&error.to_string()),
        }
        error.exit_status()
    })
}

fn fail(text: &str) {
    complain(&format!("aegis-run: error: {}\n", harmless(text)));
}

fn say(text: &str) -> Result<u8, Error> {
    let said = print(text.as_bytes()).map(|()| 0);
    said.map_err(|error| Error::Caller(format!("standard output cannot be written: {error}")))
}

fn launch(args: &Args) -> Launch {
    Launch {
        asked: Asked::Profile {
            reference: args.profile.clone(),
            set: args.set.clone(),
            command: args.command.clone(),
            keep_fds: args.keep_fds.clone(),
        },
        policy: args.policy.clone(),
        audit: args.audit.clone(),
        report: args.report.clone(),
        log_is_locked: Some(log_is_locked),
        own_process: true,
    }
}

fn explained(launch: Launch, format: Explain) -> Result<u8, Error> {
    let Explained { plan, profile, .. } = launch.explain()?;
    say(&match format {
        Explain::Text => text::plan::text(&plan, &profile, colour(&io::stdout())),
        Explain::Json => format!(
            "{{\"plan\":{},\"hash\":\"{}\"}}\n",
            plan.to_json(),
            plan.hash()
        ),
    })
}

/// Whoever started `aegis-run`, by way of the terminal and standard error.
struct Caller {
    quiet: bool,
}

impl FrontEnd for Caller {
    fn ask(&mut self, question: &Question<'_>) -> Result<Answer, String> {
        ask::ask(question).map_err(|why| why.to_string())
    }

    fn event(&mut self, event: &Event) {
        let text = match event {
            Event::NewKey(keys) => {
                format!("note: a new signing key was made in {}", keys.display())
            }
            Event::Unrecorded(why) => format!("warning: {why}"),
            Event::ApprovalNotKept(why) => {
                format!("warning: the approval holds for this run alone: {why}")
            }
            Event::Unregistered(why) if !self.quiet => {
                format!("warning: `aegis ps` will not list this run: {why}")
            }
            // Told when the run has ended, where they explain how.
            Event::Unregistered(_) | Event::Run(_) => return,
        };
        complain(&format!("aegis-run: {}\n", harmless(&text)));
    }
}

fn run(args: &Args) -> Result<u8, Error> {
    aegis_sys::process::expect_heap(HEAP);
    let mut caller = Caller { quiet: args.quiet };
    let permitted = launch(args).prepare(&mut caller)?.decide()?;
    if !args.quiet {
        complain(&said::warnings(permitted.plan()));
    }
    let mut session = permitted.start(Options::default())?;
    while session.poll(&mut [], None).is_running() {}
    // What lives as long as the process is not given back piece by piece: it ends with the process.
    let outcome = ManuallyDrop::new(session.finish()?);
    tell(args, &outcome);
    if let Cause::Killed { signal } = outcome.report.cause {
        die_likewise(signal);
    }
    Ok(outcome.exit_status)
}

/// Tells of a run that has ended, on standard error.
fn tell(args: &Args, outcome: &Outcome) {
    let report = &outcome.report;
    for path in report.planted.iter().filter(|_| !args.quiet) {
        complain(&harmless(&format!(
            "aegis-run: warning: the run made {path}, which programs of the host act upon: look at it\n"
        )));
    }
    for text in &outcome.unaccounted {
        fail(text);
    }
    // Last, so that it is what a person sees.
    if report.exit_status != 0 && !args.quiet {
        complain(&why::explain(
            report,
            &outcome.profile,
            args.profile.as_deref(),
        ));
    }
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
        aegis_sys::signal::die_of(signal);
    }
}
