//! Making a log shorter: its oldest records are removed, and the log says so.
//!
//! The cut is behind a checkpoint. The order survives being killed at any point: (1) a `log.pruned` record says where the
//! log begins from now on and what is before that, is signed, and is on the disk; (2) segments before the cut are removed,
//! and the one with the cut is replaced by the rest of it; (3) what only removed records referred to is removed. Killed
//! before the end, it leaves more than it has to, and the next prune removes that.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aegis_sys::private::{Dir, Others, Put};
use rustix::fs::AtFlags;

use super::files::{segment_name, segment_number, segments};
use super::line::{Line, Link};
use super::recover::place_of;
use super::writer::Log;
use super::{Error, Position, REPEATED, Reader, Remembered};
use crate::archive;
use crate::event::{Checkpoint, Detail, Event, EventType, LastSigned, Pruned};
use aegis_profile::Hash;

/// What is to stay of a log.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// What was recorded since then.
    pub since: Option<SystemTime>,
    /// At most so many bytes of the newest records, with what they refer to.
    pub bytes: Option<u64>,
    /// Checkpoints with which a log that was here before ended, where that was verified and moved away: no loss.
    pub moved: Vec<Remembered>,
}

/// A place behind a checkpoint at which the log could be cut.
struct Cut {
    /// The checkpoint.
    last: LastSigned,
    /// When it was recorded.
    time: String,
    segment: u32,
    /// In the segment, behind the checkpoint.
    offset: u64,
    /// How many records and bytes are before it.
    records: u64,
    bytes: u64,
}

/// What is known of a log after reading it once.
#[derive(Default)]
struct Survey {
    /// The number of the first record, and the hash of the one before it.
    first: Option<(u64, Option<Hash>)>,
    /// What was pruned before, as the log says last.
    pruned: Option<Pruned>,
    /// The records that tell of a loss.
    missing: Vec<(u64, Option<LastSigned>)>,
    cuts: Vec<Cut>,
    first_time: Option<String>,
    records: u64,
    bytes: u64,
    /// The last record that refers to something, by its hash.
    referred: BTreeMap<Hash, u64>,
}

impl Log {
    /// Removes the oldest records, so that no more stays than is to be kept. `None`: there is nothing to remove. The newest
    /// checkpoint and what follows it stay always.
    ///
    /// # Errors
    ///
    /// Records were lost before the cut: whoever verifies the log afterwards would not see it any more.
    pub fn prune(&mut self, keep: &Keep) -> Result<Option<Pruned>, Error> {
        let mut pruned = None;
        self.locked(|log, tail, time| {
            let dir = log.dir_opened();
            let survey = Survey::of(Reader::unlocked(dir.path(), Position::default())?)?;
            let sizes = sizes(dir)?;
            let Some(cut) = survey.cut(keep, &sizes) else {
                return Ok(());
            };
            if let Some(what) = survey.hidden_by(cut, keep) {
                let dir = dir.path().to_owned();
                return Err(Error::Loss { dir, what });
            }
            let said = Pruned {
                bytes: cut.bytes,
                first: cut.last.seq + 1,
                last: cut.last.clone(),
                records: cut.records,
                since: survey.first_time.clone().unwrap_or_default(),
                until: cut.time.clone(),
            };
            log.record_and_sign(tail, time, &Event::pruned(said.clone()))?;
            log.remove(cut, &survey.referred, &sizes)?;
            pruned = Some(said);
            Ok(())
        })?;
        Ok(pruned)
    }

    fn remove(
        &self,
        cut: &Cut,
        referred: &BTreeMap<Hash, u64>,
        sizes: &BTreeMap<Hash, u64>,
    ) -> Result<(), Error> {
        let dir = self.dir_opened();
        let segments = segments(dir)?;
        let removed = |dir: &Dir, name: &str| {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())
                .map_err(|error| Error::io("removing", &dir.join(name), error))
        };
        for number in segments.iter().filter(|number| **number < cut.segment) {
            removed(dir, &segment_name(*number))?;
        }
        let name = segment_name(cut.segment);
        let text = dir
            .read(&name, u64::MAX, Others::MayRead)?
            .unwrap_or_default();
        let rest = usize::try_from(cut.offset)
            .ok()
            .and_then(|offset| text.get(offset..));
        match rest {
            Some([]) if segments.last() != Some(&cut.segment) => removed(dir, &name)?,
            Some(rest) => drop(dir.put(&name, rest, Put::Replace)?),
            None => {}
        }
        dir.sync()?;
        let first = cut.last.seq + 1;
        for name in dir.names()? {
            if place_of(&name).is_some_and(|place| place < first) {
                removed(dir, &name)?;
            }
        }
        if sizes.is_empty() {
            return Ok(());
        }
        let repeated = dir.create_below(REPEATED)?;
        for hash in sizes.keys() {
            if referred.get(hash).is_none_or(|last| *last < first) {
                removed(&repeated, &archive::name(*hash))?;
            }
        }
        Ok(())
    }
}

