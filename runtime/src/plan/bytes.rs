//! Paths, arguments and variables in JSON: they are bytes to the kernel, text to people. UTF-8 is
//! written as a string; anything else as `{"base16": "..."}`, so that no two values look alike.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

/// A byte string, serialised as described above.
pub struct Bytes<'a>(pub &'a OsStr);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base16", &base16(self.0))?;
                map.end()
            }
        }
    }
}

fn base16(bytes: &OsStr) -> String {
    bytes
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A map's key has to be text.
pub(super) fn key(bytes: &OsStr) -> String {
    match bytes.to_str() {
        Some(text) => text.to_owned(),
        None => format!("base16:{}", base16(bytes)),
    }
}

/// One path.
pub mod path {
    use super::{Bytes, Path, Serialize, Serializer};

    /// See the parent module.
    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(path.as_os_str()).serialize(serializer)
    }
}

/// A path that may be absent.
pub mod optional_path {
    use super::{Bytes, PathBuf, Serialize, Serializer};

    /// See the parent module.
    pub fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        path.as_ref()
            .map(|path| Bytes(path.as_os_str()))
            .serialize(serializer)
    }
}

/// One string.
pub mod string {
    use super::{Bytes, OsString, Serialize, Serializer};

    /// See the parent module.
    pub fn serialize<S: Serializer>(text: &OsString, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(text).serialize(serializer)
    }
}

/// A list of strings.
pub mod list {
    use super::{Bytes, OsString, SerializeSeq, Serializer};

    /// See the parent module.
    pub fn serialize<S: Serializer>(list: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(list.len()))?;
        for item in list {
            sequence.serialize_element(&Bytes(item))?;
        }
        sequence.end()
    }
}

/// A map from string to string.
pub mod map {
    use super::{BTreeMap, Bytes, OsString, SerializeMap, Serializer, key};

    /// See the parent module.
    pub fn serialize<S: Serializer>(
        map: &BTreeMap<OsString, OsString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(map.len()))?;
        for (name, value) in map {
            out.serialize_entry(&key(name), &Bytes(value))?;
        }
        out.end()
    }
}

/// A map keyed by paths.
pub mod path_map {
    use super::{BTreeMap, PathBuf, Serialize, SerializeMap, Serializer, key};

    /// See the parent module.
    pub fn serialize<S: Serializer, V: Serialize>(
        map: &BTreeMap<PathBuf, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(map.len()))?;
        for (name, value) in map {
            out.serialize_entry(&key(name.as_os_str()), value)?;
        }
        out.end()
    }
}

/// A list of paths.
pub mod paths {
    use super::{Bytes, PathBuf, SerializeSeq, Serializer};

    /// See the parent module.
    pub fn serialize<S: Serializer>(list: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(list.len()))?;
        for item in list {
            sequence.serialize_element(&Bytes(item.as_os_str()))?;
        }
        sequence.end()
    }
}
