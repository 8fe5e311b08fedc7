//! The sandbox's `/dev`: a few nodes that every program may use, and those that are declared.

use std::path::{Path, PathBuf};

use aegis_profile::{Device, GPU_NODES};

/// The nodes that every sandbox has.
pub const ALWAYS: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// The caller's terminal, whatever its name.
pub const TERMINAL: &str = "/dev/tty";

/// Whether every sandbox may use this node, so that no policy is asked.
pub fn is_always_there(node: &Path) -> bool {
    node == Path::new(TERMINAL) || ALWAYS.iter().any(|own| node == Path::new(own))
}

/// Names of 0, 1, 2, which programs expect beside them.
pub const STANDARD: [&str; 3] = ["/dev/stdin", "/dev/stdout", "/dev/stderr"];

/// The host paths of one declared device; `pty` has none.
pub fn nodes(device: &Device) -> Vec<PathBuf> {
    match device {
        Device::Gpu => GPU_NODES.iter().map(PathBuf::from).collect(),
        Device::Kvm => vec!["/dev/kvm".into()],
        Device::Pty => Vec::new(),
        Device::Path(path) => vec![PathBuf::from(path)],
    }
}
