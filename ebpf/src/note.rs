//! What the probes send, decoded. The layouts are those of `probes/notes.h`; every length is checked.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aegis_observation::absolute;

/// What a note is about: `CALL_*` and `NOTE_*`.
pub(crate) mod kind {
    pub const PATH: u8 = 1;
    pub const OPEN: u8 = 2;
    pub const SOCKET: u8 = 3;
    pub const LISTEN: u8 = 4;
    pub const BIND: u8 = 5;
    pub const CONNECT: u8 = 6;
    pub const SEND: u8 = 7;
    /// Noted as [`SEND`].
    pub const SEND_MESSAGE: u8 = 8;
    pub const EXECUTED: u8 = 9;
    /// By the hook of BPF LSM, without what was asked for.
    pub const OPENED: u8 = 10;
}

/// The length of `struct note` before its data.
const HEADER: usize = 88;

const TRUNCATED: u16 = 1;
const UNREADABLE: u16 = 2;
const DELETED: u16 = 4;
const BASE_IN_PATH: u16 = 8;
const REFUSED: u16 = 16;

/// One thing that a sandbox did, seen for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The place of the sandbox among those observed.
    pub slot: u32,
    /// What it is about.
    pub(crate) kind: u8,
    /// The number of the system call.
    pub call: u32,
    /// What the call returned.
    pub result: i64,
    /// The process, in the first pid namespace.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// When, in nanoseconds since boot.
    pub time: u64,
    /// `fmode_t` of an opened file; of a socket its type.
    pub access: u32,
    /// The inode, or the protocol of a socket.
    pub inode: u64,
    /// The mode of the inode.
    pub mode: u16,
    /// What was asked for, absolute.
    pub asked: Option<PathBuf>,
    /// A Unix socket's abstract name.
    pub name: Option<Vec<u8>>,
    /// What the kernel opened.
    pub path: Option<PathBuf>,
    /// An address of the Internet families.
    pub address: Option<SocketAddr>,
    /// A path was cut off.
    pub truncated: bool,
    /// A path could not be read.
    pub unreadable: bool,
    /// The file had no name any more.
    pub deleted: bool,
    /// It was refused, since the sandbox is guarded.
    pub refused: bool,
}

/// Fields at their offsets. `None`: the bytes end before.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_ne_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_ne_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_ne_bytes)
    }
}

/// Decodes a note. `None`: it has not the form that the probes give it.
pub fn decode(bytes: &[u8]) -> Option<Note> {
    let (from, data) = (Bytes(bytes), bytes.get(HEADER..)?);
    let kind = u8::try_from(from.u16(4)?).ok()?;
    let mut data = data.get(..from.u32(52)? as usize)?;
    let mut part = |at: usize| -> Option<&[u8]> {
        let (part, rest) = data.split_at_checked(from.u32(at)? as usize)?;
        data = rest;
        Some(part)
    };
    let flags = from.u16(50)?;
    let (text, path) = (part(56)?, part(64)?);
    let base = match flags & BASE_IN_PATH {
        0 => part(60)?,
        _ => path.get(path.len().checked_sub(from.u32(60)? as usize)?..)?,
    };
    let address = || -> Option<SocketAddr> {
        let port = from.u16(70)?;
        let octets: [u8; 16] = from.array(72)?;
        match i32::from(from.u16(68)?) {
            libc::AF_INET => {
                let [a, b, c, d, ..] = octets;
                Some((Ipv4Addr::new(a, b, c, d), port).into())
            }
            libc::AF_INET6 => Some((Ipv6Addr::from(octets), port).into()),
            _ => None,
        }
    };
    let unix = from.u16(68)? == libc::AF_UNIX as u16
        && matches!(kind, kind::BIND | kind::CONNECT | kind::SEND);
    let (mut asked, mut name) = (None, None);
    match text {
        [] => {}
        [0, rest @ ..] if unix => name = Some(rest.strip_suffix(&[0]).unwrap_or(rest).to_vec()),
        text => {
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            asked = Some(absolute(
                &components(base),
                Path::new(OsStr::from_bytes(text)),
            ));
        }
    }
    Some(Note {
        slot: from.u32(0)?,
        kind,
        call: from.u16(6)?.into(),
        result: from.u64(8)? as i64,
        time: from.u64(16)?,
        pid: from.u32(24)?,
        parent: from.u32(28)?,
        inode: from.u64(32)?,
        access: from.u32(44)?,
        mode: from.u16(48)?,
        asked,
        name,
        path: (!path.is_empty()).then(|| components(path)),
        address: address(),
        truncated: flags & TRUNCATED != 0,
        unreadable: flags & UNREADABLE != 0,
        deleted: flags & DELETED != 0,
        refused: flags & REFUSED != 0,
    })
}

/// A path out of its names, last first, each with a NUL.
fn components(names: &[u8]) -> PathBuf {
    let names = names.strip_suffix(&[0]).unwrap_or(names);
    let mut path = PathBuf::from("/");
    for name in names.rsplit(|byte| *byte == 0) {
        // The name of a root is "/", and replaces nothing here.
        let name = name.strip_prefix(b"/").unwrap_or(name);
        path.push(OsStr::from_bytes(name));
    }
    path
}

