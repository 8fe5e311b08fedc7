//! Layers over trees of the host (overlayfs): what is written goes to a tmpfs of the sandbox's own, which the command does not
//! see, and which the supervisor reads when the run has ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aegis_sys::mount;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::root::new_tmpfs;
use crate::types::paths::is_below;

/// The layers, while the root is built.
pub(super) struct Layers {
    /// Mounted over the new root, which is not disturbed by that: it is known by descriptor.
    tmpfs: OwnedFd,
    /// The trees of the host that have a layer, and where.
    trees: Vec<(PathBuf, OwnedFd)>,
}

/// The directory with what was written over one tree, by the number of the tree among those that have a layer.
pub(crate) fn written(number: usize) -> PathBuf {
    Path::new(&number.to_string()).join("written")
}

impl Layers {
    /// Makes room for `size` bytes of all layers together.
    pub fn new(root: BorrowedFd<'_>, size: u64) -> io::Result<Self> {
        let tmpfs = new_tmpfs(size, 0o700)?;
        mount::attach(tmpfs.as_fd(), root)?;
        let trees = Vec::new();
        Ok(Self { tmpfs, trees })
    }

    /// Puts a layer over a detached tree that will be attached at `at`. Returns both as one, detached. Changes the current
    /// directory: before Linux 6.5, overlayfs finds its directories by path, and the paths from here need no quoting.
    pub fn put_over(&mut self, at: &Path, tree: OwnedFd, attributes: u64) -> io::Result<OwnedFd> {
        let own = self.trees.len().to_string();
        mount::make_directory(self.tmpfs.as_fd(), &*own, 0o700)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let own = rustix::fs::openat(&self.tmpfs, &*own, flags, Mode::empty())?;
        let shown = rustix::fs::fstat(&tree)?;
        for name in [c"below", c"written", c"work"] {
            mount::make_directory(own.as_fd(), name, 0o700)?;
        }
        // The top of an overlay has the attributes of its upper layer.
        let mode = Mode::from_raw_mode(shown.st_mode & 0o1777);
        rustix::fs::chmodat(&own, c"written", mode, AtFlags::empty())?;
        mount::attach_at(tree.as_fd(), own.as_fd(), c"below")?;
        rustix::process::fchdir(&own)?;
        let overlay = mount::new_overlay(c"below", c"written", c"work", attributes)?;
        mount::detach(c"below")?;
        self.trees.push((at.to_owned(), tree));
        Ok(overlay)
    }

    /// The tree of the host that a path lies in, below its layer, and the path from there.
    pub fn below<'p>(&self, path: &'p Path) -> Option<(BorrowedFd<'_>, &'p Path)> {
        let mut above = self.trees.iter().filter(|(at, _)| is_below(path, at));
        let (at, tree) = above.next_back()?;
        Some((tree.as_fd(), path.strip_prefix(at).ok()?))
    }

    /// Takes the layers out of the tree of mounts: the command cannot come by them, and whoever holds the descriptor can.
    pub fn leave(self) -> io::Result<OwnedFd> {
        rustix::process::fchdir(&self.tmpfs)?;
        mount::detach(c".")?;
        Ok(self.tmpfs)
    }
}
