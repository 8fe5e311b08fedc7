//! The host around a run: private mounts for a test, and what a run could leave behind.

use std::ffi::CString;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long to wait for something on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `body` in a thread with a mount namespace of its own: nobody else sees what is mounted
/// there, and it is gone afterwards. Programs started there see it.
pub fn in_private_mounts<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    // Built and staged where everybody can see it.
    let _ = crate::program("aegis-run");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: no pointers. Only this thread is moved.
            check(unsafe { libc::unshare(libc::CLONE_NEWNS) }, "unshare");
            mount(
                None,
                Path::new("/"),
                None,
                libc::MS_REC | libc::MS_PRIVATE,
                "",
            );
            body()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The same, with a network of its own that has nothing but `lo`.
pub fn in_private_network<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    in_private_mounts(|| {
        // SAFETY: no pointers. Only this thread is moved.
        check(unsafe { libc::unshare(libc::CLONE_NEWNET) }, "unshare");
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.expect("ip starts").success());
        body()
    })
}

/// Mounts a tmpfs. Only within [`in_private_mounts`].
pub fn tmpfs(at: &Path, options: &str) {
    mount(Some("tmpfs"), at, Some("tmpfs"), 0, options);
}

/// Mounts a file system of the kernel's. Only within [`in_private_mounts`].
pub fn mounted(kind: &str, at: &Path) {
    mount(Some(kind), at, Some(kind), 0, "");
}

/// Shows a file or a directory in a second place. Only within [`in_private_mounts`].
pub fn bind(what: &Path, at: &Path) {
    let source = what.to_str().expect("a path in UTF-8");
    mount(Some(source), at, None, libc::MS_BIND | libc::MS_REC, "");
}

/// An overlay of the host's. Only within [`in_private_mounts`].
pub fn overlay(lower: &Path, upper: &Path, work: &Path, at: &Path) {
    let (lower, upper, work) = (lower.display(), upper.display(), work.display());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    mount(Some("overlay"), at, Some("overlay"), 0, &options);
}

/// Makes what lies at a path read-only. Only within [`in_private_mounts`].
pub fn read_only(at: &Path) {
    bind(at, at);
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
    mount(None, at, None, flags, "");
}

fn mount(source: Option<&str>, at: &Path, kind: Option<&str>, flags: libc::c_ulong, options: &str) {
    let text = |text: &[u8]| CString::new(text).expect("no NUL");
    let source = source.map(|source| text(source.as_bytes()));
    let kind = kind.map(|kind| text(kind.as_bytes()));
    let target = text(at.as_os_str().as_bytes());
    let options = text(options.as_bytes());
    let pointer = |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
    // SAFETY: every pointer is null or to a string that ends with NUL and outlives the call.
    let result = unsafe {
        libc::mount(
            pointer(&source),
            target.as_ptr(),
            pointer(&kind),
            flags,
            options.as_ptr().cast(),
        )
    };
    check(result, "mount");
}

fn check(result: libc::c_int, what: &str) {
    assert_eq!(result, 0, "{what}: {}", io::Error::last_os_error());
}

/// The mounts that the calling thread sees, as the kernel lists them.
pub fn mounts() -> String {
    std::fs::read_to_string("/proc/thread-self/mountinfo").expect("the mounts can be read")
}

/// The pids of a process, in our pid namespace first, in its own last; none where it has ended.
pub fn pids(pid: u32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let pids = line.unwrap_or_default().split_whitespace();
    pids.map(|pid| pid.parse().expect("a pid")).collect()
}

/// Waits until nothing is left: `left` lists what still is.
#[track_caller]
pub fn eventually<T: std::fmt::Debug>(what: &str, mut left: impl FnMut() -> Vec<T>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = left();
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{what}: after {PATIENCE:?} there is still {left:?}"
        );
        // The polling interval; nothing relies on it.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a program and waits until it has printed this line. Its standard input is a pipe: the program waits for that to end.
pub fn started(command: &mut Command, line: &str) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    let output = child.stdout.as_mut().expect("piped");
    BufReader::new(output).read_line(&mut said).expect("a line");
    assert_eq!(said, format!("{line}\n"));
    child
}

/// Whether a child ends before the test's patience does. It is not reaped.
pub fn ends(child: &Child) -> bool {
    // SAFETY: no pointers.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) } as i32;
    check(pidfd.min(0), "pidfd_open");
    let mut fd = libc::pollfd {
        fd: pidfd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one descriptor is passed, which outlives the call; it is ours and closed once.
    unsafe {
        let ready = libc::poll(&mut fd, 1, PATIENCE.as_millis() as i32);
        libc::close(pidfd);
        ready == 1
    }
}

/// Identifies the processes of a test: a variable in their environment. A profile passes
/// it on to the command with `environment: {pass: [AEGIS_TESTS_MARK]}`.
#[derive(Clone, Debug)]
pub struct Mark(String);

impl Mark {
    /// The variable's name.
    pub const NAME: &str = "AEGIS_TESTS_MARK";

    /// A mark that no other test has.
    pub fn new(test: &str) -> Self {
        Self(format!("{test}-{}", std::process::id()))
    }

    /// Marks the processes that a command will start.
    pub fn put(&self, command: &mut Command) {
        command.env(Self::NAME, &self.0);
    }

    /// The marked processes: pid and name.
    pub fn processes(&self) -> Vec<String> {
        let wanted = format!("{}={}", Self::NAME, self.0);
        let entries = std::fs::read_dir("/proc").expect("/proc");
        entries
            .filter_map(|entry| {
                let path = entry.expect("an entry of /proc").path();
                let pid = path.file_name()?.to_str()?.parse::<u32>().ok()?;
                // A process that has ended meanwhile has nothing to read.
                let environment = std::fs::read(path.join("environ")).ok()?;
                environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == wanted.as_bytes())
                    .then(|| {
                        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
                        format!("{pid} {}", name.trim())
                    })
            })
            .collect()
    }
}

/// The control groups of runs, in any hierarchy, with the pid of their `aegis-run`.
pub fn groups() -> Vec<(u32, PathBuf)> {
    let mut found = Vec::new();
    // The mount points of control groups: the fifth field; the type comes after the dash.
    let mounts = mounts();
    let of_groups = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
    let mounted = mounts.lines().filter(of_groups);
    let mut ahead: Vec<PathBuf> = mounted
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .collect();
    while let Some(dir) = ahead.pop() {
        // Removed meanwhile: it belongs to another run.
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let below = dir.file_name().is_some_and(|name| name == "aegis");
            let id = match name.strip_prefix("aegis-") {
                Some(id) => Some(id),
                None => below.then_some(&*name),
            };
            let pid = id
                .and_then(|id| id.split('-').next())
                .and_then(|pid| pid.parse().ok());
            if let Some(pid) = pid {
                found.push((pid, entry.path()));
            }
            ahead.push(entry.path());
        }
    }
    found
}

/// Every name below the directories for temporary files.
pub fn temporary_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead: Vec<PathBuf> = ["/tmp", "/var/tmp", "/dev/shm", "/run"]
        .map(PathBuf::from)
        .into();
    while let Some(dir) = ahead.pop() {
        let entries = std::fs::read_dir(&dir).expect("root reads every directory");
        for entry in entries {
            let entry = entry.expect("an entry of a directory");
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ahead.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}
