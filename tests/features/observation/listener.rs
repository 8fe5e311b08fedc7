//! What is observed by the run's own listener: who it falls to, how it differs from the probes, and that it never decides.

use std::os::unix::fs::PermissionsExt;

use super::*;

const PYTHON: &str =
    "aegis: 1\nname: asked\nextends: [python]\ncapabilities: {files.write: [$WORK]}\n";

/// By the listener, as each user.
fn listened(body: impl Fn(&Scene)) {
    for user in USERS {
        body(&Scene::new(user, "listener"));
    }
}

fn python(scene: &Scene, script: &str) -> Value {
    super::python(scene, PYTHON, script)
}

/// Every entry of a list, as text that can be compared. Pids differ from run to run.
fn entries(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|entry| {
        let text = entry.to_string();
        let mut parts = text.split("/proc/");
        let mut kept = parts.next().expect("one").to_owned();
        for part in parts {
            kept.push_str("/proc/");
            kept.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        kept
    })
    .collect()
}

/// The table of `docs/observing.md`: the fields in which an observation by the listener differs.
fn differing() -> BTreeSet<String> {
    let page = std::fs::read_to_string(aegis_tests::repository("docs/observing.md"));
    let page = page.expect("it is there");
    let (_, table) = page
        .split_once("| field | by probes | by the listener |\n")
        .expect("the table");
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let field = |row: &str| Some(row.split('`').nth(1)?.to_owned());
    rows.filter_map(field).collect()
}

fn put_script(scene: &Scene) {
    let script = scene.write("work/script", "#!/usr/bin/env python3\nprint(1)\n");
    std::fs::set_permissions(script, PermissionsExt::from_mode(0o755)).expect("its mode");
}

