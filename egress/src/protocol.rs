//! What passes between a launcher and its broker: messages over a `SOCK_SEQPACKET` socket, which is the broker's standard input.
//!
//! ```text
//! launcher: {"prepare": {}} with a sealed file in memory: the JSON of a Setup; and
//!           with Setup::opens another one: whom the host trusts (PEM);
//!           with Setup::secrets the socket of whoever gives them                       -> {"prepared": ...} or {"failed": ...}
//! launcher: {"serve": {}} with the sockets of Setup::listeners, in their order; with
//!           those of Setup::published, and then all that reach inside                  -> {"ready": {}} or {"failed": ...}
//!                                                                                      -> one message for each decision
//! launcher: shuts its side down for writing                                            -> what is still to be told, and the end
//! ```
//!
//! The launcher sends nothing else. When it shuts its side down, the broker ends every connection at once, sends what it still has to
//! tell, and ends; when it closes the socket, nobody is told that any more.
//!
//! **What is told.** A connection or a request that is let through waits until the message about it has been sent, and only then is anybody
//! connected to: whatever becomes of the broker and its launcher, the message is in the socket before a byte has left. (The real name was looked up
//! before, since each address is decided.) Each [`Event::Decided`] that lets through is followed by one [`Event::Ended`].
//!
//! Refusals wait for nothing. Those that there is no room for, or that come faster than is told, are counted, and their number is told
//! ([`Event::Flood`]).

use aegis_policy::model::{Inject, Scheme};
use aegis_policy::request::{Approval, Destination};
use aegis_policy::{Context, Decision, Document, Hash, Request, What};
use serde::{Deserialize, Serialize};

/// The longest message, in bytes.
pub const LONGEST: usize = 64 << 10;

/// The longest path that is decided, and told whole, in bytes. A longer one is refused.
pub const LONGEST_PATH: usize = 8 << 10;

/// What a path ends in that was longer. No path of a request has it.
pub const CUT: char = '…';

/// The longest [`Setup`], in bytes.
pub const LONGEST_SETUP: u64 = 64 << 20;

/// What a launcher sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// To make ready to decide, by the [`Setup`] that comes with it.
    Prepare {},
    /// To serve the sockets that come with it.
    Serve {},
}

/// For whom, and by what, the broker decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Setup {
    /// What persons approved of this run.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// As many bytes may be exchanged in a second, both ways and with all hosts together: `limits.net`.
    #[serde(default)]
    pub bandwidth: Option<u64>,
    /// Who asks: part of every request ([`asked`]).
    pub context: Context,
    /// Where the profile asks to connect to: `net.outbound`.
    pub destinations: Vec<Grant>,
    /// The sockets.
    pub listeners: Vec<Listener>,
    /// How TLS may be opened. `None`: the sandbox has no place for whom it is to trust.
    #[serde(default)]
    pub opens: Option<Opens>,
    /// The documents of the policy, those of the system first.
    pub policy: Vec<Document>,
    /// What connections are made through.
    #[serde(default)]
    pub proxies: Proxies,
    /// Sockets that listen on the host: the port inside to which each is connected, through unconnected TCP sockets of the sandbox's network.
    #[serde(default)]
    pub published: Vec<u16>,
    /// What is put into requests.
    #[serde(default)]
    pub secrets: Vec<Secret>,
}

/// A secret that is put into requests to one host, at one port. Its value is asked of the provider: `aegis_secrets::protocol`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Secret {
    /// Its alias.
    pub alias: String,
    /// The host.
    pub to: String,
    /// Its port.
    pub port: u16,
    /// The header that each request is given: its name, and its value with `{}` for the secret.
    #[serde(default)]
    pub header: Option<(String, String)>,
    /// The parameter of the URL that each request is given.
    #[serde(default)]
    pub query: Option<String>,
    /// What the command has in place of the value.
    #[serde(default)]
    pub placeholder: Option<String>,
    /// How long it is sent, in milliseconds.
    #[serde(default)]
    pub ttl: Option<u64>,
}

impl Secret {
    /// Where it is sent, as a profile writes it.
    pub fn place(&self) -> String {
        let host = match self.to.contains(':') {
            true => format!("[{}]", self.to),
            false => self.to.clone(),
        };
        match self.port {
            443 => host,
            port => format!("{host}:{port}"),
        }
    }
}

