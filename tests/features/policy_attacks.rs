//! Attacks on a policy and its record that were found by trying: each succeeds if it is let through.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aegis_tests::audit_log::{of_type, place, records, run};
use aegis_tests::host::{bind, in_private_mounts, pids};
use aegis_tests::outcome::refused;
use aegis_tests::{EVERYTHING, ORDINARY, USERS, User, Workspace, program, text};

const TOUCH: [&str; 2] = ["touch", "started"];

/// A profile under which [`TOUCH`] leaves a file if it is started.
const WRITES: &str =
    "aegis: 1\nname: job\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n";

/// A profile for the shell; also does a first run, so that there is a log.
fn shell(workspace: &Workspace) -> PathBuf {
    let profile = workspace.profile(WRITES);
    let output = run(workspace, &profile, &["true"])
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    profile
}

/// Starts a command under a limit of its own.
fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: setrlimit is async-signal-safe, and the limit is a copy of the closure's own.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(resource, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
}

fn rules(rules: &str) -> String {
    format!("{EVERYTHING}{rules}")
}

#[test]
fn a_socket_of_one_s_own_making_does_not_bring_the_system_call_past_the_policy() {
    let blocks = rules("  - {id: no-sockets, on: syscalls.allow, match: socket, verdict: block}\n");
    for user in USERS {
        let workspace = Workspace::new(user);
        let listener = std::os::unix::net::UnixListener::bind(workspace.work().join("mk.sock"));
        let _listener = listener.expect("a socket");
        workspace.own(&workspace.work().join("mk.sock"));
        let profile = workspace.profile(
            "aegis: 1\nname: job\nextends: [shell]\n\
             capabilities: {files.read: [$WORK/mk.sock], files.write: [$WORK]}\n",
        );
        let output = run(&workspace, &profile, &["true"]).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
        // Its grants are recorded.
        let granted = &of_type(&place(&workspace), "tool.exec")[0]["request"]["what"]["grants"];
        let socket = serde_json::json!({"action": "syscalls.allow", "name": "socket"});
        let granted = granted.as_array().expect("a list");
        assert!(granted.contains(&socket), "{granted:?}");
        workspace.policy(&blocks);
        let said = refused(&workspace, &mut run(&workspace, &profile, &TOUCH), 125);
        assert!(said.contains("no-sockets"), "{said}");
        assert!(said.contains("profile.yaml:4"), "{said}");
    }
}

#[test]
fn a_command_cannot_lose_the_record_of_its_refusals() {
    const TRIES: &str = "import ctypes, os, resource\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        assert libc.mount(b'none', b'/', b'tmpfs', 0, None) == -1\n\
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))\n\
        try:\n    os.memfd_create('x')\n\
        except OSError as error:\n    os._exit(error.errno)\n\
        os._exit(99)\n";
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile("aegis: 1\nname: job\nextends: [python]\n");
        let output = run(&workspace, &profile, &["python3", "-c", TRIES]).output();
        let output = output.expect("it starts");
        // EMFILE, as without Aegis; and not a failure of Aegis.
        assert_eq!(output.status.code(), Some(24), "{}", text(&output));
        let refused = of_type(&place(&workspace), "policy.violation");
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(refused[0]["request"]["what"]["name"], "mount");
        assert_eq!(
            of_type(&place(&workspace), "run.end")[0]["detail"]["refused"],
            1
        );
    }
}

#[test]
fn home_of_a_policy_is_that_of_the_account_whatever_the_environment_says() {
    in_private_mounts(|| {
        let workspace = Workspace::new(User::Ordinary);
        let key = workspace.write("home/.ssh/id", "a key\n");
        let account = format!(
            "root:x:0:0:root:/root:/bin/sh\nana:x:{ORDINARY}:{ORDINARY}::{}:/bin/sh\n",
            workspace.home().display()
        );
        bind(&workspace.write("passwd", account), "/etc/passwd".as_ref());
        workspace.policy(&rules(
            "  - {id: keys, on: files.read, match: $HOME/.ssh/**, verdict: block}\n",
        ));
        let profile = workspace.profile(&format!(
            "aegis: 1\nname: job\nextends: [shell]\n\
             capabilities: {{files.read: [{}], files.write: [$WORK]}}\n",
            key.display()
        ));
        for home in [workspace.home(), "/nonexistent".into(), workspace.work()] {
            let mut command = run(&workspace, &profile, &TOUCH);
            let said = refused(&workspace, command.env("HOME", &home), 125);
            assert!(said.contains("`keys`"), "{}: {said}", home.display());
        }
    });
}

