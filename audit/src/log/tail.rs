//! The end of a log: where it is, and whether it is torn or damaged.
//!
//! **Torn, or tampered with?** A crash can cut a write short, which leaves a last line without its line feed.
//! If the disk wrote only some of its pages, the missing ones are zeros, and no line of a log holds a
//! zero byte. Both are *torn*: never reported as durable, quarantined, recorded. An interrupted append leaves
//! nothing else: a whole line that does not have the form of one, whose hash is wrong, or that does not
//! follow from the line before, is *damage*, and nothing is appended to it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;

use aegis_sys::private::{Dir, Others};
use rustix::fs::OFlags;

use super::Error;
use super::files::{segment_name, segments};
use super::line::{self, Link, MAX_LINE, Place};
use crate::event::{Checkpoint, EventType, LastSigned, Missing, PublicKey, Record};
use aegis_profile::hash::Hash;

/// Whether a last line, given without its line feed, is torn.
pub(super) fn is_torn(line: &[u8], ended: bool) -> bool {
    !ended || line.contains(&0)
}

/// A segment, read line by line from its end.
struct BackwardReader<'d> {
    dir: &'d Dir,
    segment: u32,
    file: File,
    /// How much of the file lies before `buffer`.
    start: u64,
    buffer: Vec<u8>,
}

/// How much [`BackwardReader`] reads first: most lines fit.
const STEP: u64 = 4 << 10;

impl<'d> BackwardReader<'d> {
    fn open(dir: &'d Dir, segment: u32, write: bool) -> Result<Self, Error> {
        let name = segment_name(segment);
        let flags = match write {
            true => OFlags::RDWR | OFlags::APPEND,
            false => OFlags::RDONLY,
        };
        let file = dir.existing(&name, flags, Others::MayRead)?;
        let found = (file.metadata()).map_err(|e| Error::io("looking at", &dir.join(&name), e))?;
        Ok(Self {
            dir,
            segment,
            file,
            start: found.len(),
            buffer: Vec::new(),
        })
    }

