//! Where policies are read from: as for profiles ([`aegis_profile::Source`]), with directories and owners. The
//! only module of loading that touches files.

#![expect(
    clippy::disallowed_methods,
    reason = "policies are files; deciding is elsewhere"
)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aegis_profile::Files;

/// Reads policies. [`Files`] is the real one; tests use a map.
pub trait Source: aegis_profile::Source {
    /// The names in a directory, in any order. Those that are not UTF-8 have replacement characters: opening
    /// such a name fails, as it should.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// What is at `path`, links followed.
    fn look(&self, path: &Path) -> io::Result<Found>;

    /// The target of the symbolic link at `path`, as written, and its owner. `None`: not a link.
    fn link(&self, path: &Path) -> io::Result<Option<(PathBuf, u32)>>;
}

/// What is at a path, and who may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// It is a directory.
    pub is_directory: bool,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
}

impl Source for Files {
    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn look(&self, path: &Path) -> io::Result<Found> {
        let metadata = fs::metadata(path)?;
        Ok(Found {
            is_directory: metadata.is_dir(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode(),
        })
    }

    fn link(&self, path: &Path) -> io::Result<Option<(PathBuf, u32)>> {
        let metadata = fs::symlink_metadata(path)?;
        match metadata.is_symlink() {
            true => Ok(Some((fs::read_link(path)?, metadata.uid()))),
            false => Ok(None),
        }
    }
}
