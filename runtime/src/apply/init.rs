//! The sandbox's PID 1: sets everything up, starts the command, then waits and reaps.
//!
//! Once the command runs, it holds no capability but, started by root, the one to signal the command; it cannot be
//! traced, blocks every signal, and is killed with the supervisor; the kernel then kills everything else in the pid
//! namespace.

use std::ffi::CStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::message::{Message, Order, OwnRoot};
use super::witness::Witness;
use super::{Early, Prepared, command, root};
use crate::error::Failure;
use crate::plan::{Memfd, Namespace, Op, Plan};
use crate::types::{BrokerSocket, INWARD, Network, Protocol, Step};
use aegis_sys::capabilities::CapabilitySet;
use aegis_sys::process::{self, Change};
use aegis_sys::{capabilities, files, landlock, mount, namespaces, netlink, signal, socket};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Added to the supervisor's own deadline and its grace.
const LATER: Duration = Duration::from_secs(1);

/// Private places whose contents nobody expects to be kept.
const TEMPORARY: [&str; 2] = ["/tmp", "/dev/shm"];

/// Most files that are told of as lost.
const MOST_TOLD: usize = 3;

/// Half of what a user has by default (`fs.inotify.max_user_instances`): what the sandbox's user namespace uses is the
/// user's too (`kernel/ucount.c`).
const INOTIFY_INSTANCES: &[u8] = b"64";

/// Exit status of a PID 1 that failed to start the command; the message says why.
const FAILED: i32 = 125;

/// What the supervisor is given of the root.
struct HandedOut {
    own: Option<OwnRoot>,
    layers: Option<OwnedFd>,
    trust: Vec<OwnedFd>,
}

pub(super) fn run(mut prepared: Prepared<'_>, socket: OwnedFd, early: Option<&Early>) -> ! {
    let done = set_up(&mut prepared, &socket, early)
        .and_then(|(listeners, rest)| launch(&prepared, &socket, listeners, rest));
    let status = match done {
        Ok((command, witness)) => wait(command, witness.as_ref(), &socket, prepared.plan),
        Err(failure) => {
            tell_of_failure(&socket, failure);
            FAILED
        }
    };
    process::exit_now(status)
}

