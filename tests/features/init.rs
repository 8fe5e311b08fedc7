//! The sandbox's PID 1 and the launcher: what is seen of them inside, and who can reach them.

use std::io::Read;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use aegis_tests::host::{self, eventually};
use aegis_tests::terminal::{OUTER, Terminal};
use aegis_tests::{ORDINARY, USERS, User, Workspace, program, text};

const SHELL: &str = "aegis: 1\nname: init\nextends: [shell]\n";
const PYTHON: &str = "aegis: 1\nname: init\nextends: [python]\n";

#[test]
fn the_launchers_command_line_cannot_be_read_inside() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(SHELL);
        let output = (workspace.command(program("aegis-run")))
            .args(["--set", "limits.time=59s", "--profile"])
            .arg(&profile)
            .args(["--", "cat", "/proc/1/cmdline", "/proc/1/comm"])
            .output()
            .expect("aegis-run starts");
        assert!(output.status.success(), "as {user:?}: {}", text(&output));
        let shown = String::from_utf8_lossy(&output.stdout).replace('\0', "");
        assert_eq!(shown, "aegis-runaegis-run\n", "as {user:?}");
    }
}

#[test]
fn scheduling_of_pid_1_is_out_of_reach() {
    // Each call is tried on a child first, where it works.
    let script = "
import ctypes, os, platform, signal
libc = ctypes.CDLL(None, use_errno=True)
arm = platform.machine() == 'aarch64'
ioprio_set, sched_setattr = (30, 274) if arm else (251, 314)
def call(number, *words):
    if libc.syscall(number, *words) != 0: raise OSError(ctypes.get_errno(), 'no')
attr = (ctypes.c_uint32 * 12)(48, os.SCHED_IDLE)
ways = {
    'nice': lambda pid: os.setpriority(os.PRIO_PROCESS, pid, 19),
    'affinity': lambda pid: os.sched_setaffinity(pid, os.sched_getaffinity(0)),
    'idle': lambda pid: os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0)),
    'param': lambda pid: os.sched_setparam(pid, os.sched_param(0)),
    'attr': lambda pid: call(sched_setattr, pid, attr, 0),
    'disk': lambda pid: call(ioprio_set, 1, pid, 3 << 13),
}
child = os.fork()
if child == 0: signal.pause()
for name, way in ways.items():
    way(child)
    try: way(1)
    except PermissionError: continue
    print('got out:', name)
for name, way in {
    'nice of a user': lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19),
    'disk of a user': lambda: call(ioprio_set, 3, os.getuid(), 3 << 13),
}.items():
    try: way()
    except PermissionError: continue
    print('got out:', name)
os.kill(child, signal.SIGKILL)
print('tried')
";
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(PYTHON);
        let output = workspace
            .aegis(&profile, &["python3", "-c", script])
            .output();
        let told = text(&output.expect("aegis-run starts"));
        assert!(told.contains("tried"), "as {user:?}: {told}");
        assert!(!told.contains("got out"), "as {user:?}: {told}");
    }
}

/// The processes of a run in its pid namespace, by their pids there: PID 1, the command.
fn inside(launcher: u32, number: u32) -> i32 {
    let all = std::fs::read_dir("/proc").expect("/proc");
    let found = all.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        let parent: u32 = parent.trim().parse().ok()?;
        let of_run = match number {
            1 => parent == launcher,
            _ => parent as i32 == inside(launcher, 1),
        };
        let pids = host::pids(pid);
        (pids.len() > 1 && pids.last() == Some(&number) && of_run).then_some(pid as i32)
    });
    found.expect("a process of the run")
}

#[test]
fn the_owner_of_the_directory_cannot_reach_pid_1_of_roots_run() {
    let workspace = Workspace::new(User::Root);
    chown(workspace.work(), Some(ORDINARY), Some(ORDINARY)).expect("chown");
    let profile = workspace.profile(SHELL);
    let script = "echo ready; read line; exit 3";
    let mut child = host::started(
        &mut workspace.aegis(&profile, &["sh", "-c", script]),
        "ready",
    );
    let init = inside(child.id(), 1);
    let signalled = |pid: i32, signal: &str| {
        let mut kill = Command::new("/bin/kill");
        kill.args([signal, "--", &pid.to_string()]);
        kill.uid(ORDINARY).gid(ORDINARY).stderr(Stdio::null());
        kill.status().expect("kill starts").success()
    };
    // The control: the command is a process of this user's.
    let command = inside(child.id(), 2);
    assert!(signalled(command, "-CONT"));
    for signal in ["-STOP", "-KILL", "-0"] {
        assert!(!signalled(init, signal), "{signal}");
    }
    drop(child.stdin.take());
    assert_eq!(child.wait().expect("a child of ours").code(), Some(3));
}

