//! Mounts by descriptor: `open_tree(2)`, `move_mount(2)`, `mount_setattr(2)`, `fsopen(2)`,
//! `pivot_root(2)`, and `openat2(2)` to open paths without following symbolic links.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use rustix::path::Arg;

use super::{check, files};

/// `MOUNT_ATTR_*` of `linux/mount.h`, for [`set_attributes`].
pub mod attr {
    pub use libc::{
        MOUNT_ATTR_NODEV as NODEV, MOUNT_ATTR_NOEXEC as NOEXEC, MOUNT_ATTR_NOSUID as NOSUID,
        MOUNT_ATTR_RDONLY as RDONLY,
    };
}

fn openat2(
    dir: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    let resolve = resolve | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        dir,
        path,
        flags,
        Mode::empty(),
        resolve,
    )?)
}

/// Opens an absolute path as a location (`O_PATH`), following no symbolic link in any component.
pub fn locate(path: &Path) -> io::Result<OwnedFd> {
    openat2(CWD, path, OFlags::empty(), ResolveFlags::empty())
}

/// As [`locate`], but opens a link at the end itself.
pub fn locate_itself(path: &Path) -> io::Result<OwnedFd> {
    openat2(CWD, path, OFlags::NOFOLLOW, ResolveFlags::empty())
}

/// As [`locate_itself`], for a path relative to `dir` that must stay below it.
pub fn locate_beneath(dir: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    openat2(dir, path, OFlags::NOFOLLOW, ResolveFlags::BENEATH)
}

/// Opens `/` as a location.
pub fn root() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(c"/", flags, Mode::empty())?)
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_RECURSIVE);

/// A detached copy of the mount tree at `location` (`OPEN_TREE_CLONE`), submounts included.
pub fn clone_tree(location: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = CLONE | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(location, c"", flags)?)
}

/// As [`clone_tree`], for a path below `dir`; a link at its end is not followed. Links before the end are
/// followed: only for paths without them.
pub fn clone_tree_at(dir: BorrowedFd<'_>, path: impl Arg) -> io::Result<OwnedFd> {
    let flags = CLONE | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    Ok(rustix::mount::open_tree(dir, path, flags)?)
}

/// `mount_setattr(2)`, which rustix does not have.
fn mount_setattr(mount: BorrowedFd<'_>, attr: libc::mount_attr, flags: i32) -> io::Result<()> {
    // SAFETY: `attr` has the size said; both it and the literal path outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

const UNCHANGED: libc::mount_attr = libc::mount_attr {
    attr_set: 0,
    attr_clr: 0,
    propagation: 0,
    userns_fd: 0,
};

/// Sets `MOUNT_ATTR_*` on a whole mount tree, and makes it private: nothing propagates either way.
pub fn set_attributes(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: set,
        propagation: libc::MS_PRIVATE,
        ..UNCHANGED
    };
    mount_setattr(mount, attr, libc::AT_RECURSIVE)
}

/// As [`set_attributes`], for one mount without those below it.
pub fn set_attributes_of_one(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: set,
        ..UNCHANGED
    };
    mount_setattr(mount, attr, 0)
}

/// Takes `MOUNT_ATTR_NOEXEC` from a mount.
pub fn allow_execution(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_clr: attr::NOEXEC,
        ..UNCHANGED
    };
    mount_setattr(mount, attr, 0)
}

/// Gives a detached mount the id mapping of a user namespace (`MOUNT_ATTR_IDMAP`), without its
/// submounts: those stay as they are.
pub fn set_idmap(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        userns_fd: user_namespace.as_raw_fd() as u64,
        ..UNCHANGED
    };
    mount_setattr(mount, attr, 0)
}

/// Attaches a detached mount on top of `target`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", target, c"", flags)?)
}

/// As [`attach`], on a path below `dir`; a link at its end is not followed. Links before the end are
/// followed: only for paths without them.
pub fn attach_at(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: impl Arg) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", dir, path, flags)?)
}

/// Makes a new file system of type `fs`, as a detached mount with `MOUNT_ATTR_*` `attributes`.
pub fn new_filesystem(
    fs: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value)?;
    }
    mounted(&context, attributes)
}

/// The file system of a context, as a detached mount.
fn mounted(context: &OwnedFd, attributes: u64) -> io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(context)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(rustix::mount::fsmount(context, flags, attributes)?)
}

/// An overlay of two directories, as a detached mount with `MOUNT_ATTR_*` `attributes`: what is written goes to `upper`, which is
/// on one mount with the empty directory `work`. In a user namespace (Linux 5.11), where its marks are `user.overlay.*`
/// attributes. Directories cannot be renamed that `lower` has. Nothing may be mounted in `lower`.
pub fn new_overlay(
    lower: &CStr,
    upper: &CStr,
    work: &CStr,
    attributes: u64,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let layers = [
        (c"lowerdir", lower),
        (c"upperdir", upper),
        (c"workdir", work),
    ];
    // A file keeps its inode number when it is first written to, and all are of one device.
    for (key, value) in layers.into_iter().chain([(c"xino", c"on")]) {
        rustix::mount::fsconfig_set_string(&context, key, value)?;
    }
    rustix::mount::fsconfig_set_flag(&context, c"userxattr")?;
    mounted(&context, attributes)
}

/// Takes the mount at a path, and those below it, out of the tree (`MNT_DETACH`).
pub fn detach(path: impl Arg) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH)?)
}

/// Makes the mount at the current directory the root, and detaches the old one.
///
/// `pivot_root(".", ".")` stacks the old root on top of the new one, from which it is then detached: the
/// idiom of `pivot_root(2)`, which needs no directory for the old root.
pub fn pivot_to_current_directory() -> io::Result<()> {
    rustix::process::pivot_root(c".", c".")?;
    detach(c".")?;
    Ok(rustix::process::chdir(c"/")?)
}

/// `mkdirat(2)`; succeeds if the directory exists already.
pub fn make_directory(dir: BorrowedFd<'_>, path: impl Arg, mode: u32) -> io::Result<()> {
    match rustix::fs::mkdirat(dir, path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a file with `contents`. Fails if it exists.
pub fn make_file(
    dir: BorrowedFd<'_>,
    path: impl Arg,
    mode: u32,
    contents: &[u8],
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, path, flags, Mode::from_raw_mode(mode))?;
    files::write_all(fd.as_fd(), contents)
}
