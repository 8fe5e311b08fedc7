//! The service's clients, friendly and hostile. Needs root: the probes are really loaded.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use aegis_ebpf::{Namespace, Observer, Service};
use aegis_observation::protocol::{Guard, LONGEST, Reply, Request, encode};
use aegis_observation::{Abi, Observation, Run, Text, Tier};
use aegis_sys::{memory, process, socket};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A user whom nothing on this host belongs to.
const USER: u32 = 20_000;

fn seqpacket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

/// Runs `body` beside a service that listens at a path.
fn with_service(body: impl FnOnce(&Path) + Send) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = seqpacket();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 64).unwrap();
    for path in [directory.path(), &path] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777))
            .unwrap();
    }
    let service = Service::of_host(Observer::load().expect("root, and BTF"), listener);
    let (ended, end) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || service.run(ended.as_fd()));
        let client = scope.spawn(|| body(&path));
        let result = client.join();
        drop(end);
        server.join().unwrap().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// The rest of this thread is done by another user.
fn become_user() {
    // SAFETY: no pointers. The call itself changes this thread alone.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, USER, USER, USER) };
    assert_eq!(done, 0);
}

fn connected(path: &Path) -> OwnedFd {
    let socket = seqpacket();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

/// The answer to a message; `None`: the connection was closed.
fn answer(
    socket: &OwnedFd,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Option<(Reply, Vec<OwnedFd>)> {
    socket::send(socket.as_fd(), message, fds).ok()?;
    let mut bytes = [0; LONGEST];
    let (length, fds) = socket::receive(socket.as_fd(), &mut bytes).ok()?;
    (length > 0).then(|| (serde_json::from_slice(&bytes[..length]).unwrap(), fds))
}

fn refusal(socket: &OwnedFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> String {
    match answer(socket, message, fds) {
        Some((Reply::Refused { why }, _)) => why,
        other => panic!("{other:?}"),
    }
}

/// A pid namespace whose PID 1 waits for a line, and then has a shell run a script.
struct Sandbox {
    outer: Child,
    init: i32,
}

impl Sandbox {
    fn new(script: &str, uid: Option<u32>) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "sh", "-c"]);
        command.arg(format!(
            "echo up; read -r line; sh -c '{script}'; echo done"
        ));
        if let Some(uid) = uid {
            command = Command::new("setpriv");
            command.args([
                "--reuid",
                &uid.to_string(),
                "--clear-groups",
                "unshare",
                "--user",
            ]);
            command.args(["--pid", "--fork", "--kill-child", "sh", "-c"]);
            command.arg("echo up; read -r line");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let outer = command.spawn().unwrap();
        let mut sandbox = Self { outer, init: 0 };
        sandbox.says("up");
        let id = sandbox.outer.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        sandbox.init = children.trim().parse().unwrap();
        sandbox
    }

    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        let mut byte = [0];
        while self.outer.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte[0] != b'\n'
        {
            line.push(byte[0].into());
        }
        assert_eq!(line, expected);
    }

    fn pidfd(&self) -> OwnedFd {
        process::open(self.init).unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

/// A description of a run, as a launcher sends it.
fn run() -> OwnedFd {
    let run = Run {
        id: "1-a".into(),
        command: vec![Text::from("sh")],
        directory: Text::from("/"),
        profile: String::new(),
        tier: Tier::Bpf,
        kernel: String::new(),
        exit_status: Some(0),
    };
    memory::sealed("run", &serde_json::to_vec(&run).unwrap()).unwrap()
}

/// Asks for news of a sandbox, and that the kernel kills what executes another program than these.
fn watch_guarded(
    socket: &OwnedFd,
    sandbox: &Sandbox,
    programs: &[&str],
) -> Option<(Reply, Vec<OwnedFd>)> {
    let guard = Guard {
        executed: Some(programs.iter().map(|path| Text::from(*path)).collect()),
        reached: None,
        refuses: false,
    };
    let guard = memory::sealed("guard", &serde_json::to_vec(&guard).unwrap()).unwrap();
    let watch = encode(&Request::Watch { news: true });
    answer(socket, &watch, &[sandbox.pidfd().as_fd(), guard.as_fd()])
}

/// Lets it run to its end. Returns what it printed after its first line.
fn rest_of(sandbox: &mut Sandbox) -> String {
    drop(sandbox.outer.stdin.take());
    let mut rest = String::new();
    (sandbox.outer.stdout.as_mut().unwrap())
        .read_to_string(&mut rest)
        .unwrap();
    sandbox.outer.wait().unwrap();
    rest
}

fn observed(socket: &OwnedFd) -> Observation {
    let finish = encode(&Request::Finish {});
    let (reply, fds) = answer(socket, &finish, &[run().as_fd()]).expect("an answer");
    assert_eq!(reply, Reply::Observed { lost: 0 });
    let mut json = Vec::new();
    let [file] = <[OwnedFd; 1]>::try_from(fds).unwrap();
    // Nobody can change what was handed over.
    assert!(rustix::io::write(&file, b"x").is_err());
    File::from(file).read_to_end(&mut json).unwrap();
    Observation::from_json(&json).unwrap()
}

#[test]
fn a_sandbox_is_observed_from_its_first_execution_to_the_end() {
    with_service(|path| {
        let mut sandbox = Sandbox::new("cat /etc/hostname /nowhere", None);
        let socket = connected(path);
        let (reply, _) = answer(
            &socket,
            &encode(&Request::Watch { news: false }),
            &[sandbox.pidfd().as_fd()],
        )
        .unwrap();
        assert!(matches!(reply, Reply::Watching { .. }));
        drop(sandbox.outer.stdin.take());
        let mut rest = String::new();
        BufReader::new(sandbox.outer.stdout.as_mut().unwrap())
            .read_line(&mut rest)
            .unwrap();
        sandbox.outer.wait().unwrap();
        let seen = observed(&socket);
        assert!(
            seen.executed
                .iter()
                .any(|program| program.path == Text::from("/usr/bin/cat"))
        );
        assert!(
            seen.opened
                .iter()
                .any(|file| file.asked == Text::from("/etc/hostname"))
        );
        let missing = |call: &&aegis_observation::Named| call.path == Text::from("/nowhere");
        assert_eq!(
            seen.named.iter().find(missing).unwrap().error.as_deref(),
            Some("ENOENT")
        );
        assert!(seen.calls[&Abi::Native].contains("exit_group"));
        assert!(seen.is_complete());
    });
}

#[test]
fn nobody_has_anothers_processes_observed() {
    with_service(|path| {
        let roots = Sandbox::new(":", None);
        let pidfd = roots.pidfd();
        become_user();
        let watch = encode(&Request::Watch { news: false });
        let why = refusal(&connected(path), &watch, &[pidfd.as_fd()]);
        assert!(why.contains("does not run as user 20000"), "{why}");
        // One's own, but with others in its namespace.
        let own = process::open(std::process::id() as i32).unwrap();
        refusal(&connected(path), &watch, &[own.as_fd()]);
    });
}

/// The first process of a namespace alone stands for it: with any other, one would see what happens around it.
#[test]
fn only_the_first_process_of_a_namespace_is_taken() {
    with_service(|path| {
        let watch = encode(&Request::Watch { news: false });
        let own = process::open(std::process::id() as i32).unwrap();
        let why = refusal(&connected(path), &watch, &[own.as_fd()]);
        assert!(
            why.contains("is not the first one of a pid namespace"),
            "{why}"
        );
        let host = process::open(1).unwrap();
        refusal(&connected(path), &watch, &[host.as_fd()]);
        let mut ended = Sandbox::new(":", None);
        let pidfd = ended.pidfd();
        drop(ended.outer.stdin.take());
        ended.outer.wait().unwrap();
        refusal(&connected(path), &watch, &[pidfd.as_fd()]);
    });
    assert!(Namespace::of_init(std::process::id() as i32).is_err());
}

#[test]
fn a_users_own_sandbox_is_observed_and_not_twice() {
    with_service(|path| {
        let own = Sandbox::new(":", Some(USER));
        let pidfd = own.pidfd();
        become_user();
        let watch = encode(&Request::Watch { news: false });
        let first = connected(path);
        assert!(matches!(
            answer(&first, &watch, &[pidfd.as_fd()]).unwrap().0,
            Reply::Watching { .. }
        ));
        refusal(&connected(path), &watch, &[pidfd.as_fd()]);
        // Closing ends it, and what was seen is gone.
        drop(first);
        let second = connected(path);
        let again = |_: &()| answer(&second, &watch, &[pidfd.as_fd()]);
        assert!(matches!(again(&()).unwrap().0, Reply::Watching { .. }));
    });
}

/// What describes the run is the client's: no file that could block, change or be anything.
#[test]
fn a_description_of_the_run_that_is_none_is_refused() {
    with_service(|path| {
        let finish = encode(&Request::Finish {});
        let not_json = memory::sealed("run", b"{").unwrap();
        let (pipe, _kept) = std::io::pipe().unwrap();
        let file = File::open("/dev/zero").unwrap();
        for bad in [not_json.as_fd(), pipe.as_fd(), file.as_fd()] {
            let sandbox = Sandbox::new(":", None);
            let socket = connected(path);
            let watch = encode(&Request::Watch { news: false });
            answer(&socket, &watch, &[sandbox.pidfd().as_fd()]).unwrap();
            refusal(&socket, &finish, &[bad]);
        }
    });
}

/// A thousand clients that send what is no request: all are refused, and the next one is served.
#[test]
fn hostile_clients_are_refused_one_by_one() {
    with_service(|path| {
        let watch = encode(&Request::Watch { news: false });
        let finish = encode(&Request::Finish {});
        let file = File::open("/dev/null").unwrap();
        let long = vec![b'['; LONGEST];
        let too_long = vec![b' '; LONGEST + 1];
        let many: Vec<BorrowedFd<'_>> = vec![file.as_fd(); socket::MAX_DESCRIPTORS];
        let one = [file.as_fd()];
        let hostile: [(&[u8], &[BorrowedFd<'_>]); 10] = [
            (b"x", &[]),
            (b"{}", &[]),
            (b"{\"watch\": {}", &[]),
            (b"{\"watch\": {\"slot\": 1}}", &one),
            (&watch, &[]),
            (&watch, &one),
            (&watch, &many),
            (&finish, &[]),
            (&long, &one),
            (&too_long, &[]),
        ];
        for (message, fds) in hostile.iter().cycle().take(1000) {
            refusal(&connected(path), message, fds);
        }
        let mut open: Vec<OwnedFd> = (0..16).map(|_| connected(path)).collect();
        // One more than a user may have.
        let mut bytes = [0; LONGEST];
        let (length, _) = socket::receive(connected(path).as_fd(), &mut bytes).unwrap();
        assert!(String::from_utf8_lossy(&bytes[..length]).contains("too many"));
        let sandbox = Sandbox::new(":", None);
        let served = open.pop().unwrap();
        let reply = answer(&served, &watch, &[sandbox.pidfd().as_fd()]);
        assert!(matches!(reply.unwrap().0, Reply::Watching { .. }));
    });
}

/// The kernel gives the number of an ended namespace to the next one: what is observed is held on to.
#[test]
fn whoever_comes_after_an_observed_sandbox_is_not_observed() {
    with_service(|path| {
        let mut ended = Sandbox::new(":", None);
        let socket = connected(path);
        let watch = encode(&Request::Watch { news: false });
        answer(&socket, &watch, &[ended.pidfd().as_fd()]).unwrap();
        drop(ended.outer.stdin.take());
        ended.outer.wait().unwrap();
        for _ in 0..5 {
            let mut other = Sandbox::new("cat /etc/hostname", None);
            drop(other.outer.stdin.take());
            other.outer.wait().unwrap();
        }
        let seen = observed(&socket);
        let of_another =
            |file: &aegis_observation::Opened| file.asked == Text::from("/etc/hostname");
        assert!(!seen.opened.iter().any(of_another), "{seen:?}");
    });
}

/// A place among the observed is used again: nothing that was permitted or noted there is left for the next one, however the
/// first one spelt it, and whether it was let in or not.
#[test]
fn nothing_of_one_sandbox_is_left_for_the_next() {
    with_service(|path| {
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let shell = shell.to_str().unwrap();
        let cat = "exec cat /etc/hostname";
        let permitted = [shell, "/usr/bin/cat", "/usr/bin/cat/", "/usr//bin/cat"];
        let killed = |socket: &OwnedFd| {
            let mut sandbox = Sandbox::new(cat, None);
            let (reply, _) = watch_guarded(socket, &sandbox, &[shell]).unwrap();
            assert!(matches!(reply, Reply::Watching { .. }));
            assert_eq!(rest_of(&mut sandbox), "done\n");
        };
        let mut first = Sandbox::new(cat, None);
        let socket = connected(path);
        watch_guarded(&socket, &first, &permitted).unwrap();
        let printed = rest_of(&mut first);
        assert!(printed.lines().count() == 2, "{printed}");
        // The news that nobody read come first.
        drop(socket);
        let held = connected(path);
        killed(&held);

        // One that was not let in, since it is observed already: at the place after that.
        let mut third = Sandbox::new(cat, None);
        let held = connected(path);
        watch_guarded(&held, &third, &permitted).unwrap();
        let refused = watch_guarded(&connected(path), &third, &permitted);
        assert!(matches!(refused, Some((Reply::Refused { .. }, _))));
        killed(&connected(path));
        rest_of(&mut third);
    });
}

/// What has no name any more is nothing that was named before, whatever it was called.
#[test]
fn a_permitted_name_does_not_outlive_its_file() {
    with_service(|path| {
        let place = std::env::temp_dir().join(format!("aegis-permitted-{}", std::process::id()));
        let named = place.display();
        let script = format!(
            "cp /usr/bin/echo {named}; {named} NAMED; exec 3< {named}; rm {named}; /proc/self/fd/3 NAMELESS"
        );
        let mut sandbox = Sandbox::new(&script, None);
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        let permitted = [
            shell.to_str().unwrap(),
            "/usr/bin/cp",
            "/usr/bin/rm",
            place.to_str().unwrap(),
        ];
        let socket = connected(path);
        watch_guarded(&socket, &sandbox, &permitted).unwrap();
        let printed = rest_of(&mut sandbox);
        assert!(printed.contains("NAMED\n"), "{printed}");
        assert!(!printed.contains("NAMELESS"), "{printed}");
    });
}

/// As many as there are places, and more: each is free again, whatever comes of the end.
#[test]
fn no_ending_takes_a_place_for_good() {
    with_service(|path| {
        let sandbox = Sandbox::new(":", None);
        let watch = encode(&Request::Watch { news: false });
        let finish = encode(&Request::Finish {});
        let not_json = memory::sealed("run", b"{").unwrap();
        for _ in 0..65 {
            let socket = connected(path);
            let (reply, _) = answer(&socket, &watch, &[sandbox.pidfd().as_fd()]).unwrap();
            assert!(matches!(reply, Reply::Watching { .. }));
            refusal(&socket, &finish, &[not_json.as_fd()]);
        }
    });
}

/// More than it holds would be a way to fill what all share.
#[test]
fn a_guard_of_too_many_programs_is_refused() {
    with_service(|path| {
        let sandbox = Sandbox::new(":", None);
        let programs: Vec<String> = (0..=Guard::MOST).map(|i| format!("/{i}")).collect();
        let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
        let refused = watch_guarded(&connected(path), &sandbox, &programs);
        assert!(matches!(refused, Some((Reply::Refused { .. }, _))));
        let most = &programs[1..];
        let taken = watch_guarded(&connected(path), &sandbox, most);
        assert!(matches!(taken, Some((Reply::Watching { .. }, _))));
    });
}

/// Two processes that do the same at the same moment, again and again: a pipeline's, that load the same libraries.
const TOGETHER: &str = r#"python3 -c "
import mmap, os
at = memoryview(mmap.mmap(-1, 16)).cast(\"Q\")
own = 0 if os.fork() else 1
for turn in range(1, 5000):
    name = \"/nowhere%d\" % turn
    at[own] = turn
    while at[1 - own] < turn:
        os.sched_yield()
    os.access(name, os.F_OK)
"
"#;

#[test]
fn what_two_processors_see_at_once_is_not_lost() {
    with_service(|path| {
        let mut sandbox = Sandbox::new(TOGETHER, None);
        let socket = connected(path);
        let watch = encode(&Request::Watch { news: false });
        let (reply, _) = answer(&socket, &watch, &[sandbox.pidfd().as_fd()]).unwrap();
        assert!(matches!(reply, Reply::Watching { .. }));
        assert_eq!(rest_of(&mut sandbox), "done\n");
        let seen = observed(&socket);
        let of_both =
            |call: &&aegis_observation::Named| call.path.as_bytes().starts_with(b"/nowhere");
        assert_eq!(seen.named.iter().filter(of_both).count(), 4_999);
    });
}
