//! The file of approvals: one for each user, in a directory that only the user can access.
//!
//! A change replaces the whole file by a rename, under a lock that writers hold; so readers need no lock and
//! see either the old or the new file. A file that Aegis did not write exactly like this is ignored and left as
//! it is: an approval that cannot be read does not count, and an unreadable file is not overwritten.

use std::io;
use std::path::{Path, PathBuf};

use aegis_sys::private::{self, Dir, Others, Put};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use aegis_policy::request::{Approval, Request, What};
use aegis_profile::hash::Hash;

use super::{DAY, Entry, LONGEST};

/// The file's name.
pub const FILE: &str = "approvals.json";

/// The lock for writers: each change replaces the file itself.
const LOCK: &str = "approvals.lock";

/// The version of the file's format: `v`.
const VERSION: u32 = 3;

/// The maximum size of the file.
pub const MAX_BYTES: u64 = 4 << 20;

/// The maximum number of approvals.
pub const MAX_ENTRIES: usize = 1000;

/// How long an expired approval is still listed.
const REMEMBERED: u64 = 30 * DAY;

/// The length of an id in digits.
const ID_DIGITS: usize = 12;
const PREFIX_DIGITS: usize = 4;

/// Why approvals cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be used.
    #[error("the approvals are ignored: {0}")]
    Unusable(#[from] private::Error),
    /// The file cannot be locked.
    #[error("the approvals cannot be locked: {0}")]
    Locked(io::Error),
    /// Aegis did not write the file like this.
    #[error(
        "the approvals are ignored: {} cannot be read: {why}; fix it, or remove it to start anew", place.display()
    )]
    Broken {
        /// The file.
        place: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file is full.
    #[error(
        "{} is full, at {MAX_ENTRIES} approvals or {} MiB: revoke some, see `aegis approvals list`", place.display(), MAX_BYTES >> 20
    )]
    Full {
        /// The file.
        place: PathBuf,
    },
    /// An approval that cannot be stored: it ends before it begins, or holds too long.
    #[error("an approval holds for at least a second and at most {} days", LONGEST / DAY)]
    Term,
    /// There is no approval with this id.
    #[error("there is no approval `{0}`: see `aegis approvals list --all`")]
    Unknown(String),
    /// Several approvals have ids that begin like this.
    #[error("several approvals begin with `{0}`: write more of the id")]
    Ambiguous(String),
}

/// Which approvals are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those with these ids, or unique beginnings of ids. All must exist.
    Ids(Vec<String>),
    /// Those for profiles of this name.
    Profile(String),
    /// Every one.
    All,
}

/// The whole file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    approvals: Vec<Entry>,
    v: u32,
}