#[test]
fn a_profile_that_asks_for_more_than_can_be_recorded_is_refused_and_not_run_unrecorded() {
    let mut names = String::new();
    for number in 0..20_000 {
        names.push_str(&format!("V{number}, "));
    }
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace
            .policy(&EVERYTHING.replace("capabilities:", "audit-failure: continue\ncapabilities:"));
        let profile = workspace.profile(&format!("{WRITES}environment: {{pass: [{names}]}}\n"));
        let said = refused(&workspace, &mut run(&workspace, &profile, &TOUCH), 125);
        assert!(said.contains("at most 16384"), "{said}");
    }
}

#[test]
fn a_command_cannot_write_the_policy_of_its_next_run() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let own = workspace.write("work/own.yaml", EVERYTHING);
        let profile = workspace.profile(
            "aegis: 1\nname: job\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n",
        );
        let mut command = run(&workspace, &profile, &TOUCH);
        let said = refused(
            &workspace,
            command.arg("--").env("XDG_CONFIG_HOME", workspace.work()),
            125,
        );
        assert!(said.contains("decides about the next run"), "{said}");
        let mut command = workspace.command(program("aegis-run"));
        command
            .arg("--policy")
            .arg(&own)
            .arg("--profile")
            .arg(&profile)
            .args(TOUCH);
        let said = refused(&workspace, &mut command, 125);
        assert!(said.contains("own.yaml, which decides"), "{said}");
        // Reading it does no harm.
        let profile = workspace.profile(
            "aegis: 1\nname: job\nextends: [shell]\ncapabilities: {files.read: [$WORK]}\n",
        );
        let mut command = workspace.command(program("aegis-run"));
        command
            .arg("--policy")
            .arg(&own)
            .arg("--profile")
            .arg(&profile)
            .arg("true");
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn a_command_cannot_write_what_leads_to_the_policy_or_the_log_of_its_next_run() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(
            "aegis: 1\nname: job\nextends: [shell]\n\
             capabilities: {files.write: [$WORK/data]}\n",
        );
        let named = EVERYTHING.replace("capabilities:", "rego: [rules.rego]\ncapabilities:");
        let outside = workspace.write("outside/own.yaml", EVERYTHING);
        let with_rego = workspace.write("outside/rego.yaml", named);
        let in_data = workspace.write("work/data/own.yaml", EVERYTHING);
        let rego = workspace.write(
            "work/data/rules.rego",
            "package aegis\nblock contains \"nobody\" if input.context.uid == 4294967294\n",
        );
        let state = workspace.work().join("../other-state");
        std::fs::create_dir(&state).expect("mkdir");
        workspace.own(&state);
        let link = |to: &Path, path: &str| {
            let path = workspace.work().join(path);
            if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
                std::fs::create_dir_all(parent).expect("mkdir");
                workspace.own(parent);
            }
            std::os::unix::fs::symlink(to, &path).expect("a link");
            path
        };
        let to_outside = link(&outside, "data/linked.yaml");
        link(&rego, "../outside/rules.rego");
        link(&in_data, "../config-of-links/aegis/policy.yaml");
        let state = link(&state, "data/state");
        let config = workspace.work().join("../config-of-links");

        let start = |policy: Option<&Path>| {
            let mut command = workspace.command(program("aegis-run"));
            command.args(
                policy
                    .iter()
                    .flat_map(|policy| [Path::new("--policy"), policy]),
            );
            command.arg("--profile").arg(&profile).arg("true");
            command
        };
        let mut configured = start(None);
        configured.env("XDG_CONFIG_HOME", &config);
        let mut logged = workspace.command(program("aegis-run"));
        logged.arg("--audit").arg(state.join("log"));
        logged.arg("--profile").arg(&profile).arg("true");
        let attempts = [
            (start(Some(&to_outside)), "data/linked.yaml, which decides"),
            (start(Some(&with_rego)), "data/rules.rego, which decides"),
            (configured, "data/own.yaml, which decides"),
            (logged, "data/state is a symbolic link"),
        ];
        for (mut command, words) in attempts {
            let said = refused(&workspace, &mut command, 125);
            assert!(said.contains(words), "{words} as {user:?}: {said}");
        }
        // Nothing else prevents the run.
        let output = start(Some(&outside)).output().expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// `data/sub/..` is `data` only as long as `data/sub` is a directory there.
