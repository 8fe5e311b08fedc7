//! `aegis show`: what a run does or did, as root and as an ordinary user.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Output};

use aegis_tests::audit_log::{self, aegis};
use aegis_tests::{ORDINARY, USERS, User, Workspace, host, program, text};
use serde_json::Value;

const PROFILE: &str = "\
aegis: 1
name: shown
extends: [python, shell]
capabilities:
  files.read: [$WORK, /etc/hostname]
  files.write: [$WORK/out]
  sockets: private
limits: {time: 1h, files: 200, tmp: 64M}
";

/// A listener, both ends of a connection to it, Unix sockets, open files, a child with a child, something denied: `up` when
/// all is there, and the end of standard input ends it.
const BUSY: &str = r#"
import socket, subprocess, sys
kept = open("kept.txt")
tcp = socket.create_server(("127.0.0.1", 4242))
client = socket.create_connection(("127.0.0.1", 4242))
server, _ = tcp.accept()
named = socket.socket(socket.AF_UNIX)
named.bind("/tmp/name\nwith a break")
named.listen()
pair = socket.socketpair()
open("/tmp/filling", "wb").write(b"x" * 3000000)
child = subprocess.Popen(["sh", "-c", "sleep 1000; :", "\x1b[2Jcleared"])
try:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
except OSError:
    pass
print("up", flush=True)
sys.stdin.read()
child.kill()
"#;

/// A run of [`BUSY`] that goes on.
fn busy(workspace: &Workspace) -> Child {
    workspace.write("work/kept.txt", "kept");
    workspace.write("work/out/.keep", "");
    let profile = workspace.profile(PROFILE);
    let mut run = audit_log::run(workspace, &profile, &["--", "python3", "-c", BUSY]);
    host::started(&mut run, "up")
}

fn end(mut run: Child) {
    drop(run.stdin.take());
    let ended = run.wait().expect("it ends");
    assert!(ended.success(), "{ended}");
}

