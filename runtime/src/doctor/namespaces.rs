//! System calls that everything needs, and the namespaces.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use super::child::{self, Door};
use super::host::Host;
use super::layer::{Finding, Layer, NOT_HELD, Outcome, error};
use aegis_sys::process::Change;
use aegis_sys::{files, mount, namespaces, process};

pub(super) fn probe(_host: &Host) -> Vec<Finding> {
    let mut all = child::apart(&[Layer::Calls], || vec![calls()]);
    all.extend(child::apart(&[Layer::Pidfd], || {
        vec![Finding::of(Layer::Pidfd, "clone3 with a pidfd", pidfd())]
    }));
    let user = child::inside(&[Layer::User, Layer::Ids], 0, |door| {
        vec![
            Finding::works(Layer::User),
            Finding::of(Layer::Ids, "mapping user and group", door.take_ids()),
        ]
    });
    let lost = user
        .iter()
        .any(|found| found.layer == Layer::User && found.outcome != Outcome::Works);
    all.extend(user);
    for (layer, flag, doing, act) in SINGLE {
        if lost {
            all.push(Finding::needs(*layer, Layer::User));
            continue;
        }
        let outside = name(*layer);
        all.extend(child::inside(&[*layer], *flag, |door| {
            let result = act(door).and_then(|()| own(*layer, &outside));
            vec![Finding::of(*layer, doing, result)]
        }));
    }
    all
}

fn calls() -> Finding {
    type Call = fn() -> io::Result<()>;
    let list: [(&str, Call); 3] = [
        ("openat2", || mount::locate(Path::new("/")).map(drop)),
        // Nothing is executed after it.
        ("close_range", || files::close_on_exec_from(3)),
        ("pidfd_open", || {
            process::open(std::process::id() as i32).map(drop)
        }),
    ];
    for (name, call) in list {
        if let Err(error) = call() {
            return Finding::of(Layer::Calls, name, Err(error));
        }
    }
    Finding::works(Layer::Calls)
}

fn pidfd() -> io::Result<()> {
    let (pid, pidfd) = match namespaces::clone(0, None)? {
        namespaces::Side::Child => {
            let _ = process::die_with_parent();
            let _ = child::idle();
            process::exit_now(0)
        }
        namespaces::Side::Parent { pid, pidfd } => (pid, pidfd),
    };
    process::signal(pidfd.as_fd(), libc::SIGKILL)?;
    let mut fds = [process::PollFd {
        fd: pidfd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }];
    let ready = process::poll(&mut fds, Some(1_000_000_000))?;
    match (ready, process::reap(pid)?) {
        (1, Change::Killed(libc::SIGKILL)) => Ok(()),
        _ => Err(error(NOT_HELD)),
    }
}

type Act = fn(&Door) -> io::Result<()>;

/// Each namespace beside a user namespace: what is done in it to see that it works. In this order
/// a run does it, before its ids are mapped.
const SINGLE: &[(Layer, i32, &str, Act)] = &[
    (Layer::Mount, libc::CLONE_NEWNS, "entering it", |_| Ok(())),
    (
        Layer::Pid,
        libc::CLONE_NEWPID,
        "being process 1",
        |_| match std::process::id() {
            1 => Ok(()),
            _ => Err(error(NOT_HELD)),
        },
    ),
    (Layer::Ipc, libc::CLONE_NEWIPC, "entering it", |_| Ok(())),
    (
        Layer::Uts,
        libc::CLONE_NEWUTS,
        "setting the host name",
        |_| Ok(rustix::system::sethostname(b"aegis")?),
    ),
    (Layer::Cgroup, 0, "unshare", |_| {
        namespaces::unshare(libc::CLONE_NEWCGROUP)
    }),
    (Layer::Net, libc::CLONE_NEWNET, "bringing up lo", |_| {
        namespaces::loopback_up()
    }),
];

/// What the kernel calls this process's namespace of a kind. `None` where /proc does not tell.
fn name(layer: Layer) -> Option<std::path::PathBuf> {
    let file = match layer {
        Layer::Mount => "mnt",
        Layer::Pid => "pid",
        Layer::Ipc => "ipc",
        Layer::Uts => "uts",
        Layer::Cgroup => "cgroup",
        _ => "net",
    };
    std::fs::read_link(format!("/proc/self/ns/{file}")).ok()
}

/// Whether this process is in another namespace than the one outside.
fn own(layer: Layer, outside: &Option<std::path::PathBuf>) -> io::Result<()> {
    let inside = name(layer);
    if inside.is_some() && inside == *outside {
        return Err(error(NOT_HELD));
    }
    Ok(())
}
