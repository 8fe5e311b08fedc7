//! Answering the calls that the seccomp filter hands over.
//!
//! Nothing is allowed here that the plan does not grant: refused calls stay refused and are
//! recorded; text for standard error is read and its call goes on; a memfd is made without the right
//! to be executed; of an observed run, calls that the filter allows are looked at (`observe`) and go on. Private sockets and datagram pairs are in `sockets`.

use aegis_observation::Observation;
use aegis_policy::What;
use aegis_profile::syntax::quote;
use rustix::fs::MemfdFlags;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::denials::{Denial, Evidence};
use super::observe::Observer;
use super::sockets::{self, Calls, Refused};
use super::tail::Tail;
use crate::apply::OwnRoot;
use crate::plan::{Memfd, Plan};
use crate::seccomp::{self, Action, SeccompData, UnixSockets};
use aegis_sys::notify::{self, Call};
use aegis_sys::process;

/// The listener's side of a run.
#[derive(Default)]
pub(super) struct Listener {
    fd: Option<OwnedFd>,
    /// The same filter without a supervisor: its verdict on a call holds, whoever answers.
    verdicts: Option<seccomp::Filter>,
    /// In the order of the first time.
    denied: Vec<Denied>,
    sockets: Calls,
    tail: Tail,
    /// Of a run that is observed by this listener.
    observer: Option<Observer>,
}

/// A call that was denied.
struct Denied {
    times: u64,
    call: Call,
    /// The socket that it named.
    socket: Option<String>,
}

/// Names come from the command: no more of them are kept.
const MOST_NAMED: usize = 16;

impl Listener {
    /// Takes over the listener of a plan's filter, once the command was executed.
    /// `reached`: addresses that the supervisor may connect for it.
    pub fn new(
        fd: OwnedFd,
        own: Option<OwnRoot>,
        reached: Option<BTreeSet<SocketAddr>>,
        plan: &Plan,
        command: BorrowedFd<'_>,
    ) -> Self {
        // Before Linux 6.6 a look takes longer.
        let _ = notify::wake_on_same_processor(fd.as_fd());
        let mut observer = plan.syscalls.observed.then(|| Observer::new(plan));
        if let Some(observer) = &mut observer {
            observer.started(plan, process::pid_of(command).unwrap_or_default());
        }
        Self {
            fd: Some(fd),
            sockets: Calls::new(own, reached),
            observer,
            ..Self::default()
        }
    }

