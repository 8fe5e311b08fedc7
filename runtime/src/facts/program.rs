//! Finding the command and the programs that a profile names, as `execvp(3)` and
//! `execve(2)` ("Interpreter scripts") do.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::paths::{self, Kind, Resolved, Trust};
use crate::error::{Error, Failure};
use crate::types::{Fault, Step};
use aegis_sys::files;

/// The result of looking a name up in `PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Found at this path (links not followed), which leads here.
    Found {
        /// As `PATH` has it.
        path: PathBuf,
        /// Where it leads.
        resolved: Resolved,
    },
    /// A file of that name exists but cannot be used.
    Unusable(Fault),
    /// No directory of `PATH` has it.
    Absent,
}

impl Lookup {
    /// Where the name leads, if it was found.
    pub fn resolved(&self) -> Option<&Resolved> {
        match self {
            Self::Found { resolved, .. } => Some(resolved),
            Self::Unusable(_) | Self::Absent => None,
        }
    }
}

/// The command, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// The arguments, the name first, as they will be passed.
    pub argv: Vec<OsString>,
    /// The file to execute, links not followed.
    pub path: PathBuf,
    /// Where that leads.
    pub resolved: Resolved,
    /// The interpreters that its first line asks for, outermost first.
    pub interpreters: Vec<Resolved>,
}

/// The command exists but cannot be used; or it could not be looked at, which is not its fault.
fn unusable(name: &OsString, fault: &Fault) -> Error {
    match fault {
        Fault::Other { path, errno }
            if [libc::EMFILE, libc::ENFILE, libc::ENOMEM].contains(errno) =>
        {
            let cause = std::io::Error::from_raw_os_error(*errno);
            Failure::on(Step::Command, path)(cause).into()
        }
        fault => Error::CommandNotExecutable {
            name: name.clone(),
            reason: fault.to_string(),
        },
    }
}

fn executable(found: &Resolved) -> bool {
    found.kind == Kind::File && found.mode & 0o111 != 0
}

/// Looks `name` up in the directories of `path`, like `execvp(3)`.
pub fn look_up(name: &str, path: &OsStr, trust: &Trust) -> Lookup {
    let mut unusable = None;
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        if directory.first() != Some(&b'/') {
            // An empty or relative entry means the current directory: never searched here.
            continue;
        }
        let candidate = Path::new(OsStr::from_bytes(directory)).join(name);
        match paths::resolve(&candidate, trust) {
            Ok(resolved) if executable(&resolved) => {
                return Lookup::Found {
                    path: candidate,
                    resolved,
                };
            }
            Err(Fault::Missing(_) | Fault::NotADirectory(_)) => {}
            other => {
                let fault = other.err().unwrap_or(Fault::NotExecutable(candidate));
                unusable.get_or_insert(fault);
            }
        }
    }
    unusable.map_or(Lookup::Absent, Lookup::Unusable)
}

/// Finds the command as a shell would: a name with a slash is a path from `work`, any other is
/// looked up in `search`.
pub fn command(
    argv: &[OsString],
    work: &Path,
    search: &OsStr,
    trust: &Trust,
) -> Result<ProgramFacts, Error> {
    let name = argv.first().ok_or(Error::NoCommand)?;
    let not_found = |name: &OsStr, hint: String| Error::CommandNotFound {
        name: name.into(),
        hint,
    };
    let not_executable = |reason: String| Error::CommandNotExecutable {
        name: name.clone(),
        reason,
    };
    if name.is_empty() {
        return Err(not_found("''".as_ref(), "the name is empty".into()));
    }
    let (path, resolved) = if name.as_bytes().contains(&b'/') {
        let path = work.join(name);
        match paths::resolve(&path, trust) {
            Ok(resolved) => (path, resolved),
            Err(fault @ Fault::Missing(_)) => return Err(not_found(name, fault.to_string())),
            Err(fault) => return Err(unusable(name, &fault)),
        }
    } else {
        let hint = || "the name is not UTF-8; give a path".into();
        let text = (name.to_str()).ok_or_else(|| not_found(name, hint()))?;
        match look_up(text, search, trust) {
            Lookup::Found { path, resolved } => (path, resolved),
            Lookup::Unusable(fault) => return Err(unusable(name, &fault)),
            Lookup::Absent => return Err(not_found(name, absent(text, search, trust))),
        }
    };
    if resolved.kind == Kind::Directory {
        return Err(not_executable("it is a directory".into()));
    }
    if !executable(&resolved) {
        return Err(not_executable(format!(
            "{} has no execute permission (chmod +x it, or name its interpreter)",
            resolved.real.display()
        )));
    }
    // Inside, a directory that `..` leaves need not exist.
    let path = match path.components().any(|part| part == Component::ParentDir) {
        true => resolved.real.clone(),
        false => path,
    };
    Ok(ProgramFacts {
        argv: argv.to_vec(),
        path,
        interpreters: interpreters(&resolved, search, trust).map_err(not_executable)?,
        resolved,
    })
}

