//! Mounts: a root as a run builds it, and id-mapped mounts.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::child::{Child, ProbeFailure, inside};
use super::layer::{Layer, errno, error, held, refused};
use crate::types::SANDBOX_UID;
use aegis_sys::mount::{self, attr};
use aegis_sys::{files, namespaces};

const BASE: u64 = attr::NOSUID | attr::NODEV;

/// Builds a root and, except for the mount calls themselves, enters it and uses what is in it.
pub(super) fn probe(layer: Layer) -> Result<(), ProbeFailure> {
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
    inside(flags, "mapping user and group", &|child| {
        child.take_ids()?;
        rustix::process::umask(rustix::fs::Mode::empty());
        let root = base(child)?;
        let root = root.as_fd();
        match layer {
            Layer::MountCalls => return Ok(()),
            Layer::Devices => {
                child.step("binding /dev/null");
                device(root)?;
            }
            Layer::Proc => {
                child.step("mounting proc");
                let attributes = BASE | attr::RDONLY | attr::NOEXEC;
                let proc = mount::new_filesystem(c"proc", &[], attributes)?;
                put(root, "proc", proc)?;
            }
            Layer::Terminals => {
                child.step("mounting devpts");
                let options: [(&CStr, &CStr); 2] = [(c"ptmxmode", c"0666"), (c"mode", c"0620")];
                let attributes = attr::NOSUID | attr::NOEXEC;
                let devpts = mount::new_filesystem(c"devpts", &options, attributes)?;
                put(root, "dev/pts", devpts)?;
            }
            _ => {}
        }
        child.step("changing to the new root");
        pivot(root)?;
        match layer {
            Layer::Devices => {
                child.step("opening /dev/null");
                let null = files::open(c"/dev/null", libc::O_WRONLY)?;
                files::write_all(null.as_fd(), b"aegis")
            }
            Layer::Proc => {
                child.step("reading /proc/self");
                held(std::fs::read_link("/proc/self")? == Path::new("1"))
            }
            Layer::Terminals => {
                child.step("opening /dev/pts/ptmx");
                files::open(c"/dev/pts/ptmx", libc::O_RDWR | libc::O_NOCTTY).map(drop)
            }
            _ => Ok(()),
        }
    })
}

/// A tmpfs over `/` with a read-only copy of `/usr` in it.
fn base(child: &Child) -> io::Result<OwnedFd> {
    let options: [(&CStr, &CStr); 2] = [(c"mode", c"755"), (c"size", c"1048576")];
    child.step("fsopen of a tmpfs");
    let tmpfs = mount::new_filesystem(c"tmpfs", &options, BASE)?;
    child.step("openat2");
    let host = mount::root()?;
    child.step("move_mount");
    mount::attach(tmpfs.as_fd(), host.as_fd())?;
    let root = tmpfs.as_fd();
    child.step("mkdirat in a tmpfs");
    for dir in [c"usr", c"proc", c"dev", c"dev/pts"] {
        mount::make_directory(root, dir, 0o755)?;
    }
    child.step("openat in a tmpfs");
    mount::make_file(root, c"dev/null", 0, b"")?;
    child.step("openat2");
    let usr = mount::locate(Path::new("/usr"))?;
    child.step("open_tree");
    let tree = mount::clone_tree(usr.as_fd())?;
    child.step("mount_setattr");
    mount::set_attributes(tree.as_fd(), attr::RDONLY | BASE)?;
    child.step("move_mount");
    put(root, "usr", tree)?;
    Ok(tmpfs)
}

fn put(root: BorrowedFd<'_>, at: &str, tree: OwnedFd) -> io::Result<()> {
    let target = mount::locate_beneath(root, Path::new(at))?;
    mount::attach(tree.as_fd(), target.as_fd())
}

fn device(root: BorrowedFd<'_>) -> io::Result<()> {
    let node = mount::locate(Path::new("/dev/null"))?;
    let tree = mount::clone_tree(node.as_fd())?;
    mount::set_attributes(tree.as_fd(), attr::NOSUID | attr::NOEXEC)?;
    put(root, "dev/null", tree)
}

fn pivot(root: BorrowedFd<'_>) -> io::Result<()> {
    mount::set_attributes_of_one(root, attr::RDONLY | attr::NOEXEC | BASE)?;
    rustix::process::fchdir(root)?;
    mount::pivot_to_current_directory()?;
    // The host's /sys is gone, and nothing can be made here.
    refused(files::open(c"/sys", libc::O_RDONLY), libc::ENOENT)?;
    let here = mount::root()?;
    let made = mount::make_directory(here.as_fd(), c"new", 0o755);
    refused(made, libc::EROFS)
}

/// Where people work: a grant of root lies on one of these file systems.
fn places() -> Vec<PathBuf> {
    let paths = [".", "/tmp", "/home"].map(std::fs::canonicalize);
    let mut list: Vec<PathBuf> = paths.into_iter().flatten().collect();
    list.sort();
    list.dedup();
    list
}

pub(super) fn idmap(child: &Child) -> io::Result<()> {
    let places = places();
    let namespace = namespaces::for_idmap((0, 0), (SANDBOX_UID, SANDBOX_UID))?;
    let map = |path: &Path| -> io::Result<()> {
        let tree = mount::clone_tree(mount::locate(path)?.as_fd())?;
        mount::set_idmap(tree.as_fd(), namespace.as_fd())?;
        let shown = rustix::fs::fstat(&tree)?;
        let stored = rustix::fs::stat(path)?;
        // `fstat` of the mount's root shows the mapped owner.
        held(stored.st_uid != 0 || shown.st_uid == SANDBOX_UID)
    };
    let failed = |path: &PathBuf| Some((path.display().to_string(), errno(&map(path).err()?)));
    let (names, numbers): (Vec<_>, Vec<_>) = places.iter().filter_map(failed).unzip();
    child.step(names.join(", "));
    numbers.first().map_or(Ok(()), |number| Err(error(*number)))
}
