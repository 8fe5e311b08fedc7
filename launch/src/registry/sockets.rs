//! Sockets by the tables of `/proc/PID/net` (`proc_pid_net(5)`). In a sandbox that has the host's network they are the
//! host's; shown are those that a process inside has open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use aegis_sys::proc::Process;
use serde::Serialize;

use super::Opened;

/// How much of each table is read.
const MOST: usize = 16 << 20;

/// Sockets of one kind, state and address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Socket {
    /// `tcp`, `udp`, `raw`, `unix`.
    pub protocol: &'static str,
    /// `listening`, `connected`, `unconnected` or what else TCP has.
    pub state: &'static str,
    /// Its own address: of a Unix socket its path, or its abstract name with an `@`. `None`: it has none.
    pub local: Option<String>,
    /// The address of the other end. `None`: it has none, or the kernel does not tell.
    pub remote: Option<String>,
    /// How many there are.
    pub count: u64,
    /// Of which processes, by their numbers outside: the first few.
    pub pids: BTreeSet<i32>,
}

/// What a line of a table says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    protocol: &'static str,
    state: &'static str,
    local: Option<String>,
    remote: Option<String>,
}

/// Takes the sockets out of what is open, as far as the tables of the process's network have them.
pub(super) fn of(process: &Process, open: &mut BTreeMap<Vec<u8>, Opened>) -> Vec<Socket> {
    let inode = |what: &[u8]| -> Option<u64> {
        let number = what.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    let wanted: BTreeSet<u64> = open.keys().filter_map(|what| inode(what)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut rows: BTreeMap<u64, Option<Row>> = BTreeMap::new();
    for (file, read) in [
        ("net/tcp", Table::Internet("tcp")),
        ("net/tcp6", Table::Internet("tcp")),
        ("net/udp", Table::Internet("udp")),
        ("net/udp6", Table::Internet("udp")),
        ("net/raw", Table::Internet("raw")),
        ("net/raw6", Table::Internet("raw")),
        ("net/unix", Table::Unix),
    ] {
        let (text, _) = process.read(file, MOST).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut last = 0;
        for line in text.lines().skip(1) {
            let Some((inode, row)) = read.line(line) else {
                // The rest of a name with a line break in it.
                if let Some(Some(Row {
                    local: Some(name), ..
                })) = rows.get_mut(&last)
                {
                    *name += "\n";
                    *name += line;
                }
                continue;
            };
            last = inode;
            if wanted.contains(&inode) {
                // The kernel has each socket once. A second line with its number was put there by a name with a line break
                // in it: then nothing is known.
                let said = rows.entry(inode).or_insert_with(|| Some(row.clone()));
                if said.as_ref() != Some(&row) {
                    *said = None;
                }
            }
        }
    }
    let mut sockets: BTreeMap<Row, Socket> = BTreeMap::new();
    for (inode, row) in rows {
        let Some(row) = row else { continue };
        let Some(opened) = open.remove(format!("socket:[{inode}]").as_bytes()) else {
            continue;
        };
        let socket = sockets.entry(row).or_insert_with_key(|row| Socket {
            protocol: row.protocol,
            state: row.state,
            local: row.local.clone(),
            remote: row.remote.clone(),
            count: 0,
            pids: BTreeSet::new(),
        });
        socket.count += 1;
        socket.pids.extend(opened.pids);
    }
    sockets.into_values().collect()
}

/// A form of table.
#[derive(Clone, Copy)]
enum Table {
    Internet(&'static str),
    Unix,
}

impl Table {
    /// An inode, and what the line says of it.
    fn line(self, line: &str) -> Option<(u64, Row)> {
        match self {
            Self::Internet(protocol) => {
                let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
                let state = u8::from_str_radix(fields.get(3)?, 16).ok()?;
                let [local, remote] = [address(fields.get(1)?)?, address(fields.get(2)?)?];
                let row = Row {
                    protocol,
                    state: internet_state(protocol, state),
                    local: Some(local.to_string()),
                    remote: (remote.port() != 0 || !remote.ip().is_unspecified())
                        .then(|| remote.to_string()),
                };
                Some((fields.get(9)?.parse().ok()?, row))
            }
            Self::Unix => {
                let fields: Vec<&str> = line.splitn(7, ' ').collect();
                let (flags, state) = (*fields.get(3)?, *fields.get(5)?);
                // The inode is padded on the left.
                let rest = fields.get(6)?.trim_start();
                let (inode, name) = rest.split_once(' ').unwrap_or((rest, ""));
                // `__SO_ACCEPTCON`, and `SS_CONNECTED` of linux/net.h.
                let state = match (flags, state) {
                    ("00010000", _) => "listening",
                    (_, "03") => "connected",
                    _ => "unconnected",
                };
                let row = Row {
                    protocol: "unix",
                    state,
                    local: Some(name.to_owned()).filter(|name| !name.is_empty()),
                    remote: None,
                };
                Some((inode.parse().ok()?, row))
            }
        }
    }
}

/// By the number in `net/tcp_states.h`.
fn internet_state(protocol: &str, number: u8) -> &'static str {
    match (protocol, number) {
        (_, 1) => "connected",
        ("tcp", 2) => "connecting",
        ("tcp", 3 | 12) => "being connected",
        ("tcp", 4..=6 | 8 | 9 | 11) => "closing",
        ("tcp", 10) => "listening",
        _ => "unconnected",
    }
}

/// An address in hexadecimal digits: words of 32 bits as they are in memory, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = words.get(8 * at..8 * at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match words.len() {
        8 => Some(SocketAddr::from((Ipv4Addr::from(word(0)?), port))),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[4 * at..4 * at + 4].copy_from_slice(&word(at)?);
            }
            Some(SocketAddr::from((Ipv6Addr::from(bytes), port)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernels_tables_are_read() {
        let tcp = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 27105 1 0000000000000000 100 0 0 10 0";
        let (inode, row) = Table::Internet("tcp").line(tcp).unwrap();
        // On a machine of the other order the kernel writes the other digits.
        assert_eq!(inode, 27_105);
        assert_eq!(row.state, "listening");
        assert_eq!(row.local.as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(row.remote, None);
        let six = "  1: 00000000000000000000000001000000:0035 00000000000000000000000001000000:D431 01 0:0 0:0 0 0 0 7 1";
        let (_, row) = Table::Internet("udp").line(six).unwrap();
        assert_eq!(row.local.as_deref(), Some("[::1]:53"));
        assert_eq!(row.remote.as_deref(), Some("[::1]:54321"));
        assert_eq!(row.state, "connected");
        let unix = "0000000000000000: 00000002 00000000 00010000 0001 01    41 /run/a b";
        let (inode, row) = Table::Unix.line(unix).unwrap();
        assert_eq!((inode, row.state), (41, "listening"));
        assert_eq!(row.local.as_deref(), Some("/run/a b"));
        let unnamed = "0000000000000000: 00000003 00000000 00000000 0001 03 123456";
        let (inode, row) = Table::Unix.line(unnamed).unwrap();
        assert_eq!((inode, row.state, row.local), (123_456, "connected", None));
        for broken in ["", "a", ": : :", "0: 1 2 3 4 5 x", "  sl  local_address"] {
            assert_eq!(Table::Unix.line(broken), None, "{broken}");
            assert_eq!(Table::Internet("tcp").line(broken), None, "{broken}");
        }
    }
}
