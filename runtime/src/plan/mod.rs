//! The plan: a profile compiled to kernel terms. Pure data, a pure function of profile, request
//! and host facts ([`compile`]); it can be printed ([`explain`]), hashed and tested without a
//! kernel. [`crate::apply`] carries it out and computes nothing.

pub mod bytes;
pub mod devices;
pub mod explain;
pub mod files;
mod limits;
pub mod path_map;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use aegis_profile::{Outbound, Profile};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::facts::{self, HostFacts, Request};
use crate::kernel::landlock;
use crate::seccomp;

pub use files::{Grant, GrantKind};
pub use limits::{CORE_LIMIT, GroupLimits, Limits};
pub use path_map::PathMap;

/// The host name of every sandbox.
pub const HOSTNAME: &str = "aegis";

/// The user id of a sandbox started by root where `$WORK` is root's: high, and in no range that
/// Debian, systemd or container tools allocate from.
pub const SANDBOX_UID: u32 = 2_061_893_632;

/// Who the command is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// User id, inside and outside alike.
    pub uid: u32,
    /// Group id, inside and outside alike.
    pub gid: u32,
    /// Whether the caller is another user (root), who writes the id maps from outside.
    pub switch: bool,
}

/// A namespace of the sandbox's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// Users and groups.
    User,
    /// Mounts.
    Mount,
    /// Processes.
    Pid,
    /// System V and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// Control groups.
    Cgroup,
    /// Network.
    Net,
}

/// One entry of the new root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Entry {
    /// A directory made in the root's tmpfs.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link made there.
    Symlink {
        /// Its text.
        #[serde(with = "bytes::path")]
        target: PathBuf,
    },
    /// A file made there.
    File {
        /// Its content.
        contents: String,
    },
    /// An empty file made there, to mount on.
    MountPoint,
}

/// Something mounted into the new root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where.
    #[serde(with = "bytes::path")]
    pub at: PathBuf,
    /// What.
    pub source: Source,
    /// May be written.
    pub write: bool,
    /// Files in it may be executed and mapped executable.
    pub exec: bool,
}

/// What a [`Mount`] shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Source {
    /// A host path, free of links; applying fails when it is no longer this inode.
    Host {
        /// The path.
        #[serde(with = "bytes::path")]
        path: PathBuf,
        /// Device number.
        dev: u64,
        /// Inode number.
        ino: u64,
        /// On-disk ids that appear as the sandbox's own, through an id-mapped mount.
        #[serde(skip_serializing_if = "Option::is_none")]
        idmap: Option<(u32, u32)>,
    },
    /// A device node of the host.
    Device {
        /// The node.
        #[serde(with = "bytes::path")]
        path: PathBuf,
    },
    /// A directory of the root's own tmpfs, writable: `/tmp`, `/dev/shm`, the home directory.
    Scratch,
    /// `proc(5)` of the sandbox's pid namespace.
    Proc,
    /// A `devpts` instance of the sandbox's own.
    Pseudoterminals,
    /// An empty, read-only directory or `/dev/null` over something in `/proc`.
    Mask,
}

/// A Landlock rule for a path of the new root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathRule {
    /// The path, free of links.
    #[serde(with = "bytes::path")]
    pub path: PathBuf,
    /// `LANDLOCK_ACCESS_FS_*`.
    pub access: u64,
}

/// The Landlock ruleset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Landlock {
    /// The ABI it is made for.
    pub abi: u32,
    /// `LANDLOCK_ACCESS_FS_*` denied unless a rule allows.
    pub handled_fs: u64,
    /// `LANDLOCK_ACCESS_NET_*` denied unless a rule allows.
    pub handled_net: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub scoped: u64,
    /// Rules for paths.
    pub paths: Vec<PathRule>,
    /// TCP ports that may be bound.
    pub bind: Vec<u16>,
}

/// The network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A namespace with a loopback device of its own, and nothing else.
    None,
    /// The host's.
    Host,
}

/// How programs are kept from being executed out of memory (`memfd_create(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Memfd {
    /// `vm.memfd_noexec=2` in the sandbox's pid namespace, which the host's root alone can write.
    Sysctl,
    /// The supervisor makes each memfd, sealed against execution (`MFD_NOEXEC_SEAL`).
    Supervised,
    /// Not at all: the kernel is older than 6.3.
    Unprotected,
}

/// Something asked for, or a default, that this host gives less of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Degradation {
    /// The layer.
    pub layer: &'static str,
    /// What is missing, and what stands in for it.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

