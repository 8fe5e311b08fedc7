//! What a command is seen to do by the listener: it is asked about calls before they happen, reads what they name, and lets
//! those go on that the filter allows. It observes and never decides: the kernel reads the arguments again, and another thread
//! may have changed them.

pub(super) mod caller;
mod lookup;
mod predict;

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use aegis_observation::{
    Abi, Address, End, Executed, How, Kind, MOST, MOST_BYTES, Named, Observation, Opened,
    RefusedCall, Socket, Text, error_name,
};
use aegis_sys::notify::{self, Call};
use aegis_sys::{capabilities, process};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::plan::Plan;
use crate::seccomp::{AT_EMPTY_PATH, Arch, NOTED, Noted, NotedCall};
use crate::types::Identity;
use caller::{Asked, Unreadable};
use lookup::Root;
use predict::{Effect, Rules};

/// What the listener cannot show.
const UNOBSERVED: [&str; 6] = [
    "which other system calls were made: `calls` has those that the listener is asked about",
    "what came of a call: its result is foreseen, before the call, and may be another",
    "stat of a file that is open already; sockets and calls that the filter refuses in silence",
    "processes and threads, and what is done and sent in a second: `forks` and `most-tasks` are 0, the others missing",
    "capabilities that the kernel checked for",
    "signals that were sent outside",
];

/// What is seen of a run.
pub(super) struct Observer {
    seen: Observation,
    /// How much of it is kept.
    things: usize,
    bytes: usize,
    /// The calls that are noted, by number.
    calls: Vec<Option<&'static NotedCall>>,
    rules: Rules,
    /// The sandbox's, once a process of its own was seen in it.
    root: Option<Root>,
    rights: Rights,
}

/// How this process has no more rights to files than the command, while it looks at them.
enum Rights {
    /// As another user, since this one is root, and all the time with that user's group.
    Other {
        user: u32,
        own: u32,
        /// This process's own group.
        group: u32,
    },
    /// All the time without the capabilities over files that it has in the sandbox's user namespace; whether it had any.
    Fewer(bool),
}

impl Rights {
    fn of(identity: &Identity) -> Self {
        if identity.switch {
            // The command has none either.
            let _ = rustix::thread::set_thread_groups(&[]);
            return Self::Other {
                user: identity.uid,
                own: rustix::process::geteuid().as_raw(),
                group: process::file_group(identity.gid),
            };
        }
        let less = capabilities::set_effective(capabilities::FILES, false);
        Self::Fewer(less.unwrap_or_default())
    }

    fn with<T>(&self, act: impl FnOnce() -> T) -> T {
        match self {
            Self::Other { user, own, .. } => process::with_file_user(*user, *own, act),
            Self::Fewer(_) => act(),
        }
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        match self {
            Self::Other { group, .. } => drop(process::file_group(*group)),
            Self::Fewer(false) => {}
            Self::Fewer(true) => process::keep_death_signal(|| {
                let _ = capabilities::set_effective(capabilities::FILES, true);
                // More capabilities gave our own /proc files to root.
                let _ = process::dumpable();
            }),
        }
    }
}

impl Observer {
    /// Observes a run from the first execution on.
    pub fn new(plan: &Plan) -> Self {
        let mut calls = Vec::new();
        for call in NOTED {
            if let Some(number) = Arch::native().number(call.name) {
                let number = number as usize;
                calls.resize(calls.len().max(number + 1), None);
                calls[number] = Some(call);
            }
        }
        let mut seen = Observation::default();
        seen.losses.unobserved = UNOBSERVED.map(str::to_owned).into();
        Self {
            seen,
            things: 0,
            bytes: 0,
            calls,
            rules: Rules::of(&plan.landlock),
            root: None,
            rights: Rights::of(&plan.identity),
        }
    }

    /// What was seen.
    pub fn finish(self) -> Observation {
        self.seen
    }

    /// The command itself was executed, by this process.
    pub fn started(&mut self, plan: &Plan, pid: i32) {
        let pid = pid as u32;
        self.count("execve");
        self.seen.counts.executions += 1;
        let path = self
            .inside(pid, |root, rules| {
                let lead = root.lookup(&plan.program, true, pid)?;
                rules.execute(root, lead, pid)
            })
            .unwrap_or_else(|_| plan.program.clone());
        self.executed(&plan.program, &path);
    }

    /// Notes a waiting call, which the filter alone would refuse with this error.
    pub fn look(&mut self, listener: BorrowedFd<'_>, call: &Call, refused: Option<i32>) {
        let Some(noted) = self.calls.get(call.data.nr as usize).copied().flatten() else {
            return;
        };
        let read = Read::of(noted, call);
        // From here on it is known that what was read was the caller's.
        if !notify::still_waits(listener, call) {
            return;
        }
        if refused.is_none() {
            self.count(noted.name);
        }
        match read {
            Ok(read) => self.note(noted, call, read, refused.map(Errno::from_raw_os_error)),
            Err(Unreadable) => self.seen.losses.unreadable += 1,
        }
    }

