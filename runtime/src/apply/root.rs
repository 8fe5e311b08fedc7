//! Building the new root: `pivot_root(2)` into a fresh tmpfs that holds what the plan lists.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::kernel::cstring;
use crate::kernel::mount::{self, attr};
use crate::plan::files::{MASKED_DIRECTORY, MASKED_FILE};
use crate::plan::{Entry, Mount, Source};

use super::{Prepared, Step, sources};

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
    path.strip_prefix("/").unwrap_or(path)
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
                cstring(target).and_then(|target| mount::make_symlink(root, &path_name, &target))
            }
            Entry::File { contents } => {
                mount::make_file(root, &path_name, 0o444, contents.as_bytes())
            }
            Entry::MountPoint => mount::make_file(root, &path_name, 0, b""),
        }
        .map_err(Failure::on(Step::Entry, path))?;
    }

    let own_dev = mount::identity(root).map_err(Failure::of(Step::Root))?.dev;
    for (index, entry) in plan.mounts.iter().enumerate() {
        let taken = prepared.sources.trees.remove(&index);
        one(root, own_dev, entry, taken)?;
    }
    // Whatever is to be made is made: the root itself is read-only from here on.
    mount::set_attributes_of_one(root, attr::RDONLY | attr::NOEXEC | BASE)
        .map_err(Failure::of(Step::Root))?;
    mount::enter(root).map_err(Failure::of(Step::Pivot))?;
    mount::pivot_to_current_directory().map_err(Failure::of(Step::Pivot))
}

fn one(
    root: BorrowedFd<'_>,
    own_dev: u64,
    entry: &Mount,
    taken: Option<OwnedFd>,
) -> Result<(), Failure> {
    let fail = |step: Step| Failure::on(step, &entry.at);
    let locate = |path: &Path| mount::locate_beneath(root, below(path));
    let target = match locate(&entry.at) {
        Ok(target) => target,
        // This kernel's /proc lacks what was to be masked.
        Err(error)
            if entry.source == Source::Mask && error.raw_os_error() == Some(libc::ENOENT) =>
        {
            return Ok(());
        }
        Err(error) => return Err(fail(Step::Mount)(error)),
    };
    let mut attributes = BASE;
    if !entry.write {
        attributes |= attr::RDONLY;
    }
    if !entry.exec {
        attributes |= attr::NOEXEC;
    }
    let tree = match &entry.source {
        Source::Host { path, dev, ino, .. } => match taken {
            Some(tree) => tree,
            None => sources::take(path, *dev, *ino).map_err(|(step, error)| fail(step)(error))?,
        },
        Source::Device { path } => {
            attributes = attr::NOSUID | attr::NOEXEC;
            mount::locate(path)
                .and_then(|node| mount::clone_tree(node.as_fd()))
                .map_err(fail(Step::Mount))?
        }
        Source::Scratch => mount::clone_tree(target.as_fd()).map_err(fail(Step::Mount))?,
        Source::Proc => {
            // Read-only already: nothing in there is to be written by anybody inside.
            mount::new_filesystem(c"proc", &[], attributes).map_err(fail(Step::Mount))?
        }
        Source::Pseudoterminals => {
            attributes = attr::NOSUID | attr::NOEXEC;
            mount::new_filesystem(
                c"devpts",
                &[(c"ptmxmode", c"0666"), (c"mode", c"0620")],
                attributes,
            )
            .map_err(fail(Step::Mount))?
        }
        Source::Mask => {
            let found = mount::identity(target.as_fd()).map_err(fail(Step::Mount))?;
            let mask = if found.mode & libc::S_IFMT == libc::S_IFDIR {
                MASKED_DIRECTORY
            } else {
                MASKED_FILE
            };
            locate(Path::new(mask))
                .and_then(|mask| mount::clone_tree(mask.as_fd()))
                .map_err(fail(Step::Mount))?
        }
    };
    if !matches!(entry.source, Source::Proc | Source::Pseudoterminals) {
        mount::set_attributes(tree.as_fd(), attributes).map_err(fail(Step::Mount))?;
    }
    if let Source::Host { .. } = &entry.source {
        // Below another mount of the host the target is found by name: it must be the same thing,
        // or somebody swapped it between the two.
        let place = mount::identity(target.as_fd()).map_err(fail(Step::Mount))?;
        if place.dev != own_dev {
            let shown = mount::identity(tree.as_fd()).map_err(fail(Step::Mount))?;
            if (place.dev, place.ino) != (shown.dev, shown.ino) {
                return Err(fail(Step::Changed)(io::Error::from_raw_os_error(
                    libc::ESTALE,
                )));
            }
        }
    }
    mount::attach(tree.as_fd(), target.as_fd()).map_err(fail(Step::Mount))
}
