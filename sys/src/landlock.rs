//! Landlock: `landlock_create_ruleset(2)`, `landlock_add_rule(2)`, `landlock_restrict_self(2)`.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, descriptor};

/// `LANDLOCK_ACCESS_FS_*` of `linux/landlock.h`.
pub mod fs {
    /// Execute a file.
    pub const EXECUTE: u64 = 1;
    /// Open a file for writing.
    pub const WRITE_FILE: u64 = 1 << 1;
    /// Open a file for reading.
    pub const READ_FILE: u64 = 1 << 2;
    /// List a directory.
    pub const READ_DIR: u64 = 1 << 3;
    /// Remove a directory.
    pub const REMOVE_DIR: u64 = 1 << 4;
    /// Remove a file.
    pub const REMOVE_FILE: u64 = 1 << 5;
    /// Make a character device.
    pub const MAKE_CHAR: u64 = 1 << 6;
    /// Make a directory.
    pub const MAKE_DIR: u64 = 1 << 7;
    /// Make a regular file.
    pub const MAKE_REG: u64 = 1 << 8;
    /// Make a Unix socket.
    pub const MAKE_SOCK: u64 = 1 << 9;
    /// Make a named pipe.
    pub const MAKE_FIFO: u64 = 1 << 10;
    /// Make a block device.
    pub const MAKE_BLOCK: u64 = 1 << 11;
    /// Make a symbolic link.
    pub const MAKE_SYM: u64 = 1 << 12;
    /// Link or rename between directories (ABI 2).
    pub const REFER: u64 = 1 << 13;
    /// Truncate (ABI 3).
    pub const TRUNCATE: u64 = 1 << 14;
    /// `ioctl(2)` on a device opened here (ABI 5).
    pub const IOCTL_DEV: u64 = 1 << 15;
}

/// `LANDLOCK_ACCESS_NET_*` (ABI 4).
pub mod net {
    /// Bind a TCP socket to a port.
    pub const BIND_TCP: u64 = 1;
    /// Connect a TCP socket to a port.
    pub const CONNECT_TCP: u64 = 2;
}

/// `LANDLOCK_SCOPE_*` (ABI 6).
pub mod scope {
    /// Abstract Unix sockets of this domain only.
    pub const ABSTRACT_UNIX_SOCKET: u64 = 1;
    /// Signals to this domain only.
    pub const SIGNAL: u64 = 2;
}

/// Every file system right that an ABI version handles.
pub fn handled_fs(abi: u32) -> u64 {
    match abi {
        0 => 0,
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    }
}

/// The highest ABI that the running kernel has; 0 when Landlock is missing or switched off.
pub fn abi() -> u32 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the kernel takes no attributes.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// A ruleset that denies the rights it handles, except where a rule allows them.
pub fn create_ruleset(abi: u32, fs: u64, net: u64, scoped: u64) -> io::Result<OwnedFd> {
    // `struct landlock_ruleset_attr`. An older kernel refuses a struct longer than it knows.
    let attr = [fs, net, scoped];
    let fields = match abi {
        0..=3 => 1,
        4 | 5 => 2,
        _ => 3,
    };
    let size = fields * size_of::<u64>();
    // SAFETY: `attr` has the kernel's layout and at least `size` bytes, and outlives the call, which
    // returns a new descriptor.
    unsafe {
        descriptor(libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attr.as_ptr(),
            size,
            0,
        ))
    }
}

/// `landlock_add_rule(2)`.
///
/// # Safety
/// `attr` must have the layout that the kernel has for this kind.
unsafe fn add_rule<T>(ruleset: BorrowedFd<'_>, kind: i32, attr: &T) -> io::Result<()> {
    // SAFETY: the caller guarantees the kernel's layout, and `attr` outlives the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            kind,
            std::ptr::from_ref(attr),
            0,
        )
    })?;
    Ok(())
}

/// Allows `access` on the file that `location` refers to, or on everything below that directory.
pub fn allow_path(
    ruleset: BorrowedFd<'_>,
    location: BorrowedFd<'_>,
    access: u64,
) -> io::Result<()> {
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: i32,
    }
    const LANDLOCK_RULE_PATH_BENEATH: i32 = 1;
    let attr = PathBeneath {
        allowed_access: access,
        parent_fd: location.as_raw_fd(),
    };
    // SAFETY: `attr` has the layout of this kind, which is packed.
    unsafe { add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr) }
}

/// Allows `access` on a TCP port.
pub fn allow_port(ruleset: BorrowedFd<'_>, port: u16, access: u64) -> io::Result<()> {
    const LANDLOCK_RULE_NET_PORT: i32 = 2;
    // SAFETY: `struct landlock_net_port_attr` has two fields of this type.
    unsafe { add_rule(ruleset, LANDLOCK_RULE_NET_PORT, &[access, port.into()]) }
}

/// Puts the calling thread, and everything it will start, under the ruleset. Needs `no_new_privs`.
pub fn restrict_self(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })?;
    Ok(())
}
