//! The store: a directory of files that age encrypted, one for each secret. Nothing else is in a file than the value.
//!
//! Each file is whole or absent, whatever becomes of who writes it. What others may read or write, or have put there, is refused before
//! anything of it is read.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use aegis_profile::syntax;
use aegis_sys::private::{self, Dir, Others, Put};
use rustix::fs::{AtFlags, OFlags};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::identity::Identities;
use crate::places::Places;
use crate::protocol::LONGEST_VALUE;
use crate::value::{self, Value};

/// What the name of a secret's file ends in.
const EXTENSION: &str = ".age";

/// The longest file that is read: a value, armoured, for many recipients.
const LONGEST_FILE: u64 = 128 << 10;

/// How long to wait for others who change the store.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which file it was, as far as the kernel tells: another one after each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// When what is in it was written, in seconds since 1970.
    pub fn written(&self) -> u64 {
        u64::try_from(self.modified.0).unwrap_or(0)
    }
}

/// Checks an alias: it becomes the name of a file.
pub fn check(alias: &str) -> Result<(), Error> {
    match syntax::alias(alias) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Alias(alias.to_owned())),
    }
}

/// A store that is open.
#[derive(Debug)]
pub struct Store(Dir);

impl Store {
    /// Opens the store. `None`: there is none.
    pub fn open(places: &Places) -> Result<Option<Self>, Error> {
        Dir::open(&places.store)?.map(Self::checked).transpose()
    }

    /// Opens the store, and makes it where it is missing.
    pub fn create(places: &Places) -> Result<Self, Error> {
        Self::checked(Dir::create(&places.store)?)
    }

    fn checked(dir: Dir) -> Result<Self, Error> {
        dir.check(Others::MayNothing)?;
        dir.check_above()?;
        Ok(Self(dir))
    }

    /// The secrets in it, in the order of their names.
    pub fn aliases(&self) -> Result<Vec<String>, Error> {
        let mut found = self.0.names()?;
        found.retain_mut(|name| {
            let alias = name.strip_suffix(EXTENSION).map(str::to_owned);
            alias.is_some_and(|alias| {
                *name = alias;
                syntax::alias(name).is_ok()
            })
        });
        found.sort();
        Ok(found)
    }

    /// The path of a secret's file.
    pub fn path(&self, alias: &str) -> std::path::PathBuf {
        self.0.join(&file_name(alias))
    }

    /// The file of a secret, checked. `None`: it is not here.
    pub fn file(&self, alias: &str) -> Result<Option<(File, Stamp)>, Error> {
        check(alias)?;
        let name = file_name(alias);
        let Some(file) = self.0.file(&name, OFlags::RDONLY, Others::MayNothing)? else {
            return Ok(None);
        };
        let stamp = Stamp::of(&file);
        let stamp =
            stamp.map_err(|error| private::Error::io("looking at", &self.path(alias), error))?;
        Ok(Some((file, stamp)))
    }

    /// Stores a value, whole or not at all. Returns whether it replaced one.
    pub fn put(&self, alias: &str, value: &Value, identities: &Identities) -> Result<bool, Error> {
        check(alias)?;
        let name = file_name(alias);
        let failed = |error| private::Error::io("encrypting", &self.0.join(&name), error);
        let sealed = encrypted(value, identities).map_err(failed)?;
        let replaces = self.0.stat(&name)?.is_some();
        self.0.put(&name, &sealed, Put::Replace)?;
        Ok(replaces)
    }

    /// Removes a secret. Returns whether there was one.
    pub fn remove(&self, alias: &str) -> Result<bool, Error> {
        check(alias)?;
        let name = file_name(alias);
        match rustix::fs::unlinkat(self.0.as_fd(), &name, AtFlags::empty()) {
            Ok(()) => {
                self.0.sync()?;
                Ok(true)
            }
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(private::Error::io("removing", &self.0.join(&name), error).into()),
        }
    }

    /// Waits until nobody else changes the store. What is returned keeps others from it.
    pub fn lock(&self) -> Result<File, Error> {
        let path = self.0.path();
        let failed = |error: io::Error| private::Error::io("locking", path, error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self.0.as_fd(), ".", flags, rustix::fs::Mode::empty());
        let lock = File::from(opened.map_err(|error| failed(error.into()))?);
        let since = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(failed(error).into()),
                Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => {
                    let seconds = PATIENCE.as_secs();
                    let path = path.to_owned();
                    return Err(Error::Locked { path, seconds });
                }
                // Nothing tells of its end in time: `flock(2)` waits for ever.
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

fn file_name(alias: &str) -> String {
    format!("{alias}{EXTENSION}")
}

fn encrypted(value: &Value, identities: &Identities) -> io::Result<Vec<u8>> {
    let recipient = identities.recipient();
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients);
    let encryptor = encryptor.map_err(|error| io::Error::other(error.to_string()))?;
    let mut writer = encryptor.wrap_output(Vec::new())?;
    writer.write_all(value.bytes())?;
    writer.finish()
}

/// Decrypts the file of a secret. Why it cannot be is told without anything of what is in it.
pub fn open(file: File, identities: &Identities) -> Result<Value, String> {
    let mut sealed = Vec::new();
    let read = file.take(LONGEST_FILE + 1).read_to_end(&mut sealed);
    read.map_err(|error| error.to_string())?;
    if sealed.len() as u64 > LONGEST_FILE {
        return Err("the file is longer than that of any secret".into());
    }
    let plain = decrypted(&sealed, LONGEST_VALUE + 2, identities)?;
    Value::line(plain).map_err(|why| why.to_string())
}

/// Decrypts what age encrypted, armoured or not; at most one byte more than `longest`.
pub(crate) fn decrypted(
    sealed: &[u8],
    longest: usize,
    identities: &Identities,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let told = |error: age::DecryptError| match error {
        age::DecryptError::NoMatchingKeys => "it is encrypted for another key".to_owned(),
        age::DecryptError::Io(error) => {
            format!("it is damaged, or was not encrypted by age: {error}")
        }
        error => format!("age cannot open it: {error}"),
    };
    let reader = age::armor::ArmoredReader::new(sealed);
    let decryptor = age::Decryptor::new_buffered(reader).map_err(told)?;
    if decryptor.is_scrypt() {
        return Err("it is encrypted with a passphrase, and not for a key".into());
    }
    let reader = decryptor.decrypt(identities.each()).map_err(told)?;
    value::read(reader, longest).map_err(|error| format!("it is damaged: {error}"))
}
