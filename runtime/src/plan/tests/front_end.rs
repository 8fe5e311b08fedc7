//! Plans of front ends that are not a profile.

use super::*;

/// A front end that is not a profile: everything is mounted elsewhere than it is on the host.
fn spec() -> Spec {
    let identity = identity(&facts().host, (0, 0));
    let at = |path: &str| PathBuf::from(path);
    let directory = |path: &str| Op::Directory { mode: 0o755 }.at(at(path));
    let bind = |path: &str, source: &Resolved, write, exec| {
        Op::Bind {
            source: source.host_path(&identity, false),
            write,
            exec,
            overlay: false,
        }
        .at(at(path))
    };
    let data = found("/srv/data", Kind::Directory, 1000);
    let tools = found("/usr/bin", Kind::Directory, 0);
    let operations = vec![
        Op::Tmpfs {
            size: 1 << 20,
            mode: 0o755,
        }
        .at(at("/")),
        directory("/data"),
        directory("/bin"),
        directory("/dev"),
        Op::MountPoint.at(at("/dev/kvm")),
        Op::MountPoint.at(at("/dev/null")),
        bind("/data", &data, true, false),
        bind("/bin", &tools, false, true),
        Op::Device {
            path: at("/dev/kvm"),
            name: None,
        }
        .at(at("/dev/kvm")),
        Op::Device {
            path: at("/dev/null"),
            name: None,
        }
        .at(at("/dev/null")),
    ];
    Spec {
        operations,
        passed: [("LANG".into(), "C".into())].into(),
        ..Spec::new("made by hand", at("/bin/tool"), identity)
    }
}

fn asked(plan: &Plan) -> Vec<String> {
    let from_plan = |grant: &&Grant| grant.from == GrantOrigin::Plan;
    let list = plan.grants.iter().filter(from_plan);
    list.map(|grant| grant.what.to_string()).collect()
}

#[test]
fn a_policy_is_asked_for_all_that_a_front_end_forgot() {
    let plan = assemble(spec(), &facts().host).unwrap();
    assert_eq!(access(&plan, "/data"), access::WRITE_TREE);
    let path = |path: &str| Path::new(path).into();
    let mut rest: Vec<What> = plan.grants.iter().map(|grant| grant.what.clone()).collect();
    for what in [
        What::Write {
            except: Vec::new(),
            path: path("/srv/data"),
            tree: true,
        },
        What::Exec {
            except: Vec::new(),
            name: None,
            path: path("/usr/bin"),
            tree: true,
        },
        What::Device {
            device: "/dev/kvm".into(),
        },
        What::Environment {
            name: "LANG".into(),
        },
    ] {
        let found = rest.iter().position(|other| *other == what);
        rest.remove(found.unwrap_or_else(|| panic!("{what} is asked for")));
    }
    assert_eq!(rest, []);

    // A grant covers what lies in it.
    let mut given = spec();
    given.grants = vec![Grant {
        what: What::Write {
            except: Vec::new(),
            path: path("/srv"),
            tree: true,
        },
        from: GrantOrigin::Command,
        decision: None,
    }];
    let plan = assemble(given, &facts().host).unwrap();
    assert!(!asked(&plan).iter().any(|what| what.contains("/srv")));
    assert_eq!(asked(&plan).len(), 3);

    // A rule at the top opens what is bound below it.
    let mut wide = spec();
    wide.rules_of_mounts = false;
    wide.rules.insert("/".into(), landlock::fs::READ_FILE);
    let plan = assemble(wide, &facts().host).unwrap();
    let reads = plan
        .grants
        .iter()
        .filter(|grant| grant.what.action() == "files.read");
    assert_eq!(reads.count(), 2);
}

#[test]
fn a_policy_is_asked_for_all_but_what_the_root_hides() {
    let host = facts().host;
    let secret = Path::new("/srv/data/secret");
    let claimed = What::Write {
        except: vec![secret.into(), Path::new("/srv/data/more").into()],
        path: Path::new("/srv").into(),
        tree: true,
    };
    let excepted = |mut spec: Spec| {
        spec.grants = vec![Grant::new(claimed.clone(), GrantOrigin::Command)];
        let plan = assemble(spec, &host).unwrap();
        plan.grants[0].what.place().unwrap().except.to_vec()
    };
    assert_eq!(excepted(spec()), [], "a front end's word");
    let in_place = |only, elsewhere: bool| {
        let directory = |path: &str| Op::Directory { mode: 0 }.at(path);
        let bind = |source: &str| Op::Bind {
            source: found(source, Kind::Directory, 1000).host_path(&spec().identity, false),
            write: true,
            exec: false,
            overlay: false,
        };
        let mut operations = vec![
            Op::Tmpfs { size: 0, mode: 0 }.at("/"),
            directory("/run"),
            directory(ops::MASKED_DIRECTORY),
            Op::MountPoint.at(ops::MASKED_FILE),
            directory("/srv"),
            directory("/srv/data"),
            directory("/more"),
            bind("/srv/data").at("/srv/data"),
        ];
        operations.extend(elsewhere.then(|| bind("/srv/data/secret").at("/more")));
        let (dev, ino) = (1, 2);
        operations.push(Op::Hide { dev, ino, only }.at(secret));
        excepted(Spec {
            operations,
            ..spec()
        })
    };
    assert_eq!(in_place(true, false), [secret.into()]);
    assert_eq!(in_place(false, false), [], "not for certain");
    assert_eq!(in_place(true, true), [], "shown elsewhere");
}

#[test]
fn a_profile_s_grants_leave_nothing_to_be_added() {
    let text =
        "capabilities: {files.read: [$WORK], files.write: [$SKILL], shell.exec: [/usr/bin/env]}";
    assert_eq!(asked(&plan_of(text)), [""; 0]);
}

#[test]
fn a_front_end_cannot_make_a_plan_that_is_open() {
    let host = facts().host;
    let refused = |spec: Spec| assemble(spec, &host).unwrap_err().to_string();
    let root = Identity {
        uid: 0,
        gid: 0,
        switch: false,
    };
    let as_root = Spec {
        identity: root,
        ..spec()
    };
    assert!(refused(as_root).contains("running as this user"));
    let mut no_root = spec();
    no_root.operations.remove(0);
    assert!(refused(no_root).contains("operation 1 of the root"));
    let mut listeners = spec();
    listeners.listeners = vec![BrokerSocket {
        protocol: Protocol::Tcp,
        address: ([127, 0, 0, 1], 53).into(),
    }];
    assert!(refused(listeners.clone()).contains("has no broker"));
    listeners.network = Network::Brokered;
    let plan = assemble(listeners, &host).unwrap();
    assert!(plan.namespaces.contains(&Namespace::Net));
    let core = (libc::RLIMIT_CORE, CORE_LIMIT);
    assert!(
        plan.limits.resources.contains(&core),
        "whoever makes the plan"
    );
}