fn set_up(
    prepared: &mut Prepared<'_>,
    socket: &OwnedFd,
    early: Option<&Early>,
) -> Result<(Vec<OwnedFd>, HandedOut), Failure> {
    let plan = prepared.plan;
    // The supervisor's signal handlers are not for this process, which waits for children only.
    signal::block_all();
    process::forget_arguments().map_err(Failure::of(Step::Ids))?;
    for tasks in &prepared.outside.tasks {
        // One thread that moves itself takes no kernel-wide lock, unlike a write to cgroup.procs.
        files::write_all(tasks.as_fd(), b"0").map_err(Failure::of(Step::Group))?;
    }
    if plan.namespaces.contains(&Namespace::Cgroup) {
        namespaces::unshare(libc::CLONE_NEWCGROUP).map_err(Failure::of(Step::Group))?;
    }
    let joined = |flag: i32| prepared.joined & flag as u64 != 0;
    if let (Some(early), true) = (early, prepared.joined != 0) {
        early
            .wait_until_set_up()
            .map_err(Failure::of(Step::Network))?;
    }
    match plan.network {
        Network::Brokered => {
            netlink::lead_everything_to_loopback().map_err(Failure::of(Step::Network))?;
        }
        Network::None if !joined(libc::CLONE_NEWNET) => {
            namespaces::loopback_up().map_err(Failure::of(Step::Network))?;
        }
        Network::None | Network::Host => {}
    }
    let mut listeners = listen(plan)?;
    if let Some(lowest) = plan.published.iter().min() {
        listeners.extend(inward()?);
        may_be_bound(*lowest).map_err(Failure::of(Step::Listen))?;
    }
    if !joined(libc::CLONE_NEWUTS) {
        rustix::system::sethostname(plan.hostname.as_bytes())
            .map_err(Failure::of(Step::Hostname))?;
    }
    if plan.memfd == Memfd::Sysctl {
        // Only the host's root may open this file; this process still is that.
        files::open(c"/proc/sys/vm/memfd_noexec", libc::O_WRONLY)
            .and_then(|file| files::write_all(file.as_fd(), b"2"))
            .map_err(Failure::of(Step::Memfd))?;
    }
    let identity = &plan.identity;
    if identity.switch {
        wait_for(Order::Mapped, socket).map_err(Failure::of(Step::Ids))?;
        process::act_as(identity.uid, identity.gid).map_err(Failure::of(Step::Ids))?;
    } else if !joined(libc::CLONE_NEWUSER) {
        namespaces::map_own_ids((identity.uid, identity.uid), (identity.gid, identity.gid))
            .map_err(Failure::of(Step::Ids))?;
    }
    // Where `/proc/sys` is read-only, the user's own limit is all there is.
    let _ = files::open(c"/proc/sys/user/max_inotify_instances", libc::O_WRONLY)
        .and_then(|file| files::write_all(file.as_fd(), INOTIFY_INSTANCES));
    process::die_with_parent().map_err(Failure::of(Step::Ids))?;
    if socket::peer_is_gone(socket.as_fd()) {
        process::exit_now(FAILED); // The supervisor died before that took effect.
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    for path in &prepared.sources.unmapped {
        Message::Unmapped(path.clone())
            .send(socket.as_fd())
            .map_err(Failure::of(Step::Mount))?;
    }
    // While it is the host's /proc, whose files this process still owns.
    let user = (plan.has_private_sockets() && !identity.switch)
        .then(|| files::open(c"/proc/self/ns/user", libc::O_RDONLY))
        .transpose()
        .map_err(Failure::of(Step::Ids))?;
    for standard in &prepared.reopened {
        let _ = standard.retake();
    }
    let root::Made { own, layers, trust } = root::build(prepared)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(plan.umask));
    rustix::process::chdir(&plan.directory)
        .map_err(Failure::on(Step::Directory, &plan.directory))?;
    // As another user than the command, PID 1 needs them to start it, and to stop it.
    let kept = match identity.switch {
        true => capabilities::IDS | capabilities::KILL,
        false => CapabilitySet::empty(),
    };
    capabilities::drop_all_but(plan.last_capability, kept)
        .map_err(Failure::of(Step::Capabilities))?;
    capabilities::no_new_privileges().map_err(Failure::of(Step::Capabilities))?;
    confine(prepared)?;
    process::not_dumpable().map_err(Failure::of(Step::Capabilities))?;
    let own = own.map(|root| OwnRoot {
        root,
        user,
        network: match plan.network.is_private() {
            // Before Linux 5.14 it has no number.
            true => socket::own_network_namespace().unwrap_or(0),
            false => 0,
        },
    });
    let rest = HandedOut { own, layers, trust };
    Ok((listeners, rest))
}

fn confine(prepared: &Prepared<'_>) -> Result<(), Failure> {
    let rules = &prepared.plan.landlock;
    let ruleset =
        landlock::create_ruleset(rules.abi, rules.handled_fs, rules.handled_net, rules.scoped)
            .map_err(Failure::of(Step::Landlock))?;
    for rule in &rules.paths {
        mount::locate(&rule.path)
            .and_then(|location| {
                landlock::allow_path(ruleset.as_fd(), location.as_fd(), rule.access)
            })
            .map_err(Failure::on(Step::Landlock, &rule.path))?;
    }
    for standard in &prepared.reopened {
        (standard.allow(ruleset.as_fd(), rules.handled_fs)).map_err(Failure::of(Step::Landlock))?;
    }
    for port in &rules.bind {
        landlock::allow_port(ruleset.as_fd(), *port, landlock::net::BIND_TCP)
            .map_err(Failure::of(Step::Landlock))?;
    }
    landlock::restrict_self(ruleset.as_fd()).map_err(Failure::of(Step::Landlock))
}

