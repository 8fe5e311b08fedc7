//! Building the new root: `pivot_root(2)` into a fresh tmpfs that holds what the plan lists.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::plan::files::{MASKED_DIRECTORY, MASKED_FILE};
use crate::plan::{Entry, Mount, Plan, Source};
use aegis_sys::cstring;
use aegis_sys::mount::{self, attr};

use super::{Prepared, sources};
use crate::types::Step;
use crate::types::paths::{is_below, parents};

/// A step that failed, and on what.
pub(super) struct Failure {
    pub step: Step,
    pub error: io::Error,
    pub subject: Option<PathBuf>,
}

impl Failure {
    pub fn of(step: Step) -> impl Fn(io::Error) -> Self {
        move |error| Self {
            step,
            error,
            subject: None,
        }
    }

    fn on(step: Step, path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self {
            step,
            error,
            subject: Some(path.to_path_buf()),
        }
    }
}

const BASE: u64 = attr::NOSUID | attr::NODEV;

/// A path of the plan, relative to the new root.
fn below(path: &Path) -> &Path {
    let bytes = path.as_os_str().as_bytes();
    Path::new(OsStr::from_bytes(bytes.strip_prefix(b"/").unwrap_or(bytes)))
}

fn name(path: &Path) -> Result<CString, Failure> {
    cstring(below(path)).map_err(Failure::on(Step::Entry, path))
}

/// Makes the root and goes there. The host's tree is gone afterwards.
pub(super) fn build(prepared: &mut Prepared<'_>) -> Result<(), Failure> {
    let plan = prepared.plan;
    let size = CString::new(plan.tmp_bytes.to_string()).unwrap_or_default();
    let tmpfs = mount::new_filesystem(
        c"tmpfs",
        &[
            (c"mode", c"755"),
            (c"size", &size),
            (c"nr_inodes", c"1048576"),
        ],
        BASE,
    )
    .map_err(Failure::of(Step::Root))?;
    let host = mount::root().map_err(Failure::of(Step::Root))?;
    // Mounted over `/`, where our own root does not see it: no directory of the host is needed.
    mount::attach(tmpfs.as_fd(), host.as_fd()).map_err(Failure::of(Step::Root))?;
    let root = tmpfs.as_fd();

    for (path, entry) in plan.root.iter() {
        let path_name = name(path)?;
        match entry {
            Entry::Directory { mode } => mount::make_directory(root, &path_name, *mode),
            Entry::Symlink { target } => {
                rustix::fs::symlinkat(target, root, &path_name).map_err(io::Error::from)
            }
            Entry::File { contents } => {
                mount::make_file(root, &path_name, 0o444, contents.as_bytes())
            }
            Entry::MountPoint => mount::make_file(root, &path_name, 0, b""),
        }
        .map_err(Failure::on(Step::Entry, path))?;
    }

    let own_dev = mount::identity(root).map_err(Failure::of(Step::Root))?.dev;
    let mut builder = Builder {
        root,
        own_dev,
        plan,
        masks: Masks::default(),
        host: Vec::new(),
    };
    for (index, entry) in plan.mounts.iter().enumerate() {
        let taken = prepared.sources.trees.remove(&index);
        builder.mount(entry, taken)?;
    }
    // Whatever is to be made is made: the root itself is read-only from here on.
    mount::set_attributes_of_one(root, attr::RDONLY | attr::NOEXEC | BASE)
        .map_err(Failure::of(Step::Root))?;
    rustix::process::fchdir(root).map_err(|error| Failure::of(Step::Pivot)(error.into()))?;
    mount::pivot_to_current_directory().map_err(Failure::of(Step::Pivot))
}

/// What is mounted so far.
struct Builder<'a> {
    root: BorrowedFd<'a>,
    own_dev: u64,
    plan: &'a Plan,
    masks: Masks,
    /// Where the host shows.
    host: Vec<&'a Path>,
}

/// Where something is to be mounted.
enum Target {
    /// In the root's own tmpfs, on a way of directories that we have made, that nobody else can have
    /// changed and that no mount of the host covers: its name below the root says it all.
    Own(CString),
    /// Found, on a way without links.
    Found(OwnedFd),
}

impl<'a> Builder<'a> {
    fn locate(&self, path: &Path) -> io::Result<OwnedFd> {
        mount::locate_beneath(self.root, below(path))
    }

    fn target(&self, path: &Path) -> io::Result<Target> {
        let made = |entry: Option<&Entry>| matches!(entry, Some(Entry::Directory { .. }));
        let top = Path::new("/");
        let own = match self.plan.root.get(path) {
            Some(Entry::Directory { .. } | Entry::MountPoint) => {
                parents(path).all(|dir| dir == top || made(self.plan.root.get(dir)))
            }
            _ => false,
        };
        if own && !self.host.iter().any(|tree| is_below(path, tree)) {
            return cstring(below(path)).map(Target::Own);
        }
        self.locate(path).map(Target::Found)
    }

