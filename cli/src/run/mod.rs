//! `aegis-run`: reads the profile, compiles the plan, runs it, and reports what was refused or denied.
//!
//! Exit statuses: the command's own; 128+n when signal n ended it; 124 at the time limit; 125 when
//! Aegis refused or failed before the command started; 126 and 127 as in the shell.
//!
//! No thread is ever started here. [`aegis_sys::process::begin`] has opened closed standard descriptors onto
//! `/dev/null`, so that no file opened later can become one of them; the command finds `/dev/null` there too.

pub mod args;
pub mod ask;

use std::ffi::OsString;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;

use aegis_launch::{
    Answer, Error, Event, Explained, FrontEnd, Launch, Options, Question, WantedPassphrase,
};
use aegis_profile::syntax::escape;
use aegis_runtime::supervise::Event as RunEvent;
use aegis_runtime::supervise::report::Cause;

use zeroize::Zeroizing;

use crate::terminal::{colour, complain, harmless, print, profile_error};
use crate::text::{self, said, why};
use args::{Explain, Invocation};

/// The output of `--help`; a test compares it with [`crate::options`].
pub const HELP: &str = include_str!("help.txt");

/// The output of `--version`.
const VERSION: &str = concat!("aegis-run ", env!("CARGO_PKG_VERSION"), "\n");

const PROGRAM: &str = "aegis-run";

/// Runs the program: `words` are its arguments without its own name. Returns the exit status.
pub fn main(words: impl IntoIterator<Item = OsString>) -> u8 {
    match args::parse(words) {
        Ok(Invocation::Run(args)) => match args.explain {
            Some(format) => {
                let policy = args.launch.policy.clone();
                explained(args.launch, format)
                    .unwrap_or_else(|error| failed(&error, PROGRAM, policy.as_deref()))
            }
            None => launched(args.launch, PROGRAM, args.quiet),
        },
        Ok(Invocation::Print(text)) => {
            say(text).unwrap_or_else(|error| failed(&error, PROGRAM, None))
        }
        Err(usage) => {
            let usage = format!("{usage}\n  help: aegis-run --help");
            failed(&Error::Caller(usage), PROGRAM, None)
        }
    }
}

/// Launches a run in this process, and says what came of it in the name of `program`. Returns the exit status.
pub(crate) fn launched(launch: Launch, program: &'static str, quiet: bool) -> u8 {
    let policy = launch.policy.clone();
    run(launch, program, quiet).unwrap_or_else(|error| failed(&error, program, policy.as_deref()))
}

/// Says why nothing ran. `policy`: the one that was named on the command line.
fn failed(error: &Error, program: &str, policy: Option<&str>) -> u8 {
    match error {
        Error::Profile(error) => complain(&profile_error(program, error)),
        Error::Refused(refusal) => {
            fail(
                program,
                &said::refusal(refusal, policy, is_declared(program)),
            );
        }
        error => fail(program, &error.to_string()),
    }
    error.exit_status()
}

/// Whether what a program's runs ask for is in a profile of the person's. `aegis-learn` makes it itself.
fn is_declared(program: &str) -> bool {
    program == PROGRAM
}

fn fail(program: &str, text: &str) {
    complain(&format!("{program}: error: {}\n", harmless(text)));
}

