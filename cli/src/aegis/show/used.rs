//! What a run was seen to do, by the lines of its profile.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aegis_learn::{Did, Surroundings, Use, uses};
use aegis_observation::{Address, Counts, Losses, Observation, Refused, Text};
use aegis_policy::HostPath;
use aegis_profile::{Files, Loaded, Named};
use aegis_runtime::facts::DEFAULT_PATH;
use anyhow::bail;
use serde::Serialize;

use super::record::Recorded;
use crate::aegis::audit::show::name_of;
use crate::host::ThisHost;

/// What was seen, as far as it is shown.
#[derive(Debug, Serialize)]
pub(in crate::aegis) struct Observed {
    /// The file that has it.
    pub file: PathBuf,
    /// The lines of the profile, with what each was used for. `None`: which lines it had is not known.
    pub grants: Option<Vec<Used>>,
    /// Why that is not known.
    pub without_grants: Option<String>,
    /// Programs that were executed.
    pub executed: Vec<String>,
    /// Addresses that were used, in words.
    pub addresses: Vec<String>,
    /// Calls that were refused, with the path that they named, and what the kernel refused since the policy blocks it.
    pub refused: Vec<String>,
    /// How often and how much.
    pub counts: Counts,
    /// What was seen and lost.
    pub losses: Losses,
}

/// A line of the profile.
#[derive(Debug, Serialize)]
pub(in crate::aegis) struct Used {
    /// Where it is: file, line, column.
    pub from: String,
    /// The grant.
    pub grant: String,
    /// What was done by it, and to what. Empty: it was not used.
    pub used: BTreeMap<&'static str, Vec<String>>,
    /// Whether a built-in profile has the line.
    #[serde(skip)]
    pub built_in: bool,
}

/// Holds what was seen against the profile of the run.
pub(super) fn of(
    file: &Path,
    seen: &Observation,
    profile: Option<&str>,
    record: Option<&Recorded>,
) -> anyhow::Result<Observed> {
    let (grants, without_grants) = match load(seen, profile, record)? {
        Ok(loaded) => (Some(grants(seen, &loaded, record)), None),
        Err(why) => (None, Some(why)),
    };
    let refusal = |named: &aegis_observation::Named| {
        let error = (named.error.as_deref()).filter(|_| named.is_refused())?;
        Some(format!("{} {}: {error}", named.call, named.path))
    };
    let address = |address: &Address| format!("{} {}", name_of(address.how), address.of);
    let path = |executed: &aegis_observation::Executed| executed.path.to_string();
    let kept_out = |refused: &Refused| match refused {
        Refused::Executed(executed) => format!("execute {}: by policy", executed.path),
        Refused::Address(used) => format!("{}: by policy", address(used)),
    };
    let executed: BTreeSet<String> = seen.executed.iter().map(path).collect();
    Ok(Observed {
        file: file.to_owned(),
        grants,
        without_grants,
        executed: executed.into_iter().collect(),
        addresses: seen.addresses.iter().map(address).collect(),
        refused: (seen.named.iter().filter_map(refusal))
            .chain(seen.refused.iter().map(kept_out))
            .collect(),
        counts: seen.counts,
        losses: seen.losses.clone(),
    })
}

/// The profile that the run had; or why it is not known.
fn load(
    seen: &Observation,
    named: Option<&str>,
    record: Option<&Recorded>,
) -> anyhow::Result<Result<Loaded, String>> {
    let hashes: Vec<&str> = seen.runs.iter().map(|run| run.profile.as_str()).collect();
    let is_it = |loaded: &Loaded| {
        let hash = loaded.profile.hash().to_string();
        hashes.iter().all(|known| *known == hash)
    };
    if let Some(named) = named {
        let loaded = aegis_profile::load(named, &Files)?;
        if !is_it(&loaded) {
            bail!(
                "the run had another profile than {named} is now: the hash differs\n  help: name the file as it was, without changes and --set"
            );
        }
        return Ok(Ok(loaded));
    }
    let help = "--profile FILE names it";
    let Some(start) = record.and_then(|record| record.start.as_ref()) else {
        return Ok(Err(format!(
            "no record says which file has the profile: {help}"
        )));
    };
    let name = start.file.as_deref().unwrap_or(&start.profile);
    let place = place(name, record);
    Ok(match aegis_profile::load(&place, &Files) {
        Ok(loaded) if is_it(&loaded) => Ok(loaded),
        Ok(_) => Err(format!(
            "{name} is not any more as it was, or --set changed it: {help}"
        )),
        Err(_) => Err(format!("{name} cannot be read: {help}")),
    })
}

/// Where the profile is that was named so, in the directory of the run. A built-in one is its name.
pub(in crate::aegis) fn place(name: &str, record: Option<&Recorded>) -> String {
    match record.and_then(|record| record.context.as_ref()) {
        Some(context) if Named::is_file(name) => {
            let work = context.work.to_string();
            let place: PathBuf = Path::new(&work).join(name).components().collect();
            place.to_string_lossy().into_owned()
        }
        _ => name.to_owned(),
    }
}

fn grants(seen: &Observation, loaded: &Loaded, record: Option<&Recorded>) -> Vec<Used> {
    let context = record.and_then(|record| record.context.as_ref());
    let path = |path: &HostPath| PathBuf::from(OsStr::from_bytes(path.as_bytes()));
    let directory = || {
        seen.runs
            .first()
            .map(|run| run.directory.as_path().to_owned())
    };
    let work = context
        .map(|context| path(&context.work))
        .or_else(directory);
    let home = context.map(|context| path(&context.home));
    let home = home.unwrap_or_else(|| aegis_runtime::facts::this_caller().home);
    let host = ThisHost::new(None);
    let paths: Vec<PathBuf> = DEFAULT_PATH.split(':').map(PathBuf::from).collect();
    let around = Surroundings {
        work: &work.unwrap_or_default(),
        home: &home,
        skill: loaded.skill_dir.as_deref(),
        path: &paths,
        host: &host,
    };
    let used = |used: Use| {
        let done = |(did, paths): (&Did, &BTreeSet<PathBuf>)| {
            let paths = (paths.iter()).map(|path| Text::from(path.as_os_str()).to_string());
            (did.word(), paths.collect())
        };
        Used {
            from: used.origin.to_string(),
            grant: format!("{} {}", used.key.name(), used.value),
            used: used.evidence.done.iter().map(done).collect(),
            built_in: used.origin.file.starts_with("builtin:"),
        }
    };
    uses(seen, &loaded.profile, &around)
        .into_iter()
        .map(used)
        .collect()
}
