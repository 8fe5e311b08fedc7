//! What a run does that it never did: flagged with the right reason, ended where that is forbidden, and nothing else flagged.

mod clean;
mod rates;
mod reactions;
mod refusals;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use aegis_tests::audit_log::{aegis, of_type, place};
use aegis_tests::{Workspace, program, text};
use serde_json::Value;

use crate::observation::observed;

/// A skill that reads, writes, forks and uses threads.
const SKILL: &str = r#"
import ctypes, json, os, shutil, socket, sys, tempfile, threading
libc = ctypes.CDLL(None, use_errno=True)
rows = open("data.csv").read().split()
with open("out/result.json", "w") as out: json.dump(rows, out)
thread = threading.Thread(target=len, args=(rows,)); thread.start(); thread.join()
child = os.fork()
if child == 0: os._exit(0)
os.waitpid(child, 0)
with tempfile.TemporaryDirectory() as scratch: open(scratch + "/x", "w").write("x")
def tried(function, *words):
    try: return function(*words)
    except OSError as error: print(error)
"#;

/// What is grafted onto it, the kind that it is, and what is to be named.
struct Graft {
    name: &'static str,
    code: &'static str,
    kind: &'static str,
    names: &'static str,
}

const fn graft(
    name: &'static str,
    code: &'static str,
    kind: &'static str,
    names: &'static str,
) -> Graft {
    Graft {
        name,
        code,
        kind,
        names,
    }
}

const READ_PASSWD: &str = "open('/etc/passwd').read()";

const GRAFTS: [Graft; 34] = [
    graft(
        "reads a key",
        "tried(open, os.path.join(HOME, '.ssh/id_rsa'))",
        "read",
        "/.ssh/id_rsa",
    ),
    graft(
        "lists keys",
        "tried(os.listdir, os.path.join(HOME, '.ssh'))",
        "read",
        "/.ssh",
    ),
    graft("opens /etc/passwd", READ_PASSWD, "read", "/etc/passwd"),
    graft(
        "by a link of its own",
        "os.symlink('/etc/passwd', 'out/l'); open('out/l').read()",
        "read",
        "/etc/passwd",
    ),
    graft(
        "connects out",
        "tried(socket.socket().connect, ('192.0.2.1', 443))",
        "connect",
        "192.0.2.1:443",
    ),
    graft(
        "by IPv6",
        "tried(socket.socket(socket.AF_INET6).connect, ('::ffff:192.0.2.1', 443))",
        "connect",
        "192.0.2.1]:443",
    ),
    graft(
        "sends a datagram",
        "tried(socket.socket(type=socket.SOCK_DGRAM).sendto, b'x', ('192.0.2.1', 53))",
        "connect",
        "192.0.2.1:53",
    ),
    graft(
        "resolves a name",
        "tried(socket.getaddrinfo, 'example.org', 80)",
        "read",
        "/etc/resolv.conf",
    ),
    graft("spawns a shell", "os.system('true')", "exec", "/bin/dash"),
    graft(
        "writes a hook",
        "tried(os.mkdir, 'hooks'); tried(open, 'hooks/post-commit', 'w')",
        "write",
        "hooks/post-commit",
    ),
    graft("ptraces", "libc.ptrace(0, 0, 0, 0)", "call", "ptrace"),
    graft(
        "mounts",
        "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
        "call",
        "mount",
    ),
    graft(
        "makes a user namespace",
        "libc.unshare(0x10000000)",
        "call",
        "unshare",
    ),
    graft(
        "io_uring",
        "libc.syscall(425, 8, None)",
        "call",
        "io_uring_setup",
    ),
    graft(
        "loads a BPF program",
        "libc.syscall(321, 5, None, 0)",
        "call",
        "bpf",
    ),
    graft(
        "executes from /tmp",
        "shutil.copy('/usr/bin/env', '/tmp/x'); tried(os.spawnv, os.P_WAIT, '/tmp/x', ['x'])",
        "denied",
        "/tmp/x",
    ),
    graft(
        "executes memory",
        "f = tried(os.memfd_create, 'x'); os.write(f, open('/usr/bin/env', 'rb').read()); tried(os.execve, f, ['x'], {})",
        "call",
        "memfd_create",
    ),
    graft(
        "forks a bomb",
        "for _ in range(200):\n    if tried(os.fork) == 0: libc.pause()",
        "rate",
        "processes and threads",
    ),
    graft(
        "signals a process of the host",
        "tried(os.kill, 54321, 9)",
        "call",
        "kill",
    ),
    graft(
        "reads another's environ",
        "tried(open, '/proc/1/environ')",
        "denied",
        "/proc/1/environ",
    ),
    graft("chmods", "os.chmod('data.csv', 0o600)", "call", "chmod"),
    graft(
        "removes its input",
        "os.unlink('data.csv')",
        "write",
        "data.csv",
    ),
    graft(
        "writes beside its output",
        "open('data.csv', 'a').write('x')",
        "write",
        "data.csv",
    ),
    graft(
        "writes to the system",
        "tried(open, '/usr/bin/x', 'w')",
        "denied",
        "/usr/bin/x",
    ),
    graft(
        "sends over a Unix socket",
        "tried(socket.socket(socket.AF_UNIX).connect, '/run/dbus/system_bus_socket')",
        "connect",
        "system_bus_socket",
    ),
    graft(
        "by an abstract name",
        "tried(socket.socket(socket.AF_UNIX).connect, '\\0agent')",
        "connect",
        "@agent",
    ),
    graft(
        "a raw socket",
        "tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)",
        "socket",
        "type 3",
    ),
    graft(
        "listens",
        "s = socket.socket(); s.bind(('127.0.0.1', 8080)); s.listen()",
        "bind",
        "127.0.0.1:8080",
    ),
    graft(
        "reads much more than ever",
        "for d, _, names in os.walk('/usr/lib/python3.11'):\n    for name in names: tried(open, d + '/' + name)",
        "rate",
        "different files opened",
    ),
    graft(
        "a trickle in a flood",
        "for n in range(3000): open(f'/tmp/f{n}', 'w')\nopen('/etc/passwd').read()\nfor n in range(3000): open(f'/tmp/g{n}', 'w')",
        "read",
        "/etc/passwd",
    ),
    graft(
        "from a thread",
        "t = threading.Thread(target=lambda: open('/etc/passwd').read()); t.start(); t.join()",
        "read",
        "/etc/passwd",
    ),
    graft(
        "from a grandchild that nobody waits for",
        "r, w = os.pipe()\nif os.fork() == 0:\n    if os.fork() == 0:\n        open('/etc/passwd').read(); os.write(w, b'x')\n    os._exit(0)\nos.read(r, 1)",
        "read",
        "/etc/passwd",
    ),
    graft(
        "after execution",
        "os.execv(sys.executable, ['python3', '-c', \"open('/etc/passwd').read()\"])",
        "read",
        "/etc/passwd",
    ),
    graft(
        "a call of 32 bits",
        "import mmap; m = mmap.mmap(-1, 4096, flags=0x22, prot=7); m.write(bytes.fromhex('b814000000cd80c3')); ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()",
        "call",
        "20 of the 32-bit ABI",
    ),
];

