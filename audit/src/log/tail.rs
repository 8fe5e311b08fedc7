//! The end of a log: where it is, and whether it is one.
//!
//! **Torn, or tampered with?** A write that a crash cut short leaves a last line without its line feed;
//! one that the disk took in pieces only, zeros where a page is missing, and no line of a log holds a
//! zero byte. Both are *torn*: never reported as durable, quarantined, noted. Everything else is not
//! what an interrupted append leaves: a whole line that does not have the form of one, whose hash is wrong, or that does not
//! follow from the line before. That is *damage*, and nothing is appended to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use aegis_sys::private::{Dir, Others};
use rustix::fs::OFlags;

use super::Error;
use super::files::{segment_name, segments};
use super::line::{self, Link, MAX_LINE, Place};
use crate::event::{Checkpoint, EventType};
use aegis_profile::hash::Hash;

/// Whether a last line, without its line feed, is torn.
pub(super) fn is_torn(line: &[u8], ended: bool) -> bool {
    !ended || line.contains(&0)
}

/// Reads the lines of a file from its end.
pub(super) struct Back<'a> {
    file: &'a File,
    /// What is left of the file before `buffer`.
    start: u64,
    buffer: Vec<u8>,
}

/// The first step of [`Back`]: most lines fit.
const STEP: u64 = 16 << 10;

impl<'a> Back<'a> {
    pub fn new(file: &'a File, end: u64) -> Self {
        Self {
            file,
            start: end,
            buffer: Vec::new(),
        }
    }

    /// Where what was not given yet ends.
    pub fn end(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// What comes after the last line feed; the first call only has any.
    pub fn fragment(&mut self) -> io::Result<u64> {
        let cut = self.find(self.buffer.len())?;
        let length = self.buffer.len() - cut;
        self.buffer.truncate(cut);
        Ok(length as u64)
    }

    /// The line before, with where it begins and without its line feed.
    pub fn line(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        if self.end() == 0 {
            return Ok(None);
        }
        // The last byte is the line's own line feed.
        let begin = match self.buffer.len() {
            0 => {
                self.find(0)?;
                self.find(self.buffer.len() - 1)?
            }
            length => self.find(length - 1)?,
        };
        let mut line = self.buffer.split_off(begin);
        line.pop();
        Ok(Some((self.end(), line)))
    }

    /// The index behind the last line feed among the first `within` bytes of the buffer, which grows
    /// until there is one or the file begins.
    fn find(&mut self, within: usize) -> io::Result<usize> {
        let mut within = within;
        // What has been looked through is not looked through again.
        let mut unseen = within;
        loop {
            let found = self.buffer[..unseen]
                .iter()
                .rposition(|byte| *byte == b'\n');
            if let Some(at) = found {
                return Ok(at + 1);
            }
            if self.start == 0 {
                return Ok(0);
            }
            if within > MAX_LINE + 1 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "there is a line of more than 16 MiB, which is none of a log",
                ));
            }
            let more = self.start.min(STEP.max(self.buffer.len() as u64));
            // At most some MAX_LINE, so that it fits.
            let mut buffer = vec![0; more as usize];
            self.file.read_exact_at(&mut buffer, self.start - more)?;
            self.start -= more;
            buffer.append(&mut self.buffer);
            self.buffer = buffer;
            unseen = more as usize;
            within += more as usize;
        }
    }
}

/// The end of a log.
pub(super) struct Tail {
    /// The newest segment.
    pub segment: u32,
    pub file: File,
    /// Where the last line in it ends.
    pub end: u64,
    /// How many torn bytes there are behind that.
    pub torn: u64,
    /// The place that the next record gets.
    pub next: u64,
    /// The hash of the last record.
    pub head: Hash,
    /// Whether that is a checkpoint.
    pub signed: bool,
    /// The newest checkpoint, where it is known.
    pub newest: Option<Checkpoint>,
}

/// Finds the end of a log. `None`: there is no segment.
pub(super) fn read(dir: &Dir) -> Result<Option<Tail>, Error> {
    let Some(segment) = segments(dir)?.last().copied() else {
        return Ok(None);
    };
    let name = segment_name(segment);
    let file = open(dir, segment, true)?;
    let failed = |error| Error::io("reading", &dir.join(&name), error);
    let size = file.metadata().map_err(failed)?.len();
    let mut back = Back::new(&file, size);
    back.fragment().map_err(failed)?;
    let mut end = back.end();
    let last = loop {
        match back.line().map_err(failed)? {
            Some((at, line)) if is_torn(&line, true) => end = at,
            found => break found,
        }
    };
    let torn = size - end;
    let (next, head, signed) = match last {
        Some((at, bytes)) => chained(dir, segment, at, &bytes, &file, &mut back)?,
        None if segment == 1 => (0, Hash::default(), false),
        None => last_of(dir, segment - 1)?,
    };
    Ok(Some(Tail {
        segment,
        file,
        end,
        torn,
        next,
        head,
        signed,
        newest: None,
    }))
}

