//! Verifying a log: is it intact, and is it complete?
//!
//! The two are different questions. The chain and the signatures prove that nothing was changed, removed or
//! inserted *within* the log; they prove nothing about records after the last one. An end that was cut off
//! between checkpoints is noticed. An end that was cut off exactly at one is noticed only by somebody who
//! remembers a later checkpoint ([`Remembered`]), or by a run that never ended. Once the log has grown again, it
//! has another checkpoint of the same number, and only the hash differs.

mod found;
mod gone;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aegis_sys::private::Dir;

use super::Error;
use super::files::segment_number;
use super::line::{self, Line, Link, Place};
use super::reader::Reader;
use super::recover;
use crate::event::{Checkpoint, Detail, EventType, Record, TornFile};
use aegis_profile::hash::Hash;

use gone::Begins;

pub use found::{
    Answer, Expected, Finding, NotACheckpoint, OpenRun, Remembered, SetAside, Signed, Verified,
};

/// At most so many findings are listed, the rest only counted; the same holds for quarantined files.
const LISTED: usize = 100;

/// Reads a log to its end and checks all of it. Fails only when it cannot be read.
pub fn verify(reader: Reader, expected: &Expected) -> Result<Verified, Error> {
    verify_telling(reader, expected, u64::MAX, |_| {})
}

/// As [`verify`]; whenever so many records more were read, `tell` gets their number so far.
pub fn verify_telling(
    reader: Reader,
    expected: &Expected,
    each: u64,
    mut tell: impl FnMut(u64),
) -> Result<Verified, Error> {
    let mut reader = reader;
    let mut chain = Chain::new(expected, reader.take_dir());
    let mut read = 0_u64;
    while let Some(line) = reader.next_line() {
        read += 1;
        if read.is_multiple_of(each) {
            tell(read);
        }
        match line {
            Ok(line) => chain.line(&line),
            Err(Error::Torn { place }) => {
                let what =
                    "the last line is torn: what wrote it was killed, or the log was cut off here";
                chain.find(Answer::Complete, Some(&place), None, what);
            }
            Err(Error::BadLine { place, what }) => chain.bad(&place, what),
            Err(error) => return Err(error),
        }
    }
    Ok(chain.end())
}

struct Chain<'a> {
    expected: &'a Expected,
    /// Where quarantined files are.
    dir: Option<Dir>,
    found: Verified,
    /// Whether the checkpoint with the remembered number was met, be it the same or another one.
    met: bool,
    /// The record before; `None` before the first one.
    before: Option<Before>,
    /// The number of the last checkpoint.
    number: Option<u64>,
    /// By run id, as written.
    runs: BTreeMap<Box<[u8]>, u64>,
    /// Records behind the last checkpoint.
    unsigned: u64,
    begins: Option<Begins>,
    /// What records refer to and was looked at.
    referred: BTreeSet<Hash>,
}

struct Before {
    /// `None`: the record could not be read.
    link: Option<(u64, Hash)>,
    segment: Arc<str>,
}

impl<'a> Chain<'a> {
    fn new(expected: &'a Expected, dir: Option<Dir>) -> Self {
        Self {
            expected,
            dir,
            met: false,
            found: Verified {
                intact: true,
                complete: true,
                ..Verified::default()
            },
            before: None,
            number: None,
            runs: BTreeMap::new(),
            unsigned: 0,
            begins: None,
            referred: BTreeSet::new(),
        }
    }

    fn find(
        &mut self,
        against: Answer,
        place: Option<&Place>,
        seq: Option<u64>,
        what: impl Into<String>,
    ) {
        self.deny(against);
        if self.found.findings.len() == LISTED {
            self.found.more_findings += 1;
            return;
        }
        self.found.findings.push(Finding {
            against,
            place: place.cloned(),
            seq,
            what: what.into(),
        });
    }

    fn deny(&mut self, answer: Answer) {
        match answer {
            Answer::Intact => self.found.intact = false,
            Answer::Complete => self.found.complete = false,
        }
    }

    /// A line that is not a record. The chain continues with the next line.
    fn bad(&mut self, place: &Place, what: impl Into<String>) {
        self.find(Answer::Intact, Some(place), None, what);
        self.found.records += 1;
        self.unsigned += 1;
        self.before = Some(Before {
            link: None,
            segment: place.segment.clone(),
        });
    }

    fn line(&mut self, line: &Line<'_>) {
        let hash = Hash::of(line.record);
        if hash != line.hash {
            return self.bad(&line.place, line::WRONG_HASH);
        }
        let link = match Link::read(line.record) {
            Ok(link) => link,
            Err(what) => return self.bad(&line.place, what),
        };
        self.found.records += 1;
        self.unsigned += 1;
        self.chained(line, &link);
        self.refers(line, &link);
        match link.kind {
            EventType::Checkpoint => self.checkpoint(line, &link),
            EventType::LogPruned => self.pruned(line, &link),
            EventType::LogMissing => self.missing(line, &link),
            EventType::LogRecovered => self.recovered(line, &link),
            EventType::RunStart => {
                self.runs.insert(link.run.into(), link.seq);
            }
            EventType::RunEnd => {
                self.runs.remove(link.run);
            }
            _ => {}
        }
        self.before = Some(Before {
            link: Some((link.seq, line.hash)),
            segment: line.place.segment.clone(),
        });
    }

