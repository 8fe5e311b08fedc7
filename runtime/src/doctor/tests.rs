//! Made-up hosts for the diagnosis, and this host for the probes.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Mutex;

use super::diagnose::diagnose;
use super::host::{Host, Version};
use super::layer::{Finding, Layer, NO_RESULT, NOT_HELD, ProbeOutcome};
use super::{Status, confine, examine};
use crate::facts::cgroups::Layout;
use aegis_sys::{files, process};
use serde_json::Value;

/// An ordinary user of a systemd host with cgroup v2, where nothing is wrong.
fn host() -> Host {
    Host {
        release: "6.12.0".into(),
        kernel: (6, 12),
        uid: 1000,
        sandbox_id_mapped: true,
        apparmor_restricts: false,
        userns_clone_off: false,
        max_user_namespaces: Some(60000),
        container: None,
        chrooted: false,
        filtered: false,
        masked_proc: Vec::new(),
        lsm: Some("lockdown,capability,yama,apparmor".into()),
        landlock_abi: 6,
        memfd_noexec: true,
        core_pattern: "core".into(),
        systemd: true,
        cgroups: Version::V2,
        layout: Layout::default(),
        programs: "/usr/local/bin".into(),
    }
}

fn docker() -> Host {
    Host {
        container: Some("Docker".into()),
        filtered: true,
        masked_proc: vec!["/proc/kcore".into(), "/proc/sys".into()],
        ..host()
    }
}

fn finding(layer: Layer, outcome: ProbeOutcome) -> Finding {
    Finding {
        layer,
        outcome,
        note: "doing so".into(),
    }
}

