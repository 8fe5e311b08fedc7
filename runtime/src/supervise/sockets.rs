//! Calls on Unix sockets that the filter refuses and that are carried out in another way: binding and connecting private
//! sockets, and pairs of datagram sockets.
//!
//! `bind(2)` and `connect(2)` name an address in memory, and a descriptor by its number. Both may change while the call is
//! looked at, so it never goes on: the supervisor reads the address once and takes a copy of the socket. A process of its own,
//! since that may have to wait, enters a root in which there is nothing but the sandbox's own file system, makes the call on
//! the copies as the sandbox's user, without privileges, and answers. What is in that root only the sandbox can have made:
//! whatever a path leads through, and however that changes meanwhile, it leads to nothing of the host.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aegis_sys::capabilities::{self, CapabilitySet};
use aegis_sys::notify::{self, Call};
use aegis_sys::{files, landlock, namespaces, process, socket};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::apply::OwnRoot;
use crate::plan::{Landlock, Plan};
use crate::supervise::observe::caller;

/// Calls that may wait at one time.
const MOST: usize = 256;

/// Pairs that are made in one run: they are the supervisor's memory, and not the command's.
const MOST_PAIRS: u32 = 4096;

/// `sizeof(struct sockaddr_storage)`: the longest address that the kernel takes.
const LONGEST: usize = 128;

/// Where a path or an abstract name begins in `struct sockaddr_un`, after the family.
const NAME: usize = 2;

/// A call that is refused.
pub(super) enum Refused {
    /// As it would fail anywhere.
    Failed(Errno),
    /// As if there were no private sockets.
    Denied,
    /// The socket that it names is outside of the sandbox's own places, or an address that may not be reached.
    Outside(String),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Failed(Errno::from_io_error(&error).unwrap_or(Errno::ACCESS))
    }
}

/// The sandbox's calls on sockets.
#[derive(Default)]
pub(super) struct Calls {
    own: Option<OwnRoot>,
    /// Processes that carry one out, and what they carry out.
    waiting: Vec<(i32, Call)>,
    /// How many pairs were made.
    pairs: u32,
    /// Addresses that may be connected; of port 0, each of its ports. `None`: any.
    reached: Option<BTreeSet<SocketAddr>>,
}

/// What a call is about, as copies that nobody changes.
struct Copies {
    socket: OwnedFd,
    address: Vec<u8>,
    /// The caller's working directory, for a relative path.
    directory: Option<PathBuf>,
    umask: Mode,
}

impl Calls {
    pub fn new(own: Option<OwnRoot>, reached: Option<BTreeSet<SocketAddr>>) -> Self {
        Self {
            own,
            waiting: Vec::new(),
            pairs: 0,
            reached,
        }
    }

    /// The address that this would connect, if that is none that may be: nobody else looks at what the supervisor connects.
    fn forbidden(&self, copies: &Copies, call: &Call) -> Option<SocketAddr> {
        let reached = self.reached.as_ref()?;
        if i64::from(call.data.nr) != libc::SYS_connect {
            return None;
        }
        let address = caller::internet(&copies.address)?;
        let any_port = SocketAddr::new(address.ip(), 0);
        let may = reached.contains(&address) || reached.contains(&any_port);
        (!may).then_some(address)
    }

    /// Leaves the call and its answer to a process of its own, unless it is refused.
    pub fn carry_out(
        &mut self,
        listener: BorrowedFd<'_>,
        call: &Call,
        plan: &Plan,
    ) -> Result<(), Refused> {
        let own = self.own.as_ref().ok_or(Errno::ACCESS)?;
        let copies = Copies::of(call, plan, own)?;
        // From here on it is known that the descriptor and the memory were the caller's.
        if !notify::still_waits(listener, call) {
            return Ok(());
        }
        if let Some(address) = self.forbidden(&copies, call) {
            return Err(Refused::Outside(address.to_string()));
        }
        (self.waiting).retain(|(pid, _)| !process::reap_if_ended(*pid));
        if self.waiting.len() >= MOST {
            // Callers that were killed wait no more.
            self.waiting.retain(|(pid, call)| {
                let waits = notify::still_waits(listener, call);
                if !waits {
                    end(*pid);
                }
                waits
            });
        }
        if self.waiting.len() >= MOST {
            return Err(Errno::AGAIN.into());
        }
        let listener = listener.try_clone_to_owned()?;
        match namespaces::clone_without_signals()? {
            None => {
                let errno = match copies.act(&listener, call, own, plan) {
                    Ok(()) => 0,
                    Err(error) => error.raw_os_error().unwrap_or(libc::EACCES),
                };
                let _ = notify::answer(listener.as_fd(), call, errno);
                process::exit_now(0)
            }
            Some((pid, _)) => {
                self.waiting.push((pid, *call));
                Ok(())
            }
        }
    }
}

