//! The client of whoever observes a run: the host's service, or, started by root without one, `aegis observe` itself.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aegis_observation::Run;
use aegis_observation::protocol::{self, Reply, Request};
use aegis_sys::{memory, socket};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};

use crate::report_file::ReportFile;

/// An answer that takes longer does not come any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who observes, and where what was seen goes.
#[derive(Debug)]
pub(crate) struct Observing {
    socket: OwnedFd,
    place: ReportFile,
}

impl Observing {
    /// Checks that there is somebody who can observe, and that the observation can be written to `place`.
    pub fn prepare(place: &Path) -> Result<Self, String> {
        let file = ReportFile::open(place).map_err(|error| {
            let place = place.display();
            format!("the observation {place} cannot be written: {error}")
        })?;
        let none = |error: io::Error| {
            format!(
                "the command cannot be observed: {}: {error}\n  help: root observes by itself; for others root starts the service once: aegis observe",
                protocol::SOCKET
            )
        };
        let socket = match service() {
            Ok(socket) => socket,
            Err(_) if rustix::process::geteuid().is_root() => helper().map_err(|error| {
                format!("the command cannot be observed: `aegis`, beside this program, cannot be started: {error}\n  help: install both programs in one directory")
            })?,
            Err(error) => return Err(none(error)),
        };
        Ok(Self {
            socket,
            place: file,
        })
    }

    /// Has the sandbox with this PID 1 observed.
    pub fn watch(&self, init: BorrowedFd<'_>) -> Result<(), String> {
        match self.ask(Request::Watch {}, &[init])? {
            (Reply::Watching {}, _) => Ok(()),
            (reply, _) => Err(refused(reply)),
        }
    }

    /// Gets what was seen of a run, and writes it. Returns how much was lost.
    pub fn finish(self, run: &Run) -> Result<u64, String> {
        let unread = |error: io::Error| format!("the observation cannot be read: {error}");
        let run = serde_json::to_vec(run).expect("strings and numbers");
        let run = memory::sealed("aegis-run", &run).map_err(unread)?;
        let (reply, fds) = self.ask(Request::Finish {}, &[run.as_fd()])?;
        let (Reply::Observed { lost }, Ok([file])) = (&reply, <[OwnedFd; 1]>::try_from(fds)) else {
            return Err(refused(reply));
        };
        let mut json = Vec::new();
        (File::from(file).read_to_end(&mut json)).map_err(unread)?;
        (self.place.write(&json))
            .map_err(|error| format!("the observation cannot be written: {error}"))?;
        Ok(*lost)
    }

    fn ask(
        &self,
        request: Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), String> {
        let lost = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::WouldBlock => {
                    format!("nothing came for {} seconds", PATIENCE.as_secs())
                }
                _ => error.to_string(),
            };
            format!(
                "whoever observes the command does not answer any more: {why}\n  help: see what `aegis observe` printed, and start it again; or run without --record"
            )
        };
        let socket = self.socket.as_fd();
        socket::send(socket, &protocol::encode(&request), fds).map_err(lost)?;
        let mut bytes = [0; protocol::LONGEST];
        let (length, fds) = socket::receive(socket, &mut bytes).map_err(lost)?;
        if length == 0 {
            return Err(lost(io::ErrorKind::ConnectionReset.into()));
        }
        let reply = serde_json::from_slice(&bytes[..length]).map_err(|error| lost(error.into()))?;
        Ok((reply, fds))
    }
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Refused { why } => format!("the command cannot be observed: {why}"),
        other => format!(
            "the command cannot be observed: this is no answer: {other:?}\n  help: `aegis observe` must be of this version: start it again"
        ),
    }
}

/// Whoever is at the other end may be stopped: it is waited for no longer than this, to connect, to be sent to, to answer.
fn patient(socket: &OwnedFd) -> io::Result<()> {
    for what in [sockopt::Timeout::Send, sockopt::Timeout::Recv] {
        sockopt::set_socket_timeout(socket, what, Some(PATIENCE))?;
    }
    Ok(())
}

/// The service of the host.
fn service() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    patient(&socket)?;
    connect(&socket, &SocketAddrUnix::new(protocol::SOCKET)?)?;
    Ok(socket)
}

/// A process that observes for this one alone, and ends with it.
fn helper() -> io::Result<OwnedFd> {
    let program = std::env::current_exe()?.with_file_name("aegis");
    let (ours, theirs) = socket::pair()?;
    patient(&ours)?;
    Command::new(program)
        .args(["observe", "--stdin"])
        .env_clear()
        .current_dir("/")
        .stdin(theirs)
        .stdout(Stdio::null())
        // Signals of the terminal are for the command.
        .process_group(0)
        .spawn()?;
    Ok(ours)
}
