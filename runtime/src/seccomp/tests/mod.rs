//! Tests of all steps together, from a spec to the kernel.

mod boundary;
mod kernel;
mod law;
mod sockets;

use super::{Base, SyscallSpec, UnixSockets};
use crate::types::Network;

/// A spec with this base and nothing else.
pub(super) fn spec(base: Base) -> SyscallSpec {
    SyscallSpec {
        unix_sockets: UnixSockets::Any,
        listens: true,
        ..SyscallSpec::new(base)
    }
}

/// Every spec that has no names of its own.
pub(super) fn every_spec() -> Vec<SyscallSpec> {
    let mut specs = Vec::new();
    for base in [Base::Default, Base::Minimal, Base::Learned] {
        for network in [Network::None, Network::Host] {
            for (notify, watch_stderr, observed) in [
                (false, false, false),
                (true, false, false),
                (true, true, false),
                (true, true, true),
            ] {
                specs.push(SyscallSpec {
                    notify,
                    network,
                    watch_stderr,
                    observed,
                    unix_sockets: UnixSockets::Any,
                    listens: true,
                    ..spec(base)
                });
            }
        }
    }
    specs
}
