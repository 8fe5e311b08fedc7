//! Attacks on processes and through the kernel: items 6 and 10 to 17.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Around, Attack, Control, PLAIN, Scene, Sign};

/// A process of the same user, `{victim}`; `{first}` is the process to attack in its place in a sandbox.
fn victim(scene: &mut Scene) {
    let pid = scene.start_victim();
    scene.name("victim", pid);
    match scene.around {
        Around::Bare => scene.name("first", pid),
        Around::Bubblewrap | Around::Firejail | Around::Aegis => scene.name("first", 1),
    }
    let host = std::fs::read_link("/proc/self/ns/pid").expect("the pid namespace");
    scene.name("host", host.display());
}

fn somebody_died(scene: &Scene) -> Option<String> {
    let dead = scene.dead();
    (!dead.is_empty()).then(|| format!("processes {dead:?} of the host were ended"))
}

/// Removes kernel objects that outlive their creator.
struct Shared {
    segment: i32,
    name: std::ffi::CString,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the name is NUL-terminated; removing by number and name touches no memory.
        unsafe {
            libc::shmctl(self.segment, libc::IPC_RMID, std::ptr::null_mut());
            libc::shm_unlink(self.name.as_ptr());
            libc::mq_unlink(self.name.as_ptr());
        }
    }
}

/// A System V segment, a message queue and a POSIX shared memory object that everybody may use.
fn shared(scene: &mut Scene) {
    let key = std::process::id() as i32 ^ scene.group() << 8 | 1;
    let name = std::ffi::CString::new(format!("/aegis-{key}")).expect("no NUL");
    // SAFETY: the segment is 4096 bytes long and only written to here; names are NUL-terminated.
    unsafe {
        let segment = libc::shmget(key, 4096, libc::IPC_CREAT | libc::IPC_EXCL | 0o666);
        assert!(segment >= 0, "shmget: {}", std::io::Error::last_os_error());
        let at = libc::shmat(segment, std::ptr::null(), 0);
        std::ptr::copy_nonoverlapping(c"host".as_ptr(), at.cast(), 5);
        libc::shmdt(at);
        scene.keep(Shared {
            segment,
            name: name.clone(),
        });
        let mask = libc::umask(0);
        let object = libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o666);
        let mode: libc::mode_t = 0o666;
        let none = std::ptr::null_mut::<libc::mq_attr>();
        let queue = libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, mode, none);
        libc::umask(mask);
        assert!(
            object >= 0 && queue >= 0,
            "{}",
            std::io::Error::last_os_error()
        );
        libc::close(object);
        libc::close(queue);
    }
    scene.name("key", key);
    scene.name("queue", name.to_str().expect("ASCII"));
}

/// Listeners of the host, in the workspace and under an abstract name.
const PRIVATE_SOCKETS: &str = "aegis: 1\ncapabilities: {files.write: [$WORK], sockets: private}\n";

fn listeners(scene: &mut Scene) {
    use std::os::linux::net::SocketAddrExt;
    let work = scene.workspace.work();
    let (stream, datagram) = (work.join("stream.sock"), work.join("datagram.sock"));
    let name = format!("aegis-{}", scene.group());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    scene.keep((
        UnixListener::bind(&stream).expect("bind"),
        UnixDatagram::bind(&datagram).expect("bind"),
        UnixListener::bind_addr(&address).expect("bind"),
    ));
    for path in [stream, datagram] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("chmod");
    }
    scene.name("abstract", name);
}

/// Root's set-user-id copy of the attack, and one with file capabilities.
fn privileged_programs(scene: &mut Scene) {
    let attack = crate::attacks_directory().join("processes");
    let work = scene.workspace.work();
    for name in ["setuid", "capable"] {
        let copy = work.join(name);
        let status = Command::new("cp")
            .arg(&attack)
            .arg(&copy)
            .status()
            .expect("cp");
        assert!(status.success(), "cp");
    }
    let mode = std::fs::Permissions::from_mode(0o4755);
    std::fs::set_permissions(work.join("setuid"), mode).expect("chmod");
    let status = Command::new("setcap")
        .arg("cap_dac_override,cap_sys_admin+ep")
        .arg(work.join("capable"))
        .status()
        .expect("setcap starts");
    assert!(status.success(), "setcap");
}

fn marked(scene: &mut Scene) {
    let mark = format!("aegis-mark-{}", scene.group());
    scene.name("mark", mark);
}