/// The end of a segment that another one follows: it was on the disk before that was made.
fn last_of(dir: &Dir, segment: u32) -> Result<(u64, Hash, bool), Error> {
    let name = segment_name(segment);
    let failed = |error| Error::io("reading", &dir.join(&name), error);
    let file = open(dir, segment, false)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut back = Back::new(&file, size);
    let fragment = back.fragment().map_err(failed)?;
    match back.line().map_err(failed)? {
        Some((at, bytes)) if fragment == 0 => chained(dir, segment, at, &bytes, &file, &mut back),
        _ => {
            let what = "another segment follows, but this one does not end with a whole line";
            Err(damaged(dir, segment, size, &file, what.into()))
        }
    }
}

/// The last line and its link to the line before: the place after it, its hash, whether it signs.
fn chained(
    dir: &Dir,
    segment: u32,
    at: u64,
    bytes: &[u8],
    file: &File,
    back: &mut Back<'_>,
) -> Result<(u64, Hash, bool), Error> {
    let bad = |at, what: String| damaged(dir, segment, at, file, what);
    let (hash, link) = parse(bytes).map_err(|what| bad(at, what))?;
    let before = back.line().map_err(|error| bad(at, error.to_string()))?;
    if let Some((at_before, bytes)) = before {
        let (hash, before) = parse(&bytes).map_err(|what| bad(at_before, what))?;
        if !link.follows(&hash) || Some(link.seq) != before.seq.checked_add(1) {
            return Err(bad(at, "it does not follow from the line before".into()));
        }
    }
    let next = (link.seq.checked_add(1)).ok_or_else(|| bad(at, "its number is too high".into()))?;
    Ok((next, hash, link.kind == EventType::Checkpoint))
}

fn parse(bytes: &[u8]) -> Result<(Hash, Link<'_>), String> {
    let (hash, record) = line::split(bytes).ok_or(line::NO_LINE)?;
    if Hash::of(record) != hash {
        return Err(line::WRONG_HASH.into());
    }
    Ok((hash, Link::read(record)?))
}

/// The error of a place in a segment. Only now it is worth while to count lines.
fn damaged(dir: &Dir, segment: u32, at: u64, file: &File, what: String) -> Error {
    let mut lines = 1;
    let mut buffer = vec![0; 1 << 16];
    let mut offset = 0;
    while offset < at {
        let want = usize::try_from(at - offset).map_or(buffer.len(), |n| n.min(buffer.len()));
        match file.read_at(&mut buffer[..want], offset) {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                lines += buffer[..n].iter().filter(|b| **b == b'\n').count() as u64;
                offset += n as u64;
            }
        }
    }
    Error::Damaged {
        dir: dir.path().to_owned(),
        place: Place {
            segment: Arc::from(segment_name(segment)),
            line: lines,
            offset: at,
        },
        what,
    }
}

pub(super) fn open(dir: &Dir, segment: u32, write: bool) -> Result<File, Error> {
    let name = segment_name(segment);
    let flags = match write {
        true => OFlags::RDWR | OFlags::APPEND,
        false => OFlags::RDONLY,
    };
    let missing = || Error::io("opening", &dir.join(&name), io::ErrorKind::NotFound);
    dir.file(&name, flags, Others::MayRead)?.ok_or_else(missing)
}

/// The newest checkpoint before the end, as far as `within` bytes back. `None`: there is none, in the
/// segments there are.
pub(super) fn newest_checkpoint(
    dir: &Dir,
    tail: &Tail,
    within: u64,
) -> Result<Option<Checkpoint>, Error> {
    let mut end = Some(tail.end);
    let mut within = within;
    for number in (1..=tail.segment).rev() {
        if dir.stat(&segment_name(number))?.is_none() {
            return Ok(None);
        }
        let file = open(dir, number, false)?;
        let failed = |error| Error::io("reading", &dir.join(&segment_name(number)), error);
        let size = match end.take() {
            Some(end) => end,
            None => file.metadata().map_err(failed)?.len(),
        };
        let mut back = Back::new(&file, size);
        while let Some((at, bytes)) = back.line().map_err(failed)? {
            if is_checkpoint(&bytes) {
                let bad = |what: &str| damaged(dir, number, at, &file, what.into());
                let (hash, record) = line::split(&bytes).ok_or_else(|| bad(line::NO_LINE))?;
                if Hash::of(record) != hash {
                    return Err(bad(line::WRONG_HASH));
                }
                let record = serde_json::from_slice(record).ok();
                let found = record.and_then(|record| Checkpoint::of(&record));
                return found.map(Some).ok_or_else(|| bad("this is no checkpoint"));
            }
            if size - at > within {
                return Ok(None);
            }
        }
        within = within.saturating_sub(size);
    }
    Ok(None)
}

/// Whether a line is of the type. `type` and `v` are a record's last names, by their order.
fn is_checkpoint(line: &[u8]) -> bool {
    line.strip_suffix(b"}}")
        .and_then(|line| line.rsplit(|byte| *byte == b',').nth(1))
        == Some(b"\"type\":\"checkpoint\"")
}

/// The error of a log in which there is no checkpoint.
pub(super) fn no_checkpoint(dir: &Dir, tail: &Tail) -> Error {
    let what = "there is no checkpoint before this, so whose log it is cannot be said".into();
    damaged(dir, tail.segment, tail.end, &tail.file, what)
}