fn say(text: &str) -> Result<u8, Error> {
    let said = print(text.as_bytes()).map(|()| 0);
    said.map_err(|error| Error::Caller(error.to_string()))
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

/// The person who started `aegis-run`, reached by the terminal and standard error.
struct Caller {
    /// In whose name something is said.
    program: &'static str,
    quiet: bool,
    /// The terminal's signal that ended the command.
    interrupted: Option<i32>,
}

impl FrontEnd for Caller {
    fn ask(&mut self, question: &Question<'_>) -> Result<Answer, String> {
        ask::ask(question, self.program)
    }

    fn passphrase(
        &mut self,
        wanted: &WantedPassphrase<'_>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        ask::passphrase(wanted)
    }

    fn turn(&mut self) -> Result<Vec<OwnedFd>, String> {
        ask::turn()
    }

    fn lend(&mut self) -> Option<OwnedFd> {
        ask::lend()
    }

    fn event(&mut self, event: &Event) {
        let text = match event {
            Event::NewKey(keys) => {
                format!("note: a new signing key was made in {}", keys.display())
            }
            Event::Anomaly(anomaly) => {
                return complain(&harmless(&said::anomaly(anomaly, self.quiet)));
            }
            Event::LogMissing(what) => format!("warning: {what}"),
            Event::WorkNotGranted(own) if !self.quiet => format!(
                "note: the working directory is not granted, since {} is there, which is Aegis's own: go to a directory below, or name a profile",
                own.display()
            ),
            Event::ObservedByListener(help) if !self.quiet => {
                format!("observed by seccomp (slower, and less is seen): {help}")
            }
            Event::Unrecorded(why) => format!("warning: {why}"),
            Event::ApprovalNotKept(why) => {
                format!("warning: the approval holds for this run alone: {why}")
            }
            Event::Unregistered(why) if !self.quiet => {
                format!("warning: `aegis ps` will not list this run: {why}")
            }
            Event::BrokerEnded => {
                "error: the egress broker has ended: no host is reached any more, nor a published port".to_owned()
            }
            Event::Run(RunEvent::Interrupted(signal)) => {
                self.interrupted = Some(*signal);
                return;
            }
            Event::Run(RunEvent::NotFrozen(less)) => {
                format!("error: {}\n  help: {}", less.what, less.fix)
            }
            // Reported when the run has ended, with an explanation.
            Event::WorkNotGranted(_)
            | Event::ObservedByListener(_)
            | Event::Unregistered(_)
            | Event::Run(_) => return,
        };
        complain(&format!("{}: {}\n", self.program, harmless(&text)));
    }
}

fn run(launch: Launch, program: &'static str, quiet: bool) -> Result<u8, Error> {
    let reference = launch.file().map(str::to_owned);
    let mut caller = Caller {
        program,
        quiet,
        interrupted: None,
    };
    let permitted = launch.prepare(&mut caller)?.decide()?;
    complain(&said::warnings(
        permitted.plan(),
        program,
        is_declared(program),
    ));
    if !quiet {
        complain(&said::weak_limits(permitted.plan()));
    }
    let mut session = permitted.start(Options::default())?;
    while session.poll(&mut [], None).is_running() {}
    // Not freed: the memory goes when the process ends.
    let outcome = ManuallyDrop::new(session.finish()?);
    let report = &outcome.report;
    for path in report.planted.iter().filter(|_| !quiet) {
        let path = escape(path);
        complain(&harmless(&format!(
            "aegis-run: warning: the run made {path}, which programs of the host act upon: look at it\n"
        )));
    }
    if !report.lost.is_empty() && !quiet {
        let lost: Vec<String> = report.lost.iter().map(|path| escape(path)).collect();
        let lost = lost.join(", ");
        complain(&harmless(&format!(
            "aegis-run: warning: the command wrote {lost} to the sandbox's private home, which is gone: declare under `files.write` what is to be kept\n"
        )));
    }
    if !quiet {
        complain(&said::changes(report));
    }
    for text in &outcome.unaccounted {
        fail(program, text);
    }
    // Last, so that a person sees it.
    if report.exit_status != 0 && (!quiet || report.cause == Cause::OutputLost) {
        let profile = &outcome.profile;
        complain(&why::explain(
            report,
            profile,
            reference.as_deref(),
            program,
        ));
    }
    if let Some(signal) = caller.interrupted {
        // A script that waits for us, the other programs of a pipeline. We have blocked it, and go on.
        let _ = aegis_sys::process::kill(0, signal);
    }
    if let Cause::Killed { signal } = report.cause {
        die_likewise(signal);
    }
    Ok(outcome.exit_status)
}

/// Ends by the signal that ended the command, if persons or shells use it to end programs: a shell that
/// runs us in a loop continues after an exit, whatever its status, and stops after a signal. `$?` is 128+n
/// either way.
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
