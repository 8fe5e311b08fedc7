//! The file of approvals: one for each user, in a directory that is the user's alone.
//!
//! It is replaced as a whole, by a rename, under a lock that writers hold; so readers need none and see
//! either the old or the new. What is not exactly as it is written here counts as nothing and is left as it
//! is: an approval that cannot be read is none, and a file that cannot be read is not overwritten.

#![expect(
    clippy::disallowed_types,
    reason = "keeps a file; decisions are made without it"
)]

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use aegis_policy::request::{Approval, Request, What};
use aegis_profile::hash::Hash;

use super::{DAY, Entry, LONGEST};

/// Its name.
pub const FILE: &str = "approvals.json";

/// What it becomes [`FILE`] from.
const NEW: &str = "approvals.json.new";

/// What writers lock: the file itself is another one after each change.
const LOCK: &str = "approvals.lock";

/// The version of its form: `v`.
const VERSION: u32 = 2;

/// How large it can be.
pub const MAX_BYTES: u64 = 4 << 20;

/// How many approvals it can hold.
pub const MAX_ENTRIES: usize = 1000;

/// How long an expired approval is still listed.
const REMEMBERED: u64 = 30 * DAY;

/// The digits of an id, and the fewest that stand for one.
const ID_DIGITS: usize = 12;
const PREFIX_DIGITS: usize = 4;

/// Why approvals cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel said no.
    #[error("{doing} {}: {source}", place.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        place: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Others could write or read it.
    #[error("the approvals count as nothing: {} {why}; {fix}", place.display())]
    Exposed {
        /// The file or directory.
        place: PathBuf,
        /// What is wrong.
        why: &'static str,
        /// What to do.
        fix: String,
    },
    /// It is not what Aegis wrote.
    #[error(
        "the approvals count as nothing: {} cannot be read: {why}; mend it, or remove it to start anew", place.display()
    )]
    Broken {
        /// The file.
        place: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No more fit in.
    #[error(
        "{} is full, at {MAX_ENTRIES} approvals or {} MiB: revoke some, see `aegis approvals list`", place.display(), MAX_BYTES >> 20
    )]
    Full {
        /// The file.
        place: PathBuf,
    },
    /// An approval that is not to be kept: it ends before it begins, or holds too long.
    #[error("an approval holds for at least a second and at most {} days", LONGEST / DAY)]
    Term,
    /// There is no such approval.
    #[error("there is no approval `{0}`: see `aegis approvals list --all`")]
    Unknown(String),
    /// There are several.
    #[error("several approvals begin with `{0}`: write more of the id")]
    Ambiguous(String),
}