/// A user's approvals.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store in the directory `dir`, which is touched only to read or write.
    pub fn open(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    /// The path of the file.
    pub fn place(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// All approvals, expired ones too; the oldest first.
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        let Some(dir) = Dir::open(&self.dir)? else {
            return Ok(Vec::new());
        };
        dir.check(Others::MayNothing)?;
        self.read(&dir)
    }

    /// The approvals that hold at `now` for a request under the policy with this hash; for a run, also for
    /// each of its grants.
    pub fn approvals_for(
        &self,
        request: &Request,
        policy: Hash,
        surroundings: Hash,
        now: u64,
    ) -> Result<Vec<Approval>, Error> {
        let entries = self.list()?;
        let what = &request.what;
        let command = what.command_hash();
        let hashes = [policy, command, surroundings];
        let is_for = |entry: &&Entry| entry.is_for(request, hashes);
        let mut own = entries.iter().filter(is_for).peekable();
        if own.peek().is_none() {
            return Ok(Vec::new());
        }
        let grants = match what {
            What::Tool { grants, .. } => grants.as_slice(),
            _ => &[],
        };
        let mut hashes: Vec<_> = grants.iter().map(What::hash).collect();
        hashes.push(what.hash());
        hashes.sort_unstable();
        Ok(own
            .filter(|entry| hashes.binary_search(&entry.what_hash).is_ok())
            .filter_map(|entry| entry.approval(command, now))
            .collect())
    }

    /// Adds approvals, each replacing an older one for the same thing. They are on the disk when this returns.
    pub fn add(&self, new: &[Entry], now: u64) -> Result<(), Error> {
        self.change(|entries| self.with(entries, new, now))
    }

    /// Whether [`Store::add`] would have room, and could read the file: to know it before the answer is recorded.
    pub fn can_add(&self, new: &[Entry], now: u64) -> Result<(), Error> {
        let mut entries = self.list()?;
        self.with(&mut entries, new, now)?;
        self.text(entries).map(|_| ())
    }

    fn with(&self, entries: &mut Vec<Entry>, new: &[Entry], now: u64) -> Result<(), Error> {
        if !new.iter().all(has_a_term) {
            return Err(Error::Term);
        }
        entries.retain(|old| {
            now < old.expires.saturating_add(REMEMBERED)
                && !new.iter().any(|new| new.is_same_as(old))
        });
        entries.extend_from_slice(new);
        if entries.len() > MAX_ENTRIES {
            entries.retain(|entry| now < entry.expires);
        }
        match entries.len() > MAX_ENTRIES {
            true => Err(self.full()),
            false => Ok(()),
        }
    }

    fn full(&self) -> Error {
        Error::Full {
            place: self.place(),
        }
    }

    /// The file's text.
    fn text(&self, approvals: Vec<Entry>) -> Result<Vec<u8>, Error> {
        let contents = Contents {
            approvals,
            v: VERSION,
        };
        let mut text = serde_json::to_vec(&contents).map_err(|error| self.broken(error))?;
        text.push(b'\n');
        match text.len() as u64 > MAX_BYTES {
            true => Err(self.full()),
            false => Ok(text),
        }
    }

    /// Removes approvals. Returns those removed: with [`Which::Ids`], all that were named.
    pub fn revoke(&self, which: &Which) -> Result<Vec<Entry>, Error> {
        let chosen = |entries: &[Entry]| -> Result<Vec<String>, Error> {
            let ids = |goes: &dyn Fn(&Entry) -> bool| {
                let going = entries.iter().filter(|entry| goes(entry));
                Ok(going.map(|entry| entry.id.clone()).collect())
            };
            match which {
                Which::Ids(named) => named.iter().map(|id| find(entries, id)).collect(),
                Which::Profile(name) => ids(&|entry| entry.profile == *name),
                Which::All => ids(&|_| true),
            }
        };
        // Without a file, none is made.
        let there = self.list()?;
        if there.is_empty() {
            chosen(&there)?;
            return Ok(Vec::new());
        }
        let mut removed = Vec::new();
        self.change(|entries| {
            let ids = chosen(entries)?;
            removed = entries
                .extract_if(.., |entry| ids.contains(&entry.id))
                .collect();
            Ok(())
        })?;
        Ok(removed)
    }

    /// Replaces the file by the result of `change`, if that differs.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Entry>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let dir = Dir::create(&self.dir)?;
        dir.check(Others::MayNothing)?;
        let lock = dir.existing(LOCK, OFlags::RDWR | OFlags::CREATE, Others::MayNothing)?;
        lock.lock().map_err(Error::Locked)?;
        let before = self.read(&dir)?;
        let mut approvals = before.clone();
        change(&mut approvals)?;
        if approvals == before {
            return Ok(());
        }
        let text = self.text(approvals)?;
        dir.put(FILE, &text, Put::Replace)?;
        Ok(())
    }

    fn read(&self, dir: &Dir) -> Result<Vec<Entry>, Error> {
        match dir.read(FILE, MAX_BYTES + 1, Others::MayNothing)? {
            Some(text) => parse(&text).map_err(|why| self.broken(why)),
            None => Ok(Vec::new()),
        }
    }

    fn broken(&self, why: impl ToString) -> Error {
        Error::Broken {
            place: self.place(),
            why: why.to_string(),
        }
    }
}

fn parse(text: &[u8]) -> Result<Vec<Entry>, String> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
    }
    let version: Versioned = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    if version.v != VERSION {
        let v = version.v;
        return Err(format!(
            "its format is version {v}, this Aegis knows version {VERSION}"
        ));
    }
    let contents: Contents = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let entries = contents.approvals;
    if entries.len() > MAX_ENTRIES {
        return Err(format!("it has more than {MAX_ENTRIES} approvals"));
    }
    let mut ids: Vec<&str> = Vec::with_capacity(entries.len());
    for entry in &entries {
        let id = &entry.id;
        if !is_id(id) {
            return Err(format!("{id:?} is not the id of an approval"));
        }
        if entry.what_hash != entry.what.hash() {
            return Err(format!(
                "the hash of approval {id} is not that of what it approves"
            ));
        }
        if !has_a_term(entry) {
            return Err(format!(
                "approval {id} ends before it begins, or holds too long"
            ));
        }
        ids.push(id);
    }
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("approval {} is there twice", pair[0])),
        None => Ok(entries),
    }
}

/// Whether it ends after it begins, and does not hold too long.
fn has_a_term(entry: &Entry) -> bool {
    let term = entry.expires.checked_sub(entry.granted);
    term.is_some_and(|term| (1..=LONGEST).contains(&term))
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && (text.bytes()).all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The one id that is or begins with `text`.
fn find(entries: &[Entry], text: &str) -> Result<String, Error> {
    let mut found = entries
        .iter()
        .filter(|entry| text.len() >= PREFIX_DIGITS && entry.id.starts_with(text));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.id.clone()),
        (Some(_), Some(_)) => Err(Error::Ambiguous(text.into())),
        (None, _) => Err(Error::Unknown(text.into())),
    }
}

/// A new id. It has 48 bits, so a collision among the thousands that a user may ever have is unlikely.
pub(super) fn new_id() -> io::Result<String> {
    let bytes: [u8; ID_DIGITS / 2] = private::random()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