/// Everything that is done to the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The format of this value.
    pub version: u32,
    /// The profile's name.
    pub profile: String,
    /// Who the command is.
    pub identity: Identity,
    /// Namespaces.
    pub namespaces: Vec<Namespace>,
    /// Host name.
    pub hostname: String,
    /// What is made in the new root before anything is mounted, by path.
    pub root: PathMap<Entry>,
    /// What is mounted, parents first.
    pub mounts: Vec<Mount>,
    /// Bytes that the root's tmpfs may hold.
    pub tmp_bytes: u64,
    /// Landlock.
    pub landlock: Landlock,
    /// seccomp.
    pub seccomp: seccomp::Filter,
    /// What that was made from: tells the error of a call that is refused by the supervisor.
    #[serde(skip)]
    pub syscalls: seccomp::SyscallSpec,
    /// Network.
    pub network: Network,
    /// How the execution of memfds is kept out.
    pub memfd: Memfd,
    /// The caller's file mode creation mask.
    pub umask: u32,
    /// The highest capability to drop.
    pub last_capability: u8,
    /// Control group and other limits.
    pub limits: Limits,
    /// The command runs in its own process group of the caller's terminal session.
    pub terminal: bool,
    /// Environment.
    #[serde(with = "bytes::map")]
    pub environment: BTreeMap<OsString, OsString>,
    /// The file executed.
    #[serde(with = "bytes::path")]
    pub program: PathBuf,
    /// Arguments, the name first.
    #[serde(with = "bytes::list")]
    pub argv: Vec<OsString>,
    /// Working directory.
    #[serde(with = "bytes::path")]
    pub directory: PathBuf,
    /// Descriptors handed on beside 0, 1, 2.
    pub keep_fds: Vec<i32>,
    /// What the profile granted, and which line did.
    pub grants: Vec<Grant>,
    /// `$SKILL`, `$WORK` and `$HOME`, the longest first: for printing paths as one would declare them.
    #[serde(skip)]
    pub variables: Vec<(String, PathBuf)>,
    /// What this host lacks.
    pub degraded: Vec<Degradation>,
}

