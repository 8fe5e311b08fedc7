//! Building the new root: `pivot_root(2)` into a fresh tmpfs that holds what the plan lists.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::plan::ops::{MASKED_DIRECTORY, MASKED_FILE};
use crate::plan::{Op, Operation, Plan};
use aegis_sys::cstring;
use aegis_sys::mount::{self, attr};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::layers::Layers;
use super::{Prepared, sources, trust};
use crate::error::Failure;
use crate::types::Step;

const BASE: u64 = attr::NOSUID | attr::NODEV;

/// A path of the plan, relative to the new root.
fn below(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    Path::new(OsStr::from_bytes(bytes.strip_prefix(b"/").unwrap_or(bytes)))
}

/// What is left of building the root, for the supervisor.
pub(super) struct Made {
    /// A copy of the root as it was before anything of the host was mounted in it, if there are to be private sockets.
    pub own: Option<OwnedFd>,
    /// The layers over trees of the host, if there are any.
    pub layers: Option<OwnedFd>,
    /// What the supervisor is to write of [`Op::Trust`].
    pub trust: Vec<OwnedFd>,
}

/// Makes the root and enters it. The host's tree is gone afterwards.
pub(super) fn build(prepared: &mut Prepared<'_>) -> Result<Made, Failure> {
    let mut operations = prepared.plan.root.placed().enumerate();
    let top = operations.next().map(|(_, (top, _))| &top.op);
    let Some(Op::Tmpfs { size, mode }) = top else {
        let error = io::Error::from_raw_os_error(libc::EINVAL);
        return Err(Failure::of(Step::Root)(error));
    };
    let tmpfs = new_tmpfs(*size, *mode).map_err(Failure::of(Step::Root))?;
    let host = mount::root().map_err(Failure::of(Step::Root))?;
    // Mounted over `/`, where our own root does not see it: no directory of the host is needed.
    mount::attach(tmpfs.as_fd(), host.as_fd()).map_err(Failure::of(Step::Root))?;
    let root = tmpfs.as_fd();
    let mut builder = Builder {
        root,
        plan: prepared.plan,
        masks: Masks::default(),
        layers: None,
        trust: Vec::new(),
    };
    let wanted = prepared.plan.has_private_sockets();
    let mut copy = None;
    for (index, (operation, own)) in operations {
        if wanted && copy.is_none() && !operation.op.is_own() {
            copy = Some(own_root(root).map_err(Failure::of(Step::Root))?);
        }
        let taken = prepared.sources.trees.remove(&index);
        builder.carry_out(operation, own, taken)?;
    }
    let layers = builder.layers.take().map(Layers::leave).transpose();
    let layers = layers.map_err(Failure::of(Step::Layer))?;
    let trust = builder.trust;
    rustix::process::fchdir(root).map_err(Failure::of(Step::Pivot))?;
    mount::pivot_to_current_directory().map_err(Failure::of(Step::Pivot))?;
    Ok(Made {
        own: copy,
        layers,
        trust,
    })
}

/// A detached copy of the root and of the private places in it.
fn own_root(root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let copy = mount::clone_tree(root)?;
    mount::set_attributes_of_one(copy.as_fd(), BASE | attr::NOEXEC | attr::RDONLY)?;
    Ok(copy)
}

/// A tmpfs of `size` bytes from which nothing is executed. An inode takes about a kilobyte beside them, so their number
/// is bounded too: enough for the root itself and for files of half a page.
pub(super) fn new_tmpfs(size: u64, mode: u32) -> io::Result<OwnedFd> {
    let inodes = (size / 2048).saturating_add(4096).min(1 << 20);
    let inodes = CString::new(inodes.to_string()).unwrap_or_default();
    let size = CString::new(size.to_string()).unwrap_or_default();
    let mode = CString::new(format!("{mode:o}")).unwrap_or_default();
    mount::new_filesystem(
        c"tmpfs",
        &[(c"mode", &mode), (c"size", &size), (c"nr_inodes", &inodes)],
        BASE | attr::NOEXEC,
    )
}

/// The root while it is built.
struct Builder<'a> {
    root: BorrowedFd<'a>,
    plan: &'a Plan,
    masks: Masks,
    layers: Option<Layers>,
    trust: Vec<OwnedFd>,
}

/// Where something is to be mounted.
enum MountTarget {
    /// In the root's own tmpfs, on a path of directories that we made, which nobody else can have
    /// changed and no mount of the host covers: the name below the root is enough.
    Own(CString),
    /// Opened, on a path without links.
    Opened(OwnedFd),
}

