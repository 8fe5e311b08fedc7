//! `files.read` and `files.write`.

use aegis_learn::{About, Key, Options, Rule, Surroundings, propose};

use crate::host::{Made, Seen, notes, values};

#[test]
fn what_every_sandbox_has_needs_no_line() {
    let seen = Seen::new()
        .read("/proc/self/maps")
        .read_through("/proc/self/maps", "/proc/12/maps")
        .read("/etc/passwd")
        .device("/dev/null")
        .device("/dev/tty")
        .list("/proc/self/fd")
        .read_through(
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
        )
        .read_through("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
        .named("openat", "/usr/lib/nothing.so", Some("ENOENT"))
        .named("newfstatat", "/usr", None);
    let proposal = Made::new().learn(&seen.0);
    assert!(proposal.lines.is_empty(), "{:?}", proposal.lines);
    assert_eq!(proposal.extends[0].name, "base");
    assert!(proposal.notes.is_empty(), "{:?}", proposal.notes);
}

#[test]
fn own_directories_are_as_wide_as_what_was_read_and_hold_no_secret() {
    let made = Made::new()
        .file("/home/ada/work/src/a/one.c")
        .file("/home/ada/work/src/a/two.c")
        .file("/home/ada/work/README")
        .with_skill()
        .file("/srv/skill/main.py");
    let seen = Seen::new()
        .read("/home/ada/work/src/a/one.c")
        .read("/srv/skill/main.py");
    let proposal = made.learn(&seen.0);
    assert_eq!(values(&proposal, Key::Read), ["$SKILL", "-$WORK/src/a"]);
    let seen = seen.read("/home/ada/work/README");
    let proposal = made.learn(&seen.0);
    assert_eq!(values(&proposal, Key::Read), ["$SKILL", "$WORK"]);
    let made = made.with_secret();
    let seen = Seen::new().read("/home/ada/work/README");
    assert_eq!(values(&made.learn(&seen.0), Key::Read), ["-$WORK/README"]);
}

#[test]
fn a_secret_is_never_granted_and_always_told() {
    let made = Made::new()
        .file("/home/ada/.ssh/config")
        .file("/home/ada/.ssh/known_hosts");
    let seen = Seen::new()
        .read("/home/ada/.ssh/config")
        .read("/home/ada/.ssh/known_hosts")
        .list("/home/ada/.ssh")
        .list("/home/ada")
        .named("openat", "/home/ada/.ssh/id_ed25519", Some("ENOENT"))
        .named("openat", "/etc/shadow", Some("EACCES"))
        .write("/home/ada/.bashrc");
    let proposal = made.learn(&seen.0);
    assert!(proposal.lines.is_empty(), "{:?}", proposal.lines);
    assert_eq!(
        notes(&proposal, About::Secret),
        [
            "/etc/shadow (the system's own secrets)",
            "/home/ada/.ssh (private keys)",
            "/home/ada/.ssh/config (private keys)",
            "/home/ada/.ssh/id_ed25519 (private keys)",
            "/home/ada/.ssh/known_hosts (private keys)",
        ]
    );
    let denied = "writing /home/ada/.bashrc (it is executed outside the sandbox)";
    assert_eq!(notes(&proposal, About::NotGranted), [denied]);
}

#[test]
fn packages_and_data_are_trees() {
    let made = Made::new()
        .file("/usr/share/icons/a/b.png")
        .file("/usr/share/pandoc/data/x.html")
        .file("/usr/share/two/a")
        .file("/usr/share/two/b")
        .file("/usr/share/one/a")
        .file("/opt/venv/lib/python3.11/site-packages/p/q.py");
    let seen = Seen::new()
        .read("/usr/lib/python3.11/json/__init__.py")
        .read("/usr/share/icons/a/b.png")
        .read("/usr/share/pandoc/data/x.html")
        .read("/usr/share/two/a")
        .read("/usr/share/two/b")
        .read("/usr/share/one/a")
        .read("/opt/venv/lib/python3.11/site-packages/p/q.py");
    let proposal = made.learn(&seen.0);
    assert_eq!(
        values(&proposal, Key::Read),
        [
            "-/opt/venv/lib/python3.11/site-packages",
            "-/usr/lib/python3.11",
            "-/usr/share/icons",
            "-/usr/share/one/a",
            "-/usr/share/pandoc",
            "-/usr/share/two",
        ]
    );
    let rules: Vec<Rule> = proposal.lines.iter().map(|line| line.rule).collect();
    assert!(rules.starts_with(&[
        Rule::Packages,
        Rule::Packages,
        Rule::DataSets,
        Rule::SingleFiles
    ]));
}

#[test]
fn names_that_change_stand_for_their_directory() {
    let made = Made::new()
        .file("/srv/data/spool/msg-20240131.txt")
        .file("/srv/data/fixed.txt");
    let seen = Seen::new()
        .read("/srv/data/spool/msg-20240131.txt")
        .read("/srv/data/fixed.txt");
    assert_eq!(
        values(&made.learn(&seen.0), Key::Read),
        ["-/srv/data/fixed.txt", "-/srv/data/spool"]
    );
}

#[test]
fn several_files_stand_for_a_small_directory_only() {
    let mut made = Made::new();
    let (mut small, mut large) = (Seen::new(), Seen::new());
    for name in ["a", "b", "c"] {
        made = made
            .file(format!("/srv/small/{name}"))
            .file(format!("/srv/large/{name}"));
        small = small.read(&format!("/srv/small/{name}"));
        large = large.read(&format!("/srv/large/{name}"));
    }
    for letter in 'd'..='z' {
        made = made.file(format!("/srv/large/{letter}"));
    }
    assert_eq!(values(&made.learn(&small.0), Key::Read), ["-/srv/small"]);
    assert_eq!(values(&made.learn(&large.0), Key::Read).len(), 3);
}

#[test]
fn no_tree_is_broad_or_holds_the_home() {
    let mut made = Made::new();
    let mut seen = Seen::new();
    for name in ["a", "b", "c", "d"] {
        for directory in ["/etc", "/home/ada", "/home/ada/.config", "/var/lib", "/srv"] {
            made = made.file(format!("{directory}/{name}"));
            seen = seen.read(&format!("{directory}/{name}"));
        }
    }
    let made = made;
    for line in &made.learn(&seen.0).lines {
        assert!(
            line.rule == Rule::SingleFiles || line.value == "-/srv",
            "{line:?}"
        );
    }
}

#[test]
fn listed_directories_need_files_that_were_read() {
    let made = Made::new()
        .file("/etc/app.d/a.conf")
        .file("/etc/other.d/b.conf")
        .directory("/etc/empty.d");
    let seen = Seen::new()
        .list("/etc/app.d")
        .read("/etc/app.d/a.conf")
        .list("/etc/other.d")
        .list("/etc/empty.d")
        .list("/usr/lib/python3.11");
    let proposal = made.learn(&seen.0);
    assert_eq!(
        values(&proposal, Key::Read),
        ["-/etc/app.d", "-/etc/empty.d", "-/usr/lib/python3.11"]
    );
    assert_eq!(
        notes(&proposal, About::NotGranted),
        ["/etc/other.d, a directory that was listed"]
    );
}

#[test]
fn what_a_link_leads_to_comes_with_it() {
    let made = Made::new()
        .file("/opt/app/releases/7/config.toml")
        .link("/etc/app.toml", "/opt/app/releases/7/config.toml");
    let seen = Seen::new().read_through("/etc/app.toml", "/opt/app/releases/7/config.toml");
    let proposal = made.learn(&seen.0);
    assert!(values(&proposal, Key::Read).contains(&"-/etc/app.toml"));
}

#[test]
fn writing_needs_the_nearest_directory_that_was_there() {
    let made = Made::new()
        .directory("/home/ada/work/out")
        .directory("/home/ada/data/set")
        .directory("/var/lib/app");
    let seen = Seen::new()
        .named("mkdir", "/home/ada/work/out/new", None)
        .write("/home/ada/work/out/new/deep/file")
        .write("/home/ada/data/set/x")
        .named("renameat2", "/var/lib/app/state", None);
    let proposal = made.learn(&seen.0);
    assert_eq!(
        values(&proposal, Key::Write),
        ["$HOME/data/set", "$WORK/out", "/var/lib/app"]
    );
    let risks = proposal
        .lines
        .iter()
        .filter(|line| line.risk.is_some())
        .count();
    assert_eq!(risks, 2, "outside of $WORK");
}

#[test]
fn directories_beside_each_other_are_their_parent() {
    let mut made = Made::new();
    let mut seen = Seen::new();
    for name in ["00", "1f", "a7"] {
        made = made.directory(format!("/home/ada/work/store/{name}"));
        seen = seen.write(&format!("/home/ada/work/store/{name}/object"));
    }
    assert_eq!(values(&made.learn(&seen.0), Key::Write), ["$WORK/store"]);
}

#[test]
fn what_is_gone_after_the_run_is_told_and_needs_no_line() {
    let made = Made::new()
        .file("/home/ada/.cache/pip/http/1")
        .file("/tmp/given.txt");
    let seen = Seen::new()
        .write("/tmp/tmpab12/x")
        .read("/tmp/tmpab12/x")
        .read("/tmp/given.txt")
        .write("/dev/shm/sem")
        .write("/home/ada/.cache/pip/http/2")
        .read("/home/ada/.cache/pip/http/1")
        .write("/home/ada/new-file")
        .write("/home/ada/work/pkg/__pycache__/m.cpython-311.pyc");
    let proposal = made.learn(&seen.0);
    assert_eq!(values(&proposal, Key::Read), ["-/tmp/given.txt"]);
    assert!(values(&proposal, Key::Write).is_empty());
    let gone = notes(&proposal, About::Gone);
    assert_eq!(
        gone,
        [
            "/dev/shm: 1 entry",
            "/home/ada/.cache/pip: 1 entry; to keep them, grant it below `files.write`",
            "/home/ada/new-file: 1 entry",
            "/tmp: 1 entry",
        ]
    );
}

#[test]
fn what_is_too_much_to_grant_is_told() {
    let seen = Seen::new().write("/run/app.pid").write("/etc/new.conf");
    let proposal = Made::new().learn(&seen.0);
    assert!(proposal.lines.is_empty());
    assert_eq!(notes(&proposal, About::NotGranted).len(), 2);
}

#[test]
fn what_cannot_be_written_is_told_and_no_line() {
    let names: [&[u8]; 4] = [
        b"/srv/a/new\nline",
        b"/srv/b/tab\there",
        b"/srv/c/\xff\xfe",
        "/srv/d/\u{202e}txt".as_bytes(),
    ];
    let mut made = Made::new();
    let mut seen = Seen::new();
    for name in names {
        use std::os::unix::ffi::OsStrExt;
        made = made.file(std::ffi::OsStr::from_bytes(name));
        seen = seen.read_bytes(name);
    }
    let proposal = made.learn(&seen.0);
    assert!(proposal.lines.is_empty(), "{:?}", proposal.lines);
    assert_eq!(notes(&proposal, About::Unwritable).len(), names.len());
}

#[test]
fn what_would_be_a_pattern_or_yaml_is_itself() {
    let names = [
        "*.c",
        "a: b",
        "- x",
        "#c",
        "{a}",
        "[x]",
        "'q'",
        "\"q\"",
        "back\\slash",
        "yes",
        "~",
        "a #b",
        "é",
        " lead",
        "$HOME",
    ];
    let mut made = Made::new();
    let mut seen = Seen::new();
    for (at, name) in names.iter().enumerate() {
        let path = format!("/srv/d{at}/{name}");
        made = made.file(&path);
        seen = seen.read(&path);
    }
    let proposal = made.learn(&seen.0);
    let profile = proposal.profile().unwrap();
    for (at, name) in names.iter().enumerate() {
        let rest = format!("srv/d{at}/{name}");
        let granted = &profile.capabilities.files_read;
        assert!(
            granted
                .iter()
                .any(|item| item.value.rest == rest && item.value.base.is_none()),
            "{name}"
        );
    }
}

#[test]
fn three_entries_stand_for_an_own_directory() {
    let mut made = Made::new();
    let mut seen = Seen::new();
    for (number, directory) in ["a", "b", "c"].into_iter().enumerate() {
        made = made.file(format!("/home/ada/work/{directory}/x"));
        seen = seen.read(&format!("/home/ada/work/{directory}/x"));
        let expected = if number < 2 { number + 1 } else { 1 };
        assert_eq!(values(&made.learn(&seen.0), Key::Read).len(), expected);
    }
    assert_eq!(values(&made.learn(&seen.0), Key::Read), ["$WORK"]);
}

#[test]
fn links_that_lead_to_each_other_lose_nothing() {
    let made = Made::new()
        .file("/srv/x/f")
        .file("/srv/y/g")
        .link("/srv/x/l", "/srv/y")
        .link("/srv/y/m", "/srv/x");
    let seen = Seen::new()
        .read_through("/srv/x/l/g", "/srv/y/g")
        .read_through("/srv/y/m/f", "/srv/x/f");
    let proposal = made.learn(&seen.0);
    assert_eq!(
        aegis_learn::outside(&seen.0, &proposal.profile().unwrap(), &made.around()),
        []
    );
}

/// Nobody's project, and nobody's home: a service that is started in `/` without one.
#[test]
fn the_whole_host_is_neither_home_nor_work() {
    let made = Made::new().file("/srv/a/b").directory("/srv/out");
    let seen = Seen::new()
        .read("/srv/a/b")
        .write("/srv/out/c")
        .list("/")
        .write("/new");
    let root = std::path::Path::new("/");
    let around = Surroundings {
        work: root,
        home: root,
        ..made.around()
    };
    let proposal = propose(&[seen.0], &around, None, &Options::default());
    assert_eq!(values(&proposal, Key::Read), ["-/srv/a/b"]);
    assert_eq!(values(&proposal, Key::Write), ["/srv/out"]);
    assert!(proposal.profile().is_ok());
}

#[test]
fn a_profile_has_room_for_so_much() {
    let mut made = Made::new();
    let mut seen = Seen::new();
    let long = "d".repeat(200);
    for number in 0..3000 {
        // Two of each directory: no rule makes them fewer.
        let path = format!("/srv/{long}/{}/f", letters(number));
        made = made.file(&path);
        seen = seen.read(&path);
    }
    let proposal = made.learn(&seen.0);
    assert!(values(&proposal, Key::Read).len() > 500);
    let told = notes(&proposal, About::Incomplete);
    assert!(
        told.len() == 1 && told[0].ends_with("too many to be written"),
        "{told:?}"
    );
}

/// A name without digits, another one for each number.
fn letters(number: usize) -> String {
    let digits = format!("{number:04}");
    digits
        .bytes()
        .map(|digit| char::from(digit - b'0' + b'g'))
        .collect()
}

#[test]
fn in_the_home_what_was_there_is_granted_and_what_is_new_is_gone() {
    let made = Made::new()
        .file("/home/ada/list.txt")
        .directory("/home/ada/.config/old")
        .file("/home/ada/.config/old/a");
    let seen = Seen::new()
        .write("/home/ada/list.txt")
        .read("/home/ada/list.txt")
        .named("mkdir", "/home/ada/.config", None)
        .named("mkdir", "/home/ada/.config/new", None)
        .write("/home/ada/.config/new/settings");
    let proposal = made.learn(&seen.0);
    assert_eq!(values(&proposal, Key::Write), ["$HOME/list.txt"]);
    assert_eq!(
        notes(&proposal, About::Gone),
        ["/home/ada/.config: 3 entries"]
    );
    // Beside what is granted, nothing can be made.
    let proposal = made.learn(&seen.read("/home/ada/.config/old/a").0);
    assert_eq!(
        notes(&proposal, About::NotGranted),
        [
            "writing in /home/ada/.config (3 entries), which is read-only around what is granted in it"
        ]
    );
}
