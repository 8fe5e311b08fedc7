//! Commands that print a secret: in a session of their own, without a terminal, for a limited time.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aegis_sys::process::{self, PollFd};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::protocol::LONGEST_VALUE;
use crate::value::Value;

/// The word by which this program starts another one in a session of its own.
pub const APART: &str = "__apart";

/// The most that a command may print, in bytes: a value, as JSON.
const LONGEST: usize = 2 * LONGEST_VALUE;

/// How much is kept of the end of what it says on standard error.
const TAIL: usize = 1024;

/// As much is told of the last line of that, in characters.
const LONGEST_LINE: usize = 200;

/// The commands of this process.
#[derive(Debug)]
pub struct Commands {
    /// This program, which starts them.
    program: PathBuf,
    /// The sessions of those that run. `None`: no further one is started.
    running: Mutex<Option<BTreeSet<i32>>>,
}

/// Why a command gave nothing.
#[derive(Debug)]
pub struct Failure {
    /// Why. Nothing that the command said is in it.
    pub why: String,
    /// The last line of its standard error, for its caller alone.
    pub said: Option<String>,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { why, said: None }
    }
}

impl Commands {
    /// `program` is this program, which is executed again with [`APART`].
    pub fn new(program: PathBuf) -> Self {
        let running = Mutex::new(Some(BTreeSet::new()));
        Self { program, running }
    }

    /// Ends all that run, and lets no further one start.
    pub fn end(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // While it is locked nobody reaps one, whose number another process could have then.
        running.take().into_iter().flatten().for_each(end);
    }

    /// Runs a command, and returns what it has printed. `input` is its standard input.
    pub fn run(
        &self,
        words: &[String],
        input: Option<&Value>,
        limit: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut command = Command::new(&self.program);
        command
            .arg(APART)
            .args(words)
            .current_dir("/")
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self.spawn(&mut command)?;
        let pid = child.id() as i32;
        let mut running = Running::new(child, input).map_err(|error| {
            end(pid);
            format!("it cannot be watched: {error}")
        })?;
        let outcome = running.watch(Instant::now() + limit);
        if outcome.is_err() {
            end(pid);
        }
        // Not after it is reaped: another process may have its number then.
        if let Some(pids) = &mut *self.running.lock().unwrap_or_else(PoisonError::into_inner) {
            pids.remove(&pid);
        }
        let status = running.child.wait();
        let said = running.last_line();
        let why = match (outcome, status) {
            (Err(Stop::Late), _) => format!("it took longer than {}s", limit.as_secs_f32()),
            (Err(Stop::Long), _) => format!("it printed more than {LONGEST} bytes"),
            (Err(Stop::System(error)), _) | (Ok(()), Err(error)) => {
                format!("it cannot be watched: {error}")
            }
            (Ok(()), Ok(status)) if status.success() => {
                return Ok(std::mem::take(&mut running.printed));
            }
            (Ok(()), Ok(status)) => match (status.code(), status.signal()) {
                (Some(127), _) => {
                    "there is no such program, or it ended with status 127".to_owned()
                }
                (Some(code), _) => format!("it ended with status {code}"),
                (None, signal) => format!("signal {} ended it", signal.unwrap_or_default()),
            },
        };
        Err(Failure { why, said })
    }

    fn spawn(&self, command: &mut Command) -> Result<Child, String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pids) = &mut *running else {
            return Err("nobody waits for it any more".into());
        };
        let child = command
            .spawn()
            .map_err(|error| format!("it cannot be started: {error}"))?;
        pids.insert(child.id() as i32);
        Ok(child)
    }
}

const KILL: i32 = rustix::process::Signal::KILL.as_raw();

/// Ends a process and, once that is its own, its session's process group.
fn end(pid: i32) {
    let _ = process::kill(-pid, KILL);
    let _ = process::kill(pid, KILL);
}

/// Executes a command in place of this process, in a session of its own: no terminal is its own, and it ends with whoever asked for it.
/// Returns only where it cannot.
pub fn apart(words: &[std::ffi::OsString]) -> io::Error {
    let Some((program, words)) = words.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    let parent = rustix::process::getppid();
    let begun = rustix::process::setsid()
        .map_err(io::Error::from)
        .and_then(|_| process::die_with_parent());
    if let Err(error) = begun {
        return error;
    }
    // It may have ended before.
    if rustix::process::getppid() != parent {
        return io::ErrorKind::BrokenPipe.into();
    }
    Command::new(program).args(words).exec()
}