    /// Whether what the record refers to is there, as it was.
    fn refers(&mut self, line: &Line<'_>, link: &Link<'_>) {
        let Some(hash) = link.rest else {
            return;
        };
        if !line.repeated.has_place() || !self.referred.insert(hash) {
            return;
        }
        if let Err(what) = line.repeated.get(hash) {
            self.find(Answer::Complete, Some(&line.place), Some(link.seq), what);
        }
    }

    /// Whether the record follows from the one before.
    fn chained(&mut self, line: &Line<'_>, link: &Link<'_>) {
        let segment = segment_number(&line.place.segment);
        let Some(before) = &self.before else {
            return self.first(line, link, segment);
        };
        // Whole segments may be missing between two.
        let gap = (segment_number(&before.segment).zip(segment))
            .filter(|(before, now)| now.saturating_sub(*before) > 1);
        let what = match (gap, before.link) {
            (Some((a, b)), _) if b - a == 2 => {
                format!("the segment {:06} is missing before this", a + 1)
            }
            (Some((a, b)), _) => format!(
                "the segments {:06} to {:06} are missing before this",
                a + 1,
                b - 1
            ),
            (None, None) => return,
            (None, Some((before, hash))) => {
                let expected = before.wrapping_add(1);
                match link.seq.cmp(&expected) {
                    Ordering::Greater => format!(
                        "records {expected} to {} are missing before this",
                        link.seq - 1
                    ),
                    Ordering::Less => format!(
                        "record {expected} should be here: this one is out of its place, or there twice"
                    ),
                    Ordering::Equal if link.follows(&hash) => return,
                    Ordering::Equal => format!(
                        "it does not follow from record {before}, which is before it: one of them was replaced"
                    ),
                }
            }
        };
        self.find(Answer::Intact, Some(&line.place), Some(link.seq), what);
    }

    fn first(&mut self, line: &Line<'_>, link: &Link<'_>, segment: Option<u32>) {
        let (seq, expected) = (link.seq, self.expected.first);
        let zero = link.follows(&Hash::default());
        let (against, what) = if seq == expected && (seq == 0) == zero {
            if seq > 0 || link.kind == EventType::Checkpoint {
                return;
            }
            let what = "the first record of a log must be a checkpoint";
            (Answer::Intact, what.to_owned())
        } else if seq > expected && !zero {
            // The first segment has to begin with record 0. Later segments may be all that is left.
            let against = match segment {
                Some(1) => Answer::Intact,
                _ => Answer::Complete,
            };
            let what = format!(
                "the log begins here, with record {seq}: records {expected} to {} are missing (with older \
                 segments archived: --first {seq})",
                seq - 1
            );
            // A record further on may say that they were pruned.
            self.begins = Some(Begins {
                finding: Finding {
                    against,
                    place: Some(line.place.clone()),
                    seq: Some(seq),
                    what,
                },
                prev: std::str::from_utf8(link.prev)
                    .ok()
                    .and_then(|prev| prev.parse().ok()),
            });
            return;
        } else {
            let what = format!("the first record should be record {expected}, after nothing else");
            (Answer::Intact, what)
        };
        self.find(against, Some(&line.place), Some(seq), what);
    }

    fn recovered(&mut self, line: &Line<'_>, link: &Link<'_>) {
        let (place, seq) = (&line.place, link.seq);
        let record = serde_json::from_slice(line.record).ok();
        let Some(Detail::Recovered(said)) = record.and_then(|record: Record| record.detail())
        else {
            let what = "this record of quarantined files has an unknown form";
            return self.find(Answer::Complete, Some(place), Some(seq), what);
        };
        for file in &said.files {
            if let Some(what) = self.dir.as_ref().and_then(|dir| wrong_with(dir, file)) {
                self.find(Answer::Complete, Some(place), Some(seq), what);
            }
        }
        let said = SetAside {
            place: place.clone(),
            seq,
            files: said.files,
        };
        match self.found.set_aside.len() == LISTED {
            true => self.found.more_set_aside += 1,
            false => self.found.set_aside.push(said),
        }
    }