/// The same run, by both: what the table does not name is the same, and what it names differs as it says.
#[test]
fn what_differs_is_in_the_table() {
    let script = r#"
import os, socket, subprocess, sys
def tried(act, *what):
    try: act(*what)
    except OSError: pass
open("made", "w").write("1"); os.rename("made", "moved"); os.symlink("moved", "link"); open("link").read()
os.symlink("nowhere", "dangling"); open("dangling", "a")
os.mkdir("d"); os.chmod("d", 0o500); tried(open, "d/x", "w"); os.chmod("d", 0o700); os.rmdir("d")
open("shut", "w"); os.chmod("shut", 0); tried(open, "shut"); tried(os.mkdir, "link"); tried(os.rmdir, "link")
tried(os.unlink, "missing"); tried(open, "missing/below"); tried(open, "moved/below"); tried(os.chdir, "moved")
tried(os.listdir, "/etc"); tried(open, "/usr/new", "w"); tried(os.unlink, "/usr/bin/true"); tried(os.chmod, "/usr", 0o777)
tried(os.open, "link", os.O_NOFOLLOW); tried(os.open, "moved", os.O_CREAT | os.O_EXCL); tried(os.open, ".", os.O_RDWR)
os.open("/", os.O_RDONLY); os.open("..", os.O_PATH); open("/proc/self/status"); open("/dev/null", "w")
fd = os.open("gone", os.O_CREAT | os.O_RDWR); os.unlink("gone"); os.open("/proc/self/fd/%d" % fd, os.O_RDONLY)
at = os.open(".", os.O_RDONLY); os.open("moved", os.O_RDONLY, dir_fd=at); os.stat("link", dir_fd=at, follow_symlinks=False)
tried(os.kill, 1, 9); tried(os.nice, -5); tried(os.getxattr, "moved", "user.x"); tried(os.readlink, "moved")
r, w = os.pipe(); os.open("/proc/self/fd/%d" % r, os.O_RDONLY | os.O_NONBLOCK)
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    tried(socket.socket(family).connect, (host, 9))
    tried(socket.socket(family, socket.SOCK_DGRAM).sendto, b"x", (host, 10))
    tried(socket.socket(family, socket.SOCK_DGRAM).sendmsg, [b"x"], [], 0, (host, 11))
    tried(socket.socket(family).bind, (host, 12000))
here = socket.socket(socket.AF_UNIX); here.bind("here"); here.listen(); socket.socket(socket.AF_UNIX).connect("here"); os.unlink("here")
tried(subprocess.run, ["/usr/bin/true"]); tried(subprocess.run, ["/usr/bin/sort"]); tried(subprocess.run, ["./script"])
tried(subprocess.run, ["./moved"])
"#;
    let profile = "aegis: 1\nname: both\nextends: [python]\ncapabilities: {files.write: [$WORK], shell.exec: [/usr/bin/env, /usr/bin/true, $WORK/script]}\nsyscalls: {allow: [socket]}\n";
    let table = differing();
    for user in USERS {
        host::in_private_mounts(|| {
            let _service = (user == User::Ordinary).then(Service::start);
            let scene = Scene::new(user, "probes");
            put_script(&scene);
            let words = ["python3", "-c", script];
            let by_probes = seen(&scene, profile, &words, 0);
            let made = std::fs::read_dir(scene.work()).expect("a directory");
            for made in made.map(|made| made.expect("an entry").path()) {
                std::fs::remove_file(made).expect("a file");
            }
            put_script(&scene);
            let scene = Scene {
                by: "listener",
                ..scene
            };
            let by_listener = seen(&scene, profile, &words, 0);
            let fields = by_probes.as_object().expect("an observation").keys();
            let mut differ = BTreeSet::new();
            for field in fields.filter(|field| *field != "runs") {
                let (probes, listener) = (&by_probes[field], &by_listener[field]);
                let (only_probes, only_listener) = match probes.is_array() {
                    true => (entries(probes), entries(listener)),
                    false => ([probes.to_string()].into(), [listener.to_string()].into()),
                };
                if only_probes == only_listener {
                    continue;
                }
                differ.insert(field.clone());
                let less: Vec<_> = only_probes.difference(&only_listener).collect();
                let more: Vec<_> = only_listener.difference(&only_probes).collect();
                assert!(
                    table.contains(field),
                    "{user:?}: {field}: by probes only {less:#?}, by the listener only {more:#?}"
                );
            }
            // Nothing in a sandbox can send one: no run shows anything of this row.
            differ.insert("signals-outside".into());
            // Nor is anything refused where no policy asks for it.
            differ.insert("refused".into());
            assert_eq!(differ, table, "{user:?}: rows that are true of nothing");
            let calls = |seen: &Value| entries(&seen["calls"]["native"]);
            assert!(calls(&by_listener).is_subset(&calls(&by_probes)));
            assert_eq!(
                by_listener["counts"]["executions"],
                by_probes["counts"]["executions"]
            );
            assert_eq!(by_listener["losses"]["unreadable"], 0);
        });
    }
}

/// Nobody has probes: the run is observed all the same, and it is said by whom.
#[test]
fn where_there_are_no_probes_the_listener_observes() {
    for user in USERS {
        host::in_private_mounts(|| {
            host::tmpfs(Path::new("/run"), "mode=755");
            // No BTF, without which root's probes cannot be loaded.
            host::tmpfs(Path::new("/sys/kernel/btf"), "mode=755");
            let scene = Scene::new(user, "auto");
            let output = recorded(&scene, PYTHON, &["python3", "-c", ""]).output();
            let output = output.expect("aegis-run starts");
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains("observed by seccomp (slower, and less is seen): "),
                "{user:?}: {said}"
            );
            assert_eq!(read(&scene)["runs"][0]["tier"], "listener");
            let doctor = scene.command(program("aegis")).arg("doctor").output();
            let doctor = doctor.expect("aegis starts");
            assert!(
                text(&doctor).contains("Observing (--record): by seccomp"),
                "{}",
                text(&doctor)
            );
            let scene = Scene::new(user, "probes");
            let output = recorded(&scene, PYTHON, &["python3", "-c", ""]).output();
            let said = refused(&output.expect("aegis-run starts"));
            assert!(said.contains("cannot be observed"), "{user:?}: {said}");
        });
    }
}

