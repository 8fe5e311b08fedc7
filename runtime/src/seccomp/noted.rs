//! System calls whose arguments are noted of an observed run: by the probes, which see them when they return, and by the
//! listener, which is asked before they happen.

use super::{Action, Arm, Condition, Op, SyscallRule};

/// What is noted of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// The file that it opens.
    Open,
    /// The program that it executes.
    Execute,
    /// The paths that it names.
    Path,
    /// The kind of socket that it makes.
    Socket,
    /// The address of a socket that listens.
    Listen,
    /// The address that it binds.
    Bind,
    /// The address that it connects to.
    Connect,
    /// The address that it sends to.
    Send,
    /// The address that it sends to, which is in a `struct msghdr`.
    SendMessage,
    /// The addresses that it sends to, in an array of `struct mmsghdr`.
    SendMessages,
}

/// A path among a call's arguments: the number of the argument that points to it, and of the one with the directory
/// that it is relative to, if not to the working directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotedPath {
    /// The argument that points to it.
    pub path: u8,
    /// The argument with the descriptor of a directory.
    pub directory: Option<u8>,
}

/// A call whose arguments are noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotedCall {
    /// Its name.
    pub name: &'static str,
    /// What is noted.
    pub what: Noted,
    /// Its paths.
    pub paths: [Option<NotedPath>; 2],
    /// The argument with the flags, where it has `AT_*` flags.
    pub flags: Option<u8>,
}

/// `AT_EMPTY_PATH` (`linux/fcntl.h`): the call is about the descriptor, if its path is empty.
pub const AT_EMPTY_PATH: u64 = 0x1000;

const fn call(
    name: &'static str,
    what: Noted,
    first: Option<NotedPath>,
    second: Option<NotedPath>,
) -> NotedCall {
    NotedCall {
        name,
        what,
        paths: [first, second],
        flags: None,
    }
}

const fn named(path: u8) -> Option<NotedPath> {
    let directory = None;
    Some(NotedPath { path, directory })
}

const fn below(directory: u8, path: u8) -> Option<NotedPath> {
    let directory = Some(directory);
    Some(NotedPath { path, directory })
}

/// The path is argument `path`, relative to the working directory.
const fn path(name: &'static str, path: u8) -> NotedCall {
    call(name, Noted::Path, named(path), None)
}

/// The path is argument 1, relative to the directory in argument 0.
const fn at(name: &'static str) -> NotedCall {
    call(name, Noted::Path, below(0, 1), None)
}

const fn flagged(name: &'static str, flags: u8) -> NotedCall {
    NotedCall {
        flags: Some(flags),
        ..at(name)
    }
}

const fn other(name: &'static str, what: Noted) -> NotedCall {
    call(name, what, None, None)
}

/// All of them.
pub const NOTED: &[NotedCall] = &[
    call("open", Noted::Open, named(0), None),
    call("creat", Noted::Open, named(0), None),
    call("openat", Noted::Open, below(0, 1), None),
    call("openat2", Noted::Open, below(0, 1), None),
    call("execve", Noted::Execute, named(0), None),
    NotedCall {
        flags: Some(4),
        ..call("execveat", Noted::Execute, below(0, 1), None)
    },
    path("stat", 0),
    path("lstat", 0),
    flagged("newfstatat", 3),
    flagged("statx", 2),
    path("access", 0),
    at("faccessat"),
    flagged("faccessat2", 3),
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
    flagged("unlinkat", 2),
    path("mknod", 0),
    at("mknodat"),
    call("rename", Noted::Path, named(0), named(1)),
    call("renameat", Noted::Path, below(0, 1), below(2, 3)),
    call("renameat2", Noted::Path, below(0, 1), below(2, 3)),
    call("link", Noted::Path, named(0), named(1)),
    call("linkat", Noted::Path, below(0, 1), below(2, 3)),
    path("symlink", 1),
    call("symlinkat", Noted::Path, below(1, 2), None),
    path("chmod", 0),
    at("fchmodat"),
    flagged("fchmodat2", 3),
    path("chown", 0),
    path("lchown", 0),
    flagged("fchownat", 4),
    path("utime", 0),
    path("utimes", 0),
    at("futimesat"),
    flagged("utimensat", 3),
    path("setxattr", 0),
    path("lsetxattr", 0),
    path("getxattr", 0),
    path("lgetxattr", 0),
    path("listxattr", 0),
    path("llistxattr", 0),
    path("removexattr", 0),
    path("lremovexattr", 0),
    path("inotify_add_watch", 1),
    flagged("name_to_handle_at", 4),
    at("open_tree"),
    at("move_mount"),
    path("mount", 1),
    path("umount2", 0),
    call("pivot_root", Noted::Path, named(0), named(1)),
    other("socket", Noted::Socket),
    other("listen", Noted::Listen),
    other("bind", Noted::Bind),
    other("connect", Noted::Connect),
    other("sendto", Noted::Send),
    other("sendmsg", Noted::SendMessage),
    other("sendmmsg", Noted::SendMessages),
];

impl NotedCall {
    /// The rule under which the supervisor is asked wherever this one allows. What it refuses stays refused. Calls without a
    /// path, or without an address, go on.
    pub(super) fn ask(&self, rule: &mut SyscallRule) {
        for then in (rule.arms.iter_mut().map(|arm| &mut arm.then)).chain([&mut rule.otherwise]) {
            if *then == Action::Allow {
                *then = Action::Notify;
            }
        }
        let passed = match (self.what, self.name) {
            (Noted::Send, _) => Condition::long(4, Op::Eq(0)),
            (_, "utimensat") => Condition::long(1, Op::Eq(0)),
            // The C library asks so about each file that it opens.
            (_, "newfstatat" | "statx") => {
                let flags = self.flags.unwrap_or_default();
                let (mask, value) = (AT_EMPTY_PATH, AT_EMPTY_PATH);
                Condition::int(flags, Op::MaskedEq { mask, value })
            }
            _ => return,
        };
        if rule.arms.is_empty() && rule.otherwise == Action::Notify {
            let then = Action::Allow;
            let when = vec![passed];
            rule.arms.push(Arm { when, then });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Arch;

    #[test]
    fn every_call_that_is_noted_exists_on_some_architecture() {
        for call in NOTED {
            let known = |arch: &Arch| arch.number(call.name).is_some();
            assert!(Arch::ALL.iter().any(known), "{}", call.name);
        }
    }
}
