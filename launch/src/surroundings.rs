//! What an approval is bound to beside the request: a command of the same words can do something else elsewhere, with other
//! variables, or when a script that it names was changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aegis_audit::approvals::{Surroundings, to_review};
use aegis_policy::{Decision, Hash, HostPath, Policy, Request, What};
use aegis_sys::files;

/// So much of a file is read. A longer one is told from others by what the kernel changes with it.
const READ: u64 = 16 << 20;

/// What belongs to the system, changes with it, and is not read.
const SYSTEM: &str = "/usr";

/// The surroundings of a run of `program`, for what is to be reviewed.
pub(crate) fn of(
    policy: &Policy,
    request: &Request,
    decision: &Decision,
    program: &Path,
) -> Surroundings {
    let mut surroundings = Surroundings {
        files: files(request, program),
        variables: BTreeMap::new(),
        work: request.context.work.clone(),
    };
    for asked in to_review(policy, request, decision) {
        if let What::Environment { name } = asked.what {
            let value = std::env::var_os(&name).map(|value| HostPath::from(value.as_os_str()));
            surroundings.variables.insert(name, value);
        }
    }
    surroundings
}

/// One of the files that is another one by now: changed, or not there before.
pub(crate) fn changed(
    before: &Surroundings,
    request: &Request,
    program: &Path,
) -> Option<HostPath> {
    let now = files(request, program);
    let mut all = before.files.keys().chain(now.keys());
    all.find(|path| before.files.get(path) != now.get(path))
        .cloned()
}

/// The program, wherever it was found, and the files that the command's words name.
fn files(request: &Request, program: &Path) -> BTreeMap<HostPath, Hash> {
    let words = request.what.command().iter();
    let named = words.flat_map(|word| named(word, request));
    let program = program.canonicalize().ok();
    // Each is read once: an absolute path is the same from wherever it is named.
    let paths: BTreeSet<PathBuf> = (named.chain(program))
        .filter(|path| !path.starts_with(SYSTEM))
        .collect();
    paths
        .into_iter()
        .filter_map(|path| Some((path.as_path().into(), contents(&path)?)))
        .collect()
}

/// The files that a word of the command may name: from the working directory, or of the skill.
fn named(word: &HostPath, request: &Request) -> impl Iterator<Item = PathBuf> {
    let context = &request.context;
    let places = std::iter::once(&context.work).chain(&context.skill);
    let path = |path: &HostPath| Path::new(OsStr::from_bytes(path.as_bytes())).to_owned();
    let named = places.map(move |place| path(place).join(path(word)));
    named.filter_map(|path| path.canonicalize().ok())
}

/// The hash of a regular file's contents. `None`: there is none.
fn contents(path: &Path) -> Option<Hash> {
    let file = files::open_regular(path).ok()?;
    let found = file.metadata().ok()?;
    let mut bytes = found.len().to_ne_bytes().to_vec();
    if found.len() > READ {
        let (seconds, nanoseconds) = (found.ctime(), found.ctime_nsec());
        let which = [
            found.dev().cast_signed(),
            found.ino().cast_signed(),
            seconds,
            nanoseconds,
        ];
        bytes.extend(which.map(i64::to_ne_bytes).as_flattened());
    }
    file.take(READ).read_to_end(&mut bytes).ok()?;
    Some(Hash::of(&bytes))
}
