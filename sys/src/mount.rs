//! Mounts by descriptor: `open_tree(2)`, `move_mount(2)`, `mount_setattr(2)`, `fsopen(2)`,
//! `pivot_root(2)`, and `openat2(2)` to reach things without following a symbolic link.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::{check, cstring};

/// `MOUNT_ATTR_*` of `linux/mount.h`, for [`set_attributes`].
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits and file capabilities are ignored.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed, nor mapped executable.
    pub const NOEXEC: u64 = 0x8;
    /// The mount carries an id mapping.
    pub const IDMAP: u64 = 0x0010_0000;
}

const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;

/// What an O_PATH descriptor refers to, as `fstat(2)` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// File type and mode bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number, when this is a device node.
    pub rdev: u64,
}

/// `fstat(2)`.
pub fn identity(fd: BorrowedFd<'_>) -> io::Result<Identity> {
    identity_with(fd, c"", libc::AT_EMPTY_PATH)
}

/// `fstatat(2)`: what `name`, a single component, is in `dir`; a link itself.
pub fn identity_at(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Identity> {
    identity_with(dir, name, libc::AT_SYMLINK_NOFOLLOW)
}

fn identity_with(fd: BorrowedFd<'_>, name: &CStr, flags: i32) -> io::Result<Identity> {
    // SAFETY: `stat` is plain data for which all zeroes is a value; the kernel fills it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open for the call, and name and `stat` outlive it.
    check(unsafe { libc::fstatat(fd.as_raw_fd(), name.as_ptr(), &mut stat, flags) }.into())?;
    Ok(Identity {
        dev: stat.st_dev,
        ino: stat.st_ino,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev,
    })
}

fn openat2(dir: RawFd, path: &CStr, flags: i32, resolve: u64) -> io::Result<OwnedFd> {
    // SAFETY: `open_how` is plain data for which all zeroes is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = flags as u64;
    how.resolve = resolve;
    // SAFETY: `path` is NUL-terminated and `how` is as large as said; both outlive the call.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            dir,
            path.as_ptr(),
            &how,
            size_of::<libc::open_how>(),
        )
    })?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Opens an absolute path as a location (`O_PATH`), following no symbolic link in any component.
pub fn locate(path: &Path) -> io::Result<OwnedFd> {
    openat2(
        libc::AT_FDCWD,
        &cstring(path)?,
        libc::O_PATH | libc::O_CLOEXEC,
        RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    )
}

/// As [`locate`], but a link at the very end is opened itself.
pub fn locate_itself(path: &Path) -> io::Result<OwnedFd> {
    openat2(
        libc::AT_FDCWD,
        &cstring(path)?,
        libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC,
        RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    )
}

/// As [`locate_itself`], for a path relative to `dir` that must stay below it.
pub fn locate_beneath(dir: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    openat2(
        dir.as_raw_fd(),
        &cstring(path)?,
        libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC,
        RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH,
    )
}

/// A detached copy of the mount tree at `location` (`OPEN_TREE_CLONE`), submounts included.
pub fn clone_tree(location: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    open_tree(location, c"", libc::AT_EMPTY_PATH)
}

/// As [`clone_tree`], for a path below `dir`, a link at its end itself. Links on the way are followed:
/// for ways that have none.
pub fn clone_tree_at(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    open_tree(dir, path, libc::AT_SYMLINK_NOFOLLOW)
}

