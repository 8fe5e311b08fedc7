//! Programs that only the caller's own `PATH` finds.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use aegis_launch::learning::View;
use aegis_observation::Observation;
use aegis_runtime::facts::DEFAULT_PATH;

/// The variable.
pub(super) const PATH: &str = "PATH";

/// The directories of the caller's `PATH` that a sandbox's own has not.
fn own_directories() -> Vec<PathBuf> {
    let path = std::env::var_os(PATH).unwrap_or_default();
    let usual: Vec<&Path> = DEFAULT_PATH.split(':').map(Path::new).collect();
    std::env::split_paths(&path)
        .filter(|directory| !usual.contains(&&**directory))
        .collect()
}

/// Whether a program is found in a directory that only the caller's `PATH` has: because no other has it, or because the
/// caller's comes first and may be executed.
pub(super) fn is_found(name: &OsStr, view: &View) -> bool {
    if name.as_encoded_bytes().contains(&b'/') {
        return false;
    }
    let found = |directory: PathBuf| Some(directory.join(name)).filter(|path| path.is_file());
    let own = own_directories().into_iter().find_map(found);
    let usual = DEFAULT_PATH.split(':').map(PathBuf::from).find_map(found);
    own.is_some_and(|own| usual.is_none() || view.may_execute(&own))
}

/// Whether a program was executed from a directory that only the caller's `PATH` has.
pub(super) fn is_needed(seen: &[Observation]) -> bool {
    let own = own_directories();
    let mut executed = seen.iter().flat_map(|seen| &seen.executed);
    executed.any(|executed| {
        let directory = executed.asked.as_path().parent();
        own.iter().any(|own| directory == Some(own))
    })
}
