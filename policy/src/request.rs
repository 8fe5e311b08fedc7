//! What a policy is asked: by whom, for what, and with which facts.
//!
//! Everything that a decision depends on is in here and is recorded with it: a decision can be made
//! again, anywhere, at any time. Fields are declared in the order of their names; what serde writes is
//! the canonical form, and its SHA-256 is the decision's input hash.

mod canonical;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Action, Inject, Scheme};
use crate::path::HostPath;
use aegis_profile::hash::Hash;

/// A question to a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What persons have approved of it before. What is not bound to this very request counts as nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// Who asks, and where.
    pub context: Context,
    /// For what.
    pub what: What,
}

/// Who asks, and what the variables of paths stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `$HOME`.
    pub home: HostPath,
    /// The profile's name.
    pub profile: String,
    /// The profile's hash.
    pub profile_hash: Hash,
    /// `$SKILL`, where the profile is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<HostPath>,
    /// The user id of the caller.
    pub uid: u32,
    /// `$WORK`.
    pub work: HostPath,
}

/// That a person said yes. Bound to the command, the skill, its profile, the policy whose rules asked, the
/// exact thing, and a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// When it was held against the clock: seconds since 1970.
    pub at: u64,
    /// [`What::command_hash`] of the run that it was given for.
    pub command: Hash,
    /// When it ends: seconds since 1970.
    pub expires: u64,
    /// [`What::command_hash`] of the run that it is held against. A request for one thing of a run does not
    /// name the command itself; a request for a run does, and it has to be that one.
    pub held_for: Hash,
    /// Which one it is, in the store and in the log.
    pub id: String,
    /// The hash of the policy whose rules asked for it.
    pub policy: Hash,
    /// The profile's hash.
    pub profile_hash: Hash,
    /// `$SKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<HostPath>,
    /// [`What::hash`] of what was approved.
    pub what: Hash,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", deny_unknown_fields)]
pub enum What {
    /// A device of the host.
    #[serde(rename = "devices")]
    Device {
        /// `gpu`, `kvm`, `pty`, or a path below `/dev`.
        device: String,
    },
    /// A variable of the caller's environment.
    #[serde(rename = "environment.pass")]
    Environment {
        /// Its name.
        name: String,
    },
    /// Reading a file or everything of a tree.
    #[serde(rename = "files.read")]
    Read {
        /// Absolute, free of links.
        path: HostPath,
        /// With everything below it.
        tree: bool,
    },
    /// Writing a file or anything in a tree.
    #[serde(rename = "files.write")]
    Write {
        /// Absolute, free of links.
        path: HostPath,
        /// With everything below it.
        tree: bool,
    },
    /// A limit of resources. `None`: as much as there is.
    #[serde(rename = "limits")]
    Limit {
        /// The key, as in a profile.
        limit: String,
        /// In the unit of [`crate::model::Document::limits`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<u64>,
    },
    /// The host's whole network.
    #[serde(rename = "net.host")]
    NetHost {},
    /// A TCP port that is listened on.
    #[serde(rename = "net.listen")]
    Listen {
        /// The port.
        port: u16,
    },
    /// A destination, or a request to it.
    #[serde(rename = "net.outbound")]
    Net(Destination),
    /// Putting a secret into what leaves.
    #[serde(rename = "secrets.use")]
    Secret {
        /// The secret.
        alias: String,
        /// The host that it is sent to.
        host: String,
        /// Where it is put; `None`: nowhere yet, the placeholder alone is held.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inject: Option<Inject>,
    },
    /// Executing a program, or any program of a tree.
    #[serde(rename = "shell.exec")]
    Exec {
        /// The name by which it was found in a directory of the system's programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Absolute, free of links.
        path: HostPath,
        /// With everything below it.
        tree: bool,
    },
    /// A system call beyond the base.
    #[serde(rename = "syscalls.allow")]
    Syscall {
        /// Its name.
        name: String,
    },
    /// A command under a profile: everything that it asks for, at once.
    #[serde(rename = "tool.exec")]
    Tool {
        /// The command.
        command: Vec<HostPath>,
        /// All that it asks for; none of it another `tool.exec`.
        grants: Vec<What>,
    },
}