/// Only probes notice what happens while it does, and see every call.
fn by_probes(body: impl Fn(&Workspace) + Send + Sync) {
    observed(|scene| {
        if scene.by == "probes" {
            body(scene);
        }
    });
}

fn learn(workspace: &Workspace, words: &[&str]) {
    let mut learn = workspace.command(program("aegis-learn"));
    let output = learn
        .args(["--force", "-o", "skill.yaml", "--"])
        .args(words)
        .output();
    let output = output.expect("aegis-learn starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// The line of a learnt profile that names its baseline.
fn baseline(workspace: &Workspace) -> String {
    let profile = fs::read_to_string(workspace.work().join("skill.yaml")).expect("a profile");
    let mut lines = profile.lines();
    let line = lines.find(|line| line.starts_with("baseline: "));
    line.expect("it names its baseline").to_owned()
}

/// A learnt skill, and a profile that grants more than it, with its baseline: so that more is done than only tried.
fn skill(workspace: &Workspace) {
    workspace.write("work/data.csv", "1 2 3\n");
    workspace.write("work/out/result.json", "");
    workspace.write("work/skill.py", SKILL);
    workspace.write("home/.ssh/id_rsa", "a key\n");
    learn(workspace, &["python3", "skill.py"]);
    let baseline = baseline(workspace);
    workspace.write(
        "work/wide.yaml",
        format!(
            "aegis: 1\nname: wide\nextends: [python, shell]\n{baseline}\ncapabilities: {{files.write: [$WORK], sockets: private}}\n"
        ),
    );
}

fn report(workspace: &Workspace) -> PathBuf {
    workspace.outside().join("report.json")
}

/// `aegis-run --observe` under a profile of the workspace and a policy.
fn run(workspace: &Workspace, profile: &str, policy: &str, words: &[&str]) -> Command {
    let mut command = workspace.command(program("aegis-run"));
    command.args([
        "--observe",
        "--profile",
        profile,
        "--policy",
        policy,
        "--report",
    ]);
    command
        .arg(report(workspace))
        .arg("--audit")
        .arg(place(workspace));
    command.arg("--").args(words);
    command
}

/// Runs the skill under the profile that grants more than it, and a policy that only records.
fn run_wide(workspace: &Workspace) -> Output {
    let words = ["python3", "skill.py"];
    let output = run(workspace, "wide.yaml", "permissive", &words).output();
    output.expect("aegis-run starts")
}

fn reported(workspace: &Workspace) -> Value {
    let json = fs::read(report(workspace)).expect("a report");
    serde_json::from_slice(&json).expect("JSON")
}

/// The kinds of the anomalies of a run, and what they are about.
fn anomalies(report: &Value) -> Vec<(String, String)> {
    let list = report["anomalies"].as_array();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (list.into_iter().flatten())
        .map(|anomaly| (word(&anomaly["what"]["kind"]), word(&anomaly["what"]["of"])))
        .collect()
}

fn grafted(workspace: &Workspace, code: &str) {
    let home = workspace.home().display().to_string();
    workspace.write("work/skill.py", format!("{SKILL}HOME = {home:?}\n{code}\n"));
}

#[test]
fn whatever_a_learnt_skill_never_did_is_flagged_with_what_it_is() {
    by_probes(|workspace| {
        skill(workspace);
        let mut missed = Vec::new();
        for graft in GRAFTS {
            workspace.write("work/data.csv", "1 2 3\n");
            let _ = fs::remove_file(workspace.work().join("out/l"));
            grafted(workspace, graft.code);
            let output = run_wide(workspace);
            let found = anomalies(&reported(workspace));
            let is_named =
                |(kind, of): &(String, String)| kind == graft.kind && of.contains(graft.names);
            if !found.iter().any(is_named) {
                missed.push(format!("{}: {found:?}\n{}", graft.name, text(&output)));
            }
        }
        assert!(
            missed.is_empty(),
            "{} missed:\n{}",
            missed.len(),
            missed.join("\n")
        );
    });
}

/// Kills what is executed or reached before it has happened, whoever does it.
#[test]
fn what_is_killed_never_returns() {
    by_probes(|workspace| {
        skill(workspace);
        let acts = [
            (
                "tried(socket.socket().connect, ('127.0.0.1', 80)); print('RETURNED', flush=True)",
                "connect",
                "127.0.0.1:80",
            ),
            (
                "s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', 80)); print('RETURNED', flush=True)",
                "connect",
                "127.0.0.1:80",
            ),
            (
                "os.execv('/bin/sh', ['sh', '-c', 'echo RETURNED'])",
                "exec",
                "/usr/bin/dash",
            ),
            ("os.system('echo RETURNED')", "exec", "/usr/bin/dash"),
        ];
        for (act, kind, names) in acts {
            let from = [
                act.to_owned(),
                format!(
                    "def act():\n    {act}\nt = threading.Thread(target=act); t.start(); t.join(); libc.pause()"
                ),
                format!("if os.fork() == 0:\n    {act}\n    os._exit(0)\nlibc.pause()"),
            ];
            for code in from {
                grafted(workspace, &code);
                let output =
                    run(workspace, "wide.yaml", "standard", &["python3", "skill.py"]).output();
                let output = output.expect("aegis-run starts");
                assert_eq!(output.status.code(), Some(137), "{code}: {}", text(&output));
                assert!(
                    !String::from_utf8_lossy(&output.stdout).contains("RETURNED"),
                    "{code}: {}",
                    text(&output)
                );
                let report = reported(workspace);
                assert_eq!(report["cause"], "anomaly", "{code}");
                let is_it = |anomaly: &&Value| {
                    anomaly["what"]["kind"] == kind
                        && anomaly["what"]["of"]
                            .as_str()
                            .is_some_and(|of| of.contains(names))
                };
                let list = report["anomalies"].as_array().expect("a list");
                let killed = list
                    .iter()
                    .find(is_it)
                    .unwrap_or_else(|| panic!("{code}: {list:?}"));
                assert_eq!(killed["reaction"], "killed", "{code}");
                let rules = killed["rules"].as_array().expect("a list");
                assert!(
                    rules.contains(&"anomalies-that-reach-out".into()),
                    "{code}: {rules:?}"
                );
            }
        }
        // Each is in the log, with the decision; which is the same when it is made again.
        let records = of_type(&place(workspace), "anomaly");
        let killed = |record: &&Value| record["detail"]["reaction"] == "killed";
        assert!(records.iter().filter(killed).count() >= 12);
        assert!(
            records
                .iter()
                .all(|record| record["detail"]["baseline"].is_string())
        );
        let log = place(workspace).display().to_string();
        let again = aegis(workspace, &["replay", &log]);
        assert_eq!(again.status.code(), Some(0), "{}", text(&again));
        let shown = aegis(workspace, &["audit", "show", &log, "--type", "anomaly"]);
        assert!(
            text(&shown).contains("anomaly connect 127.0.0.1:80"),
            "{}",
            text(&shown)
        );
    });
}
