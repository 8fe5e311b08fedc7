//! Appending to a log.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aegis_sys::private::{Dir, Others, random};
use ed25519_dalek::SigningKey;
use rustix::fs::OFlags;

use super::files::{Lock, segment_name};
use super::line::{self, At, Repeating};
use super::signed::Memory;
use super::tail::{self, ChainEnd, Newest, Tail};
use super::{Error, keys, recover, rest};
use crate::archive::{self, ArchiveError};
use crate::event::{Checkpoint, Event, EventType, Missing, PublicKey};

use aegis_policy::Policy;

/// How a log is written. Several writers of one log should agree, but nothing breaks when they do not.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// There is a checkpoint at every multiple of this many records.
    pub checkpoint_every: u64,
    /// A segment of this length or more is followed by a new one.
    pub segment_bytes: u64,
    /// How long to wait for somebody who holds the lock and appends nothing; up to twelve times as long for
    /// others that do append.
    pub patience: Duration,
    /// Called with the log's directory when waiting takes longer than a second, to report it.
    pub waiting: fn(&Path),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            checkpoint_every: 1000,
            segment_bytes: 64 << 20,
            patience: Duration::from_secs(5),
            waiting: |_| (),
        }
    }
}

/// Where events were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The number of each event's record, in order.
    pub seqs: Vec<u64>,
    /// Whether they, and all records before them, are on the disk.
    pub durable: bool,
}

/// A log that is open for appending. Others, in other processes too, may append to it at the same time.
pub struct Log {
    dir: Dir,
    keys: PathBuf,
    memory: Memory,
    missing: Option<Missing>,
    key_is_new: bool,
    key: SigningKey,
    public: PublicKey,
    lock: Lock,
    options: Options,
    /// `None`: to be found again, as after an error.
    tail: Option<Tail>,
    /// The disk has failed once.
    failed: bool,
}

impl Log {
    /// Opens a log, or makes it; likewise the directory of keys. A torn last line
    /// is quarantined. Only the end of the log is read.
    pub fn open(dir: &Path, keys: &Path) -> Result<Self, Error> {
        Self::open_with(dir, keys, Options::default())
    }

    /// [`Log::open`], with other options.
    pub fn open_with(dir: &Path, keys: &Path, options: Options) -> Result<Self, Error> {
        let own = |path| -> Result<Dir, Error> {
            let dir = Dir::create(path)?;
            dir.check(Others::MayRead)?;
            Ok(dir)
        };
        let keys_dir = own(keys)?;
        let (key, is_new) = keys::signing(&keys_dir)?;
        let dir = own(dir)?;
        dir.check_above()?;
        let lock = Lock::open(&dir)?;
        let mut log = Self {
            public: PublicKey::from(&key),
            key,
            keys: keys.to_owned(),
            memory: Memory::of(keys_dir, &dir)?,
            missing: None,
            key_is_new: is_new,
            dir,
            lock,
            options,
            tail: None,
            failed: false,
        };
        log.locked(|log, tail, time| {
            if tail.chain.next == 0 {
                let mut batch = log.batch(tail, time)?;
                log.sign(tail, &mut batch)?;
                return log.put(tail, batch);
            }
            // Better to detect a wrong key now than at the end of a run.
            log.check_key(tail.chain.newest.as_ref())
        })?;
        Ok(log)
    }

    /// The log's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of keys, if opening this log made the key. Somebody should be told: when both key and log
    /// were moved away, nothing else shows that.
    pub fn new_key(&self) -> Option<&Path> {
        self.key_is_new.then_some(&self.keys)
    }

    /// What was signed and is not in the log any more, if this found it so. It is recorded; somebody should be told,
    /// and so it is returned once.
    pub fn take_missing(&mut self) -> Option<Missing> {
        self.missing.take()
    }

    /// Archives a policy beside the log ([`crate::archive`]), unless it is archived already.
    pub fn archive_policy(&self, policy: &Policy) -> Result<(), ArchiveError> {
        archive::archive(&self.dir, policy)
    }