/// A destination; with a method and a path, one request to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// The address that the name was resolved to, and that will be dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// A lower-case host name without trailing dot, `*.` and a name, or an IP address.
    pub host: String,
    /// The HTTP method. `None` with a scheme that has requests: the connection alone, on which every
    /// request will be decided for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path of the URL, as it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The port.
    pub port: u16,
    /// Bytes of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_size: Option<u64>,
    /// Requests that this run made to the host within the last minute, this one not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_last_minute: Option<u64>,
    /// Bytes of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_size: Option<u64>,
    /// How it is spoken to.
    pub scheme: Scheme,
}

impl Request {
    /// SHA-256 of the canonical form.
    pub fn hash(&self) -> Hash {
        Hash::of(&canonical::request(self))
    }
}

impl What {
    /// The action of the `capabilities` contract that it is, if that is about it.
    pub fn capability(&self) -> Option<Action> {
        Some(match self {
            Self::Device { .. } => Action::Devices,
            Self::Environment { .. } => Action::EnvironmentPass,
            Self::Exec { .. } => Action::ShellExec,
            Self::Listen { .. } => Action::NetListen,
            Self::NetHost {} => Action::NetHost,
            Self::Read { .. } => Action::FilesRead,
            Self::Syscall { .. } => Action::SyscallsAllow,
            Self::Tool { .. } => Action::ToolExec,
            Self::Write { .. } => Action::FilesWrite,
            Self::Limit { .. } | Self::Net(_) | Self::Secret { .. } => return None,
        })
    }

    /// The same, or the key of the profile.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Limit { .. } => "limits",
            Self::Net(_) => "net.outbound",
            Self::Secret { .. } => "secrets.use",
            capability => capability.capability().map_or("", Action::name),
        }
    }

    /// SHA-256 of the canonical form: what an approval is bound to.
    pub fn hash(&self) -> Hash {
        Hash::of(&canonical::what(self))
    }

    /// Each thing that is asked for: of a run its grants, and the run itself at the end.
    pub fn parts(&self) -> impl Iterator<Item = &Self> {
        let grants = match self {
            Self::Tool { grants, .. } => grants.as_slice(),
            _ => &[],
        };
        grants.iter().chain([self])
    }

    /// The words of the command that is to be run; none, where no run is asked for.
    pub fn command(&self) -> &[HostPath] {
        match self {
            Self::Tool { command, .. } => command,
            _ => &[],
        }
    }

    /// SHA-256 of the canonical form of [`What::command`]: an approval is bound to that, too.
    pub fn command_hash(&self) -> Hash {
        Hash::of_canonical(&self.command())
    }
}

/// For people: `files.read /srv/data and below`.
/// How it is known that a sandbox denied something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The command's own error message names it, and the plan denies it.
    ErrorMessage,
    /// The kernel handed the call over.
    Kernel,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = |tree: &bool| if *tree { " and below" } else { "" };
        let action = self.action();
        match self {
            Self::Device { device } => write!(f, "{action} {device}"),
            Self::Environment { name } | Self::Syscall { name } => write!(f, "{action} {name}"),
            Self::Read { path, tree } | Self::Write { path, tree } => {
                write!(f, "{action} {path}{}", below(tree))
            }
            Self::Limit { limit, value } => match value {
                Some(value) => write!(f, "limits.{limit} {value}"),
                None => write!(f, "limits.{limit} without end"),
            },
            Self::NetHost {} => write!(f, "net.outbound host"),
            Self::Listen { port } => write!(f, "{action} {port}"),
            Self::Net(destination) => {
                let host = match destination.host.contains(':') {
                    true => Cow::Owned(format!("[{}]", destination.host)),
                    false => Cow::Borrowed(&*destination.host),
                };
                let scheme = destination.scheme.name();
                write!(f, "{action} ")?;
                if let Some(method) = &destination.method {
                    write!(f, "{method} ")?;
                }
                write!(f, "{scheme}://{host}:{}", destination.port)?;
                f.write_str(destination.path.as_deref().unwrap_or_default())
            }
            Self::Secret { alias, host, .. } => write!(f, "{action} {alias} to {host}"),
            Self::Exec { name, path, tree } => match name {
                Some(name) => write!(f, "{action} {name} ({path})"),
                None => write!(f, "{action} {path}{}", below(tree)),
            },
            Self::Tool { command, .. } => {
                write!(f, "{action}")?;
                command.iter().try_for_each(|word| write!(f, " {word}"))
            }
        }
    }
}
