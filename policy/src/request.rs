//! The request to a policy: who asks, for what, and with which facts.
//!
//! Everything that a decision depends on is in the request and is recorded with it: a decision can be repeated
//! anywhere, at any time. Fields are declared in the order of their names; serde writes the canonical form, and
//! its SHA-256 is the decision's input hash.

mod canonical;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{Action, AnomalyKind, Inject, Scheme};
use crate::path::HostPath;
use aegis_profile::hash::Hash;

/// A question to a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Earlier approvals. One that is not bound to this very request has no effect.
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
    /// Other names of places that are asked for, or that the policy's patterns name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Alias>,
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

/// Another name of a place of the host: by a symbolic link, a second mount, a hard link, or a file system that ignores
/// case. What a rule says of one name it says of the place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The other name.
    pub name: HostPath,
    /// The place, as requests name it.
    pub place: HostPath,
    /// Whether only the system's administrator can have made it so: all links on the way are root's, each in a directory of
    /// root's that nobody else may write; for runs of root, directly in `/`, `/usr`, `/var`, `/home`, `/srv` or `/mnt`. Otherwise
    /// no rule lets anything through by this name: whoever made it would widen the policy.
    pub trusted: bool,
}

/// A person's approval. Bound to the command, the skill, its profile, the policy whose rules asked, the exact
/// thing, and a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// When its expiry was checked: seconds since 1970.
    pub at: u64,
    /// [`What::command_hash`] of the run that it was given for.
    pub command: Hash,
    /// When it ends: seconds since 1970.
    pub expires: u64,
    /// [`What::command_hash`] of the run that it is used for. A request for one thing of a run does not name
    /// the command; a request for a run does, and it must be the same.
    pub held_for: Hash,
    /// Its id in the store and in the audit log.
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

/// Most places that may be hidden in a tree, as far as a policy is asked.
pub const MAX_EXCEPT: usize = 256;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", deny_unknown_fields)]
pub enum What {
    /// Something that an observed command did outside of what it declares, or of what was learnt of it.
    #[serde(rename = "anomaly")]
    Anomaly {
        /// Which kind of thing.
        kind: AnomalyKind,
        /// A path, an address, a call: in words.
        of: HostPath,
    },
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
    /// Reading a file, or everything in a tree.
    #[serde(rename = "files.read")]
    Read {
        /// Places in the tree that the sandbox hides.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        except: Vec<HostPath>,
        /// Absolute, free of links.
        path: HostPath,
        /// With everything below it.
        tree: bool,
    },
    /// Writing a file or anything in a tree.
    #[serde(rename = "files.write")]
    Write {
        /// Places in the tree that the sandbox hides.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        except: Vec<HostPath>,
        /// Absolute, free of links.
        path: HostPath,
        /// With everything below it.
        tree: bool,
    },
    /// A limit of resources. `None`: no limit.
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
    /// Putting a secret into an outgoing request.
    #[serde(rename = "secrets.use")]
    Secret {
        /// The secret.
        alias: String,
        /// The host that it is sent to.
        host: String,
        /// Where it is put; `None`: nowhere yet, the command only has the placeholder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inject: Option<Inject>,
    },
    /// Executing a program, or any program of a tree.
    #[serde(rename = "shell.exec")]
    Exec {
        /// Places in the tree that the sandbox hides.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        except: Vec<HostPath>,
        /// The name under which it was found in a directory of the system's programs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Absolute, free of links.
        path: HostPath,
        /// With everything below it.
        tree: bool,
    },
    /// Unix sockets.
    #[serde(rename = "sockets")]
    Sockets {
        /// Which: `private`, those in the sandbox's own places.
        name: String,
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
    /// The address that the name was resolved to, and that is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// A lower-case host name without trailing dot, `*.` and a name, or an IP address.
    pub host: String,
    /// The HTTP method. `None` with a scheme that has requests: only the connection; each request on it is
    /// decided by itself.
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

impl Destination {
    /// A connection to a host, of which nothing else is known: what a profile asks for.
    pub fn connection(scheme: Scheme, host: &str, port: u16) -> Self {
        Self {
            address: None,
            host: host.to_owned(),
            method: None,
            path: None,
            port,
            request_size: None,
            requests_last_minute: None,
            response_size: None,
            scheme,
        }
    }

    /// The destinations by which a profile can have asked for this one: its host, and all below each name that it is below.
    pub fn named_by(&self) -> impl Iterator<Item = Self> {
        let is_name = self.host.parse::<IpAddr>().is_err();
        let above = self.host.match_indices('.').filter(move |_| is_name);
        let above = above.map(|(dot, _)| format!("*{}", &self.host[dot..]));
        let hosts = std::iter::once(self.host.clone()).chain(above);
        hosts.map(|host| Self::connection(self.scheme, &host, self.port))
    }
}

impl Request {
    /// SHA-256 of the canonical form.
    pub fn hash(&self) -> Hash {
        Hash::of(&canonical::request(self))
    }
}

impl What {
    /// Its action in the `capabilities` contract, if that contract covers it.
    pub fn capability(&self) -> Option<Action> {
        Some(match self {
            Self::Anomaly { .. } => Action::Anomaly,
            Self::Device { .. } => Action::Devices,
            Self::Environment { .. } => Action::EnvironmentPass,
            Self::Exec { .. } => Action::ShellExec,
            Self::Listen { .. } => Action::NetListen,
            Self::NetHost {} => Action::NetHost,
            Self::Read { .. } => Action::FilesRead,
            Self::Sockets { .. } => Action::Sockets,
            Self::Syscall { .. } => Action::SyscallsAllow,
            Self::Tool { .. } => Action::ToolExec,
            Self::Write { .. } => Action::FilesWrite,
            Self::Limit { .. } | Self::Net(_) | Self::Secret { .. } => return None,
        })
    }

    /// The same, or the profile's key for other contracts.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Limit { .. } => "limits",
            Self::Net(_) => "net.outbound",
            Self::Secret { .. } => "secrets.use",
            capability => capability.capability().map_or("", Action::name),
        }
    }

