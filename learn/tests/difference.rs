//! An older profile against what was seen, and what a profile does not cover.

use aegis_learn::{Key, difference, missing, outside, outside_beyond};
use aegis_observation::{Address, End, How};
use aegis_profile::{Profile, parse_str};

use crate::host::{Made, Seen};

fn profile(capabilities: &str) -> Profile {
    parse_str(
        &format!("aegis: 1\ncapabilities:\n{capabilities}"),
        "old.yaml",
    )
    .unwrap()
}

#[test]
fn what_is_granted_is_not_outside() {
    let made = Made::new().file("/srv/a/b");
    let seen = Seen::new()
        .exec_as("/usr/bin/sh", "/usr/bin/dash")
        .read("/srv/a/b")
        .write("/home/ada/work/out/x")
        .write("/tmp/x")
        .read("/proc/self/stat");
    let all = profile("  files.read: [/srv/a]\n  files.write: [$WORK/out]\n  shell.exec: [sh]\n");
    assert_eq!(outside(&seen.0, &all, &made.around()), []);
    let overlay = profile("  files.read: [/srv/a]\n  files.overlay: [$WORK]\n  shell.exec: [sh]\n");
    assert_eq!(outside(&seen.0, &overlay, &made.around()), []);
    let none = outside(&seen.0, &profile("  files.read: []\n"), &made.around());
    let keys: Vec<Key> = none.iter().map(|outside| outside.key).collect();
    assert_eq!(keys, [Key::Execute, Key::Read, Key::Write]);
    assert_eq!(none[0].to_string(), "executed /usr/bin/sh");
}

#[test]
fn what_is_denied_is_outside() {
    let made = Made::new().file("/srv/a/.env").file("/srv/a/c/d");
    let seen = Seen::new().read("/srv/a/.env").read("/srv/a/c/d");
    let old = profile("  files.read: [/srv/a]\n  files.deny: [\"**/.env\", /srv/a/c]\n");
    assert_eq!(outside(&seen.0, &old, &made.around()).len(), 2);
}

#[test]
fn addresses_and_calls_are_outside() {
    let mut seen = Seen::new().calls(&["execve", "ptrace", "keyctl"]).0;
    let of = End::Internet("203.0.113.7:443".parse().unwrap());
    seen.addresses.insert(Address {
        how: How::Connect,
        of,
        kind: 1,
    });
    let made = Made::new();
    let keys = |profile: &Profile| -> Vec<Key> {
        let found = outside(&seen, profile, &made.around());
        found.iter().map(|outside| outside.key).collect()
    };
    assert_eq!(
        keys(&profile("  files.read: []\n")),
        [Key::Outbound, Key::Calls]
    );
    assert_eq!(keys(&profile("  net.outbound: host\n")), [Key::Calls]);
    let tight = parse_str(
        "aegis: 1\nsyscalls: {base: learned, allow: [keyctl]}\n",
        "x",
    )
    .unwrap();
    assert_eq!(keys(&tight), [Key::Outbound, Key::Calls], "ptrace");
}

/// In a run with hosts by name, the broker's addresses stand for those hosts; where there is no broker, they are addresses as others.
#[test]
fn what_stands_for_a_name_is_within_a_profile_of_names() {
    let mut seen = Seen::new().0;
    let ends = [
        "192.0.0.8:53",
        "25.240.0.0:443",
        "[::ffff:25.240.63.255]:443",
        "198.51.99.7:22",
        // Nobody's that is named, and not where names are looked up.
        "198.51.99.7:23",
        "25.240.64.0:443",
        "192.0.0.8:80",
    ];
    for end in ends {
        seen.addresses.insert(Address {
            how: How::Connect,
            of: End::Internet(end.parse().unwrap()),
            kind: 1,
        });
    }
    let made = Made::new();
    let found = |capabilities: &str| -> Vec<String> {
        let found = outside(&seen, &profile(capabilities), &made.around());
        found.iter().map(|found| found.what.to_string()).collect()
    };
    let named = "  net.outbound: [\"https://example.org\", \"tcp://198.51.99.7:22\"]\n";
    assert_eq!(
        found(named),
        ["192.0.0.8:80", "198.51.99.7:23", "25.240.64.0:443"]
    );
    assert_eq!(found("  net.outbound: host\n"), [""; 0]);
    assert_eq!(found("  net.outbound: none\n").len(), ends.len());
}

