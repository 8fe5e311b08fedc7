//! Whether bytes are in the canonical form of JSON (RFC 8785, JCS).
//!
//! Serde writes records in canonical form already, since their fields are declared in the order of their
//! names. `verify` runs [`check`] on every line of a log, in one pass and without an allocation.

/// The same depth as `serde_json`.
const DEPTH: u32 = 127;

/// Where and how bytes deviate from the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (byte {at} of it)")]
pub struct Fault {
    /// The offset.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Whether the bytes are one JSON value in canonical form.
pub fn check(bytes: &[u8]) -> Result<(), Fault> {
    let mut scanner = Scanner::new(bytes)?;
    scanner.value(DEPTH)?;
    scanner.end()
}

/// Checks an object, and passes on its names (without quotes) and values as written.
pub(super) fn members<'a>(
    bytes: &'a [u8],
    mut found: impl FnMut(&'a [u8], &'a [u8]),
) -> Result<(), Fault> {
    let mut scanner = Scanner::new(bytes)?;
    if scanner.peek() != Some(b'{') {
        return Err(scanner.fault("there should be an object"));
    }
    scanner.object(DEPTH, &mut found)?;
    scanner.end()
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Bytes that end a run of ordinary bytes in a string: the quote, escapes, control characters, non-ASCII.
const SPECIAL: [bool; 256] = {
    let mut special = [true; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        special[byte] = byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    special
};

impl<'a> Scanner<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(Self { bytes, at: 0 }),
            Err(error) => Err(Fault {
                at: error.valid_up_to(),
                what: "what is there is not UTF-8",
            }),
        }
    }

    fn end(&self) -> Result<(), Fault> {
        match self.at == self.bytes.len() {
            true => Ok(()),
            false => Err(self.fault("there is more after the end of the value")),
        }
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn value(&mut self, depth: u32) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{' | b'[') if depth == 0 => Err(self.fault("it is nested too deeply")),
            Some(b'{') => self.object(depth, &mut |_, _| ()),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(|_| ()),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b' ' | b'\t' | b'\n' | b'\r') => Err(self.fault("there is white space")),
            Some(_) => Err(self.fault("no value begins like that")),
            None => Err(self.fault("it ends before the value does")),
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.fault("no value begins like that"));
        }
        self.at += word.len();
        Ok(())
    }

    fn object(
        &mut self,
        depth: u32,
        found: &mut impl FnMut(&'a [u8], &'a [u8]),
    ) -> Result<(), Fault> {
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut before: Option<MemberName<'a>> = None;
        loop {
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.fault("there should be a name"));
            }
            let key = self.string()?;
            if before.is_some_and(|before| !before.less(key)) {
                return Err(Fault {
                    at: start,
                    what: "a name is there twice, or out of order",
                });
            }
            before = Some(key);
            if self.peek() != Some(b':') {
                return Err(self.fault("there should be a `:`"));
            }
            self.at += 1;
            let value = self.at;
            self.value(depth - 1)?;
            found(key.text, &self.bytes[value..self.at]);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.fault("there should be a `,` or a `}`")),
            }
        }
    }

    fn array(&mut self, depth: u32) -> Result<(), Fault> {
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth - 1)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.fault("there should be a `,` or a `]`")),
            }
        }
    }

    /// A string: only what must be escaped is, in the one permitted way.
    fn string(&mut self) -> Result<MemberName<'a>, Fault> {
        let start = self.at + 1;
        self.at = start;
        let mut plain = true;
        loop {
            let rest = &self.bytes[self.at..];
            let ordinary = rest.iter().position(|byte| SPECIAL[usize::from(*byte)]);
            self.at += ordinary.unwrap_or(rest.len());
            match self.peek() {
                Some(b'"') => {
                    let text = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok(MemberName { text, plain });
                }
                Some(b'\\') => {
                    plain = false;
                    self.escape()?;
                }
                Some(0..0x20) => return Err(self.fault("a control character is not escaped")),
                Some(_) => {
                    plain = false;
                    self.at += 1;
                }
                None => return Err(self.fault("it ends within a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let rest = &self.bytes[self.at + 1..];
        let length = match rest {
            [b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r', ..] => 2,
            // Other control characters; \b \t \n \f \r are 8, 9, a, c, d.
            [b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..] => 6,
            [b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => 6,
            _ => return Err(self.fault("something is escaped that need not be, or otherwise")),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        let text = &self.bytes[start..self.at];
        // A whole number of up to 15 digits needs no further check.
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let right = match digits {
            b"0" => text == b"0",
            [b'1'..=b'9', more @ ..] if more.len() < 15 && more.iter().all(u8::is_ascii_digit) => {
                true
            }
            _ => as_ecmascript(text),
        };
        match right {
            true => Ok(()),
            false => Err(Fault {
                at: start,
                what: "a number is not written as ECMAScript writes it",
            }),
        }
    }
}

/// Whether a number is written as ECMAScript writes it (RFC 8785, section 3.2.2.3).
fn as_ecmascript(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    serde_json_canonicalizer::pipe(text).is_ok_and(|written| written == text)
}

/// A name, as written.
#[derive(Clone, Copy)]
struct MemberName<'a> {
    text: &'a [u8],
    /// ASCII without escapes.
    plain: bool,
}

impl MemberName<'_> {
    /// The order of UTF-16 code units (RFC 8785, section 3.2.3).
    fn less(self, other: MemberName<'_>) -> bool {
        match self.plain && other.plain {
            true => self.text < other.text,
            false => self.units() < other.units(),
        }
    }

    fn units(self) -> Vec<u16> {
        let quoted = [b"\"", self.text, b"\""].concat();
        let text: String = serde_json::from_slice(&quoted).unwrap_or_default();
        text.encode_utf16().collect()
    }
}