    /// The place of the host that is asked for, if it is one.
    pub fn place(&self) -> Option<Place<'_>> {
        match self {
            Self::Read { except, path, tree }
            | Self::Write { except, path, tree }
            | Self::Exec {
                except, path, tree, ..
            } => Some(Place {
                except,
                path,
                tree: *tree,
            }),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn place_mut(&mut self) -> Option<(&mut Vec<HostPath>, &mut HostPath, &mut bool)> {
        match self {
            Self::Read { except, path, tree }
            | Self::Write { except, path, tree }
            | Self::Exec {
                except, path, tree, ..
            } => Some((except, path, tree)),
            _ => None,
        }
    }

    /// SHA-256 of the canonical form: what an approval is bound to.
    pub fn hash(&self) -> Hash {
        Hash::of(&canonical::what(self))
    }

    /// Each thing that is asked for: for a run its grants, and then the run itself.
    pub fn parts(&self) -> impl Iterator<Item = &Self> {
        let grants = match self {
            Self::Tool { grants, .. } => grants.as_slice(),
            _ => &[],
        };
        grants.iter().chain([self])
    }

    /// The words of the command of a run; empty for other requests.
    pub fn command(&self) -> &[HostPath] {
        match self {
            Self::Tool { command, .. } => command,
            _ => &[],
        }
    }

    /// SHA-256 of the canonical form of [`What::command`]: an approval is also bound to the command.
    pub fn command_hash(&self) -> Hash {
        Hash::of_canonical(&self.command())
    }
}

/// A file or a tree of the host, as far as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'r> {
    /// Places in the tree that the sandbox hides.
    pub except: &'r [HostPath],
    /// Absolute, free of links.
    pub path: &'r HostPath,
    /// With everything below it.
    pub tree: bool,
}

/// How it is known that a sandbox denied something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The egress broker refused it.
    Broker,
    /// The command's own error message names it, and the plan denies it.
    ErrorMessage,
    /// The kernel passed the call to the supervisor.
    Kernel,
}

/// What a run has exchanged with one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// What went wrong the first time that something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many of them failed: nobody answered, or the connection broke.
    pub failed: u64,
    /// Bytes that came from there.
    pub received: u64,
    /// Bytes that were sent there.
    pub sent: u64,
    /// Connections and requests that were let through.
    pub times: u64,
    /// The destination, as a profile writes it.
    pub to: String,
}

/// For people: `files.read /srv/data and below`.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = self.action();
        match self {
            Self::Anomaly { kind, of } => write!(f, "{action} {kind} {of}"),
            Self::Device { device } => write!(f, "{action} {device}"),
            Self::Environment { name } | Self::Sockets { name } | Self::Syscall { name } => {
                write!(f, "{action} {name}")
            }
            Self::Read { except, path, tree }
            | Self::Write { except, path, tree }
            | Self::Exec {
                except,
                name: None,
                path,
                tree,
            } => {
                let below = if *tree { " and below" } else { "" };
                write!(f, "{action} {path}{below}")?;
                let mut except = except.iter();
                except.try_for_each(|hidden| write!(f, " except {hidden}"))
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
            Self::Exec {
                name: Some(name),
                path,
                ..
            } => write!(f, "{action} {name} ({path})"),
            Self::Tool { command, .. } => {
                write!(f, "{action}")?;
                command.iter().try_for_each(|word| write!(f, " {word}"))
            }
        }
    }
}
