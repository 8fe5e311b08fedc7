//! From what was seen to what is needed of the host: what every sandbox has of its own, and what failed, is left out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};

use aegis_observation::{Executed, Kind as Opened, Named, Observation, Text};

use crate::evidence::{About, Did, Evidence, Notes};
use crate::places;
use crate::surroundings::{Access, Kind, Surroundings};

/// Paths, each with why.
pub(crate) type Paths = BTreeMap<PathBuf, Evidence>;

/// A program that was executed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ran {
    /// What was named.
    pub asked: PathBuf,
    /// What the kernel executed: of a script, its interpreter.
    pub path: PathBuf,
}

/// What is needed of the host.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Files that are to be there: read, or looked at.
    pub read: Paths,
    /// Directories that were listed, entered or looked at.
    pub directories: Paths,
    /// What was written, made, renamed or removed.
    pub write: Paths,
    /// What was executed.
    pub programs: BTreeMap<Ran, Evidence>,
    /// Libraries that were opened, where a grant to read is none to map them.
    pub libraries: Paths,
    /// Devices beyond those of every sandbox.
    pub devices: Paths,
    /// What was made in the sandbox's own places, and is gone after the run.
    pub gone: Paths,
}

/// What a call that names a path does to it.
pub(crate) fn done_by(call: &str) -> Did {
    match call {
        "mkdir" | "mkdirat" | "rmdir" | "unlink" | "unlinkat" | "mknod" | "mknodat" | "rename"
        | "renameat" | "renameat2" | "link" | "linkat" | "symlink" | "symlinkat" => Did::Made,
        "creat" | "truncate" => Did::Wrote,
        "chmod" | "fchmodat" | "fchmodat2" | "chown" | "lchown" | "fchownat" | "utime"
        | "utimes" | "futimesat" | "utimensat" | "setxattr" | "lsetxattr" | "removexattr"
        | "lremovexattr" => Did::Changed,
        _ => Did::LookedAt,
    }
}

/// Errors that mean: it is not there.
pub(crate) fn is_absence(error: &str) -> bool {
    matches!(error, "ENOENT" | "ENOTDIR" | "ELOOP" | "ENAMETOOLONG")
}

/// Errors that mean: it may not be.
pub(crate) fn is_refusal(error: &str) -> bool {
    matches!(error, "EACCES" | "EPERM" | "EROFS")
}

/// An absolute path without `.` and `..`.
pub(crate) fn plain(text: &Text) -> Option<PathBuf> {
    let path = text.as_path();
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    // Names such as `pipe:[4]` are no paths.
    (path.is_absolute() && path.components().all(is_plain) && !text.as_bytes().contains(&0))
        // Repeated and trailing slashes are gone.
        .then(|| path.components().collect())
}

impl Needs {
    /// What several observations need together.
    pub fn of(seen: &[&Observation], around: &Surroundings<'_>, notes: &mut Notes) -> Self {
        let mut needs = Self::default();
        for (run, seen) in seen.iter().enumerate() {
            let mut of_run = Gathering {
                needs: &mut needs,
                around,
                notes,
                run,
            };
            seen.executed.iter().for_each(|ran| of_run.executed(ran));
            seen.opened.iter().for_each(|opened| of_run.opened(opened));
            seen.named.iter().for_each(|named| of_run.named(named));
        }
        needs
    }

    /// Whether a path lies in a cache that is written, and is therefore the sandbox's own, and empty at the start.
    pub fn is_own_cache(&self, path: &Path, home: &Path) -> bool {
        let written = |cache: &Path| {
            let mut after = self
                .write
                .range::<Path, _>((Bound::Included(cache), Bound::Unbounded));
            after
                .next()
                .is_some_and(|(path, _)| path.starts_with(cache))
        };
        places::cache(path, home).is_some_and(|cache| written(&cache))
    }
}

struct Gathering<'a, 'h> {
    needs: &'a mut Needs,
    around: &'a Surroundings<'h>,
    notes: &'a mut Notes,
    run: usize,
}

fn note(paths: &mut Paths, path: PathBuf, did: Did, run: usize) {
    let evidence = Evidence::of(did, &path, run);
    paths.entry(path).or_default().add(evidence);
}

impl Gathering<'_, '_> {
    fn executed(&mut self, ran: &Executed) {
        let (Some(asked), Some(path)) = (plain(&ran.asked).or(plain(&ran.path)), plain(&ran.path))
        else {
            let text = format!("executing {}, which has no path", ran.path);
            return self.notes.add(About::NotGranted, text);
        };
        let asked = self.around.merged(&asked);
        let evidence = Evidence::of(Did::Executed, &asked, self.run);
        let ran = Ran { asked, path };
        self.needs.programs.entry(ran).or_default().add(evidence);
    }