#[test]
fn what_was_tried_when_it_was_learnt_is_nothing_new() {
    let tried = |port: u16| {
        let mut seen = Seen::new().0;
        let of = End::Internet(([203, 0, 113, 7], port).into());
        seen.addresses.insert(Address {
            how: How::Connect,
            of,
            kind: 1,
        });
        seen
    };
    let made = Made::new();
    let profile = made.learn(&tried(53)).profile().unwrap();
    let found = |port| outside_beyond(&tried(port), &tried(53), &profile, &made.around());
    assert_eq!(outside(&tried(53), &profile, &made.around()).len(), 1);
    assert_eq!(found(53), []);
    assert_eq!(found(443).len(), 1);
}

#[test]
fn a_cache_that_is_written_is_the_sandboxs_own() {
    let made = Made::new()
        .file("/home/ada/.cache/pip/http/1")
        .file("/home/ada/.cache/uv/1");
    let seen = Seen::new()
        .write("/home/ada/.cache/pip/http/2")
        .read("/home/ada/.cache/pip/http/1")
        .read("/home/ada/.cache/uv/1");
    let none = profile("  files.read: []\n");
    let found: Vec<String> = outside(&seen.0, &none, &made.around())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(found, ["read /home/ada/.cache/uv/1"]);
}

/// npm has all of its caches in one directory: where it is written to, the host's would be read-only beside what is granted in it.
#[test]
fn nothing_of_a_cache_that_is_written_is_granted() {
    let made = Made::new()
        .file("/home/ada/.npm/_last-checked")
        .file("/home/ada/.npm/_cacache/content/1");
    let seen = Seen::new()
        .write("/home/ada/.npm/_logs/1.log")
        .read("/home/ada/.npm/_last-checked")
        .read("/home/ada/.npm/_cacache/content/1");
    let proposal = made.learn(&seen.0);
    assert!(proposal.lines.is_empty(), "{:?}", proposal.lines);
    // The sandbox's own is empty at the start.
    let inside = Seen::new().named("openat", "/home/ada/.npm/_last-checked", Some("ENOENT"));
    assert!(missing(&seen.0, &inside.0, &made.around()).is_empty());
    let elsewhere = made.file("/srv/a");
    let (before, now) = (
        Seen::new().read("/srv/a"),
        Seen::new().named("openat", "/srv/a", Some("ENOENT")),
    );
    assert_eq!(
        missing(&before.0, &now.0, &elsewhere.around()).len(),
        1,
        "elsewhere it is"
    );
}

#[test]
fn what_is_learnt_covers_what_was_seen() {
    let made = Made::new().file("/srv/a/b").directory("/home/ada/work/out");
    let seen = Seen::new()
        .exec_as("/usr/bin/python3", "/usr/bin/python3.11")
        .read("/srv/a/b")
        .read("/usr/lib/python3.11/json/__init__.py")
        .write("/home/ada/work/out/x");
    let proposal = made.learn(&seen.0);
    assert_eq!(
        outside(&seen.0, &proposal.profile().unwrap(), &made.around()),
        []
    );
}

#[test]
fn what_is_lacking_and_what_is_unused_is_named() {
    let made = Made::new()
        .file("/srv/a/b")
        .file("/srv/c/d")
        .directory("/home/ada/work/out");
    let seen = Seen::new()
        .exec("/usr/bin/cat")
        .read("/srv/a/b")
        .write("/home/ada/work/out/x");
    let old = profile(
        "  files.read: [/srv/c]\n  files.write: [$WORK/out]\n  shell.exec: [cat, git]\n  sockets: private\n  net.outbound: host\n  devices: [gpu]\n",
    );
    let proposal = made.learn(&seen.0);
    let found = difference(&[seen.0], &proposal, &old, &made.around());
    let lacks: Vec<String> = found.lacks.iter().map(ToString::to_string).collect();
    assert_eq!(lacks, ["read /srv/a/b"]);
    assert_eq!(found.lines.len(), 1);
    assert_eq!(found.lines[0].value, "-/srv/a/b");
    let unused: Vec<String> = found
        .unused
        .iter()
        .map(|unused| format!("{} {}", unused.key.name(), unused.value))
        .collect();
    assert_eq!(
        unused,
        [
            "files.read /srv/c",
            "shell.exec git",
            "net.outbound host",
            "sockets private",
            "devices gpu"
        ]
    );
    assert_eq!(found.unused[0].origin.line, 3);
    let trimmed = profile("  files.write: [$WORK/out]\n  shell.exec: [cat]\n");
    assert_eq!(found.trimmed(&old).capabilities, trimmed.capabilities);
}
