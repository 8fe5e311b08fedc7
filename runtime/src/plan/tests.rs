//! Compiling, for made-up hosts: no test here reads this one.

mod front_end;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aegis_profile::parse_str;

use super::*;
use crate::facts::cgroups::{GroupParent, Layout};
use crate::facts::paths::{HostPath, Kind, Link, Resolved};
use crate::facts::{Caller, Host, HostFacts, Inputs, KernelFacts, ProgramFacts, ResolvedPaths};
use crate::seccomp;
use crate::types::{BrokerSocket, Fault, GrantOrigin, Identity, Network, Protocol, SANDBOX_UID};
use aegis_policy::What;
use aegis_profile::Profile;
use aegis_sys::landlock;

fn found(path: &str, kind: Kind, uid: u32) -> Resolved {
    Resolved {
        real: PathBuf::from(path),
        links: Vec::new(),
        dev: libc::makedev(254, 1),
        ino: path.len() as u64 + 7,
        kind,
        mode: match kind {
            Kind::Directory => libc::S_IFDIR | 0o755,
            Kind::File => libc::S_IFREG | 0o755,
            Kind::Special => libc::S_IFSOCK | 0o666,
        },
        uid,
        gid: uid,
    }
}

/// A host with `/skill/work` as `$WORK`, an ordinary user, and no control groups.
pub(crate) fn facts() -> HostFacts {
    let mut paths = ResolvedPaths::new();
    for (path, uid) in [("/usr", 0), ("/skill/work", 1000), ("/skill", 1000)] {
        paths.insert(path.into(), Ok(found(path, Kind::Directory, uid)));
    }
    paths.insert(
        "/usr/bin/env".into(),
        Ok(found("/usr/bin/env", Kind::File, 0)),
    );
    HostFacts {
        has_java: false,
        host: Host {
            caller: Caller {
                uid: 1000,
                gid: 1000,
                may_become_others: false,
                name: Some("ada".into()),
                group: Some("ada".into()),
                home: "/home/ada".into(),
                account_home: None,
                policy_home: "/home/ada".into(),
            },
            kernel: KernelFacts {
                landlock_abi: 7,
                last_capability: 40,
                memfd_noexec: true,
                memfd_noexec_writable: false,
                processors: 4,
            },
            umask: 0o022,
            cgroups: Layout::default(),
            terminals: [false; 3],
            standard: Default::default(),
        },
        work: "/skill/work".into(),
        work_owner: (1000, 1000),
        skill: Some("/skill".into()),
        environment: BTreeMap::new(),
        paths,
        programs: BTreeMap::new(),
        command: ProgramFacts {
            argv: vec!["true".into()],
            path: "/usr/bin/true".into(),
            resolved: found("/usr/bin/true", Kind::File, 0),
            interpreters: Vec::new(),
        },
        disks: Vec::new(),
        root_links: Vec::new(),
        denied: Vec::new(),
        plantable: Default::default(),
        devices: BTreeMap::new(),
        mounts: Vec::new(),
    }
}

pub(crate) fn profile(text: &str) -> Profile {
    parse_str(&format!("aegis: 1\n{text}\n"), "test.yaml").expect("a valid profile")
}

pub(crate) fn plan_of(text: &str) -> Plan {
    compile(&profile(text), &Inputs::default(), &facts()).expect("a plan")
}

/// A plan that may write `$WORK`, in which these names stay as they are.
pub(crate) fn kept_in_work(names: &[&str]) -> Plan {
    let mut facts = facts();
    for name in names {
        let path = format!("/skill/work/{name}");
        (facts.plantable.present).push(found(&path, Kind::File, 1000));
    }
    let text = "capabilities: {files.write: [$WORK]}";
    compile(&profile(text), &Inputs::default(), &facts).expect("a plan")
}

/// The host path mounted at a path: what it is, and whether it may be written and executed.
fn bind<'a>(plan: &'a Plan, at: &str) -> Option<(&'a HostPath, bool, bool)> {
    let mut mounts = plan.root.mounts();
    match &mounts.find(|mount| mount.at == Path::new(at))?.op {
        Op::Bind {
            source,
            write,
            exec,
            ..
        } => Some((source, *write, *exec)),
        _ => None,
    }
}

fn access(plan: &Plan, path: &str) -> u64 {
    plan.landlock
        .paths
        .iter()
        .filter(|rule| rule.path == Path::new(path))
        .fold(0, |all, rule| all | rule.access)
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let text = "capabilities: {files.read: [$WORK, $SKILL], shell.exec: [/usr/bin/env]}";
    assert_eq!(plan_of(text).to_json(), plan_of(text).to_json());
    assert_ne!(plan_of(text).hash(), plan_of("limits: {time: 5s}").hash());
}

