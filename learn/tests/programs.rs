//! `shell.exec` and `extends`.

use aegis_learn::{About, Key, Options};
use aegis_observation::RefusedCall;

use crate::host::{Made, Seen, notes, values};

fn extended(proposal: &aegis_learn::Proposal) -> Vec<&str> {
    proposal
        .extends
        .iter()
        .map(|extended| extended.name.as_str())
        .collect()
}

#[test]
fn programs_go_by_name_where_path_has_them() {
    let made = Made::new()
        .program("/opt/tool/bin/tool")
        .program("/home/ada/work/run")
        .program("/usr/local/bin/cat");
    let seen = Seen::new()
        .exec("/bin/ls")
        .exec_as("/usr/bin/wget", "/usr/bin/busybox")
        .exec("/usr/bin/cat")
        .exec("/opt/tool/bin/tool")
        .exec("/home/ada/work/run");
    let proposal = made.learn(&seen.0);
    // The `cat` that was executed is not the one that its name leads to.
    assert_eq!(
        values(&proposal, Key::Execute),
        ["-$WORK/run", "-/opt/tool", "-/usr/bin/cat", "ls", "wget"]
    );
}

#[test]
fn a_script_needs_its_interpreter() {
    let made = Made::new()
        .script("/home/ada/work/run", "/bin/sh")
        .with_skill()
        .script("/srv/skill/go", "/usr/bin/cat");
    let seen = Seen::new()
        .exec_as("/home/ada/work/run", "/usr/bin/dash")
        .exec_as("/srv/skill/go", "/usr/bin/cat");
    let proposal = made.learn(&seen.0);
    assert_eq!(
        values(&proposal, Key::Execute),
        ["-$SKILL/go", "-$WORK/run", "cat", "sh"]
    );
}

#[test]
fn helpers_are_trees_and_what_was_made_is_where_it_was_made() {
    let made = Made::new()
        .program("/usr/lib/gcc/x/12/cc1")
        .program("/usr/libexec/app/helper");
    let seen = Seen::new()
        .exec("/usr/lib/gcc/x/12/cc1")
        .exec("/usr/libexec/app/helper")
        .write("/tmp/a.out")
        .exec("/tmp/a.out");
    let proposal = made.learn(&seen.0);
    assert_eq!(
        values(&proposal, Key::Execute),
        ["$TMP", "-/usr/lib/gcc", "-/usr/libexec/app"]
    );
    assert!(proposal.lines[0].risk.is_some());
}

#[test]
fn what_was_written_and_executed_is_its_directory() {
    let made = Made::new()
        .program("/home/ada/work/target/a")
        .directory("/home/ada/work/target");
    let seen = Seen::new()
        .write("/home/ada/work/target/a")
        .exec("/home/ada/work/target/a");
    let proposal = made.learn(&seen.0);
    assert_eq!(values(&proposal, Key::Execute), ["-$WORK/target"]);
    assert!(
        proposal
            .lines
            .iter()
            .any(|line| line.key == Key::Execute && line.risk.is_some())
    );
}

#[test]
fn a_built_in_profile_is_extended_where_it_has_little_to_spare() {
    let seen = Seen::new()
        .exec_as("/usr/bin/python3", "/usr/bin/python3.11")
        .read("/usr/lib/python3.11/json/__init__.py");
    let proposal = Made::new().learn(&seen.0);
    assert_eq!(extended(&proposal), ["python"]);
    assert!(proposal.lines.is_empty(), "{:?}", proposal.lines);
    assert_eq!(
        notes(&proposal, About::Beyond),
        ["python: 1 program not executed: env"]
    );
    let both = seen.exec("/usr/bin/git");
    assert_eq!(extended(&Made::new().learn(&both.0)), ["python", "git"]);
}

#[test]
fn a_large_built_in_profile_is_extended_when_much_of_it_is_used() {
    let names: Vec<String> = aegis_profile::load("shell", &aegis_profile::Files)
        .unwrap()
        .profile
        .capabilities
        .shell_exec
        .iter()
        .filter_map(|item| match &item.value {
            aegis_profile::Program::Name { name, .. } => Some(name.clone()),
            aegis_profile::Program::Path(_) => None,
        })
        .collect();
    let mut made = Made::new();
    for name in &names {
        if name != "sh" {
            made = made.program(format!("/usr/bin/{name}"));
        }
    }
    let few = Seen::new()
        .exec_as("/usr/bin/sh", "/usr/bin/dash")
        .exec("/usr/bin/cat");
    assert_eq!(extended(&made.learn(&few.0)), ["base"]);
    let many = names
        .iter()
        .take(60)
        .fold(few, |seen, name| seen.exec(&format!("/usr/bin/{name}")));
    assert_eq!(extended(&made.learn(&many.0)), ["shell"]);
}

#[test]
fn programs_that_were_only_looked_for_are_not_granted() {
    let seen = Seen::new()
        .named("newfstatat", "/usr/bin/git", None)
        .exec("/usr/bin/cat");
    let proposal = Made::new().learn(&seen.0);
    assert_eq!(values(&proposal, Key::Read), [""; 0]);
    assert_eq!(values(&proposal, Key::Execute), ["cat"]);
}

#[test]
fn calls_are_rounded_and_none_is_granted_that_weakens() {
    let mut seen = Seen::new().calls(&[
        "execve", "openat", "pipe2", "keyctl", "clone3", "mount", "made_up",
    ]);
    for (call, error) in [
        ("keyctl", "EPERM"),
        ("clone3", "ENOSYS"),
        ("mount", "EPERM"),
    ] {
        seen.0.refused_calls.insert(RefusedCall {
            call: call.into(),
            error: error.into(),
        });
    }
    let options = Options {
        tight: true,
        ..Options::default()
    };
    let proposal = Made::new().learn_with(&[seen.0.clone()], None, &options);
    let calls = values(&proposal, Key::Calls);
    for call in ["pipe", "pipe2", "open", "creat", "clone", "fork", "vfork"] {
        assert!(calls.contains(&call), "{call}: {calls:?}");
    }
    for call in ["openat2", "clone3", "keyctl", "mount", "made_up"] {
        assert!(!calls.contains(&call), "{call}");
    }
    assert_eq!(proposal.possible_calls, ["keyctl".to_owned()].into());
    assert!(proposal.to_yaml().contains("# syscalls: {allow: [keyctl]}"));
    assert_eq!(
        notes(&proposal, About::Call),
        ["mount was refused (EPERM); no profile grants it"]
    );
    let profile = proposal.profile().unwrap();
    assert_eq!(
        profile.syscalls.base.unwrap().value,
        aegis_profile::SyscallBase::Learned
    );
    // Without being asked, the default set is what holds.
    assert!(
        Made::new()
            .learn(&seen.0)
            .profile()
            .unwrap()
            .syscalls
            .base
            .is_none()
    );
}
