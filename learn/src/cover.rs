//! What a set of grants reaches on this host.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use aegis_profile::{Denied, PathSpec, Profile, Program, Variable};

use crate::surroundings::{Access, Surroundings};

/// Grants, as paths of the host: as they are written, and where they lead.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cover {
    read: BTreeSet<PathBuf>,
    write: BTreeSet<PathBuf>,
    execute: BTreeSet<PathBuf>,
    denied: Vec<Hidden>,
}

/// What `files.deny` hides.
#[derive(Clone, Debug)]
struct Hidden {
    below: PathBuf,
    name: Option<PathBuf>,
}

/// Where a declared path is. `None`: there is no `$SKILL`.
pub(crate) fn place(spec: &PathSpec, around: &Surroundings<'_>) -> Option<PathBuf> {
    let base = match spec.base {
        None => Path::new("/"),
        Some(Variable::Work) => around.work,
        Some(Variable::Home) => around.home,
        Some(Variable::Skill) => around.skill?,
        Some(Variable::Tmp) => Path::new("/tmp"),
    };
    let path: PathBuf = base.join(&spec.rest).components().collect();
    Some(around.merged(&path))
}

impl Cover {
    /// What a merged profile grants.
    pub fn of(profile: &Profile, around: &Surroundings<'_>) -> Self {
        let mut cover = Self::default();
        let granted = &profile.capabilities;
        for (access, list) in [
            (Access::Read, &granted.files_read),
            (Access::Write, &granted.files_write),
            // What is written there is written, though it is gone afterwards.
            (Access::Write, &granted.files_overlay),
        ] {
            for item in list {
                cover.declared(access, &item.value, around);
            }
        }
        for item in &granted.shell_exec {
            cover.program(&item.value, around);
        }
        for item in &granted.files_deny {
            let (below, name) = match &item.value {
                Denied::Path(path) => (place(path, around), None),
                Denied::Named { below, name } => {
                    let below = match below {
                        Some(below) => place(below, around),
                        None => Some("/".into()),
                    };
                    (below, Some(name.into()))
                }
            };
            let hidden = below.map(|below| Hidden { below, name });
            cover.denied.extend(hidden);
        }
        cover
    }

    fn declared(&mut self, access: Access, spec: &PathSpec, around: &Surroundings<'_>) {
        if let Some(path) = place(spec, around) {
            self.add(access, path, around);
        }
    }

    /// Adds a program of `shell.exec`.
    pub fn program(&mut self, program: &Program, around: &Surroundings<'_>) {
        match program {
            Program::Path(spec) => self.declared(Access::Execute, spec, around),
            Program::Name { name, .. } => {
                if let Some((path, _)) = around.look_up(name) {
                    self.add(Access::Execute, path, around);
                }
            }
        }
    }

    /// Adds a path with what is below it, and where it leads.
    pub fn add(&mut self, access: Access, path: PathBuf, around: &Surroundings<'_>) {
        let real = around.real(&path);
        let set = match access {
            Access::Read => &mut self.read,
            Access::Write => &mut self.write,
            Access::Execute => &mut self.execute,
        };
        set.extend(real);
        set.insert(path);
    }

    /// Adds what another reaches.
    pub fn extend(&mut self, other: Self) {
        self.read.extend(other.read);
        self.write.extend(other.write);
        self.execute.extend(other.execute);
        self.denied.extend(other.denied);
    }

    /// Whether a path is granted.
    pub fn has(&self, access: Access, path: &Path) -> bool {
        let within = |set: &BTreeSet<PathBuf>| path.ancestors().any(|above| set.contains(above));
        let granted = match access {
            Access::Write => within(&self.write),
            Access::Execute => within(&self.execute),
            Access::Read => within(&self.read) || within(&self.write) || within(&self.execute),
        };
        granted && !self.denied.iter().any(|hidden| hidden.hides(path))
    }

    /// Whether something below a directory is granted, so that the directory is there.
    pub fn is_on_the_way(&self, directory: &Path) -> bool {
        [&self.read, &self.write, &self.execute].iter().any(|set| {
            let mut after = set.range::<Path, _>((Bound::Included(directory), Bound::Unbounded));
            after.next().is_some_and(|path| path.starts_with(directory))
        })
    }
}

impl Hidden {
    fn hides(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix(&self.below) else {
            return false;
        };
        match &self.name {
            None => true,
            Some(name) => {
                let mut above = rest.ancestors();
                above.any(|part| part.ends_with(name))
            }
        }
    }
}
