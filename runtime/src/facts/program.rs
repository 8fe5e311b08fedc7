//! Finding the command and the programs that a profile names, as `execvp(3)` and
//! `execve(2)` ("Interpreter scripts") do.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::paths::{self, Kind, Resolved, Trust};
use crate::error::{Error, Failure};
use crate::types::{Fault, Step};

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
    /// A file of that name is there but cannot be used.
    Unusable {
        /// As `PATH` has it.
        path: PathBuf,
        /// Why.
        fault: Option<Fault>,
    },
    /// No directory of `PATH` has it.
    Absent,
}

/// The command, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// The arguments, the name first, as they will be passed.
    pub argv: Vec<OsString>,
    /// The file to execute, links not followed.
    pub path: PathBuf,
    /// Where that leads.
    pub resolved: Resolved,
    /// The interpreters that its first line asks for, outermost first: path and where it leads.
    pub interpreters: Vec<Interpreter>,
}

/// An interpreter named by `#!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// As written (or as `PATH` has it, for `env NAME`).
    pub path: PathBuf,
    /// Where it leads.
    pub resolved: Resolved,
}

/// The command is there and cannot be used; or could not be looked at, which is no fault of its own.
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

/// Looks `name` up in the directories of `path`, as `execvp(3)`.
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
            Ok(_) => {
                unusable.get_or_insert((candidate, None));
            }
            Err(Fault::Missing(_) | Fault::NotADirectory(_)) => {}
            Err(fault) => {
                unusable.get_or_insert((candidate, Some(fault)));
            }
        }
    }
    match unusable {
        Some((path, fault)) => Lookup::Unusable { path, fault },
        None => Lookup::Absent,
    }
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
    if name.is_empty() {
        return Err(Error::CommandNotFound {
            name: "''".into(),
            hint: "the name is empty".into(),
        });
    }
    let (path, resolved) = if name.as_bytes().contains(&b'/') {
        let path = work.join(name);
        match paths::resolve(&path, trust) {
            Ok(resolved) => (path, resolved),
            Err(Fault::Missing(at)) => {
                return Err(Error::CommandNotFound {
                    name: name.clone(),
                    hint: format!("{} does not exist", at.display()),
                });
            }
            Err(fault) => return Err(unusable(name, &fault)),
        }
    } else {
        let text = name.to_str().ok_or_else(|| Error::CommandNotFound {
            name: name.clone(),
            hint: "the name is not UTF-8; give a path".into(),
        })?;
        match look_up(text, search, trust) {
            Lookup::Found { path, resolved } => (path, resolved),
            Lookup::Unusable {
                fault: Some(fault), ..
            } => return Err(unusable(name, &fault)),
            Lookup::Unusable { path, fault: None } => {
                return Err(Error::CommandNotExecutable {
                    name: name.clone(),
                    reason: format!("{} is not an executable file", path.display()),
                });
            }
            Lookup::Absent => return Err(absent(text, search, trust)),
        }
    };
    if resolved.kind == Kind::Directory {
        return Err(Error::CommandNotExecutable {
            name: name.clone(),
            reason: "it is a directory".into(),
        });
    }
    if !executable(&resolved) {
        return Err(Error::CommandNotExecutable {
            name: name.clone(),
            reason: format!(
                "{} has no execute permission (chmod +x it, or name its interpreter)",
                resolved.real.display()
            ),
        });
    }
    // Inside, a directory that `..` climbs out of need not exist.
    let path = if path
        .components()
        .any(|part| part == std::path::Component::ParentDir)
    {
        resolved.real.clone()
    } else {
        path
    };
    let interpreters = interpreters(&resolved, search, trust, name)?;
    Ok(ProgramFacts {
        argv: argv.to_vec(),
        path,
        resolved,
        interpreters,
    })
}

fn absent(name: &str, search: &OsStr, trust: &Trust) -> Error {
    let elsewhere = std::env::var_os("PATH").map(|path| look_up(name, &path, trust));
    let hint = match elsewhere {
        Some(Lookup::Found { path, .. }) => format!(
            "your own PATH has it at {}: give that path, or pass PATH on with `environment: {{pass: [PATH]}}`",
            path.display()
        ),
        _ => format!(
            "it is in no directory of the sandbox's PATH, {}",
            search.display()
        ),
    };
    Error::CommandNotFound {
        name: name.into(),
        hint,
    }
}

/// Follows `#!` lines, as deep as the kernel does (5), and `env NAME` to the program it will find.
fn interpreters(
    command: &Resolved,
    search: &OsStr,
    trust: &Trust,
    name: &OsStr,
) -> Result<Vec<Interpreter>, Error> {
    let mut list = Vec::new();
    let mut file = command.real.clone();
    for _ in 0..5 {
        let Some((path, argument)) = shebang(&file) else {
            return Ok(list);
        };
        let fail = |reason: String| Error::CommandNotExecutable {
            name: name.to_os_string(),
            reason,
        };
        let line = file.clone();
        let resolved = paths::resolve(&path, trust).map_err(|fault| {
            fail(format!(
                "its first line asks for {}, and {fault}",
                path.display()
            ))
        })?;
        file = resolved.real.clone();
        let env = path.file_name() == Some(OsStr::new("env"));
        list.push(Interpreter { path, resolved });
        if env {
            let Some(program) = env_program(&argument) else {
                return Ok(list);
            };
            match look_up(&program, search, trust) {
                Lookup::Found { path, resolved } => {
                    file = resolved.real.clone();
                    list.push(Interpreter { path, resolved });
                }
                _ => {
                    return Err(fail(format!(
                        "the first line of {} asks env for {program:?}, which the sandbox's PATH has not",
                        line.display()
                    )));
                }
            }
        }
    }
    Ok(list)
}

/// The interpreter and its argument, when the file begins with `#!` (within 256 bytes, as
/// `BINPRM_BUF_SIZE`).
fn shebang(file: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let mut start = [0; 256];
    let mut length = 0;
    let mut file = std::fs::File::open(file).ok()?;
    while length < start.len() {
        match file.read(&mut start[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(_) => return None,
        }
        if length >= 2 && &start[..2] != b"#!" {
            return None;
        }
    }
    let line = start[..length].strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let end = line
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t'))
        .unwrap_or(line.len());
    let (path, argument) = line.split_at(end);
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    path.is_absolute()
        .then(|| (path, argument.trim_ascii().to_vec()))
}

/// The program that `env ARGUMENT` runs: the first word that is neither an option nor NAME=VALUE.
fn env_program(argument: &[u8]) -> Option<String> {
    let argument = std::str::from_utf8(argument).ok()?;
    argument
        .split_ascii_whitespace()
        .find(|word| !word.starts_with('-') && !word.contains('='))
        .map(str::to_owned)
}