impl Builder<'_> {
    fn locate(&self, path: &Path) -> io::Result<OwnedFd> {
        match below(path) {
            // The mount itself, which is not beneath anything.
            top if top.as_os_str().is_empty() => self.root.try_clone_to_owned(),
            path => mount::locate_beneath(self.root, path),
        }
    }

    /// Carries out one operation. `own`: nothing of the host is on the path to it. `taken`: the tree that it
    /// binds, if that was taken outside.
    fn carry_out(
        &mut self,
        operation: &Operation,
        own: bool,
        taken: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        let Operation { op, at } = operation;
        let on = |step: Step| Failure::on(step, at);
        let name = cstring(below(at)).map_err(on(Step::Entry))?;
        let base = BASE | attr::NOEXEC;
        let tree = match op {
            Op::Directory { mode } => {
                return mount::make_directory(self.root, &name, *mode).map_err(on(Step::Entry));
            }
            Op::Symlink { target } => {
                return rustix::fs::symlinkat(target, self.root, &name)
                    .map_err(Failure::on(Step::Entry, at));
            }
            Op::File { text, mode } => {
                return mount::make_file(self.root, &name, *mode, text.as_bytes())
                    .map_err(on(Step::Entry));
            }
            Op::MountPoint => {
                return mount::make_file(self.root, &name, 0, b"").map_err(on(Step::Entry));
            }
            Op::Mask => {
                return match self.mask(at, None) {
                    Err(error) if is_out_of_reach(&error) => Ok(()),
                    covered => covered.map(drop).map_err(on(Step::Mount)),
                };
            }
            Op::Hide { dev, ino, only } => {
                return match self.mask(at, Some((*dev, *ino))) {
                    // A policy was not asked about what somebody else could open yet.
                    Err(error) if is_out_of_reach(&error) && !only => Ok(()),
                    Err(error) => Err(on(Step::Mount)(error)),
                    Ok(true) => Ok(()),
                    Ok(false) => Err(on(Step::Changed)(io::Error::from_raw_os_error(
                        libc::ESTALE,
                    ))),
                };
            }
            Op::Remount { read_only, noexec } => {
                let mut attributes = 0;
                if *read_only {
                    attributes |= attr::RDONLY;
                }
                if *noexec {
                    attributes |= attr::NOEXEC;
                }
                return self
                    .locate(at)
                    .and_then(|top| mount::set_attributes_of_one(top.as_fd(), attributes))
                    .map_err(on(Step::Mount));
            }
            Op::Tmpfs { size, mode } => new_tmpfs(*size, *mode),
            Op::Bind {
                source,
                write,
                exec,
                overlay,
            } => {
                let tree = match taken {
                    Some(tree) => tree,
                    None => sources::take(source)?,
                };
                if *overlay {
                    let tree = self.lay_over(at, tree, *exec).map_err(on(Step::Layer))?;
                    return self.attach(operation, own, name, tree);
                }
                let mut attributes = BASE;
                if !write {
                    attributes |= attr::RDONLY;
                }
                if !exec {
                    attributes |= attr::NOEXEC;
                }
                mount::set_attributes(tree.as_fd(), attributes).map(|()| tree)
            }
            Op::Device { path, .. } => mount::locate(path).and_then(|node| {
                let tree = mount::clone_tree(node.as_fd())?;
                mount::set_attributes(tree.as_fd(), attr::NOSUID | attr::NOEXEC)?;
                Ok(tree)
            }),
            // Made in a tmpfs of our own, so it is found there.
            Op::Private { exec } => mount::clone_tree_at(self.root, &name).and_then(|tree| {
                mount::set_attributes(tree.as_fd(), base)?;
                if *exec {
                    mount::allow_execution(tree.as_fd())?;
                }
                Ok(tree)
            }),
            Op::Way => mount::clone_tree_at(self.root, &name).and_then(|tree| {
                // Not what is mounted in it: a private place.
                mount::set_attributes_of_one(tree.as_fd(), base | attr::RDONLY)?;
                Ok(tree)
            }),
            Op::Trust { host, java } => {
                let shown = match host {
                    Some(source) => Some(sources::take(source)?),
                    None => trust::of_host(self.root, below(at)).map_err(on(Step::Mount))?,
                };
                let made = trust::make(shown.as_ref().map(AsFd::as_fd), *java);
                let trust::Made { tree, files } = made.map_err(on(Step::Mount))?;
                self.trust = files;
                Ok(tree)
            }
            // Read-only: nobody inside may write anything in it.
            Op::Proc => mount::new_filesystem(c"proc", &[], base | attr::RDONLY),
            // The machine has 4,096 terminals, `kernel.pty.max`, whoever opens them.
            Op::Pseudoterminals => mount::new_filesystem(
                c"devpts",
                &[(c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"max", c"256")],
                attr::NOSUID | attr::NOEXEC,
            ),
        }
        .map_err(on(Step::Mount))?;
        self.attach(operation, own, name, tree)
    }

    /// Puts a layer of the sandbox's own over a tree of the host.
    fn lay_over(&mut self, at: &Path, tree: OwnedFd, exec: bool) -> io::Result<OwnedFd> {
        let layers = match self.layers.take() {
            Some(layers) => layers,
            None => Layers::new(self.root, self.plan.root.size())?,
        };
        let layers = self.layers.insert(layers);
        let attributes = BASE | if exec { 0 } else { attr::NOEXEC };
        layers.put_over(at, tree, attributes)
    }

    /// Attaches what an operation mounts.
    fn attach(
        &self,
        operation: &Operation,
        own: bool,
        name: CString,
        tree: OwnedFd,
    ) -> Result<(), Failure> {
        let Operation { op, at } = operation;
        let on = |step: Step| Failure::on(step, at);
        let target = if own {
            MountTarget::Own(name)
        } else {
            self.locate(at)
                .map(MountTarget::Opened)
                .map_err(on(Step::Mount))?
        };
        if let (Op::Bind { source, .. }, MountTarget::Opened(target)) = (op, &target)
            && self
                .plan
                .root
                .host_path(at)
                .is_some_and(|shown| shown == source.path)
        {
            // The bind above must show the same file here, or somebody swapped it between
            // the two.
            let found = |fd: BorrowedFd<'_>| {
                rustix::fs::fstat(fd).map_err(|error| on(Step::Mount)(error.into()))
            };
            // Of an overlay, the tree that the layer is over.
            let below = self.layers.as_ref().and_then(|layers| layers.below(at));
            let (place, shown) = match below {
                Some((of_host, _)) => (found(target.as_fd())?, found(of_host)?),
                None => (found(target.as_fd())?, found(tree.as_fd())?),
            };
            if (place.st_dev, place.st_ino) != (shown.st_dev, shown.st_ino) {
                return Err(on(Step::Changed)(io::Error::from_raw_os_error(
                    libc::ESTALE,
                )));
            }
        }
        match &target {
            MountTarget::Own(name) => mount::attach_at(tree.as_fd(), self.root, name),
            MountTarget::Opened(place) => mount::attach(tree.as_fd(), place.as_fd()),
        }
        .map_err(on(Step::Mount))
    }

    /// Covers a file or directory, if it is there. `found`: only if it is this one, by device and inode number. Returns whether
    /// it is covered.
    fn mask(&mut self, at: &Path, found: Option<(u64, u64)>) -> io::Result<bool> {
        let (Some(dir), Some(name)) = (at.parent(), at.file_name()) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let within = match self.masks.within.take() {
            Some((known, fd)) if known == dir => fd,
            _ => self.locate(dir)?,
        };
        let within = &self.masks.within.insert((dir.to_path_buf(), within)).1;
        let name = cstring(Path::new(name))?;
        let there = match rustix::fs::statat(within, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            result => result?,
        };
        // An overlay has numbers of its own.
        let of_host = (self.layers.as_ref()).and_then(|layers| layers.below(at));
        let shown = match of_host {
            Some((tree, rest)) => rustix::fs::fstat(mount::locate_beneath(tree, rest)?)?,
            None => there,
        };
        if found.is_some_and(|found| found != (shown.st_dev, shown.st_ino)) {
            return Ok(false);
        }
        let (mask, first) = match there.st_mode & libc::S_IFMT {
            libc::S_IFDIR => (MASKED_DIRECTORY, &mut self.masks.directory),
            libc::S_IFLNK => return Err(io::Error::from_raw_os_error(libc::ELOOP)),
            _ => (MASKED_FILE, &mut self.masks.file),
        };
        // A copy of a mount keeps its attributes: only the first of a kind is given them.
        let tree = match first {
            Some(first) => mount::clone_tree(first.as_fd())?,
            None => {
                let mask = mount::locate_beneath(self.root, below(Path::new(mask)))?;
                let tree = mount::clone_tree(mask.as_fd())?;
                mount::set_attributes(tree.as_fd(), BASE | attr::NOEXEC | attr::RDONLY)?;
                tree
            }
        };
        // A name of one component, which is not a link.
        mount::attach_at(tree.as_fd(), within.as_fd(), &name)?;
        first.get_or_insert(tree);
        Ok(true)
    }
}

/// What PID 1 may not look at, the command may not either.
fn is_out_of_reach(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EACCES)
}

/// What masks have in common.
#[derive(Default)]
struct Masks {
    /// The directory of the last one.
    within: Option<(PathBuf, OwnedFd)>,
    directory: Option<OwnedFd>,
    file: Option<OwnedFd>,
}
