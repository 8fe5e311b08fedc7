//! Paths and arguments of the host: bytes for the kernel, text for people.

use std::fmt;

use serde::de::{self, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A byte string of the host. As JSON: text where it is UTF-8, else `{"base16": "..."}`, so that no
/// two values look alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HostPath(pub Vec<u8>);

impl HostPath {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The components of an absolute path: what lies between slashes.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        self.0.split(|byte| *byte == b'/').filter(|c| !c.is_empty())
    }

    /// Whether it is a program in a directory of the system's programs, where its name identifies it; and its name.
    pub fn program(&self) -> (bool, &[u8]) {
        program(self.components())
    }

    /// Whether it is absolute, without NUL and without `.` or `..` components.
    pub fn is_plain(&self) -> bool {
        self.0.first() == Some(&b'/')
            && !self.0.contains(&0)
            // In most paths no component begins with a dot.
            && (!self.0.windows(2).any(|two| two == b"/.") || self.components().all(|c| c != b"." && c != b".."))
    }
}

/// The directories of the system's programs.
pub(crate) const SYSTEM_PROGRAMS: [&str; 6] = [
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/sbin",
];

/// [`HostPath::program`], of components: whether they are one of [`SYSTEM_PROGRAMS`] and a name.
pub(crate) fn program<'p>(
    components: impl DoubleEndedIterator<Item = &'p [u8]>,
) -> (bool, &'p [u8]) {
    let mut components = components.rev();
    let name = components.next().unwrap_or_default();
    let directory = [components.next(), components.next(), components.next()];
    let of_system = match directory.map(Option::unwrap_or_default) {
        [b"bin" | b"sbin", b"" | b"usr", b""] => components.next().is_none(),
        [b"bin" | b"sbin", b"local", b"usr"] => components.next().is_none(),
        _ => false,
    };
    (of_system, name)
}

impl From<&str> for HostPath {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<&std::path::Path> for HostPath {
    fn from(path: &std::path::Path) -> Self {
        Self(path.as_os_str().as_encoded_bytes().to_vec())
    }
}

impl From<&std::ffi::OsStr> for HostPath {
    fn from(text: &std::ffi::OsStr) -> Self {
        Self(text.as_encoded_bytes().to_vec())
    }
}

/// For people: what is not UTF-8 is replaced.
impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for HostPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base16", &hex)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for HostPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = HostPath;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, or {\"base16\": \"...\"}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HostPath, E> {
                Ok(text.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HostPath, A::Error> {
                let entry: Option<(String, String)> = map.next_entry()?;
                let bytes = match entry {
                    Some((key, hex)) if key == "base16" => from_hex(&hex),
                    _ => None,
                };
                // UTF-8 text has only one form: the text.
                match bytes {
                    Some(bytes)
                        if std::str::from_utf8(&bytes).is_err()
                            && map.next_key::<String>()?.is_none() =>
                    {
                        Ok(HostPath(bytes))
                    }
                    _ => Err(de::Error::custom("expected base16 of what is not UTF-8")),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{HostPath, SYSTEM_PROGRAMS};

    #[test]
    fn a_program_of_the_system_lies_in_one_of_its_directories() {
        for directory in SYSTEM_PROGRAMS {
            for (path, of_system) in [
                (format!("{directory}/git"), true),
                (format!("{directory}/x/git"), false),
                (format!("/opt{directory}/git"), false),
            ] {
                let path = HostPath::from(&*path);
                assert_eq!(path.program(), (of_system, &b"git"[..]), "{path}");
            }
        }
    }
}
