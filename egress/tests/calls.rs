//! The broker's own filter: what a broker that was taken over would try ends it.
//!
//! Each attempt is made by this program, started again, since the filter ends the process.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};

use rustix::net::{AddressFamily, SocketType};

/// What is tried, by the name of the attempt.
const TRIED: &str = "AEGIS_TRIED";

/// Whether the filter holds.
const FILTERED: &str = "AEGIS_FILTERED";

const SOCKETS: [(&str, AddressFamily, SocketType); 3] = [
    ("a Unix socket", AddressFamily::UNIX, SocketType::STREAM),
    ("a netlink socket", AddressFamily::NETLINK, SocketType::RAW),
    ("a raw socket", AddressFamily::INET, SocketType::RAW),
];

/// What ends the process. All but the first return, where it is not filtered.
const ATTEMPTS: [&str; 16] = [
    "execute",
    "fork",
    "write a file",
    "append to a file",
    "remove a file",
    "rename a file",
    "map executable memory",
    "make memory executable",
    "trace",
    "mount",
    "signal others",
    "have others signalled",
    "a pair of sockets",
    SOCKETS[0].0,
    SOCKETS[1].0,
    SOCKETS[2].0,
];

#[test]
#[ignore = "started by the tests below"]
fn attempt() {
    let (Ok(tried), Ok(filtered)) = (std::env::var(TRIED), std::env::var(FILTERED)) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    let size = 4096;
    // SAFETY: a page of its own.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if filtered == "yes" {
        aegis_egress::calls::install().unwrap();
    }
    // SAFETY: what the calls are given outlives them; a child ends at once.
    unsafe {
        match tried.as_str() {
            "read a file" => assert_eq!(fs::read_to_string(&file).unwrap(), "text"),
            "execute" => drop(Command::new("/bin/true").exec()),
            "fork" => match libc::fork() {
                0 => libc::_exit(0),
                child => drop(libc::waitpid(child, std::ptr::null_mut(), 0)),
            },
            "write a file" => drop(fs::write(&file, "more")),
            "append to a file" => drop(fs::OpenOptions::new().append(true).open(&file)),
            "remove a file" => drop(fs::remove_file(&file)),
            "rename a file" => drop(fs::rename(&file, directory.path().join("other"))),
            "map executable memory" => {
                let prot = libc::PROT_READ | libc::PROT_EXEC;
                libc::mmap(
                    std::ptr::null_mut(),
                    size,
                    prot,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                );
            }
            "make memory executable" => {
                libc::mprotect(page, size, libc::PROT_READ | libc::PROT_EXEC);
            }
            "trace" => drop(libc::ptrace(libc::PTRACE_DETACH, libc::getppid(), 0, 0)),
            "mount" => {
                let (none, tmpfs, root) =
                    (std::ptr::null(), c"tmpfs".as_ptr(), c"/no-such".as_ptr());
                libc::mount(none, root, tmpfs, 0, none.cast());
            }
            "signal others" => drop(libc::kill(libc::getppid(), 0)),
            "have others signalled" => {
                let (end, _other) = rustix::pipe::pipe().unwrap();
                libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&end), libc::F_SETOWN, 1);
            }
            "a pair of sockets" => drop(aegis_sys::socket::pair()),
            other => {
                let (_, family, kind) = SOCKETS.iter().find(|(name, ..)| *name == other).unwrap();
                drop(rustix::net::socket(*family, *kind, None));
            }
        }
        // What follows a test needs more calls than the broker.
        libc::_exit(0);
    }
}

fn tried(what: &str, filtered: bool) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "calls::attempt", "--ignored", "--nocapture"]);
    command.env(TRIED, what);
    command.env(FILTERED, if filtered { "yes" } else { "no" });
    let output = command.stdin(Stdio::null()).output().unwrap();
    output.status
}

#[test]
fn what_the_broker_never_does_ends_it() {
    for what in ATTEMPTS {
        let ended = tried(what, true);
        assert_eq!(ended.signal(), Some(libc::SIGSYS), "{what}: {ended}");
        let ended = tried(what, false);
        assert!(ended.success(), "{what}: {ended}");
    }
    assert!(tried("read a file", true).success());
}
