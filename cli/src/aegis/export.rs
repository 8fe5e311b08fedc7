//! `aegis profile export`: a profile, compiled for this host, in the format of another enforcer.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aegis_export::{Compiled, Format, Host, Loss};
use aegis_launch::{Declaration, Launch, Reference, Refusal};
use aegis_policy::Verdict;
use aegis_runtime::types::StdioMode;
use aegis_sys::output::{self, Kind, NamedFile, Output, is_standard_output};
use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum, ValueHint};

use super::profile::Sets;
use super::{CommandResult, print_bytes};
use crate::names;
use crate::terminal::{complain, harmless};
use crate::text::said;

pub(super) const HELP: &str = "\
What is written is the profile as it is compiled for this host now: export it again when programs, files or
the policy have changed. What the format cannot express is said on standard error, and in comments.

Examples:
  aegis profile export --format oci-seccomp skill.yaml -o seccomp.json
  aegis profile export --format apparmor skill.yaml -o skill.apparmor
  aegis profile export --format systemd skill.yaml -o skill.service
  aegis profile export --format bwrap --seccomp skill.bpf skill.yaml -o skill.sh
  aegis profile export --format bwrap --json python -- python3 main.py | jq -r '.losses[].what'";

/// The formats, as they are named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// JSON of container engines, for system calls alone: docker and podman --security-opt seccomp=FILE
    OciSeccomp,
    /// For `apparmor_parser`
    Apparmor,
    /// A service of systemd, or a drop-in for one
    Systemd,
    /// A script for `sh` that starts bubblewrap
    Bwrap,
}

impl From<Name> for Format {
    fn from(name: Name) -> Self {
        match name {
            Name::OciSeccomp => Self::OciSeccomp,
            Name::Apparmor => Self::Apparmor,
            Name::Systemd => Self::Systemd,
            Name::Bwrap => Self::Bwrap,
        }
    }
}

/// The command line.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// A file, `-`, or the name of a built-in profile
    #[arg(value_name = "PROFILE", value_hint = ValueHint::FilePath, add = names::profiles())]
    reference: String,
    /// What to write it for
    #[arg(long)]
    format: Name,
    /// Replaces files that are there
    #[arg(long)]
    force: bool,
    /// The file to write; without it, or with `-`, standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Of `bwrap`: the file for the filter of system calls, which the script reads
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    seccomp: Option<PathBuf>,
    #[command(flatten)]
    sets: Sets,
    /// What may be granted: a file, a directory, or a template's name; in place of the user's policy
    #[arg(long, value_name = "PATH|NAME", value_hint = ValueHint::AnyPath, add = names::policies())]
    policy: Option<String>,
    /// Writes JSON: the text, and what it cannot express
    #[arg(long)]
    json: bool,
    /// The command and its arguments; without it, the profile's `run`
    #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

impl Options {
    pub(super) fn run(self) -> CommandResult {
        let format = Format::from(self.format);
        if self.seccomp.is_some() && format != Format::Bwrap {
            bail!(
                "--seccomp is for --format bwrap: oci-seccomp is the filter, and the others have none beside them"
            );
        }
        let kind = Kind::Document {
            replace: self.force,
        };
        let output = self.output.as_deref();
        let output = output.filter(|place| !is_standard_output(place));
        let output =
            output.map(|place| Output::open(place, kind).map_err(|error| fail(place, error)));
        let output = output.transpose()?;
        let filter = self.seccomp.as_deref().map(|place| {
            let file = NamedFile::open(place, kind).map_err(|error| {
                let why = match error.kind() {
                    _ if place.as_os_str() == "-" => {
                        anyhow!("--seccomp -: standard output has the script")
                    }
                    // A pipe, a device.
                    io::ErrorKind::Other => fail(place, error),
                    _ => return fail(place, error),
                };
                anyhow!(
                    "{why}\n  help: name a file, from which the script reads the filter each time"
                )
            })?;
            anyhow::Ok((whole(place)?, file))
        });
        let filter = filter.transpose()?;
        if let (Some((place, filter)), Some(file)) =
            (&filter, output.as_ref().and_then(Output::file))
            && filter.is_same(file)
        {
            bail!(
                "{} would have both, the script and the filter\n  help: name another file with --seccomp",
                place.display()
            );
        }
        let launch = Launch {
            policy: self.policy.clone(),
            ..Launch::new(Declaration::Profile {
                reference: Reference::Named(self.reference),
                set: self.sets.sets,
                command: self.command,
                stdio: StdioMode::Inherit,
                keep_fds: Vec::new(),
            })
        };
        let explained = launch.explain().map_err(|error| match error {
            aegis_launch::Error::Runtime(error) if matches!(*error, aegis_runtime::Error::NoCommand) => anyhow!(
                "there is no command to run\n  help: name it after the profile, as in `-- python3 main.py`, or as `run` in a profile"
            ),
            error => error.into(),
        })?;
        let (plan, decision) = (explained.plan, explained.decision);
        if decision.verdict == Verdict::Block {
            let refusal = Refusal {
                plan,
                decision,
                unanswered: None,
            };
            bail!("{}", said::refusal(&refusal, self.policy.as_deref(), true));
        }
        let host = Host::of(&plan, explained.links)?;
        let compiled = Compiled {
            profile: &explained.profile,
            plan: &plan,
            host: &host,
        };
        let named = filter.as_ref().map(|(place, _)| &**place);
        let export = aegis_export::export(format, &compiled, named)?;
        let bytes = match self.json {
            true => {
                let mut text =
                    serde_json::to_vec_pretty(&export).context("there is no JSON form")?;
                text.push(b'\n');
                text
            }
            false => {
                complain(&harmless(&told(&export.losses)));
                export.text.as_bytes().to_vec()
            }
        };
        let program = filter
            .map(|(place, file)| anyhow::Ok((place, file, aegis_export::program(&compiled)?)));
        let program = program.transpose()?;
        // Both or neither.
        let file = output.as_ref().and_then(Output::file);
        let script = self.output.as_deref().zip(file);
        let script = script.map(|(place, file)| (place, file, &*bytes));
        let filter = program
            .iter()
            .map(|(place, file, bytes)| (&**place, file, &**bytes));
        let files: Vec<(&Path, &NamedFile, &[u8])> = filter.chain(script).collect();
        let contents: Vec<(&NamedFile, &[u8])> = files
            .iter()
            .map(|(_, file, bytes)| (*file, *bytes))
            .collect();
        output::write_all(&contents).map_err(|(number, error)| fail(files[number].0, error))?;
        match (output, self.output) {
            (Some(Output::File(_)), _) => {}
            (Some(stream), Some(place)) => {
                stream.write(&bytes).map_err(|error| fail(&place, error))?;
            }
            _ => print_bytes(&bytes)?,
        }
        Ok(true)
    }
}

/// What a person is told beside the text.
fn told(losses: &[Loss]) -> String {
    let mut told =
        String::from("aegis: note: not as the profile says, since the format cannot express it:\n");
    for loss in losses {
        let _ = writeln!(told, "  {loss}");
    }
    told
}

/// A path that is the same from everywhere.
fn whole(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no name of a file", path.display()))
}

fn fail(place: &Path, error: io::Error) -> anyhow::Error {
    let help = match error.kind() {
        io::ErrorKind::AlreadyExists => "\n  help: --force replaces it",
        io::ErrorKind::IsADirectory => "\n  help: name a file in it",
        _ => "",
    };
    anyhow!("{} cannot be written: {error}{help}", place.display())
}