#[test]
fn nothing_declared_is_nothing_but_the_command_itself() {
    let plan = plan_of("");
    assert!(bind(&plan, "/skill/work").is_none());
    assert_eq!(plan.directory, Path::new("/"));
    assert_eq!(
        access(&plan, "/usr/bin/true"),
        landlock::fs::EXECUTE | landlock::fs::READ_FILE
    );
    assert_eq!(access(&plan, "/usr"), 0);
    assert_eq!(access(&plan, "/usr/bin"), 0);
    assert!(plan.namespaces.contains(&Namespace::Net));
    assert_eq!(
        plan.environment.get(std::ffi::OsStr::new("SSH_AUTH_SOCK")),
        None
    );
}

#[test]
fn a_read_grant_is_read_only_and_nothing_in_it_can_be_executed() {
    let plan = plan_of("capabilities: {files.read: [$WORK]}");
    let (_, write, exec) = bind(&plan, "/skill/work").unwrap();
    assert!(!write && !exec);
    assert_eq!(access(&plan, "/skill/work") & landlock::fs::WRITE_FILE, 0);
    assert_eq!(access(&plan, "/skill/work") & landlock::fs::EXECUTE, 0);
    assert_eq!(plan.directory, Path::new("/skill/work"));
}

#[test]
fn a_write_grant_inside_a_read_grant_is_a_mount_of_its_own() {
    let mut facts = facts();
    let out = "/skill/work/out";
    facts
        .paths
        .insert(out.into(), Ok(found(out, Kind::Directory, 1000)));
    let profile = profile("capabilities: {files.read: [$WORK], files.write: [$WORK/out]}");
    let plan = compile(&profile, &Inputs::default(), &facts).unwrap();
    assert!(!bind(&plan, "/skill/work").unwrap().1);
    assert!(bind(&plan, out).unwrap().1);
    let private = |mount: &&Operation| matches!(mount.op, Op::Private { .. });
    let mounts = plan.root.mounts().filter(|mount| !private(mount));
    let order: Vec<_> = mounts.map(|mount| &mount.at).collect();
    assert!(
        order.is_sorted(),
        "a parent is mounted before what lies in it"
    );
}

#[test]
fn started_by_root_the_command_is_the_owner_of_work_or_an_unused_id() {
    let mut facts = facts();
    facts.host.caller.uid = 0;
    facts.host.caller.may_become_others = true;
    let profile = profile("capabilities: {files.read: [$WORK]}");
    let plan = compile(&profile, &Inputs::default(), &facts).unwrap();
    assert_eq!((plan.identity.uid, plan.identity.switch), (1000, true));
    let idmap = |plan: &Plan| bind(plan, "/skill/work").unwrap().0.idmap;
    assert_eq!(idmap(&plan), None, "the files are the command's own");

    facts.work_owner = (0, 0);
    facts.paths.insert(
        "/skill/work".into(),
        Ok(found("/skill/work", Kind::Directory, 0)),
    );
    let plan = compile(&profile, &Inputs::default(), &facts).unwrap();
    assert_eq!(plan.identity.uid, SANDBOX_UID);
    assert_eq!(idmap(&plan), Some((0, 0)));
}

#[test]
fn files_that_the_host_acts_upon_stay_read_only_in_a_writable_tree() {
    let mut facts = facts();
    let config = "/skill/work/.git/config";
    facts
        .plantable
        .present
        .push(found(config, Kind::File, 1000));
    let text = "capabilities: {files.write: [$WORK]}";
    let plan = compile(&profile(text), &Inputs::default(), &facts).unwrap();
    assert!(!bind(&plan, config).unwrap().1);
    assert!(
        bind(&plan, "/skill/work/.git").unwrap().1,
        "pinned against renaming"
    );

    facts
        .paths
        .insert(config.into(), Ok(found(config, Kind::File, 1000)));
    let text = "capabilities: {files.write: [$WORK, $WORK/.git/config]}";
    let plan = compile(&profile(text), &Inputs::default(), &facts).unwrap();
    assert!(
        bind(&plan, config).is_none_or(|(_, write, _)| write),
        "declared by name"
    );
}

#[test]
fn links_are_made_again_where_they_lie() {
    let mut facts = facts();
    let mut tool = found("/usr/bin/env", Kind::File, 0);
    tool.links.push(Link {
        at: "/opt/tool".into(),
        target: "/usr/bin/env".into(),
    });
    facts.paths.insert("/opt/tool".into(), Ok(tool));
    let profile = profile("capabilities: {shell.exec: [/opt/tool]}");
    let plan = compile(&profile, &Inputs::default(), &facts).unwrap();
    let target = "/usr/bin/env".into();
    let link = Op::Symlink { target }.at("/opt/tool");
    assert!(plan.root.iter().any(|operation| *operation == link));
}