    fn opened(&mut self, opened: &aegis_observation::Opened) {
        let Some(path) = plain(&opened.path) else {
            return;
        };
        let asked = plain(&opened.asked).map(|asked| self.around.merged(&asked));
        if opened.deleted && !opened.read {
            return;
        }
        let is_directory = opened.kind == Opened::Directory;
        let did = match (is_directory, opened.write) {
            (true, _) => Did::Listed,
            (false, true) => Did::Wrote,
            (false, false) => Did::Read,
        };
        let through_link = asked.filter(|asked| *asked != path);
        if (opened.kind == Opened::Device || path.starts_with("/dev")) && !places::temporary(&path)
        {
            // What makes pseudo-terminals is in a sandbox's own `devpts`, and its name in `/dev` a link there.
            let path = match path.as_os_str() == "/dev/pts/ptmx" {
                true => PathBuf::from("/dev/ptmx"),
                false => path,
            };
            if !places::own(&path) {
                note(&mut self.needs.devices, path, did, self.run);
            }
            return;
        }
        // All of `/usr` may be mapped once anything in it is granted.
        if did == Did::Read && places::is_library(&path) && !path.starts_with("/usr") {
            note(
                &mut self.needs.libraries,
                path.clone(),
                Did::Mapped,
                self.run,
            );
        }
        self.add(path, did, is_directory);
        if let Some(link) = through_link
            && !is_directory
        {
            self.add(link, Did::Read, false);
        }
    }

    fn named(&mut self, named: &Named) {
        let Some(path) = plain(&named.path) else {
            return;
        };
        let path = self.around.merged(&path);
        if places::own(&path) {
            return;
        }
        let did = done_by(&named.call);
        match &named.error {
            None => {
                let is_directory = did == Did::LookedAt && self.around.is_directory(&path);
                // What a link leads to has to be there, too, for it to be followed.
                let real = self
                    .around
                    .real(&path)
                    .filter(|real| did == Did::LookedAt && *real != path);
                for path in std::iter::once(path).chain(real) {
                    self.add(path, did, is_directory);
                }
            }
            Some(error) => self.failed(&path, error, named),
        }
    }

    /// What could not be had is not needed; but a person wants to know what was refused, and which secrets were asked for.
    fn failed(&mut self, path: &Path, error: &str, named: &Named) {
        let access = match named.call.as_str() {
            "execve" | "execveat" => Access::Execute,
            call if done_by(call) == Did::LookedAt => Access::Read,
            _ => Access::Write,
        };
        let refused = self.around.secret(access, path);
        let shown = Text::from(path.as_os_str());
        match refused {
            Some(why) if access != Access::Write && self.around.host.look(path).is_some() => {
                self.notes.add(About::Secret, format!("{shown} ({why})"));
            }
            _ if is_refusal(error) && !places::byte_code(path) => {
                let text = format!("{} of {shown} failed: {error}", named.call);
                self.notes.add(About::NotGranted, text);
            }
            _ if is_absence(error)
                && !places::temporary(path)
                && places::data_set(path).is_none()
                && self.around.own_directory(path).is_none()
                && self.around.host.look(path).is_some() =>
            {
                let text = format!("{shown} was asked for and hidden, and this host has it");
                self.notes.add(About::NotGranted, text);
            }
            _ => {}
        }
    }

    fn add(&mut self, path: PathBuf, did: Did, is_directory: bool) {
        let around = self.around;
        if places::own(&path) {
            return;
        }
        let writes = matches!(did, Did::Wrote | Did::Made | Did::Changed);
        let fact = around.host.look(&path);
        let in_own = around.own_directory(&path).is_some();
        let is_kept = in_own || places::at_home(&path, around.home);
        if !is_kept && places::temporary(&path) && (writes || fact.is_none()) {
            if writes {
                note(&mut self.needs.gone, path, did, self.run);
            }
            return;
        }
        match (writes, is_directory) {
            (true, _) => note(&mut self.needs.write, path, did, self.run),
            (false, true) => note(&mut self.needs.directories, path, did, self.run),
            // What the run made, and has lost again, is where it is written.
            (false, false) if fact.is_none() => {}
            (false, false) if fact.is_some_and(|fact| fact.kind == Kind::Directory) => {
                note(&mut self.needs.directories, path, did, self.run);
            }
            (false, false) => note(&mut self.needs.read, path, did, self.run),
        }
    }
}