/// The id of the run of this `aegis-run`.
fn id(workspace: &Workspace, run: &Child) -> String {
    let output = aegis(workspace, &["ps", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut list = list.as_array().expect("a list").iter();
    let found = list.find(|listed| listed["pid"] == run.id());
    found.expect("it is listed")["id"]
        .as_str()
        .expect("text")
        .to_owned()
}

fn shown(workspace: &Workspace, words: &[&str]) -> Value {
    let output = aegis(workspace, &[&["show", "--json"], words].concat());
    assert!(output.status.success(), "{words:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_run_that_goes_on_is_seen_from_inside() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let run = busy(&workspace);
        let id = id(&workspace, &run);
        let shown = shown(&workspace, &[&id]);
        let told = format!("as {user:?}: {shown:#}");
        assert_eq!(shown["state"], "running", "{told}");
        assert_eq!(shown["running"]["denials"], 1, "{told}");
        assert_eq!(shown["running"]["network"], "own", "{told}");
        assert_eq!(shown["record"]["verdict"], "allow", "{told}");
        let inside = &shown["inside"];
        // Parents are before their children.
        let processes = inside["processes"].as_array().expect("a list");
        let [python, sh, sleep] = &processes[..] else {
            panic!("three processes, {told}");
        };
        assert_eq!(python["command"][0], "python3", "{told}");
        assert_eq!(python["pid_inside"], 2, "{told}");
        assert_eq!(
            (&sh["parent"], &sleep["parent"]),
            (&python["pid"], &sh["pid"]),
            "{told}"
        );
        assert_eq!(sh["command"][3], "\x1b[2Jcleared", "{told}");
        assert_eq!(
            sleep["command"],
            serde_json::json!(["sleep", "1000"]),
            "{told}"
        );
        let sockets = inside["sockets"].as_array().expect("a list");
        let has = |protocol: &str, state: &str, local: Value| {
            let is_it = |socket: &&Value| {
                socket["protocol"] == protocol
                    && socket["state"] == state
                    && socket["local"] == local
            };
            sockets.iter().any(|socket| is_it(&socket))
        };
        assert!(has("tcp", "listening", "127.0.0.1:4242".into()), "{told}");
        assert!(has("tcp", "connected", "127.0.0.1:4242".into()), "{told}");
        assert!(has("unix", "connected", Value::Null), "{told}");
        // Private ones are where the supervisor has bound them.
        assert!(
            has("unix", "listening", "/tmp/name\nwith a break".into()),
            "{told}"
        );
        let open = inside["open"].as_array().expect("a list");
        let kept = workspace.work().join("kept.txt");
        assert!(
            open.iter()
                .any(|open| open["what"] == kept.to_str().expect("UTF-8")),
            "{told}"
        );
        let limits = shown["limits"].as_array().expect("a list");
        let used = |limit: &str| {
            let found = limits.iter().find(|found| found["limit"] == limit);
            found.expect("the limit")["used"].as_u64()
        };
        assert!(
            used("files").is_some_and(|files| (5..200).contains(&files)),
            "{told}"
        );
        assert!(
            used("tmp").is_some_and(|bytes| (3_000_000..64 << 20).contains(&bytes)),
            "{told}"
        );
        assert!(used("time").is_some(), "{told}");

        // For a person: nothing steers the terminal.
        let output = aegis(&workspace, &["show", &id]);
        let page = said(&output);
        for part in [
            "runs, for",
            "\\_ sh -c sleep 1000; : \\u{1B}[2Jcleared",
            "127.0.0.1:4242",
            "Sockets now",
            "Open now",
            "kept.txt",
            "1 up to now",
        ] {
            assert!(page.contains(part), "no {part:?}, as {user:?}:\n{page}");
        }
        assert!(!page.contains('\x1b'), "as {user:?}:\n{page}");
        end(run);
    }
}

#[test]
fn a_run_that_has_ended_is_shown_by_its_record() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile =
            workspace.profile("aegis: 1\nname: ended\nextends: [shell]\nlimits: {pids: 9}\n");
        let log = audit_log::place(&workspace);
        let secret = workspace.outside().join("secret");
        let script = format!("cat {}; exit 3", secret.display());
        std::fs::write(&secret, "secret").expect("write");
        workspace.own(&secret);
        let words = ["--", "sh", "-c", &script];
        let output = audit_log::run(&workspace, &profile, &words)
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        let start = audit_log::of_type(&log, "run.start");
        let id = start[0]["run"].as_str().expect("text");
        let log = log.to_str().expect("UTF-8");
        // By the whole id, and by its beginning.
        for id in [id, &id[..id.len() - 1]] {
            let shown = shown(&workspace, &[id, "--log", log]);
            let told = format!("as {user:?}: {shown:#}");
            assert_eq!(shown["state"], "ended", "{told}");
            assert_eq!(shown["inside"], Value::Null, "{told}");
            assert_eq!(shown["record"]["end"]["exit_status"], 3, "{told}");
            assert_eq!(shown["limits"][0]["limit"], "pids", "{told}");
            assert_eq!(shown["limits"][0]["value"], 9, "{told}");
            assert_eq!(shown["limits"][0]["used"], Value::Null, "{told}");
            let denial = &shown["record"]["denials"][0];
            assert!(
                denial["what"]
                    .as_str()
                    .is_some_and(|what| what.contains("secret")),
                "{told}"
            );
        }
        let output = aegis(&workspace, &["show", id, "--log", log]);
        let page = said(&output);
        for part in [
            "exited with 3",
            "Denied",
            "allow: ",
            "secret",
            "directory  ",
        ] {
            assert!(page.contains(part), "no {part:?}, as {user:?}:\n{page}");
        }
    }
}

