//! From notes and counters to an [`Observation`].

use std::collections::BTreeSet;
use std::path::Path;

use aegis_observation::{
    Abi, Address, End, Executed, How, Kind, Named, Observation, Opened, Refused, RefusedCall,
    Socket, Text, error_name,
};

use crate::calls;
use crate::note::{Counters, Note, kind};

/// `FMODE_READ` and `FMODE_WRITE` of `linux/fs.h`.
const READ: u32 = 1;
const WRITE: u32 = 2;

/// The file that a note is about.
pub(crate) fn opened(note: &Note) -> Option<Opened> {
    // The root itself has no name.
    let root = || (!note.unreadable).then(|| Text::from("/"));
    let path = note.path.as_deref().map(Text::from).or_else(root)?;
    let asked = note.asked.as_deref().map(Text::from);
    Some(Opened {
        asked: asked.unwrap_or_else(|| path.clone()),
        path,
        kind: match u32::from(note.mode) & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFCHR | libc::S_IFBLK => Kind::Device,
            _ => Kind::Other,
        },
        read: note.access & READ != 0,
        write: note.access & WRITE != 0,
        deleted: note.deleted,
    })
}

/// Adds what only the hook has seen opened: of the rest it is known what was asked for.
pub(crate) fn add_hooked(observation: &mut Observation, hooked: BTreeSet<Opened>) {
    let of = |opened: &Opened| Opened {
        asked: opened.path.clone(),
        ..opened.clone()
    };
    let known: BTreeSet<Opened> = observation.opened.iter().map(of).collect();
    (observation.opened).extend(hooked.difference(&known).cloned());
}

/// Puts a note where it belongs.
pub(crate) fn add(observation: &mut Observation, note: Note) {
    observation.losses.truncated += u64::from(note.truncated);
    observation.losses.unreadable += u64::from(note.unreadable);
    let text = |path: Option<&Path>| path.map(Text::from);
    let error = i32::try_from(-note.result).ok().filter(|error| *error > 0);
    let (asked, path) = (text(note.asked.as_deref()), text(note.path.as_deref()));
    match note.kind {
        kind::EXECUTED => {
            if let Some(path) = path {
                let asked = asked.unwrap_or_else(|| path.clone());
                let executed = Executed { asked, path };
                match note.refused {
                    true => drop(observation.refused.insert(Refused::Executed(executed))),
                    false => drop(observation.executed.insert(executed)),
                }
            }
        }
        kind::OPENED => observation.opened.extend(opened(&note)),
        kind::OPEN if error.is_none() => observation.opened.extend(opened(&note)),
        kind::OPEN | kind::PATH => {
            if let Some(path) = asked {
                observation.named.insert(Named {
                    call: calls::name(note.call),
                    path,
                    error: error.map(error_name),
                });
            }
        }
        kind::SOCKET => {
            observation.sockets.insert(Socket {
                family: (note.access >> 16) as u16,
                kind: note.access as u16,
                protocol: note.inode as u32,
                refused: error.is_some(),
            });
        }
        kind => {
            let how = match kind {
                kind::LISTEN => How::Listen,
                kind::BIND => How::Bind,
                kind::CONNECT => How::Connect,
                _ => How::Send,
            };
            let of = match (note.name, asked, note.address) {
                (Some(name), ..) => End::Abstract(Text::from(
                    <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&name),
                )),
                (None, Some(path), _) => End::Path(path),
                (None, None, Some(address)) => End::Internet(address),
                (None, None, None) => return,
            };
            let address = Address {
                how,
                of,
                kind: note.access as u16,
            };
            match note.refused {
                true => drop(observation.refused.insert(Refused::Address(address))),
                false => drop(observation.addresses.insert(address)),
            }
        }
    }
}

/// The names of capabilities, by number (`linux/capability.h`).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Adds what was counted. `sends`: whether bytes that are sent are.
pub(crate) fn count(observation: &mut Observation, counters: &Counters, sends: bool) {
    let names = |numbers: &[u32]| numbers.iter().map(|number| calls::name(*number)).collect();
    observation
        .calls
        .insert(Abi::Native, names(&counters.called[0]));
    if !counters.called[1].is_empty() {
        let numbers = counters.called[1].iter().map(u32::to_string).collect();
        observation.calls.insert(Abi::Compat, numbers);
    }
    for (numbers, error) in counters.denied.iter().zip(["EPERM", "EACCES", "ENOSYS"]) {
        observation
            .refused_calls
            .extend(numbers.iter().map(|number| RefusedCall {
                call: calls::name(*number),
                error: error.into(),
            }));
    }
    for (numbers, passed) in [(&counters.had, true), (&counters.lacked, false)] {
        for number in numbers {
            let name = match CAPABILITIES.get(*number as usize) {
                Some(name) => format!("CAP_{name}"),
                None => number.to_string(),
            };
            *observation.capabilities.entry(name).or_insert(true) &= passed;
        }
    }
    observation
        .signals_outside
        .extend(&counters.signals_outside);
    observation.counts.executions = counters.executions;
    observation.counts.forks = counters.forks;
    // The first of them was there before it executed anything.
    observation.counts.most_tasks = counters.most_tasks + 1;
    let [opened, forks, sent] = counters.rates;
    observation.counts.sent = sends.then_some(counters.sent);
    observation.counts.opened_in_a_second = Some(opened);
    observation.counts.forks_in_a_second = Some(forks);
    observation.counts.sent_in_a_second = sends.then_some(sent);
    observation.losses.dropped += counters.unsent + counters.lost;
}