#[test]
fn a_command_cannot_replace_a_directory_that_the_path_of_the_policy_leaves_again() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("outside/policy.yaml", EVERYTHING);
        workspace.write("work/data/sub/file", "");
        let profile = workspace
            .profile("aegis: 1\nextends: [shell]\ncapabilities: {files.write: [$WORK/data]}\n");
        let start = |policy: &str| {
            let mut command = workspace.command(program("aegis-run"));
            command
                .args(["--policy", policy, "--profile"])
                .arg(&profile);
            command.args(["--", "sh", "-c", "mv data/sub data/moved && echo moved"]);
            command.output().expect("it starts")
        };
        let held = start("data/sub/../../../outside/policy.yaml");
        assert_eq!(held.stdout, b"", "{user:?}: {}", text(&held));
        assert!(workspace.work().join("data/sub/file").exists());
        // By a path that does not go through it, it may be moved.
        let control = start("../outside/policy.yaml");
        assert_eq!(control.stdout, b"moved\n", "{user:?}: {}", text(&control));
    }
}

#[test]
fn neither_the_command_nor_its_report_comes_from_where_the_record_is() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = shell(&workspace);
        let program = place(&workspace).join("program");
        std::fs::copy("/bin/true", &program).expect("a copy");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        workspace.own(&program);
        let program = program.to_str().expect("UTF-8");
        let said = refused(&workspace, &mut run(&workspace, &profile, &[program]), 126);
        assert!(said.contains("Aegis's own"), "{said}");
        let told = of_type(&place(&workspace), "policy.violation");
        assert_eq!(told.len(), 1, "{told:?}");
        let before = records(&place(&workspace)).len();
        let mut command = workspace.command(aegis_tests::program("aegis-run"));
        command
            .arg("--audit")
            .arg(place(&workspace))
            .arg("--report");
        command.arg(place(&workspace).join("000001.jsonl"));
        let said = refused(
            &workspace,
            command.arg("--profile").arg(&profile).args(TOUCH),
            125,
        );
        assert!(said.contains("Aegis's own"), "{said}");
        assert_eq!(records(&place(&workspace)).len(), before);
    }
}

#[test]
fn the_command_waits_until_its_start_is_recorded() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = shell(&workspace);
        let lock = std::fs::File::open(place(&workspace).join("lock")).expect("the log's lock");
        lock.lock().expect("nobody else appends");
        // It lasts as long as aegis-run's patience; a sandbox is built in a hundredth of that.
        let output = run(&workspace, &profile, &TOUCH).output();
        let output = output.expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{said}");
        let mut lines = said.lines();
        let begins = |line: Option<&str>, words: &str| line.is_some_and(|l| l.starts_with(words));
        assert!(
            begins(lines.next(), "aegis: note: waiting for the audit log /"),
            "{said}"
        );
        assert!(begins(lines.next(), "aegis-run: error: "), "{said}");
        assert!(said.contains("locked by others"), "{said}");
        assert!(!workspace.work().join("started").exists(), "{said}");
    }
}

