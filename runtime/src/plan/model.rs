//! The parts of a plan: plain values, in the kernel's terms. The parent module and those beside this
//! one make them; [`crate::apply`] carries them out.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_policy::{Hash, Opinion, Verdict, What};
use aegis_profile::Endpoint;
use serde::Serialize;

use super::stdio::Stdio;
use super::{Limits, Operations};
use crate::seccomp;
use crate::types::{BrokerSocket, GrantOrigin, Identity, Network, bytes};

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

/// A Landlock rule for a path of the new root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathRule {
    /// The path, free of links.
    #[serde(serialize_with = "bytes::one")]
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

/// One grant: what is granted, its origin, and the policy's opinion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// What is granted, as a policy is asked for it.
    pub what: What,
    /// Its origin.
    pub from: GrantOrigin,
    /// The policy's opinion; `None`: not asked yet, see [`super::authority::decide`].
    pub decision: Option<Opinion>,
}

impl Grant {
    /// A grant that no policy was asked for yet.
    pub fn new(what: What, from: impl Into<GrantOrigin>) -> Self {
        Self {
            what,
            from: from.into(),
            decision: None,
        }
    }

    /// The path of a file, a tree or a program.
    pub fn path(&self) -> Option<&Path> {
        let place = self.what.place()?;
        Some(Path::new(OsStr::from_bytes(place.path.as_bytes())))
    }
}

/// A line that denies something inside of what is granted, and what was found of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeniedPaths {
    /// As declared.
    pub what: String,
    /// Where.
    pub from: GrantOrigin,
    /// What was there when the run started, free of links.
    #[serde(serialize_with = "bytes::list")]
    pub paths: Vec<OsString>,
}

/// The policy that decided about a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// [`aegis_policy::Policy::name`].
    pub name: String,
    /// [`aegis_policy::Policy::hash`].
    pub hash: Hash,
    /// The verdict on the run as a whole.
    pub verdict: Verdict,
}

/// A request or a default that this host cannot fully enforce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Degraded {
    /// The layer.
    pub layer: &'static str,
    /// What is missing, and what stands in for it.
    pub what: String,
    /// How to fix it.
    pub fix: String,
}

/// A secret that is put into requests on their way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Its alias.
    pub alias: String,
    /// The one host, and port, that it is sent to.
    pub to: Endpoint,
    /// The header that every request is given: its name, and its value with `{}` for the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<(String, String)>,
    /// The parameter of the URL that every request is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What the command has in place of it: the variable, and its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<(String, String)>,
    /// How long after the start it is sent, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// A host that is spoken to over TLS, which the broker opens: it has an authority of its own, which the sandbox trusts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// As the profile names it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The rules of the policy that tell requests to it apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Arc<str>>,
    /// The secrets that are put into requests to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// Everything that is done to the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The format of this value.
    pub version: u32,
    /// The profile's name.
    pub profile: String,
    /// The user and group of the command.
    pub identity: Identity,
    /// Namespaces.
    pub namespaces: Vec<Namespace>,
    /// Host name.
    pub hostname: String,
    /// The new root.
    pub root: Operations,
    /// Landlock.
    pub landlock: Landlock,
    /// seccomp.
    pub seccomp: seccomp::Filter,
    /// What the filter was made from: gives the error of a call that the supervisor refuses.
    #[serde(skip)]
    pub syscalls: seccomp::SyscallSpec,
    /// Network.
    pub network: Network,
    /// Sockets that PID 1 opens for the broker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<BrokerSocket>,
    /// TCP ports of the host's loopback that a broker connects to the same ports inside, through the sockets of
    /// [`INWARD`](crate::types::INWARD), which PID 1 opens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<u16>,
    /// How the execution of memfds is prevented.
    pub memfd: Memfd,
    /// The caller's file mode creation mask.
    pub umask: u32,
    /// The highest capability to drop.
    pub last_capability: u8,
    /// Control group and other limits.
    pub limits: Limits,
    /// The command runs in its own process group of the caller's terminal session.
    pub terminal: bool,
    /// How it gets the caller's 0, 1 and 2.
    pub stdio: Stdio,
    /// Environment.
    #[serde(serialize_with = "bytes::map")]
    pub environment: BTreeMap<OsString, OsString>,
    /// The file executed.
    #[serde(serialize_with = "bytes::one")]
    pub program: PathBuf,
    /// Arguments, the name first.
    #[serde(serialize_with = "bytes::list")]
    pub argv: Vec<OsString>,
    /// Working directory.
    #[serde(serialize_with = "bytes::one")]
    pub directory: PathBuf,
    /// Descriptors handed on beside 0, 1, 2.
    pub keep_fds: Vec<i32>,
    /// What was granted, and by which line.
    pub grants: Vec<Grant>,
    /// What is denied inside of what was granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<DeniedPaths>,
    /// Secrets that the broker puts in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Hosts whose TLS is opened outside of the sandbox, once the policy was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<Opened>,
    /// The policy; `None`: not asked yet.
    pub policy: Option<InForce>,
    /// `$SKILL`, `$WORK` and `$HOME`, the longest first: for printing paths as a profile declares them.
    #[serde(skip)]
    pub variables: Vec<(String, PathBuf)>,
    /// What is degraded on this host.
    pub degraded: Vec<Degraded>,
}

impl Plan {
    /// The plan as canonical JSON: keys in declaration order or sorted, no white space.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            unreachable!("a plan has string keys and finite numbers only: {error}")
        })
    }

    /// Whether a broker is between the sandbox and others: to reach them, or to be reached.
    pub fn has_broker(&self) -> bool {
        self.network == Network::Brokered || !self.published.is_empty()
    }

    /// Whether the command may make, bind and connect Unix sockets in the sandbox's own places.
    pub fn has_private_sockets(&self) -> bool {
        self.syscalls.unix_sockets == seccomp::UnixSockets::Private
    }

    /// SHA-256 of [`Plan::to_json`].
    pub fn hash(&self) -> Hash {
        Hash::of_canonical(self)
    }
}
