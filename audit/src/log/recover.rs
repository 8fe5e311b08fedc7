//! Quarantining a torn end: no written byte is lost, and the log records it.
//!
//! The order survives being killed at any point: (1) the torn bytes are copied to a file of their
//! own, which gets its name `torn-SEQ.bin` once it is whole and on the disk; (2) the segment is cut
//! back; (3) a `log.recovered` record names the files. If killed before (2), everything is done again; the same
//! bytes are not stored twice. If killed before (3), the file with the number of the next record shows whoever
//! opens the log that the record is missing.

use std::io::{self, Read, Seek, SeekFrom, Write};

use aegis_sys::private::Dir;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::Error;
use super::files::segment_name;
use super::tail::Tail;
use crate::event::{Recovered, TornFile};
use aegis_profile::Hash;

/// Quarantines a torn end. Returns what is to be recorded, if anything.
pub(super) fn quarantine(dir: &Dir, tail: &mut Tail) -> Result<Option<Recovered>, Error> {
    // The record gets the next number, or the one after if a checkpoint is due at the next.
    let mut places = vec![tail.chain.next];
    if tail.chain.signed {
        places.extend(tail.chain.next.checked_sub(1));
    }
    let mut files = existing_files(dir, &places)?;
    if tail.torn > 0 {
        files.extend(copy_torn(dir, tail, &files)?);
        let path = dir.join(&segment_name(tail.segment));
        (tail.file.set_len(tail.end)).map_err(|error| Error::io("cutting back", &path, error))?;
        tail.torn = 0;
    }
    Ok((!files.is_empty()).then_some(Recovered { files }))
}

/// The record number in the name of a quarantined file.
pub(super) fn place_of(name: &str) -> Option<u64> {
    let parts = name.strip_prefix("torn-")?.strip_suffix(".bin")?;
    parts.split('.').next()?.parse().ok()
}

/// Whether this can be the name of a quarantined file in the log's directory.
pub(super) fn is_torn_name(name: &str) -> bool {
    place_of(name).is_some() && !name.contains('/')
}

/// The quarantined files for these record numbers.
fn existing_files(dir: &Dir, places: &[u64]) -> Result<Vec<TornFile>, Error> {
    let mut files = Vec::new();
    for name in dir.names()? {
        if place_of(&name).is_some_and(|place| places.contains(&place)) {
            let failed = |error| Error::io("reading", &dir.join(&name), error);
            files.extend(inspect(dir, &name, u64::MAX).map_err(failed)?);
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Describes a quarantined file, reading at most `bytes` and one more. `None`: there is no such file.
pub(super) fn inspect(dir: &Dir, name: &str, bytes: u64) -> io::Result<Option<TornFile>> {
    let file = match dir.open_at(name, OFlags::RDONLY) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut hash = Hashing(Sha256::new());
    let bytes = io::copy(&mut file.take(bytes.saturating_add(1)), &mut hash)?;
    Ok(Some(TornFile {
        bytes,
        name: name.to_owned(),
        sha256: Hash(hash.0.finalize().into()),
    }))
}

struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies the torn bytes to a file of their own, unless one of `files` holds them.
fn copy_torn(dir: &Dir, tail: &Tail, files: &[TornFile]) -> Result<Option<TornFile>, Error> {
    const PART: &str = "torn.part";
    let mut name = format!("torn-{}.bin", tail.chain.next);
    let mut more = 0;
    while files.iter().any(|file| file.name == name) {
        more += 1;
        name = format!("torn-{}.{more}.bin", tail.chain.next);
    }
    let copied = || {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut part = dir.open_at(PART, flags)?;
        let mut segment = &tail.file;
        segment.seek(SeekFrom::Start(tail.end))?;
        io::copy(&mut segment.take(tail.torn), &mut part)?;
        part.sync_all()?;
        let copy = inspect(dir, PART, u64::MAX)?.ok_or(io::ErrorKind::NotFound)?;
        if files.iter().any(|file| file.sha256 == copy.sha256) {
            let _ = rustix::fs::unlinkat(dir, PART, AtFlags::empty());
            return Ok(None);
        }
        rustix::fs::renameat(dir, PART, dir, &name)?;
        let name = name.clone();
        Ok::<_, io::Error>(Some(TornFile { name, ..copy }))
    };
    let file = copied()
        .map_err(|error| Error::io("quarantining torn records in", &dir.join(&name), error))?;
    dir.sync()?;
    Ok(file)
}
