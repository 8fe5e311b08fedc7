//! `aegis observe`: the service that observes sandboxes for the users of a host.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use aegis_ebpf::{Observer, Service};
use aegis_observation::protocol::SOCKET;
use aegis_sys::capabilities;
use aegis_sys::signal::Signals;
use anyhow::{Context as _, bail};
use clap::Args;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::CommandResult;
use crate::terminal::complain;

pub(super) const HELP: &str = "\
Root observes its own sandboxes without this. For others root starts it once, mostly as a service: it loads
the probes, gives up every capability but CAP_SYS_PTRACE, and listens at /run/aegis-observe.sock until a signal
ends it. Users can have their own sandboxes observed, and see nothing of others'. A second after the last has
ended, no probe is attached.

Examples:
  sudo aegis observe
  aegis-run --profile skill.yaml --record seen.json";

/// The command line.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Serves the one connection that is standard input
    #[arg(long, hide = true)]
    stdin: bool,
}

impl Options {
    pub(super) fn run(self) -> CommandResult {
        if !rustix::process::geteuid().is_root() {
            bail!("only root can load the probes\n  help: sudo aegis observe");
        }
        let signals = Signals::open(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
        signals.block()?;
        // Before the probes are loaded: who connects meanwhile waits.
        let listener = (!self.stdin).then(listener).transpose()?;
        let observer = Observer::load()?;
        capabilities::drop_all_but(capabilities::last(), capabilities::SYS_PTRACE)
            .context("capabilities cannot be given up")?;
        let result = match listener {
            Some(listener) => {
                complain(&format!("aegis: observing; users connect to {SOCKET}\n"));
                let result = Service::of_host(observer, listener).run(signals.fd.as_fd());
                let _ = fs::remove_file(SOCKET);
                result
            }
            None => {
                let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
                Service::of_one(observer, socket)
                    .context("standard input")?
                    .run(signals.fd.as_fd())
            }
        };
        result.context("waiting failed")?;
        Ok(true)
    }
}

/// The socket, in place of one that nobody listens at any more.
fn listener() -> anyhow::Result<OwnedFd> {
    let socket = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
    };
    let address = SocketAddrUnix::new(SOCKET)?;
    match rustix::net::connect(&socket()?, &address) {
        Ok(()) | Err(rustix::io::Errno::AGAIN) => bail!("{SOCKET}: somebody observes already"),
        Err(rustix::io::Errno::CONNREFUSED) => {
            fs::remove_file(SOCKET).with_context(|| format!("{SOCKET} cannot be removed"))?;
        }
        Err(_) => {}
    }
    let socket = socket()?;
    rustix::net::bind(&socket, &address).with_context(|| SOCKET.to_owned())?;
    // Who connects is told by the socket itself.
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666))
        .with_context(|| SOCKET.to_owned())?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}
