//! The host, as is asked about it when what was seen is held against a profile.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegis_launch::learning::View;
use aegis_learn::{Access, Fact, Host, Kind, Standing};
use aegis_observation::{LONGEST, Observation};
use aegis_runtime::facts::{self, SCRIPT};
use aegis_runtime::plan::access;
use aegis_runtime::seccomp::{self, Action, Arch, Base, Filter, SyscallSpec};
use aegis_sys::files;
use anyhow::{anyhow, ensure};

/// This host, under a policy or none.
pub(crate) struct ThisHost<'v> {
    view: Option<&'v View>,
    default: Filter,
    start: Filter,
}

impl<'v> ThisHost<'v> {
    /// Under the policy of `view`. Without one nothing is a secret.
    pub fn new(view: Option<&'v View>) -> Self {
        let filter =
            |base| seccomp::filter_for(&SyscallSpec::new(base)).expect("a base alone is a filter");
        Self {
            view,
            default: filter(Base::Default),
            start: filter(Base::Learned),
        }
    }
}

impl Host for ThisHost<'_> {
    fn look(&self, path: &Path) -> Option<Fact> {
        let real = fs::canonicalize(path).ok()?;
        let found = fs::metadata(&real).ok()?;
        let kind = match () {
            () if found.is_file() => Kind::File,
            () if found.is_dir() => Kind::Directory,
            () => Kind::Other,
        };
        let executable = kind == Kind::File && found.permissions().mode() & 0o111 != 0;
        let interpreter = executable.then(|| interpreter(&real)).flatten();
        Some(Fact {
            kind,
            real,
            executable,
            interpreter,
        })
    }

    fn files_below(&self, directory: &Path, most: usize) -> usize {
        let (mut count, mut looked_at) = (0, 0);
        let mut ahead = vec![directory.to_owned()];
        while let Some(directory) = ahead.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => ahead.push(entry.path()),
                    _ => count += 1,
                }
                looked_at += 1;
                // A tree of empty directories is not walked to its end.
                if count >= most || looked_at >= 16 * most {
                    return most;
                }
            }
        }
        count
    }

    fn refused(&self, access: Access, path: &Path) -> Option<String> {
        let access = match access {
            Access::Read => access::Access::Read,
            Access::Write => access::Access::Write,
            Access::Execute => access::Access::Exec,
        };
        self.view?.refused(access, path)
    }

    fn standing(&self, call: &str) -> Option<Standing> {
        let number = Arch::native().number(call)?;
        let granted = |filter: &Filter| {
            filter.rules.get(number).is_some_and(|rule| {
                let is_granted = |action: Action| matches!(action, Action::Allow | Action::Notify);
                rule.otherwise == Action::Allow || rule.arms.iter().any(|arm| is_granted(arm.then))
            })
        };
        Some(match () {
            () if granted(&self.start) => Standing::Start,
            () if granted(&self.default) => Standing::Granted,
            () if seccomp::may_be_allowed(call) => Standing::OnRequest,
            () => Standing::Never,
        })
    }
}

/// What the first line of a script names. Nothing but a regular file is opened.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut start = [0; SCRIPT];
    let length = files::open_regular(path).ok()?.read(&mut start).ok()?;
    let (name, _) = facts::interpreter(&start[..length])?;
    Some(name.to_owned())
}

/// Reads a saved observation: a file, or `-` for standard input.
pub(crate) fn observation(file: &Path) -> anyhow::Result<Observation> {
    let is_input = file == Path::new("-");
    let shown = match is_input {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let opened: io::Result<Box<dyn io::Read>> = match is_input {
        true => Ok(Box::new(io::stdin())),
        false => files::open_regular(file).map(|file| Box::new(file) as _),
    };
    let mut json = Vec::new();
    let read = opened.and_then(|opened| opened.take(LONGEST + 1).read_to_end(&mut json));
    read.map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "\n  help: aegis-run --record FILE saves one",
            _ => "",
        };
        anyhow!("{shown} cannot be read: {error}{help}")
    })?;
    ensure!(
        json.len() as u64 <= LONGEST,
        "{shown} is longer than 256 MiB: it is no saved observation"
    );
    Observation::from_json(&json).map_err(|error| {
        anyhow!("{shown} is no observation that `aegis-run --record` has saved: {error}")
    })
}
