//! Which symbolic links are followed, and where they may lead.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::{Link, Resolved};
use crate::types::Fault;
use crate::types::paths::{is_below, parents};
use aegis_sys::mount;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

/// Which links are trusted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Trees that something sandboxed may have written: a link in one must stay in it.
    pub zones: Vec<PathBuf>,
    /// The caller; links of other users, except root's, are not followed.
    pub uid: u32,
    /// Links in `/`, which is root's: `/lib` and the like on a merged system.
    pub root_links: Vec<Link>,
    /// Links in a zone may lead to the system's own programs (`/usr`, owned by root).
    pub to_system_programs: bool,
    /// Directories of paths that were found before.
    pub directories: Directories,
}

/// Directories held open, so that one call shows what is at a name in them. A profile names many
/// things in few directories.
#[derive(Clone, Debug, Default)]
pub struct Directories(Rc<RefCell<Vec<Directory>>>);

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// `None`: a link leads there, or the directory does not exist.
    open: Option<OwnedFd>,
}

impl Directories {
    /// What is at a normal path, a link itself, if no link leads to its directory. `None`: it
    /// cannot be looked up this way.
    pub(super) fn look(&self, path: &Path) -> Option<Result<Stat, Errno>> {
        let (dir, name) = (parents(path).next()?, path.file_name()?);
        let mut known = self.0.borrow_mut();
        let same = |known: &Directory| known.path.as_os_str() == dir.as_os_str();
        let place = known.iter().position(same).unwrap_or_else(|| {
            known.push(Directory {
                path: dir.to_path_buf(),
                open: mount::locate(dir).ok(),
            });
            known.len() - 1
        });
        let dir = known[place].open.as_ref()?;
        Some(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW))
    }
}

/// Links met so far that must not lead out of a tree, with the tree that each lies in.
#[derive(Default)]
pub(super) struct Confined(Vec<(PathBuf, PathBuf)>);

impl Confined {
    pub fn note(&mut self, at: &Path, trust: &Trust) {
        if let Some(zone) = innermost(&trust.zones, at) {
            self.0.push((zone, at.to_path_buf()));
        }
    }

    pub fn check(self, found: Resolved, trust: &Trust) -> Result<Resolved, Fault> {
        for (zone, at) in self.0 {
            if is_below(&found.real, &zone) {
                continue;
            }
            let system = is_below(&found.real, Path::new("/usr"))
                && found.uid == 0
                && found.mode & 0o022 == 0;
            if !(trust.to_system_programs && system) {
                return Err(Fault::LinkLeaves {
                    at,
                    zone,
                    to: found.real,
                });
            }
        }
        Ok(found)
    }
}

impl Trust {
    /// The root link that a normal path begins with, and the rest of the path.
    pub(super) fn root_link<'p>(&self, path: &'p Path) -> Option<(&Link, &'p Path)> {
        let link = self
            .root_links
            .iter()
            .find(|link| is_below(path, &link.at))?;
        let plain = |part| matches!(part, Component::Normal(_));
        if !link.target.components().all(plain) {
            return None;
        }
        let rest = &path.as_os_str().as_bytes()[link.at.as_os_str().len()..];
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        Some((link, Path::new(OsStr::from_bytes(rest))))
    }
}

/// The longest of `zones` that contains `path`.
fn innermost(zones: &[PathBuf], path: &Path) -> Option<PathBuf> {
    zones
        .iter()
        .filter(|zone| is_below(path, zone) && path != zone.as_path())
        .max_by_key(|zone| zone.as_os_str().len())
        .cloned()
}
