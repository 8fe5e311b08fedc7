//! What the arguments of a waiting call point to, read from the caller. All of it is the caller's word: another of its
//! threads may change the memory, or what a descriptor stands for, before the kernel looks itself.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use aegis_observation::{End, Text, absolute};
use aegis_sys::notify::{self, Call};
use rustix::net::{AddressFamily, SocketAddrAny, getsockname, sockopt};

use crate::seccomp::NotedPath;

/// `PATH_MAX`: what the kernel takes at most, the NUL with it.
const LONGEST: usize = libc::PATH_MAX as usize;

/// `sizeof(struct sockaddr_storage)`.
const LONGEST_ADDRESS: usize = 128;

/// As many messages of one `sendmmsg(2)` are looked at.
const MOST_MESSAGES: u64 = 64;

/// `sizeof(struct mmsghdr)`.
const MESSAGE: u64 = 64;

/// A path that a call names.
pub struct Asked {
    /// What it is relative to.
    base: PathBuf,
    /// The path as it was given; of one that is too long, as much as the kernel reads.
    text: PathBuf,
    /// It is longer than the kernel takes.
    pub too_long: bool,
}

impl Asked {
    /// As observations have it.
    pub fn absolute(&self) -> PathBuf {
        absolute(&self.base, &self.text)
    }

    /// As the kernel follows it, from the root.
    pub fn whole(&self) -> PathBuf {
        match self.is_empty() {
            true => self.base.clone(),
            false => self.base.join(&self.text),
        }
    }

    /// It is the directory itself, where a call takes that.
    pub fn is_empty(&self) -> bool {
        self.text.as_os_str().is_empty()
    }
}

/// The caller's memory, descriptor or directory cannot be read.
pub struct Unreadable;

/// Reads a path. `None`: there is none.
pub fn path(call: &Call, which: NotedPath) -> Result<Option<Asked>, Unreadable> {
    let address = call.data.args[usize::from(which.path)];
    if address == 0 {
        return Ok(None);
    }
    let mut text = vec![0; LONGEST];
    let got = notify::read_memory(call.pid, address, &mut text).map_err(|_| Unreadable)?;
    text.truncate(got);
    let end = text.iter().position(|byte| *byte == 0);
    let too_long = end.is_none();
    if too_long && got < LONGEST {
        return Err(Unreadable);
    }
    text.truncate(end.unwrap_or(LONGEST - 1));
    let text = PathBuf::from(OsString::from_vec(text));
    let directory = which
        .directory
        .map(|directory| call.data.args[usize::from(directory)] as i32);
    let base = match directory {
        _ if text.is_absolute() => PathBuf::from("/"),
        None | Some(libc::AT_FDCWD) => place(call, "cwd")?,
        Some(fd) => place(call, &format!("fd/{fd}"))?,
    };
    Ok(Some(Asked {
        base,
        text,
        too_long,
    }))
}

/// The path of the caller's working directory, or of one of its descriptors, as the sandbox's root has it.
fn place(call: &Call, link: &str) -> Result<PathBuf, Unreadable> {
    let link = format!("/proc/{}/{link}", call.pid);
    let text = rustix::fs::readlink(&link, Vec::new()).map_err(|_| Unreadable)?;
    let mut text = text.into_bytes();
    const DELETED: &[u8] = b" (deleted)";
    let is_gone = || rustix::fs::stat(&link).is_ok_and(|stat| stat.st_nlink == 0);
    if text.ends_with(DELETED) && is_gone() {
        text.truncate(text.len() - DELETED.len());
    }
    let path = PathBuf::from(OsString::from_vec(text));
    path.is_absolute().then_some(path).ok_or(Unreadable)
}

/// The address at a place of the caller's memory. `None`: none, or of a family that is not noted.
pub fn address(call: &Call, address: u64, length: u64) -> Result<Option<End>, Unreadable> {
    if address == 0 || length as u32 == 0 {
        return Ok(None);
    }
    let mut bytes = [0; LONGEST_ADDRESS];
    let bytes = &mut bytes[..LONGEST_ADDRESS.min(length as u32 as usize)];
    let got = notify::read_memory(call.pid, address, bytes).map_err(|_| Unreadable)?;
    if got < bytes.len() {
        return Err(Unreadable);
    }
    end(bytes, call)
}