    /// Where the part not yet returned ends.
    fn end(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// Skips what comes after the last line feed, before any line is read. Returns its length.
    fn fragment(&mut self) -> Result<u64, Error> {
        let cut = self.find(0)?;
        let length = self.buffer.len() - cut;
        self.buffer.truncate(cut);
        Ok(length as u64)
    }

    /// The previous line, with its offset and without its line feed.
    fn line(&mut self) -> Result<Option<(u64, Vec<u8>)>, Error> {
        if self.end() == 0 {
            return Ok(None);
        }
        // The last byte is the line feed of this line.
        if self.buffer.is_empty() {
            self.find(0)?;
        }
        let begin = self.find(self.buffer.len() - 1)?;
        let mut line = self.buffer.split_off(begin);
        line.pop();
        Ok(Some((self.end(), line)))
    }

    /// The index after the last line feed among the first `within` bytes of the buffer, which grows
    /// until one is found or the file begins.
    fn find(&mut self, within: usize) -> Result<usize, Error> {
        let mut within = within;
        // No byte is searched twice.
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
                let what = "there is a line longer than 16 MiB, the maximum in a log";
                return Err(self.damaged(self.start, what));
            }
            let more = self.start.min(STEP.max(self.buffer.len() as u64));
            // At most about MAX_LINE, so it fits.
            let mut buffer = vec![0; more as usize];
            (self.file.read_exact_at(&mut buffer, self.start - more)).map_err(|error| {
                Error::io(
                    "reading",
                    &self.dir.join(&segment_name(self.segment)),
                    error,
                )
            })?;
            self.start -= more;
            buffer.append(&mut self.buffer);
            self.buffer = buffer;
            unseen = more as usize;
            within += more as usize;
        }
    }

    /// The end of the chain after the last line, which is checked against the one before.
    fn after(&mut self, at: u64, bytes: &[u8]) -> Result<ChainEnd, Error> {
        let (hash, link) = parse(bytes).map_err(|what| self.damaged(at, what))?;
        if let Some((at_before, bytes)) = self.line()? {
            let (hash, before) = parse(&bytes).map_err(|what| self.damaged(at_before, what))?;
            if !link.follows(&hash) || Some(link.seq) != before.seq.checked_add(1) {
                return Err(self.damaged(at, "it does not follow from the line before"));
            }
        }
        let next = link.seq.checked_add(1);
        let next = next.ok_or_else(|| self.damaged(at, "its number is too high"))?;
        Ok(ChainEnd {
            next,
            head: hash,
            signed: link.kind == EventType::Checkpoint,
            newest: None,
        })
    }

    /// The error for a place in the segment. Lines are counted only now, when it is worth it.
    fn damaged(&self, at: u64, what: impl Into<String>) -> Error {
        let before = BufReader::new((&self.file).take(at)).bytes();
        let line_feeds = before.map_while(Result::ok).filter(|byte| *byte == b'\n');
        Error::Damaged {
            dir: self.dir.path().to_owned(),
            place: Place {
                segment: segment_name(self.segment).into(),
                line: line_feeds.count() as u64 + 1,
                offset: at,
            },
            what: what.into(),
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
    /// How many torn bytes follow.
    pub torn: u64,
    pub chain: ChainEnd,
}

/// Where the chain continues.
#[derive(Clone, Default)]
pub(super) struct ChainEnd {
    /// The number of the next record.
    pub next: u64,
    /// The hash of the last record.
    pub head: Hash,
    /// Whether the last record is a checkpoint.
    pub signed: bool,
    /// The newest checkpoint, if known.
    pub newest: Option<Newest>,
}

impl ChainEnd {
    /// After a checkpoint that is not there any more.
    pub fn after(last: &LastSigned, key: PublicKey) -> Self {
        let checkpoint = Checkpoint {
            key,
            log: last.log.clone(),
            number: last.number,
            signature: None,
        };
        Self {
            next: last.seq.saturating_add(1),
            head: last.hash,
            signed: true,
            newest: Some(Newest {
                checkpoint,
                hash: last.hash,
                seq: last.seq,
            }),
        }
    }

    /// Whether what was signed last is missing from the log that ends here.
    pub fn missing(&self, signed: LastSigned) -> Option<Missing> {
        let newest = self.newest.as_ref().map(Newest::last_signed);
        let is_there = newest.as_ref().is_some_and(|newest| {
            newest.log == signed.log && (newest.number > signed.number || *newest == signed)
        });
        (!is_there).then(|| Missing {
            found: newest.map(|newest| newest.log),
            next: self.next,
            signed,
        })
    }
}

/// The newest checkpoint of a log.
#[derive(Clone)]
pub(super) struct Newest {
    pub checkpoint: Checkpoint,
    /// The hash of its record.
    pub hash: Hash,
    /// The number of its record.
    pub seq: u64,
}

impl Newest {
    pub fn last_signed(&self) -> LastSigned {
        LastSigned {
            hash: self.hash,
            log: self.checkpoint.log.clone(),
            number: self.checkpoint.number,
            seq: self.seq,
        }
    }
}

/// Finds the end of a log. `None`: there is no segment. Where the newest segment is empty and the one before was archived,
/// `before` is the end of that one.
pub(super) fn read(
    dir: &Dir,
    before: impl FnOnce(u32) -> Option<ChainEnd>,
) -> Result<Option<Tail>, Error> {
    let Some(segment) = segments(dir)?.last().copied() else {
        return Ok(None);
    };
    let mut back = BackwardReader::open(dir, segment, true)?;
    let size = back.end();
    back.fragment()?;
    let mut end = back.end();
    let last = loop {
        match back.line()? {
            Some((at, line)) if is_torn(&line, true) => end = at,
            found => break found,
        }
    };
    let chain = match last {
        Some((at, bytes)) => back.after(at, &bytes)?,
        None if segment == 1 => ChainEnd::default(),
        None => match dir.stat(&segment_name(segment - 1))? {
            Some(_) => last_of(dir, segment - 1)?,
            None => before(segment).ok_or_else(|| Error::NoPredecessor {
                dir: dir.path().to_owned(),
                missing: segment_name(segment - 1),
            })?,
        },
    };
    Ok(Some(Tail {
        segment,
        file: back.file,
        end,
        torn: size - end,
        chain,
    }))
}

/// The end of a segment that has a successor: it was on the disk before the successor was made.
fn last_of(dir: &Dir, segment: u32) -> Result<ChainEnd, Error> {
    let mut back = BackwardReader::open(dir, segment, false)?;
    let size = back.end();
    match (back.fragment()?, back.line()?) {
        (0, Some((at, bytes))) => back.after(at, &bytes),
        _ => {
            let what = "another segment follows, but this one does not end with a whole line";
            Err(back.damaged(size, what))
        }
    }
}

fn parse(bytes: &[u8]) -> Result<(Hash, Link<'_>), String> {
    let (hash, record) = line::checked(bytes)?;
    Ok((hash, Link::read(record)?))
}

/// The newest checkpoint. `None`: these segments have none.
pub(super) fn newest_checkpoint(dir: &Dir, newest: u32) -> Result<Option<Newest>, Error> {
    for number in (1..=newest).rev() {
        if dir.stat(&segment_name(number))?.is_none() {
            return Ok(None);
        }
        let mut back = BackwardReader::open(dir, number, false)?;
        // What is torn was quarantined, or will be.
        back.fragment()?;
        while let Some((at, bytes)) = back.line()? {
            if is_checkpoint(&bytes) {
                let (hash, record) =
                    line::checked(&bytes).map_err(|what| back.damaged(at, what))?;
                let record: Option<Record> = serde_json::from_slice(record).ok();
                let found = record.and_then(|record| {
                    let (checkpoint, seq) = (Checkpoint::of(&record)?, record.seq);
                    Some(Newest {
                        checkpoint,
                        hash,
                        seq,
                    })
                });
                let bad = || back.damaged(at, "this is not a checkpoint");
                return found.map(Some).ok_or_else(bad);
            }
        }
    }
    Ok(None)
}

/// Whether a line is a checkpoint. `type` and `v` are the last names of a record, in this order.
fn is_checkpoint(line: &[u8]) -> bool {
    line.strip_suffix(b"}}")
        .and_then(|line| line.rsplit(|byte| *byte == b',').nth(1))
        == Some(b"\"type\":\"checkpoint\"")
}

/// The error of a log without a checkpoint.
pub(super) fn no_checkpoint(dir: &Dir, newest: u32) -> Result<Error, Error> {
    let back = BackwardReader::open(dir, newest, false)?;
    let what = "there is no checkpoint before this, so the owner of the log is unknown";
    Ok(back.damaged(back.end(), what))
}