/// The sizes of what records refer to.
fn sizes(dir: &Dir) -> Result<BTreeMap<Hash, u64>, Error> {
    let mut sizes = BTreeMap::new();
    if dir.stat(REPEATED)?.is_none() {
        return Ok(sizes);
    }
    let repeated = dir.create_below(REPEATED)?;
    for name in repeated.names()? {
        let hash = name
            .strip_suffix(".json")
            .and_then(|hash| hash.parse().ok());
        if let (Some(hash), Some(stat)) = (hash, repeated.stat(&name)?) {
            sizes.insert(hash, stat.st_size as u64);
        }
    }
    Ok(sizes)
}

impl Survey {
    fn of(mut reader: Reader) -> Result<Self, Error> {
        let mut survey = Self::default();
        while let Some(line) = reader.next_line() {
            survey.line(&line?)?;
        }
        Ok(survey)
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), Error> {
        let link = Link::read(line.record).map_err(|what| line.bad(what))?;
        let length = line.length();
        self.bytes += length;
        self.records += 1;
        let prev = std::str::from_utf8(link.prev).ok();
        self.first
            .get_or_insert_with(|| (link.seq, prev.and_then(|prev| prev.parse().ok())));
        if let Some(hash) = link.rest {
            self.referred.insert(hash, link.seq);
        }
        match link.kind {
            EventType::LogMissing => {
                let missing = match line.record()?.detail() {
                    Some(Detail::Missing(missing)) => Some(missing.signed),
                    _ => None,
                };
                self.missing.push((link.seq, missing));
            }
            EventType::LogPruned => match line.record()?.detail() {
                Some(Detail::Pruned(pruned)) => self.pruned = Some(pruned),
                _ => {
                    return Err(
                        line.bad("this record of pruned records has an unknown form".into())
                    );
                }
            },
            _ => {}
        }
        if self.first_time.is_some() && link.kind != EventType::Checkpoint {
            return Ok(());
        }
        let record = line.record()?;
        self.first_time.get_or_insert_with(|| record.time.clone());
        if let Some(checkpoint) = Checkpoint::of(&record) {
            self.cuts.push(Cut {
                last: LastSigned {
                    hash: line.hash,
                    log: checkpoint.log,
                    number: checkpoint.number,
                    seq: record.seq,
                },
                time: record.time,
                segment: segment_number(&line.place.segment).unwrap_or_default(),
                offset: line.place.offset + length,
                records: self.records,
                bytes: self.bytes,
            });
        }
        Ok(())
    }

    /// What was lost before a cut, in words.
    fn hidden_by(&self, cut: &Cut, keep: &Keep) -> Option<String> {
        if let Some((first @ 1.., prev)) = self.first
            && !(self.pruned.as_ref()).is_some_and(|pruned| pruned.explains(first, prev))
        {
            return Some(format!(
                "records 0 to {} are missing, and were not pruned\n  help: put the older segments back; or leave it as it is",
                first - 1
            ));
        }
        let unexplained = |(seq, signed): &&(u64, Option<LastSigned>)| {
            let known = signed.as_ref().map(LastSigned::remembered);
            *seq <= cut.last.seq && known.is_none_or(|known| !keep.moved.contains(&known))
        };
        let (seq, signed) = self.missing.iter().find(unexplained)?;
        let moved = signed
            .as_ref()
            .map_or(String::new(), |LastSigned { number, hash, .. }| {
                format!("\n  help: if that was verified and moved away: --moved {number}:{hash}")
            });
        Some(format!(
            "record {seq} says that signed records before it were missing, and would be removed{moved}"
        ))
    }

    /// Where to cut.
    fn cut(&self, keep: &Keep, sizes: &BTreeMap<Hash, u64>) -> Option<&Cut> {
        // The newest checkpoint stays.
        let (_, cuts) = self.cuts.split_last()?;
        let is_old = |cut: &&Cut| {
            let time = humantime::parse_rfc3339(&cut.time).ok();
            keep.since
                .zip(time)
                .is_some_and(|(since, time)| time < since)
        };
        let old = cuts.iter().rev().find(is_old);
        let Some(most) = keep.bytes else {
            return old;
        };
        let remains = |cut: Option<&Cut>| {
            let (seq, bytes) = cut.map_or((0, 0), |cut| (cut.last.seq, cut.bytes));
            let referred = self.referred.iter().filter(|(_, last)| **last >= seq);
            let rest: u64 = referred.filter_map(|(hash, _)| sizes.get(hash)).sum();
            self.bytes - bytes + rest
        };
        if remains(old) <= most {
            return old;
        }
        // What remains shrinks with each cut.
        let at = cuts.partition_point(|cut| remains(Some(cut)) > most);
        cuts.get(at).or(cuts.last())
    }
}
