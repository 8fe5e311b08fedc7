//! A process of Aegis's in the command's process group on a terminal: tells what the terminal itself sent to that group.
//!
//! Control-C reaches the terminal's foreground group, which is the command's. Whoever started Aegis expects it too, as
//! from any program, but must not be signalled whenever the command likes. The witness receives what the group
//! receives, and knows the kernel's signals (`SI_KERNEL`, which nobody can forge) from those of processes.
//!
//! PID 1 cannot be that process. It would keep the group's number in use, and the kernel, which waits
//! until all pids of the namespace but PID 1's are free, would never end it (`kernel/pid_namespace.c`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use aegis_sys::capabilities::{self, CapabilitySet};
use aegis_sys::process::{self, PollFd};
use aegis_sys::{files, namespaces, signal};

/// What a terminal sends to a group.
const SENT: [i32; 5] = [
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// PID 1's question. Of pending signals the kernel delivers the lowest first, so the others have been seen by then.
const QUESTION: i32 = 63;

/// How long an answer may take: the command of an ordinary user can stop the witness.
const PATIENCE: Duration = Duration::from_secs(1);

/// The witness, a child of PID 1.
pub(super) struct Witness {
    pid: i32,
    answers: OwnedFd,
}

impl Witness {
    /// Starts one in the process group of the calling process, a child of PID 1 that is to become the command. All signals
    /// must be blocked. Allocates nothing.
    pub fn start() -> io::Result<Self> {
        let (answers, theirs) = files::pipe()?;
        let Some((pid, _)) = namespaces::clone(libc::CLONE_PARENT as u64, None)? else {
            files::close_all_but([&theirs]);
            watch(&theirs)
        };
        Ok(Self { pid, answers })
    }

    /// What PID 1 must keep open.
    pub fn answers(&self) -> &OwnedFd {
        &self.answers
    }

    /// Whether the terminal has sent the group this signal since the last question. If there is no answer, it has not.
    pub fn saw(&self, signal: i32) -> bool {
        if !SENT.contains(&signal) || process::kill(self.pid, QUESTION).is_err() {
            return false;
        }
        let mut answer = [PollFd {
            fd: self.answers.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }];
        let _ = process::poll(&mut answer, Some(PATIENCE.as_nanos() as u64));
        let mut sent = [0; size_of::<u64>()];
        answer[0].revents & libc::POLLIN != 0
            && files::read(self.answers.as_fd(), &mut sent).is_ok()
            && u64::from_ne_bytes(sent) & (1 << signal) != 0
    }
}

/// The witness's work, until it ends with PID 1.
fn watch(answers: &OwnedFd) -> ! {
    if capabilities::keep(CapabilitySet::empty()).is_err() {
        process::exit_now(1);
    }
    let [a, b, c, d, e] = SENT;
    let mut sent: u64 = 0;
    loop {
        let answered = match signal::wait(&[a, b, c, d, e, QUESTION]) {
            Ok(received) if received.number == QUESTION => {
                // The command may send this signal too.
                if received.sender() != Some(1) {
                    continue;
                }
                files::write_all(answers.as_fd(), &std::mem::take(&mut sent).to_ne_bytes())
            }
            Ok(received) => {
                if received.is_kernels() {
                    sent |= 1 << received.number;
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        if answered.is_err() {
            process::exit_now(1);
        }
    }
}
