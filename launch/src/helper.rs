//! Programs of Aegis that work for one run, and end with it: the observer, the egress broker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aegis_sys::socket;
use rustix::net::sockopt;

/// An answer that takes longer does not come any more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A program at work, and the socket on which it is spoken to. It ends when the socket is closed.
#[derive(Debug)]
pub(crate) struct Helper {
    /// `None` while it is being dropped, or handed over.
    socket: Option<OwnedFd>,
    /// Likewise.
    child: Option<Child>,
    /// How long an answer is waited for.
    patience: Duration,
}

impl Helper {
    /// Starts a program that lies beside this one, with the other end of the socket as its standard input.
    pub fn start(program: &str, words: &[&str]) -> io::Result<Self> {
        Self::started(program, words, Command::env_clear)
    }

    /// The same, with the caller's variables.
    pub fn start_as_caller(program: &str, words: &[&str]) -> io::Result<Self> {
        Self::started(program, words, |command| command)
    }

    fn started(
        program: &str,
        words: &[&str],
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> io::Result<Self> {
        reap(&mut ENDING.lock().unwrap_or_else(PoisonError::into_inner));
        let program = std::env::current_exe()?.with_file_name(program);
        let (ours, theirs) = socket::pair()?;
        patient(&ours)?;
        let child = prepare(&mut Command::new(program))
            .args(words)
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            // Signals of the terminal are for the command.
            .process_group(0)
            .spawn()?;
        Ok(Self {
            socket: Some(ours),
            child: Some(child),
            patience: PATIENCE,
        })
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
    }

    /// The socket, for somebody else to speak on, who has a patience of their own. The program ends when they close it.
    pub fn hand_over(&mut self) -> io::Result<Option<OwnedFd>> {
        let socket = self.socket.take();
        for what in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
            if let Some(socket) = &socket {
                sockopt::set_socket_timeout(socket, what, None)?;
            }
        }
        Ok(socket)
    }

    /// Has it waited for three times as long: it asks others before it answers.
    pub fn wait_longer(&mut self) -> io::Result<()> {
        self.patience = 3 * PATIENCE;
        let what = sockopt::Timeout::Recv;
        sockopt::set_socket_timeout(self.socket(), what, Some(self.patience))?;
        Ok(())
    }

    /// How long an answer is waited for.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// By which signal it was ended, once its socket says that it has ended; `None`: by none, or it goes on.
    pub fn ended_by(&mut self) -> Option<i32> {
        let child = self.child.as_mut()?;
        // What it had open is closed before it can be waited for.
        for _ in 0..100 {
            match child.try_wait() {
                Ok(Some(status)) => return status.signal(),
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => return None,
            }
        }
        None
    }

    /// The socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("until it is dropped").as_fd()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.socket = None;
        let mut ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
        ending.extend(self.child.take());
        reap(&mut ending);
    }
}

/// Those that were told to end. Nobody waits for them: what is left of one that has ended is removed at the next
/// opportunity, in a process that goes on.
static ENDING: Mutex<Vec<Child>> = Mutex::new(Vec::new());

fn reap(ending: &mut Vec<Child>) {
    ending.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// Whoever is at the other end may be stopped: it is waited for no longer than this, to connect, to be sent to, to answer.
pub(crate) fn patient(socket: &OwnedFd) -> io::Result<()> {
    for what in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
        sockopt::set_socket_timeout(socket, what, Some(PATIENCE))?;
    }
    Ok(())
}
