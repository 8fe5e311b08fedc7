//! What is noted of which system call. The probes know calls by number, this table by name.

use aegis_runtime::seccomp::{Arch, NOTED, Noted, NotedPath};

use crate::note::kind::{BIND, CONNECT, LISTEN, OPEN, PATH, SEND, SEND_MESSAGE, SOCKET};

/// No such argument.
const NONE: u8 = 0xff;

/// The flag of a call that is noted only when it fails: see `CALL_FAILED_ONLY`.
const FAILED_ONLY: u8 = 1;

/// The probes' table, by number: kind, flags, first path and directory, second path and directory.
pub(crate) fn table() -> impl Iterator<Item = (u32, [u8; 6])> {
    NOTED.iter().filter_map(|call| {
        let (kind, flags) = match call.what {
            Noted::Open => (OPEN, 0),
            // What was executed is noted by itself, with what the kernel made of it.
            Noted::Execute => (PATH, FAILED_ONLY),
            Noted::Path => (PATH, 0),
            Noted::Socket => (SOCKET, 0),
            Noted::Listen => (LISTEN, 0),
            Noted::Bind => (BIND, 0),
            Noted::Connect => (CONNECT, 0),
            Noted::Send => (SEND, 0),
            Noted::SendMessage | Noted::SendMessages => (SEND_MESSAGE, 0),
        };
        let [first, second] = call.paths.map(|path| match path {
            Some(NotedPath { path, directory }) => [path, directory.unwrap_or(NONE)],
            None => [NONE; 2],
        });
        let row = [kind, flags, first[0], first[1], second[0], second[1]];
        Some((Arch::native().number(call.name)?, row))
    })
}

/// The name of the system call with this number.
pub(crate) fn name(number: u32) -> String {
    Arch::native()
        .name(number)
        .map_or_else(|| format!("{number}"), str::to_owned)
}
