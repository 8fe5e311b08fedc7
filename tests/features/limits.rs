//! Each limit, exceeded by a program: how the run ends, what is reported, and what
//! replaces control groups for an ordinary user.

mod around;
mod delegated;
mod worth;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use aegis_tests::host::{ends, eventually};
use aegis_tests::outcome::{Ran, refused};
use aegis_tests::{USERS, User, Workspace};

/// The line where [`profile`] has its limits.
const LINE: &str = "profile.yaml:5:";

fn profile(limits: &str) -> String {
    format!(
        "aegis: 1\nname: limits\nextends: [shell, python]\n\
         capabilities: {{files.write: [$WORK]}}\n\
         limits: {{{limits}}}\n"
    )
}

/// Runs a command under limits.
fn limited(workspace: &Workspace, limits: &str, words: &[&str]) -> Ran {
    let path = workspace.profile(&profile(limits));
    Ran::new(workspace, &path, words)
}

#[test]
fn a_command_within_all_its_limits_is_told_of_none() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let limits = "time: 1m, memory: 512M, cpu: 2, pids: 32, files: 100, file-size: 1M, output: 4K, tmp: 1M";
        let script = "echo out; echo err >&2; head -c 1000 /dev/zero > file; cp file $TMPDIR";
        let ran = limited(&workspace, limits, &["sh", "-c", script]);
        ran.exits(0).because("exited");
        assert_eq!(ran.printed(), "out", "{}", ran.told());
        assert_eq!(worth::without_warning(&ran), "err\n", "{}", ran.told());
        let met: Vec<&str> = ran
            .limits_met()
            .into_iter()
            .filter(|key| *key != "cpu")
            .collect();
        assert!(met.is_empty(), "{}", ran.told());
        assert_eq!(ran.degraded("memory:"), user == User::Ordinary);
        assert!(!ran.degraded("pids:") && !ran.degraded("cpu:"));
    }
}

#[test]
fn the_time_limit_ends_a_command_with_124() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let ran = limited(&workspace, "time: 200ms", &["sleep", "600"]);
        ran.ended_by(124, "time");
        assert!(ran.report["resources"]["wall_us"].as_u64() >= Some(200_000));
    }
}

#[test]
fn the_time_limit_asks_first_and_then_kills_the_command_and_all_that_it_started() {
    for user in USERS {
        let workspace = Workspace::new(user);
        // Standard output ends only when the last of them is gone.
        let script = "trap 'echo asked' TERM; setsid sleep 600 & (setsid sleep 600 &); sleep 600 & while :; do wait; done";
        let ran = limited(&workspace, "time: 200ms", &["sh", "-c", script]);
        ran.ended_by(124, "time");
        assert_eq!(ran.printed(), "asked", "{}", ran.told());
    }
}

#[test]
fn a_command_that_ends_itself_when_asked_at_the_time_limit_has_still_met_it() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let script = "trap 'echo tidied; exit 0' TERM; sleep 600 & wait";
        let ran = limited(&workspace, "time: 200ms", &["sh", "-c", script]);
        ran.ended_by(124, "time");
        assert_eq!(ran.printed(), "tidied", "{}", ran.told());
    }
}

/// Starts `yes`; nobody reads its output.
fn unread(workspace: &Workspace, limits: &str) -> std::process::Child {
    let path = workspace.profile(&profile(limits));
    workspace
        .aegis(&path, &["yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("aegis-run starts")
}

/// Waits for the end, and returns the status as a shell would; kills what does not end.
fn end_of(child: &mut std::process::Child) -> Option<i32> {
    let ended = ends(child);
    if !ended {
        child.kill().expect("a child of ours");
    }
    let status = child.wait().expect("a child of ours");
    let status = status.code().or(status.signal().map(|signal| 128 + signal));
    status.filter(|_| ended)
}

#[test]
fn the_time_limit_holds_while_nobody_reads_the_output() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let mut child = unread(&workspace, "time: 300ms, output: 64M");
        assert_eq!(end_of(&mut child), Some(124), "{user:?}");
    }
}

#[test]
fn a_signal_ends_the_command_while_nobody_reads_the_output() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let mut child = unread(&workspace, "output: 64M");
        // The pipe holds output: the command runs.
        let out = child.stdout.as_ref().expect("piped");
        eventually("yes writes", || {
            Vec::from_iter((waiting(out) == 0).then_some("silence"))
        });
        // SAFETY: no pointers; the pid is that of a child not yet waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        assert_eq!(end_of(&mut child), Some(128 + libc::SIGTERM), "{user:?}");
    }
}