fn open_tree(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: i32 = 1;
    const AT_RECURSIVE: i32 = 0x8000;
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC | flags;
    // SAFETY: the path is NUL-terminated; it outlives the call, and the descriptor is open for it.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags as libc::c_uint,
        )
    })?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn mount_setattr(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    const AT_RECURSIVE: i32 = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` has the layout of `struct mount_attr` and the size said; both it and the
    // literal path outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// Sets `MOUNT_ATTR_*` on a whole mount tree, and makes it private: nothing propagates either way.
pub fn set_attributes(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    mount_setattr(mount, &attr, true)
}

/// As [`set_attributes`], for one mount without those below it.
pub fn set_attributes_of_one(mount: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    mount_setattr(mount, &attr, false)
}

/// Gives a detached mount the id mapping of a user namespace (`MOUNT_ATTR_IDMAP`), without its
/// submounts: those stay as they are.
pub fn set_idmap(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: attr::IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd() as u64,
    };
    mount_setattr(mount, &attr, false)
}

/// Attaches a detached mount on top of `target`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
    move_mount(mount, target, c"", MOVE_MOUNT_T_EMPTY_PATH)
}

/// As [`attach`], on a path below `dir`, a link at its end itself. Links on the way are followed: for
/// ways that have none.
pub fn attach_at(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    move_mount(mount, dir, path, 0)
}

fn move_mount(
    mount: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: libc::c_uint,
) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
    // SAFETY: both paths are NUL-terminated and outlive the call, and both descriptors are open for it.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            dir.as_raw_fd(),
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | flags,
        )
    })?;
    Ok(())
}

/// Makes a new file system of the kind `fs`, as a detached mount with `MOUNT_ATTR_*` `attributes`.
pub fn new_filesystem(
    fs: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: u64,
) -> io::Result<OwnedFd> {
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const CLOEXEC: libc::c_uint = 1;
    // SAFETY: the name is NUL-terminated and outlives the call.
    let context = check(unsafe { libc::syscall(libc::SYS_fsopen, fs.as_ptr(), CLOEXEC) })?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    let context = unsafe { OwnedFd::from_raw_fd(context as RawFd) };
    for (key, value) in options {
        // SAFETY: key and value are NUL-terminated and outlive the call.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                FSCONFIG_SET_STRING,
                key.as_ptr(),
                value.as_ptr(),
                0,
            )
        })?;
    }
    // SAFETY: this command takes no pointers.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            std::ptr::null::<u8>(),
            std::ptr::null::<u8>(),
            0,
        )
    })?;
    // SAFETY: fsmount takes no pointers.
    let mount = check(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            CLOEXEC,
            attributes as libc::c_uint,
        )
    })?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(mount as RawFd) })
}

/// Makes the mount at the current directory the root, and lets go of the old one.
///
/// `pivot_root(".", ".")` stacks the old root on top of the new one; detaching it is the idiom of
/// `pivot_root(2)`, and needs no directory to put it in.
pub fn pivot_to_current_directory() -> io::Result<()> {
    // SAFETY: both paths are NUL-terminated literals.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: the path is a NUL-terminated literal.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into())?;
    change_directory(c"/")
}

/// `chdir(2)`.
pub fn change_directory(path: &CStr) -> io::Result<()> {
    // SAFETY: the path is NUL-terminated and outlives the call.
    check(unsafe { libc::chdir(path.as_ptr()) }.into())?;
    Ok(())
}

/// `fchdir(2)`.
pub fn enter(dir: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call.
    check(unsafe { libc::fchdir(dir.as_raw_fd()) }.into())?;
    Ok(())
}

/// Opens `/` as a location.
pub fn root() -> io::Result<OwnedFd> {
    openat2(
        libc::AT_FDCWD,
        c"/",
        libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC,
        0,
    )
}

/// `mkdirat(2)`; a directory that is there already is fine.
pub fn make_directory(dir: BorrowedFd<'_>, path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: the path is NUL-terminated, the descriptor open for the call.
    match check(unsafe { libc::mkdirat(dir.as_raw_fd(), path.as_ptr(), mode) }.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
        _ => Ok(()),
    }
}

/// `symlinkat(2)`.
pub fn make_symlink(dir: BorrowedFd<'_>, path: &CStr, target: &CStr) -> io::Result<()> {
    // SAFETY: both paths are NUL-terminated, the descriptor open for the call.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), path.as_ptr()) }.into())?;
    Ok(())
}

/// Makes a file with `contents`, which must not be there yet.
pub fn make_file(dir: BorrowedFd<'_>, path: &CStr, mode: u32, contents: &[u8]) -> io::Result<()> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the path is NUL-terminated, the descriptor open for the call.
    let fd = check(unsafe { libc::openat(dir.as_raw_fd(), path.as_ptr(), flags, mode) }.into())?;
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    super::descriptors::write_all(fd.as_fd(), contents)
}