/// What the filter refuses stays refused, though the supervisor lets others of the same call go on.
#[test]
fn what_is_refused_stays_refused() {
    listened(|scene| {
        let script = r#"
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def error(*call):
    ctypes.set_errno(0); libc.syscall(*call); return ctypes.get_errno()
open("f", "w"); os.chmod("f", 0o755)
print(error(90, b"f", 0o4755), error(257, -100, b"g", 0o102, 0o6755), error(133, b"n", 0o020644, 259))
print(error(165, b"x", b"/mnt", b"tmpfs", 0, 0), error(161, b"/"), error(41, 17, 3, 0))
"#;
        let output = recorded(scene, PYTHON, &["python3", "-c", script]).output();
        let output = output.expect("aegis-run starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "1 1 1\n1 1 97\n", "{}", text(&output));
        let refused = read(scene)["refused-calls"].clone();
        let refused = each(&refused, "call");
        for call in ["chmod", "openat", "mknod", "mount", "chroot"] {
            assert!(refused.contains(call), "{call}: {refused:?}");
        }
        let mode = std::fs::metadata(scene.work().join("f")).expect("made");
        assert_eq!(mode.permissions().mode() & 0o7777, 0o755);
    });
}

/// The kernel reads a path again after the listener: whatever it is changed to meanwhile, it opens nothing that it would not
/// open unobserved.
#[test]
fn a_path_that_is_changed_meanwhile_opens_nothing_more() {
    listened(|scene| {
        let script = r#"
import ctypes, threading
libc = ctypes.CDLL(None, use_errno=True)
path = ctypes.create_string_buffer(b"/tmp/yes", 16)
stop = False
def flip():
    while not stop:
        path.raw = b"/usr/no\0".ljust(16, b"\0"); path.raw = b"/tmp/yes".ljust(16, b"\0")
other = threading.Thread(target=flip); other.start()
opened = 0
for _ in range(3000):
    fd = libc.open(path, 0o102, 0o600)
    if fd >= 0: opened += 1; libc.close(fd)
stop = True; other.join()
print(opened > 0)
"#;
        let output = recorded(scene, PYTHON, &["python3", "-c", script]).output();
        let output = output.expect("aegis-run starts");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "True\n",
            "{}",
            text(&output)
        );
        assert!(!Path::new("/usr/no").exists());
    });
}

/// Callers that are killed while the listener looks at what they ask, a thousand threads that ask at once: each that lived
/// is answered.
#[test]
fn callers_may_be_many_and_may_be_killed() {
    listened(|scene| {
        let script = r#"
import os, signal, threading
for _ in range(100):
    child = os.fork()
    if child == 0:
        while True: os.stat("/usr")
    os.kill(child, signal.SIGKILL); os.waitpid(child, 0)
threading.stack_size(65536)
together = threading.Barrier(1000)
def one(n):
    together.wait(); os.close(os.open(str(n), os.O_CREAT | os.O_RDWR))
threads = [threading.Thread(target=one, args=(n,)) for n in range(1000)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"#;
        let seen = python(scene, script);
        let opened = each(&seen["opened"], "asked");
        for n in 0..1000 {
            let path = scene.work().join(n.to_string());
            assert!(opened.contains(path.to_str().expect("UTF-8")), "{n}");
        }
        assert_eq!(seen["losses"]["dropped"], 0);
    });
}

/// Memory that the supervisor may not read: it is counted, and the call goes on.
#[test]
fn what_cannot_be_read_is_counted() {
    listened(|scene| {
        let script = r#"
import ctypes
ctypes.CDLL(None).prctl(4, 0)
open("f", "w").write("1")
"#;
        let seen = python(scene, script);
        let known = each(&seen["opened"], "asked")
            .iter()
            .any(|path| path.ends_with("/f"));
        let unreadable = seen["losses"]["unreadable"].as_u64().expect("a number");
        assert!(known || unreadable > 0);
        assert!(scene.work().join("f").exists());

        // A program that may be executed and not read is root's own affair.
        let blind = scene.outside().join("blind");
        std::fs::copy("/usr/bin/cat", &blind).expect("copied");
        std::fs::set_permissions(&blind, PermissionsExt::from_mode(0o111)).expect("its mode");
        let profile = format!(
            "aegis: 1\nname: blind\nextends: [base]\ncapabilities: {{files.read: [$WORK], shell.exec: [{}]}}\n",
            blind.display()
        );
        let program = blind.to_str().expect("UTF-8");
        let file = scene.write("work/text", "read\n");
        let words = [program, file.to_str().expect("UTF-8")];
        let output = recorded(scene, &profile, &words).output();
        let output = output.expect("aegis-run starts");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "read\n",
            "{}",
            text(&output)
        );
        let seen = read(scene);
        let known = each(&seen["opened"], "asked").contains(words[1]);
        let unreadable = seen["losses"]["unreadable"].as_u64().expect("a number");
        assert!(known || unreadable > 0, "{seen}");
        assert!(known || scene.user == User::Ordinary);
        std::fs::remove_file(blind).expect("removed");
    });
}

