//! One run that is learnt from, or that tries what was learnt: in a process of its own, since a process is there for one run.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use aegis_launch::{Declaration, Launch, ObserveBy, Reference};
use aegis_observation::Observation;
use aegis_profile::Loaded;
use aegis_runtime::types::StdioMode;
use aegis_sys::files;
use aegis_sys::process::{self, Change, PollFd};
use aegis_sys::signal::Signals;
use rustix::fs::{MemfdFlags, SeekFrom};
use serde::Deserialize;

use super::output::has_standard_output;
use crate::options::AegisLearn;
use crate::terminal::log_is_locked;

/// Signals by which programs are ended from outside.
const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP];

/// What one run has in common with the others.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// The command and its arguments; none: the profile's.
    pub command: &'a [OsString],
    /// As in [`Launch::policy`].
    pub policy: Option<&'a str>,
    /// As in [`Launch::audit`].
    pub audit: Option<PathBuf>,
    /// By what it is observed.
    pub observe_by: ObserveBy,
    /// Where standard output goes, where that is not the command's.
    pub output: Option<BorrowedFd<'a>>,
    /// Where standard input comes from.
    pub input: &'a Input,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Seen {
    /// What the command did.
    pub observation: Observation,
    /// How it went.
    pub report: Report,
    /// Whether it was to be ended by a signal (Control-C): it might have gone on.
    pub interrupted: bool,
}

/// What is needed of a [report](aegis_runtime::supervise::report::Report).
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub exit_status: u8,
    pub resources: Resources,
    #[serde(default)]
    pub changed: Vec<Changed>,
    #[serde(default)]
    pub changes_left_out: u64,
    #[serde(default)]
    pub lost: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Resources {
    pub wall_us: u64,
    pub memory_peak: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Changed {
    pub path: String,
    pub change: String,
}

/// Standard input, which every run is to have from the same place.
#[derive(Debug)]
pub(super) enum Input {
    /// A terminal, a device, nothing.
    Any,
    /// A file, read from here.
    File(u64),
    /// What can be read once alone.
    Once,
}

impl Input {
    pub fn of_this_process() -> Self {
        let Some(input) = files::inherited(0) else {
            return Self::Any;
        };
        match rustix::fs::fstat(input)
            .map(|found| rustix::fs::FileType::from_raw_mode(found.st_mode))
        {
            Ok(rustix::fs::FileType::RegularFile) => {
                rustix::fs::seek(input, SeekFrom::Current(0)).map_or(Self::Once, Self::File)
            }
            Ok(rustix::fs::FileType::Fifo | rustix::fs::FileType::Socket) => Self::Once,
            _ => Self::Any,
        }
    }

    /// Before each run but the first.
    pub fn rewind(&self) -> io::Result<()> {
        if let (Self::File(position), Some(input)) = (self, files::inherited(0)) {
            rustix::fs::seek(input, SeekFrom::Start(*position))?;
        }
        Ok(())
    }
}

impl<'a> Run<'a> {
    /// Of these options.
    pub fn of(options: &'a AegisLearn, input: &'a Input) -> Self {
        Self {
            input,
            command: &options.command,
            policy: options.policy.as_deref(),
            audit: options.audit.clone(),
            observe_by: observer(options.observe_by.as_deref()),
            output: files::inherited(2).filter(|_| has_standard_output(options)),
        }
    }

    /// Runs the command under a profile. `Err`: the exit status of a run that did not take place, which has been explained.
    pub fn under(&self, profile: Loaded) -> io::Result<Result<Seen, u8>> {
        let memory =
            |name: &str| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map(File::from);
        let (mut observation, mut report) = (memory("observation")?, memory("report")?);
        let place = |file: &File| PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()));
        let launch = Launch {
            policy: self.policy.map(str::to_owned),
            audit: self.audit.clone(),
            observation: Some(place(&observation)),
            observe_by: self.observe_by,
            report: Some(place(&report)),
            log_is_locked: Some(log_is_locked),
            own_process: true,
            ..Launch::new(Declaration::Profile {
                reference: Reference::Given(Box::new(profile)),
                set: Vec::new(),
                command: self.command.to_vec(),
                stdio: StdioMode::Inherit,
                keep_fds: Vec::new(),
            })
        };
        self.input.rewind()?;
        // They are for the command, and what it has done until then is still learnt from.
        let signals = Signals::open(&ENDING)?;
        signals.block()?;
        let child = process::fork();
        let Some(pid) = child.inspect_err(|_| signals.restore_mask())? else {
            signals.restore_mask();
            // Nobody would learn from it any more, or end it.
            let _ = process::die_with_parent();
            let moved = self.output.map(|output| files::duplicate_to(output, 1));
            let status = match moved.unwrap_or(Ok(())) {
                Ok(()) => crate::run::launched(launch, "aegis-learn", true),
                Err(_) => 125,
            };
            process::exit_now(status.into());
        };
        let interrupted = pass_on(&signals, pid)?;
        let status = match process::reap(pid)? {
            Change::Exited(status) => status as u8,
            change => 128 + change.signal().unwrap_or(0) as u8,
        };
        signals.restore_mask();
        let (seen, report) = (contents(&mut observation)?, contents(&mut report)?);
        if seen.is_empty() || report.is_empty() {
            return Ok(Err(if status == 0 { 125 } else { status }));
        }
        let malformed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
        Ok(Ok(Seen {
            interrupted,
            observation: Observation::from_json(&seen).map_err(|error| malformed(&error))?,
            report: serde_json::from_slice(&report).map_err(|error| malformed(&error))?,
        }))
    }
}

/// Passes signals on to a run until it has ended; it is not reaped. Returns whether there was one.
fn pass_on(signals: &Signals, pid: i32) -> io::Result<bool> {
    let child = process::open(pid)?;
    let readable = |fd: &OwnedFd| PollFd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut interrupted = false;
    loop {
        let mut fds = [readable(&child), readable(&signals.fd)];
        process::poll(&mut fds, None)?;
        while let Some(received) = signals.next() {
            interrupted = true;
            // A terminal means everybody in the foreground; the run itself tells who started it that it was interrupted.
            if !received.is_kernels() && received.sender() != Some(pid) {
                process::kill(pid, received.number)?;
            }
        }
        if fds[0].revents != 0 {
            return Ok(interrupted);
        }
    }
}

fn contents(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn observer(name: Option<&str>) -> ObserveBy {
    match name {
        Some("probes") => ObserveBy::Probes,
        Some("listener") => ObserveBy::Listener,
        _ => ObserveBy::Auto,
    }
}