/// Waits for this order of the supervisor.
fn wait_for(order: Order, socket: &OwnedFd) -> io::Result<()> {
    match Order::receive(socket.as_fd())? {
        Some(received) if received == order => Ok(()),
        Some(_) => Err(io::Error::from_raw_os_error(libc::EPROTO)),
        None => process::exit_now(FAILED), // The supervisor is gone.
    }
}

fn tell_of_failure(socket: &OwnedFd, failure: Failure) {
    // If this fails, the supervisor still sees the end of the socket.
    let _ = Message::Failed(failure).send(socket.as_fd());
}

/// Opens the plan's listeners in this network namespace. Nothing else there can share their addresses: neither
/// `SO_REUSEADDR` nor `SO_REUSEPORT` is set.
fn listen(plan: &Plan) -> Result<Vec<OwnedFd>, Failure> {
    let open = |listener: &BrokerSocket| -> io::Result<OwnedFd> {
        let kind = match listener.protocol {
            Protocol::Tcp => SocketType::STREAM,
            Protocol::Udp => SocketType::DGRAM,
        };
        let family = match listener.address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let made = |family| rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None);
        let (socket, address) = match made(family) {
            // Without IPv6 all that comes is IPv4.
            Err(Errno::AFNOSUPPORT) if listener.address.ip().is_unspecified() => {
                let any = (Ipv4Addr::UNSPECIFIED, listener.address.port());
                (made(AddressFamily::INET)?, any.into())
            }
            socket => (socket?, listener.address),
        };
        if address.is_ipv6() {
            // `[::]` takes what comes by IPv4 as well.
            rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
        }
        rustix::net::bind(&socket, &address)?;
        if listener.protocol == Protocol::Tcp {
            rustix::net::listen(&socket, libc::SOMAXCONN)?;
        }
        Ok(socket)
    };
    let listeners = plan.listeners.iter().map(open);
    listeners
        .collect::<io::Result<_>>()
        .map_err(Failure::of(Step::Listen))
}

/// Opens what connections from outside are made through: a socket stays in the network namespace that it was made in.
fn inward() -> Result<Vec<OwnedFd>, Failure> {
    let open = |family, count| (0..count).map(move |_| unconnected(family));
    let plain: Result<Vec<_>, Errno> = open(AddressFamily::INET, INWARD.v4).collect();
    let v6: Result<Vec<_>, Errno> = open(AddressFamily::INET6, INWARD.v6).collect();
    let v6 = match v6 {
        Err(Errno::AFNOSUPPORT) => Ok(Vec::new()),
        opened => opened,
    };
    plain
        .and_then(|plain| Ok([plain, v6?].into_iter().flatten().collect()))
        .map_err(io::Error::from)
        .map_err(Failure::of(Step::Listen))
}

fn unconnected(family: AddressFamily) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// Lets programs without privileges bind this port, and those above, in this network namespace (`ip(7)`), where the kernel would not.
fn may_be_bound(port: u16) -> io::Result<()> {
    const FIRST: &CStr = c"/proc/sys/net/ipv4/ip_unprivileged_port_start";
    if port >= 1024 {
        return Ok(());
    }
    let file = files::open(FIRST, libc::O_WRONLY)?;
    files::write_all(file.as_fd(), port.to_string().as_bytes())
}

