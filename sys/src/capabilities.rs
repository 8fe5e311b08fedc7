//! Capabilities, securebits and `no_new_privs`: see `capabilities(7)`.

use std::io;

use super::check;

/// Empties the effective, permitted, inheritable, ambient and bounding sets, and locks the
/// securebits so that user id 0 would mean nothing and nothing can be ambient again.
///
/// The bounding set and the securebits need `CAP_SETPCAP`, so they go first.
pub fn drop_all(last_capability: u8) -> io::Result<()> {
    for capability in 0..=last_capability {
        prctl(libc::PR_CAPBSET_DROP, capability.into())?;
    }
    // SECBIT_NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each with its lock, and
    // SECBIT_KEEP_CAPS_LOCKED (linux/securebits.h).
    prctl(libc::PR_SET_SECUREBITS, 0b1110_1111)?;
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
    )?;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    // _LINUX_CAPABILITY_VERSION_3: two words for each of effective, permitted, inheritable.
    let header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let empty = [0u32; 6];
    // SAFETY: header and data have the layout that version 3 says, and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &header, &empty) })?;
    Ok(())
}

/// `PR_SET_NO_NEW_PRIVS`: no `exec` from here on can gain privileges.
pub fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// The highest capability that this kernel knows.
pub fn last() -> u8 {
    // CAP_CHECKPOINT_RESTORE; newer kernels are asked one by one.
    let mut last: u8 = 40;
    while last < 63 && prctl(libc::PR_CAPBSET_READ, (last + 1).into()).is_ok() {
        last += 1;
    }
    last
}

/// `prctl(2)` with an option whose arguments are numbers.
pub(super) fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used here take no pointers.
    check(unsafe { libc::prctl(option, argument, 0, 0, 0) }.into())?;
    Ok(())
}
