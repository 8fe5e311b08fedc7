//! What is known beside what was seen: the host that it was seen on, what the run used, and what is wanted.

use std::path::{Path, PathBuf};

/// What a grant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// To read.
    Read,
    /// To write, and read.
    Write,
    /// To execute, and read.
    Execute,
}

/// What lies at a path of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is, links followed.
    pub kind: Kind,
    /// Where links lead: the path itself where there are none.
    pub real: PathBuf,
    /// Whether it is a file that may be executed.
    pub executable: bool,
    /// What its first line names as its interpreter.
    pub interpreter: Option<PathBuf>,
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A device, a socket or anything else.
    Other,
}

/// What the default set of system calls says to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has it, as every other set does: no program starts without.
    Start,
    /// It has it.
    Granted,
    /// A profile can add it.
    OnRequest,
    /// No profile can.
    Never,
}

/// The host, as it is without the run: what the run made there is not.
pub trait Host {
    /// What lies at a path. `None`: nothing.
    fn look(&self, path: &Path) -> Option<Fact>;

    /// How many files are below a directory, counted up to `most`.
    fn files_below(&self, directory: &Path, most: usize) -> usize;

    /// Why policy never grants this path with all that is below it. What it would ask a person about is not refused.
    fn refused(&self, access: Access, path: &Path) -> Option<String>;

    /// What the default set says to a system call. `None`: there is no such call.
    fn standing(&self, call: &str) -> Option<Standing>;
}

/// Where a command ran, or will.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// `$WORK`, free of links.
    pub work: &'a Path,
    /// `$HOME`, free of links.
    pub home: &'a Path,
    /// `$SKILL`, free of links: the directory that the profile will lie in.
    pub skill: Option<&'a Path>,
    /// The directories of the sandbox's `PATH`.
    pub path: &'a [PathBuf],
    /// The host.
    pub host: &'a dyn Host,
}

/// What runs used at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory of all processes, in bytes.
    pub memory: Option<u64>,
    /// Processes and threads at one time.
    pub tasks: Option<u64>,
    /// Wall time, in milliseconds.
    pub time: Option<u64>,
    /// Whether a run was ended from outside: it might have taken longer.
    pub interrupted: bool,
}

/// The network that runs were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// None but their own loopback.
    #[default]
    Closed,
    /// The host's.
    Host,
}

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `syscalls: {base: learned}` with the calls that were seen.
    pub tight: bool,
    /// The network that the runs had.
    pub network: Network,
    /// Variables that were passed on.
    pub pass: Vec<String>,
    /// The profile's name.
    pub name: Option<String>,
    /// Today, for the head of the profile.
    pub date: String,
}

impl<'a> Surroundings<'a> {
    /// Without a home directory that is the whole host, as users of services have.
    pub(crate) fn checked(self) -> Surroundings<'a> {
        let home = match self.home.parent() {
            Some(_) => self.home,
            None => Path::new("/nonexistent"),
        };
        Self { home, ..self }
    }
}

impl Surroundings<'_> {
    /// `$WORK` or `$SKILL`, the inner one, if a path lies in it. One that has the home directory in it is no project's.
    pub(crate) fn own_directory(&self, path: &Path) -> Option<&Path> {
        [Some(self.work), self.skill]
            .into_iter()
            .flatten()
            .filter(|directory| path.starts_with(directory) && !self.home.starts_with(directory))
            .max_by_key(|directory| directory.components().count())
    }

    /// The path with the system's links to `/usr` followed, as each sandbox has them.
    pub(crate) fn merged(&self, path: &Path) -> PathBuf {
        let mut parts = path.components().skip(1);
        let Some(top) = parts.next() else {
            return path.to_owned();
        };
        let top = Path::new("/").join(top);
        const LINKS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
        if LINKS.iter().any(|link| top == Path::new(link))
            && let Some(fact) = self.host.look(&top)
        {
            // Not `join`, which would add a slash to a path without more parts.
            return fact.real.components().chain(parts).collect();
        }
        path.to_owned()
    }

    /// Where a path leads, if it leads anywhere.
    pub(crate) fn real(&self, path: &Path) -> Option<PathBuf> {
        let fact = path.is_absolute().then(|| self.host.look(path))?;
        fact.map(|fact| fact.real)
    }

    /// Whether there is a directory at a path.
    pub(crate) fn is_directory(&self, path: &Path) -> bool {
        matches!(self.host.look(path), Some(fact) if fact.kind == Kind::Directory)
    }

    /// Why a path is a secret. A directory that only contains one is none.
    pub(crate) fn secret(&self, access: Access, path: &Path) -> Option<String> {
        let why = self.host.refused(access, path)?;
        let inside = || self.host.refused(access, &path.join("-")).is_some();
        (!self.is_directory(path) || inside()).then_some(why)
    }

    /// Whether a path is a program in a directory of the sandbox's `PATH`.
    pub(crate) fn is_program(&self, path: &Path) -> bool {
        let in_path = |directory: &PathBuf| Some(self.merged(directory).as_path()) == path.parent();
        self.path.iter().any(in_path) && self.host.look(path).is_some_and(|fact| fact.executable)
    }

    /// The program that a name leads to in the sandbox's `PATH`: as `PATH` has it, and links followed.
    pub(crate) fn look_up(&self, name: &str) -> Option<(PathBuf, Fact)> {
        self.path.iter().find_map(|directory| {
            let path = directory.join(name);
            let fact = self.host.look(&path)?;
            fact.executable.then(|| (self.merged(&path), fact))
        })
    }
}