#[test]
fn every_known_cause_is_named_with_its_fix() {
    let ubuntu = Host {
        apparmor_restricts: true,
        ..host()
    };
    let debian = Host {
        userns_clone_off: true,
        ..host()
    };
    let none = Host {
        max_user_namespaces: Some(0),
        ..host()
    };
    let old = Host {
        kernel: (5, 4),
        ..host()
    };
    let root = Host { uid: 0, ..host() };
    let rootless = Host {
        uid: 0,
        sandbox_id_mapped: false,
        ..host()
    };
    let podman = Host {
        container: Some("Podman".into()),
        ..docker()
    };
    let kubernetes = Host {
        container: Some("Kubernetes".into()),
        ..docker()
    };
    let hybrid = Host {
        cgroups: Version::V1,
        ..host()
    };
    let bare = Host {
        systemd: false,
        ..host()
    };
    let service = Host {
        filtered: true,
        ..host()
    };
    let abi = |abi| Host {
        landlock_abi: abi,
        ..host()
    };
    let fails = ProbeOutcome::Fails;
    let partly = ProbeOutcome::Partly;
    #[rustfmt::skip]
    let table: &[(&Host, Layer, ProbeOutcome, &str, &str)] = &[
        (&ubuntu, Layer::User, fails(libc::EACCES), "AppArmor", "profile aegis /usr/local/bin/aegis{,-run}"),
        (&ubuntu, Layer::User, fails(libc::EPERM), "AppArmor", "kernel.apparmor_restrict_unprivileged_userns=0"),
        (&ubuntu, Layer::Ids, fails(libc::EPERM), "AppArmor", "userns,"),
        (&ubuntu, Layer::Root, fails(libc::EACCES), "AppArmor", "apparmor_parser -r"),
        (&debian, Layer::User, fails(libc::EPERM), "unprivileged_userns_clone is 0", "kernel.unprivileged_userns_clone=1"),
        (&none, Layer::User, fails(libc::ENOSPC), "max_user_namespaces is 0", "user.max_user_namespaces=15000"),
        (&host(), Layer::User, fails(libc::ENOSPC), "limit of namespaces", "user.max_user_namespaces=100000"),
        (&host(), Layer::User, fails(libc::EINVAL), "built without", "CONFIG_USER_NS=y"),
        (&host(), Layer::User, fails(libc::EPERM), "security module", "dmesg"),
        (&Host { chrooted: true, ..host() }, Layer::User, fails(libc::EPERM), "chroot", "outside"),
        (&root, Layer::Root, fails(libc::EINVAL), "initramfs", "switch_root"),
        (&service, Layer::User, fails(libc::EPERM), "seccomp filter is on this process", "RestrictNamespaces=no"),
        (&docker(), Layer::User, fails(libc::EPERM), "seccomp filter of the container (Docker)", "docker run --security-opt seccomp=unconfined"),
        (&docker(), Layer::User, fails(libc::ENOSYS), "seccomp filter of the container (Docker)", "seccomp=unconfined"),
        (&podman, Layer::User, fails(libc::EPERM), "(Podman)", "podman run"),
        (&old, Layer::Calls, fails(libc::ENOSYS), "too old", "Linux 5.11"),
        (&old, Layer::MountCalls, fails(libc::ENOSYS), "too old", "Linux 5.12"),
        (&docker(), Layer::Proc, fails(libc::EPERM), "/proc/kcore, /proc/sys", "systempaths=unconfined"),
        (&podman, Layer::Proc, fails(libc::EPERM), "/proc/kcore", "unmask=ALL"),
        (&kubernetes, Layer::Proc, fails(libc::EPERM), "/proc/kcore", "procMount: Unmasked"),
        (&rootless, Layer::Ids, fails(libc::EPERM), "lacks the sandbox's id", "ordinary user"),
        (&root, Layer::Idmap, fails(libc::EINVAL), "no id-mapped mounts", "ext4"),
        (&host(), Layer::Landlock, fails(libc::EOPNOTSUPP), "not switched on", "lsm=landlock,lockdown,capability,yama,apparmor"),
        (&old, Layer::Landlock, fails(libc::ENOSYS), "too old", "Linux 5.13"),
        (&host(), Layer::Landlock, fails(libc::ENOSYS), "built without Landlock", "CONFIG_SECURITY_LANDLOCK"),
        (&docker(), Layer::Landlock, fails(libc::ENOSYS), "(Docker)", "seccomp=unconfined"),
        (&abi(2), Layer::Landlock, partly(libc::EINVAL), "ABI 2, without truncation, TCP ports", "Linux 6.12"),
        (&host(), Layer::Notify, partly(libc::EINVAL), "WAIT_KILLABLE", "Linux 5.19"),
        (&host(), Layer::Notify, fails(libc::EBUSY), "another sandbox", "outside"),
        (&host(), Layer::Memfd, partly(libc::ENOENT), "memfd_noexec", "Linux 6.3"),
        (&host(), Layer::Memory, fails(libc::EACCES), "no control group is delegated", "systemd-run --user --scope -p Delegate=yes"),
        (&host(), Layer::Io, fails(libc::ENOENT), "controller is not delegated", "Delegate=cpu cpuset io memory pids"),
        (&bare, Layer::Pids, fails(libc::EACCES), "no control group", "chown -R 1000"),
        (&hybrid, Layer::Memory, fails(libc::EACCES), "cgroup v1", "sudo aegis-run"),
        (&docker(), Layer::Memory, fails(libc::EROFS), "container may not", "--privileged"),
        (&root, Layer::Memory, fails(libc::ENOENT), "no such controller", "cgroup_disable="),
        (&root, Layer::Group, fails(libc::EBUSY), "no internal processes", "systemd-run --scope"),
        (&Host { kernel: (5, 4), uid: 0, ..host() }, Layer::Group, fails(libc::EINVAL), "CLONE_INTO_CGROUP", "Linux 5.7"),
        (&Host { cgroups: Version::None, ..host() }, Layer::Cpu, fails(libc::EACCES), "no control groups are mounted", "mount -t cgroup2"),
        (&old, Layer::ProcessLimit, fails(libc::EAGAIN), "on the whole host", "Linux 5.14"),
        (&host(), Layer::Filter, fails(NO_RESULT), "killed the probe", "outside"),
    ];
    for (host, layer, outcome, why, fix) in table {
        let found = finding(*layer, *outcome);
        let diagnosis = diagnose(&found, host);
        let what = format!("{layer:?} {outcome:?}: {diagnosis:?}");
        assert!(diagnosis.0.contains(why), "{what}\nlacks {why:?}");
        let given = diagnosis.1.as_deref().unwrap_or_default();
        assert!(given.contains(fix), "{what}\nlacks {fix:?}");
    }
}

#[test]
fn root_is_not_told_of_what_restricts_ordinary_users() {
    let host = Host {
        uid: 0,
        apparmor_restricts: true,
        userns_clone_off: true,
        ..host()
    };
    let found = finding(Layer::User, ProbeOutcome::Fails(libc::EPERM));
    let diagnosis = diagnose(&found, &host);
    assert!(!diagnosis.0.contains("AppArmor restricts"), "{diagnosis:?}");
    assert!(
        !diagnosis.0.contains("unprivileged_userns_clone"),
        "{diagnosis:?}"
    );
}