    /// A call was refused by the filter.
    pub fn refused(&mut self, call: &Call, errno: i32) {
        let number = call.data.nr as u32;
        let name = Arch::native().name(number);
        self.failed(name.unwrap_or(&number.to_string()), errno);
    }

    fn failed(&mut self, call: &str, errno: i32) {
        if matches!(errno, libc::EPERM | libc::EACCES | libc::ENOSYS) {
            self.seen.refused_calls.insert(RefusedCall {
                call: call.to_owned(),
                error: error_name(errno),
            });
        }
    }

    fn count(&mut self, name: &str) {
        let calls = self.seen.calls.entry(Abi::Native).or_default();
        if !calls.contains(name) {
            calls.insert(name.to_owned());
        }
    }

    fn note(&mut self, noted: &NotedCall, call: &Call, read: Read, refused: Option<Errno>) {
        match read {
            Read::Paths(paths) if noted.what == Noted::Path => {
                let flags = noted.flags.map_or(0, |flags| argument(call, flags));
                let mut error = refused;
                for (second, asked) in paths.iter().enumerate() {
                    let effect = Effect::of(noted.name, second == 1, call);
                    let follow = effect.follows(noted.name, flags);
                    error = error.or_else(|| self.error(asked, follow, effect, flags, call));
                }
                for asked in &paths {
                    self.named(noted.name, asked, error);
                }
            }
            Read::Paths(paths) => {
                if let [asked] = &*paths {
                    match noted.what {
                        Noted::Open => self.open(noted, asked, call, refused),
                        _ => self.execute(noted, asked, call, refused),
                    }
                }
            }
            Read::Ends(how, ends, kind) => {
                for of in ends {
                    let size = match &of {
                        End::Internet(_) => 0,
                        End::Path(name) | End::Abstract(name) => name.as_bytes().len(),
                    };
                    let address = Address { how, of, kind };
                    self.keep(|seen| &mut seen.addresses, address, size);
                }
            }
            Read::Socket => {
                let socket = Socket {
                    family: argument(call, 0) as u16,
                    // `SOCK_TYPE_MASK` of `linux/net.h`.
                    kind: (argument(call, 1) & 0xF) as u16,
                    protocol: argument(call, 2) as u32,
                    refused: refused.is_some(),
                };
                self.keep(|seen| &mut seen.sockets, socket, 0);
            }
        }
    }

    /// The error that a call which names this path will fail with.
    fn error(
        &mut self,
        asked: &Asked,
        follow: bool,
        effect: Effect,
        flags: u64,
        call: &Call,
    ) -> Option<Errno> {
        if asked.is_empty() && flags & AT_EMPTY_PATH == 0 {
            return Some(Errno::NOENT);
        }
        if asked.too_long {
            return Some(Errno::NAMETOOLONG);
        }
        let whole = asked.whole();
        let checked = self.inside(call.pid, |root, rules| {
            let lead = root.lookup(&whole, follow, call.pid)?;
            Ok(rules.error(root, lead, effect, call.pid))
        });
        match checked {
            Ok(error) => error,
            Err(error) => Some(error),
        }
    }

    fn open(&mut self, noted: &NotedCall, asked: &Asked, call: &Call, refused: Option<Errno>) {
        let flags = match noted.name {
            "creat" => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
            "open" => OFlags::from_bits_retain(argument(call, 1) as u32),
            _ => OFlags::from_bits_retain(argument(call, 2) as u32),
        };
        let exclusive = OFlags::CREATE | OFlags::EXCL;
        let follow = !flags.contains(OFlags::NOFOLLOW) && !flags.contains(exclusive);
        let opens = match self.whole(asked, 0, refused) {
            Ok(whole) => self.inside(call.pid, |root, rules| {
                rules.open(root.lookup(&whole, follow, call.pid)?, flags)
            }),
            Err(error) => Err(error),
        };
        let opens = match opens {
            Ok(opens) => opens,
            Err(error) => return self.named(noted.name, asked, Some(error)),
        };
        let mode = flags & OFlags::ACCMODE;
        let location = flags.contains(OFlags::PATH);
        let opened = Opened {
            asked: Text::from(&asked.absolute()),
            path: Text::from(&opens.path),
            kind: match opens.kind {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                FileType::CharacterDevice | FileType::BlockDevice => Kind::Device,
                _ => Kind::Other,
            },
            read: !location && mode != OFlags::WRONLY,
            write: !location && mode != OFlags::RDONLY,
            deleted: opens.deleted,
        };
        let size = opened.asked.as_bytes().len() + opened.path.as_bytes().len();
        self.keep(|seen| &mut seen.opened, opened, size);
    }

