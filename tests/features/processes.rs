//! Processes and the kernel's attack surface: items 6, 10 to 17, and core dumps of 23, of
//! `docs/escapes.md`.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use aegis_tests::attacks::{all_held, processes_marked};
use aegis_tests::host::{self, eventually};
use aegis_tests::{USERS, User, Workspace, attacks_directory};

#[test]
fn the_launchers_program_and_memory_are_out_of_reach() {
    all_held(6);
}

#[test]
fn nothing_is_pushed_into_the_terminal() {
    all_held(10);
}

#[test]
fn other_doors_into_the_kernel_are_shut() {
    all_held(11);
}

#[test]
fn no_namespace_is_made_or_entered() {
    all_held(12);
}

#[test]
fn processes_of_the_host_are_neither_seen_nor_signalled() {
    all_held(13);
}

#[test]
fn dangerous_system_calls_are_refused() {
    all_held(14);
}

#[test]
fn nothing_is_shared_with_the_host_by_key_or_name() {
    all_held(15);
}

#[test]
fn privileges_are_neither_kept_nor_gained() {
    all_held(16);
}

#[test]
fn no_process_is_left_behind() {
    all_held(17);
}

#[test]
fn a_crash_inside_is_not_handed_to_the_hosts_core_handler() {
    all_held(23);
}

/// A run that leaves processes behind and itself waits forever.
struct Run {
    launcher: Child,
    mark: String,
    _workspace: Workspace,
}

impl Run {
    fn start(user: User, profile: &str, test: &str) -> Self {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(profile);
        let mark = format!("aegis-{test}-{}-{user:?}", std::process::id());
        let attack = attacks_directory().join("processes").display().to_string();
        let mut launcher = workspace
            .aegis(&profile, &[&attack, "orphan", &mark, "stay"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("aegis-run starts");
        let mut line = String::new();
        BufReader::new(launcher.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("its output");
        assert_eq!(line, "left behind\n");
        assert!(
            processes_marked(&mark).len() > 3,
            "the control: processes of the run are seen"
        );
        Self {
            launcher,
            mark,
            _workspace: workspace,
        }
    }

    /// The control groups with the supervisor's pid in their name.
    fn groups(&self) -> Vec<PathBuf> {
        let mut groups = host::groups();
        groups.retain(|(pid, _)| *pid == self.launcher.id());
        groups.into_iter().map(|(_, directory)| directory).collect()
    }

    fn kill(&mut self, target: i32) {
        // SAFETY: no pointers; the target is our own child, or the group that it leads.
        unsafe { libc::kill(target, libc::SIGKILL) };
        let _ = self.launcher.wait();
    }

    /// Waits until all of it is gone.
    fn gone(&self) {
        eventually("killed", || processes_marked(&self.mark));
        eventually("killed", || self.groups());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for pid in processes_marked(&self.mark) {
            // SAFETY: no pointers; the mark is this run's own.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let _ = self.launcher.wait();
        for group in self.groups() {
            let _ = std::fs::remove_dir(group);
        }
    }
}

const LIMITED: &str = "aegis: 1\nlimits: {pids: 32, memory: 64M}\n";

#[test]
fn killing_the_launcher_ends_everything_inside_and_leaves_no_control_group() {
    for user in USERS {
        let mut run = Run::start(user, LIMITED, "killed");
        if user == User::Root {
            assert!(
                !run.groups().is_empty(),
                "the control: the run has control groups"
            );
        }
        run.kill(run.launcher.id() as i32);
        run.gone();
    }
}

#[test]
fn killing_the_launchers_group_leaves_no_control_group() {
    for user in USERS {
        let mut run = Run::start(user, LIMITED, "group-killed");
        run.kill(-(run.launcher.id() as i32));
        run.gone();
    }
}