#[test]
fn whatever_fails_has_a_reason() {
    for layer in Layer::ALL {
        for number in (1..134).chain([NOT_HELD, NO_RESULT]) {
            for host in [host(), docker(), Host { uid: 0, ..host() }] {
                let found = finding(*layer, ProbeOutcome::Fails(number));
                let diagnosis = diagnose(&found, &host);
                assert!(diagnosis.0.len() > 10, "{layer:?} {number}: {diagnosis:?}");
                assert!(diagnosis.1 != Some(String::new()), "{layer:?} {number}");
            }
        }
    }
}

#[test]
fn a_restriction_that_is_not_held_is_never_ok() {
    for layer in Layer::ALL {
        assert_ne!(layer.status(ProbeOutcome::Fails(NOT_HELD)), Status::Ok);
        assert_eq!(
            layer.status(ProbeOutcome::Needs(Layer::User)),
            Status::Missing
        );
        let partly = layer.status(ProbeOutcome::Fails(NOT_HELD)) == Status::Degraded;
        assert!(!partly || layer.texts().stand_in.is_some(), "{layer:?}");
    }
}

#[test]
fn a_piped_core_dump_ignores_a_limit_of_zero() {
    for (pattern, limit, held) in [
        ("core", 0, true),
        ("core", 1, true),
        ("/var/cores/%p", 1 << 20, false),
        ("|/usr/lib/systemd/systemd-coredump %P", 0, false),
        ("|/usr/lib/systemd/systemd-coredump %P", 1, true),
        ("@/run/coredump.socket", 1, false),
    ] {
        let stay = confine::cores_stay(pattern, limit);
        assert_eq!(stay, held, "{pattern} {limit}");
    }
}

/// What a probe left behind: this process's children, mounts and control groups.
fn traces() -> (BTreeSet<String>, String, BTreeSet<String>) {
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let layout = Layout::of_this_process();
    let places = layout.v1.values().map(|place| place.dir.clone());
    let places = places.chain(layout.unified.map(|place| place.dir.join("aegis")));
    let groups = places
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .filter(|path| path.contains("doctor"))
        .collect();
    let children = children.split_whitespace().map(str::to_owned).collect();
    (children, mounts, groups)
}

/// One examination must not see the traces of another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The report of an examination, in a separate process, which has one thread and may become another user.
fn examined(uid: u32) -> Value {
    let _alone = ONE_AT_A_TIME.lock();
    let (reader, writer) = files::pipe().unwrap();
    let pid = match process::fork().unwrap() {
        Some(pid) => pid,
        None => {
            drop(reader);
            let before = traces();
            if uid != rustix::process::geteuid().as_raw() {
                process::become_user(uid, uid).unwrap();
                // `login` sets this; changing ids cleared it.
                let _ = rustix::process::set_dumpable_behavior(
                    rustix::process::DumpableBehavior::Dumpable,
                );
            }
            let report = examine();
            let clean = traces() == before;
            let value = serde_json::json!([report, report.complete(), clean]);
            let _ = files::write_all(writer.as_fd(), value.to_string().as_bytes());
            process::exit_now(0)
        }
    };
    drop(writer);
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(reader);
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    assert_eq!(process::reap(pid).unwrap(), process::Change::Exited(0));
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value[2], true, "something was left behind:\n{value:#}");
    assert_eq!(value[0]["user"], uid);
    let ok = |check: &Value| check["status"] == "ok";
    let all = value[0]["checks"].as_array().unwrap().iter().all(ok);
    assert_eq!(value[1], all, "{value:#}");
    value[0].clone()
}

/// As root and as an ordinary user; without root, as the current user.
#[test]
fn all_but_control_groups_works_here_and_what_does_not_has_a_reason() {
    let users = match rustix::process::geteuid().as_raw() {
        0 => vec![0, 20000],
        own => vec![own],
    };
    for uid in users {
        let report = examined(uid);
        let checks = report["checks"].as_array().unwrap();
        for check in checks {
            let name = check["name"].as_str().unwrap();
            let of_groups = name.starts_with("limits: ") || name == "cgroup of its own";
            let ok = check["status"] == "ok";
            assert!(ok || of_groups, "{report:#}");
            assert!(ok || check["why"].is_string(), "{report:#}");
        }
        let idmaps = checks
            .iter()
            .any(|check| check["name"] == "id-mapped mounts");
        assert_eq!(idmaps, uid == 0, "only root needs them");
    }
}
