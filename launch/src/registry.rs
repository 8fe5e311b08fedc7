//! The running sandboxes of a user: a directory with a small file for each run, made before the command
//! starts and removed when it ends, out of every sandbox's reach.
//!
//! The supervisor holds a lock on its file (`flock(2)`) as long as it lives. A file that is not locked is
//! stale: its run ended without removing it.

mod held;
mod inside;
mod look;
mod sockets;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use aegis_audit::places::State;
use aegis_policy::Hash;
use aegis_sys::private::{Dir, Others};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use inside::Usage;
pub use look::{Inside, Opened, Process};
pub use sockets::Socket;

/// One sandbox, as its file describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The run's id, as in its records in the audit log.
    pub id: String,
    /// The supervisor's pid.
    pub pid: u32,
    /// The pid of the sandbox's PID 1, outside it.
    pub init_pid: i32,
    /// The user who started it.
    pub uid: u32,
    /// The profile's name.
    pub profile: String,
    /// SHA-256 of the profile.
    pub profile_hash: Hash,
    /// The policy's name.
    pub policy: Option<String>,
    /// The command.
    pub command: Vec<String>,
    /// The run's own control group on the cgroup2 tree.
    pub group: Option<String>,
    /// The limits by their keys, in the units of a profile's.
    pub limits: BTreeMap<String, u64>,
    /// The directory of the audit log that it is recorded in.
    pub log: Option<String>,
    /// The network it has: `host`, `named`, where the hosts of its profile are reached, or `own`, where nothing is but itself.
    pub network: String,
    /// TCP ports of the host's loopback at which it is reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<u16>,
    /// Whether its supervisor passes signals on to the command. That of a front end with more to do would end by them.
    pub passes_signals_on: bool,
    /// When it was started, in microseconds since 1970.
    pub started_us: u64,
    /// How many different things were denied up to now, as far as the supervisor learns of them while it runs: most calls. Of
    /// denied files it hears at the end. Never in the file's first line.
    #[serde(skip_deserializing)]
    pub denials: u64,
    /// Whether it has ended and its file was left behind. Never in the file.
    #[serde(skip_deserializing)]
    pub stale: bool,
}

/// A run in the registry, until this value is dropped.
pub(crate) struct Registered {
    dir: Dir,
    name: String,
    locked: File,
    /// Where in the file the number of denials is.
    counted_at: u64,
    denials: u64,
}

/// The maximum size of a file.
const MAX_BYTES: u64 = 1 << 20;

/// The most words of a command to keep, and the most bytes of each: even escaped to six times the size, they fit.
const SHOWN: (usize, usize) = (64, 512);

/// This user's registry: `/run/aegis` for root, `$XDG_RUNTIME_DIR/aegis` for others, else `run` beside the
/// user's approvals. `None`: there is no home directory either.
pub fn directory() -> Option<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    if uid == 0 {
        return Some("/run/aegis".into());
    }
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    if let Some(runtime) = named.filter(|path| path.is_absolute()) {
        return Some(runtime.join("aegis"));
    }
    Some(State::here()?.dir.join("run"))
}

/// The registries of all users in the usual places of this host, for root to list.
pub fn directories() -> Vec<PathBuf> {
    let users = std::fs::read_dir("/run/user")
        .into_iter()
        .flatten()
        .flatten();
    let users = users.map(|user| user.path().join("aegis"));
    std::iter::once("/run/aegis".into())
        .chain(users.filter(|dir| dir.symlink_metadata().is_ok()))
        .collect()
}

/// The runs in a registry, the oldest first. Files of ended runs are reported as stale, and removed.
/// A missing registry is empty.
///
/// # Errors
///
/// The directory cannot be read.
pub fn list(directory: &Path) -> io::Result<Vec<Running>> {
    all(directory, true)
}

/// The runs in a registry that go on, the oldest first. Nothing is removed.
///
/// # Errors
///
/// The directory cannot be read.
pub fn going_on(directory: &Path) -> io::Result<Vec<Running>> {
    let mut all = all(directory, false)?;
    all.retain(|run| !run.stale);
    Ok(all)
}

fn all(directory: &Path, clean: bool) -> io::Result<Vec<Running>> {
    let Some(dir) = Dir::open(directory).map_err(io::Error::other)? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for name in dir.names().map_err(io::Error::other)? {
        if name.ends_with(".json") {
            all.extend(read(&dir, &name, clean)?);
        }
    }
    all.sort_by(|a: &Running, b| (a.started_us, &a.id).cmp(&(b.started_us, &b.id)));
    Ok(all)
}

/// Reads one file, and removes it where its run has ended, if it is to `clean`. `None`: it is gone, or does not belong to a
/// registry.
fn read(dir: &Dir, name: &str, clean: bool) -> io::Result<Option<Running>> {
    let file = match dir.open_at(name, OFlags::RDONLY) {
        Ok(file) => file,
        // Missing, a link, or a socket.
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let found = file.metadata()?;
    if !found.is_file() || found.len() > MAX_BYTES {
        return Ok(None);
    }
    let mut text = Vec::new();
    (&file).take(MAX_BYTES).read_to_end(&mut text)?;
    let mut lines = text.split(|byte| *byte == b'\n');
    let running = (lines.next()).and_then(|line| serde_json::from_slice::<Running>(line).ok());
    let denials = lines
        .next()
        .and_then(|line| std::str::from_utf8(line).ok()?.trim_start().parse().ok());
    let (Some(mut running), Some(denials)) = (running, denials) else {
        return Ok(None);
    };
    running.denials = denials;
    // Root lists files of other users, who can write what they like: the kernel names the owner.
    running.uid = found.uid();
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        running.stale = true;
        // Root also sees stale files in another user's registry, but leaves them alone.
        if clean && found.uid() == rustix::process::geteuid().as_raw() {
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        }
    }
    Ok(Some(running))
}

