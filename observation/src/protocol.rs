//! What passes between a launcher and whoever observes for it: messages over a `SOCK_SEQPACKET` socket.
//!
//! ```text
//! launcher: {"ready": {}}, if it wants to know                          -> {"ready": {"tier": "bpf"}}
//! launcher: {"watch": {}} with a descriptor of the sandbox's PID 1 (pidfd)   -> {"watching": {"tier": "bpf"}} or {"refused": ...}
//! launcher: {"watch": {"news": true}} with that, and a file of a [`Guard`]   -> the same, and later, when something new was seen
//!           {"more": {}} when that was read                                -> {"news": {}} with a file of an observation of it
//! launcher: {"finish": {}} with a file in memory: the JSON of the run      -> {"observed": {"lost": 0}} with a file of the observation
//! ```
//!
//! Closing the socket ends the observation, and what was seen is forgotten.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Text, Tier};

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
    Watch {
        /// Whether what is new is told while the command runs. A [`Guard`] comes with it too.
        #[serde(default)]
        news: bool,
    },
    /// The last news were read: the next may come.
    More {},
    /// To end the observation, and hand it over. The [`Run`](crate::Run) that comes with it is put into it.
    Finish {},
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// It can: the probes are loaded.
    Ready {
        /// Which of them.
        tier: Tier,
    },
    /// It is observed from now on.
    Watching {
        /// By what.
        tier: Tier,
    },
    /// What was seen since the last news comes with it, as such a file. The next are sent when [`Request::More`] has come.
    News {},
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

/// What is killed or refused in the kernel, before the call that does it returns: whatever else is executed or reached than
/// this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Guard {
    /// Programs that may be executed, as the sandbox's root has them. `None`: any.
    pub executed: Option<BTreeSet<Text>>,
    /// Addresses that may be connected and sent to; of port 0, each of its ports. `None`: any.
    pub reached: Option<BTreeSet<SocketAddr>>,
    /// Whether the call is refused, where the kernel can do that, and goes on. What it cannot refuse is killed.
    #[serde(default)]
    pub refuses: bool,
}

impl Guard {
    /// The most programs and addresses together.
    pub const MOST: usize = 1024;
}

/// A message as it is sent.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("strings and numbers")
}
