//! An ordinary user in control groups that root has given to them: `cgroups(7)`, "Cgroups delegation".

use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use aegis_tests::host::{eventually, groups};
use aegis_tests::{ORDINARY, User, Workspace, program, text};

use super::{EATS_300M, profile};

/// A control group in each hierarchy that can hold a limit, below the test's own, given to the ordinary user.
struct Given(Vec<PathBuf>);

impl Given {
    fn new() -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").expect("the own groups");
        let name = format!("given-{}", std::process::id());
        let on_v1 = |controller: &str| {
            let mut lines = own.lines().filter_map(|line| line.split_once(':'));
            let (_, path) = lines.find_map(|(_, rest)| {
                let (controllers, path) = rest.split_once(':')?;
                controllers
                    .split(',')
                    .any(|name| name == controller)
                    .then_some((controllers, path))
            })?;
            Some(
                Path::new("/sys/fs/cgroup")
                    .join(controller)
                    .join(path.trim_start_matches('/')),
            )
        };
        let mut places: Vec<PathBuf> = ["memory", "cpu", "pids"]
            .into_iter()
            .filter_map(on_v1)
            .collect();
        if places.is_empty() {
            let root = PathBuf::from("/sys/fs/cgroup");
            std::fs::write(root.join("cgroup.subtree_control"), "+memory +cpu +pids")
                .expect("controllers");
            places.push(root);
        }
        let given = Self(places.iter().map(|place| place.join(&name)).collect());
        for dir in &given.0 {
            std::fs::create_dir(dir).expect("root makes a group");
            for file in [
                "",
                "cgroup.procs",
                "tasks",
                "cgroup.threads",
                "cgroup.subtree_control",
            ] {
                let file = dir.join(file);
                if file.exists() {
                    chown(&file, Some(ORDINARY), Some(ORDINARY)).expect("chown");
                }
            }
        }
        given
    }

    /// Starts a command in them: a shell that waits until it has been moved there, and then becomes the command.
    fn start(&self, workspace: &Workspace, command: &Command) -> Child {
        let mut shell = workspace.command("sh");
        shell
            .args(["-c", "read go; exec \"$@\" < /dev/null", "sh"])
            .arg(command.get_program())
            .args(command.get_args());
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = shell.spawn().expect("sh starts");
        for dir in &self.0 {
            std::fs::write(dir.join("cgroup.procs"), child.id().to_string())
                .expect("root moves a process");
        }
        let mut input = child.stdin.take().expect("piped");
        input.write_all(b"go\n").expect("the shell reads");
        child
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        for dir in &self.0 {
            // On cgroup2 the callers have been moved.
            let _ = std::fs::remove_dir(dir.join("aegis-callers"));
            let _ = std::fs::remove_dir(dir);
        }
    }
}

#[test]
fn a_users_limits_hold_for_the_run_in_a_group_that_was_given_to_them_and_nothing_else_is_touched() {
    let workspace = Workspace::new(User::Ordinary);
    let given = Given::new();
    let limits = "memory: 64M, cpu: 0.5, pids: 32, must-hold: [memory, cpu, pids]";
    let path = workspace.profile(&profile(limits));
    let command = workspace.aegis(&path, &["sh", "-c", "echo there; exec sleep 600"]);
    let mut child = given.start(&workspace, &command);
    let pid = child.id();
    let own = || -> Vec<PathBuf> {
        let of_run = groups().into_iter().filter(|(found, _)| *found == pid);
        of_run.map(|(_, dir)| dir).collect()
    };
    eventually("groups are made for the run", || {
        Vec::from_iter(own().is_empty().then_some("none"))
    });
    let is_given = |dir: &PathBuf| {
        // A hierarchy can be mounted under several names.
        let name = dir.parent().and_then(|above| {
            above.ancestors().find(|dir| {
                dir.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("given-"))
            })
        });
        name.is_some()
    };
    assert!(own().iter().all(is_given), "{:?}", own());
    child.kill().expect("a child of ours");
    child.wait().expect("a child of ours");
    eventually("its groups are removed", own);

    let command = workspace.aegis(&path, &["python3", "-c", EATS_300M]);
    let output = given
        .start(&workspace, &command)
        .wait_with_output()
        .expect("it ends");
    assert_eq!(output.status.code(), Some(137), "{}", text(&output));
    assert!(
        text(&output).contains("ended by the memory limit"),
        "{}",
        text(&output)
    );
    assert!(!text(&output).contains("warning"), "{}", text(&output));

    let mut doctor = workspace.command(program("aegis"));
    doctor.args(["doctor", "--json"]);
    let output = given
        .start(&workspace, &doctor)
        .wait_with_output()
        .expect("it ends");
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    let checks = report["checks"].as_array().expect("a list");
    for name in ["limits: memory", "limits: cpu", "limits: pids"] {
        let check = checks.iter().find(|check| check["name"] == name);
        assert_eq!(check.expect("a check")["status"], "ok", "{}", text(&output));
    }
}

#[test]
fn the_limits_of_a_group_that_was_given_hold_for_what_is_run_in_it() {
    let workspace = Workspace::new(User::Ordinary);
    let given = Given::new();
    for (file, limit) in [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.memsw.limit_in_bytes", "67108864"),
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
    ] {
        for dir in given.0.iter().filter(|dir| dir.join(file).exists()) {
            std::fs::write(dir.join(file), limit).expect("a limit");
        }
    }
    let path = workspace.profile(&profile("memory: 2G"));
    let command = workspace.aegis(&path, &["python3", "-c", EATS_300M]);
    let output = given
        .start(&workspace, &command)
        .wait_with_output()
        .expect("it ends");
    assert_eq!(output.status.code(), Some(137), "{}", text(&output));
    assert!(
        text(&output).contains("not at limits.memory"),
        "{}",
        text(&output)
    );
}