#[test]
fn what_waits_for_the_broker_is_refused_with_its_line() {
    for (text, what) in [
        (
            "capabilities: {net.outbound: ['udp://ns.example:53']}",
            "port 53 of ns.example",
        ),
        (
            "capabilities: {secrets.use: {gh: {to: api.github.com, env: TOKEN}}}",
            "the secret",
        ),
        (
            "capabilities: {net.listen: [8080, 443], net.outbound: ['https://a.example']}",
            "net.listen on port 443",
        ),
        (
            "capabilities: {net.listen: [8080], net.outbound: ['http://a.example', 'tcp://b.example:8080']}",
            "`net.outbound` names that port of b.example (test.yaml:2:",
        ),
    ] {
        let error = compile(&profile(text), &Inputs::default(), &facts()).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(what) && message.contains("test.yaml:2"),
            "{message}"
        );
        assert_eq!(error.exit_status(), 125);
    }
}

#[test]
fn a_missing_path_is_an_error_unless_it_is_optional() {
    let mut facts = facts();
    facts
        .paths
        .insert("/srv/x".into(), Err(Fault::Missing("/srv".into())));
    let required = profile("capabilities: {files.read: [/srv/x]}");
    let error = compile(&required, &Inputs::default(), &facts).unwrap_err();
    assert!(error.to_string().contains("/srv does not exist"), "{error}");
    let optional = profile("capabilities: {files.read: [-/srv/x]}");
    compile(&optional, &Inputs::default(), &facts).unwrap();
}

#[test]
fn without_landlock_nothing_runs() {
    let mut facts = facts();
    facts.host.kernel.landlock_abi = 0;
    let error = compile(&profile(""), &Inputs::default(), &facts).unwrap_err();
    assert!(error.to_string().contains("Landlock"), "{error}");
}

#[test]
fn an_older_landlock_is_used_as_far_as_it_goes_and_said_to_be_less() {
    let mut facts = facts();
    facts.host.kernel.landlock_abi = 2;
    let plan = compile(
        &profile("capabilities: {files.write: [$WORK]}"),
        &Inputs::default(),
        &facts,
    )
    .unwrap();
    assert_eq!(plan.landlock.handled_fs, landlock::handled_fs(2));
    assert_eq!(plan.landlock.scoped, 0);
    assert!(
        plan.landlock
            .paths
            .iter()
            .all(|rule| rule.access & !plan.landlock.handled_fs == 0)
    );
    assert!(plan.degraded.iter().any(|less| less.layer == "landlock"));
}

#[test]
fn limits_go_to_the_control_group_or_to_their_stated_stand_in() {
    let text = "limits: {memory: 64M, pids: 5, cpu: 1.5, files: 9, file-size: 1M}";
    let plan = plan_of(text);
    assert_eq!(plan.limits.group, GroupLimits::default());
    let resource = |number: u32| {
        plan.limits
            .resources
            .iter()
            .find(|(found, _)| *found == number)
            .map(|(_, value)| *value)
    };
    assert_eq!(resource(libc::RLIMIT_DATA), Some(64 << 20));
    assert_eq!(resource(libc::RLIMIT_NPROC), Some(7));
    assert_eq!(resource(libc::RLIMIT_NOFILE), Some(9));
    assert_eq!(plan.limits.processors, Some(2));
    let less = |plan: &Plan| -> Vec<&'static str> {
        let held = plan.limits.held.iter();
        held.filter(|held| held.less.is_some())
            .map(|held| held.limit.name())
            .collect()
    };
    assert_eq!(plan.limits.held.len(), 5);
    // RLIMIT_NPROC bounds the sandbox as a whole, as the control group does.
    assert_eq!(less(&plan), ["memory", "cpu"]);
    let told = plan.degraded.iter().filter(|less| less.layer == "cgroup");
    assert_eq!(told.count(), 2);
    // So do two whole processors.
    assert!(less(&plan_of("limits: {cpu: 2}")).is_empty());

    let mut facts = facts();
    for controller in ["memory", "cpu", "pids", "blkio"] {
        facts.host.cgroups.v1.insert(
            controller.into(),
            GroupParent {
                dir: "/sys/fs/cgroup".into(),
                writable: true,
            },
        );
    }
    let plan = compile(&profile(text), &Inputs::default(), &facts).unwrap();
    assert!(!plan.limits.unified_group, "v1 holds them all");
    assert_eq!(plan.limits.group.memory, Some(64 << 20));
    assert_eq!(plan.limits.group.pids, Some(6));
    assert_eq!(plan.limits.processors, None);
    assert!(less(&plan).is_empty());
    // On v1 the page cache's later writes count for nobody; on cgroup2 they do.
    let text_of_disk = "limits: {disk-read: 1M/s, disk-write: 1M/s}";
    let plan = compile(&profile(text_of_disk), &Inputs::default(), &facts).unwrap();
    assert_eq!(less(&plan), ["disk-write"]);
    let mut pure = super::tests::facts();
    pure.host.cgroups = Layout {
        unified: facts.host.cgroups.v1.get("memory").cloned(),
        unified_controllers: ["memory".to_owned(), "io".to_owned()].into(),
        ..Layout::default()
    };
    let plan = compile(&profile(text_of_disk), &Inputs::default(), &pure).unwrap();
    assert!(less(&plan).is_empty());
    facts.host.cgroups.swap_not_counted = true;
    let plan = compile(&profile(text), &Inputs::default(), &facts).unwrap();
    assert_eq!(less(&plan), ["memory"]);
}

