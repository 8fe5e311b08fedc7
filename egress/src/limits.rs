//! How much one sandbox may keep of the broker.

use std::time::Duration;

/// The bounds. Whoever is inside chooses how often they connect, look up and wait; what that costs outside ends here.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names that get an address.
    pub names: usize,
    /// How many of them the profile need not ask for: looking up what is refused leaves the others room.
    pub other_names: usize,
    /// Connections open at once.
    pub connections: usize,
    /// The same, to one host.
    pub connections_to_one: usize,
    /// Connections that have not said yet what they want, or wait between two requests. One more closes the one that has
    /// waited longest.
    pub waiting: usize,
    /// Bytes that they may have said in all, beyond [`Limits::FREE`] each. One that says more is closed.
    pub waiting_bytes: usize,
    /// How long a connection may take to say what it wants.
    pub head: Duration,
    /// How long the real name may take to be resolved.
    pub resolve: Duration,
    /// How long each address may take to answer.
    pub dial: Duration,
    /// Decisions that the launcher has not read yet. Beyond it, what is let through waits, and refusals are only counted.
    pub untold: usize,
}

impl Limits {
    /// As many bytes any connection may say before it is known what it wants: more than nearly all need.
    pub const FREE: usize = 8 << 10;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: 16_000,
            other_names: 8_000,
            connections: 4_096,
            connections_to_one: 2_048,
            waiting: 2_048,
            waiting_bytes: 16 << 20,
            head: Duration::from_secs(30),
            resolve: Duration::from_secs(15),
            dial: Duration::from_secs(15),
            untold: 1_024,
        }
    }
}
