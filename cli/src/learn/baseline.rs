//! The baseline: what the runs did, as a file beside the profile.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use aegis_learn::{Around, Baseline};
use aegis_observation::Observation;
use aegis_profile::{BaselineFile, Hash};
use aegis_sys::private::Put;

use super::output;

/// A baseline that is to be written.
pub(super) struct ToWrite {
    place: PathBuf,
    json: String,
    /// As the profile names it.
    pub named: BaselineFile,
}

/// Beside `skill.yaml`, `skill.baseline.json`. `None`: a profile cannot name it.
pub(super) fn place(profile: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(profile.file_stem()?);
    name.push(".baseline.json");
    name.to_str()?;
    Some(profile.with_file_name(name))
}

/// What these runs did, as it is to be written beside a profile.
pub(super) fn of(seen: &[Observation], around: &Around<'_>, profile: &Path) -> Option<ToWrite> {
    let place = place(profile)?;
    let json = Baseline::of(seen, around).to_json();
    let named = BaselineFile {
        file: place.file_name()?.to_str()?.to_owned(),
        hash: Hash::of(json.as_bytes()).to_string(),
    };
    Some(ToWrite { place, json, named })
}

impl ToWrite {
    /// Writes it.
    pub fn write(&self, how: Put) -> anyhow::Result<()> {
        output::put(&self.place, &self.json, how)
    }
}
