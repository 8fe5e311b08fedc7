//! What a profile says, one key for each thing that an enforcer can hold or not. Every field of a profile is named here: a new one does not
//! compile until somebody has said what becomes of it in the other formats.

use std::fmt;

use aegis_profile::{Capabilities, Environment, LimitKey, Profile, Syscalls};

/// Something that a profile bounds. Printed as the key of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// What every sandbox is, whatever its profile says.
    Sandbox,
    /// The command: `run`, or the one that was given.
    Run,
    /// `capabilities.files.read`.
    Read,
    /// `capabilities.files.write`.
    Write,
    /// `capabilities.files.overlay`.
    Overlay,
    /// `capabilities.files.deny`.
    Denied,
    /// `capabilities.shell.exec`.
    Exec,
    /// `capabilities.net.outbound`.
    Outbound,
    /// `capabilities.net.listen`.
    Listen,
    /// `capabilities.sockets`.
    Sockets,
    /// `capabilities.devices`.
    Devices,
    /// `environment`: both of its keys.
    Environment,
    /// One of `limits`.
    Limit(LimitKey),
    /// `limits.must-hold`.
    MustHold,
    /// `syscalls`: all of its keys.
    Syscalls,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "the sandbox itself",
            Self::Run => "run",
            Self::Read => "capabilities.files.read",
            Self::Write => "capabilities.files.write",
            Self::Overlay => "capabilities.files.overlay",
            Self::Denied => "capabilities.files.deny",
            Self::Exec => "capabilities.shell.exec",
            Self::Outbound => "capabilities.net.outbound",
            Self::Listen => "capabilities.net.listen",
            Self::Sockets => "capabilities.sockets",
            Self::Devices => "capabilities.devices",
            Self::Environment => "environment",
            Self::Limit(limit) => return write!(f, "limits.{limit}"),
            Self::MustHold => "limits.must-hold",
            Self::Syscalls => "syscalls",
        })
    }
}

/// What an enforcer has to hold for this profile. What is not granted is as much to be held as what is, so all grants are there; of
/// what takes away, only what is declared.
pub(crate) fn of(profile: &Profile) -> Vec<Key> {
    let Profile {
        aegis: _,
        name: _,
        description: _,
        // It grants nothing.
        baseline: _,
        extends: _,
        run: _,
        args: _,
        capabilities,
        environment,
        limits,
        syscalls,
        sources: _,
    } = profile;
    let Capabilities {
        files_read: _,
        files_write: _,
        files_overlay,
        files_deny,
        shell_exec: _,
        net_outbound: _,
        net_listen: _,
        sockets: _,
        // Refused before there is a plan.
        secrets_use: _,
        devices: _,
    } = capabilities;
    let Environment { pass: _, set: _ } = environment;
    let Syscalls {
        base: _,
        allow: _,
        deny: _,
    } = syscalls;
    let mut keys = vec![
        Key::Sandbox,
        Key::Run,
        Key::Read,
        Key::Write,
        Key::Exec,
        Key::Outbound,
        Key::Listen,
        Key::Sockets,
        Key::Devices,
        Key::Environment,
        Key::Syscalls,
    ];
    if !files_overlay.is_empty() {
        keys.push(Key::Overlay);
    }
    if !files_deny.is_empty() {
        keys.push(Key::Denied);
    }
    keys.extend(limits.iter().map(|(limit, _)| Key::Limit(limit)));
    if !limits.must_hold().is_empty() {
        keys.push(Key::MustHold);
    }
    keys
}