impl Drop for Calls {
    /// Ends those that still wait.
    fn drop(&mut self) {
        for (pid, _) in self.waiting.drain(..) {
            end(pid);
        }
    }
}

/// Ends a child that was not reaped.
fn end(pid: i32) {
    let _ = process::kill(pid, libc::SIGKILL);
    let _ = process::reap(pid);
}

impl Copies {
    fn of(call: &Call, plan: &Plan, own: &OwnRoot) -> Result<Self, Refused> {
        let [fd, address, length, ..] = call.data.args;
        let mut copies = Self {
            socket: notify::take_descriptor(call, fd as i32)?,
            address: Vec::new(),
            directory: None,
            umask: Mode::empty(),
        };
        let domain = sockopt::socket_domain(&copies.socket)?;
        if i64::from(call.data.nr) == libc::SYS_listen {
            let bound = rustix::net::getsockname(&copies.socket)?;
            let bound = SocketAddrUnix::try_from(bound).ok();
            return match bound.is_some_and(|bound| bound.path().is_some()) {
                true => Ok(copies),
                false => Err(Refused::Denied),
            };
        }
        let length = length as u32 as usize;
        if length > LONGEST {
            return Err(Errno::INVAL.into());
        }
        copies.address.resize(length, 0);
        let bytes = &mut copies.address;
        if length > 0 && notify::read_memory(call.pid, address, bytes)? < length {
            return Err(Errno::FAULT.into());
        }
        if i64::from(call.data.nr) == libc::SYS_bind {
            copies.umask = notify::umask(call)?;
        }
        match domain {
            AddressFamily::INET | AddressFamily::INET6 | AddressFamily::NETLINK => Ok(copies),
            AddressFamily::UNIX => copies.of_unix(call, plan, own),
            _ => Err(Errno::ACCESS.into()),
        }
    }

    fn of_unix(mut self, call: &Call, plan: &Plan, own: &OwnRoot) -> Result<Self, Refused> {
        let kind = sockopt::socket_type(&self.socket)?;
        let name = self.address.get(NAME..).unwrap_or_default();
        let outside = |name: &[u8]| Refused::Outside(String::from_utf8_lossy(name).into_owned());
        // A datagram socket could be one that was handed in.
        if !matches!(kind, SocketType::STREAM | SocketType::SEQPACKET) {
            return Err(outside(name));
        }
        // Abstract, or one that the kernel chooses.
        if name.first().is_none_or(|byte| *byte == 0) {
            let known = own.network != 0;
            return match socket::network_namespace(self.socket.as_fd()) {
                Ok(network) if known && network == own.network => Ok(self),
                _ => Err(outside(name)),
            };
        }
        let path = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let path = Path::new(OsStr::from_bytes(path));
        let mut whole = path.to_owned();
        if path.is_relative() {
            // Its name inside is read. It is not opened: it may be on a file system that answers when it likes.
            let directory = rustix::fs::readlink(format!("/proc/{}/cwd", call.pid), Vec::new())?;
            let directory = PathBuf::from(OsString::from_vec(directory.into_bytes()));
            whole = directory.join(path);
            self.directory = Some(directory);
        }
        // So that it is said why. Whatever path is given, the root that it is looked up in has nothing of the host.
        match plan.root.mount_of(&whole) {
            Some(mount) if !mount.op.is_own() => Err(outside(whole.as_os_str().as_bytes())),
            _ => Ok(self),
        }
    }

