//! What passes between a launcher and its broker: messages over a `SOCK_SEQPACKET` socket, which is the broker's standard input.
//!
//! ```text
//! launcher: {"serve": {}} with a sealed file in memory: the JSON of a Setup, and
//!           the listening sockets, in the order of Setup::listeners                    -> {"ready": {}} or {"failed": ...}
//!                                                                                      -> one message for each decision
//! ```
//!
//! The launcher sends nothing else. When it closes the socket, the broker ends at once, and every connection with it.
//!
//! **What is told.** Whatever is let through is told before the first byte of it leaves; where the launcher does not read, it
//! waits. Refusals wait for nothing: those that there is no room for are counted, and their number is told ([`Event::Flood`]).
//! Each [`Event::Decided`] that lets through is followed by one [`Event::Ended`].

use aegis_policy::model::Scheme;
use aegis_policy::request::{Approval, Destination};
use aegis_policy::{Context, Decision, Document};
use serde::{Deserialize, Serialize};

/// The longest message, in bytes.
pub const LONGEST: usize = 64 << 10;

/// The longest [`Setup`], in bytes.
pub const LONGEST_SETUP: u64 = 64 << 20;

/// What a launcher sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// To serve the sockets that come with it, by the [`Setup`] that comes with it.
    Serve {},
}

/// For whom, and by what, the broker decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Setup {
    /// What persons approved of this run.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// Who asks: part of every request. Other names of places matter to no destination, and only cost time.
    pub context: Context,
    /// Where the profile asks to connect to: `net.outbound`.
    pub destinations: Vec<Grant>,
    /// The sockets.
    pub listeners: Vec<Listener>,
    /// The documents of the policy, those of the system first.
    pub policy: Vec<Document>,
}

/// A destination that the profile asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grant {
    /// A name, `*.` and a name for all below it, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How it is spoken to.
    pub scheme: Scheme,
}

impl Grant {
    /// Whether a host is what it names.
    pub fn covers(&self, host: &str) -> bool {
        match self.host.strip_prefix("*.") {
            // All names below it, and not itself.
            Some(name) => {
                let below = host
                    .strip_suffix(name)
                    .and_then(|rest| rest.strip_suffix('.'));
                below.is_some_and(|labels| !labels.is_empty())
            }
            None => self.host == host,
        }
    }
}

/// A socket of the sandbox's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Listener {
    /// 53 is DNS. On any other, TCP is served.
    pub port: u16,
    /// TCP sockets listen; UDP sockets are bound.
    pub protocol: Protocol,
}

/// The protocol of a [`Listener`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What the broker tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// It serves.
    Ready {},
    /// It cannot, and ends.
    Failed {
        /// Why not.
        why: String,
    },
    /// The policy was asked about a connection or a request.
    Decided {
        /// What it said. Its input is the [`Setup`]'s context and approvals, and `to`.
        decision: Decision,
        /// Identifies what is let through, until it has ended.
        id: u64,
        /// Where to.
        to: Destination,
    },
    /// What was let through is over.
    Ended {
        /// What went wrong.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Of which decision.
        id: u64,
        /// Bytes that came from there.
        received: u64,
        /// Bytes that were sent there.
        sent: u64,
    },
    /// The broker refused a connection or a request by itself: whatever the policy says, it is not let through.
    Refused {
        /// Where to, as far as it is known.
        to: Destination,
        /// Why.
        why: String,
    },
    /// So many refusals happened since the last message and are not told one by one.
    Flood {
        /// How many.
        refusals: u64,
    },
}

/// A destination as a profile writes it.
pub fn url(to: &Destination) -> String {
    let host = match to.host.contains(':') {
        true => format!("[{}]", to.host),
        false => to.host.clone(),
    };
    let scheme = to.scheme.name();
    match (to.scheme, to.port) {
        (Scheme::Https, 443) | (Scheme::Http, 80) => format!("{scheme}://{host}"),
        (_, port) => format!("{scheme}://{host}:{port}"),
    }
}

/// A message as it is sent.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("strings and numbers")
}
