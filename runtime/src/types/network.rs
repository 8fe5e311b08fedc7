//! The network of a sandbox.

use std::net::SocketAddr;

use serde::Serialize;

/// What network a sandbox has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A separate namespace with a loopback device, and nothing else. Sockets work, but reach only what
    /// listens inside it.
    None,
    /// The host's network.
    Host,
    /// As [`Network::None`], but every address of IPv4 and IPv6 leads to the [`BrokerSocket`]s that are opened inside, which a
    /// broker outside serves: `getsockname(2)` of a connection is the address that was asked for. Other ports are refused.
    Brokered,
}

impl Network {
    /// Whether the sandbox has a network namespace of its own.
    pub fn is_private(self) -> bool {
        self != Self::Host
    }
}

/// A socket that PID 1 opens in the sandbox's network namespace and hands out before the command runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokerSocket {
    /// TCP sockets listen; UDP sockets are bound.
    pub protocol: Protocol,
    /// Its address; `[::]` is any, of IPv4 too. No other socket inside can share it.
    pub address: SocketAddr,
}

/// The unconnected sockets, by family, that PID 1 opens in the network namespace of a sandbox that publishes ports. As many connections in
/// there may be at a time.
pub const INWARD: Inward = Inward { v4: 64, v6: 32 };

/// See [`INWARD`].
#[derive(Clone, Copy, Debug)]
pub struct Inward {
    /// Of IPv4.
    pub v4: usize,
    /// Of IPv6, where the kernel has it: for what listens at `::1` alone.
    pub v6: usize,
}

/// The protocol of a [`BrokerSocket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A stream socket.
    Tcp,
    /// A datagram socket.
    Udp,
}
