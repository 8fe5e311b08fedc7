//! Capabilities, securebits and `no_new_privs`: see `capabilities(7)`.

use std::io;

pub use rustix::thread::CapabilitySet;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

/// `CAP_KILL`.
pub const KILL: CapabilitySet = CapabilitySet::KILL;

/// `CAP_SETUID` and `CAP_SETGID`.
pub const IDS: CapabilitySet = CapabilitySet::SETUID.union(CapabilitySet::SETGID);

/// `CAP_SYS_PTRACE`: to read what `/proc` says of other users' processes.
pub const SYS_PTRACE: CapabilitySet = CapabilitySet::SYS_PTRACE;

/// Empties the effective, permitted, inheritable, ambient and bounding sets, and locks the
/// securebits, so that user id 0 gives no privilege and no capability can become ambient again.
///
/// The bounding set and the securebits need `CAP_SETPCAP`, so they go first.
pub fn drop_all(last_capability: u8) -> io::Result<()> {
    drop_all_but(last_capability, CapabilitySet::empty())
}

/// As [`drop_all`], but leaves `kept` effective and permitted, until the next `exec`.
pub fn drop_all_but(last_capability: u8, kept: CapabilitySet) -> io::Result<()> {
    for capability in 0..=last_capability {
        remove_capability_from_bounding_set(set(capability))?;
    }
    // NO_ROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each with its lock, and KEEP_CAPS_LOCKED.
    set_capabilities_secure_bits(CapabilitiesSecureBits::from_bits_retain(0b1110_1111))?;
    clear_ambient_capability_set()?;
    keep(kept)
}

/// Empties the effective and permitted sets but for `kept`.
pub fn keep(kept: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

/// The power over files that belong to others: `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`.
pub const FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

/// Takes capabilities out of the effective set, or puts them back; they stay permitted. Returns whether anything changed:
/// what is not permitted cannot be put back.
pub fn set_effective(which: CapabilitySet, on: bool) -> io::Result<bool> {
    let mut sets = capabilities(None)?;
    let before = sets.effective;
    sets.effective.set(which & sets.permitted, on);
    if sets.effective != before {
        set_capabilities(None, sets)?;
    }
    Ok(sets.effective != before)
}

/// `PR_SET_NO_NEW_PRIVS`: no `exec` from here on can gain privileges.
pub fn no_new_privileges() -> io::Result<()> {
    Ok(set_no_new_privs(true)?)
}

/// The highest capability that this kernel knows.
pub fn last() -> u8 {
    // CAP_CHECKPOINT_RESTORE; newer kernels are asked one by one.
    let mut last: u8 = 40;
    while last < 63 && capability_is_in_bounding_set(set(last + 1)).is_ok() {
        last += 1;
    }
    last
}

fn set(capability: u8) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << capability)
}
