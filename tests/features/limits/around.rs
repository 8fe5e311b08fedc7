//! Causes that no message names: a control group around the run, a full file system of the sandbox's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use aegis_tests::{USERS, User, Workspace, program};

use super::{EATS_300M, limited, profile};

#[test]
fn what_a_group_around_the_run_ends_is_not_blamed_on_the_memory_limit() {
    let workspace = Workspace::new(User::Root);
    let outer = OuterGroup::new(64 << 20);
    let profile = workspace.profile(&profile("memory: 2G"));
    let report = workspace.outside().join("report.json");
    let mut command = workspace.command("sh");
    command
        .args(["-c", "echo $$ > \"$0\"/cgroup.procs && exec \"$@\""])
        .arg(&outer.0)
        .arg(program("aegis-run"))
        .args([OsStr::new("--report"), report.as_os_str()])
        .args([OsStr::new("--profile"), profile.as_os_str()])
        .args(["--", "python3", "-c", EATS_300M]);
    let output = command.output().expect("sh starts");
    let told = aegis_tests::text(&output);
    assert_eq!(output.status.code(), Some(137), "{told}");
    assert!(
        told.contains("for want of memory, not at limits.memory"),
        "{told}"
    );
    let report = std::fs::read_to_string(report).expect("a report");
    assert!(report.contains("\"killed\""), "{report}");
    assert!(!report.contains("memory-limit"), "{report}");
}

/// A control group with a limit on memory, below the test's own.
struct OuterGroup(PathBuf);

impl OuterGroup {
    fn new(limit: u64) -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").expect("the own groups");
        let place = |controller: &str, mount: &str| {
            let mut lines = own.lines().filter_map(|line| line.split_once(':'));
            let (_, path) = lines.find_map(|(_, rest)| {
                rest.split_once(':').filter(|(name, _)| *name == controller)
            })?;
            Some(Path::new(mount).join(path.trim_start_matches('/')))
        };
        let (place, file) = match place("memory", "/sys/fs/cgroup/memory") {
            Some(place) => (place, "memory.limit_in_bytes"),
            // On cgroup2, the nearest one that may have children with controllers.
            None => ("/sys/fs/cgroup".into(), "memory.max"),
        };
        let group = Self(place.join(format!("outer-{}", std::process::id())));
        std::fs::create_dir(&group.0).expect("root makes a group");
        std::fs::write(group.0.join(file), limit.to_string()).expect("a limit");
        for (file, value) in [
            ("memory.memsw.limit_in_bytes", limit),
            ("memory.swap.max", 0),
        ] {
            if group.0.join(file).exists() {
                std::fs::write(group.0.join(file), value.to_string()).expect("a limit");
            }
        }
        group
    }
}

impl Drop for OuterGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_full_tmp_is_told_though_no_message_names_it() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let script = "head -c 3000000 /dev/zero > /tmp/big";
        let ran = limited(&workspace, "tmp: 1M", &["sh", "-c", script]);
        ran.held_back_by(1, "tmp");
    }
}
