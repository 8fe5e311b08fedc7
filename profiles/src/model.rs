//! The profile as typed values: what a skill asks for, after parsing and merging.
//!
//! Everything here is plain data. Absent means nothing is granted. Each granted item remembers the
//! line it came from ([`Origin`]), so that a plan, a denial or a diff can point at it; origins are not part of
//! what a profile means: profiles that differ only in origins compare equal.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

/// Where an item was declared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file as the user named it, `builtin:NAME` for a built-in profile, `--set` for the
    /// command line, `-` for standard input.
    pub file: Arc<str>,
    /// 1-based line.
    pub line: u32,
    /// 1-based column, in characters.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value and the place it was declared. Equality, order and serialisation are those of the value.
#[derive(Clone, Debug)]
pub struct Declared<T> {
    /// What was declared.
    pub value: T,
    /// Where.
    pub origin: Origin,
}

impl<T: PartialEq> PartialEq for Declared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
impl<T: Eq> Eq for Declared<T> {}
impl<T: Serialize> Serialize for Declared<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// The version of the format: 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version;

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(1)
    }
}

/// The variable that a path may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variable {
    /// `$SKILL`: the directory of the profile file.
    Skill,
    /// `$WORK`: the directory that the run was started in.
    Work,
    /// `$HOME`: the user's home directory.
    Home,
    /// `$TMP`: the sandbox's private temporary directory.
    Tmp,
}

/// A declared path: a variable or `/`, then plain components. `.` and `..`, empty components and NUL are refused by the
/// parser, so what exists here is valid. Characters of patterns are written with a `\` before them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathSpec {
    /// The variable it starts from; `None`: an absolute path.
    pub base: Option<Variable>,
    /// What follows, without a leading slash and without escapes; empty for the base itself (or `/`).
    pub rest: String,
    /// Written with a leading `-` (as in systemd): skipped when it does not exist on the host.
    pub optional: bool,
}

/// What is denied inside of what is granted: what `files.deny` lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denied {
    /// A file, or a directory with everything below it.
    Path(PathSpec),
    /// A name, or several components, anywhere below a directory; without one, below whatever is granted.
    Named {
        /// The directory.
        below: Option<PathSpec>,
        /// The name.
        name: String,
    },
}

/// A declared program: what `shell.exec` lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// A bare name, looked up in the sandbox's `PATH`. `optional` as for [`PathSpec`].
    Name {
        /// The name: no slash, no glob characters.
        name: String,
        /// Skipped when no directory of `PATH` has it.
        optional: bool,
    },
    /// A path: a file, or a directory below which everything may be executed.
    Path(PathSpec),
}

/// `net.outbound`.
#[derive(Clone, Debug)]
pub enum Outbound {
    /// Nothing can be reached. The word `none`, declared here, closes what an extended profile opened;
    /// an absent key or an empty list does not.
    None(Option<Origin>),
    /// The word `host`: the host's own network.
    Host(Origin),
    /// Named destinations (URLs): needs the egress broker.
    Named(Vec<Declared<Destination>>),
}

impl Default for Outbound {
    fn default() -> Self {
        Self::None(None)
    }
}

// By hand: origins are not part of the meaning.
impl PartialEq for Outbound {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None(_), Self::None(_)) | (Self::Host(_), Self::Host(_)) => true,
            (Self::Named(a), Self::Named(b)) => a == b,
            _ => false,
        }
    }
}
impl Eq for Outbound {}

/// The word, or a list.
impl Serialize for Outbound {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None(_) => serializer.serialize_str("none"),
            Self::Host(_) => serializer.serialize_str("host"),
            Self::Named(named) => named.serialize(serializer),
        }
    }
}

/// One named destination, as `scheme://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// `https`, `http`, `tcp` or `udp`.
    pub scheme: String,
    /// A lower-case host name (a leading `*.` is allowed below a label), or an IP address.
    pub host: String,
    /// Explicit, or the scheme's own (443, 80); `tcp` and `udp` must name one.
    pub port: u16,
}

/// The one host, and port, that a secret may be sent to, as `host[:port]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// A lower-case host name, or an IP address.
    pub host: String,
    /// Explicit, or 443.
    pub port: u16,
}

/// A device beyond the ones that every sandbox has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Device {
    /// `gpu`: the nodes in [`GPU_NODES`].
    Gpu,
    /// `kvm`: `/dev/kvm`.
    Kvm,
    /// `pty`: a pseudo-terminal instance of the sandbox's own (`/dev/pts`, `/dev/ptmx`).
    Pty,
    /// A device node by its path below `/dev`.
    Path(String),
}

/// The nodes that make up `gpu`, and directories of such.
pub const GPU_NODES: [&str; 6] = [
    "/dev/dri",
    "/dev/kfd",
    "/dev/nvidia0",
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-modeset",
];

