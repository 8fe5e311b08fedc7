//! What the probes and the listener see of a run: everything that `strace` sees, and what it cannot; what is lost is counted.

mod ground;
mod listener;
mod oracle;
mod service;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::os::unix::process::ExitStatusExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use aegis_tests::{USERS, User, Workspace, host, program, repository, text};
use serde_json::Value;

/// The service of a host, in the mount namespace of the test.
pub struct Service(Child);

impl Service {
    /// Only within [`host::in_private_mounts`].
    pub fn start() -> Self {
        host::tmpfs(Path::new("/run"), "mode=755");
        let mut service = Command::new(program("aegis"))
            .arg("observe")
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let said = service.stderr.as_mut().expect("piped");
        BufReader::new(said).read_line(&mut line).expect("a line");
        assert!(line.contains("observing; users connect"), "{line}");
        Self(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Who runs, and who observes: a value of `--observe-by`.
pub(crate) struct Scene {
    workspace: Workspace,
    pub(crate) by: &'static str,
}

impl Scene {
    fn new(user: User, by: &'static str) -> Self {
        let workspace = Workspace::new(user);
        Self { workspace, by }
    }

    fn is_by_listener(&self) -> bool {
        self.by == "listener"
    }
}

impl Deref for Scene {
    type Target = Workspace;

    fn deref(&self) -> &Workspace {
        &self.workspace
    }
}

/// Runs something as each user, by probes (root without the service, another through it), and by the listener.
pub(crate) fn observed(body: impl Fn(&Scene) + Send + Sync) {
    for user in USERS {
        host::in_private_mounts(|| {
            let service = (user == User::Ordinary).then(Service::start);
            body(&Scene::new(user, "probes"));
            drop(service);
            body(&Scene::new(user, "listener"));
        });
    }
}

/// Runs the first commands of a section of the page, as a reader would.
pub(crate) fn follow(workspace: &Workspace, section: &str) -> Output {
    let page = std::fs::read_to_string(repository("docs/observing.md")).expect("the page");
    let (_, section) = page.split_once(section).expect("the section");
    let block = section.split("```sh\n").nth(1).expect("a block");
    let block = block.split("```").next().expect("its end");
    let programs = program("aegis-run");
    let path = programs
        .parent()
        .expect("a directory")
        .display()
        .to_string();
    let output = (workspace.command("sh"))
        .env("PATH", format!("{path}:/usr/bin:/bin"))
        .args(["-euc", block])
        .output()
        .expect("sh starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    output
}

/// `aegis-run --record RECORD --observe-by WHO --profile PROFILE -- WORDS`.
fn recorded(workspace: &Scene, profile: &str, words: &[&str]) -> Command {
    let profile = workspace.profile(profile);
    let mut command = workspace.command(program("aegis-run"));
    command.arg("--record").arg(record(workspace));
    command.arg("--observe-by").arg(workspace.by);
    command.arg("--profile").arg(profile).arg("--").args(words);
    command
}

fn record(workspace: &Workspace) -> PathBuf {
    workspace.outside().join("seen.json")
}

fn read(workspace: &Workspace) -> Value {
    let json = std::fs::read(record(workspace)).expect("an observation");
    serde_json::from_slice(&json).expect("JSON")
}

/// What a run was seen to do, which ends with this status.
fn seen(workspace: &Scene, profile: &str, words: &[&str], status: i32) -> Value {
    let output = recorded(workspace, profile, words).output();
    let output = output.expect("aegis-run starts");
    assert_eq!(output.status.code(), Some(status), "{}", text(&output));
    read(workspace)
}

/// What a Python script was seen to do.
pub(crate) fn python(scene: &Scene, profile: &str, script: &str) -> Value {
    seen(scene, profile, &["python3", "-c", script], 0)
}

/// A field of every entry of a list.
fn each(list: &Value, field: &str) -> BTreeSet<String> {
    let entries = list.as_array().expect("a list").iter();
    entries
        .filter_map(|entry| Some(entry[field].as_str()?.to_owned()))
        .collect()
}

/// A path as an observation has it.
fn absolute(directory: &Path, path: &str) -> String {
    let mut absolute = PathBuf::from("/");
    for component in directory.join(path).components() {
        match component {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => drop(absolute.pop()),
            _ => {}
        }
    }
    absolute.to_str().expect("UTF-8").to_owned()
}

/// Aegis's own preparations, before the command executes, are not the command's.
#[test]
fn observation_begins_with_the_command() {
    observed(|workspace| {
        let profile = "aegis: 1\nname: small\nextends: [shell]\n";
        let seen = seen(workspace, profile, &["sh", "-c", "exit 3"], 3);
        let calls = seen["calls"]["native"].as_array().expect("a list");
        for own in [
            "pivot_root",
            "mount",
            "seccomp",
            "landlock_restrict_self",
            "setresuid",
            "prctl",
        ] {
            assert!(!calls.iter().any(|call| call == own), "{own}: {calls:?}");
        }
        let run = &seen["runs"][0];
        assert_eq!(run["command"][2], "exit 3");
        assert_eq!(run["exit-status"], 3);
        let tiers: &[&str] = match workspace.is_by_listener() {
            true => &["listener"],
            false => &["bpf", "bpf-lsm"],
        };
        let tier = run["tier"].as_str().expect("a word");
        assert!(tiers.contains(&tier), "{tier}");
        assert_eq!(seen["counts"]["executions"], 1);
        assert!(each(&seen["executed"], "path").contains("/usr/bin/dash"));
    });
}

#[test]
fn what_is_refused_is_seen_with_its_path_and_error() {
    observed(|workspace| {
        let profile =
            "aegis: 1\nname: refused\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n";
        let script =
            "cat /etc/shadow; ls; echo x > /usr/x; mkdir /etc/y; unshare -r true; kill -9 1; :";
        let seen = seen(workspace, profile, &["sh", "-c", script], 0);
        let named: BTreeSet<String> = seen["named"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|entry| {
                let word = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
                format!("{} {} {}", word("call"), word("path"), word("error"))
            })
            .collect();
        for expected in [
            "openat /etc/shadow ENOENT",
            "openat /usr/x EROFS",
            "execve /usr/bin/unshare EACCES",
            "mkdir /etc/y EROFS",
        ] {
            assert!(named.contains(expected), "{expected}: {named:#?}");
        }
    });
}

/// Names that no text has, and files without a name.
#[test]
fn odd_names_are_seen_as_they_are() {
    observed(|workspace| {
        let profile =
            "aegis: 1\nname: odd\nextends: [python]\ncapabilities: {files.write: [$WORK]}\n";
        let script = r#"
import os
open(b"bad\xff", "w"); open("new\nline", "w")
deep = "d" * 200
for _ in range(15):
    os.mkdir(deep); os.chdir(deep)
open("deepest", "w")
fd = os.open("gone", os.O_CREAT | os.O_RDWR); os.unlink("gone")
os.open("/proc/self/fd/%d" % fd, os.O_RDONLY)
try: open("x" * 5000)
except OSError: pass
"#;
        let seen = seen(workspace, profile, &["python3", "-c", script], 0);
        let opened = seen["opened"].as_array().expect("a list");
        let has = |test: &dyn Fn(&Value) -> bool| opened.iter().any(test);
        assert!(has(&|file| file["path"]["base16"]
            .as_str()
            .is_some_and(|name| name.ends_with("626164ff"))));
        assert!(has(&|file| file["path"]
            .as_str()
            .is_some_and(|path| path.ends_with("/new\nline"))));
        let depth = 15 * 201 + "/deepest".len();
        assert!(has(&|file| file["path"].as_str().is_some_and(|path| path
            .ends_with("/deepest")
            && path.len() > depth)));
        assert!(has(&|file| file["deleted"] == true
            && file["path"]
                .as_str()
                .is_some_and(|path| path.ends_with("/gone"))));
        assert_eq!(seen["losses"]["truncated"], 0);
        // The kernel read as much of it as a path can have.
        assert!(
            seen["named"]
                .as_array()
                .expect("a list")
                .iter()
                .any(|call| call["error"] == "ENAMETOOLONG")
        );
    });
}

const ADDRESSES: &str = r#"
import socket
def tried(act, *what):
    try: act(*what)
    except OSError: pass
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    tried(socket.socket(family).connect, (host, 9))
    tried(socket.socket(family, socket.SOCK_DGRAM).sendto, b"x", (host, 10))
    s = socket.socket(family); tried(s.bind, (host, 0)); tried(s.listen)
u = socket.socket(socket.AF_UNIX); u.bind("here"); u.listen()
socket.socket(socket.AF_UNIX).connect("here")
tried(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto, b"x", "there")
tried(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendmsg, [b"x"], [], 0, "yonder")
tried(socket.socket(socket.AF_UNIX).connect, "\0abstract")
"#;

#[test]
fn addresses_are_seen_of_every_family() {
    observed(|workspace| {
        let profile = "
aegis: 1
name: net
extends: [python]
capabilities: {files.write: [$WORK]}
syscalls: {allow: [socket, listen]}
";
        let seen = seen(workspace, profile, &["python3", "-c", ADDRESSES], 0);
        let used: BTreeSet<String> = seen["addresses"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|address| {
                let of = address["of"].as_object().expect("an end");
                let (kind, end) = of.iter().next().expect("one");
                let end = end
                    .as_str()
                    .expect("text")
                    .replace(workspace.work().to_str().expect("UTF-8"), "$WORK");
                format!("{} {kind} {end}", address["how"].as_str().expect("text"))
            })
            .collect();
        for expected in [
            "connect internet 127.0.0.1:9",
            "connect internet [::1]:9",
            "send internet 127.0.0.1:10",
            "send internet [::1]:10",
            "bind internet 127.0.0.1:0",
            "bind path $WORK/here",
            "connect path $WORK/here",
            "send path $WORK/there",
            "send path $WORK/yonder",
            "connect abstract abstract",
        ] {
            assert!(used.contains(expected), "{expected}: {used:#?}");
        }
        let listens = |used: &String| used.starts_with("listen internet ");
        assert!(used.iter().any(listens), "{used:#?}");
    });
}

/// More files than there is room for: each that was lost is counted, and the run goes on.
#[test]
fn what_is_lost_is_counted() {
    for by in ["probes", "listener"] {
        flood(&Scene::new(User::Root, by));
    }
}

fn flood(workspace: &Scene) {
    let profile =
        "aegis: 1\nname: flood\nextends: [python]\ncapabilities: {files.write: [$WORK]}\n";
    let script = "
import os
for i in range(100000):
    os.close(os.open(str(i), os.O_CREAT | os.O_RDWR)); os.unlink(str(i))
";
    let seen = seen(workspace, profile, &["python3", "-c", script], 0);
    let number = |value: &Value| value.as_u64().expect("a number");
    let dropped = number(&seen["losses"]["dropped"]);
    let kept = seen["opened"].as_array().expect("a list").len()
        + seen["named"].as_array().expect("a list").len();
    // An open and an unlink of each, and what Python needs itself.
    let all = kept as u64 + dropped;
    assert!((200_000..202_000).contains(&all), "{kept} and {dropped}");
    assert!(dropped > 100_000, "{dropped}");
    is_incomplete(workspace, dropped);
}

/// Whoever learns from what was recorded is told that some of it is lost.
fn is_incomplete(workspace: &Scene, dropped: u64) {
    let mut learn = workspace.command(program("aegis-learn"));
    let output = learn.arg("--from").arg(record(workspace)).output();
    let said = text(&output.expect("aegis-learn starts"));
    let lost = format!("{dropped} events lost: the profile may lack lines");
    assert!(said.contains(&lost), "{lost}: {said}");
}

/// More addresses than are kept, and processes, of which only the number is.
#[test]
fn lost_addresses_are_counted_and_processes_are() {
    for by in ["probes", "listener"] {
        let scene = Scene::new(User::Root, by);
        let profile = "aegis: 1\nname: flood\nextends: [python]\nsyscalls: {allow: [socket]}\n";
        let script = "
import os, socket
for _ in range(2000):
    if os.fork() == 0: os._exit(0)
    os.wait()
for n in range(100000):
    if n % 1000 == 0: s = socket.socket(type=socket.SOCK_DGRAM)
    s.connect((f'127.{n >> 16}.{n >> 8 & 255}.{n & 255}', 9))
";
        let seen = seen(&scene, profile, &["python3", "-c", script], 0);
        let dropped = seen["losses"]["dropped"].as_u64().expect("a number");
        let kept = seen["addresses"].as_array().expect("a list").len() as u64;
        // By probes a call leaves more than one note.
        assert!(kept + dropped >= 100_000, "{by}: {kept} and {dropped}");
        assert!(dropped > 30_000, "{by}: {dropped}");
        assert!(
            scene.is_by_listener() || seen["counts"]["forks"] == 2000,
            "{}",
            seen["counts"]
        );
        is_incomplete(&scene, dropped);
    }
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(125), "{}", text(output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}
