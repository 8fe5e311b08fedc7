//! The words of a policy: each declared once, with its name in files and in records.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Words that stand for values of a type.
pub(crate) trait Words: Copy + PartialEq + 'static {
    /// What they are about.
    const ABOUT: &str;
    /// Each value with its word and its meaning.
    const WORDS: &[(Self, &str, &str)];
}

/// `default`: the value where none is written.
macro_rules! words {
    ($(
        $(#[doc = $about:literal])+
        pub enum $name:ident $(default $default:ident)? {
            $($(#[doc = $what:literal])+ $variant:ident = $word:literal,)+
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[doc = $what])+ #[serde(rename = $word)] $variant,)+
        }

        impl Words for $name {
            const ABOUT: &str = concat!($($about),+);
            const WORDS: &[(Self, &str, &str)] =
                &[$((Self::$variant, $word, concat!($($what),+))),+];
        }

        $(impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        })?

        impl $name {
            /// All of them, in their order.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// As in a policy.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    )+};
}

words! {
    /// What is said of a request; the later, the worse.
    pub enum Verdict default Block {
        /// It is let through.
        Allow = "allow",
        /// It is let through, and recorded as a violation of the policy.
        Warn = "warn",
        /// A person has to say yes; blocked until then.
        Review = "review",
        /// It is refused.
        Block = "block",
    }

    /// What a rule of the `capabilities` contract is about: the keys of a profile, and a run as a whole.
    pub enum Action {
        /// `anomaly`: something that a command did outside of what it declares, or of what was learnt of it. What
        /// becomes of the run is the verdict.
        Anomaly = "anomaly",
        /// `devices`: a device of the host.
        Devices = "devices",
        /// `environment.pass`: a variable of the caller.
        EnvironmentPass = "environment.pass",
        /// `files.read`: a file or a tree.
        FilesRead = "files.read",
        /// `files.write`: a file or a tree.
        FilesWrite = "files.write",
        /// `net.host`: the host's whole network, which a profile asks for with `net.outbound: host`.
        NetHost = "net.host",
        /// `net.listen`: a TCP port.
        NetListen = "net.listen",
        /// `shell.exec`: a program, or all programs of a tree.
        ShellExec = "shell.exec",
        /// `sockets`: Unix sockets, which a profile asks for with `sockets: private`.
        Sockets = "sockets",
        /// `syscalls.allow`: a system call beyond the profile's base.
        SyscallsAllow = "syscalls.allow",
        /// `tool.exec`: a whole run of a command under a profile. Rules can only make its verdict worse
        /// than that of what it asks for.
        ToolExec = "tool.exec",
    }

    /// What is out of the ordinary in a run that is observed.
    pub enum AnomalyKind {
        /// An address or a port was made the command's own.
        Bind = "bind",
        /// A system call, or one of another ABI; or one that was refused.
        Call = "call",
        /// A capability was asked for.
        Capability = "capability",
        /// An address was connected or sent to.
        Connect = "connect",
        /// Something was tried, and refused.
        Denied = "denied",
        /// A program was executed.
        Exec = "exec",
        /// Things that were done were not seen: the rest can hide anything.
        Lost = "lost",
        /// More was done than ever before.
        Rate = "rate",
        /// A file was read, or looked at or asked for in vain.
        Read = "read",
        /// A process outside was signalled.
        Signal = "signal",
        /// A kind of socket was made.
        Socket = "socket",
        /// A file was written, made, changed or removed, or that was tried.
        Write = "write",
    }

    /// Whether a rule is in force.
    pub enum Mode default Enforce {
        /// Its verdict counts.
        Enforce = "enforce",
        /// Being rolled out: where its verdict would be worse than `warn`, it counts as `warn`. Such a rule
        /// lets nothing through that no other rule lets through.
        Warn = "warn",
    }

    /// How a destination is spoken to.
    pub enum Scheme {
        /// HTTP in the clear.
        Http = "http",
        /// HTTP within TLS.
        Https = "https",
        /// A stream of bytes.
        Tcp = "tcp",
        /// Datagrams.
        Udp = "udp",
    }

    /// Where the broker, outside the sandbox, puts a secret on its way out. There is no form of this that
    /// gives the value to the command.
    pub enum Inject {
        /// In a header of a request.
        Header = "header",
        /// In the query of a request's URL.
        Query = "query",
    }

    /// What happens when the audit log cannot be written.
    pub enum OnAuditFailure default Stop {
        /// Nothing is started, and what runs is ended.
        Stop = "stop",
        /// The run goes on; that it is not recorded is said on standard error and in the report.
        Continue = "continue",
    }

    /// What becomes of a run that does something out of the ordinary which a rule blocks.
    pub enum OnBlockedAnomaly default Kill {
        /// Everything inside is killed.
        Kill = "kill",
        /// What the kernel can refuse before it happens (`exec`, `connect`) is refused, and the run goes on; for the rest,
        /// and where the kernel cannot, everything inside is killed.
        Refuse = "refuse",
    }
}

impl AnomalyKind {
    /// Whether there are kernels that can refuse it before it happens.
    pub fn can_be_refused(self) -> bool {
        matches!(self, Self::Connect | Self::Exec)
    }
}

impl Verdict {
    /// Whether a request passes without asking a person.
    pub fn lets_through(self) -> bool {
        self <= Self::Warn
    }
}

impl Scheme {
    /// The scheme of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }

    /// Whether it has single requests, with a method and a path.
    pub fn has_requests(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}
