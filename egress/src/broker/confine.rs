//! The broker's own process: it holds nothing of its launcher's but one socket, reads nothing but where names are resolved, and ends
//! with its launcher.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use aegis_sys::{capabilities, files, landlock, namespaces, process};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::CapabilitySet;

use crate::broker::calls;
use crate::broker::limits::Limits;
use crate::broker::resolve::Files;
use crate::broker::service::{self, Error};

/// The user that root's broker is. The one before it is the sandbox's, which is to have no power over it.
const USER: u32 = 2_061_893_633;

/// Where a static program gets randomness: ids of what is asked of name servers.
const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// As many links lead to a file at most (`MAXSYMLINKS` of the kernel).
const MOST_LINKS: usize = 40;

/// The launcher's socket, which is standard input. `None`: a person has started this.
#[must_use]
pub fn launcher() -> Option<OwnedFd> {
    let input = io::stdin();
    let is_ours = sockopt::socket_type(&input) == Ok(SocketType::SEQPACKET)
        && sockopt::socket_domain(&input) == Ok(AddressFamily::UNIX);
    let socket = is_ours.then(|| rustix::io::fcntl_dupfd_cloexec(&input, 3));
    socket?.ok()
}

/// Gives up all that is not needed, and serves the launcher until it closes its socket.
///
/// # Errors
///
/// It cannot begin; the launcher is told why.
pub fn serve(socket: OwnedFd, limits: Limits, files: Files) -> Result<(), Error> {
    if let Err(source) = itself(&socket, &files) {
        let doing = "confining the broker";
        return Err(service::failed(&socket, Error::System { doing, source }));
    }
    service::serve(socket, limits, files)
}

/// Gives up descriptors, the ids of root, capabilities, files, and the means to gain privileges, to be traced, to dump memory and to
/// listen, and all system calls but those of [`calls`]. The process dies when its parent does, which to the kernel is the thread that started it.
fn itself(socket: &OwnedFd, files: &Files) -> io::Result<()> {
    files::close_all_but([socket]);
    // 0, 1 and 2 are open, and lead nowhere.
    process::begin();
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    without_privileges()?;
    // A change of ids takes both back.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    capabilities::no_new_privileges()?;
    under_landlock(files)?;
    calls::install()
}

fn without_privileges() -> io::Result<()> {
    let may = rustix::thread::capabilities(None)?.permitted;
    if may.contains(CapabilitySet::SETPCAP) {
        capabilities::drop_all_but(capabilities::last(), may & capabilities::IDS)?;
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root && may.contains(capabilities::IDS) {
        // In a namespace that does not have that user, root has no power over the host.
        match namespaces::has_user(USER) {
            Ok(true) => process::become_user(USER, USER)?,
            Ok(false) | Err(_) => rustix::thread::set_thread_groups(&[])?,
        }
    }
    capabilities::keep(CapabilitySet::empty())
}

/// Leaves no files to be opened but those beside the ones by which names are resolved, for reading; and no port to be bound, nor signals
/// and abstract sockets of others to be reached. Whatever of that the kernel has.
fn under_landlock(files: &Files) -> io::Result<()> {
    let abi = landlock::abi();
    if abi == 0 {
        return Ok(());
    }
    let net = if abi >= 4 { landlock::net::BIND_TCP } else { 0 };
    let scope = landlock::scope::ABSTRACT_UNIX_SOCKET | landlock::scope::SIGNAL;
    let scope = if abi >= 6 { scope } else { 0 };
    let ruleset = landlock::create_ruleset(abi, landlock::handled_fs(abi), net, scope)?;
    let resolving = [&files.hosts, &files.resolv_conf].map(|path| directories(path));
    for path in resolving
        .iter()
        .flatten()
        .map(PathBuf::as_path)
        .chain(RANDOM.map(Path::new))
    {
        // What is not there needs no rule.
        if let Ok(path) = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            let read = landlock::fs::READ_FILE;
            landlock::allow_path(ruleset.as_fd(), path.as_fd(), read)?;
        }
    }
    landlock::restrict_self(ruleset.as_fd())
}

/// The directories of a file and of all links that lead to it, free of links: a file that is replaced is another one, and has to be
/// read again.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut path = path.to_owned();
    let mut directories = Vec::new();
    for _ in 0..MOST_LINKS {
        let Some(directory) = path.parent().map(Path::to_owned) else {
            break;
        };
        let next = std::fs::read_link(&path).map(|link| directory.join(link));
        // All that there is lies below the root: there, the file alone.
        match std::fs::canonicalize(&directory) {
            Ok(real) if real == Path::new("/") => directories.push(path),
            Ok(real) => directories.push(real),
            Err(_) => {}
        }
        match next {
            Ok(next) => path = next,
            Err(_) => break,
        }
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_of_all_links_to_a_file_are_known_and_links_in_a_circle_end() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        for name in ["etc", "run", "other"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("run/file"), "").unwrap();
        std::os::unix::fs::symlink(at("run/file"), at("other/link")).unwrap();
        std::os::unix::fs::symlink("../other/link", at("etc/file")).unwrap();
        std::os::unix::fs::symlink("circle", at("etc/circle")).unwrap();
        let found = directories(&at("etc/file"));
        let found: Vec<_> = found
            .iter()
            .map(|path| path.canonicalize().unwrap())
            .collect();
        let root = temporary.path().canonicalize().unwrap();
        assert_eq!(found, ["etc", "other", "run"].map(|name| root.join(name)));
        assert_eq!(directories(&at("etc/circle")).len(), MOST_LINKS);
        assert_eq!(directories(Path::new("/hosts")), [Path::new("/hosts")]);
    }
}