/// Ends what a bare run left behind.
struct Left(Vec<i32>);

impl Drop for Left {
    fn drop(&mut self) {
        for pid in &self.0 {
            // SAFETY: no pointers; the pids carry the test's own mark.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
        }
    }
}

/// The processes that have `mark` in their command line.
pub fn processes_marked(mark: &str) -> Vec<i32> {
    std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
        })
        .collect()
}

fn left_behind(scene: &Scene) -> Option<String> {
    let mark = scene.value("mark");
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut left = processes_marked(mark);
    // bubblewrap does not wait for the end of its namespace.
    while matches!(scene.around, Around::Bubblewrap | Around::Firejail)
        && !left.is_empty()
        && Instant::now() < deadline
    {
        std::thread::yield_now();
        left = processes_marked(mark);
    }
    let left = Left(left);
    (!left.0.is_empty()).then(|| format!("{} processes still run", left.0.len()))
}

const CALLS: &str = "system calls that have been ways into the kernel";

pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 6,
        what: "the launcher's program, memory and descriptors through /proc/1",
        held_by: "PID 1 is not dumpable",
        words: &["{bin}/processes", "reach", "{first}"],
        prepare: victim,
        ..PLAIN
    },
    Attack {
        item: 10,
        what: "pushing input into the terminal (TIOCSTI, TIOCLINUX, high bits)",
        held_by: "seccomp: ioctl, low half",
        words: &["{bin}/processes", "inject"],
        before: &["{bin}/onpty"],
        ..PLAIN
    },
    Attack {
        item: 11,
        what: "entering the kernel by int 0x80 and x32 numbers",
        held_by: "seccomp: architecture and number, killed",
        words: &["{bin}/processes", "entries", "mount"],
        ..PLAIN
    },
    Attack {
        item: 12,
        what: "new namespaces by unshare, clone and clone3, with garbage in the flags",
        held_by: "seccomp: flags; no `clone3`",
        words: &["{bin}/processes", "namespaces"],
        ..PLAIN
    },
    Attack {
        item: 12,
        what: "setns to a descriptor",
        held_by: "seccomp",
        words: &["{bin}/processes", "setns"],
        control: Control::SucceedsForRoot,
        ..PLAIN
    },
    Attack {
        item: 13,
        what: "ptrace, memory, descriptors and /proc of a process of the host",
        held_by: "pid namespace",
        words: &["{bin}/processes", "reach", "{victim}"],
        prepare: victim,
        ..PLAIN
    },
    Attack {
        item: 13,
        what: "signals to host processes, to the launcher's group, and to everybody",
        held_by: "pid namespace; own session; Landlock scope",
        words: &[
            "{bin}/processes",
            "signals",
            "{host}",
            "{victim}",
            "{neighbour}",
        ],
        prepare: victim,
        sign: Sign::Host(somebody_died),
        ..PLAIN
    },
    Attack {
        item: 14,
        what: CALLS,
        held_by: "seccomp; no capabilities",
        words: &[
            "{bin}/processes",
            "call",
            "io_uring_setup",
            "keyctl",
            "add_key",
            "request_key",
            "userfaultfd",
            "quotactl",
            "open_by_handle_at",
            "modify_ldt",
            "memfd_secret",
            "clone3",
            "openat2",
            "adjtimex",
            "chroot",
            "personality READ_IMPLIES_EXEC",
            "seccomp with a listener",
        ],
        ..PLAIN
    },
    Attack {
        item: 14,
        what: "system calls that root alone may make",
        held_by: "seccomp; no capabilities",
        words: &[
            "{bin}/processes",
            "call",
            "mount",
            "umount2",
            "fsopen",
            "open_tree",
            "pivot_root",
            "bpf",
            "perf_event_open",
            "swapon",
            "settimeofday",
            "syslog",
            "sethostname",
            "reboot",
            "acct",
            "fanotify_init",
        ],
        control: Control::SucceedsForRoot,
        ..PLAIN
    },
    Attack {
        item: 14,
        what: "loading code into the kernel, and its ports",
        held_by: "seccomp; no capabilities",
        words: &[
            "{bin}/processes",
            "call",
            "kexec_load",
            "kexec_file_load",
            "init_module",
            "finit_module",
            "delete_module",
            "iopl",
            "ioperm",
        ],
        control: Control::None("the kernel that this was written on has none of them"),
        ..PLAIN
    },
    Attack {
        item: 15,
        what: "the host's shared memory and message queues",
        held_by: "ipc namespace; own /dev/shm",
        words: &["{bin}/processes", "ipc", "{key}", "{queue}"],
        prepare: shared,
        ..PLAIN
    },
    Attack {
        item: 15,
        what: "Unix sockets of the host, by path and by abstract name",
        held_by: "seccomp: family; net namespace, Landlock scope",
        words: &[
            "{bin}/processes",
            "unix",
            "{work}/stream.sock",
            "{work}/datagram.sock",
            "{abstract}",
        ],
        prepare: listeners,
        ..PLAIN
    },
    Attack {
        item: 15,
        what: "Unix sockets of the host, with the host's network granted",
        held_by: "seccomp: family; net namespace, Landlock scope",
        words: &[
            "{bin}/processes",
            "unix",
            "{work}/stream.sock",
            "{work}/datagram.sock",
            "{abstract}",
        ],
        profile: "aegis: 1\ncapabilities: {files.write: [$WORK], net.outbound: host}\n",
        prepare: listeners,
        ..PLAIN
    },
    Attack {
        item: 15,
        what: "Unix sockets of the host, with private ones granted",
        held_by: "seccomp: type; the supervisor connects",
        words: &[
            "{bin}/processes",
            "unix",
            "{work}/stream.sock",
            "{work}/datagram.sock",
            "{abstract}",
        ],
        profile: PRIVATE_SOCKETS,
        prepare: listeners,
        ..PLAIN
    },
    Attack {
        item: 15,
        what: "a Unix socket of the host, with private ones granted, by every way to its path",
        held_by: "the supervisor connects, below the sandbox's own mounts",
        words: &[
            "{bin}/sockets",
            "spellings",
            "{work}",
            "stream.sock",
            "{abstract}",
        ],
        profile: PRIVATE_SOCKETS,
        prepare: listeners,
        ..PLAIN
    },
    Attack {
        item: 15,
        what: "the same, with the host's network granted too",
        held_by: "the supervisor connects, below the sandbox's own mounts",
        words: &[
            "{bin}/sockets",
            "spellings",
            "{work}",
            "stream.sock",
            "{abstract}",
        ],
        profile: "aegis: 1\ncapabilities: {files.write: [$WORK], net.outbound: host, sockets: private}\n",
        prepare: listeners,
        ..PLAIN
    },
    Attack {
        item: 15,
        what: "a Unix socket of the host in place of a private one, while the call is looked at",
        held_by: "the supervisor connects a copy to what it has found",
        words: &["{bin}/sockets", "swapped", "{work}/stream.sock"],
        profile: PRIVATE_SOCKETS,
        prepare: listeners,
        ..PLAIN
    },
    Attack {
        item: 15,
        what: "a Unix socket made in a granted directory, with private ones granted",
        held_by: "Landlock",
        words: &["{bin}/sockets", "bound", "{work}"],
        profile: PRIVATE_SOCKETS,
        ..PLAIN
    },
    Attack {
        item: 16,
        what: "privileges of the process, of its threads, and such as it could add",
        held_by: "five empty sets, securebits, `no_new_privs`",
        words: &["{bin}/processes", "privileges"],
        ..PLAIN
    },
    Attack {
        item: 16,
        what: "a set-user-id program and one with file capabilities",
        held_by: "`no_new_privs`; nosuid mounts",
        words: &["{bin}/processes", "gain", "{work}/setuid", "{work}/capable"],
        profile: "aegis: 1\ncapabilities: {files.read: [$WORK], shell.exec: [$WORK/setuid, $WORK/capable]}\n",
        prepare: privileged_programs,
        ..PLAIN
    },
    Attack {
        item: 17,
        what: "processes left behind: double fork, setsid, SIGSTOP, signals ignored",
        held_by: "pid namespace, which ends with PID 1",
        words: &["{bin}/processes", "orphan", "{mark}"],
        prepare: marked,
        sign: Sign::Host(left_behind),
        ..PLAIN
    },
    Attack {
        item: 23,
        what: "having the host's handler of core dumps called, as root, by a crash",
        held_by: "`RLIMIT_CORE` 1, kept so by seccomp",
        words: &["{bin}/processes", "crash"],
        ..PLAIN
    },
];
