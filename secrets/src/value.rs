//! The value of a secret: what it may be, and which version it is.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::protocol::LONGEST_VALUE;

/// The value of a secret. It is wiped when it is dropped, and prints as nothing.
pub struct Value(Zeroizing<Vec<u8>>);

/// Why something cannot be the value of a secret. Nothing of it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// It is longer than [`LONGEST_VALUE`].
    #[error("it is longer than {LONGEST_VALUE} bytes")]
    Long,
    /// What secrets are put into are headers and addresses, and no header holds such a byte (RFC 9110, section 5.5).
    #[error("it has {} in it, which no header can hold: a secret is one line of text", name(*.0))]
    Control(u8),
}

fn name(byte: u8) -> String {
    match byte {
        b'\n' => "a line feed".into(),
        b'\r' => "a carriage return".into(),
        b'\t' => "a tab".into(),
        0 => "a NUL".into(),
        byte => format!("the control character 0x{byte:02x}"),
    }
}

impl Value {
    /// A value that is given as it is.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, BadValue> {
        if bytes.is_empty() {
            return Err(BadValue::Empty);
        }
        if bytes.len() > LONGEST_VALUE {
            return Err(BadValue::Long);
        }
        match bytes.iter().find(|byte| byte.is_ascii_control()) {
            Some(byte) => Err(BadValue::Control(*byte)),
            None => Ok(Self(bytes)),
        }
    }

    /// A value that was printed as a line: the end of the line, if there is one, is not part of it.
    pub fn line(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, BadValue> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Self::new(bytes)
    }

    /// A copy of a text.
    pub fn text(text: &str) -> Result<Self, BadValue> {
        Self::new(Zeroizing::new(text.as_bytes().to_vec()))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads to the end, but one byte more than `longest` at most. In one allocation: what is left behind by one that grows is not wiped.
///
/// # Errors
///
/// It cannot be read.
pub fn read(mut reader: impl Read, longest: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; longest + 1]);
    let mut length = 0;
    while length < bytes.len() {
        match reader.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(..)")
    }
}

/// Tells versions of values apart, and tells nothing of them: it is keyed with random bytes that no other process has, so that nobody
/// can try values against it.
pub struct Versions(Zeroizing<[u8; 64]>);

impl Versions {
    /// With a new key.
    ///
    /// # Errors
    ///
    /// The kernel gives no random bytes.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(Zeroizing::new(aegis_sys::private::random()?)))
    }

    /// The version of a value.
    pub fn of(&self, value: &Value) -> String {
        // The key fills a block of the hash. What can be appended to a value whose hash is known is no use: less than all of it is told.
        let hash = Sha256::new()
            .chain_update(*self.0)
            .chain_update(value.bytes());
        data_encoding::HEXLOWER.encode(&hash.finalize()[..12])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> Result<Vec<u8>, BadValue> {
        Value::line(Zeroizing::new(bytes.to_vec())).map(|value| value.bytes().to_vec())
    }

    #[test]
    fn a_value_is_one_line_that_a_header_can_hold() {
        assert_eq!(value(b"abc"), Ok(b"abc".to_vec()));
        assert_eq!(value(b" a b \r\n"), Ok(b" a b ".to_vec()));
        assert_eq!(
            value("gr\u{fc}n\n".as_bytes()),
            Ok("gr\u{fc}n".as_bytes().to_vec())
        );
        assert_eq!(value(b"a\n\n"), Err(BadValue::Control(b'\n')));
        assert_eq!(value(b"a\rb"), Err(BadValue::Control(b'\r')));
        assert_eq!(value(b"a\x7f"), Err(BadValue::Control(0x7f)));
        assert_eq!(value(b"a\0b"), Err(BadValue::Control(0)));
        assert_eq!(value(b"\n"), Err(BadValue::Empty));
        assert_eq!(value(&vec![b'x'; LONGEST_VALUE + 1]), Err(BadValue::Long));
        assert!(value(&vec![b'x'; LONGEST_VALUE]).is_ok());
    }

    #[test]
    fn versions_are_the_process_s_own() {
        let (one, other) = (Versions::new().unwrap(), Versions::new().unwrap());
        let (a, b) = (Value::text("a").unwrap(), Value::text("b").unwrap());
        assert_eq!(one.of(&a), one.of(&a));
        assert_ne!(one.of(&a), one.of(&b));
        assert_ne!(one.of(&a), other.of(&a));
        assert_eq!(format!("{a:?}"), "Value(..)");
    }
}
