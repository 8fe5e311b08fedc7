//! Values in files that [SOPS](https://getsops.io) encrypted for age, in YAML or JSON.
//!
//! A file is a tree whose leaves are encrypted one by one, with AES-256-GCM under a key of the file's own and the keys that lead to the
//! leaf as additional data. That key is in the file, encrypted for each recipient. The file's MAC, encrypted likewise, is over all
//! leaves in the order of the file: it is checked before anything is given out.
//!
//! What is not understood is refused: other recipients than age's alone, keys that are split (`key_groups`), rules by comments.

mod cipher;
mod metadata;
mod tree;

use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::identity::Identities;
use crate::value::Value;
use cipher::DataKey;
use metadata::Metadata;
use tree::Tree;

/// The longest file, in bytes.
pub const LONGEST: u64 = aegis_profile::syntax::MAX_BYTES as u64;

/// What the MAC begins with where it is over encrypted leaves alone: SHA-256 of `sops`.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// What was found in a file.
#[derive(Debug)]
pub struct Found {
    /// The value.
    pub value: Value,
    /// When the file was changed last, as it says: seconds since 1970.
    pub modified: Option<u64>,
}

/// A file whose text has been read, and nothing of it decrypted.
pub struct File {
    tree: Tree,
    metadata: Metadata,
}

impl File {
    /// Reads the text of a file. Why it cannot be read is told without anything of what is in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > LONGEST {
            return Err("the file is longer than 1 MiB".into());
        }
        let mut tree = tree::parse(bytes)?;
        let metadata = Metadata::take(&mut tree)?;
        Ok(Self { tree, metadata })
    }

    /// When it was changed last, as it says and nobody has checked: seconds since 1970.
    pub fn modified(&self) -> Option<u64> {
        self.metadata.modified()
    }

    /// Checks all of it, and decrypts the value to which these keys lead.
    pub fn value(&self, key: &[String], identities: &Identities) -> Result<Found, String> {
        let data_key = self.metadata.data_key(identities)?;
        let mut walk = Walk {
            metadata: &self.metadata,
            key: &data_key,
            mac: Sha512::new(),
            wanted: key,
            found: None,
        };
        if self.metadata.only_encrypted {
            walk.mac.update(ONLY_ENCRYPTED);
        }
        walk.tree(&self.tree, &mut Vec::new(), &mut Vec::new())?;
        let mac = Zeroizing::new(data_encoding::HEXUPPER.encode(&walk.mac.finalize()));
        let told = data_key.decrypt(&self.metadata.mac, self.metadata.last_modified.as_bytes());
        let told = told.map_err(|why| format!("its MAC cannot be checked: {why}"))?;
        // Both are what the file's own key gives: who does not have that learns nothing by time.
        if *told != mac.as_bytes() {
            return Err("its MAC is wrong: somebody has changed the file, and not with SOPS\n  help: see what with `sops decrypt`, and write it anew".into());
        }
        match walk.found {
            Some(Leaf::Encrypted(value)) => Ok(Found {
                value: Value::line(value)
                    .map_err(|why| format!("the value at `{}`: {why}", key.join(".")))?,
                modified: self.modified(),
            }),
            Some(Leaf::Plain) => Err(format!(
                "the value at `{}` is not encrypted in the file",
                key.join(".")
            )),
            None => Err(format!("there is no value at `{}`", key.join("."))),
        }
    }
}

/// What is at the wanted keys.
enum Leaf {
    Encrypted(Zeroizing<Vec<u8>>),
    Plain,
}

/// From leaf to leaf in the order of the file.
struct Walk<'w> {
    metadata: &'w Metadata,
    key: &'w DataKey,
    mac: Sha512,
    wanted: &'w [String],
    found: Option<Leaf>,
}

impl Walk<'_> {
    /// `keys` are those of maps, by which a leaf is encrypted; `place` has the numbers in lists too.
    fn tree<'t>(
        &mut self,
        tree: &'t Tree,
        keys: &mut Vec<&'t str>,
        place: &mut Vec<String>,
    ) -> Result<(), String> {
        match tree {
            Tree::Map(entries) => {
                for (key, tree) in entries {
                    keys.push(key);
                    place.push(key.clone());
                    self.tree(tree, keys, place)?;
                    place.pop();
                    keys.pop();
                }
            }
            Tree::List(items) => {
                for (number, tree) in items.iter().enumerate() {
                    place.push(number.to_string());
                    self.tree(tree, keys, place)?;
                    place.pop();
                }
            }
            Tree::Null => {}
            Tree::Leaf { text, is_text } => {
                let leaf = self
                    .leaf(text, *is_text, keys)
                    .map_err(|why| format!("the value at `{}`: {why}", place.join(".")))?;
                if *place == self.wanted {
                    self.found = Some(leaf);
                }
            }
        }
        Ok(())
    }

    fn leaf(&mut self, text: &str, is_text: bool, keys: &[&str]) -> Result<Leaf, String> {
        if !self.metadata.is_encrypted(keys) {
            if !self.metadata.only_encrypted {
                self.mac.update(text);
            }
            return Ok(Leaf::Plain);
        }
        if !is_text {
            return Err("it ought to be encrypted, and is not".into());
        }
        // What is empty is not encrypted.
        if text.is_empty() {
            return Ok(Leaf::Encrypted(Zeroizing::new(Vec::new())));
        }
        let mut path = keys.join(":");
        path.push(':');
        let plain = self.key.decrypt(text, path.as_bytes())?;
        self.mac.update(&*plain);
        Ok(Leaf::Encrypted(plain))
    }
}
