//! Where the profile and its baseline go.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use aegis_profile::Named;
use aegis_sys::output::{self, Kind, NamedFile, Output, is_standard_output};
use aegis_sys::process;
use anyhow::{anyhow, bail};

use crate::options::AegisLearn;
use crate::terminal::print;
use crate::text::said::quoted;

/// Where what is learnt is written; checked before anything runs.
pub(super) struct Destination<'o> {
    /// The file of the profile, as it is named. `None`: it goes to an open descriptor.
    pub place: Option<&'o Path>,
    /// `None`: standard output.
    profile: Option<Output>,
    baseline: Option<Baseline>,
}

/// The file of the baseline.
struct Baseline {
    place: PathBuf,
    name: String,
    file: NamedFile,
}

/// Whether standard output has the profile, or JSON, alone: what the command writes goes to standard error.
pub(super) fn has_standard_output(options: &AegisLearn) -> bool {
    let named = options.output.as_deref();
    options.json || named.is_none_or(is_standard_output)
}

impl<'o> Destination<'o> {
    /// Checks that it can be written. `baseline`: there is to be one beside it.
    pub fn open(options: &'o AegisLearn, baseline: bool) -> anyhow::Result<Self> {
        let named = options.output.as_deref();
        if has_standard_output(options) && process::was_closed(1) {
            bail!("standard output is closed\n  help: -o FILE names a file for the profile");
        }
        let Some(place) = named.filter(|place| !is_standard_output(place)) else {
            return Ok(Self {
                place: None,
                profile: None,
                baseline: None,
            });
        };
        let kind = Kind::Document {
            replace: options.force,
        };
        let shown = place.display();
        let output = Output::open(place, kind).map_err(|error| {
            let help = match error.kind() {
                io::ErrorKind::AlreadyExists => format!(
                    "\n  help: --force replaces it; --against {} says what is between it and what the command does",
                    as_reference(place)
                ),
                io::ErrorKind::NotFound => "\n  help: make its directory first".to_owned(),
                _ => String::new(),
            };
            anyhow!("{shown} cannot be written: {error}{help}")
        })?;
        let place = output.file().map(|_| place);
        let beside = place.filter(|_| baseline).and_then(beside);
        let baseline = beside.map(|(beside, name)| {
            let file = NamedFile::open(&beside, kind).map_err(|error| {
                let help = match error.kind() {
                    io::ErrorKind::AlreadyExists => {
                        "\n  help: --force replaces both; or name the profile otherwise"
                    }
                    _ => "",
                };
                anyhow!(
                    "{}, the baseline of {shown}, cannot be written: {error}{help}",
                    beside.display()
                )
            })?;
            let place = beside;
            anyhow::Ok(Baseline { place, name, file })
        });
        Ok(Self {
            place,
            profile: Some(output),
            baseline: baseline.transpose()?,
        })
    }

    /// Whether the profile goes to standard output.
    pub fn is_standard_output(&self) -> bool {
        self.profile.is_none()
    }

    /// The name of the baseline, as the profile is to have it.
    pub fn baseline(&self) -> Option<&str> {
        self.baseline.as_ref().map(|baseline| &*baseline.name)
    }

    /// Writes the profile, or prints it; and its baseline, both or neither.
    pub fn write(&self, profile: &str, baseline: Option<&str>) -> anyhow::Result<()> {
        let Some(output) = &self.profile else {
            return Ok(print(profile.as_bytes())?);
        };
        let both = self.baseline.as_ref().zip(baseline).zip(output.file());
        let written = match both {
            Some(((beside, baseline), file)) => output::write_all(&[
                (&beside.file, baseline.as_bytes()),
                (file, profile.as_bytes()),
            ]),
            None => (output.write(profile.as_bytes())).map_err(|error| (1, error)),
        };
        written.map_err(|(number, error)| {
            let baseline = self.baseline.as_ref().filter(|_| number == 0);
            let place = baseline.map(|baseline| baseline.place.display().to_string());
            let named = || {
                self.place
                    .map_or("the profile".into(), |place| place.display().to_string())
            };
            anyhow!(
                "{} could not be written: {error}",
                place.unwrap_or_else(named)
            )
        })
    }
}

/// Beside `skill.yaml`, `skill.baseline.json`. `None`: a profile cannot name it.
fn beside(profile: &Path) -> Option<(PathBuf, String)> {
    let mut name = OsString::from(profile.file_stem()?);
    name.push(".baseline.json");
    Some((profile.with_file_name(&name), name.into_string().ok()?))
}

/// A profile's file as it is named on a command line: what could be an option or a built-in profile has its directory.
pub(super) fn as_reference(place: &Path) -> String {
    let mut place = place.display().to_string();
    if !Named::is_file(&place) || place.starts_with('-') {
        place.insert_str(0, "./");
    }
    quoted(&place)
}