fn end(bytes: &[u8], call: &Call) -> Result<Option<End>, Unreadable> {
    match bytes.split_first_chunk::<2>() {
        Some((family, name)) if u16::from_ne_bytes(*family) == AddressFamily::UNIX.as_raw() => {
            unix(name, call)
        }
        _ => Ok(internet(bytes).map(End::Internet)),
    }
}

/// An address of the Internet families. `None`: it is none.
pub fn internet(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let family = AddressFamily::from_raw(u16::from_ne_bytes(*family));
    let port = u16::from_be_bytes(*rest.first_chunk()?);
    let octets = |at: usize| rest.get(at..);
    let address = match family {
        AddressFamily::INET => octets(2)
            .and_then(<[u8]>::first_chunk::<4>)
            .map(|octets| Ipv4Addr::from(*octets).into()),
        AddressFamily::INET6 => octets(6)
            .and_then(<[u8]>::first_chunk::<16>)
            .map(|octets| Ipv6Addr::from(*octets).into()),
        _ => None,
    };
    Some(SocketAddr::new(address?, port))
}

/// Of the name of a Unix socket.
fn unix(name: &[u8], call: &Call) -> Result<Option<End>, Unreadable> {
    Ok(match name {
        // The kernel chooses one.
        [] => None,
        [0, name @ ..] => Some(End::Abstract(Text::from(OsStr::from_bytes(name)))),
        name => {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = Path::new(OsStr::from_bytes(name));
            let base = match name.is_absolute() {
                true => PathBuf::from("/"),
                false => place(call, "cwd")?,
            };
            Some(End::Path(Text::from(&absolute(&base, name))))
        }
    })
}

/// The addresses that messages are sent to: `count` times `struct mmsghdr`, or one `struct msghdr`, which that begins with.
pub fn destinations(call: &Call, count: u64) -> Result<Vec<End>, Unreadable> {
    let mut ends = Vec::new();
    for message in 0..count.min(MOST_MESSAGES) {
        let mut header = [0; 12];
        let place = call.data.args[1].wrapping_add(message * MESSAGE);
        let got = notify::read_memory(call.pid, place, &mut header).map_err(|_| Unreadable)?;
        if got < header.len() {
            return Err(Unreadable);
        }
        let (name, length) = header.split_at(8);
        let name = name.try_into().map_or(0, u64::from_ne_bytes);
        let length = length.try_into().map_or(0, u32::from_ne_bytes);
        ends.extend(address(call, name, length.into())?);
    }
    Ok(ends)
}

/// The type of one of the caller's sockets; 0: not known.
pub fn kind(call: &Call) -> u16 {
    let socket = notify::take_descriptor(call, call.data.args[0] as i32);
    let kind = socket.and_then(|socket| Ok(sockopt::socket_type(socket)?));
    kind.map_or(0, |kind| kind.as_raw() as u16)
}

/// The address that one of the caller's sockets is bound to.
pub fn bound(call: &Call) -> Result<Option<End>, Unreadable> {
    let socket = notify::take_descriptor(call, call.data.args[0] as i32).map_err(|_| Unreadable)?;
    let address: SocketAddrAny = getsockname(&socket).map_err(|_| Unreadable)?;
    if let Ok(address) = SocketAddr::try_from(address.clone()) {
        return Ok(Some(End::Internet(address)));
    }
    let Ok(address) = rustix::net::SocketAddrUnix::try_from(address) else {
        return Ok(None);
    };
    match (address.path_bytes(), address.abstract_name()) {
        (Some(path), _) => unix(path, call),
        (None, Some(name)) => Ok(Some(End::Abstract(Text::from(OsStr::from_bytes(name))))),
        (None, None) => Ok(None),
    }
}
