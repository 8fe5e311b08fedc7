//! System calls that everything needs, and the namespaces.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};

use super::child::{Act, Child, PATIENCE, ProbeFailure, finish, idle, inside};
use super::layer::{NOT_HELD, error, held};
use aegis_sys::process::Change;
use aegis_sys::{files, mount, namespaces, process};

pub(super) fn calls(child: &Child) -> io::Result<()> {
    child.step("openat2");
    mount::locate(Path::new("/"))?;
    child.step("close_range");
    // Nothing is executed after it.
    files::close_on_exec_from(3)?;
    child.step("pidfd_open");
    process::open(std::process::id() as i32).map(drop)
}

pub(super) fn pidfd(_: &Child) -> io::Result<()> {
    let Some((pid, pidfd)) = namespaces::clone(0, None)? else {
        finish(idle)
    };
    process::signal(pidfd.as_fd(), libc::SIGKILL)?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&PATIENCE))?;
    held(ready == 1 && process::reap(pid)? == Change::Killed(libc::SIGKILL))
}

/// Tries one namespace together with a user namespace, before its ids are mapped. `kind` is its name in
/// `/proc/self/ns`.
pub(super) fn own(kind: &str, flags: i32, doing: &str, act: Act<'_>) -> Result<(), ProbeFailure> {
    let name = || std::fs::read_link(format!("/proc/self/ns/{kind}")).ok();
    let outside = name();
    inside(flags, doing, &|child| {
        act(child)?;
        // /proc may not show it.
        held(outside.is_none() || name() != outside)
    })
}

/// Checks the id of the first process of a pid namespace.
pub(super) fn first(_: &Child) -> io::Result<()> {
    match std::process::id() {
        1 => Ok(()),
        _ => Err(error(NOT_HELD)),
    }
}