/// What to do about a command that is in no directory of `search`.
fn absent(name: &str, search: &OsStr, trust: &Trust) -> String {
    match std::env::var_os("PATH").map(|path| look_up(name, &path, trust)) {
        Some(Lookup::Found { path, .. }) => format!(
            "your own PATH has it at {}: give that path, or pass PATH on with `environment: {{pass: [PATH]}}`",
            path.display()
        ),
        _ => format!(
            "it is in no directory of the sandbox's PATH, {}",
            search.display()
        ),
    }
}

/// Follows `#!` lines, as deep as the kernel does (5), and `env NAME` to the program that env will find.
fn interpreters(
    command: &Resolved,
    search: &OsStr,
    trust: &Trust,
) -> Result<Vec<Resolved>, String> {
    let mut list = Vec::new();
    for _ in 0..5 {
        let file = list.last().unwrap_or(command).real.clone();
        let Some((path, argument)) = shebang(&file) else {
            break;
        };
        let asked = || format!("its first line asks for {}", path.display());
        let found =
            paths::resolve(&path, trust).map_err(|fault| format!("{}, and {fault}", asked()))?;
        if !executable(&found) {
            return Err(format!("{}, which is not an executable file", asked()));
        }
        list.push(found);
        if path.file_name() == Some(OsStr::new("env")) {
            let Some(program) = env_program(&argument) else {
                break;
            };
            let Lookup::Found { resolved, .. } = look_up(&program, search, trust) else {
                return Err(format!(
                    "the first line of {} asks env for {program:?}, which is not in the sandbox's PATH",
                    file.display()
                ));
            };
            list.push(resolved);
        }
    }
    Ok(list)
}

/// So much of a script the kernel reads to find its interpreter (`BINPRM_BUF_SIZE`).
pub const SCRIPT: usize = 256;

/// The interpreter and its argument that the beginning of a script (`#!`) names: `fs/binfmt_script.c`.
pub fn interpreter(start: &[u8]) -> Option<(&Path, &[u8])> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let line = start.strip_prefix(b"#!")?;
    let line = line.split(|byte| matches!(byte, b'\n' | 0)).next()?;
    let line = line.trim_ascii();
    let mut words = line.splitn(2, is_blank);
    let path = words.next().filter(|path| !path.is_empty())?;
    let argument = words.next().unwrap_or_default().trim_ascii();
    Some((Path::new(OsStr::from_bytes(path)), argument))
}

fn shebang(file: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let mut start = Vec::new();
    let file = files::open_regular(file).ok()?;
    file.take(SCRIPT as u64).read_to_end(&mut start).ok()?;
    let (path, argument) = interpreter(&start).filter(|(path, _)| path.is_absolute())?;
    Some((path.to_path_buf(), argument.to_vec()))
}

/// The program that `env ARGUMENT` runs: the first word that is neither an option nor NAME=VALUE.
fn env_program(argument: &[u8]) -> Option<String> {
    let argument = std::str::from_utf8(argument).ok()?;
    argument
        .split_ascii_whitespace()
        .find(|word| !word.starts_with('-') && !word.contains('='))
        .map(str::to_owned)
}
