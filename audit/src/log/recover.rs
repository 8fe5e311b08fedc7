//! Quarantining a torn end: nothing that was written is thrown away, and the log says that it happened.
//!
//! In an order that survives being killed at any point: (1) the torn bytes are copied to a file of their
//! own, which gets its name `torn-SEQ.bin` once it is whole and on the disk; (2) the segment is cut
//! back; (3) a `log.recovered` record names the files. Killed before (2), all is done again; the same
//! bytes are not kept twice. Killed before (3), the file with the number of the next record tells whoever
//! opens the log that a note is missing.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use aegis_sys::private::Dir;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::Error;
use super::files::segment_name;
use super::tail::Tail;
use crate::event::{Recovered, TornFile};
use aegis_profile::Hash;

/// Quarantines a torn end. Gives what is to be noted, if anything is.
pub(super) fn quarantine(dir: &Dir, tail: &mut Tail) -> Result<Option<Recovered>, Error> {
    // A note goes to the next place; or to the one after, when at the next a checkpoint is due.
    let mut places = vec![tail.next];
    if tail.signed {
        places.extend(tail.next.checked_sub(1));
    }
    if tail.torn == 0 && !any_is_there(dir, &places)? {
        return Ok(None);
    }
    let mut files = kept(dir, &places)?;
    if tail.torn > 0 {
        let name = free_name(tail.next, &files);
        if let Some(file) = keep(dir, tail, name, &files)? {
            files.push(file);
        }
        let failed = |error| {
            Error::io(
                "cutting back",
                &dir.join(&segment_name(tail.segment)),
                error,
            )
        };
        tail.file.set_len(tail.end).map_err(failed)?;
        tail.torn = 0;
    }
    Ok(Some(Recovered { files }))
}

fn first_name(place: u64) -> String {
    format!("torn-{place}.bin")
}

fn any_is_there(dir: &Dir, places: &[u64]) -> Result<bool, Error> {
    for place in places {
        if dir.stat(&first_name(*place))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn free_name(place: u64, files: &[TornFile]) -> String {
    let mut name = first_name(place);
    let mut more = 0;
    while files.iter().any(|file| file.name == name) {
        more += 1;
        name = format!("torn-{place}.{more}.bin");
    }
    name
}

/// The place that a file was quarantined at, from its name.
fn place_of(name: &str) -> Option<u64> {
    let parts = name.strip_prefix("torn-")?.strip_suffix(".bin")?;
    parts.split('.').next()?.parse().ok()
}

/// Whether a name can be that of a quarantined file, in the log's directory.
pub(super) fn is_torn_name(name: &str) -> bool {
    place_of(name).is_some() && !name.contains('/')
}

/// The files that are there for these places.
fn kept(dir: &Dir, places: &[u64]) -> Result<Vec<TornFile>, Error> {
    let mut files = Vec::new();
    for name in dir.names()? {
        let Ok(name) = String::from_utf8(name) else {
            continue;
        };
        if place_of(&name).is_none_or(|place| !places.contains(&place)) {
            continue;
        }
        let failed = |error| Error::io("reading", &dir.join(&name), error);
        files.extend(look(dir, &name, u64::MAX).map_err(failed)?);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// What is in a quarantined file, of which at most `bytes` and one more are read. `None`: there is none.
pub(super) fn look(dir: &Dir, name: &str, bytes: u64) -> std::io::Result<Option<TornFile>> {
    let file = match dir.open_at(name, OFlags::RDONLY) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut hash = Sha256::new();
    let mut found = 0;
    copy(file.take(bytes.saturating_add(1)), |chunk| {
        hash.update(chunk);
        found += chunk.len() as u64;
        Ok(())
    })?;
    Ok(Some(TornFile {
        bytes: found,
        name: name.to_owned(),
        sha256: Hash(hash.finalize().into()),
    }))
}

/// Copies the torn bytes to a file of that name, unless one that holds them is there.
fn keep(
    dir: &Dir,
    tail: &Tail,
    name: String,
    files: &[TornFile],
) -> Result<Option<TornFile>, Error> {
    const PART: &str = "torn.part";
    let failed = |error| Error::io("setting torn records aside to", &dir.join(&name), error);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let mut part = (dir.open_at(PART, flags)).map_err(|error| failed(error.into()))?;
    let mut hash = Sha256::new();
    let torn = Torn {
        file: &tail.file,
        at: tail.end,
    };
    copy(torn.take(tail.torn), |chunk| {
        hash.update(chunk);
        part.write_all(chunk)
    })
    .and_then(|()| part.sync_all())
    .map_err(failed)?;
    let sha256 = Hash(hash.finalize().into());
    if files.iter().any(|file| file.sha256 == sha256) {
        let _ = rustix::fs::unlinkat(dir, PART, AtFlags::empty());
        return Ok(None);
    }
    rustix::fs::renameat(dir, PART, dir, &name).map_err(|error| failed(error.into()))?;
    dir.sync()?;
    Ok(Some(TornFile {
        bytes: tail.torn,
        name,
        sha256,
    }))
}

/// The end of a segment, from some place.
struct Torn<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Torn<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

fn copy(
    mut from: impl Read,
    mut to: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to(&buffer[..n])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
