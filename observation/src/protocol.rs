//! What passes between a launcher and whoever observes for it: messages over a `SOCK_SEQPACKET` socket.
//!
//! ```text
//! launcher: {"ready": {}}, if it wants to know                          -> {"ready": {}}
//! launcher: {"watch": {}} with a descriptor of the sandbox's PID 1 (pidfd)   -> {"watching": {}} or {"refused": ...}
//! launcher: {"finish": {}} with a file in memory: the JSON of the run      -> {"observed": {"lost": 0}} with a file of the observation
//! ```
//!
//! Closing the socket ends the observation, and what was seen is forgotten.

use serde::{Deserialize, Serialize};

/// The longest message, in bytes.
pub const LONGEST: usize = 4096;

/// The longest description of a run, in bytes: a command line may have two megabytes.
pub const LONGEST_RUN: u64 = 16 << 20;

/// The socket of the host's service.
pub const SOCKET: &str = "/run/aegis-observe.sock";

/// What a launcher asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Whether anything can be observed.
    Ready {},
    /// To observe the sandbox whose PID 1 comes with it.
    Watch {},
    /// To end the observation, and hand it over. The [`Run`](crate::Run) that comes with it is put into it.
    Finish {},
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// It can: the probes are loaded.
    Ready {},
    /// It is observed from now on.
    Watching {},
    /// The observation comes with it, as a file in memory that nobody can change.
    Observed {
        /// How much was seen and lost: [`Losses::lost`](crate::Losses::lost).
        lost: u64,
    },
    /// It cannot be done.
    Refused {
        /// Why not.
        why: String,
    },
}

/// A message as it is sent.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("strings and numbers")
}