#[test]
fn a_real_time_callers_command_is_an_ordinary_one() {
    let workspace = Workspace::new(User::Root);
    let profile = workspace.profile(PYTHON);
    let run = workspace.aegis(
        &profile,
        &[
            "python3",
            "-c",
            "import os; print(os.sched_getscheduler(0))",
        ],
    );
    for policy in ["--fifo", "--rr"] {
        let mut command = workspace.command("chrt");
        command.args([policy, "5", "ionice", "-c1"]);
        command.arg(run.get_program()).args(run.get_args());
        let output = command.output().expect("chrt starts");
        assert_eq!(output.stdout, b"0\n", "{policy}: {}", text(&output));
    }
    let mut command = workspace.command("ionice");
    let profile = workspace.profile(SHELL);
    let run = workspace.aegis(&profile, &["sh", "-c", "echo ready; read line; exit 0"]);
    command
        .arg("-c1")
        .arg(run.get_program())
        .args(run.get_args());
    let mut child = host::started(&mut command, "ready");
    let class = Command::new("ionice")
        .args(["-p", &inside(child.id(), 2).to_string()])
        .output()
        .expect("ionice starts");
    assert!(text(&class).contains("none"), "{}", text(&class));
    drop(child.stdin.take());
    child.wait().expect("a child of ours");
}

#[test]
fn a_descriptor_left_non_blocking_eats_no_message() {
    let script = "
import os, signal
os.set_blocking(2, False)
try:
    while True: os.write(2, b'x' * 4096)
except BlockingIOError: pass
print('ready', flush=True)
signal.pause()
";
    for user in USERS {
        let workspace = Workspace::new(user);
        // What ends the run: a time that Python has started within beside whatever else runs here.
        let profile = workspace.profile(&format!("{PYTHON}limits: {{time: 5s}}\n"));
        let mut command = workspace.aegis(&profile, &["python3", "-c", script]);
        let mut child = host::started(command.stderr(Stdio::piped()), "ready");
        // Nothing is read before the run is over, and aegis-run has something to say.
        let task = format!("/proc/{0}/task/{0}", child.id());
        let read = |file: &str| std::fs::read_to_string(format!("{task}/{file}"));
        eventually("the end of the run", || {
            let children = read("children").unwrap_or_default();
            let state = read("stat").unwrap_or_default();
            let waits = state.contains(") S ") || state.contains(") Z ");
            if children.trim().is_empty() && waits {
                vec![]
            } else {
                vec![children]
            }
        });
        let mut told = String::new();
        (child
            .stderr
            .take()
            .expect("a pipe")
            .read_to_string(&mut told))
        .expect("text");
        let told = told.trim_start_matches('x');
        assert_eq!(
            child.wait().expect("a child of ours").code(),
            Some(124),
            "{told}"
        );
        assert!(told.contains("limits.time"), "as {user:?}: {told}");
    }
}

#[test]
fn a_stopped_terminal_holds_up_nobody_after_the_run() {
    let stops = "import os, signal, termios\n\
                 termios.tcflow(0, termios.TCOOFF)\n\
                 os.kill(os.getpid(), signal.SIGKILL)\n";
    // Between any two steps of whoever passes its output on.
    let toggles = "import os, termios\n\
                   if os.fork() == 0:\n    \
                       while True: os.write(1, b'.')\n\
                   while True:\n    \
                       termios.tcflow(0, termios.TCOOFF)\n    \
                       termios.tcflow(0, termios.TCOON)\n";
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(PYTHON);
        workspace.write("work/stops.py", stops);
        workspace.write("work/toggles.py", toggles);
        let terminal = Terminal::open(&workspace, OUTER);
        terminal.prompt("outer>", 1);
        for (number, (script, more, status)) in [
            ("stops.py", "", 137),
            ("stops.py", "--set limits.output=1M", 137),
            (
                "toggles.py",
                "--set limits.output=1G --set limits.time=1s",
                124,
            ),
        ]
        .iter()
        .enumerate()
        {
            terminal.line(&format!(
                "clear; {} --profile {} --set 'capabilities.files.read=[$WORK]' {more} -- python3 {script}; s=$?; clear; echo alive{number} $s",
                program("aegis-run").display(),
                profile.display()
            ));
            let told = format!("alive{number} {status}");
            terminal.wait("life", |screen| screen.contains(&told));
        }
    }
}