enum Stop {
    Late,
    Long,
    System(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// A command, and what it has said.
struct Running<'v> {
    child: Child,
    input: &'v [u8],
    printed: Zeroizing<Vec<u8>>,
    errors: Zeroizing<Vec<u8>>,
}

impl<'v> Running<'v> {
    fn new(child: Child, input: Option<&'v Value>) -> io::Result<Self> {
        let running = Self {
            child,
            input: input.map_or(&[], Value::bytes),
            // In one allocation each: what is left behind by one that grows is not wiped.
            printed: Zeroizing::new(Vec::with_capacity(LONGEST + 1)),
            errors: Zeroizing::new(Vec::with_capacity(2 * TAIL)),
        };
        for fd in running.pipes().into_iter().flatten() {
            let flags = rustix::fs::fcntl_getfl(fd)?;
            rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
        }
        Ok(running)
    }

    fn pipes(&self) -> [Option<BorrowedFd<'_>>; 3] {
        [
            self.child.stdin.as_ref().map(|pipe| pipe.as_fd()),
            self.child.stdout.as_ref().map(|pipe| pipe.as_fd()),
            self.child.stderr.as_ref().map(|pipe| pipe.as_fd()),
        ]
    }

    /// Until it has ended. What others that it started go on to say is not waited for.
    fn watch(&mut self, deadline: Instant) -> Result<(), Stop> {
        let ended = process::open(self.child.id() as i32)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Stop::Late);
            }
            let [stdin, stdout, stderr] = self
                .pipes()
                .map(|pipe| pipe.map_or(-1, |pipe| pipe.as_raw_fd()));
            let fd = |fd, events| PollFd {
                fd,
                events,
                revents: 0,
            };
            // Of `poll(2)`.
            const IN: i16 = 1;
            const OUT: i16 = 4;
            let mut fds = [
                fd(stdin, OUT),
                fd(stdout, IN),
                fd(stderr, IN),
                fd(ended.as_raw_fd(), IN),
            ];
            process::poll(&mut fds, Some(left.as_nanos() as u64))?;
            let has_ended = fds[3].revents != 0;
            self.write();
            let more = self.read()?;
            if has_ended && !more {
                return Ok(());
            }
        }
    }

    /// A command that does not read its input is none the worse for it.
    fn write(&mut self) {
        let Some(pipe) = &mut self.child.stdin else {
            return;
        };
        while !self.input.is_empty() {
            match pipe.write(self.input) {
                Ok(written) => self.input = &self.input[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.child.stdin = None;
    }

    /// Reads what there is. Returns whether there was anything.
    fn read(&mut self) -> Result<bool, Stop> {
        let mut any = false;
        let mut buffer = Zeroizing::new([0; 4096]);
        while let Some(pipe) = &self.child.stdout {
            match rustix::io::read(pipe, &mut *buffer) {
                Ok(0) => self.child.stdout = None,
                Ok(read) => {
                    any = true;
                    if self.printed.len() + read > LONGEST {
                        return Err(Stop::Long);
                    }
                    self.printed.extend_from_slice(&buffer[..read]);
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Stop::System(error.into())),
            }
        }
        while let Some(pipe) = &self.child.stderr {
            match rustix::io::read(pipe, &mut buffer[..TAIL]) {
                Ok(0) => self.child.stderr = None,
                Ok(read) => {
                    any = true;
                    let over = (self.errors.len() + read).saturating_sub(2 * TAIL);
                    let over = over.min(self.errors.len());
                    self.errors.drain(..over);
                    self.errors.extend_from_slice(&buffer[..read]);
                    // Whoever never stops talking is stopped by the clock, which is looked at between.
                    break;
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Stop::System(error.into())),
            }
        }
        Ok(any)
    }

    /// The last line of its standard error, without what it has printed.
    fn last_line(&self) -> Option<String> {
        let text = Zeroizing::new(String::from_utf8_lossy(&self.errors).into_owned());
        let line = text
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())?;
        let printed = Zeroizing::new(String::from_utf8_lossy(&self.printed).into_owned());
        let mut line = line.to_owned();
        for word in printed
            .split(['\n', '"'])
            .map(str::trim)
            .filter(|word| word.len() > 3)
        {
            line = line.replace(word, "\u{2026}");
        }
        let line: String = line.chars().take(LONGEST_LINE).collect();
        Some(aegis_profile::syntax::escape(&line))
    }
}
