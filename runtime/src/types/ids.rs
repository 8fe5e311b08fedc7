//! The user and group of the command, and the names of a run and its sandbox.

use std::time::SystemTime;

use serde::Serialize;

/// The host name of every sandbox.
pub const HOSTNAME: &str = "aegis";

/// The user id of a sandbox started by root if root owns `$WORK`: high, and in no range that
/// Debian, systemd or container tools allocate from.
pub const SANDBOX_UID: u32 = 2_061_893_632;

/// The user and group that the command runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// User id, inside and outside alike.
    pub uid: u32,
    /// Group id, inside and outside alike.
    pub gid: u32,
    /// Whether the caller is another user (root), who writes the id maps from outside.
    pub switch: bool,
}

/// A run's id, unique on this host: the pid, and the time it was started.
pub fn run_id() -> String {
    format!("{}-{:x}", std::process::id(), now())
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |time| time.as_micros() as u64)
}