    fn checkpoint(&mut self, line: &Line<'_>, link: &Link<'_>) {
        self.found.checkpoints += 1;
        // Serde reads more forms than it writes, and only the written form was signed.
        let as_written = |record: &Record| {
            serde_json::to_vec(record).is_ok_and(|written| written == line.record)
        };
        let record: Option<Record> = serde_json::from_slice(line.record).ok();
        let found =
            (record.filter(as_written)).and_then(|record| Some((Checkpoint::of(&record)?, record)));
        let place = Some(&line.place);
        let Some((checkpoint, record)) = found else {
            let what = "this checkpoint lacks the details of a checkpoint";
            return self.find(Answer::Intact, place, Some(link.seq), what);
        };
        let signed = checkpoint.is_signed(&record);
        for what in self.what_is_wrong(&checkpoint, &record, signed) {
            self.find(Answer::Intact, place, Some(link.seq), what);
        }
        self.number = Some(checkpoint.number);
        if let Some(remembered) = self.expected.min_checkpoint
            && remembered.number == checkpoint.number
        {
            self.met = true;
            if remembered.hash.is_some_and(|hash| hash != line.hash) {
                let what = "this is another checkpoint than the remembered one of its number: the log was cut \
                            back, and has grown again";
                self.find(Answer::Intact, place, Some(link.seq), what);
            }
        }
        if signed {
            self.unsigned = 0;
            self.found.last_checkpoint = Some(Signed {
                number: checkpoint.number,
                seq: link.seq,
                hash: line.hash,
                time: record.time,
            });
        }
    }

    fn what_is_wrong(
        &mut self,
        checkpoint: &Checkpoint,
        record: &Record,
        signed: bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let key = checkpoint.key;
        if !signed {
            wrong.push(
                "the signature of this checkpoint is wrong: it, or something since the one before, was \
                 changed"
                    .to_owned(),
            );
        } else if !self.found.keys.contains(&key) {
            self.found.keys.push(key);
            // Reported once for each key, since it signs all checkpoints.
            if !self.expected.keys.contains(&key) {
                wrong.push(format!("signed by an unknown key, {key}"));
            }
        }
        match &self.found.log {
            Some(log) if *log != checkpoint.log => wrong.push(format!(
                "this checkpoint is of another log ({}) than those before ({log})",
                checkpoint.log
            )),
            Some(_) => {}
            None => self.found.log = Some(checkpoint.log.clone()),
        }
        let expected = match self.number {
            Some(number) => number.saturating_add(1),
            None if record.seq == 0 => 0,
            None => checkpoint.number,
        };
        if expected != checkpoint.number {
            wrong.push(format!(
                "this is checkpoint {}, where {expected} should be",
                checkpoint.number
            ));
        }
        wrong
    }

    fn end(mut self) -> Verified {
        self.judge_beginning();
        let last = self.found.last_checkpoint.as_ref();
        let number = last.map(|last| last.number);
        let unsigned = match last {
            _ if self.found.records == 0 => Some("there is no record".to_owned()),
            None => Some("there is no checkpoint: nothing is signed".to_owned()),
            Some(last) if self.unsigned > 0 => Some(format!(
                "what comes after record {}, the last checkpoint, is not signed ({} records): a run goes \
                 on or was killed, or the end was cut off",
                last.seq, self.unsigned
            )),
            Some(_) => None,
        };
        if let Some(what) = unsigned {
            self.find(Answer::Complete, None, None, what);
        }
        if let Some(Remembered { number: min, hash }) = self.expected.min_checkpoint {
            let what = match number {
                Some(number) if number < min => Some(format!(
                    "checkpoint {min} is missing: the last one is {number}, the end was cut off"
                )),
                Some(_) if hash.is_some() && !self.met => Some(format!(
                    "whether checkpoint {min} is the remembered one cannot be told: it is not in what was read, \
                     which an archived segment may hold"
                )),
                Some(_) => None,
                None => Some(format!("checkpoint {min} is missing")),
            };
            if let Some(what) = what {
                self.find(Answer::Complete, None, None, what);
            }
        }
        if let Some(what) = self
            .expected
            .signed
            .as_ref()
            .and_then(|signed| self.lacks(signed))
        {
            self.find(Answer::Complete, None, None, what);
        }
        self.found.open_runs = (self.runs.into_iter())
            .map(|(run, seq)| OpenRun {
                run: unquoted(&run),
                seq,
            })
            .collect();
        self.found.open_runs.sort_by_key(|run| run.seq);
        self.found
    }
}

/// The content of a JSON string, without its quotes.
fn unquoted(text: &[u8]) -> String {
    let quoted = [b"\"", text, b"\""].concat();
    serde_json::from_slice(&quoted).unwrap_or_default()
}

/// What is wrong with a quarantined file, in words. A crash leaves a torn end; so does somebody who
/// writes zero bytes over whole lines, signed ones too. In both cases the log continues intact, and these files
/// are the evidence that tells the two apart.
fn wrong_with(dir: &Dir, said: &TornFile) -> Option<String> {
    let name = &said.name;
    if !recover::is_torn_name(name) {
        return Some(format!("{name:?} is not the name of a quarantined file"));
    }
    match recover::inspect(dir, name, said.bytes) {
        Ok(Some(found)) if found == *said => None,
        Ok(Some(_)) => Some(format!("{name} was changed since it was quarantined here")),
        Ok(None) => Some(format!(
            "{name} is missing: it holds what was quarantined here ({} bytes)",
            said.bytes
        )),
        Err(error) => Some(format!(
            "{name}, which was quarantined here, cannot be read: {error}"
        )),
    }
}