impl Plan {
    /// The plan as canonical JSON: keys in declaration order or sorted, no white space.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            unreachable!("a plan has string keys and finite numbers only: {error}")
        })
    }

    /// Whether the filter asks the supervisor about some calls.
    pub fn seccomp_listener(&self) -> bool {
        true
    }

    /// SHA-256 of [`Plan::to_json`], in hexadecimal.
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(self.to_json().as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Compiles a profile for a host. Pure: the same input gives the same plan.
pub fn compile(profile: &Profile, request: &Request, facts: &HostFacts) -> Result<Plan, Error> {
    refuse_what_waits(profile)?;
    let mut degraded = Vec::new();
    let identity = identity(facts);
    let network = match profile.capabilities.net_outbound {
        Outbound::Host(_) => Network::Host,
        Outbound::None | Outbound::Named(_) => Network::None,
    };
    let landlock_needed = facts.kernel.landlock_abi == 0;
    if landlock_needed {
        return Err(Error::Unenforceable {
            origin: "this host".into(),
            what: "which programs may be executed and files read".into(),
            reason: "the kernel has no Landlock, or it is switched off".into(),
            help:
                "use Linux 5.13 or later with landlock in the lsm= list; `aegis doctor` says more"
                    .into(),
        });
    }
    let syscalls = syscalls(profile, facts, network);
    let layout = files::lay_out(profile, facts, &identity, network)?;
    let limits = limits::compile(profile, facts, &mut degraded)?;
    let landlock = landlock_ruleset(profile, facts, network, layout.rules, &mut degraded);
    let memfd = match (
        facts.kernel.memfd_noexec,
        facts.kernel.memfd_noexec_writable,
    ) {
        (true, true) => Memfd::Sysctl,
        (true, false) => Memfd::Supervised,
        (false, _) => Memfd::Unprotected,
    };
    if memfd == Memfd::Unprotected {
        degraded.push(Degradation {
            layer: "pid namespace",
            what: "vm.memfd_noexec is missing: a program can be executed from memory".into(),
            mend: "use Linux 6.3 or later".into(),
        });
    }
    let mut namespaces = vec![
        Namespace::User,
        Namespace::Mount,
        Namespace::Pid,
        Namespace::Ipc,
        Namespace::Uts,
        Namespace::Cgroup,
    ];
    if network == Network::None {
        namespaces.push(Namespace::Net);
    }
    Ok(Plan {
        version: 1,
        profile: profile.name.clone(),
        namespaces,
        hostname: HOSTNAME.into(),
        root: layout.root,
        mounts: layout.mounts,
        tmp_bytes: limits.tmp,
        landlock,
        seccomp: filter(profile, &syscalls, memfd)?,
        syscalls,
        network,
        memfd,
        umask: facts.umask,
        last_capability: facts.kernel.last_capability,
        limits,
        terminal: facts.terminal,
        environment: environment(profile, facts, &identity),
        program: facts.command.path.clone(),
        argv: facts.command.argv.clone(),
        directory: layout.directory,
        keep_fds: request.keep_fds.clone(),
        grants: layout.grants,
        variables: variables(facts),
        identity,
        degraded,
    })
}

/// What the format has and this build does not enforce is refused, never half-run.
fn refuse_what_waits(profile: &Profile) -> Result<(), Error> {
    let refuse = |origin: String, what: &str, reason: &str, help: &str| {
        Err(Error::Unenforceable {
            origin,
            what: what.into(),
            reason: reason.into(),
            help: help.into(),
        })
    };
    let capabilities = &profile.capabilities;
    if let Outbound::Named(list) = &capabilities.net_outbound
        && let Some(first) = list.first()
    {
        return refuse(
            first.origin.to_string(),
            "net.outbound by name",
            "the egress broker is not part of this version",
            "use `net.outbound: none`, or `net.outbound: host` for the host's whole network",
        );
    }
    if let Some((alias, secret)) = capabilities.secrets_use.iter().next() {
        return refuse(
            secret.origin.to_string(),
            &format!("the secret {alias:?}"),
            "secrets are put in by the egress broker, which is not part of this version",
            "remove `secrets.use`",
        );
    }
    let host = matches!(capabilities.net_outbound, Outbound::Host(_));
    if let (Some(port), false) = (capabilities.net_listen.first(), host) {
        return refuse(
            port.origin.to_string(),
            &format!("net.listen on port {}", port.value),
            "a port of a private network is published by the egress broker, which is not part of this version",
            "add `net.outbound: host`, or remove `net.listen`: programs inside may always listen for each other",
        );
    }
    if let (Some(rate), true) = (&profile.limits.net, host) {
        return refuse(
            rate.origin.to_string(),
            "limits.net",
            "the host's network is shared, and its traffic not shaped by this version",
            "remove `limits.net`, or use `net.outbound: none`",
        );
    }
    Ok(())
}

fn identity(facts: &HostFacts) -> Identity {
    let caller = &facts.caller;
    // Root of a user namespace that lacks the id is as limited as an ordinary user.
    if caller.uid != 0 || !caller.may_become_others {
        return Identity {
            uid: caller.uid,
            gid: caller.gid,
            switch: false,
        };
    }
    let (uid, gid) = match facts.work_owner {
        (0, _) => (SANDBOX_UID, SANDBOX_UID),
        (uid, 0) => (uid, SANDBOX_UID),
        owner => owner,
    };
    Identity {
        uid,
        gid,
        switch: true,
    }
}

fn landlock_ruleset(
    profile: &Profile,
    facts: &HostFacts,
    network: Network,
    rules: Vec<PathRule>,
    degraded: &mut Vec<Degradation>,
) -> Landlock {
    let abi = facts.kernel.landlock_abi;
    let mut lacks = |since: u32, what: &str| {
        if abi < since {
            degraded.push(Degradation {
                layer: "landlock",
                what: format!("ABI {abi}: {what}"),
                mend: format!("use a kernel with Landlock ABI {since}"),
            });
        }
    };
    lacks(
        2,
        "files cannot be moved between directories of a writable grant",
    );
    lacks(3, "truncation is bounded by the mounts alone");
    lacks(5, "device ioctls are bounded by seccomp alone");
    lacks(
        6,
        "abstract sockets and signals are bounded by namespaces alone",
    );
    let handled_fs = landlock::handled_fs(abi);
    let listen = network == Network::Host;
    if listen {
        lacks(4, "any TCP port can be bound");
    }
    Landlock {
        abi,
        handled_fs,
        handled_net: if abi >= 4 && listen {
            landlock::net::BIND_TCP
        } else {
            0
        },
        scoped: if abi >= 6 {
            landlock::scope::ABSTRACT_UNIX_SOCKET | landlock::scope::SIGNAL
        } else {
            0
        },
        paths: rules
            .into_iter()
            .map(|rule| PathRule {
                access: rule.access & handled_fs,
                ..rule
            })
            .filter(|rule| rule.access != 0)
            .collect(),
        bind: if listen {
            profile
                .capabilities
                .net_listen
                .iter()
                .map(|port| port.value)
                .collect()
        } else {
            Vec::new()
        },
    }
}

fn syscalls(profile: &Profile, facts: &HostFacts, network: Network) -> seccomp::SyscallSpec {
    let asked = &profile.syscalls;
    let names = |list: &[aegis_profile::Declared<String>]| -> Vec<String> {
        list.iter().map(|name| name.value.clone()).collect()
    };
    seccomp::SyscallSpec {
        base: match asked.base.as_ref().map(|base| base.value) {
            None | Some(aegis_profile::SyscallBase::Default) => seccomp::Base::Default,
            Some(aegis_profile::SyscallBase::Minimal) => seccomp::Base::Minimal,
            Some(aegis_profile::SyscallBase::Learned) => seccomp::Base::Learned,
        },
        allow: names(&asked.allow),
        deny: names(&asked.deny),
        notify: true,
        network: match network {
            Network::None => seccomp::Network::None,
            Network::Host => seccomp::Network::Host,
        },
        watch_stderr: true,
        listens: !profile.capabilities.net_listen.is_empty(),
        // A socket that is granted by name is there to be connected to.
        unix_sockets: asked.allow.iter().any(|name| name.value == "socket")
            || facts.paths.values().any(|found| {
                found
                    .as_ref()
                    .is_ok_and(|found| found.mode & libc::S_IFMT == libc::S_IFSOCK)
            }),
    }
}

fn filter(
    profile: &Profile,
    spec: &seccomp::SyscallSpec,
    memfd: Memfd,
) -> Result<seccomp::Filter, Error> {
    let mut filter = seccomp::filter_for(spec).map_err(|error| {
        let text = error.to_string();
        let asked = &profile.syscalls;
        let origin = asked
            .allow
            .iter()
            .chain(&asked.deny)
            .find(|name| text.contains(&name.value))
            .map(|name| format!("{}: ", name.origin))
            .unwrap_or_default();
        Error::Syscalls(format!("{origin}{text}"))
    })?;
    if memfd == Memfd::Supervised {
        let number = libc::SYS_memfd_create as u32;
        let supervised = seccomp::SyscallRule::Action(seccomp::Action::Notify);
        filter.rules.insert(number, supervised);
    }
    Ok(filter)
}

fn variables(facts: &HostFacts) -> Vec<(String, PathBuf)> {
    let mut list = vec![
        ("$WORK".to_owned(), facts.work.clone()),
        ("$HOME".to_owned(), facts.caller.home.clone()),
    ];
    list.extend(
        facts
            .skill
            .clone()
            .map(|skill| ("$SKILL".to_owned(), skill)),
    );
    list.sort_by_key(|(_, path)| std::cmp::Reverse(path.as_os_str().len()));
    list
}

fn environment(
    profile: &Profile,
    facts: &HostFacts,
    identity: &Identity,
) -> BTreeMap<OsString, OsString> {
    let user = files::user_name(facts, identity);
    let mut environment: BTreeMap<OsString, OsString> = BTreeMap::from([
        ("PATH".into(), facts::DEFAULT_PATH.into()),
        ("HOME".into(), facts.caller.home.clone().into()),
        ("USER".into(), user.clone().into()),
        ("LOGNAME".into(), user.into()),
        ("TMPDIR".into(), files::TMP.into()),
    ]);
    environment.extend(facts.environment.clone());
    for (name, value) in &profile.environment.set {
        environment.insert(name.into(), expand_value(&value.value, facts));
    }
    environment
}

/// Puts the four variables into a value of `environment.set`.
fn expand_value(value: &str, facts: &HostFacts) -> OsString {
    let mut out = OsString::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push(&rest[..at]);
        let tail = &rest[at + 1..];
        let length = tail
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(tail.len());
        let replacement = match &tail[..length] {
            "SKILL" => facts.skill.as_deref(),
            "WORK" => Some(facts.work.as_path()),
            "HOME" => Some(facts.caller.home.as_path()),
            "TMP" => Some(std::path::Path::new(files::TMP)),
            _ => None,
        };
        match replacement {
            Some(path) => out.push(path),
            None => {
                out.push("$");
                out.push(&tail[..length]);
            }
        }
        rest = &tail[length..];
    }
    out.push(rest);
    out
}

#[cfg(test)]
pub(crate) mod tests;
