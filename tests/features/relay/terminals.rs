//! Whole terminals of the caller's, under `--stdio relay`: gone before the command, and used by two runs.

use std::process::Output;

use aegis_tests::{USERS, Workspace, program, text};

use super::PLAIN;

/// Runs a script in Python, outside of any sandbox, that has a terminal of its own and the beginning of a command line:
/// `aegis-run --stdio relay` with a profile, for `sh -c`.
fn with_terminal(workspace: &Workspace, script: &str) -> Output {
    let profile = workspace.profile(&format!("{PLAIN}capabilities: {{files.write: [$WORK]}}\n"));
    let mut command = workspace.command("python3");
    command.args(["-c", script]).arg(program("aegis-run"));
    command.args(["--stdio", "relay", "--profile"]).arg(profile);
    command.args(["--", "sh", "-c"]);
    let output = command.output().expect("python3 starts");
    assert!(output.status.success(), "{}", text(&output));
    output
}

/// What both scripts need.
const TERMINAL: &str = "
import os, pty, subprocess, sys, termios
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
def start(script):
    return subprocess.Popen(sys.argv[1:] + [script], stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
def wait_for(word):
    seen = b''
    while word not in seen: seen += os.read(master, 1000)
";

#[test]
fn the_terminal_of_a_command_hangs_up_with_the_callers() {
    for user in USERS {
        let script = "
run = start('echo up; cat')
os.close(slave)
wait_for(b'up')
os.close(master)
run.wait(timeout=60)
";
        with_terminal(&Workspace::new(user), &format!("{TERMINAL}{script}"));
    }
}

#[test]
fn of_two_runs_on_a_terminal_the_last_leaves_its_modes_as_they_were() {
    for user in USERS {
        let script = "
os.mkfifo('a'), os.mkfifo('b')
runs = []
for name in 'ab':
    runs.append(start(f'echo {name}-up; cat {name}'))
    wait_for(f'{name}-up'.encode())
assert termios.tcgetattr(slave) != before, 'it is raw meanwhile'
for name, run in zip('ab', runs):
    open(name, 'w').close()
    assert run.wait(timeout=60) == 0
assert termios.tcgetattr(slave) == before, 'it is as it was'
";
        with_terminal(&Workspace::new(user), &format!("{TERMINAL}{script}"));
    }
}