    fn execute(&mut self, noted: &NotedCall, asked: &Asked, call: &Call, refused: Option<Errno>) {
        let flags = noted.flags.map_or(0, |flags| argument(call, flags));
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW as u64 == 0;
        let path = match self.whole(asked, flags, refused) {
            Ok(whole) => self.inside(call.pid, |root, rules| {
                rules.execute(root, root.lookup(&whole, follow, call.pid)?, call.pid)
            }),
            Err(error) => Err(error),
        };
        match path {
            Ok(path) => {
                self.seen.counts.executions += 1;
                self.executed(&asked.absolute(), &path);
            }
            Err(error) => self.named(noted.name, asked, Some(error)),
        }
    }

    /// The path from the root, unless it is known already what the call fails with.
    fn whole(&self, asked: &Asked, flags: u64, refused: Option<Errno>) -> Result<PathBuf, Errno> {
        match refused {
            Some(error) => Err(error),
            None if asked.is_empty() && flags & AT_EMPTY_PATH == 0 => Err(Errno::NOENT),
            None if asked.too_long => Err(Errno::NAMETOOLONG),
            None => Ok(asked.whole()),
        }
    }

    fn executed(&mut self, asked: &Path, path: &Path) {
        let size = asked.as_os_str().len() + path.as_os_str().len();
        let (asked, path) = (Text::from(asked), Text::from(path));
        self.keep(|seen| &mut seen.executed, Executed { asked, path }, size);
    }

    fn named(&mut self, call: &str, asked: &Asked, error: Option<Errno>) {
        let path = Text::from(&asked.absolute());
        let size = path.as_bytes().len();
        let error = error.map(Errno::raw_os_error);
        if let Some(errno) = error {
            self.failed(call, errno);
        }
        let named = Named {
            call: call.to_owned(),
            path,
            error: error.map(error_name),
        };
        self.keep(|seen| &mut seen.named, named, size);
    }

    /// Keeps a thing, if there is room.
    fn keep<T: Ord>(
        &mut self,
        set: impl Fn(&mut Observation) -> &mut BTreeSet<T>,
        thing: T,
        size: usize,
    ) {
        let full = self.things >= MOST || self.bytes + size > MOST_BYTES;
        let set = set(&mut self.seen);
        if full {
            let known = set.contains(&thing);
            self.seen.losses.dropped += u64::from(!known);
        } else if set.insert(thing) {
            self.things += 1;
            self.bytes += size;
        }
    }

    /// Looks at the sandbox's files with the command's rights to them.
    fn inside<T>(
        &mut self,
        pid: u32,
        look: impl FnOnce(&Root, &Rules) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        if self.root.is_none() {
            // Of a process whose memory is root's own (a program that may not be read), an ordinary user sees nothing.
            self.root = Root::of(pid).ok();
        }
        let Some(root) = &self.root else {
            self.seen.losses.unreadable += 1;
            return Err(Errno::ACCESS);
        };
        let rules = &self.rules;
        self.rights.with(|| look(root, rules))
    }
}

/// An argument of a call, as its register holds it.
fn argument(call: &Call, number: u8) -> u64 {
    call.data.args[usize::from(number)]
}

/// What the arguments of a call point to.
enum Read {
    Paths(Vec<Asked>),
    Ends(How, Vec<End>, u16),
    Socket,
}

impl Read {
    fn of(noted: &NotedCall, call: &Call) -> Result<Self, Unreadable> {
        let [_, first, second, ..] = call.data.args;
        let one = |how, end: Option<End>| {
            let kind = if end.is_some() { caller::kind(call) } else { 0 };
            Self::Ends(how, end.into_iter().collect(), kind)
        };
        Ok(match noted.what {
            Noted::Open | Noted::Execute | Noted::Path => {
                let mut paths = Vec::new();
                for which in noted.paths.into_iter().flatten() {
                    paths.extend(caller::path(call, which)?);
                }
                Self::Paths(paths)
            }
            Noted::Socket => Self::Socket,
            Noted::Listen => one(How::Listen, caller::bound(call)?),
            Noted::Bind => one(How::Bind, caller::address(call, first, second)?),
            Noted::Connect => one(How::Connect, caller::address(call, first, second)?),
            Noted::Send => {
                let [.., address, length] = call.data.args;
                one(How::Send, caller::address(call, address, length)?)
            }
            Noted::SendMessage | Noted::SendMessages => {
                let count = match noted.what {
                    Noted::SendMessage => 1,
                    _ => second & u64::from(u32::MAX),
                };
                let ends = caller::destinations(call, count)?;
                let kind = match ends.is_empty() {
                    true => 0,
                    false => caller::kind(call),
                };
                Self::Ends(How::Send, ends, kind)
            }
        })
    }
}
