//! The registry of running sandboxes: entries exist while commands run, out of their reach, and are removed after.

use std::path::{Path, PathBuf};
use std::process::Child;

use aegis_tests::audit_log::aegis;
use aegis_tests::{User, Workspace, host, text};
use serde_json::Value;

/// The registry of an ordinary user without `XDG_RUNTIME_DIR`, as in these tests.
fn registry(workspace: &Workspace) -> PathBuf {
    workspace.state().join("aegis/run")
}

fn files(registry: &Path) -> Vec<PathBuf> {
    let list = std::fs::read_dir(registry).into_iter().flatten();
    list.map(|entry| entry.expect("an entry").path()).collect()
}

/// A run that reports when it is up, and goes on until its standard input ends.
fn up(workspace: &Workspace) -> Child {
    let profile = workspace.profile("aegis: 1\nname: waits\nextends: [shell]\n");
    let script = "echo up; read -r line";
    host::started(&mut workspace.aegis(&profile, &["sh", "-c", script]), "up")
}

fn listed(workspace: &Workspace) -> Vec<Value> {
    let output = aegis(workspace, &["ps", "--json"]);
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("a list")
}

#[test]
fn a_run_is_listed_while_it_runs_and_no_longer() {
    let workspace = Workspace::new(User::Ordinary);
    let mut child = up(&workspace);
    let list = listed(&workspace);
    let [run] = &list[..] else {
        panic!("one run: {list:?}");
    };
    assert_eq!(run["pid"], child.id());
    assert_eq!(run["profile"], "waits");
    assert_eq!(run["stale"], false);
    assert_eq!(run["command"][0], "sh");
    drop(child.stdin.take());
    child.wait().expect("it ends");
    assert_eq!(files(&registry(&workspace)), [] as [PathBuf; 0]);
    assert!(listed(&workspace).is_empty());
}

#[test]
fn a_run_whose_supervisor_was_killed_is_seen_as_stale_and_forgotten() {
    let workspace = Workspace::new(User::Ordinary);
    let mut child = up(&workspace);
    child.kill().expect("SIGKILL");
    child.wait().expect("it is gone");
    assert_eq!(files(&registry(&workspace)).len(), 1);
    let list = listed(&workspace);
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["stale"], true);
    assert!(listed(&workspace).is_empty(), "it is told once");
}

#[test]
fn no_profile_can_grant_the_registry() {
    let workspace = Workspace::new(User::Ordinary);
    let place = registry(&workspace);
    std::fs::create_dir_all(&place).expect("mkdir");
    let profile = format!(
        "aegis: 1\nextends: [shell]\ncapabilities: {{files.read: [{}]}}\n",
        place.display()
    );
    let output = workspace.run(&profile, &["true"]);
    assert_eq!(output.status.code(), Some(125), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Aegis's own"), "{said}");
}
