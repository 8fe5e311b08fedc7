//! The broker's own process: it holds nothing of its launcher's but one socket, and ends with it.

use std::io;
use std::os::fd::OwnedFd;

use aegis_sys::{capabilities, files, process};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};

/// Takes the launcher's socket from standard input, and gives up everything else: other descriptors, capabilities, the means to
/// gain privileges, to be traced and to dump memory. The process dies when its parent does, which to the kernel is the thread that
/// started it.
///
/// # Errors
///
/// One of the calls failed.
pub fn itself() -> io::Result<OwnedFd> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    capabilities::no_new_privileges()?;
    let may_drop = rustix::thread::capabilities(None)?.permitted;
    if may_drop.contains(rustix::thread::CapabilitySet::SETPCAP) {
        capabilities::drop_all(capabilities::last())?;
    } else {
        capabilities::keep(rustix::thread::CapabilitySet::empty())?;
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    files::close_all_but([&socket]);
    // 0, 1 and 2 are open, and lead nowhere.
    process::begin();
    Ok(socket)
}
