//! Which directories are all that shows their files: once one is hidden, so are these.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};

use super::mounts::{self, Mount};
use super::paths::{Kind, Resolved};
use super::spelling;
use super::tree::{self, Entry};
use crate::types::Fault;
use crate::types::paths::{is_below, parents};

/// Most entries that are looked at for other names: a start is not to take milliseconds longer for it.
const MOST: usize = 2_000;

/// Tells which directories in granted trees are all that shows their files. A file may be replaced while the run goes on, as
/// editors do when they save, and the new one is not hidden; so a file never is.
pub(super) struct Only<'a> {
    /// What is granted, by whatever line.
    granted: Vec<&'a Path>,
    mounts: &'a [Mount],
    left: usize,
}

impl<'a> Only<'a> {
    pub fn new(granted: Vec<&'a Path>, mounts: &'a [Mount]) -> Self {
        Self {
            granted,
            mounts,
            left: MOST,
        }
    }

    /// Those of these places.
    pub fn of(&mut self, places: &[Resolved]) -> BTreeSet<PathBuf> {
        let directories = places.iter().filter(|found| found.kind == Kind::Directory);
        let paths = directories.map(|found| &found.real);
        paths.filter(|path| self.shows(path)).cloned().collect()
    }

    /// Whether this directory, free of links, is all that shows its files.
    pub fn shows(&mut self, path: &Path) -> bool {
        let trees = |path: &Path| {
            let mut granted = self.granted.iter();
            granted.any(|tree| path != *tree && is_below(path, tree))
        };
        let ignores_case = |path: &Path| {
            spelling::stat(path).is_ok_and(|found| spelling::ignores_case(path, &found))
        };
        let mut on_the_way = std::iter::once(path).chain(parents(path));
        trees(path)
            && !self.is_mounted_elsewhere(path)
            && !on_the_way.any(|path| trees(path) && ignores_case(path))
            && self.has_no_links(path)
    }

    /// Whether a grant shows what is in it by another mount too, or something is mounted in it.
    fn is_mounted_elsewhere(&self, path: &Path) -> bool {
        let Some(own) = mounts::of(path, self.mounts) else {
            return true;
        };
        let rest = path.strip_prefix(&own.at).unwrap_or(Path::new(""));
        let inside: PathBuf = own.root.join(rest).components().collect();
        self.mounts.iter().any(|other| {
            if is_below(&other.at, path) {
                return true;
            }
            if std::ptr::eq(other, own) || other.device != own.device {
                return false;
            }
            let at: PathBuf = match inside.strip_prefix(&other.root) {
                Ok(rest) => other.at.join(rest).components().collect(),
                Err(_) if is_below(&other.root, &inside) => other.at.clone(),
                Err(_) => return false,
            };
            let mut granted = self.granted.iter();
            granted.any(|tree| is_below(&at, tree) || is_below(tree, &at))
        })
    }

    /// Whether none of its files has another name, as far as that can be told.
    fn has_no_links(&mut self, top: &Path) -> bool {
        let left = &mut self.left;
        tree::walk(top, &mut Links { left }).is_ok()
    }
}

/// Looks for files that have other names. A walk ends early where there is one, or where that cannot be told.
struct Links<'a> {
    left: &'a mut usize,
}

struct Untold;

impl From<Fault> for Untold {
    fn from(_: Fault) -> Self {
        Self
    }
}

impl tree::Visit for Links<'_> {
    type Error = Untold;

    fn entry(&mut self, entry: &Entry<'_>) -> Result<bool, Untold> {
        *self.left = self.left.checked_sub(1).ok_or(Untold)?;
        if entry.kind == FileType::Directory {
            return Ok(true);
        }
        let found = rustix::fs::statat(entry.dir, entry.name, AtFlags::SYMLINK_NOFOLLOW);
        let found = found.map_err(|_| Untold)?;
        let is_directory = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
        match is_directory || found.st_nlink <= 1 {
            true => Ok(is_directory),
            false => Err(Untold),
        }
    }

    fn closed(&mut self, _: &Path, _: Option<u32>) -> Result<(), Untold> {
        Err(Untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(at: &str, root: &str, device: &str) -> Mount {
        Mount {
            id: u32::from(at != "/") + 1,
            parent: u32::from(at != "/"),
            at: at.into(),
            device: device.into(),
            root: root.into(),
            kind: "ext4".into(),
        }
    }

    #[test]
    fn a_directory_whose_files_have_other_names_is_not_all_that_shows_them() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let hidden = top.join("hidden");
        std::fs::create_dir_all(hidden.join("deep")).unwrap();
        std::fs::write(hidden.join("deep/key"), "").unwrap();
        let mounts = [mounted("/", "/", "8:1")];
        let shows =
            |granted: &Path, mounts: &[Mount]| Only::new(vec![granted], mounts).shows(&hidden);
        assert!(shows(&top, &mounts));
        assert!(!shows(&hidden, &mounts), "it is granted itself");
        assert!(!shows(Path::new("/elsewhere"), &mounts));
        assert!(!shows(&top, &[]), "nothing is known of mounts");

        let at = |path: &str| top.join(path).display().to_string();
        let inside = hidden.join("deep").display().to_string();
        for (other, alone) in [
            (mounted(&at("again"), &at("hidden"), "8:1"), false),
            (mounted(&at("again"), &inside, "8:1"), false),
            (mounted(&at("again"), "/", "8:1"), false),
            (mounted(&at("again"), &at("hidden"), "8:2"), true),
            (mounted("/mnt/again", &at("hidden"), "8:1"), true),
            (mounted(&inside, "/", "8:2"), false),
        ] {
            let mounts = [mounts[0].clone(), other.clone()];
            assert_eq!(shows(&top, &mounts), alone, "{other:?}");
        }

        std::fs::hard_link(hidden.join("deep/key"), top.join("linked")).unwrap();
        assert!(!shows(&top, &mounts), "a hard link");
        std::fs::remove_file(top.join("linked")).unwrap();
        assert!(shows(&top, &mounts));
        for number in 0..MOST {
            std::os::unix::fs::symlink("x", hidden.join(number.to_string())).unwrap();
        }
        assert!(!shows(&top, &mounts), "too many to look at");
    }
}
