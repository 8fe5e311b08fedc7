//! Mounts: a root as a run builds it, step by step, and id-mapped mounts.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::child::{self, Door};
use super::host::Host;
use super::layer::{Finding, Layer, NOT_HELD, errno, error};
use crate::types::SANDBOX_UID;
use aegis_sys::mount::{self, attr};
use aegis_sys::{files, namespaces};

const BASE: u64 = attr::NOSUID | attr::NODEV;
const BUILT: [Layer; 5] = [
    Layer::MountCalls,
    Layer::Root,
    Layer::Devices,
    Layer::Proc,
    Layer::Terminals,
];

pub(super) fn probe(host: &Host) -> Vec<Finding> {
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC;
    let mut all = child::inside(&BUILT, flags, build);
    if host.uid == 0 {
        all.extend(child::apart(&[Layer::Idmap], || vec![idmap()]));
    }
    all
}

fn build(door: &Door) -> Vec<Finding> {
    if door.take_ids().is_err() {
        return Finding::all_need(&BUILT, Layer::Ids).collect();
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    let root = match base() {
        Ok(root) => root,
        Err((doing, error)) => {
            let mut all = vec![Finding::of(Layer::MountCalls, doing, Err(error))];
            all.extend(Finding::all_need(&BUILT[1..], Layer::MountCalls));
            return all;
        }
    };
    let root = root.as_fd();
    let device = device(root);
    let own_proc = own_proc(root);
    let terminals = terminals(root);
    let pivoted = pivot(root);
    let arrived = pivoted.is_ok();
    let mut all = vec![
        Finding::works(Layer::MountCalls),
        Finding::of(Layer::Root, "changing to the new root", pivoted),
    ];
    if !arrived {
        all.extend(Finding::all_need(&BUILT[2..], Layer::Root));
        return all;
    }
    let write = || {
        let null = files::open(c"/dev/null", libc::O_WRONLY)?;
        files::write_all(null.as_fd(), b"aegis")
    };
    all.push(Finding::of(
        Layer::Devices,
        "binding /dev/null",
        device.and_then(|()| write()),
    ));
    let first = || match std::fs::read_link("/proc/self") {
        Ok(number) if number == Path::new("1") => Ok(()),
        Ok(_) => Err(error(NOT_HELD)),
        Err(error) => Err(error),
    };
    all.push(Finding::of(
        Layer::Proc,
        "mounting proc",
        own_proc.and_then(|()| first()),
    ));
    let open = || files::open(c"/dev/pts/ptmx", libc::O_RDWR | libc::O_NOCTTY).map(drop);
    all.push(Finding::of(
        Layer::Terminals,
        "mounting devpts",
        terminals.and_then(|()| open()),
    ));
    all
}

type Step<T> = Result<T, (&'static str, io::Error)>;

/// A tmpfs over `/` with a read-only copy of `/usr` in it.
fn base() -> Step<OwnedFd> {
    let at = |doing: &'static str| move |error: io::Error| (doing, error);
    let options: [(&CStr, &CStr); 2] = [(c"mode", c"755"), (c"size", c"1048576")];
    let tmpfs = mount::new_filesystem(c"tmpfs", &options, BASE).map_err(at("fsopen of a tmpfs"))?;
    let host = mount::root().map_err(at("openat2"))?;
    mount::attach(tmpfs.as_fd(), host.as_fd()).map_err(at("move_mount"))?;
    let root = tmpfs.as_fd();
    for dir in [c"usr", c"proc", c"dev", c"dev/pts"] {
        mount::make_directory(root, dir, 0o755).map_err(at("mkdirat in a tmpfs"))?;
    }
    mount::make_file(root, c"dev/null", 0, b"").map_err(at("openat in a tmpfs"))?;
    let usr = mount::locate(Path::new("/usr")).map_err(at("openat2"))?;
    let tree = mount::clone_tree(usr.as_fd()).map_err(at("open_tree"))?;
    mount::set_attributes(tree.as_fd(), attr::RDONLY | BASE).map_err(at("mount_setattr"))?;
    put(root, "usr", tree).map_err(at("move_mount"))?;
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

fn own_proc(root: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = BASE | attr::RDONLY | attr::NOEXEC;
    put(
        root,
        "proc",
        mount::new_filesystem(c"proc", &[], attributes)?,
    )
}

fn terminals(root: BorrowedFd<'_>) -> io::Result<()> {
    let options: [(&CStr, &CStr); 2] = [(c"ptmxmode", c"0666"), (c"mode", c"0620")];
    let attributes = attr::NOSUID | attr::NOEXEC;
    put(
        root,
        "dev/pts",
        mount::new_filesystem(c"devpts", &options, attributes)?,
    )
}

fn pivot(root: BorrowedFd<'_>) -> io::Result<()> {
    mount::set_attributes_of_one(root, attr::RDONLY | attr::NOEXEC | BASE)?;
    rustix::process::fchdir(root)?;
    mount::pivot_to_current_directory()?;
    // The host's /sys is gone, and nothing can be made here.
    super::layer::refused(files::open(c"/sys", libc::O_RDONLY), libc::ENOENT)?;
    let here = mount::root()?;
    super::layer::refused(
        mount::make_directory(here.as_fd(), c"new", 0o755),
        libc::EROFS,
    )
}

/// Where people work: what root grants lies on one of these file systems.
fn places() -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = Vec::new();
    let here = std::env::current_dir().ok();
    for path in here.into_iter().chain(["/tmp".into(), "/home".into()]) {
        if let Ok(path) = std::fs::canonicalize(path)
            && !list.contains(&path)
        {
            list.push(path);
        }
    }
    list
}

fn idmap() -> Finding {
    let places = places();
    let namespace = match namespaces::for_idmap((0, 0), (SANDBOX_UID, SANDBOX_UID)) {
        Ok(namespace) => namespace,
        Err(error) => return Finding::of(Layer::Idmap, "mapping the ids of root", Err(error)),
    };
    let map = |path: &Path| -> io::Result<()> {
        let tree = mount::clone_tree(mount::locate(path)?.as_fd())?;
        mount::set_idmap(tree.as_fd(), namespace.as_fd())?;
        let shown = mount::identity(tree.as_fd())?;
        let stored = rustix::fs::stat(path)?;
        // `fstat` of the mount's root tells the mapped owner.
        if stored.st_uid == 0 && shown.uid != SANDBOX_UID {
            return Err(error(NOT_HELD));
        }
        Ok(())
    };
    let failed = |path: &PathBuf| Some((path.display().to_string(), errno(&map(path).err()?)));
    let (names, numbers): (Vec<_>, Vec<_>) = places.iter().filter_map(failed).unzip();
    match numbers.first() {
        None => Finding::works(Layer::Idmap),
        Some(number) => Finding::fails(Layer::Idmap, *number, names.join(", ")),
    }
}