#[test]
fn a_limit_that_must_hold_does_or_nothing_starts() {
    let refused = |text: &str, facts: &HostFacts| {
        let error = compile(&profile(text), &Inputs::default(), facts).unwrap_err();
        error.to_string()
    };
    let text = "limits: {memory: 64M, cpu: 1.5, pids: 5, time: 1s, files: 9, file-size: 1M, must-hold: [KEY]}";
    let with = |key: &str| text.replace("KEY", key);
    for key in ["memory", "cpu"] {
        let said = refused(&with(key), &facts());
        assert!(
            said.contains(&format!("limits.{key}, which must hold")),
            "{said}"
        );
        assert!(
            said.contains("test.yaml:2:") && said.contains("systemd-run --user"),
            "{said}"
        );
    }
    for key in ["pids", "time", "files", "file-size"] {
        plan_of(&with(key));
    }
    plan_of("limits: {cpu: 2, must-hold: [cpu]}");
    let unset = "limits: {pids: 5, must-hold: [memory]}";
    assert!(refused(unset, &facts()).contains("it is not set"));
    assert!(super::check(&profile(unset)).is_err());
    let mut facts = facts();
    let place = GroupParent {
        dir: "/sys/fs/cgroup".into(),
        writable: false,
    };
    facts.host.cgroups.v1.insert("memory".into(), place);
    let said = refused(&with("memory"), &facts);
    assert!(
        said.contains("a memory control group that root has given"),
        "{said}"
    );
    facts.host.cgroups.v1.get_mut("memory").unwrap().writable = true;
    compile(&profile(&with("memory")), &Inputs::default(), &facts).unwrap();
}

#[test]
fn a_limit_that_the_policy_lets_be_missing_can_still_have_to_hold() {
    let inputs = Inputs {
        may_be_missing: ["disk-read".to_owned()].into(),
        ..Inputs::default()
    };
    let text = "limits: {disk-read: 1M/s}";
    let plan = compile(&profile(text), &inputs, &facts()).unwrap();
    assert_eq!(plan.limits.held[0].by, "nothing");
    let text = "limits: {disk-read: 1M/s, must-hold: [disk-read]}";
    let error = compile(&profile(text), &inputs, &facts()).unwrap_err();
    assert!(error.to_string().contains("must hold"), "{error}");
}

#[test]
fn a_disk_limit_that_nothing_can_hold_is_refused() {
    let text = "limits: {disk-read: 1M/s}";
    let error = compile(&profile(text), &Inputs::default(), &facts()).unwrap_err();
    assert!(error.to_string().contains("disk-read"), "{error}");
}

#[test]
fn a_system_call_that_the_profile_refuses_stays_refused_where_the_supervisor_answers_it() {
    let what_is_said = |text: &str, number: i64| {
        let plan = plan_of(text);
        assert_eq!(plan.memfd, Memfd::Supervised);
        let data = seccomp::SeccompData {
            nr: number as u32,
            arch: plan.seccomp.arch.audit(),
            ..Default::default()
        };
        let refusals = seccomp::filter_for(&plan.syscalls.unattended()).unwrap();
        (plan.seccomp.evaluate(&data), refusals.evaluate(&data))
    };
    use seccomp::Action::{Allow, Errno, Notify};
    let denied = "syscalls: {deny: [memfd_create, writev]}";
    let refused = Errno(libc::EPERM as u16);
    assert_eq!(what_is_said("", libc::SYS_memfd_create), (Notify, Allow));
    for call in [libc::SYS_memfd_create, libc::SYS_writev] {
        assert_eq!(what_is_said(denied, call), (Notify, refused));
    }
    let learned = "syscalls: {base: learned}";
    assert_eq!(
        what_is_said(learned, libc::SYS_memfd_create),
        (Notify, refused)
    );
}