fn launch(
    prepared: &Prepared<'_>,
    socket: &OwnedFd,
    listeners: Vec<OwnedFd>,
    rest: HandedOut,
) -> Result<(i32, Option<Witness>), Failure> {
    // If the supervisor has already given the order to go, it does not wait for this message.
    if !listeners.is_empty() || !socket::has_message(socket.as_fd()) {
        let trust = rest.trust;
        let ready = Message::Ready { listeners, trust };
        ready
            .send(socket.as_fd())
            .map_err(Failure::of(Step::Fork))?;
    }
    wait_for(Order::Go, socket).map_err(Failure::of(Step::Fork))?;
    let command::Running {
        pid,
        pidfd,
        listener,
        witness,
    } = command::start(prepared)?;
    if prepared.plan.identity.switch {
        capabilities::keep(capabilities::KILL).map_err(Failure::of(Step::Capabilities))?;
    }
    let running = Message::Running {
        pidfd,
        listener,
        own: rest.own,
        layers: rest.layers,
    };
    running
        .send(socket.as_fd())
        .map_err(Failure::of(Step::Fork))?;
    drop(running);
    // From here on only the command holds 0, 1, 2 and what it was given, and only the supervisor the other ends
    // of its pipes: each sees when the other is gone.
    match &witness {
        Some(witness) => files::close_all_but([socket, witness.answers()]),
        None => files::close_all_but([socket]),
    }
    Ok((pid, witness))
}

/// Tells of what the command has written to its private home. Names that begin with a dot are caches and settings, which
/// programs write without being asked to.
fn tell_of_losses(plan: &Plan, socket: &OwnedFd) {
    const MOST_LOOKED_AT: usize = 1000;
    let homes = plan
        .root
        .mounts()
        .filter(|mount| matches!(mount.op, Op::Private { .. }));
    for home in homes.filter(|mount| !TEMPORARY.iter().any(|tmp| mount.at == Path::new(tmp))) {
        let Ok(entries) = std::fs::read_dir(&home.at) else {
            continue;
        };
        let lost = (entries.take(MOST_LOOKED_AT).flatten())
            .filter(|entry| entry.file_name().as_bytes().first() != Some(&b'.'))
            .map(|entry| entry.path())
            .filter(|path| !plan.root.contains(path));
        for path in lost.take(MOST_TOLD) {
            let _ = Message::Lost(path).send(socket.as_fd());
        }
    }
}

/// The command's own words do not tell a full disk of the host's from a full `/tmp`.
fn tell_if_full(socket: &OwnedFd) {
    let own = rustix::fs::statvfs("/");
    if own.is_ok_and(|own| own.f_bavail == 0 || own.f_favail == 0) {
        let _ = Message::Full.send(socket.as_fd());
    }
}

/// Reaps whatever ends, and reports on the command, until the command has ended.
///
/// It also enforces the time limit, a little later than the supervisor, which may be stopped: by
/// Ctrl-Z, or by a command that stops itself.
fn wait(command: i32, witness: Option<&Witness>, socket: &OwnedFd, plan: &Plan) -> i32 {
    let deadline = plan
        .limits
        .time
        .map(|limit| Instant::now() + Duration::from_millis(limit) + LATER);
    loop {
        let next = match deadline {
            None => process::wait(None),
            Some(deadline) => match process::wait_until(deadline) {
                Ok(Some(next)) => Ok(next),
                Ok(None) => return FAILED, // Everything inside ends with PID 1.
                Err(error) => Err(error),
            },
        };
        match next {
            Ok((pid, change)) if pid == command => {
                // Asked before the witness is stopped with everything else.
                let by_terminal = (change.signal())
                    .zip(witness)
                    .is_some_and(|(signal, witness)| witness.saw(signal));
                // The supervisor stops with the command, and would then not count or limit what
                // else runs here.
                match change {
                    Change::Stopped(_) => drop(process::kill(-1, libc::SIGSTOP)),
                    Change::Continued => drop(process::kill(-1, libc::SIGCONT)),
                    Change::Exited(_) | Change::Killed(_) => {
                        tell_if_full(socket);
                        tell_of_losses(plan, socket);
                    }
                }
                let told = Message::Changed {
                    change,
                    by_terminal,
                }
                .send(socket.as_fd());
                if matches!(change, Change::Exited(_) | Change::Killed(_)) || told.is_err() {
                    return 0;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tell_of_failure(socket, Failure::of(Step::Fork)(error));
                return FAILED;
            }
        }
    }
}
