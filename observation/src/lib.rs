//! What a command in a sandbox was seen to do: one plain value, whoever saw it.
//!
//! An [`Observation`] is made of sets, so that two of them merge to one; what could not be seen, and what was seen
//! and lost, is in it as well. It comes from the kernel's probes or from the seccomp listener, is saved as JSON, and
//! is what learning, anomalies and reports read. Nothing here makes a system call.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod protocol;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use text::Text;

/// The format's version, which every saved observation begins with.
pub const VERSION: u32 = 1;

/// The longest saved observation that is read, in bytes.
pub const LONGEST: u64 = 256 << 20;

/// Most things of one sandbox that are kept of each observation.
pub const MOST: usize = 65_536;

/// Most bytes of names that are kept of one sandbox.
pub const MOST_BYTES: usize = 32 << 20;

/// A name for an error number of Linux, as `errno(3)` has it.
pub fn error_name(number: i32) -> String {
    match nix::errno::Errno::from_raw(number) {
        nix::errno::Errno::UnknownErrno => number.to_string(),
        error => format!("{error:?}"),
    }
}

/// A path made absolute, without `.` and, as far as its text tells, `..`: as observations have what was asked for.
pub fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut absolute = PathBuf::from("/");
    for component in base.join(path).components() {
        match component {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => {
                absolute.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    absolute
}

/// What a command, or several runs of it, were seen to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Observation {
    /// [`VERSION`].
    pub aegis_observation: u32,
    /// What was observed: one entry a run.
    pub runs: Vec<Run>,
    /// System calls that were made, by ABI.
    pub calls: BTreeMap<Abi, BTreeSet<String>>,
    /// System calls that failed as something refused does, with the error.
    pub refused_calls: BTreeSet<RefusedCall>,
    /// Programs that were executed.
    pub executed: BTreeSet<Executed>,
    /// Files and directories that were opened.
    pub opened: BTreeSet<Opened>,
    /// Other calls that named a path, and opens and executions that failed.
    pub named: BTreeSet<Named>,
    /// Kinds of sockets that were asked for.
    pub sockets: BTreeSet<Socket>,
    /// Addresses that were used.
    pub addresses: BTreeSet<Address>,
    /// What the kernel refused because the run is [guarded](protocol::Guard): it was not executed, nor reached.
    #[serde(default)]
    pub refused: BTreeSet<Refused>,
    /// Capabilities that the kernel checked for, by name: whether all checks were passed.
    pub capabilities: BTreeMap<String, bool>,
    /// Signals that were sent to processes outside, by number.
    pub signals_outside: BTreeSet<u32>,
    /// How often and how much.
    pub counts: Counts,
    /// What was seen and lost, and what could not be seen.
    pub losses: Losses,
}

/// One run that was observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Run {
    /// Its id, which its records in the audit log have too.
    pub id: String,
    /// The command line.
    pub command: Vec<Text>,
    /// The directory it was started in.
    pub directory: Text,
    /// The hash of the profile that it ran under.
    pub profile: String,
    /// Who saw it.
    pub tier: Tier,
    /// The kernel, as `uname -r` prints it.
    pub kernel: String,
    /// The command's exit status.
    pub exit_status: Option<u8>,
}

/// By what a run was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Probes in the kernel (eBPF).
    Bpf,
    /// Those, and programs at the hooks of BPF LSM, which can refuse.
    BpfLsm,
    /// The seccomp listener, which is asked about the few calls that matter.
    Listener,
}

/// The way that a system call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Abi {
    /// The machine's own.
    Native,
    /// Another one, of 32 bits. Its calls are given by number.
    Compat,
}

/// A system call that failed with an error that refusals have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RefusedCall {
    /// Its name.
    pub call: String,
    /// `EPERM`, `EACCES` or `ENOSYS`.
    pub error: String,
}

/// An executed program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Executed {
    /// What was asked for, as an absolute path: of a script, the script.
    pub asked: Text,
    /// What the kernel executed: of a script, its interpreter.
    pub path: Text,
}

/// An opened file or directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Opened {
    /// What was asked for, as an absolute path. Links in it are not followed.
    pub asked: Text,
    /// What the kernel opened, as the sandbox's root has it.
    pub path: Text,
    /// What kind of file it is.
    pub kind: Kind,
    /// Opened to be read.
    pub read: bool,
    /// Opened to be written.
    pub write: bool,
    /// It had no name any more.
    pub deleted: bool,
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A device.
    Device,
    /// A pipe, a socket or anything else.
    Other,
}

/// A call that named a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Named {
    /// The system call.
    pub call: String,
    /// The path, made absolute. Links in it are not followed.
    pub path: Text,
    /// The error that it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Named {
    /// Whether it failed since it may not be, and not for another reason.
    pub fn is_refused(&self) -> bool {
        matches!(self.error.as_deref(), Some("EACCES" | "EPERM" | "EROFS"))
    }
}

/// A kind of socket: the arguments of `socket(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Socket {
    /// The family: `AF_*`.
    pub family: u16,
    /// The type: `SOCK_*`, without flags.
    pub kind: u16,
    /// The protocol.
    pub protocol: u32,
    /// Whether there was none to be had.
    pub refused: bool,
}

/// An address that was used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Address {
    /// What for.
    pub how: How,
    /// The address.
    pub of: End,
    /// The type of the socket: `SOCK_*`; 0 where it is not known.
    pub kind: u16,
}

/// What the kernel refused since a run is guarded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// A program, which was not executed.
    Executed(Executed),
    /// An address, which was not reached.
    Address(Address),
}