impl Device {
    /// What a profile declares for a node of the host. `None`: it is no path below `/dev`, or not UTF-8.
    pub fn of_node(path: &Path) -> Option<Self> {
        let rest = path.strip_prefix("/dev").ok()?;
        let is = |node: &str| path.starts_with(node);
        Some(match () {
            () if GPU_NODES.into_iter().any(is) => Self::Gpu,
            () if path == Path::new("/dev/kvm") => Self::Kvm,
            () if path == Path::new("/dev/ptmx") => Self::Pty,
            () if rest.as_os_str().is_empty() => return None,
            () => Self::Path(path.to_str()?.to_owned()),
        })
    }
}

/// What becomes of words after the profile on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Args {
    /// They are the command, in place of `run`.
    #[default]
    Replace,
    /// They are further arguments of `run`.
    Append,
}

/// Which Unix sockets may be made and connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sockets {
    /// None but pairs (`socketpair(2)`).
    #[default]
    None,
    /// Those in the sandbox's private places, and by abstract name.
    Private,
}

/// What the command ordinarily does, as `aegis-learn` has written it: a file beside the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineFile {
    /// Its name, in the directory of the profile that names it.
    pub file: String,
    /// SHA-256 of all of it: 64 hexadecimal digits.
    pub hash: String,
}

/// The set of system calls that a profile starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyscallBase {
    /// What programs on Debian use, except what weakens the sandbox.
    #[default]
    Default,
    /// What a small, single-purpose program needs.
    Minimal,
    /// Nothing but what `allow` lists: written by `aegis-learn`.
    Learned,
}

impl Variable {
    /// Every variable.
    pub const ALL: [Variable; 4] = [
        Variable::Skill,
        Variable::Work,
        Variable::Home,
        Variable::Tmp,
    ];

    /// Its name, without the `$`.
    pub fn name(self) -> &'static str {
        match self {
            Variable::Skill => "SKILL",
            Variable::Work => "WORK",
            Variable::Home => "HOME",
            Variable::Tmp => "TMP",
        }
    }

    /// The variable of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.name())
    }
}

/// As written in a profile: `-/lib64`, `$WORK/out`, `/`.
impl fmt::Display for PathSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.optional {
            f.write_str("-")?;
        }
        let rest = Escaped(&self.rest);
        match self.base {
            Some(variable) if self.rest.is_empty() => write!(f, "{variable}"),
            Some(variable) => write!(f, "{variable}/{rest}"),
            None => write!(f, "/{rest}"),
        }
    }
}

/// As written in a profile: `$WORK/.env`, `**/.env`.
impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Path(path) => write!(f, "{path}"),
            Denied::Named { below: None, name } => write!(f, "**/{}", Escaped(name)),
            Denied::Named {
                below: Some(below),
                name,
            } => {
                write!(f, "{below}/**/{}", Escaped(name))
            }
        }
    }
}

/// A name as it is written in a profile.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if PATTERN_CHARACTERS.contains(c) || c == '\\' {
                f.write_str("\\")?;
            }
            fmt::Write::write_char(f, c)?;
        }
        Ok(())
    }
}

/// A path or a name as it is written in a profile.
pub(crate) fn escaped(text: &str) -> String {
    Escaped(text).to_string()
}

/// What would be a pattern in other tools. In a path of a profile each is written with a `\` before it.
pub(crate) const PATTERN_CHARACTERS: &str = "*?[]{}";

/// As written in a profile: `git`, `-/usr/lib/git-core`.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Program::Name { name, optional } => {
                let dash = if *optional { "-" } else { "" };
                match name.as_str() {
                    "[" => write!(f, "{dash}["),
                    name => write!(f, "{dash}{}", Escaped(name)),
                }
            }
            Program::Path(path) => write!(f, "{path}"),
        }
    }
}

/// As written in a profile, always with its port.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Destination { scheme, host, port } = self;
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

/// As written in a profile, without 443.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.port {
            443 => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

/// As written in a profile.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Gpu => "gpu",
            Device::Kvm => "kvm",
            Device::Pty => "pty",
            Device::Path(path) => return Escaped(path).fmt(f),
        })
    }
}

/// As written in a profile.
impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Args::Replace => "replace",
            Args::Append => "append",
        })
    }
}

/// As written in a profile.
impl fmt::Display for BaselineFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sha256:{}", self.file, self.hash)
    }
}

/// As written in a profile.
impl fmt::Display for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sockets::None => "none",
            Sockets::Private => "private",
        })
    }
}

/// As written in a profile.
impl fmt::Display for SyscallBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SyscallBase::Default => "default",
            SyscallBase::Minimal => "minimal",
            SyscallBase::Learned => "learned",
        })
    }
}

macro_rules! serialize_as_written {
    ($($name:ident),*) => {$(
        /// As written in a profile.
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
serialize_as_written!(
    Endpoint,
    PathSpec,
    Denied,
    Program,
    Destination,
    Device,
    Args,
    BaselineFile,
    Sockets,
    SyscallBase
);
