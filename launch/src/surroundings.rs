//! What an approval is bound to beside the request: a command of the same words can do something else elsewhere, with other
//! variables, or when a script that it names was changed.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aegis_audit::approvals::{Surroundings, to_review};
use aegis_policy::{Decision, Hash, HostPath, Policy, Request, What};
use aegis_sys::files;

/// So much of a file is read; of a longer one the length counts too.
const READ: u64 = 16 << 20;

/// What belongs to the system, changes with it, and is not read.
const SYSTEM: &str = "/usr";

/// The surroundings of a run, for what is to be reviewed.
pub(crate) fn of(policy: &Policy, request: &Request, decision: &Decision) -> Surroundings {
    let mut surroundings = Surroundings {
        work: request.context.work.clone(),
        ..Surroundings::default()
    };
    for asked in to_review(policy, request, decision) {
        if let What::Environment { name } = asked.what {
            let value = std::env::var_os(&name).map(|value| HostPath::from(value.as_os_str()));
            surroundings.variables.insert(name, value);
        }
    }
    for word in request.what.command() {
        for path in paths(word, request) {
            if let Some(hash) = contents(&path) {
                surroundings.files.insert(path.as_path().into(), hash);
            }
        }
    }
    surroundings
}

/// The files that a word of the command may name: from the working directory, or of the skill.
fn paths(word: &HostPath, request: &Request) -> Vec<PathBuf> {
    let context = &request.context;
    let places = std::iter::once(&context.work).chain(&context.skill);
    let path = |path: &HostPath| Path::new(OsStr::from_bytes(path.as_bytes())).to_owned();
    let named = places.map(|place| path(place).join(path(word)));
    let found = named.filter_map(|path| path.canonicalize().ok());
    let mut found: Vec<PathBuf> = found.filter(|path| !path.starts_with(SYSTEM)).collect();
    found.dedup();
    found
}

/// The hash of a regular file's contents. `None`: there is none.
fn contents(path: &Path) -> Option<Hash> {
    let file = files::open_regular(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut bytes = length.to_ne_bytes().to_vec();
    file.take(READ).read_to_end(&mut bytes).ok()?;
    Some(Hash::of(&bytes))
}