/// `aegis-run --record`, through the service where the user is an ordinary one.
#[test]
fn an_observed_run_is_shown_by_the_lines_of_its_profile() {
    for user in USERS {
        host::in_private_mounts(|| {
            let _service = (user == User::Ordinary).then(crate::observation::Service::start);
            let workspace = Workspace::new(user);
            workspace.write("work/read.txt", "read");
            let record = workspace.outside().join("seen.json");
            let profile = workspace.profile(
                "aegis: 1\nname: seen\nextends: [shell]\ncapabilities:\n  files.read:\n    - $WORK/read.txt\n    - /etc/hostname\n",
            );
            let mut run = workspace.command(program("aegis-run"));
            run.arg("--audit").arg(audit_log::place(&workspace));
            run.arg("--record")
                .arg(&record)
                .arg("--profile")
                .arg(&profile);
            let output = run
                .args(["--", "cat", "read.txt"])
                .output()
                .expect("it starts");
            assert!(output.status.success(), "{}", text(&output));
            let log = audit_log::place(&workspace);
            let of_it = [
                "--log",
                log.to_str().expect("UTF-8"),
                "--record",
                record.to_str().expect("UTF-8"),
            ];
            let shown = shown(&workspace, &of_it);
            let told = format!("as {user:?}: {shown:#}");
            let grants = shown["observed"]["grants"].as_array().expect("a list");
            let used = |grant: &str| {
                let found = grants.iter().find(|found| found["grant"] == grant);
                &found.unwrap_or_else(|| panic!("no {grant}, {told}"))["used"]
            };
            let read = workspace.work().join("read.txt");
            assert_eq!(
                used("files.read $WORK/read.txt")["read"][0],
                read.to_str().expect("UTF-8")
            );
            assert_eq!(
                used("shell.exec cat")["executed"][0],
                "/usr/bin/cat",
                "{told}"
            );
            assert_eq!(
                *used("files.read /etc/hostname"),
                serde_json::json!({}),
                "{told}"
            );
            let page = said(&aegis(&workspace, &[&["show"], &of_it[..]].concat()));
            let (_, never) = page.split_once("Grants never used").expect("the heading");
            assert!(
                never.contains("/etc/hostname") && !never.contains("read.txt\n"),
                "{page}"
            );
            let (_, much) = page.split_once("How much").expect("the heading");
            assert!(much.contains("in a second at most"), "{page}");
            assert_eq!(shown["observed"]["counts"]["executions"], 1, "{told}");

            // What has changed since is not held against the run.
            std::fs::write(&profile, "aegis: 1\nextends: [shell]\n").expect("write");
            let shown = self::shown(&workspace, &of_it);
            assert_eq!(shown["observed"]["grants"], Value::Null);
            let page = said(&aegis(&workspace, &[&["show"], &of_it[..]].concat()));
            assert!(page.contains("is not any more as it was"), "{page}");
            let profile = profile.to_str().expect("UTF-8");
            let named = [&["show"], &of_it[..], &["--profile", profile]].concat();
            let output = aegis(&workspace, &named);
            assert_eq!(output.status.code(), Some(1), "{}", text(&output));
            assert!(
                text(&output).contains("the hash differs"),
                "{}",
                text(&output)
            );
        });
    }
}

#[test]
fn a_run_is_named_by_its_profile_where_one_runs_under_it() {
    let workspace = Workspace::new(User::Ordinary);
    let first = busy(&workspace);
    assert_eq!(shown(&workspace, &["shown"])["running"]["pid"], first.id());
    let second = {
        let profile = workspace.profile(PROFILE);
        let mut run = audit_log::run(
            &workspace,
            &profile,
            &["--", "sh", "-c", "echo up; read -r line; :"],
        );
        host::started(&mut run, "up")
    };
    for (words, says) in [
        (
            &["show", "shown"][..],
            "several sandboxes are meant by that",
        ),
        (&["kill", "shown"], "several sandboxes are meant by that"),
        (
            &["show", "none-such"],
            "neither a running sandbox nor the audit log",
        ),
        (&["show", ""], "an id must not be empty"),
    ] {
        let output = aegis(&workspace, words);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{words:?}: {}",
            text(&output)
        );
        assert!(text(&output).contains(says), "{words:?}: {}", text(&output));
    }
    // Nobody was ended by that; now the one that is left is, by its profile's name.
    end(second);
    let output = aegis(&workspace, &["kill", "--signal", "KILL", "shown"]);
    assert!(output.status.success(), "{}", text(&output));
    let mut first = first;
    first.wait().expect("it ends");
}

