//! Answering the calls that the seccomp filter hands over.
//!
//! Nothing is allowed here that the plan does not grant: refused calls stay refused and are
//! recorded; text for standard error is read and its call goes on; a memfd is made without the right
//! to be executed.

use aegis_policy::What;
use rustix::fs::MemfdFlags;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::denials::{Denial, Evidence};
use crate::plan::{Memfd, Plan};
use crate::seccomp::{self, Action, SeccompData};
use aegis_sys::notify::{self, Call};

/// How much of the end of standard error is kept, for finding out what was denied.
const TAIL: usize = 8192;

/// The listener's side of a run.
#[derive(Default)]
pub(super) struct Listener {
    fd: Option<OwnedFd>,
    /// The same filter without a supervisor: its verdict on a call holds, whoever answers.
    verdicts: Option<seccomp::Filter>,
    /// How often each was denied, in the order of the first time.
    denied: Vec<(u64, Call)>,
    tail: Vec<u8>,
}

impl Listener {
    /// Takes over the listener of a plan's filter.
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            fd: Some(fd),
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
        if let Some(errno) = self.denial_of(&call, plan) {
            return self.deny(fd, &call, errno, plan);
        }
        match i64::from(call.data.nr) {
            libc::SYS_write | libc::SYS_writev if call.data.args[0] as u32 == 2 => {
                self.look_at(fd, &call);
                notify::go_on(fd, &call)?;
                Ok(None)
            }
            libc::SYS_memfd_create if plan.memfd == Memfd::Supervised => {
                memfd(fd, &call)?;
                Ok(None)
            }
            _ => self.deny(fd, &call, libc::EPERM, plan),
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
    fn look_at(&mut self, fd: BorrowedFd<'_>, call: &Call) {
        let before = self.tail.len();
        self.read_text(call);
        // The thread may be gone and its pid reused: then that was another process's memory.
        if !notify::still_waits(fd, call) {
            self.tail.truncate(before);
        }
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }

    fn read_text(&mut self, call: &Call) {
        let mut text = [0u8; 2048];
        let (mut address, mut length) = (call.data.args[1], call.data.args[2]);
        if i64::from(call.data.nr) == libc::SYS_writev {
            // The first vectors are enough: messages are short.
            let mut vectors = [0u8; 16 * 4];
            let count = (length as usize).min(4);
            let Ok(got) = notify::read_memory(call.pid, address, &mut vectors[..16 * count]) else {
                return;
            };
            for vector in vectors[..got].chunks_exact(16) {
                let word = |at: usize| vector[at..at + 8].try_into().map_or(0, u64::from_ne_bytes);
                self.keep(call.pid, word(0), word(8), &mut text);
            }
            return;
        }
        // The end of a long text says most.
        if length > text.len() as u64 {
            address = address.wrapping_add(length - text.len() as u64);
            length = text.len() as u64;
        }
        self.keep(call.pid, address, length, &mut text);
    }

    fn keep(&mut self, pid: u32, address: u64, length: u64, buffer: &mut [u8]) {
        let length = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if let Ok(got) = notify::read_memory(pid, address, &mut buffer[..length]) {
            self.tail.extend_from_slice(&buffer[..got]);
        }
    }

    fn deny(
        &mut self,
        fd: BorrowedFd<'_>,
        call: &Call,
        errno: i32,
        plan: &Plan,
    ) -> io::Result<Option<Denial>> {
        notify::refuse(fd, call, errno)?;
        let mut denied = self.denied.iter_mut();
        if let Some((times, _)) = denied.find(|(_, known)| known.data.nr == call.data.nr) {
            *times += 1;
            return Ok(None);
        }
        self.denied.push((1, *call));
        Ok(Some(denial(call, 1, plan)))
    }

    /// The denials, in the order of the first time, and the end of standard error.
    pub fn finish(self, plan: &Plan) -> (Vec<Denial>, Vec<u8>) {
        let denials = (self.denied.iter()).map(|(times, call)| denial(call, *times, plan));
        (denials.collect(), self.tail)
    }
}

fn denial(call: &Call, times: u64, plan: &Plan) -> Denial {
    let name = plan.seccomp.arch.name(call.data.nr as u32).unwrap_or("?");
    Denial {
        asked: Some(What::Syscall {
            name: name.to_string(),
        }),
        layer: "seccomp",
        what: format!("the system call {name}"),
        times,
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
    const MFD_EXEC: u32 = 16;
    let flags = call.data.args[1] as u32;
    if flags & MFD_EXEC != 0 {
        // As the kernel answers with vm.memfd_noexec=2.
        return notify::refuse(fd, call, libc::EACCES);
    }
    let mut name = [0u8; 250];
    let got = notify::read_memory(call.pid, call.data.args[0], &mut name).unwrap_or(0);
    // The thread may be gone and its pid reused: then that was another process's memory.
    let got = if notify::still_waits(fd, call) {
        got
    } else {
        0
    };
    let name = name[..got].split(|byte| *byte == 0).next();
    let name = CString::new(name.unwrap_or_default()).unwrap_or_default();
    let sealed = MemfdFlags::from_bits_retain(flags | MFD_NOEXEC_SEAL | MFD_CLOEXEC);
    let close = flags & MFD_CLOEXEC != 0;
    rustix::fs::memfd_create(&name, sealed)
        .map_err(io::Error::from)
        .and_then(|memfd| notify::answer_with_descriptor(fd, call, memfd.as_fd(), close))
        // If the caller's limits leave no room for one more, the call fails with that, and the run goes on.
        .or_else(|error| notify::refuse(fd, call, error.raw_os_error().unwrap_or(libc::EINVAL)))
}

/// Whether naming the call in `syscalls.allow` would have let this very call through: some stay
/// narrowed by argument.
fn would_allow(spec: &seccomp::SyscallSpec, name: &str, call: &Call) -> bool {
    let mut spec = spec.unattended();
    spec.allow.push(name.to_owned());
    spec.deny.retain(|denied| denied != name);
    spec.unix_sockets |= name == "socket";
    seccomp::filter_for(&spec).is_ok_and(|filter| filter.evaluate(&data(call)) == Action::Allow)
}