/// The command's own execution is let through by a number in a register that nobody inside knows.
#[test]
fn no_execution_is_hidden_by_a_register() {
    listened(|scene| {
        let script = r#"
import ctypes, os
libc = ctypes.CDLL(None)
words = (ctypes.c_char_p * 2)(b"env", None)
for register in (0, 1, 2**64 - 1):
    if os.fork() == 0:
        libc.syscall(59, b"/usr/bin/env", words, None, 0, 0, ctypes.c_ulong(register)); os._exit(1)
    print(os.wait()[1])
"#;
        let profile = "aegis: 1\nname: raw\nextends: [python]\ncapabilities: {shell.exec: [env]}\n";
        let seen = seen(scene, profile, &["python3", "-c", script], 0);
        assert!(each(&seen["executed"], "asked").contains("/usr/bin/env"));
        assert_eq!(seen["counts"]["executions"], 4);
    });
}

/// In a pid namespace of somebody else's.
#[test]
fn a_run_within_namespaces_is_observed() {
    let scene = Scene::new(User::Root, "listener");
    let profile = scene.profile(PYTHON);
    let output = scene
        .command("unshare")
        .args(["-mpf", "--mount-proc"])
        .arg(program("aegis-run"))
        .arg("--record")
        .arg(record(&scene))
        .args(["--observe-by", "listener", "--profile"])
        .arg(profile)
        .args(["python3", "-c", "open('f', 'w'); open('/proc/self/status')"])
        .output()
        .expect("unshare starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let seen = read(&scene);
    let file = scene.work().join("f");
    let opened = each(&seen["opened"], "path");
    assert!(opened.contains(file.to_str().expect("UTF-8")), "{opened:?}");
    assert!(opened.iter().any(|path| path.ends_with("/status")));
    assert_eq!(seen["losses"]["unreadable"], 0);
}

/// Nothing inside outlives a supervisor that is killed, and nothing waits for its answer for ever.
#[test]
fn a_supervisor_that_is_killed_takes_everything_along() {
    listened(|scene| {
        let mark = host::Mark::new("listener");
        let profile = format!("{PYTHON}environment: {{pass: [{}]}}\n", host::Mark::NAME);
        let script = "print('up', flush=True)\nimport os\nwhile True: os.stat('/usr')";
        let mut command = recorded(scene, &profile, &["python3", "-c", script]);
        mark.put(&mut command);
        let mut run = host::started(command.stderr(Stdio::null()), "up");
        run.kill().expect("SIGKILL");
        run.wait().expect("it ends");
        host::eventually("what is left of the run", || mark.processes());
        assert!(!record(scene).exists());
    });
}