/// Another user has no list and no log that this one could be in; a pid in an own file leads nowhere.
#[test]
fn another_users_run_is_not_seen() {
    let root = Workspace::new(User::Root);
    let run = busy(&root);
    let id = id(&root, &run);
    let other = Workspace::new(User::Ordinary);
    let output = aegis(&other, &["show", &id]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(said(&output).is_empty(), "{}", text(&output));
    let output = aegis(&other, &["show", "--all", &id]);
    assert!(
        text(&output).contains("only root can see"),
        "{}",
        text(&output)
    );
    // An entry that leads to root's sandbox.
    let own = std::fs::read_to_string(Path::new("/run/aegis").join(format!("{id}.json")));
    let own = own.expect("root's entry");
    let forged = own.replace("\"profile\":\"shown\"", "\"profile\":\"forged\"");
    let held = Forged::new(&other.state().join("aegis/run"), &forged);
    let output = aegis(&other, &["show", "--json", "forged"]);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(shown["inside"], Value::Null, "{shown:#}");
    held.end();
    end(run);
}

/// Root lists what other users have written themselves, and opens nothing that they name.
#[test]
fn root_is_not_led_to_what_another_user_names() {
    host::in_private_mounts(|| {
        host::tmpfs("/run".as_ref(), "mode=755");
        let root = Workspace::new(User::Root);
        let run = busy(&root);
        let id = id(&root, &run);
        let own = std::fs::read_to_string(Path::new("/run/aegis").join(format!("{id}.json")));
        let mut entry: Value =
            serde_json::from_str(own.expect("an entry").lines().next().expect("a line"))
                .expect("JSON");
        // Whoever opened this would wait.
        let pipe = root.outside().join("pipe");
        let made = Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo starts");
        assert!(made.success());
        entry["profile"] = "forged".into();
        entry["log"] = pipe.to_str().expect("UTF-8").into();
        let registry = Path::new("/run/user")
            .join(ORDINARY.to_string())
            .join("aegis");
        let held = Forged::new(&registry, &format!("{entry}\n{:>20}\n", 0));
        let output = aegis(&root, &["show", "--all", "--json", "forged"]);
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(shown["inside"], Value::Null, "{shown:#}");
        assert_eq!(shown["record"], Value::Null, "{shown:#}");
        assert_eq!(shown["running"]["uid"], ORDINARY, "{shown:#}");
        held.end();
        end(run);
    });
}

/// An entry that an ordinary user has written, locked as a true one is.
struct Forged(Child);

impl Forged {
    fn new(registry: &Path, text: &str) -> Self {
        std::fs::create_dir_all(registry).expect("mkdir");
        let file = registry.join("1-forged.json");
        std::fs::write(&file, text).expect("write");
        let above = registry.parent().expect("a directory");
        for (path, mode) in [(above, 0o700), (registry, 0o700), (&file, 0o600)] {
            chown(path, Some(ORDINARY), Some(ORDINARY)).expect("chown");
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, mode).expect("chmod");
        }
        let mut holder = Command::new("flock");
        holder
            .arg(&file)
            .args(["sh", "-c", "echo held; read -r line; :"]);
        Self(host::started(&mut holder, "held"))
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends");
    }
}

/// More processes and descriptors than are looked at one by one are counted, and what is shown ends.
#[test]
fn what_is_too_much_to_be_shown_is_counted() {
    const MANY: &str = "
import os, sys, time
for n in range(2100):
    if os.fork() == 0:
        time.sleep(100000)
kept = [os.open('/dev/null', os.O_RDONLY) for n in range(500)]
print('up', flush=True)
sys.stdin.read()
";
    let workspace = Workspace::new(User::Ordinary);
    let profile = workspace.profile("aegis: 1\nname: many\nextends: [python]\n");
    let mut command = audit_log::run(&workspace, &profile, &["--", "python3", "-c", MANY]);
    let mut run = host::started(&mut command, "up");
    let shown = shown(&workspace, &["many"]);
    let inside = &shown["inside"];
    assert_eq!(inside["usage"]["processes"], 2101, "{}", shown["running"]);
    assert_eq!(inside["processes"].as_array().map(Vec::len), Some(2048));
    assert_eq!(inside["processes_left_out"], 53);
    let null = |open: &&Value| open["what"] == "/dev/null";
    let open = inside["open"].as_array().expect("a list");
    let null = open.iter().find(null).expect("it is open");
    assert!(null["descriptors"].as_u64() >= Some(500), "{null}");
    assert!(
        null["pids"].as_array().is_some_and(|pids| pids.len() <= 16),
        "{null}"
    );
    let page = said(&aegis(&workspace, &["show", "many"]));
    assert!(page.contains("and 2061 more"), "{page}");
    assert!(page.lines().count() < 120, "{page}");
    drop(run.stdin.take());
    run.wait().expect("it ends");
}
