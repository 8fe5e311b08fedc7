//! Verdicts, case by case: files, programs, names, limits.

use crate::support::cases;

use aegis_policy::model::Verdict::{Allow, Block, Review, Warn};
use aegis_policy::request::Alias;
use aegis_policy::{Context, HostPath, What, decide};
use cases::{
    asked, context, exec, exec_named, exec_tree, limit, policy, read, read_tree, request, table,
    write,
};

#[test]
fn a_rule_lets_through_what_it_covers_and_stands_in_the_way_of_what_it_touches() {
    let policy = policy(
        "capabilities:
          - {id: home, on: files.read, match: [$HOME/**], verdict: allow}
          - {id: keys, on: files.read, match: [$HOME/.ssh/**], verdict: block}
          - {id: pem, on: files.read, match: ['/**/*.pem'], verdict: review}",
    );
    table(
        &policy,
        [
            (read("/home/ana/a.txt"), Allow, &["home"]),
            (read("/home/ana"), Allow, &["home"]),
            (read("/home/ann"), Block, &[]),
            (read("/home/ana/.ssh/id_rsa"), Block, &["home", "keys"]),
            (read("/home/ana/.ssh"), Block, &["home", "keys"]),
            (read("/home/ana/.sshd"), Allow, &["home"]),
            (read("/home/ana/a.pem"), Review, &["home", "pem"]),
            // A tree is everything in it.
            (read_tree("/home/ana/.ssh"), Block, &["home", "keys", "pem"]),
            (read_tree("/home/ana"), Block, &["home", "keys", "pem"]),
            (read_tree("/home/ana/work"), Review, &["home", "pem"]),
            // A rule that covers only a part of it lets nothing through.
            (read_tree("/home"), Block, &["keys", "pem"]),
            (read_tree("/"), Block, &["keys", "pem"]),
            // Writing is another action.
            (write("/home/ana/a.txt"), Block, &[]),
        ],
    );
    assert_eq!(&*asked(&policy, read("/srv/a")).reason, "no rule covers it");
    assert_eq!(
        &*asked(&policy, read("/a.pem")).reason,
        "for a person to approve by rule `pem`"
    );
    assert_eq!(
        &*asked(&policy, read_tree("/home/ana")).reason,
        "it may hold what is blocked by rule `keys`"
    );
}

#[test]
fn stars_are_parts_of_names_and_two_stars_any_number_of_directories() {
    let policy = policy(
        "capabilities:
          - {id: direct, on: files.read, match: [/a/*], verdict: allow}
          - {id: far, on: files.read, match: [/b/**/lib*.so], verdict: allow}
          - {id: all, on: files.read, match: [/c/**/tests/**], verdict: allow}
          - {id: exact, on: files.read, match: [/d], verdict: allow}",
    );
    table(
        &policy,
        [
            (read("/a/x"), Allow, &["direct"]),
            (read("/a"), Block, &[]),
            (read("/a/x/y"), Block, &[]),
            (read_tree("/a/x"), Block, &[]),
            (read("/b/libc.so"), Allow, &["far"]),
            (read("/b/x/y/libc.so"), Allow, &["far"]),
            (read("/b/libc.so/x"), Block, &[]),
            (read("/b/lib.s"), Block, &[]),
            (read_tree("/c/x/tests"), Allow, &["all"]),
            (read_tree("/c/x/tests/y"), Allow, &["all"]),
            (read_tree("/c/x"), Block, &[]),
            (read("/d"), Allow, &["exact"]),
            (read_tree("/d"), Block, &[]),
            (read("/d/x"), Block, &[]),
        ],
    );
}

#[test]
fn a_path_that_leads_elsewhere_than_it_says_is_blocked_by_any_policy() {
    let policy =
        policy("capabilities: [{id: all, on: files.read, match: ['/**'], verdict: allow}]");
    for path in [
        "/home/ana/work/../.ssh/id_rsa",
        "/a/./b",
        "",
        "work",
        "/a\0b",
        "..",
    ] {
        assert_eq!(asked(&policy, read(path)).verdict, Block, "{path:?}");
    }
    // Redundant slashes change nothing.
    let blocks = "capabilities: [{id: b, on: [files.read, shell.exec], match: [/usr/bin/git], verdict: block}]";
    for path in ["/usr/bin/git", "//usr//bin/git", "/usr/bin/git/"] {
        assert_eq!(
            asked(&cases::policy(blocks), read(path)).rules.len(),
            1,
            "{path}"
        );
    }
    let named = "capabilities: [{id: b, on: shell.exec, match: [git], verdict: block}]";
    for path in [
        "/usr/bin/git",
        "/usr//bin/git",
        "/usr/bin/git/",
        "/opt/git/",
    ] {
        assert_eq!(
            asked(&cases::policy(named), exec(path)).rules.len(),
            1,
            "{path}"
        );
    }
    let latin1 = HostPath(b"/home/ana/.ssh/caf\xe9".to_vec());
    let keys = cases::policy(
        "capabilities: [{id: k, on: files.read, match: ['$HOME/.ssh/*'], verdict: block}]",
    );
    assert_eq!(
        asked(
            &keys,
            What::Read {
                except: Vec::new(),
                path: latin1,
                tree: false
            }
        )
        .rules
        .len(),
        1
    );
}

/// `$SKILL` within `$WORK` within `$HOME`, and none of them.
#[test]
fn variables_are_where_the_run_has_them() {
    let policy = policy(
        "capabilities:
          - {id: home, on: files.read, match: [$HOME/**], verdict: warn}
          - {id: work, on: files.read, match: [$WORK/**], verdict: allow}
          - {id: skill, on: files.read, match: [$SKILL/secret/**], verdict: block}
          - {id: all, on: files.read, match: [/**], verdict: allow}",
    );
    let with = |home: &str, work: &str, skill: Option<&str>, path: &str| {
        let context = Context {
            home: home.into(),
            work: work.into(),
            skill: skill.map(Into::into),
            ..context()
        };
        let mut request = request(read_tree(path));
        request.context = context;
        let said = decide(&policy, &request);
        (said.verdict, said.rules.join(" "))
    };
    let is = |verdict, rules: &str| (verdict, rules.to_owned());
    let nested = |path| with("/h", "/h/w", Some("/h/w/s"), path);
    assert_eq!(nested("/h/w/s/secret/x"), is(Block, "all home skill work"));
    assert_eq!(nested("/h/w/s"), is(Block, "all home skill work"));
    assert_eq!(nested("/h/w/s/public"), is(Warn, "all home work"));
    assert_eq!(nested("/h"), is(Block, "all home skill"));
    assert_eq!(nested("/"), is(Block, "all home skill"));
    assert_eq!(with("/h", "/w", None, "/w"), is(Allow, "all work"));
    // A home that is `/` allows nothing, but rules against places in it hold.
    assert_eq!(with("/", "/w", None, "/w"), is(Warn, "all home work"));
    assert_eq!(with("/h", "/", None, "/x"), is(Allow, "all"));
    assert_eq!(
        with("/h", "/w", Some("/"), "/secret/x"),
        is(Block, "all skill")
    );
    // A missing home matches nothing.
    assert_eq!(with("", "", None, "/x"), is(Allow, "all"));
    // A home that cannot be compared with paths is a mistake, not a way around a rule.
    for wrong in ["home", "/h/../w", "/./h"] {
        assert_eq!(with(wrong, "/w", None, "/w"), is(Block, ""), "{wrong}");
    }
}

#[test]
fn a_home_that_is_the_root_does_not_unlock_what_is_blocked_in_homes() {
    let policy = policy(
        "capabilities:
          - {id: all, on: files.read, match: [/**], verdict: allow}
          - {id: keys, on: files.read, match: [$HOME/.ssh/**], verdict: block}",
    );
    let mut request = request(read("/.ssh/id_rsa"));
    request.context.home = "/".into();
    assert_eq!(decide(&policy, &request).verdict, Block);
}

#[test]
fn a_name_stands_for_the_systems_program_and_against_any_of_that_name() {
    let allows = policy(
        "capabilities: [{id: git, on: shell.exec, match: [git, 'python3*'], verdict: allow}]",
    );
    table(
        &allows,
        [
            (exec_named("git", "/usr/bin/git"), Allow, &["git"]),
            (exec("/usr/bin/git"), Allow, &["git"]),
            (exec("/bin/git"), Allow, &["git"]),
            (exec("/usr/local/sbin/git"), Allow, &["git"]),
            (
                exec_named("python3", "/usr/bin/python3.12"),
                Allow,
                &["git"],
            ),
            // Found as `git`, a link to elsewhere.
            (exec_named("git", "/opt/git/bin/git-2"), Allow, &["git"]),
            (exec("/home/ana/work/git"), Block, &[]),
            (exec("/home/ana/work/usr/bin/git"), Block, &[]),
            (exec("/usr/bin/x/git"), Block, &[]),
            (exec("/usr/bin/gitk"), Block, &[]),
            (exec_tree("/usr/bin"), Block, &[]),
        ],
    );
    let blocks = policy(
        "capabilities:
          - {id: curl, on: shell.exec, match: [curl], verdict: block}
          - {id: paths, on: shell.exec, match: [/**], verdict: allow}",
    );
    table(
        &blocks,
        [
            (exec("/usr/bin/curl"), Block, &["curl", "paths"]),
            (exec("/home/ana/work/curl"), Block, &["curl", "paths"]),
            (
                exec_named("wget", "/usr/bin/curl"),
                Block,
                &["curl", "paths"],
            ),
            (
                exec_named("curl", "/usr/bin/curl.real"),
                Block,
                &["curl", "paths"],
            ),
            (exec("/usr/bin/wget"), Allow, &["paths"]),
            // Otherwise one could ask for the directory: any tree may hold a program of that name.
            (exec_tree("/home/ana/work"), Block, &["curl", "paths"]),
            (exec_tree("/usr/bin"), Block, &["curl", "paths"]),
        ],
    );
    for name in ["", "bin/git", "git\0"] {
        assert_eq!(
            asked(&blocks, exec_named(name, "/usr/bin/wget")).verdict,
            Block
        );
    }
}

#[test]
fn names_ports_and_devices_are_asked_for_as_they_are() {
    let policy = policy(
        "capabilities:
          - {id: host, on: net.host, match: [host], verdict: review}
          - {id: ports, on: net.listen, match: ['8080', 9000-9999], verdict: allow}
          - {id: variables, on: environment.pass, match: ['LC_*', LANG], verdict: allow}
          - {id: gpu, on: devices, match: [gpu, '/dev/dri/*'], verdict: allow}
          - {id: calls, on: syscalls.allow, match: ['io_uring_*'], verdict: block}
          - {id: sockets, on: sockets, match: private, verdict: allow}",
    );
    let listen = |port| What::Listen { port };
    let pass = |name: &str| What::Environment { name: name.into() };
    let device = |device: &str| What::Device {
        device: device.into(),
    };
    let call = |name: &str| What::Syscall { name: name.into() };
    let sockets = |name: &str| What::Sockets { name: name.into() };
    table(
        &policy,
        [
            (What::NetHost {}, Review, &["host"]),
            (listen(8080), Allow, &["ports"]),
            (listen(9999), Allow, &["ports"]),
            (listen(10000), Block, &[]),
            (listen(0), Block, &[]),
            (pass("LC_ALL"), Allow, &["variables"]),
            (pass("LC_ALL=x"), Block, &[]),
            (pass("LD_PRELOAD"), Block, &[]),
            (device("gpu"), Allow, &["gpu"]),
            (device("kvm"), Block, &[]),
            (device("/dev/dri/card0"), Allow, &["gpu"]),
            (device("/dev/dri/../mem"), Block, &[]),
            (device("/dev/dri//mem"), Block, &[]),
            (call("io_uring_setup"), Block, &["calls"]),
            (call("ptrace"), Block, &[]),
            (sockets("private"), Allow, &["sockets"]),
            (sockets("host"), Block, &[]),
        ],
    );
}

#[test]
fn a_limit_is_held_against_its_ceiling_and_is_free_without_one() {
    let policy = policy("limits: {memory: 1K}");
    table(
        &policy,
        [
            (limit("memory", Some(1024)), Allow, &["limits.memory"]),
            (limit("memory", Some(1025)), Block, &["limits.memory"]),
            (limit("memory", None), Block, &["limits.memory"]),
            (limit("pids", Some(9)), Allow, &[]),
            (limit("pids", None), Allow, &[]),
            // Readers of JSON do not agree on this number.
            (limit("pids", Some(1 << 53)), Block, &[]),
        ],
    );
}

/// What a rule says of one name it says of the place; where somebody else than the administrator made the name, only what
/// stands in the way.
#[test]
fn a_place_is_decided_by_all_its_names() {
    let rules = "capabilities:
          - {id: open, on: [files.read, shell.exec], match: [/open/**], verdict: allow}
          - {id: wide, on: [files.read, shell.exec], match: [/data/**], verdict: allow}
          - {id: keys, on: [files.read, shell.exec], match: [/keys/**], verdict: block}
          - {id: evil, on: shell.exec, match: evil, verdict: block}";
    let alias = |name: &str, place: &str, trusted| Alias {
        name: name.into(),
        place: place.into(),
        trusted,
    };
    let trusted = |name, place| alias(name, place, true);
    let made = |name, place| alias(name, place, false);
    let cases: &[(&[Alias], What, _, &[&str])] = &[
        (&[], read("/real/x"), Block, &[]),
        (
            &[trusted("/open", "/real")],
            read("/real/x"),
            Allow,
            &["open"],
        ),
        (&[made("/open", "/real")], read("/real/x"), Block, &[]),
        (&[trusted("/open", "/real")], read("/real-x"), Block, &[]),
        (
            &[made("/keys", "/data")],
            read("/data/x"),
            Block,
            &["keys", "wide"],
        ),
        // A link to where a link leads.
        (
            &[made("/keys", "/l"), trusted("/l", "/data")],
            read("/data/x"),
            Block,
            &["keys", "wide"],
        ),
        (
            &[trusted("/open", "/l"), trusted("/l", "/real")],
            read("/real/x"),
            Allow,
            &["open"],
        ),
        (
            &[made("/open", "/l"), trusted("/l", "/real")],
            read("/real/x"),
            Block,
            &[],
        ),
        (
            &[trusted("/open", "/l"), made("/l", "/real")],
            read("/real/x"),
            Block,
            &[],
        ),
        // A tree that holds the place holds what the place is called.
        (
            &[made("/keys", "/data/a/b")],
            read_tree("/data/a"),
            Block,
            &["keys", "wide"],
        ),
        (
            &[made("/keys", "/data/a/b")],
            read("/data/a"),
            Allow,
            &["wide"],
        ),
        (
            &[trusted("/open", "/real/b")],
            read_tree("/real"),
            Block,
            &[],
        ),
        // Programs have names, too.
        (
            &[trusted("/usr/bin/evil", "/data/e")],
            exec("/data/e"),
            Block,
            &["evil", "wide"],
        ),
        (
            &[made("/opt/evil", "/data/e")],
            exec("/data/e"),
            Block,
            &["evil", "wide"],
        ),
        (
            &[made("/opt/evil", "/data/e")],
            exec("/data/f"),
            Allow,
            &["wide"],
        ),
        // A link to above itself leads round, and once.
        (
            &[made("/data/up", "/data")],
            read("/data/x"),
            Allow,
            &["wide"],
        ),
    ];
    let policy = cases::policy(rules);
    for (aliases, what, verdict, rules) in cases {
        let mut request = request(what.clone());
        request.context.aliases = aliases.to_vec();
        let said = decide(&policy, &request);
        let spoke: Vec<&str> = said.rules.iter().map(|rule| &**rule).collect();
        assert_eq!(
            (said.verdict, &*spoke),
            (*verdict, *rules),
            "{what} with {aliases:?}: {}",
            said.reason
        );
    }
}

#[test]
fn a_place_with_more_names_than_can_be_compared_is_blocked() {
    let policy = cases::policy(
        "capabilities: [{id: all, on: [files.read, shell.exec], match: ['/**'], verdict: allow}]",
    );
    let named = |number, what: What| {
        let alias = |number| Alias {
            name: HostPath::from(&*format!("/name/{number}")),
            place: "/place".into(),
            trusted: true,
        };
        let mut request = request(what);
        request.context.aliases = (0..number).map(alias).collect();
        request.context.skill = Some("/place/skill".into());
        let said = decide(&policy, &request);
        (said.verdict, said.reason)
    };
    let run = What::Tool {
        command: vec!["/bin/true".into()],
        grants: vec![read("/elsewhere")],
    };
    for what in [read("/place/x"), exec("/place/x"), read_tree("/"), run] {
        assert_eq!(named(63, what.clone()).0, Allow, "{what}");
        let (verdict, reason) = named(64, what.clone());
        assert_eq!(verdict, Block, "{what}");
        assert!(reason.contains("more than 64 names"), "{what}: {reason}");
    }
    assert_eq!(named(64, read("/elsewhere")).0, Allow);
}