impl Running {
    /// Adds the run to this user's registry, locked by this process.
    pub(crate) fn register(mut self) -> io::Result<Registered> {
        let directory = directory()
            .ok_or_else(|| io::Error::other("there is no home directory to keep it in"))?;
        let dir = Dir::create(&directory).map_err(io::Error::other)?;
        dir.check(Others::MayNothing).map_err(io::Error::other)?;
        self.command.truncate(SHOWN.0);
        for word in &mut self.command {
            word.truncate(word.floor_char_boundary(SHOWN.1));
        }
        let name = format!("{}.json", self.id);
        // The file appears locked and complete, or not at all.
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, ".", flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut file = File::from(file);
        let mut text = serde_json::to_vec(&self)?;
        text.push(b'\n');
        let counted_at = text.len() as u64;
        text.extend(counted(0).into_bytes());
        file.write_all(&text)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, path, &dir, &name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(Registered {
            dir,
            name,
            locked: file,
            counted_at,
            denials: 0,
        })
    }
}

/// A number as it is written over another one.
fn counted(number: u64) -> String {
    format!("{number:>20}\n")
}

impl Registered {
    /// Notes that something more was denied. The list is for people: what cannot be written there is not missed.
    pub(crate) fn denied(&mut self) {
        self.denials += 1;
        let text = counted(self.denials);
        let _ = self.locked.write_all_at(text.as_bytes(), self.counted_at);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_kind_hides_nothing_and_the_owner_is_the_kernels() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path();
        let running = Running {
            id: "1-a".into(),
            uid: 12_345,
            command: vec!["\u{1}".repeat(SHOWN.1); SHOWN.0],
            ..Running::default()
        };
        let text = serde_json::to_string(&running).unwrap();
        std::fs::write(dir.join("1-a.json"), format!("{text}\n{}", counted(7))).unwrap();
        std::fs::write(dir.join("4-d.json"), text).unwrap();
        std::os::unix::net::UnixListener::bind(dir.join("2-b.json")).unwrap();
        std::os::unix::fs::symlink("1-a.json", dir.join("3-c.json")).unwrap();
        let list = list(dir).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].denials, 7);
        assert_eq!(list[0].uid, rustix::process::geteuid().as_raw());
    }

    /// A process of its own with a child, as PID 1 has the command; in a pid namespace of its own or not.
    fn with_child(namespace: i32) -> std::process::Child {
        let start = move || {
            aegis_sys::namespaces::unshare(namespace).unwrap();
            std::process::Command::new("sh")
                .args(["-c", "exec 3<&0; cat <&3 & echo; wait; :"])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        let output = child.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut String::new())
            .unwrap();
        child
    }

    /// A user can write any pid into a file of the user's own, which root may list and act upon.
    #[test]
    fn nobody_is_led_to_another_users_process() {
        let mut victim = with_child(libc::CLONE_NEWPID);
        let mut no_init = with_child(0);
        let uid = rustix::process::geteuid().as_raw();
        let forged = |uid: u32, pid: u32, init_pid: u32| Running {
            id: "1-a".into(),
            pid,
            init_pid: init_pid as i32,
            uid,
            passes_signals_on: true,
            ..Running::default()
        };
        let (own, theirs) = (std::process::id(), victim.id());
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            // Another user's; one that is no child of the supervisor; one that is not the first of its namespace.
            assert!(forged(uid + 1, own, theirs).signal(signal).is_err());
            assert!(forged(uid, theirs, theirs).signal(signal).is_err());
            assert!(forged(uid, own, no_init.id()).signal(signal).is_err());
        }
        for forged in [
            forged(uid + 1, own, theirs),
            forged(uid, theirs, theirs),
            forged(uid, own, no_init.id()),
        ] {
            assert_eq!(forged.usage(), None);
            assert!(forged.look().is_none());
        }
        // This process would end.
        let mut of_others = forged(uid, own, theirs);
        of_others.passes_signals_on = false;
        let refused = of_others.signal(libc::SIGTERM).unwrap_err();
        assert!(refused.to_string().contains("--signal KILL"), "{refused}");
        assert_eq!(victim.try_wait().unwrap(), None);
        assert_eq!(no_init.try_wait().unwrap(), None);
        // The control: its child is seen, and ended.
        assert_eq!(of_others.usage().map(|usage| usage.processes), Some(1));
        let inside = of_others.look().unwrap();
        assert_eq!(inside.processes[0].command, ["cat"]);
        of_others.signal(libc::SIGKILL).unwrap();
        victim.wait().unwrap();
        drop(no_init.stdin.take());
        no_init.wait().unwrap();
    }
}