    fn mount(&mut self, entry: &'a Mount, taken: Option<OwnedFd>) -> Result<(), Failure> {
        if entry.source == Source::Mask {
            return self
                .mask(entry)
                .map_err(Failure::on(Step::Mount, &entry.at));
        }
        let fail = |step: Step| Failure::on(step, &entry.at);
        let target = self.target(&entry.at).map_err(fail(Step::Mount))?;
        let attributes = attributes(entry);
        let tree = match &entry.source {
            Source::Host { path, dev, ino, .. } => match taken {
                Some(tree) => tree,
                None => {
                    sources::take(path, *dev, *ino).map_err(|(step, error)| fail(step)(error))?
                }
            },
            Source::Device { path } => mount::locate(path)
                .and_then(|node| mount::clone_tree(node.as_fd()))
                .map_err(fail(Step::Mount))?,
            Source::Scratch => match &target {
                Target::Own(name) => mount::clone_tree_at(self.root, name),
                Target::Found(place) => mount::clone_tree(place.as_fd()),
            }
            .map_err(fail(Step::Mount))?,
            // Read-only already: nothing in there is to be written by anybody inside.
            Source::Proc => {
                mount::new_filesystem(c"proc", &[], attributes).map_err(fail(Step::Mount))?
            }
            Source::Pseudoterminals => mount::new_filesystem(
                c"devpts",
                &[(c"ptmxmode", c"0666"), (c"mode", c"0620")],
                attributes,
            )
            .map_err(fail(Step::Mount))?,
            Source::Mask => return Ok(()),
        };
        if !matches!(entry.source, Source::Proc | Source::Pseudoterminals) {
            mount::set_attributes(tree.as_fd(), attributes).map_err(fail(Step::Mount))?;
        }
        if let (Source::Host { .. }, Target::Found(target)) = (&entry.source, &target) {
            // Below another mount of the host the target is found by name: it must be the same
            // thing, or somebody swapped it between the two.
            let place = mount::identity(target.as_fd()).map_err(fail(Step::Mount))?;
            if place.dev != self.own_dev {
                let shown = mount::identity(tree.as_fd()).map_err(fail(Step::Mount))?;
                if (place.dev, place.ino) != (shown.dev, shown.ino) {
                    return Err(fail(Step::Changed)(io::Error::from_raw_os_error(
                        libc::ESTALE,
                    )));
                }
            }
        }
        if let Source::Host { .. } = &entry.source {
            self.host.push(&entry.at);
        }
        match &target {
            Target::Own(name) => mount::attach_at(tree.as_fd(), self.root, name),
            Target::Found(place) => mount::attach(tree.as_fd(), place.as_fd()),
        }
        .map_err(fail(Step::Mount))
    }

    /// Covers something in `/proc`, if this kernel has it.
    fn mask(&mut self, entry: &Mount) -> io::Result<()> {
        let (Some(dir), Some(name)) = (entry.at.parent(), entry.at.file_name()) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let within = match self.masks.within.take() {
            Some((at, fd)) if at == dir => fd,
            _ => self.locate(dir)?,
        };
        let within = &self.masks.within.insert((dir.to_path_buf(), within)).1;
        let name = cstring(Path::new(name))?;
        let found = match mount::identity_at(within.as_fd(), &name) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            result => result?,
        };
        let (mask, first) = match found.mode & libc::S_IFMT {
            libc::S_IFDIR => (MASKED_DIRECTORY, &mut self.masks.directory),
            libc::S_IFLNK => return Err(io::Error::from_raw_os_error(libc::ELOOP)),
            _ => (MASKED_FILE, &mut self.masks.file),
        };
        // A copy of a mount has its attributes: only the first of a kind is given them.
        let tree = match first {
            Some(first) => mount::clone_tree(first.as_fd())?,
            None => {
                let mask = mount::locate_beneath(self.root, below(Path::new(mask)))?;
                let tree = mount::clone_tree(mask.as_fd())?;
                mount::set_attributes(tree.as_fd(), attributes(entry))?;
                tree
            }
        };
        // A name of one component, which is no link.
        mount::attach_at(tree.as_fd(), within.as_fd(), &name)?;
        first.get_or_insert(tree);
        Ok(())
    }
}

/// What masks have in common.
#[derive(Default)]
struct Masks {
    /// The directory that the last one was in.
    within: Option<(PathBuf, OwnedFd)>,
    directory: Option<OwnedFd>,
    file: Option<OwnedFd>,
}

/// `MOUNT_ATTR_*` of a mount.
fn attributes(entry: &Mount) -> u64 {
    if matches!(
        entry.source,
        Source::Device { .. } | Source::Pseudoterminals
    ) {
        return attr::NOSUID | attr::NOEXEC;
    }
    let mut attributes = BASE;
    if !entry.write {
        attributes |= attr::RDONLY;
    }
    if !entry.exec {
        attributes |= attr::NOEXEC;
    }
    attributes
}
