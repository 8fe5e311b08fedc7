//! Files in memory, from which policies are read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use aegis_policy::load::{Found, Source};
use aegis_profile::ReadError;

/// Files of a test, with their owners.
#[derive(Default)]
pub struct Tree {
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Files and directories other than root's with the mode 0644 (0755).
    pub owned: BTreeMap<PathBuf, (u32, u32, u32)>,
    /// Symbolic links, with target and owner.
    pub links: BTreeMap<PathBuf, (PathBuf, u32)>,
    pub closed: Option<PathBuf>,
}

impl Tree {
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| (path.into(), text.as_bytes().to_vec()));
        Self {
            files: files.collect(),
            ..Self::default()
        }
    }

    pub fn owned(mut self, path: &str, uid: u32, gid: u32, mode: u32) -> Self {
        self.owned.insert(path.into(), (uid, gid, mode));
        self
    }

    pub fn linked(mut self, path: &str, to: &str, uid: u32) -> Self {
        self.links.insert(path.into(), (to.into(), uid));
        self
    }

    /// What a path leads to, links and `..` resolved.
    pub fn real(&self, path: &Path) -> PathBuf {
        let mut real = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(real.pop()),
                part => real.push(part),
            }
            if let Some((to, _)) = self.links.get(&real) {
                let to = real.parent().unwrap_or(&real).join(to);
                real = self.real(&to);
            }
        }
        real
    }

    pub fn is_directory(&self, path: &Path) -> bool {
        let below = |file: &PathBuf| file.starts_with(path) && file != path;
        self.files.keys().any(below)
    }
}

impl aegis_profile::Source for Tree {
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let path = &self.real(path);
        match self.files.get(path) {
            Some(bytes) => Ok(bytes.clone()),
            None if self.is_directory(path) => Err(ReadError::NotAFile("a directory")),
            None => Err(ReadError::NotFound),
        }
    }

    fn read_stdin(&self) -> Result<Vec<u8>, ReadError> {
        self.read(Path::new("-"))
    }

    fn exists(&self, path: &Path) -> bool {
        let path = &self.real(path);
        self.files.contains_key(path) || self.is_directory(path)
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        path.into()
    }
}

impl Source for Tree {
    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let directory = &self.real(directory);
        let name = |file: &PathBuf| {
            let below = file.strip_prefix(directory).ok()?;
            Some(
                below
                    .components()
                    .next()?
                    .as_os_str()
                    .to_string_lossy()
                    .into_owned(),
            )
        };
        // As from a directory: not in order.
        Ok(self.files.keys().filter_map(name).rev().collect())
    }

    fn look(&self, path: &Path) -> io::Result<Found> {
        if self
            .closed
            .as_ref()
            .is_some_and(|closed| path.starts_with(closed))
        {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !aegis_profile::Source::exists(self, path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let path = &self.real(path);
        let (uid, gid, mode) = self.owned.get(path).copied().unwrap_or((0, 0, 0o644));
        Ok(Found {
            is_directory: self.is_directory(path),
            uid,
            gid,
            mode,
        })
    }

    fn link(&self, path: &Path) -> io::Result<Option<(PathBuf, u32)>> {
        self.look(path)?;
        let parent = self.real(path.parent().unwrap_or(path));
        let name = path.file_name();
        Ok(name.and_then(|name| self.links.get(&parent.join(name)).cloned()))
    }
}