/// The number of bytes that can be read.
fn waiting(pipe: &impl std::os::fd::AsRawFd) -> i32 {
    let mut count = 0;
    // SAFETY: FIONREAD writes an int, which outlives the call.
    unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut count) };
    count
}

#[test]
fn exactly_the_bytes_of_the_output_limit_come_through() {
    for user in USERS {
        let workspace = Workspace::new(user);
        for script in ["yes", "head -c 65537 /dev/zero", "(yes &); sleep 600"] {
            let ran = limited(&workspace, "output: 64K", &["sh", "-c", script]);
            ran.ended_by(137, "output");
            assert_eq!(ran.output.stdout.len(), 65536, "{script}");
        }
    }
}

#[test]
fn standard_output_and_error_count_together() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let script = "head -c 40000 /dev/zero; head -c 40000 /dev/zero >&2; sleep 600";
        let ran = limited(&workspace, "output: 64K", &["sh", "-c", script]);
        ran.ended_by(137, "output");
        let zeroes = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 0).count();
        let (out, err) = (zeroes(&ran.output.stdout), zeroes(&ran.output.stderr));
        assert_eq!((out, err), (40000, 25536), "{user:?}");
    }
}

#[test]
fn as_many_bytes_as_the_output_limit_are_within_it() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let script = "head -c 65000 /dev/zero; head -c 536 /dev/zero >&2; exit 3";
        let ran = limited(&workspace, "output: 64K", &["sh", "-c", script]);
        ran.exits(3).because("exited");
        assert!(ran.limits_met().is_empty(), "{}", ran.told());
        assert_eq!(ran.output.stdout.len(), 65000);
    }
}

const EATS_300M: &str = "block = bytearray(300 << 20)\nblock[::4096] = b'x' * len(block[::4096])";

#[test]
fn the_memory_limit_ends_a_command_of_root_with_137() {
    let workspace = Workspace::new(User::Root);
    let ran = limited(&workspace, "memory: 64M", &["python3", "-c", EATS_300M]);
    ran.ended_by(137, "memory");
    let resources = &ran.report["resources"];
    assert!(resources["oom_kills"].as_u64() >= Some(1), "{}", ran.told());
    let peak = resources["memory_peak"].as_u64().expect("told by v1");
    assert!(peak <= 64 << 20, "{}", ran.told());
}

#[test]
fn the_memory_limit_of_root_holds_for_all_processes_together() {
    let workspace = Workspace::new(User::Root);
    // Each of the two stays below it.
    let two = r#"
import os, sys, time
def eat():
    block = bytearray(40 << 20)
    os.write(ready, b'.')
    time.sleep(600)
there, ready = os.pipe()
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        eat()
    children.append(child)
    # The first is done before the second begins.
    if len(children) == 1:
        os.read(there, 1)
pid, status = os.wait()
sys.exit(7 if os.WTERMSIG(status) == 9 else 8)
"#;
    let ran = limited(&workspace, "memory: 64M", &["python3", "-c", two]);
    ran.held_back_by(7, "memory");
}

#[test]
fn the_memory_limit_of_an_ordinary_user_holds_for_each_process() {
    let workspace = Workspace::new(User::Ordinary);
    let ran = limited(&workspace, "memory: 64M", &["python3", "-c", EATS_300M]);
    assert!(ran.degraded("memory: "), "{}", ran.told());
    assert!(
        String::from_utf8_lossy(&ran.output.stderr).contains("MemoryError"),
        "{}",
        ran.told()
    );
    ran.held_back_by(1, "memory");
}

/// Forks until that fails, and prints how many processes there were.
const FORKS: &str = "
import os, time
count = 1
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        count += 1
except OSError as error:
    print(count, flush=True)
    raise
";

/// The same with threads.
const THREADS: &str = "
import threading, time
count = 1
try:
    while True:
        threading.Thread(target=time.sleep, args=[600], daemon=True).start()
        count += 1
except RuntimeError as error:
    print(count, flush=True)
    raise
";

