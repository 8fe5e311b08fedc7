//! Memory with a purpose: files that are handed to another process (`memfd_create(2)`, sealed), and bytes that are to be nowhere else.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

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

/// Bytes in pages of their own, which are not written to swap space (`mlock(2)`) nor to a core file (`MADV_DONTDUMP`), and are
/// overwritten when they are dropped. Where a limit forbids to lock them, they are only the latter.
pub struct Locked {
    at: NonNull<u8>,
    length: usize,
}

impl Locked {
    /// A copy of some bytes, of which there has to be one.
    ///
    /// # Errors
    ///
    /// There is no memory, or nothing to be kept.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let (length, flags) = (bytes.len(), MapFlags::PRIVATE);
        // SAFETY: the kernel chooses a place that nothing else uses; it refuses an empty one.
        let at = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
            )?
        };
        // SAFETY: these are the pages that were just mapped.
        unsafe {
            let _ = rustix::mm::mlock(at, length);
            let _ = rustix::mm::madvise(at, length, Advice::LinuxDontDump);
        }
        let at = NonNull::new(at.cast::<u8>()).ok_or(Errno::NOMEM)?;
        // SAFETY: they can be written, are as long as what is copied, and are nobody else's.
        unsafe { at.copy_from_nonoverlapping(NonNull::from(bytes).cast(), length) };
        Ok(Self { at, length })
    }
}

impl Deref for Locked {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: they were written when this was made, and stay until it is dropped.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.length) }
    }
}

// SAFETY: nothing is shared but through references, as with a `Box<[u8]>`.
unsafe impl Send for Locked {}
// SAFETY: likewise.
unsafe impl Sync for Locked {}

impl std::fmt::Debug for Locked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.length)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        for index in 0..self.length {
            // SAFETY: within what was mapped. Volatile: the compiler may not leave it out, though nobody reads it any more.
            unsafe { self.at.as_ptr().add(index).write_volatile(0) };
        }
        // SAFETY: this is the whole of what was mapped, and no reference outlives this value.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_bytes_are_those_that_were_given_and_their_pages_are_locked_and_not_dumped() {
        let locked = Locked::new(b"a value").unwrap();
        assert_eq!(&*locked, b"a value");
        assert_eq!(format!("{locked:?}"), "7 bytes");
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", locked.as_ptr() as usize);
        let own = maps.lines().skip_while(|line| !line.starts_with(&start));
        let flags = own
            .skip(1)
            .find(|line| line.starts_with("VmFlags:"))
            .unwrap();
        assert!(flags.contains(" lo ") && flags.contains(" dd "), "{flags}");
        assert!(Locked::new(b"").is_err());
    }
}