/// Which approvals are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those with these ids, or with the only ids that begin like this. All have to be there.
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
    /// That in the directory `dir`, which is touched only when something is read or written.
    pub fn open(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    /// The file.
    pub fn place(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// Every approval, also those that no longer hold; the oldest first.
    pub fn list(&self) -> Result<Vec<Entry>, Error> {
        match self.directory(false)? {
            Some(dir) => self.read(&dir),
            None => Ok(Vec::new()),
        }
    }

    /// What holds at `now` of what somebody asks for, under the policy with this hash; of a run, also for
    /// each of its grants.
    pub fn approvals_for(
        &self,
        request: &Request,
        policy: Hash,
        now: u64,
    ) -> Result<Vec<Approval>, Error> {
        let entries = self.list()?;
        let what = &request.what;
        let command = what.command_hash();
        let is_for = |entry: &&Entry| entry.is_for(request, command, policy);
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

    /// Adds approvals, each instead of an older one to the same. They are on the disk when this returns.
    pub fn add(&self, new: &[Entry], now: u64) -> Result<(), Error> {
        let term = |e: &Entry| e.expires.checked_sub(e.granted);
        if (new.iter()).any(|e| !term(e).is_some_and(|t| (1..=LONGEST).contains(&t))) {
            return Err(Error::Term);
        }
        self.change(|entries| {
            entries.retain(|old| {
                now < old.expires.saturating_add(REMEMBERED)
                    && !new.iter().any(|new| new.is_same_as(old))
            });
            entries.extend_from_slice(new);
            if entries.len() > MAX_ENTRIES {
                entries.retain(|entry| now < entry.expires);
            }
            if entries.len() > MAX_ENTRIES {
                let place = self.place();
                return Err(Error::Full { place });
            }
            Ok(())
        })
    }

    /// Removes approvals that have expired by `now`. Those that it removed.
    pub fn prune(&self, now: u64) -> Result<Vec<Entry>, Error> {
        self.remove(|_| Ok(Box::new(move |entry| entry.expires <= now)))
    }

    /// Removes approvals. Those that it removed: with [`Which::Ids`], all that were named.
    pub fn revoke(&self, which: &Which) -> Result<Vec<Entry>, Error> {
        self.remove(|entries| {
            Ok(match which {
                Which::Ids(ids) => {
                    let ids = ids
                        .iter()
                        .map(|id| find(entries, id))
                        .collect::<Result<Vec<_>, _>>()?;
                    Box::new(move |entry| ids.contains(&entry.id))
                }
                Which::Profile(name) => Box::new(move |entry| entry.profile == *name),
                Which::All => Box::new(|_| true),
            })
        })
    }

    fn remove<'w>(
        &self,
        choose: impl FnOnce(&[Entry]) -> Result<Box<dyn Fn(&Entry) -> bool + 'w>, Error>,
    ) -> Result<Vec<Entry>, Error> {
        // Nothing is made where there is nothing.
        let there = self.list()?;
        if there.is_empty() {
            drop(choose(&there)?);
            return Ok(Vec::new());
        }
        let mut removed = Vec::new();
        self.change(|entries| {
            let goes = choose(entries)?;
            removed = entries.extract_if(.., |entry| goes(entry)).collect();
            Ok(())
        })?;
        Ok(removed)
    }

    /// Replaces the file by what `change` makes of it, if it makes another of it.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Entry>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(dir) = self.directory(true)? else {
            return Ok(());
        };
        let lock = self.create(&dir, LOCK, OFlags::empty())?;
        lock.lock().map_err(self.io("locking", LOCK))?;
        let before = self.read(&dir)?;
        let mut entries = before.clone();
        change(&mut entries)?;
        if entries == before {
            return Ok(());
        }
        self.write(&dir, entries)
    }

    /// The directory, if it is there or is to be made; refused unless it is the user's alone.
    fn directory(&self, make: bool) -> Result<Option<OwnedFd>, Error> {
        if make {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.dir);
            made.map_err(|source| self.at_dir("making", source))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(&self.dir, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) if !make => return Ok(None),
            // What the kernel says of a link here depends on its version.
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(Error::Exposed {
                    place: self.dir.clone(),
                    why: "is no directory, or a link to one",
                    fix: "put a directory there, or set XDG_STATE_HOME".into(),
                });
            }
            Err(error) => return Err(self.at_dir("opening", error.into())),
        };
        let stat = rustix::fs::fstat(&dir).map_err(|e| self.at_dir("looking at", e.into()))?;
        only_ours(&self.dir, &stat, "700")?;
        Ok(Some(dir))
    }

    fn read(&self, dir: &OwnedFd) -> Result<Vec<Entry>, Error> {
        // A pipe must not keep us waiting.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(dir, FILE, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(Errno::LOOP) => return Err(self.no_file()),
            Err(error) => return Err(self.io("opening", FILE)(error.into())),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| self.io("looking at", FILE)(e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.no_file());
        }
        only_ours(&self.place(), &stat, "600")?;
        let mut text = Vec::new();
        File::from(file)
            .take(MAX_BYTES + 1)
            .read_to_end(&mut text)
            .map_err(self.io("reading", FILE))?;
        parse(&text).map_err(|why| Error::Broken {
            place: self.place(),
            why,
        })
    }

    fn write(&self, dir: &OwnedFd, approvals: Vec<Entry>) -> Result<(), Error> {
        let contents = Contents {
            approvals,
            v: VERSION,
        };
        let mut text = serde_json::to_vec(&contents)
            .map_err(|error| self.io("writing", NEW)(io::Error::from(error)))?;
        text.push(b'\n');
        if text.len() as u64 > MAX_BYTES {
            let place = self.place();
            return Err(Error::Full { place });
        }
        // One that was left behind by a crash: we hold the lock, so nobody writes it.
        match rustix::fs::unlinkat(dir, NEW, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.io("removing", NEW)(error.into())),
        }
        let mut file = self.create(dir, NEW, OFlags::EXCL)?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(self.io("writing", NEW))?;
        rustix::fs::renameat(dir, NEW, dir, FILE)
            .and_then(|()| rustix::fs::fsync(dir))
            .map_err(|error| self.io("replacing", FILE)(error.into()))
    }

    fn create(&self, dir: &OwnedFd, name: &'static str, more: OFlags) -> Result<File, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::openat(dir, name, flags, mode)
            // Whatever the umask.
            .and_then(|file| rustix::fs::fchmod(&file, mode).map(|()| file.into()))
            .map_err(|error| self.io("making", name)(error.into()))
    }

    fn io(&self, doing: &'static str, name: &str) -> impl FnOnce(io::Error) -> Error + use<> {
        let place = self.dir.join(name);
        move |source| Error::Io {
            doing,
            place,
            source,
        }
    }

    fn at_dir(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Io {
            doing,
            place: self.dir.clone(),
            source,
        }
    }

    fn no_file(&self) -> Error {
        Error::Exposed {
            place: self.place(),
            why: "is no ordinary file",
            fix: "remove it".into(),
        }
    }
}

/// Refuses what belongs to another, or what others may read or write.
fn only_ours(place: &Path, stat: &Stat, mode: &str) -> Result<(), Error> {
    let exposed = |why, fix| {
        Err(Error::Exposed {
            place: place.into(),
            why,
            fix,
        })
    };
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return exposed(
            "belongs to another user",
            "start Aegis as that user, or set XDG_STATE_HOME".into(),
        );
    }
    if stat.st_mode & 0o077 != 0 {
        return exposed(
            "is open to other users",
            format!(
                "if nobody else wrote there: chmod {mode} {}",
                place.display()
            ),
        );
    }
    Ok(())
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
            "it has version {v} of the form, this Aegis knows version {VERSION}"
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
            return Err(format!("{id:?} is no id of an approval"));
        }
        if entry.what_hash != entry.what.hash() {
            return Err(format!("approval {id} is not to what its hash says"));
        }
        let term = entry.expires.checked_sub(entry.granted);
        if !term.is_some_and(|term| (1..=LONGEST).contains(&term)) {
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

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS
        && (text.bytes()).all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The one id that `text` is, or begins.
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

/// A new one. Of 48 bits, so that two of the thousands that a user will ever see are hardly the same.
pub(super) fn new_id() -> io::Result<String> {
    let mut bytes = [0_u8; ID_DIGITS / 2];
    // The kernel gives this few at once, or none.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
