//! What is noted of which system call. The probes know calls by number, this table by name.

use aegis_runtime::seccomp::Arch;

use crate::note::kind::{BIND, CONNECT, LISTEN, OPEN, PATH, SEND, SEND_MESSAGE, SOCKET};

/// No such argument.
const NONE: u8 = 0xff;

/// The flag of a call that is noted only when it fails: see `CALL_FAILED_ONLY`.
const FAILED_ONLY: u8 = 1;

/// A system call whose arguments are noted.
struct Call {
    name: &'static str,
    kind: u8,
    flags: u8,
    /// Its paths: the numbers of the arguments with the path, and with the directory that it is relative to.
    paths: [(u8, u8); 2],
}

const fn call(name: &'static str, kind: u8, first: (u8, u8), second: (u8, u8)) -> Call {
    Call {
        name,
        kind,
        flags: 0,
        paths: [first, second],
    }
}

/// The path is argument `path`, relative to the working directory.
const fn path(name: &'static str, path: u8) -> Call {
    call(name, PATH, (path, NONE), (NONE, NONE))
}

/// The path is argument 1, relative to the directory in argument 0.
const fn at(name: &'static str) -> Call {
    call(name, PATH, (1, 0), (NONE, NONE))
}

const fn failed(call: Call) -> Call {
    Call {
        flags: FAILED_ONLY,
        ..call
    }
}

const CALLS: &[Call] = &[
    call("open", OPEN, (0, NONE), (NONE, NONE)),
    call("creat", OPEN, (0, NONE), (NONE, NONE)),
    call("openat", OPEN, (1, 0), (NONE, NONE)),
    call("openat2", OPEN, (1, 0), (NONE, NONE)),
    // What was executed is noted by itself, with what the kernel made of it.
    failed(path("execve", 0)),
    failed(at("execveat")),
    path("stat", 0),
    path("lstat", 0),
    at("newfstatat"),
    at("statx"),
    path("access", 0),
    at("faccessat"),
    at("faccessat2"),
    path("readlink", 0),
    at("readlinkat"),
    path("statfs", 0),
    path("chdir", 0),
    path("chroot", 0),
    path("truncate", 0),
    path("mkdir", 0),
    at("mkdirat"),
    path("rmdir", 0),
    path("unlink", 0),
    at("unlinkat"),
    path("mknod", 0),
    at("mknodat"),
    call("rename", PATH, (0, NONE), (1, NONE)),
    call("renameat", PATH, (1, 0), (3, 2)),
    call("renameat2", PATH, (1, 0), (3, 2)),
    call("link", PATH, (0, NONE), (1, NONE)),
    call("linkat", PATH, (1, 0), (3, 2)),
    path("symlink", 1),
    call("symlinkat", PATH, (2, 1), (NONE, NONE)),
    path("chmod", 0),
    at("fchmodat"),
    at("fchmodat2"),
    path("chown", 0),
    path("lchown", 0),
    at("fchownat"),
    path("utime", 0),
    path("utimes", 0),
    at("futimesat"),
    at("utimensat"),
    path("setxattr", 0),
    path("lsetxattr", 0),
    path("getxattr", 0),
    path("lgetxattr", 0),
    path("listxattr", 0),
    path("llistxattr", 0),
    path("removexattr", 0),
    path("lremovexattr", 0),
    path("inotify_add_watch", 1),
    at("name_to_handle_at"),
    at("open_tree"),
    at("move_mount"),
    call("mount", PATH, (1, NONE), (NONE, NONE)),
    path("umount2", 0),
    call("pivot_root", PATH, (0, NONE), (1, NONE)),
    call("socket", SOCKET, (NONE, NONE), (NONE, NONE)),
    call("listen", LISTEN, (NONE, NONE), (NONE, NONE)),
    call("bind", BIND, (NONE, NONE), (NONE, NONE)),
    call("connect", CONNECT, (NONE, NONE), (NONE, NONE)),
    call("sendto", SEND, (NONE, NONE), (NONE, NONE)),
    call("sendmsg", SEND_MESSAGE, (NONE, NONE), (NONE, NONE)),
    call("sendmmsg", SEND_MESSAGE, (NONE, NONE), (NONE, NONE)),
];

/// The probes' table, by number: kind, flags, first path and directory, second path and directory.
pub(crate) fn table() -> impl Iterator<Item = (u32, [u8; 6])> {
    CALLS.iter().filter_map(|call| {
        let [first, second] = call.paths;
        let row = [call.kind, call.flags, first.0, first.1, second.0, second.1];
        Some((Arch::native().number(call.name)?, row))
    })
}

/// The name of the system call with this number.
pub(crate) fn name(number: u32) -> String {
    Arch::native()
        .name(number)
        .map_or_else(|| format!("{number}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_that_is_noted_exists_on_some_architecture() {
        for call in CALLS {
            let known = Arch::ALL
                .iter()
                .any(|arch| arch.number(call.name).is_some());
            assert!(known, "{}", call.name);
        }
    }
}
