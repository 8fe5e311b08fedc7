//! The policy as data: rules of the three contracts, ceilings, and what it says of the host and the log.
//!
//! Fields are declared in the order of their names, so that what serde writes is the canonical form
//! (RFC 8785) as it is. The same types are what the schemas in `schemas/` are generated from.

pub(crate) mod fields;
pub(crate) mod forms;
pub(crate) mod keys;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use keys::is_default;

pub use rules::{Budget, CapabilityRule, EgressRule, SecretRule};
pub(crate) use rules::{Head, Rule, is_id};

/// What is said of a request; the later, the worse.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Verdict {
    /// It is let through.
    Allow,
    /// It is let through, and recorded as a violation of the policy.
    Warn,
    /// A person has to say yes; blocked until then.
    Review,
    /// It is refused.
    #[default]
    Block,
}

impl Verdict {
    /// Every verdict, the mildest first.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Warn, Self::Review, Self::Block];

    /// As in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Warn => "warn",
            Self::Review => "review",
            Self::Block => "block",
        }
    }

    /// Whether what was asked for happens without anybody being asked.
    pub fn lets_through(self) -> bool {
        self <= Self::Warn
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a rule of the `capabilities` contract is about: the keys of a profile, and a run as a whole.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum Action {
    /// `devices`: a device of the host.
    #[serde(rename = "devices")]
    Devices,
    /// `environment.pass`: a variable of the caller.
    #[serde(rename = "environment.pass")]
    EnvironmentPass,
    /// `files.read`: a file or a tree.
    #[serde(rename = "files.read")]
    FilesRead,
    /// `files.write`: a file or a tree.
    #[serde(rename = "files.write")]
    FilesWrite,
    /// `net.host`: the host's whole network, which a profile asks for with `net.outbound: host`.
    #[serde(rename = "net.host")]
    NetHost,
    /// `net.listen`: a TCP port.
    #[serde(rename = "net.listen")]
    NetListen,
    /// `shell.exec`: a program, or all programs of a tree.
    #[serde(rename = "shell.exec")]
    ShellExec,
    /// `syscalls.allow`: a system call beyond the profile's base.
    #[serde(rename = "syscalls.allow")]
    SyscallsAllow,
    /// `tool.exec`: a whole run of a command under a profile. Rules can only make its verdict worse
    /// than that of what it asks for.
    #[serde(rename = "tool.exec")]
    ToolExec,
}

impl Action {
    /// Every action that capability rules are about.
    pub const ALL: [Self; 9] = [
        Self::Devices,
        Self::EnvironmentPass,
        Self::FilesRead,
        Self::FilesWrite,
        Self::NetHost,
        Self::NetListen,
        Self::ShellExec,
        Self::SyscallsAllow,
        Self::ToolExec,
    ];

    /// As in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::EnvironmentPass => "environment.pass",
            Self::FilesRead => "files.read",
            Self::FilesWrite => "files.write",
            Self::NetHost => "net.host",
            Self::NetListen => "net.listen",
            Self::ShellExec => "shell.exec",
            Self::SyscallsAllow => "syscalls.allow",
            Self::ToolExec => "tool.exec",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether a rule is in force.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Mode {
    /// Its verdict counts.
    #[default]
    Enforce,
    /// Being rolled out: where its verdict would be worse than `warn`, it counts as `warn`. Such a rule
    /// lets nothing through that no other rule lets through.
    Warn,
}

/// How a destination is spoken to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Scheme {
    /// HTTP in the clear.
    Http,
    /// HTTP within TLS.
    Https,
    /// A stream of bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Scheme {
    /// Whether single requests, with a method and a path, can be told apart.
    pub fn has_requests(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// As in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where the broker, outside the sandbox, puts a secret on its way out. There is no form of this that
/// gives the value to the command.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Inject {
    /// In a header of a request.
    Header,
    /// In the query of a request's URL.
    Query,
}

impl Inject {
    /// As in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Query => "query",
        }
    }
}

/// What happens when the audit log cannot be written.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OnAuditFailure {
    /// Nothing is started, and what runs is ended.
    #[default]
    Stop,
    /// The run goes on; that it is not recorded is said on standard error and in the report.
    Continue,
}

/// What `may-be-missing` may name: limits that nothing stands in for where a host has no control group for
/// them. What else a host may lack is either held by the next best thing, which the plan tells, or not let go.
pub const LAYERS: [&str; 2] = ["disk-read", "disk-write"];

/// A module of rules in Rego.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegoModule {
    /// The file's name, for messages.
    pub name: String,
    /// The text.
    pub text: String,
}

/// A whole policy, as it was written: what is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Document {
    /// What happens when the audit log cannot be written.
    #[serde(skip_serializing_if = "is_default")]
    pub audit_failure: OnAuditFailure,
    /// The `capabilities` contract, by id.
    pub capabilities: Vec<CapabilityRule>,
    /// Ceilings for every profile, by the profile's keys, in its units as numbers: bytes, milliseconds,
    /// thousandths of a processor, bytes per second.
    pub limits: BTreeMap<String, u64>,
    /// Layers that a host may lack.
    pub may_be_missing: BTreeSet<String>,
    /// The policy's name.
    pub name: String,
    /// The `network-egress` contract, by id.
    pub network_egress: Vec<EgressRule>,
    /// Rego modules, by name.
    pub rego: Vec<RegoModule>,
    /// The `secrets-boundary` contract, by id.
    pub secrets_boundary: Vec<SecretRule>,
}