#[test]
fn the_sandbox_s_pid_1_has_neither_the_log_nor_its_key() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = shell(&workspace);
        let keys = match user {
            User::Root => Path::new("/var/lib/aegis/keys").to_owned(),
            User::Ordinary => workspace.state().join("aegis/keys"),
        };
        let key = std::fs::read_to_string(keys.join("audit.key")).expect("the key");
        let key: Vec<u8> = (key.trim().as_bytes().chunks(2))
            .map(|pair| std::str::from_utf8(pair).expect("hex digits"))
            .map(|pair| u8::from_str_radix(pair, 16).expect("hex digits"))
            .collect();
        let mut command = run(&workspace, &profile, &["sh", "-c", "echo up; read line"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut outside = command.spawn().expect("it starts");
        let mut up = String::new();
        BufReader::new(outside.stdout.as_mut().expect("a pipe"))
            .read_line(&mut up)
            .expect("it says that it is up");
        assert_eq!(up, "up\n");
        // As root sees them: the searched bytes are in one, and not in the other.
        let mut insides: Vec<u32> = children(outside.id());
        insides.retain(|pid| namespace_pid(*pid) == Some(1));
        let [inside] = *insides else {
            panic!("one child is PID 1 of a namespace: {insides:?}");
        };
        for (pid, has) in [(outside.id(), true), (inside, false)] {
            assert_eq!(opens_below(pid, &place(&workspace)), has, "{pid}: the log");
            assert_eq!(holds(pid, &key), has, "{pid}: the key");
        }
        drop(outside.stdin.take());
        outside.wait().expect("it ends");
    }
}

/// The pids of a process's children.
fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.expect("its children");
    list.split_whitespace()
        .map(|pid| pid.parse().expect("a pid"))
        .collect()
}

/// The pid in the innermost namespace of the process. One in the host's own has none.
fn namespace_pid(pid: u32) -> Option<u32> {
    pids(pid).get(1..)?.last().copied()
}

/// Whether a process has any file below a directory open.
fn opens_below(pid: u32, dir: &Path) -> bool {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .any(|leads| leads.starts_with(dir))
}

/// Whether these bytes are anywhere in a process's writable memory.
fn holds(pid: u32, bytes: &[u8]) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its mappings");
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
    maps.lines()
        .filter(|line| line.contains(" rw"))
        .any(|line| {
            let (from, to) = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'))
                .expect("a range");
            let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).expect("an address"));
            let mut content = vec![0; usize::try_from(to - from).expect("it was mapped")];
            memory.read_exact_at(&mut content, from).is_ok()
                && content.windows(bytes.len()).any(|at| at == bytes)
        })
}

#[test]
fn a_record_that_is_too_long_is_never_excused() {
    // Each byte becomes six in JSON.
    let long = "\u{1}".repeat(120 << 10);
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace
            .policy(&EVERYTHING.replace("capabilities:", "audit-failure: continue\ncapabilities:"));
        let profile = workspace.profile(WRITES);
        let mut command = run(&workspace, &profile, &TOUCH);
        command.args(std::iter::repeat_n(&long, 40));
        // Arguments may take a quarter of it, up to 6 MiB: execve(2).
        limit(&mut command, libc::RLIMIT_STACK, 64 << 20);
        let said = refused(&workspace, &mut command, 125);
        assert!(said.contains("longer than 16 MiB"), "{said}");
    }
}

#[test]
fn a_limit_on_file_sizes_tears_no_record() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = shell(&workspace);
        let before = records(&place(&workspace)).len();
        let mut command = run(&workspace, &profile, &TOUCH);
        limit(&mut command, libc::RLIMIT_FSIZE, 100);
        let said = refused(&workspace, &mut command, 125);
        assert!(said.contains("cannot be recorded"), "{said}");
        assert_eq!(records(&place(&workspace)).len(), before);
    }
}

#[test]
fn a_copy_with_the_set_user_id_bit_does_nothing() {
    let workspace = Workspace::new(User::Ordinary);
    let copy = workspace.outside().join("aegis-run");
    std::fs::copy(program("aegis-run"), &copy).expect("a copy");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).expect("chmod");
    let output = workspace
        .command(&copy)
        .args(TOUCH)
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(125), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("set-user-id"), "{said}");
}