/// TLS is opened to hosts whose requests the policy tells apart or to which a secret is sent, and to those that nobody asked for, so that they
/// are told so: both ends are the broker's, with an authority of this run's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Opens {
    /// Whether a list of authorities for Java is wanted.
    pub java: bool,
}

/// The caller's proxies, as its variables name them. Nothing is made through them that leads to the host itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Proxies {
    /// For `http`: of `http_proxy` or `all_proxy`.
    pub http: Option<String>,
    /// For all else: of `https_proxy` or `all_proxy`.
    pub https: Option<String>,
    /// Who is reached directly, with commas or blanks between: of `no_proxy`.
    pub except: Option<String>,
}

impl Proxies {
    /// Those of an environment, as `curl(1)` finds them: small letters come first, and `HTTP_PROXY` is not read, which a server may set
    /// from a header.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| variable(name));
            values.find(|value| !value.is_empty())
        };
        Self {
            http: set(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: set(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            except: set(&["no_proxy", "NO_PROXY"]),
        }
    }
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

    /// Whether it asks for a destination.
    pub fn asks_for(&self, to: &Destination) -> bool {
        self.scheme == to.scheme && self.port == to.port && self.covers(&to.host)
    }
}

/// The line by which a profile asks for a destination.
pub fn granting(to: &Destination) -> String {
    format!("capabilities: {{net.outbound: [\"{}\"]}}", url(to))
}

/// What the policy is asked about a destination or the use of a secret, by whom: what a [`Decision`] of the broker's is about. Other names
/// of places matter to neither, and are left out.
pub fn asked(context: &Context, approvals: &[Approval], what: What) -> Request {
    let context = Context {
        aliases: Vec::new(),
        ..context.clone()
    };
    Request {
        approvals: approvals.to_vec(),
        context,
        what,
    }
}

/// A socket of the sandbox's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Listener {
    /// 53 is DNS. Others are those of destinations.
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
    /// It is ready to decide. With [`Opens::java`], all authorities come along as Java reads them, in a sealed file.
    Prepared {
        /// The run's own authority, which the sandbox has to trust: a certificate (PEM). `None`: TLS is not opened.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
        /// By this policy: what it has read has to be what the launcher decides by.
        policy: Hash,
    },
    /// It serves.
    Ready {},
    /// It cannot, and ends.
    Failed {
        /// Why not.
        why: String,
    },
    /// The policy was asked about a connection or a request.
    Decided {
        /// The line that would let through what was refused, in the profile or in the policy. The broker alone knows for which refusals
        /// there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allow: Option<String>,
        /// What it said. Its input is [what is asked](asked) of `to` with the [`Setup`]'s context and approvals.
        decision: Decision,
        /// Identifies what is let through, until it has ended.
        id: u64,
        /// Where to.
        to: Destination,
    },
    /// What was let through is over.
    Ended {
        /// What went wrong, such as that nobody answers at its address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Of which decision.
        id: u64,
        /// Bytes that came from there.
        received: u64,
        /// Bytes that were sent there.
        sent: u64,
        /// Where to, with the address, as that decision has it.
        to: Destination,
    },
    /// The policy was asked whether a secret may be put into a request that was let through.
    Secret {
        /// The secret.
        alias: String,
        /// What it said. Its input is [what is asked](asked) of the use.
        decision: Decision,
        /// The host.
        host: String,
        /// Where it is put.
        inject: Inject,
        /// The version of the value, which says nothing of it.
        version: String,
    },
    /// Connections to a published port have ended, since the last message about that port.
    Entered {
        /// What went wrong first, such as that nobody listens inside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Of how many something went wrong.
        failed: u64,
        /// The port.
        port: u16,
        /// Bytes that came from those who connected.
        received: u64,
        /// Bytes that were sent to them.
        sent: u64,
        /// How many.
        times: u64,
    },
    /// The broker refused a connection or a request by itself: whatever the policy says, it is not let through.
    Refused {
        /// The line that would let it through, as of [`Event::Decided`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allow: Option<String>,
        /// Where to, as far as it is known. A path that is longer than [`LONGEST_PATH`] is cut, and ends in [`CUT`].
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
