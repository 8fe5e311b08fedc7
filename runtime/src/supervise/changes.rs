//! What a command wrote over trees of the host: read from the layers when everything inside is dead.
//!
//! The layers are the command's: its names, links, modes and special files. Directories are opened from the top by descriptor, no
//! link is followed, and nothing else is opened.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aegis_sys::mount;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use serde::Serialize;

use crate::apply;
use crate::plan::{Op, Plan};

/// Most entries that are looked at.
const MOST: u32 = 200_000;

/// Most changes that are listed.
const MOST_LISTED: usize = 10_000;

/// Most bytes of paths that are held at one time: the memory is the supervisor's, which no limit of the run counts.
const MOST_BYTES: usize = 32 << 20;

/// A directory whose entries in the tree below it do not show.
const OPAQUE: &str = "user.overlay.opaque";

/// A change that is gone with the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Changed {
    /// The path, as text.
    pub path: String,
    /// What became of what the host has there.
    pub change: Change,
}

/// What was done to a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The host has nothing there.
    Added,
    /// It is another file, or was opened to be written.
    Changed,
    /// It is not there any more.
    Removed,
}

/// What was written over trees of the host.
pub(super) struct Changes {
    layers: OwnedFd,
    /// Where each tree is mounted, and which of the host it is.
    trees: Vec<(PathBuf, PathBuf)>,
}

impl Changes {
    pub(super) fn new(layers: OwnedFd, plan: &Plan) -> Self {
        let trees = plan.root.iter().filter_map(|made| match &made.op {
            Op::Bind {
                source,
                overlay: true,
                ..
            } => Some((made.at.clone(), source.path.clone())),
            _ => None,
        });
        let trees = trees.collect();
        Self { layers, trees }
    }

    /// The changes by path, and how many more there are that are not listed.
    pub fn list(&self) -> (Vec<Changed>, u64) {
        let mut found = Found {
            changed: Vec::new(),
            left_out: 0,
            looked_at: 0,
            held: 0,
        };
        for (number, (at, host)) in self.trees.iter().enumerate() {
            let written = mount::locate_beneath(self.layers.as_fd(), &apply::written(number));
            match written {
                Ok(written) => found.tree(&written, mount::locate(host).ok().as_ref(), at),
                Err(_) => found.left_out += 1,
            }
        }
        found.changed.sort();
        (found.changed, found.left_out)
    }
}

struct Found {
    changed: Vec<Changed>,
    left_out: u64,
    looked_at: u32,
    /// Bytes of the paths that are listed, and of those of the directories that wait to be looked at.
    held: usize,
}

impl Found {
    /// Adds the changes of the tree at `at`, from what was `written` over what the `host` has.
    fn tree(&mut self, written: &OwnedFd, host: Option<&OwnedFd>, at: &Path) {
        // Directories, and whether nothing of the host shows in them.
        let mut ahead = vec![(PathBuf::new(), host.is_none())];
        while let Some((inside, new)) = ahead.pop() {
            self.held = self.held.saturating_sub(inside.as_os_str().len());
            let Some(dir) = open(written, &inside) else {
                self.left_out += 1;
                continue;
            };
            let Ok(entries) = Dir::read_from(&dir) else {
                self.left_out += 1;
                continue;
            };
            for entry in entries.flatten() {
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                self.looked_at += 1;
                if self.looked_at > MOST {
                    self.left_out += 1;
                    return;
                }
                let path = inside.join(name);
                let Ok(there) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
                    self.left_out += 1;
                    continue;
                };
                let of_host = (host.filter(|_| !new))
                    .and_then(|host| mount::locate_beneath(host.as_fd(), &path).ok())
                    .and_then(|found| rustix::fs::fstat(found).ok());
                let kind = there.st_mode & libc::S_IFMT;
                let is_directory = kind == libc::S_IFDIR;
                let merged = is_directory
                    && of_host
                        .is_some_and(|of_host| of_host.st_mode & libc::S_IFMT == libc::S_IFDIR)
                    && !is_opaque(&dir, name);
                if !merged {
                    let change = match (kind, of_host) {
                        (libc::S_IFCHR, _) if there.st_rdev == 0 => Change::Removed,
                        (_, Some(_)) => Change::Changed,
                        (_, None) => Change::Added,
                    };
                    self.add(at.join(&path), change);
                }
                if is_directory && self.has_room(&path) {
                    ahead.push((path, !merged));
                }
            }
        }
    }

    /// Whether one more path may be held.
    fn has_room(&mut self, path: &Path) -> bool {
        let held = self.held + path.as_os_str().len();
        match held > MOST_BYTES {
            true => self.left_out += 1,
            false => self.held = held,
        }
        held <= MOST_BYTES
    }

    fn add(&mut self, path: PathBuf, change: Change) {
        if self.changed.len() == MOST_LISTED {
            self.left_out += 1;
            return;
        }
        if !self.has_room(&path) {
            return;
        }
        let path = path.to_string_lossy().into_owned();
        self.changed.push(Changed { path, change });
    }
}

fn open(top: &OwnedFd, inside: &Path) -> Option<OwnedFd> {
    let found = match inside.as_os_str().is_empty() {
        true => None,
        false => Some(mount::locate_beneath(top.as_fd(), inside).ok()?),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(found.as_ref().unwrap_or(top), c".", flags, Mode::empty()).ok()
}

fn is_opaque(dir: &OwnedFd, name: &OsStr) -> bool {
    let mut value = [0; 1];
    let length = open(dir, Path::new(name))
        .and_then(|found| rustix::fs::fgetxattr(found, OPAQUE, &mut value).ok());
    length == Some(1) && value == *b"y"
}