/// What an address is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// To connect to it.
    Connect,
    /// To send to it, without a connection.
    Send,
    /// As the socket's own.
    Bind,
    /// To listen at it.
    Listen,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// IPv4 or IPv6.
    Internet(SocketAddr),
    /// A Unix socket with a path, made absolute.
    Path(Text),
    /// A Unix socket with an abstract name.
    Abstract(Text),
}

/// An abstract name begins with `@`, as `ss(8)` has it.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => address.fmt(f),
            Self::Path(path) => path.fmt(f),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

/// How often and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Counts {
    /// Executions.
    pub executions: u64,
    /// Processes and threads that were made.
    pub forks: u64,
    /// The most of them at one time, in one run.
    pub most_tasks: u64,
    /// Bytes sent by sockets of the Internet families. This and the rest are missing where they were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// The most files opened in a second, the same one again counted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_in_a_second: Option<u64>,
    /// The most processes and threads made in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forks_in_a_second: Option<u64>,
    /// The most bytes sent in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_in_a_second: Option<u64>,
}

impl Counts {
    /// Takes in those of another run. What was not counted in one of them is what the other has.
    fn merge(&mut self, other: &Self) {
        let both = |a: Option<u64>, b: Option<u64>, of: fn(u64, u64) -> u64| match (a, b) {
            (Some(a), Some(b)) => Some(of(a, b)),
            (one, other) => one.or(other),
        };
        self.executions += other.executions;
        self.forks += other.forks;
        self.most_tasks = self.most_tasks.max(other.most_tasks);
        self.sent = both(self.sent, other.sent, u64::saturating_add);
        for (most, other) in [
            (&mut self.opened_in_a_second, other.opened_in_a_second),
            (&mut self.forks_in_a_second, other.forks_in_a_second),
            (&mut self.sent_in_a_second, other.sent_in_a_second),
        ] {
            *most = both(*most, other, u64::max);
        }
    }
}

/// What an observation lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Losses {
    /// Seen, and not kept for want of room.
    pub dropped: u64,
    /// Calls whose path could not be read.
    pub unreadable: u64,
    /// Paths that were cut off.
    pub truncated: u64,
    /// What this host's kernel or this tier cannot show, in words.
    pub unobserved: BTreeSet<String>,
}

impl Losses {
    /// How many things are missing, or not whole.
    pub fn lost(&self) -> u64 {
        self.dropped + self.unreadable + self.truncated
    }
}

/// Why a saved observation cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not one.
    #[error("line {}, column {}: {}", .0.line(), .0.column(), plain(.0))]
    Malformed(#[from] serde_json::Error),
    /// It is of another version.
    #[error("this is version {0} of the format, and this program reads version {VERSION}")]
    Version(u32),
}

/// The error without its place.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((before, _)) => before.to_owned(),
        None => text,
    }
}

impl Default for Observation {
    fn default() -> Self {
        Self {
            aegis_observation: VERSION,
            runs: Vec::new(),
            calls: BTreeMap::new(),
            refused_calls: BTreeSet::new(),
            executed: BTreeSet::new(),
            opened: BTreeSet::new(),
            named: BTreeSet::new(),
            sockets: BTreeSet::new(),
            addresses: BTreeSet::new(),
            refused: BTreeSet::new(),
            capabilities: BTreeMap::new(),
            signals_outside: BTreeSet::new(),
            counts: Counts::default(),
            losses: Losses::default(),
        }
    }
}

impl Observation {
    /// Reads a saved observation.
    ///
    /// # Errors
    ///
    /// It is not one, or not of this version.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let observation: Self = serde_json::from_slice(json)?;
        match observation.aegis_observation {
            VERSION => Ok(observation),
            other => Err(Error::Version(other)),
        }
    }

    /// As it is saved: JSON on one line.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string(self).expect("strings and numbers");
        json.push('\n');
        json
    }

    /// How many different things were seen.
    pub fn things(&self) -> usize {
        let Self {
            aegis_observation: _,
            runs: _,
            calls,
            refused_calls,
            executed,
            opened,
            named,
            sockets,
            addresses,
            refused,
            capabilities,
            signals_outside,
            counts: _,
            losses: _,
        } = self;
        let calls: usize = calls.values().map(BTreeSet::len).sum();
        calls
            + refused_calls.len()
            + executed.len()
            + opened.len()
            + named.len()
            + sockets.len()
            + addresses.len()
            + refused.len()
            + capabilities.len()
            + signals_outside.len()
    }

    /// Takes in what another run, host or day has shown.
    pub fn merge(&mut self, other: Self) {
        self.runs.extend(other.runs);
        for (abi, calls) in other.calls {
            self.calls.entry(abi).or_default().extend(calls);
        }
        self.refused_calls.extend(other.refused_calls);
        self.executed.extend(other.executed);
        self.opened.extend(other.opened);
        self.named.extend(other.named);
        self.sockets.extend(other.sockets);
        self.addresses.extend(other.addresses);
        self.refused.extend(other.refused);
        for (name, passed) in other.capabilities {
            *self.capabilities.entry(name).or_insert(true) &= passed;
        }
        self.signals_outside.extend(other.signals_outside);
        self.counts.merge(&other.counts);
        self.losses.dropped += other.losses.dropped;
        self.losses.unreadable += other.losses.unreadable;
        self.losses.truncated += other.losses.truncated;
        self.losses.unobserved.extend(other.losses.unobserved);
    }

    /// Whether everything that this tier can see was kept.
    pub fn is_complete(&self) -> bool {
        self.losses.lost() == 0
    }
}