    /// Makes the call, in a process of its own.
    fn act(&self, listener: &OwnedFd, call: &Call, own: &OwnRoot, plan: &Plan) -> io::Result<()> {
        if let Some(user) = &own.user {
            namespaces::join_user(user.as_fd())?;
        }
        rustix::process::fchdir(&own.root)?;
        rustix::process::chroot(c".")?;
        // Whatever else is open here would stay open as long as this waits.
        files::close_all_but([listener, &self.socket]);
        rustix::process::chdir(self.directory.as_deref().unwrap_or(Path::new("/")))?;
        // The other side is told the sandbox's user (`SO_PEERCRED`).
        match plan.identity.switch {
            true => process::become_user(plan.identity.uid, plan.identity.gid)?,
            false => capabilities::keep(CapabilitySet::empty())?,
        }
        process::die_with_parent()?;
        // It has the listener; a pidfd of it is the command's for the asking (`SO_PEERPIDFD`).
        process::not_dumpable()?;
        keep_ports(&plan.landlock)?;
        rustix::process::umask(self.umask);
        match i64::from(call.data.nr) {
            libc::SYS_listen => Ok(rustix::net::listen(&self.socket, call.data.args[1] as i32)?),
            libc::SYS_bind => socket::bind(self.socket.as_fd(), &self.address),
            _ => socket::connect(self.socket.as_fd(), &self.address),
        }
    }
}

/// In the host's network the command may bind the ports that the plan grants, and so may this process.
fn keep_ports(rules: &Landlock) -> io::Result<()> {
    if rules.handled_net == 0 {
        return Ok(());
    }
    let ruleset = landlock::create_ruleset(rules.abi, 0, rules.handled_net, 0)?;
    for port in &rules.bind {
        landlock::allow_port(ruleset.as_fd(), *port, landlock::net::BIND_TCP)?;
    }
    capabilities::no_new_privileges()?;
    landlock::restrict_self(ruleset.as_fd())
}

/// Whether a call asks for a pair of datagram sockets: `SOCK_TYPE_MASK` of `linux/net.h`.
pub(super) fn is_datagram_pair(call: &Call) -> bool {
    let [family, kind, ..] = call.data.args.map(|argument| argument as u32);
    family == u32::from(AddressFamily::UNIX.as_raw()) && kind & 0xF == SocketType::DGRAM.as_raw()
}

impl Calls {
    /// Makes a pair of sequenced-packet sockets for a caller that asked for datagrams: messages keep their boundaries and
    /// their order just so, but no address can be given with one, and none can be connected again.
    pub fn pair(&mut self, listener: BorrowedFd<'_>, call: &Call) -> io::Result<()> {
        let made = match self.pairs {
            MOST_PAIRS.. => Err(Errno::NFILE.into()),
            _ => make_pair(listener, call),
        };
        self.pairs += u32::from(made.is_ok());
        made.or_else(|error| {
            notify::answer(
                listener,
                call,
                error.raw_os_error().unwrap_or(libc::EAFNOSUPPORT),
            )
        })
    }
}

fn make_pair(listener: BorrowedFd<'_>, call: &Call) -> io::Result<()> {
    let [_, kind, protocol, address, ..] = call.data.args;
    let flags = SocketFlags::from_bits_retain(kind as u32 & !0xF);
    if flags.difference(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) != SocketFlags::empty() {
        return Err(Errno::INVAL.into());
    }
    if protocol as u32 != 0 && protocol as u32 != u32::from(AddressFamily::UNIX.as_raw()) {
        return Err(Errno::PROTONOSUPPORT.into());
    }
    let close = flags.contains(SocketFlags::CLOEXEC);
    let (one, other) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags | SocketFlags::CLOEXEC,
        None,
    )?;
    let memory = notify::memory(call)?;
    if !notify::still_waits(listener, call) {
        return Ok(());
    }
    // That it can be written is known before the caller is given anything.
    (memory.write_all_at(&[0xFF; 8], address)).map_err(|_| Errno::FAULT)?;
    let mut numbers = [0; 8];
    for (place, fd) in numbers.chunks_exact_mut(4).zip([&one, &other]) {
        let Some(number) = notify::add_descriptor(listener, call, fd.as_fd(), close)? else {
            return Ok(());
        };
        place.copy_from_slice(&number.to_ne_bytes());
    }
    memory.write_all_at(&numbers, address)?;
    notify::answer(listener, call, 0)
}
