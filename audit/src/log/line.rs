//! A line of a log: `{"hash":"...","record":{...}}`, with the hash of the record's bytes.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::rest::{self, OwnDecision, OwnDetail, OwnRequest, Parts, Repeated};
use super::{Error, canonical};
use crate::event::{Event, EventType, Record, VERSION};
use aegis_profile::hash::Hash;

const HEAD: &[u8] = b"{\"hash\":\"";
const MIDDLE: &[u8] = b"\",\"record\":";
const DIGITS: usize = 64;
/// The length of a line without its record.
const FRAME: usize = HEAD.len() + DIGITS + MIDDLE.len() + 1;
/// The longest line, without its line feed; the rest of a longer one is not read.
pub const MAX_LINE: usize = 16 << 20;

/// A place in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file's name.
    pub segment: Arc<str>,
    /// The line in it, from 1.
    pub line: u64,
    /// The offset in the file at which the line begins, from 0.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment,
            line,
            offset,
        } = self;
        write!(f, "{segment}, line {line} (from byte {offset})")
    }
}

/// A line whose outer form is right. Its content is not checked yet.
pub struct Line<'a> {
    /// Its place.
    pub place: Place,
    /// The record's hash, as the line has it.
    pub hash: Hash,
    /// The record's canonical bytes, as they are in the line.
    pub record: &'a [u8],
    /// Where the rest of it may be.
    pub(super) repeated: &'a Repeated,
}

impl<'a> Line<'a> {
    /// The record, if its hash is the one in the line.
    pub fn record(&self) -> Result<Record, Error> {
        serde_json::from_slice(&self.whole()?)
            .map_err(|error| self.bad(format!("no record: {error}")))
    }

    /// The canonical bytes of the whole record, with what it refers to, if its hash is the one in the line.
    pub fn whole(&self) -> Result<Cow<'a, [u8]>, Error> {
        if Hash::of(self.record) != self.hash {
            return Err(self.bad(WRONG_HASH.into()));
        }
        (self.repeated.whole(self.record)).map_err(|what| self.bad(what))
    }

    /// What the line refers to, with its hash: a line for a stream, before those that refer to it.
    pub fn repeated(&self) -> Result<Option<(Hash, String)>, Error> {
        let Some(hash) = rest::referred(self.record) else {
            return Ok(None);
        };
        let bytes = self.repeated.get(hash).map_err(|what| self.bad(what))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| self.bad(error.to_string()))?;
        Ok(Some((
            hash,
            format!("{{\"hash\":\"{hash}\",\"repeated\":{text}}}\n"),
        )))
    }

    /// How much of the log it takes, with its line feed.
    pub(super) fn length(&self) -> u64 {
        (FRAME + self.record.len() + 1) as u64
    }

    pub(super) fn bad(&self, what: String) -> Error {
        Error::BadLine {
            place: self.place.clone(),
            what,
        }
    }
}

pub(super) const WRONG_HASH: &str = "the hash is not that of the record: one of them was changed";
pub(super) const NO_LINE: &str =
    "this is not a line of a log: {\"hash\":\"64 hex digits\",\"record\":{...}}";

/// Splits a line, without its line feed, into hash and record.
pub(super) fn split(line: &[u8]) -> Option<(Hash, &[u8])> {
    split_at(line, MIDDLE)
}

/// Splits a line of a stream that holds what records refer to.
pub(super) fn split_repeated(line: &[u8]) -> Option<(Hash, &[u8])> {
    split_at(line, b"\",\"repeated\":")
}

fn split_at<'l>(line: &'l [u8], middle: &[u8]) -> Option<(Hash, &'l [u8])> {
    let rest = line.strip_prefix(HEAD)?;
    let (digits, rest) = rest.split_at_checked(DIGITS)?;
    let record = rest.strip_prefix(middle)?.strip_suffix(b"}")?;
    let hash = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((hash, record))
}

/// The same, and checks that the hash is that of the record.
pub(super) fn checked(line: &[u8]) -> Result<(Hash, &[u8]), &'static str> {
    let (hash, record) = split(line).ok_or(NO_LINE)?;
    match Hash::of(record) == hash {
        true => Ok((hash, record)),
        false => Err(WRONG_HASH),
    }
}

/// The fields of a record that form the chain. The others are only checked for their form and skipped,
/// which is several times as fast as reading them.
pub(super) struct Link<'a> {
    /// 64 hex digits.
    pub prev: &'a [u8],
    /// The run, as written.
    pub run: &'a [u8],
    pub seq: u64,
    pub kind: EventType,
    /// What the record refers to.
    pub rest: Option<Hash>,
}

