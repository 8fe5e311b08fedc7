//! Paths, arguments and variables in JSON: they are bytes to the kernel, text to people. UTF-8 is
//! written as a string; anything else as `{"base16": "..."}`, so that no two values look alike.
//!
//! The functions are for `#[serde(serialize_with)]`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Serialize, Serializer};

struct Bytes<'a>(&'a OsStr);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_map([("base16", base16(self.0))]),
        }
    }
}

fn base16(bytes: &OsStr) -> String {
    (bytes.as_bytes().iter())
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A map's key must be text.
fn key(bytes: &OsStr) -> String {
    match bytes.to_str() {
        Some(text) => text.to_owned(),
        None => format!("base16:{}", base16(bytes)),
    }
}

/// One path or string.
pub fn one<S: Serializer>(value: &impl AsRef<OsStr>, serializer: S) -> Result<S::Ok, S::Error> {
    Bytes(value.as_ref()).serialize(serializer)
}

/// A list of strings.
pub fn list<S: Serializer>(list: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|item| Bytes(item)))
}

/// A map from string to string.
pub fn map<S: Serializer>(
    map: &BTreeMap<OsString, OsString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter().map(|(name, value)| (key(name), Bytes(value))))
}
