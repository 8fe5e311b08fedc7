//! The key that opens the store: an identity of age's, in its own format, so that `age -d -i` takes it too.

use std::path::Path;

use aegis_sys::private::{self, Dir, Others, Put};
use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::value;

/// The longest file of identities, in bytes.
const LONGEST: usize = 16 << 10;

/// What every identity of this kind begins with.
const PREFIX: &str = "AGE-SECRET-KEY-1";

/// Identities, in the order of their file.
pub struct Identities(Vec<Identity>);

impl Identities {
    /// Reads a file of identities, which must be the user's and closed to others. `None`: it does not exist.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let Some((dir, name)) = parts(path)? else {
            return Ok(None);
        };
        dir.check(Others::MayRead)?;
        dir.check_above()?;
        let Some(file) = dir.file(&name, OFlags::RDONLY, Others::MayNothing)? else {
            return Ok(None);
        };
        let text = value::read(file, LONGEST);
        let text = text.map_err(|error| private::Error::io("reading", path, error))?;
        let parsed = Self::parse(text);
        let found = parsed.map_err(|why| Error::Key {
            path: path.to_owned(),
            why,
        })?;
        Ok(Some(found))
    }

    /// Reads the text of such a file: a line each; empty lines, and those that begin with `#`, mean nothing. Errors quote nothing.
    pub fn parse(text: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err("it is longer than any file of identities".into());
        }
        let text = std::str::from_utf8(&text).map_err(|_| "it is not text")?;
        let mut found = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !line.starts_with(PREFIX) {
                return Err(format!(
                    "line {number} is not an identity that Aegis knows, which begins with {PREFIX}"
                ));
            }
            let identity = line.parse::<Identity>();
            found.push(identity.map_err(|_| format!("the identity in line {number} is damaged"))?);
        }
        match found.is_empty() {
            true => Err("there is no identity in it".into()),
            false => Ok(Self(found)),
        }
    }

    /// Makes a new one, unless there is one. Returns whether it did.
    pub fn make(path: &Path) -> Result<bool, Error> {
        let (parent, name) = split(path)?;
        let dir = Dir::create(parent)?;
        dir.check(Others::MayRead)?;
        dir.check_above()?;
        let identity = Identity::generate();
        let text = Zeroizing::new(format!(
            "# The key to the secrets of `aegis secrets`. Who has it and their files has them.\n# public key: {}\n{}\n",
            identity.to_public(),
            identity.to_string().expose_secret()
        ));
        Ok(dir.put(name, text.as_bytes(), Put::New)?)
    }

    /// For whom new secrets are encrypted: the first.
    pub fn recipient(&self) -> Recipient {
        self.0[0].to_public()
    }

    /// As age takes them.
    pub fn each(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| identity as &dyn age::Identity)
    }

    /// Adds others.
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }
}

/// The directory of a file and its name in it.
fn split(path: &Path) -> Result<(&Path, &str), Error> {
    let name = path.file_name().and_then(|name| name.to_str());
    (path.parent().zip(name)).ok_or_else(|| Error::NoFile(path.to_owned()))
}

/// The same, the directory open. `None`: it does not exist.
pub(crate) fn parts(path: &Path) -> Result<Option<(Dir, String)>, Error> {
    let (parent, name) = split(path)?;
    Ok(Dir::open(parent)?.map(|dir| (dir, name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<usize, String> {
        let found = Identities::parse(Zeroizing::new(text.as_bytes().to_vec()));
        found.map(|identities| identities.0.len())
    }

    #[test]
    fn identities_are_lines_and_errors_quote_none() {
        let key = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
        assert_eq!(parsed(&format!("# c\n\n{key}\r\n{key}")), Ok(2));
        for wrong in [
            "",
            "# only\n",
            &key[..40],
            &key.replace("GQ9", "GQ8"),
            "AGE-SECRET-KEY-PQ-1XYZ",
            "AGE-PLUGIN-X-1XYZ",
            "hunter2",
            &"#".repeat(70_000),
        ] {
            let why = parsed(wrong).unwrap_err();
            assert!(!why.contains("hunter2") && !why.contains("GQ"), "{why}");
        }
    }
}
