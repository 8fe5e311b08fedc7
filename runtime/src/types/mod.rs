//! The values that every other module uses: paths, ids, the network, steps that can fail, and why a
//! path cannot be used. Nothing here reads the host or changes anything.

pub mod bytes;
mod fault;
mod ids;
mod network;
mod origin;
pub mod paths;
mod stdio;
mod step;
pub mod trust;

pub use fault::Fault;
pub use ids::{HOSTNAME, Identity, SANDBOX_UID, now, run_id};
pub use network::{BrokerSocket, INWARD, Inward, Network, Protocol};
pub use origin::GrantOrigin;
pub use paths::PathMap;
pub use stdio::StdioMode;
pub use step::Step;
