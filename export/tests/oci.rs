//! The filter that a container engine makes of an export is ours: by crun, with libseccomp.

use std::path::Path;
use std::process::Command;

use aegis_export::Format;
use aegis_runtime::seccomp::{Action, Arch, Filter, Op, SeccompData, filter_for, interpret};
use libc::sock_filter;
use serde_json::{Value, json};

use crate::support::{Case, said, text};

/// A directory with a bundle of crun's that runs a command under a seccomp profile.
fn bundle(seccomp: &Value, command: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let shown = ["/usr", "/bin", "/lib", "/lib64"]
        .iter()
        .filter(|path| Path::new(path).exists());
    let shown = shown.map(|path| json!({"destination": path, "source": path, "type": "bind", "options": ["rbind", "ro"]}));
    let mounts: Vec<Value> = shown
        .chain([json!({"destination": "/proc", "source": "proc", "type": "proc"})])
        .chain([json!({"destination": "/dev", "source": "tmpfs", "type": "tmpfs"})])
        .collect();
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({"type": kind}));
    let config = json!({
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": command, "env": ["PATH=/usr/bin:/bin"], "cwd": "/", "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "seccomp": seccomp},
    });
    std::fs::create_dir(directory.path().join("rootfs")).expect("mkdir");
    std::fs::write(directory.path().join("config.json"), config.to_string()).expect("write");
    directory
}

/// Runs lines of `sh` in which `crun` has its own place and no control groups: it refuses hosts with both versions.
fn crun(bundle: &Path, lines: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc"]).current_dir(bundle);
    command.arg(format!(
        "mount -t tmpfs none /sys/fs/cgroup; crun() {{ command crun --root \"$PWD/state\" --cgroup-manager=disabled \"$@\"; }}; {lines}"
    ));
    command
}