#[test]
fn as_many_processes_and_threads_as_the_pids_limit_can_be_started_and_it_names_itself() {
    for user in USERS {
        let workspace = Workspace::new(user);
        for program in [FORKS, THREADS] {
            let ran = limited(&workspace, "pids: 8", &["python3", "-c", program]);
            assert_eq!(ran.printed(), "8", "{user:?}: {}", ran.told());
            assert!(!ran.degraded("pids: "), "{}", ran.told());
            ran.held_back_by(1, "pids");
        }
    }
}

#[test]
fn a_fork_bomb_ends_with_its_time() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let bomb = "bomb() { bomb | bomb & }; bomb; sleep 600";
        let limits = "pids: 64, time: 500ms, output: 1M";
        let ran = limited(&workspace, limits, &["bash", "-c", bomb]);
        ran.exits(124).because("time-limit");
        assert!(ran.limits_met().contains(&"time"), "{}", ran.told());
    }
}

#[test]
fn the_cpu_limit_of_root_makes_a_command_slower() {
    let workspace = Workspace::new(User::Root);
    // The limit is lower than the run's share would be on a busy host.
    let busy = "import time\nwhile time.process_time() < 0.3: pass";
    let ran = limited(&workspace, "cpu: 0.1", &["python3", "-c", busy]);
    ran.exits(0).because("exited");
    let throttled = ran.report["resources"]["cpu_throttled"].as_u64();
    assert!(throttled > Some(0), "{}", ran.told());
    assert_eq!(ran.limits_met(), ["cpu"], "{}", ran.told());
    assert!(ran.output.stderr.is_empty(), "{}", ran.told());
}

#[test]
fn the_cpu_limit_of_an_ordinary_user_is_a_number_of_processors() {
    let workspace = Workspace::new(User::Ordinary);
    let ran = limited(&workspace, "cpu: 0.5", &["nproc"]);
    ran.exits(0);
    assert_eq!(ran.printed(), "1", "{}", ran.told());
    assert!(ran.degraded("cpu: "), "{}", ran.told());
}

#[test]
fn the_processors_of_an_ordinary_user_cannot_be_changed_from_inside() {
    let workspace = Workspace::new(User::Ordinary);
    let program = "import os\ntry:\n    os.sched_setaffinity(0, range(64))\nexcept PermissionError:\n    print(len(os.sched_getaffinity(0)))";
    let ran = limited(&workspace, "cpu: 0.5", &["python3", "-c", program]);
    ran.exits(0);
    assert_eq!(ran.printed(), "1", "{}", ran.told());
    // Without the limit it may.
    let program = "import os\nos.sched_setaffinity(0, os.sched_getaffinity(0))";
    limited(&workspace, "", &["python3", "-c", program]).exits(0);
}

#[test]
fn no_more_files_than_the_files_limit_can_be_open() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let program = "
files = []
try:
    while True: files.append(open('/etc/localtime'))
except OSError:
    print(max(file.fileno() for file in files) + 1, flush=True)
    raise
";
        let ran = limited(&workspace, "files: 20", &["python3", "-c", program]);
        assert_eq!(ran.printed(), "20", "{}", ran.told());
        ran.held_back_by(1, "files");
    }
}

#[test]
fn a_lower_limit_of_the_caller_stays() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let path = workspace.profile(&profile("files: 200"));
        let output = workspace
            .command("sh")
            .args([
                "-c",
                r#"ulimit -n 100; exec "$0" --profile "$1" -- sh -c 'ulimit -n'"#,
            ])
            .arg(aegis_tests::program("aegis-run"))
            .arg(path)
            .output()
            .expect("sh starts");
        assert_eq!(output.stdout, b"100\n", "{}", aegis_tests::text(&output));
    }
}

#[test]
fn the_file_size_limit_ends_a_command_with_153() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let words = ["dd", "if=/dev/zero", "of=big", "bs=64k", "count=100"];
        let ran = limited(&workspace, "file-size: 1M", &words);
        ran.ended_by(153, "file-size");
        let written = workspace
            .work()
            .join("big")
            .metadata()
            .expect("it is there");
        assert_eq!(written.len(), 1 << 20);
    }
}

#[test]
fn a_file_size_limit_met_below_the_command_names_itself() {
    for user in USERS {
        let workspace = Workspace::new(user);
        // Python ignores SIGXFSZ, and a shell lives on.
        let python = "python3 -c \"open('big', 'wb').write(bytes(4 << 20))\"";
        for script in [python, "dd if=/dev/zero of=big bs=64k count=100; exit 1"] {
            let ran = limited(&workspace, "file-size: 1M", &["sh", "-c", script]);
            ran.held_back_by(1, "file-size");
        }
    }
}