    /// The descriptor to poll.
    pub fn raw(&self) -> i32 {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Nothing is left that could make a call.
    pub fn close(&mut self) {
        self.fd = None;
    }

    /// Answers one waiting call. Returns a denial if it is the first of its kind.
    pub fn answer(&mut self, plan: &Plan) -> io::Result<Option<Denial>> {
        let Some(fd) = self.fd.take() else {
            return Ok(None);
        };
        let result = self.answer_on(fd.as_fd(), plan);
        self.fd = Some(fd);
        result
    }

    fn answer_on(&mut self, fd: BorrowedFd<'_>, plan: &Plan) -> io::Result<Option<Denial>> {
        let Some(call) = notify::receive(fd)? else {
            return Ok(None);
        };
        // First, before any other answer: what the profile denies stays denied.
        let denied = self.denial_of(&call, plan);
        if let Some(observer) = &mut self.observer {
            observer.look(fd, &call, denied);
        }
        match (denied, i64::from(call.data.nr)) {
            (Some(libc::EACCES), libc::SYS_bind | libc::SYS_connect | libc::SYS_listen) => {
                return match self.sockets.carry_out(fd, &call, plan) {
                    Ok(()) => Ok(None),
                    Err(Refused::Failed(error)) => {
                        notify::answer(fd, &call, error.raw_os_error())?;
                        Ok(None)
                    }
                    Err(Refused::Denied) => self.deny(fd, &call, libc::EPERM, None, plan),
                    Err(Refused::Outside(socket)) => {
                        self.deny(fd, &call, libc::EACCES, Some(socket), plan)
                    }
                };
            }
            (Some(libc::EAFNOSUPPORT), libc::SYS_socketpair)
                if sockets::is_datagram_pair(&call) =>
            {
                self.sockets.pair(fd, &call)?;
                return Ok(None);
            }
            (Some(errno), _) => return self.deny(fd, &call, errno, None, plan),
            (None, _) => {}
        }
        match i64::from(call.data.nr) {
            libc::SYS_write | libc::SYS_writev if call.data.args[0] as u32 == 2 => {
                self.look_at(fd, &call)?;
                Ok(None)
            }
            libc::SYS_memfd_create if plan.memfd == Memfd::Supervised => {
                memfd(fd, &call)?;
                Ok(None)
            }
            // The filter without a supervisor allows it, which depends on registers alone: they stay as they are.
            _ if self.observer.is_some() => {
                notify::go_on(fd, &call)?;
                Ok(None)
            }
            _ => self.deny(fd, &call, libc::EPERM, None, plan),
        }
    }

    /// The error of a call under the plan's filter; `None`: the call is allowed.
    fn denial_of(&mut self, call: &Call, plan: &Plan) -> Option<i32> {
        let verdicts = self.verdicts.get_or_insert_with(|| {
            // It was made with `notify`, so it can be made without.
            seccomp::filter_for(&plan.syscalls.unattended())
                .unwrap_or_else(|_| plan.seccomp.clone())
        });
        match verdicts.evaluate(&data(call)) {
            Action::Errno(errno) => Some(i32::from(errno)),
            Action::Allow => None,
            _ => Some(libc::EPERM),
        }
    }

    /// Keeps the end of what the command writes to standard error. A hint, never a decision: the
    /// text may change between this read and the write.
    fn look_at(&mut self, fd: BorrowedFd<'_>, call: &Call) -> io::Result<()> {
        let mut text = [0u8; 2048];
        let got = read_text(call, &mut text);
        // The thread may be gone and its pid reused: then that was another process's memory.
        if notify::go_on(fd, call)? {
            self.tail.keep_piece(&text[..got]);
        }
        Ok(())
    }

    fn deny(
        &mut self,
        fd: BorrowedFd<'_>,
        call: &Call,
        errno: i32,
        socket: Option<String>,
        plan: &Plan,
    ) -> io::Result<Option<Denial>> {
        notify::answer(fd, call, errno)?;
        if let Some(observer) = &mut self.observer {
            observer.refused(call, errno);
        }
        let socket = socket.filter(|_| self.denied.len() < MOST_NAMED);
        let same =
            |known: &&mut Denied| known.call.data.nr == call.data.nr && known.socket == socket;
        if let Some(known) = self.denied.iter_mut().find(same) {
            known.times += 1;
            return Ok(None);
        }
        let denied = Denied {
            times: 1,
            call: *call,
            socket,
        };
        let first = denial(&denied, plan);
        self.denied.push(denied);
        Ok(Some(first))
    }

    /// The denials, in the order of the first time, the end of standard error, and what was observed.
    pub fn finish(self, plan: &Plan) -> (Vec<Denial>, Tail, Option<Observation>) {
        let denials = self.denied.iter().map(|denied| denial(denied, plan));
        let seen = self.observer.map(Observer::finish);
        (denials.collect(), self.tail, seen)
    }
}

/// The text of a call that writes, or its end. Returns its length.
fn read_text(call: &Call, text: &mut [u8; 2048]) -> usize {
    let read = |address, buffer: &mut [u8]| notify::read_memory(call.pid, address, buffer);
    let (address, length) = (call.data.args[1], call.data.args[2]);
    if i64::from(call.data.nr) != libc::SYS_writev {
        // The end of a long text says most.
        let kept = length.min(text.len() as u64);
        let end = address.wrapping_add(length - kept);
        return read(end, &mut text[..kept as usize]).unwrap_or(0);
    }
    // The first vectors are enough: messages are short.
    let mut vectors = [0u8; 16 * 4];
    let count = 16 * (length as usize).min(4);
    let vectors = match read(address, &mut vectors[..count]) {
        Ok(got) => &vectors[..got],
        Err(_) => return 0,
    };
    let mut end = 0;
    for vector in vectors.chunks_exact(16) {
        let word = |at: usize| vector[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
        let most = (text.len() - end).min(usize::try_from(word(8)).unwrap_or(usize::MAX));
        end += read(word(0), &mut text[end..end + most]).unwrap_or(0);
    }
    end
}

fn denial(denied: &Denied, plan: &Plan) -> Denial {
    let Denied { times, call, .. } = denied;
    if let Some(socket) = &denied.socket {
        return Denial {
            asked: Some(What::Syscall {
                name: "socket".into(),
            }),
            layer: "private sockets",
            what: match i64::from(call.data.nr) {
                libc::SYS_bind => format!("making the socket {}", quote(socket)),
                _ => format!("connecting to the socket {}", quote(socket)),
            },
            times: *times,
            evidence: Evidence::Kernel,
            allow: Some("syscalls: {allow: [socket]}".into()),
            decision: None,
        };
    }
    let name = plan.seccomp.arch.name(call.data.nr as u32).unwrap_or("?");
    Denial {
        asked: Some(What::Syscall {
            name: name.to_string(),
        }),
        layer: "seccomp",
        what: format!("the system call {name}"),
        times: *times,
        evidence: Evidence::Kernel,
        allow: match name {
            "listen" => Some("capabilities: {net.listen: [PORT]}".into()),
            _ => would_allow(&plan.syscalls, name, call)
                .then(|| format!("syscalls: {{allow: [{name}]}}")),
        },
        decision: None,
    }
}

fn data(call: &Call) -> SeccompData {
    SeccompData {
        nr: call.data.nr as u32,
        arch: call.data.arch,
        instruction_pointer: 0,
        args: call.data.args,
    }
}

/// Makes a memfd for the caller that can never be executed, nor made executable.
fn memfd(fd: BorrowedFd<'_>, call: &Call) -> io::Result<()> {
    const MFD_CLOEXEC: u32 = 1;
    const MFD_NOEXEC_SEAL: u32 = 8;
    let flags = call.data.args[1] as u32;
    let mut name = [0u8; 250];
    // If the thread is gone and its pid reused, that was another process's memory, and nobody gets the memfd.
    let got = notify::read_memory(call.pid, call.data.args[0], &mut name).unwrap_or(0);
    let name = name[..got].split(|byte| *byte == 0).next();
    let name = CString::new(name.unwrap_or_default()).unwrap_or_default();
    let sealed = MemfdFlags::from_bits_retain(flags | MFD_NOEXEC_SEAL | MFD_CLOEXEC);
    let close = flags & MFD_CLOEXEC != 0;
    rustix::fs::memfd_create(&name, sealed)
        .map_err(io::Error::from)
        .and_then(|memfd| notify::answer_with_descriptor(fd, call, memfd.as_fd(), close))
        // If the caller's limits leave no room for one more, the call fails with that, and the run goes on.
        .or_else(|error| notify::answer(fd, call, error.raw_os_error().unwrap_or(libc::EINVAL)))
}

/// Whether naming the call in `syscalls.allow` would have let this very call through: some stay
/// narrowed by argument.
fn would_allow(spec: &seccomp::SyscallSpec, name: &str, call: &Call) -> bool {
    let mut spec = spec.unattended();
    spec.allow.push(name.to_owned());
    spec.deny.retain(|denied| denied != name);
    if name == "socket" {
        spec.unix_sockets = UnixSockets::Any;
    }
    seccomp::filter_for(&spec).is_ok_and(|filter| filter.evaluate(&data(call)) == Action::Allow)
}