impl<'a> Link<'a> {
    /// Reads a record in canonical form. An error says in words what is wrong with it.
    pub fn read(record: &'a [u8]) -> Result<Self, String> {
        let (mut prev, mut rest, mut run, mut time) = (None, None, None, None);
        let (mut seq, mut kind, mut version) = (None, None, None);
        let mut wrong = None;
        canonical::members(record, |name, value| match name {
            b"decision" | b"request" if value.starts_with(b"{") => {}
            b"detail" if value != b"null" => {}
            b"policy" if digits(value).is_some() => {}
            b"prev" => prev = digits(value),
            b"rest" if digits(value).is_some() => rest = digits(value),
            b"run" => run = text(value),
            b"seq" => seq = number(value),
            b"time" => time = text(value),
            b"type" => kind = serde_json::from_slice(value).ok(),
            b"v" => version = number(value),
            _ => wrong = Some(name),
        })
        .map_err(|fault| format!("the record is not in canonical form: {fault}"))?;
        if let Some(name) = wrong {
            let name = String::from_utf8_lossy(name);
            return Err(format!("no record has `{name}` in this form"));
        }
        match version {
            Some(v) if v == u64::from(VERSION) => {}
            Some(v) => {
                return Err(format!(
                    "its version is {v}, and this program knows version {VERSION} only"
                ));
            }
            None => return Err("it has no version".into()),
        }
        let rest = rest.and_then(|rest| std::str::from_utf8(rest).ok()?.parse().ok());
        match (prev, run, seq, time, kind) {
            (Some(prev), Some(run), Some(seq), Some(_), Some(kind)) => Ok(Self {
                prev,
                run,
                seq,
                kind,
                rest,
            }),
            _ => Err("it lacks something that every record has".into()),
        }
    }

    /// Whether it follows the record with that hash.
    pub fn follows(&self, hash: &Hash) -> bool {
        self.prev == hash.hex()
    }
}

/// The text within a string's quotes.
fn text(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn digits(value: &[u8]) -> Option<&[u8]> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text(value).filter(|text| text.len() == DIGITS && text.iter().all(is_digit))
}

fn number(value: &[u8]) -> Option<u64> {
    // Canonical: only digits, no sign, no leading zero.
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// A [`Record`] that borrows everything, for writing.
#[derive(Serialize)]
struct RecordRef<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<OwnDecision<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<OwnDetail<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Hash>,
    prev: Hash,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<OwnRequest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<Hash>,
    run: &'a str,
    seq: u64,
    time: &'a str,
    #[serde(rename = "type")]
    kind: EventType,
    v: u32,
}

/// The place in the chain of a record to be written.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub seq: u64,
    pub prev: Hash,
    pub time: &'a str,
}

/// Appends the canonical bytes of a record to `out`. Returns what it refers to.
pub(super) fn write_record(
    out: &mut Vec<u8>,
    event: &Event,
    at: At<'_>,
) -> Result<Option<Repeating>, Error> {
    let Parts { own, rest } = Parts::of(event);
    let no_form = |_| Error::BadEvent("it has no JSON form");
    let rest = rest.map(|rest| serde_json::to_vec(&rest).map_err(no_form));
    let rest = rest.transpose()?.map(Repeating::new);
    if rest
        .as_ref()
        .is_some_and(|rest| rest.bytes.len() > MAX_LINE)
    {
        return Err(Error::BadEvent("it is longer than 16 MiB"));
    }
    let record = RecordRef {
        decision: own.decision,
        detail: own.detail,
        policy: own.policy,
        prev: at.prev,
        request: own.request,
        rest: rest.as_ref().map(|rest| rest.hash),
        run: &event.run,
        seq: at.seq,
        time: at.time,
        kind: event.kind,
        v: VERSION,
    };
    serde_json::to_writer(out, &record).map_err(no_form)?;
    Ok(rest)
}

/// What a record refers to, to be stored before it is written.
pub(super) struct Repeating {
    pub hash: Hash,
    pub bytes: Vec<u8>,
}

impl Repeating {
    fn new(bytes: Vec<u8>) -> Self {
        let hash = Hash::of(&bytes);
        Self { hash, bytes }
    }
}

/// Appends a whole line to `out`. Returns the record's hash and what it refers to; after an error `out` is as before.
pub(super) fn write_line(
    out: &mut Vec<u8>,
    event: &Event,
    at: At<'_>,
) -> Result<(Hash, Option<Repeating>), Error> {
    let start = out.len();
    out.extend_from_slice(HEAD);
    out.extend_from_slice(&[b'0'; DIGITS]);
    out.extend_from_slice(MIDDLE);
    let record = out.len();
    let written = write_record(out, event, at);
    let rest = match written {
        Ok(rest) => rest,
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    };
    if out.len() - record + FRAME > MAX_LINE {
        out.truncate(start);
        return Err(Error::BadEvent("it is longer than 16 MiB"));
    }
    let hash = Hash::of(&out[record..]);
    let digits = start + HEAD.len();
    out[digits..digits + DIGITS].copy_from_slice(&hash.hex());
    out.extend_from_slice(b"}\n");
    Ok((hash, rest))
}