#[test]
fn the_private_temporary_files_have_their_limit() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let words = ["dd", "if=/dev/zero", "of=/tmp/big", "bs=64k", "count=100"];
        let ran = limited(&workspace, "tmp: 1M", &words);
        ran.held_back_by(1, "tmp");
        // Tmpfs files use memory, so its limit applies too.
        let ran = limited(&workspace, "memory: 2M", &words);
        assert_ne!(ran.output.status.code(), Some(0), "{}", ran.told());
        ran.last_says(&["profile.yaml"]);
    }
}

#[test]
fn the_disk_limits_of_root_make_direct_transfers_slower() {
    // /tmp may be in memory.
    let workspace = Workspace::below(User::Root, Path::new("/var/tmp"));
    workspace.write("work/three", vec![7; 3 << 20]);
    let read = ["dd", "if=three", "of=/dev/null", "bs=256k", "iflag=direct"];
    let write = [
        "dd",
        "if=/dev/zero",
        "of=out",
        "bs=256k",
        "count=12",
        "oflag=direct",
    ];
    for (limit, words) in [("disk-read", &read[..]), ("disk-write", &write[..])] {
        // A rate shows only in time: three megabytes take at least two seconds, on any machine.
        let ran = limited(&workspace, &format!("{limit}: 1M/s"), words);
        ran.exits(0);
        let taken = ran.report["resources"]["wall_us"].as_u64();
        assert!(taken >= Some(2_000_000), "{limit}: {}", ran.told());
        let free = limited(&workspace, "", words);
        free.exits(0);
        let free = free.report["resources"]["wall_us"].as_u64();
        assert!(
            free < taken,
            "{limit}: {free:?} without it, {taken:?} with it"
        );
    }
}

#[test]
fn what_cannot_be_enforced_is_refused_before_anything_starts() {
    for (user, limits, capability, key) in [
        (User::Ordinary, "disk-read: 1M/s", "", "limits.disk-read"),
        (User::Ordinary, "disk-write: 1M/s", "", "limits.disk-write"),
        (
            User::Root,
            "net: 1M/s",
            ", net.outbound: host",
            "limits.net",
        ),
        (
            User::Ordinary,
            "net: 1M/s",
            ", net.outbound: host",
            "limits.net",
        ),
    ] {
        let workspace = Workspace::new(user);
        let text = profile(limits).replace("[$WORK]", &format!("[$WORK]{capability}"));
        let path = workspace.profile(&text);
        let said = refused(
            &workspace,
            &mut workspace.aegis(&path, &["touch", "started"]),
            125,
        );
        assert!(said.contains(LINE) && said.contains(key), "{said}");
        assert!(
            said.contains("cannot be enforced") && said.contains("help: "),
            "{said}"
        );
    }
}

#[test]
fn the_wall_time_told_is_not_less_than_what_the_command_saw_pass() {
    // On one processor the command runs before its start has been reported.
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let allowed = status
        .split_once("Cpus_allowed_list:")
        .expect("the processors");
    let allowed = allowed.1.trim_start();
    let end = allowed.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let script = "from=$EPOCHREALTIME; for i in {1..5000}; do :; done; echo $from $EPOCHREALTIME";
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(&profile(""));
        let report = workspace.outside().join("report.json");
        for _ in 0..5 {
            let output = workspace
                .command("taskset")
                .args(["-c", &allowed[..end]])
                .arg(aegis_tests::program("aegis-run"))
                .arg("--profile")
                .arg(&profile)
                .arg("--report")
                .arg(&report)
                .args(["bash", "-c", script])
                .output()
                .expect("taskset starts");
            let seen = String::from_utf8_lossy(&output.stdout).replace('.', "");
            let seen: Vec<u64> = seen.split_whitespace().flat_map(str::parse).collect();
            assert_eq!(seen.len(), 2, "{}", aegis_tests::text(&output));
            let text = std::fs::read(&report).expect("the report");
            let told: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            let told = told["resources"]["wall_us"].as_u64().expect("a number");
            assert!(told >= seen[1] - seen[0], "{told} of {seen:?} as {user:?}");
        }
    }
}
