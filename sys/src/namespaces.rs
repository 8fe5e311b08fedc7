//! Namespaces, their id maps, and the loopback of a network namespace: `clone3(2)`, `namespaces(7)`,
//! `user_namespaces(7)`.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::{check, files, process, signal};

/// `clone3(2)` without sharing memory, in new namespaces (`CLONE_NEW*`), straight into a cgroup2
/// group if one is given. Returns the child's pid and pidfd, or `None` in the child. With `CLONE_PARENT` it is a sibling.
///
/// The caller must be single-threaded: the child continues with a copy of its memory.
pub fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<(i32, OwnedFd)>> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain data for which all zeroes is a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    // A sibling has its exit signal from the caller.
    if flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` has the size said, and `pidfd` is written before the call returns. Without
    // CLONE_VM the child has its own copy of this stack, so returning twice is as with fork.
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some((pid as i32, pidfd)))
}

/// As [`clone`] without namespaces, for a process that takes no signals: all are blocked from its first moment, so that
/// none, such as the terminal's Control-Z, can stop or end it.
pub fn clone_without_signals() -> io::Result<Option<(i32, OwnedFd)>> {
    let before = signal::block_all();
    let cloned = clone(0, None);
    if !matches!(cloned, Ok(None)) {
        before.restore();
    }
    cloned
}

/// `unshare(2)`.
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: no pointers; no namespace affects this process's memory.
    check(unsafe { libc::unshare(flags) })?;
    Ok(())
}

/// `setns(2)` into namespaces of a process.
pub fn join(pidfd: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    let kinds = ThreadNameSpaceType::from_bits_retain(flags as u32);
    Ok(move_into_thread_name_spaces(pidfd, kinds)?)
}

/// Enters a user namespace, with all capabilities in it, unless this process is in it already.
pub fn join_user(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers; no memory is concerned.
    match check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
        _ => Ok(()),
    }
}

/// Brings `lo` up in the current network namespace: `netdevice(7)`.
pub fn loopback_up() -> io::Result<()> {
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    // SAFETY: `ifreq` is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads `request`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) })?;
    Ok(())
}

/// Formats one line of an id map, `inside outside 1`, without allocating.
fn map_line(buffer: &mut [u8; 32], inside: u32, outside: u32) -> &[u8] {
    let mut cursor = io::Cursor::new(&mut buffer[..]);
    // 32 bytes hold two numbers of ten digits, the count and two blanks: this cannot fail.
    let _ = io::Write::write_fmt(&mut cursor, format_args!("{inside} {outside} 1"));
    let length = cursor.position() as usize;
    &buffer[..length]
}

fn write_file(path: &CStr, contents: &[u8]) -> io::Result<()> {
    let file = files::open(path, libc::O_WRONLY)?;
    files::write_all(file.as_fd(), contents)
}

/// Maps one user and one group id in the caller's own, new user namespace, from within.
///
/// Works for anybody whose effective ids are the outside ones; supplementary groups can no longer
/// be changed afterwards (`user_namespaces(7)`, "setgroups").
pub fn map_own_ids(uid: (u32, u32), gid: (u32, u32)) -> io::Result<()> {
    let mut buffer = [0; 32];
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/gid_map", map_line(&mut buffer, gid.0, gid.1))?;
    write_file(c"/proc/self/uid_map", map_line(&mut buffer, uid.0, uid.1))
}

/// Maps one user and one group id in the user namespace of `pid`, a child, from outside. Needs
/// `CAP_SETUID` and `CAP_SETGID` here.
pub fn map_ids_of(pid: i32, uid: (u32, u32), gid: (u32, u32)) -> io::Result<()> {
    let mut buffer = [0; 32];
    for (file, (inside, outside)) in [("gid_map", gid), ("uid_map", uid)] {
        let path = format!("/proc/{pid}/{file}\0");
        let path = CStr::from_bytes_with_nul(path.as_bytes())
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        write_file(path, map_line(&mut buffer, inside, outside))?;
    }
    Ok(())
}

/// Whether this process's user namespace has a user id: `uid_map` of `user_namespaces(7)`.
pub fn has_user(uid: u32) -> io::Result<bool> {
    let map = files::read_file(Path::new("/proc/self/uid_map"))?;
    Ok(maps(&String::from_utf8_lossy(&map), uid))
}

/// Whether an id map maps this inside id.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let fields = line.split_ascii_whitespace();
        let fields: Option<Vec<u64>> = fields.map(|field| field.parse().ok()).collect();
        matches!(fields.as_deref(), Some([start, _, count]) if (*start..start + count).contains(&id.into()))
    })
}

/// A user namespace in which the ids `on_disk` appear as `in_mount`, for an id-mapped mount.
///
/// It belongs to a child that shares our descriptors and is gone when this returns; the
/// descriptor keeps the namespace. Needs `CAP_SETUID` and `CAP_SETGID`.
pub fn for_idmap(on_disk: (u32, u32), in_mount: (u32, u32)) -> io::Result<OwnedFd> {
    let mut result = Err(io::Error::from_raw_os_error(libc::EIO));
    let pid = process::vfork(libc::CLONE_FILES, || {
        result = (|| {
            let (uid, gid) = in_mount;
            // Anybody may write the map of their own id, so become that id first.
            process::become_ids(uid, gid)?;
            // Changing ids made this task undumpable, so root owns its /proc files.
            process::dumpable()?;
            unshare(libc::CLONE_NEWUSER)?;
            map_own_ids((on_disk.0, uid), (on_disk.1, gid))?;
            files::open(c"/proc/self/ns/user", libc::O_RDONLY)
        })();
        0
    })?;
    process::reap(pid)?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_mapped_where_a_line_has_it_inside() {
        assert!(maps("         0          0 4294967295\n", 65534));
        assert!(!maps("0 1000 1\n1 100000 65536\n", 65537));
        assert!(maps("0 1000 1\n1 100000 65536\n", 65536));
        assert!(!maps("", 0));
    }
}