/// What the probes keep of a sandbox: `struct sandbox`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub called: [Vec<u32>; 2],
    /// With EPERM, EACCES, ENOSYS.
    pub denied: [Vec<u32>; 3],
    pub had: Vec<u32>,
    pub lacked: Vec<u32>,
    pub signals_outside: Vec<u32>,
    pub executions: u64,
    pub forks: u64,
    pub most_tasks: u64,
    pub unsent: u64,
    pub lost: u64,
    pub sent: u64,
    /// The most in a second: files opened, processes and threads made, bytes sent.
    pub rates: [u64; 3],
}

/// The length of `struct sandbox`.
pub(crate) const COUNTERS: usize = 464;

impl Counters {
    /// Whether there is more to tell than was told before: anything new, or an eighth more of what is counted.
    pub fn is_news_after(&self, told: &Self) -> bool {
        let more = |now: u64, then: u64| now > then + then / 8;
        let sets = |counters: &Self| {
            let [native, compat] = &counters.called;
            let [perm, acces, nosys] = &counters.denied;
            let (had, lacked) = (&counters.had, &counters.lacked);
            let sets = [native, compat, perm, acces, nosys, had, lacked];
            let all = sets.into_iter().chain([&counters.signals_outside]);
            all.map(Vec::len).sum::<usize>()
        };
        // Sets only grow.
        sets(self) > sets(told)
            || more(self.executions, told.executions)
            || more(self.forks, told.forks)
            || more(self.most_tasks, told.most_tasks)
            || more(self.lost, told.lost)
            || more(self.unsent, told.unsent)
            || more(self.sent, told.sent)
            || (self.rates.iter().zip(told.rates)).any(|(now, then)| more(*now, then))
    }

    pub fn decode(bytes: &[u8; COUNTERS]) -> Option<Self> {
        let from = Bytes(bytes);
        let bits = |at: usize, words: usize| -> Option<Vec<u32>> {
            let mut numbers = Vec::new();
            for word in 0..words {
                let bits = from.u64(at + word * 8)?;
                numbers.extend(
                    (0..64)
                        .filter(|bit| bits >> bit & 1 == 1)
                        .map(|bit| word as u32 * 64 + bit),
                );
            }
            Some(numbers)
        };
        Some(Self {
            called: [bits(0, 8)?, bits(64, 8)?],
            denied: [bits(128, 8)?, bits(192, 8)?, bits(256, 8)?],
            had: bits(320, 1)?,
            lacked: bits(328, 1)?,
            signals_outside: bits(336, 1)?,
            executions: from.u64(344)?,
            forks: from.u64(352)?,
            most_tasks: from.u64(368)?,
            unsent: from.u64(384)?,
            lost: from.u64(392)?,
            sent: from.u64(400)?,
            rates: [from.u64(432)?, from.u64(440)?, from.u64(448)?],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A note with these parts of data.
    fn note(kind: u8, text: &[u8], base: &[u8], path: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        let mut put = |at: usize, value: usize| {
            bytes[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_ne_bytes());
        };
        put(4, kind.into());
        put(52, text.len() + base.len() + path.len());
        put(56, text.len());
        put(60, base.len());
        put(64, path.len());
        bytes.extend([text, path, base].concat());
        bytes
    }

    #[test]
    fn paths_are_put_together_from_names() {
        let path = |text: &[u8], base: &[u8], opened: &[u8]| {
            let note = decode(&note(kind::OPEN, text, base, opened)).unwrap();
            (note.asked.unwrap(), note.path)
        };
        assert_eq!(
            path(b"../c/./d\0", b"b\0a\0", b"file\0usr\0"),
            ("/a/c/d".into(), Some("/usr/file".into()))
        );
        assert_eq!(path(b"/x\0", b"", b"").0, Path::new("/x"));
        // The file lies below the directory that the text begins at.
        let mut shared = note(kind::OPEN, b"../b/f\0", b"", b"f\0b\0a\0");
        (shared[50], shared[60]) = (BASE_IN_PATH as u8, 4);
        let decoded = decode(&shared).unwrap();
        assert_eq!(decoded.asked.as_deref(), Some(Path::new("/a/b/f")));
        shared[60] = 7;
        assert_eq!(decode(&shared), None);
        // The directory itself, and the root of everything.
        assert_eq!(path(b"\0", b"b\0a\0", b"").0, Path::new("/a/b"));
        assert_eq!(path(b"..\0", b"/\0", b"").0, Path::new("/"));
    }

    #[test]
    fn an_abstract_name_is_no_path() {
        let mut bytes = note(kind::CONNECT, b"\0name\0", b"", b"");
        bytes[68] = libc::AF_UNIX as u8;
        let note = decode(&bytes).unwrap();
        assert_eq!(
            (note.name.as_deref(), note.asked),
            (Some(&b"name"[..]), None)
        );
    }

    #[test]
    fn no_length_leads_outside() {
        let whole = note(kind::OPEN, b"abc\0", b"b\0", b"p\0");
        assert!(decode(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(decode(&whole[..end]), None, "{end}");
        }
        for at in [52, 56, 60, 64] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
            assert_eq!(decode(&bytes), None, "{at}");
        }
    }
}