    pub(super) fn dir_opened(&self) -> &Dir {
        &self.dir
    }

    /// Records an event of the log's own, signs, and waits for the disk.
    pub(super) fn record_and_sign(
        &mut self,
        tail: &mut Tail,
        time: &str,
        event: &Event,
    ) -> Result<(), Error> {
        let mut batch = self.batch(tail, time)?;
        self.sign_where_due(tail, &mut batch)?;
        batch.push(event)?;
        self.sign(tail, &mut batch)?;
        self.put(tail, batch)?;
        let path = self.dir.join(&segment_name(tail.segment));
        self.synced(path, tail.file.sync_data())
    }

    /// The key that this signs with.
    pub fn key(&self) -> PublicKey {
        self.public
    }

    /// Appends events, all or none. If one of them has to wait for the disk, so does this call, with the lock
    /// released: events that others append meanwhile reach the disk together.
    pub fn append(&mut self, events: &[Event]) -> Result<Receipt, Error> {
        self.append_and(events, false)
    }

    /// Appends events and a checkpoint after them: [`Log::append`] and [`Log::checkpoint`] in one.
    pub fn append_and_sign(&mut self, events: &[Event]) -> Result<Receipt, Error> {
        self.append_and(events, true)
    }

    fn append_and(&mut self, events: &[Event], sign: bool) -> Result<Receipt, Error> {
        let logs_own = |e: &Event| {
            matches!(
                e.kind,
                EventType::Checkpoint
                    | EventType::LogMissing
                    | EventType::LogPruned
                    | EventType::LogRecovered
            )
        };
        if events.iter().any(logs_own) {
            return Err(Error::BadEvent(
                "its type is one that the log writes itself",
            ));
        }
        let mut seqs = Vec::with_capacity(events.len());
        if !events.is_empty() {
            self.locked(|log, tail, time| {
                let mut batch = log.batch(tail, time)?;
                for event in events {
                    log.sign_where_due(tail, &mut batch)?;
                    seqs.push(batch.push(event)?);
                }
                if sign {
                    log.sign(tail, &mut batch)?;
                }
                log.put(tail, batch)
            })?;
        }
        let durable = events.iter().any(Event::waits_for_the_disk);
        if durable {
            self.sync()?;
        }
        Ok(Receipt { seqs, durable })
    }

    /// Signs the log up to here. It does not wait for the disk.
    pub fn checkpoint(&mut self) -> Result<Receipt, Error> {
        let mut seqs = Vec::new();
        self.locked(|log, tail, time| {
            let mut batch = log.batch(tail, time)?;
            if !batch.chain.signed {
                log.sign(tail, &mut batch)?;
            }
            seqs.push(batch.chain.next - 1);
            log.put(tail, batch)
        })?;
        let durable = false;
        Ok(Receipt { seqs, durable })
    }

    /// Waits until everything appended through this log is on the disk.
    pub fn sync(&mut self) -> Result<(), Error> {
        let Some(tail) = &self.tail else {
            return Ok(());
        };
        // Older segments were synced before newer ones were made.
        let synced = tail.file.sync_data();
        let path = self.dir.join(&segment_name(tail.segment));
        self.synced(path, synced)
    }

    /// The kernel reports a failure once and marks the pages clean: another try would prove nothing.
    fn synced(&mut self, path: PathBuf, result: io::Result<()>) -> Result<(), Error> {
        result.map_err(|source| {
            self.failed = true;
            Error::Sync { path, source }
        })
    }

