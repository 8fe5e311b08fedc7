//! The last checkpoint of each log, remembered beside the key that signed it: whoever has the key and finds no log, or
//! a shorter one, is told.
//!
//! `signed-HASH.json` in the directory of keys, by the hash of the path of the log's directory. It is written after the
//! checkpoint, under the log's lock, and does not wait for the disk: after a power failure a log can be shorter than
//! this says.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aegis_sys::private::{Dir, Others, Put};
use rustix::fs::{AtFlags, OFlags};
use serde::{Deserialize, Serialize};

use super::Error;
use super::tail::Newest;
use crate::event::LastSigned;
use aegis_profile::Hash;

/// The longest file, and more than any path needs.
const MAX_BYTES: u64 = 64 << 10;

/// How the names of the files begin.
const PREFIX: &str = "signed-";

/// So many logs are remembered whatever becomes of them.
const MANY: usize = 1000;

/// What is remembered of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    /// The log's directory, for people.
    dir: String,
    /// The last checkpoint.
    pub last: LastSigned,
    /// The segment that it is in.
    pub segment: u32,
}

/// The file for one log.
pub(super) struct Memory {
    keys: Dir,
    dir: PathBuf,
    name: String,
}

impl Memory {
    /// For the log in an open directory, wherever that was moved.
    pub fn of(keys: Dir, log: &Dir) -> Result<Self, Error> {
        let own = format!("/proc/self/fd/{}", log.as_fd().as_raw_fd());
        let dir = std::fs::read_link(&own)
            .map_err(|error| Error::io("looking at", Path::new(&own), error))?;
        let name = name_for(&dir);
        Ok(Self { keys, dir, name })
    }

    /// What is remembered. `None`: nothing was signed there yet.
    pub fn read(&self) -> Result<Option<Remembered>, Error> {
        read(&self.keys, &self.name)
    }

    /// Remembers a checkpoint. A kill leaves the old text or the new one: its length is always the same, so that it can be
    /// written over in one call.
    pub fn write(&self, newest: &Newest, segment: u32) -> Result<(), Error> {
        let remembered = Remembered {
            dir: self.dir.to_string_lossy().into_owned(),
            last: newest.last_signed(),
            segment,
        };
        let failed = |error| Error::io("writing", &self.keys.join(&self.name), error);
        let mut text = serde_json::to_vec(&remembered).map_err(|error| failed(error.into()))?;
        let numbers = [newest.checkpoint.number, newest.seq, segment.into()];
        let digits: usize = numbers.iter().map(|n| n.to_string().len()).sum();
        // The longest number has 20 digits.
        text.resize(text.len() + numbers.len() * 20 - digits, b' ');
        text.push(b'\n');
        let file = self
            .keys
            .file(&self.name, OFlags::WRONLY, Others::MayNothing)?;
        match file {
            Some(file) if file.metadata().map_err(failed)?.len() == text.len() as u64 => {
                file.write_all_at(&text, 0).map_err(failed)
            }
            _ => {
                self.keys.put(&self.name, &text, Put::Replace)?;
                self.forget_some()
            }
        }
    }

    /// Where very many logs are remembered, forgets those whose directory is gone: programs may name a new one for each run.
    fn forget_some(&self) -> Result<(), Error> {
        let mut names = self.keys.names()?;
        names.retain(|name| name.starts_with(PREFIX) && *name != self.name);
        if names.len() < MANY {
            return Ok(());
        }
        for name in names {
            let gone = read(&self.keys, &name)
                .is_ok_and(|known| known.is_some_and(|known| !Path::new(&known.dir).exists()));
            if gone {
                // One that stays is harmless.
                let _ = rustix::fs::unlinkat(&self.keys, &*name, AtFlags::empty());
            }
        }
        Ok(())
    }
}

fn name_for(dir: &Path) -> String {
    format!("{PREFIX}{}.json", Hash::of(dir.as_os_str().as_bytes()))
}

fn read(keys: &Dir, name: &str) -> Result<Option<Remembered>, Error> {
    let Some(text) = keys.read(name, MAX_BYTES, Others::MayNothing)? else {
        return Ok(None);
    };
    let bad = |_| Error::BadSigned {
        path: keys.join(name),
    };
    serde_json::from_slice(&text).map(Some).map_err(bad)
}

impl LastSigned {
    /// The last checkpoint that was signed with the key in `keys` of the log in the directory `log`, whether that is there or
    /// not. `None`: nothing was signed there.
    pub fn in_directory(keys: &Path, log: &Path) -> Result<Option<Self>, Error> {
        let Some(keys) = Dir::open(keys)? else {
            return Ok(None);
        };
        keys.check(Others::MayRead)?;
        let log = match std::fs::canonicalize(log) {
            Ok(log) => log,
            // The directory is gone.
            Err(_) => std::path::absolute(log).map_err(|e| Error::io("looking at", log, e))?,
        };
        Ok(read(&keys, &name_for(&log))?.map(|remembered| remembered.last))
    }
}
