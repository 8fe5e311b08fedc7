//! Files in memory that are handed to another process: `memfd_create(2)`, sealed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;

const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// A file with these bytes, at whose beginning it stands, and that nobody can change any more.
pub fn sealed(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL);
    // Before Linux 6.3 there is no such flag.
    let file = match made {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags)?,
        made => made?,
    };
    super::files::write_all(file.as_fd(), bytes)?;
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file)
}

/// The length of such a file. Any other has no seals and is an error: reading it could wait, and its length change.
pub fn length_of_sealed(file: &OwnedFd) -> io::Result<u64> {
    if !rustix::fs::fcntl_get_seals(file)?.contains(SEALS) {
        return Err(Errno::PERM.into());
    }
    Ok(rustix::fs::fstat(file)?.st_size as u64)
}