    /// Does something at the end of the log while nobody else appends.
    pub(super) fn locked(
        &mut self,
        action: impl FnOnce(&mut Self, &mut Tail, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.failed {
            let source = io::Error::other("it has failed before");
            let path = self.dir.path().to_owned();
            return Err(Error::Sync { path, source });
        }
        loop {
            let (patience, waiting) = (self.options.patience, self.options.waiting);
            self.lock.take(&self.dir, patience, waiting)?;
            // Somebody may have moved all files away.
            if self.lock.is_current(&self.dir)? {
                break;
            }
            self.lock = Lock::open(&self.dir)?;
        }
        let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        let result = self.find_tail(&time).and_then(|mut tail| {
            action(self, &mut tail, &time)?;
            self.tail = Some(tail);
            Ok(())
        });
        self.lock.release();
        result
    }

    /// The end of the log: where the last append left it, or wherever it is now.
    fn find_tail(&mut self, time: &str) -> Result<Tail, Error> {
        if let Some(tail) = self.tail.take()
            && self.is_current(&tail)?
        {
            return Ok(tail);
        }
        let remembered = self.memory.read()?;
        let before = |segment| {
            // A segment that has a successor ends with a checkpoint.
            let known = remembered
                .as_ref()
                .filter(|known| known.segment < segment)?;
            Some(ChainEnd::after(&known.last, self.public))
        };
        let mut tail = match tail::read(&self.dir, before)? {
            Some(tail) => tail,
            None => self.segment(1, ChainEnd::default())?,
        };
        let torn = recover::quarantine(&self.dir, &mut tail)?;
        if tail.chain.newest.is_none() {
            tail.chain.newest = tail::newest_checkpoint(&self.dir, tail.segment)?;
        }
        let missing = remembered.and_then(|known| tail.chain.missing(known.last));
        let is_missing = missing.is_some();
        let events = [
            torn.map(Event::recovered),
            missing.clone().map(Event::missing),
        ];
        if events.iter().any(Option::is_some) {
            let mut batch = self.batch(&mut tail, time)?;
            for event in events.iter().flatten() {
                self.sign_where_due(&tail, &mut batch)?;
                batch.push(event)?;
            }
            if is_missing {
                // What was signed is remembered anew, so that this is told once.
                self.sign(&tail, &mut batch)?;
            }
            self.put(&mut tail, batch)?;
            self.missing = missing.or(self.missing.take());
        }
        Ok(tail)
    }

    fn is_current(&self, tail: &Tail) -> Result<bool, Error> {
        let name = segment_name(tail.segment);
        let Some(now) = self.dir.stat(&name)? else {
            return Ok(false);
        };
        let known = (tail.file.metadata())
            .map_err(|error| Error::io("looking at", &self.dir.join(&name), error))?;
        Ok((now.st_dev, now.st_ino) == (known.dev(), known.ino())
            && known.len() == tail.end
            && self.dir.stat(&segment_name(tail.segment + 1))?.is_none())
    }

    /// A new segment.
    fn segment(&self, number: u32, chain: ChainEnd) -> Result<Tail, Error> {
        let name = segment_name(number);
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        let file = (self.dir.open_at(&name, flags)).map_err(|error| Error::Write {
            path: self.dir.join(&name),
            source: error.into(),
        })?;
        self.dir.sync()?;
        Ok(Tail {
            segment: number,
            file,
            end: 0,
            torn: 0,
            chain,
        })
    }

    /// A batch of lines, in a new segment if the newest is long enough.
    fn batch<'a>(&mut self, tail: &mut Tail, time: &'a str) -> Result<Batch<'a>, Error> {
        if tail.end >= self.options.segment_bytes && tail.end > 0 {
            self.turn_over(tail, time)?;
        }
        Ok(Batch::new(tail, time))
    }

    /// Ends a segment with a checkpoint and begins the next one. If this process is killed in between, the
    /// next to append continues from there.
    fn turn_over(&mut self, tail: &mut Tail, time: &str) -> Result<(), Error> {
        if !tail.chain.signed {
            let mut batch = Batch::new(tail, time);
            self.sign(tail, &mut batch)?;
            self.put(tail, batch)?;
        }
        let path = self.dir.join(&segment_name(tail.segment));
        self.synced(path, tail.file.sync_data())?;
        *tail = self.segment(tail.segment + 1, tail.chain.clone())?;
        Ok(())
    }

    fn sign_where_due(&mut self, tail: &Tail, batch: &mut Batch<'_>) -> Result<(), Error> {
        match batch
            .chain
            .next
            .is_multiple_of(self.options.checkpoint_every)
        {
            true => self.sign(tail, batch),
            false => Ok(()),
        }
    }

    /// Adds a checkpoint after the records in the log and in the batch.
    fn sign(&mut self, tail: &Tail, batch: &mut Batch<'_>) -> Result<(), Error> {
        let before = match (&batch.chain.newest, batch.chain.next) {
            (None, 0) => None,
            (Some(known), _) => Some(known.clone()),
            (None, _) => match tail::newest_checkpoint(&self.dir, tail.segment)? {
                None => return Err(tail::no_checkpoint(&self.dir, tail.segment)?),
                found => found,
            },
        };
        self.check_key(before.as_ref())?;
        let (log, number) = match before {
            Some(before) => (before.checkpoint.log, before.checkpoint.number + 1),
            None => {
                let id = random().map_err(|e| Error::io("making an id for", self.dir.path(), e))?;
                (format!("{:032x}", u128::from_ne_bytes(id)), 0)
            }
        };
        let checkpoint = Checkpoint {
            key: self.public,
            log,
            number,
            signature: None,
        };
        let event = checkpoint.clone().signed(&self.key, batch.at())?;
        let seq = batch.push(&event)?;
        batch.chain.newest = Some(Newest {
            checkpoint,
            hash: batch.chain.head,
            seq,
        });
        batch.signs = true;
        Ok(())
    }

    fn check_key(&self, newest: Option<&Newest>) -> Result<(), Error> {
        match newest.map(|newest| newest.checkpoint.key) {
            Some(theirs) if theirs != self.public => Err(Error::OtherKey {
                dir: self.dir.path().to_owned(),
                keys: self.keys.clone(),
                theirs: theirs.to_string(),
                ours: self.public.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Writes a batch's lines in one go, after what they refer to. An incomplete write is undone.
    fn put(&mut self, tail: &mut Tail, batch: Batch<'_>) -> Result<(), Error> {
        for rest in &batch.repeating {
            archive::keep(&self.dir, rest::DIRECTORY, rest.hash, &rest.bytes)?;
        }
        if let Err(source) = (&tail.file).write_all(&batch.bytes) {
            // If this fails too, the next to append quarantines it.
            let _ = tail.file.set_len(tail.end);
            return Err(Error::Write {
                path: self.dir.join(&segment_name(tail.segment)),
                source,
            });
        }
        tail.end += batch.bytes.len() as u64;
        tail.chain = batch.chain;
        match &tail.chain.newest {
            Some(newest) if batch.signs => self.memory.write(newest, tail.segment),
            _ => Ok(()),
        }
    }
}

/// Lines to be written to a segment.
struct Batch<'a> {
    bytes: Vec<u8>,
    chain: ChainEnd,
    /// What they refer to.
    repeating: Vec<Repeating>,
    /// Whether a checkpoint is among them.
    signs: bool,
    time: &'a str,
}

impl<'a> Batch<'a> {
    fn new(tail: &mut Tail, time: &'a str) -> Self {
        Self {
            bytes: Vec::with_capacity(1024),
            chain: tail.chain.clone(),
            repeating: Vec::new(),
            signs: false,
            time,
        }
    }

    fn at(&self) -> At<'a> {
        At {
            seq: self.chain.next,
            prev: self.chain.head,
            time: self.time,
        }
    }

    fn push(&mut self, event: &Event) -> Result<u64, Error> {
        let at = self.at();
        let (hash, repeating) = line::write_line(&mut self.bytes, event, at)?;
        self.chain.head = hash;
        self.repeating.extend(repeating);
        self.chain.signed = event.kind == EventType::Checkpoint;
        self.chain.next += 1;
        Ok(at.seq)
    }
}