/// The filter that crun makes of a profile's export.
fn made(case: &Case) -> Vec<sock_filter> {
    let export = case.export(Format::OciSeccomp);
    let seccomp = serde_json::from_str(text(&export)).expect("JSON");
    let bundle = bundle(&seccomp, &["/bin/true"]);
    said(&mut crun(
        bundle.path(),
        "crun create c > log 2>&1 || { cat log; exit 1; }; cp state/c/seccomp.bpf .; crun delete --force c",
    ));
    let bytes = std::fs::read(bundle.path().join("seccomp.bpf")).expect("a filter");
    let (steps, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    let step = |[a, b, jt, jf, k @ ..]: &[u8; 8]| sock_filter {
        code: u16::from_ne_bytes([*a, *b]),
        jt: *jt,
        jf: *jf,
        k: u32::from_ne_bytes(*k),
    };
    steps.iter().map(step).collect()
}

/// Values at which a condition of this argument of a call may change.
fn values(filter: &Filter, number: u32, argument: u8) -> Vec<u64> {
    let conditions = filter
        .rules
        .get(number)
        .into_iter()
        .flat_map(|rule| &rule.arms);
    let conditions = conditions
        .flat_map(|arm| &arm.when)
        .filter(|condition| condition.arg() == argument);
    let mut values = vec![0, 1];
    for condition in conditions {
        match condition.op {
            Op::Eq(value) | Op::Ne(value) | Op::Le(value) => {
                values.extend([
                    value,
                    value ^ 1,
                    value + 1,
                    value ^ 1 << 31,
                    value | 1 << 40,
                ]);
            }
            Op::MaskedEq { mask, value } => {
                values.extend([value, mask, mask ^ value, !mask | value]);
                values.extend((0..64).map(|bit| value ^ 1 << bit));
            }
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// Calls with all such values of up to three arguments.
fn calls(filter: &Filter, number: u32) -> Vec<[u64; 6]> {
    let mut calls = vec![[0; 6]];
    for argument in 0..6_u8 {
        let values = values(filter, number, argument);
        if values.len() > 2 {
            calls = calls
                .iter()
                .flat_map(|call| {
                    values.iter().map(|value| {
                        let mut call = *call;
                        call[usize::from(argument)] = *value;
                        call
                    })
                })
                .collect();
        }
    }
    calls
}

#[test]
fn crun_allows_and_refuses_the_calls_that_our_own_filter_does() {
    for lines in [
        "",
        "syscalls: {base: minimal, deny: [ptrace, kill]}",
        "syscalls: {base: learned, allow: [read, openat, clone, ioctl, socket, prctl, mmap]}",
        "capabilities: {net.outbound: host}",
        "capabilities: {net.outbound: host, net.listen: [8080], sockets: private}",
        "capabilities: {sockets: private}\nsyscalls: {allow: [keyctl]}",
        "syscalls: {allow: [socket, userfaultfd]}",
    ] {
        let case = Case::of(&format!("extends: [base]\n{lines}"));
        let ours = filter_for(&case.plan.syscalls.unattended()).expect("a filter");
        let made = made(&case);
        assert!(
            made.len() < 4000,
            "{lines}: {} of 4096 instructions",
            made.len()
        );
        let arch = Arch::native();
        let mut compared = 0;
        for (name, number) in arch.syscalls() {
            for args in calls(&ours, *number) {
                let call = SeccompData {
                    nr: *number,
                    arch: arch.audit(),
                    args,
                    ..SeccompData::default()
                };
                let answer = interpret(&made, &call).expect("a filter that we know");
                let expected = ours.evaluate(&call);
                compared += 1;
                let is_allowed = answer == Action::Allow.to_return();
                // Newer calls than libseccomp knows, and what the export says that it narrows.
                let newer = *number > 450 || ["uprobe", "uretprobe"].contains(name);
                let narrowed =
                    !is_allowed && (*name == "prlimit64" && args[0] as u32 != 0 || newer);
                assert!(
                    narrowed || is_allowed == (expected == Action::Allow),
                    "{lines}: {name} {args:x?}: {answer:x}, and not {expected:?}"
                );
                if ours
                    .rules
                    .get(*number)
                    .is_some_and(|rule| rule.arms.is_empty())
                    && !newer
                {
                    assert_eq!(answer, expected.to_return(), "{lines}: {name}");
                }
            }
        }
        assert!(compared > 10_000, "{lines}: {compared}");
        for (arch, nr) in [(Arch::ALL[0], 0), (Arch::ALL[1], 0x4000_0000)] {
            let call = SeccompData {
                nr,
                arch: arch.audit(),
                ..SeccompData::default()
            };
            let answer = interpret(&made, &call).expect("a filter that we know");
            let killed = [
                libc::SECCOMP_RET_KILL_PROCESS,
                libc::SECCOMP_RET_KILL_THREAD,
            ];
            assert!(
                killed.contains(&answer) || nr == 0 && arch == Arch::native(),
                "{lines}: {arch:?} {nr:x}"
            );
        }
    }
}

#[test]
fn a_program_under_crun_is_refused_what_the_profile_refuses() {
    let case = Case::of("extends: [base]");
    let export = case.export(Format::OciSeccomp);
    let seccomp = serde_json::from_str(text(&export)).expect("JSON");
    let script = "echo works; unshare --user true; echo $?; setarch --addr-no-randomize true; echo $?; setarch --read-implies-exec true; echo $?";
    let bundle = bundle(&seccomp, &["/bin/sh", "-c", script]);
    let said = said(&mut crun(
        bundle.path(),
        "crun run c 2> log || { cat log; exit 1; }",
    ));
    assert_eq!(said, "works\n1\n0\n1\n");
    // Without the filter all of it can be done.
    let bundle = self::bundle(
        &json!({"defaultAction": "SCMP_ACT_ALLOW"}),
        &["/bin/sh", "-c", script],
    );
    let said = crate::support::said(&mut crun(
        bundle.path(),
        "crun run c 2> log || { cat log; exit 1; }",
    ));
    assert_eq!(said, "works\n0\n0\n0\n");
}
