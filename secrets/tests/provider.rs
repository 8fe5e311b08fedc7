//! The provider, asked over its socket as a broker asks.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aegis_secrets::protocol::Answer;

use crate::home::{Home, Told, USER, mode};

/// A FIFO, which everybody may use.
fn fifo(home: &Home, name: &str) -> PathBuf {
    let path = home.path(name);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    mode(&path, 0o666);
    path
}

/// Waits until nobody has a FIFO open for writing any more. Somebody has to open it.
fn until_closed(path: &Path) {
    let mut said = String::new();
    fs::File::open(path)
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
}

#[test]
fn a_new_version_is_given_and_the_same_one_is_not_given_again() {
    for uid in [0, USER] {
        let home = Home::ready(uid);
        home.set("github", "one");
        let provider = home.provider();
        let (value, version) = provider.value("github", None);
        assert_eq!(value, "one");
        assert_eq!(
            provider.get("github", Some(&version)),
            Told::Unchanged("github".into())
        );
        assert_eq!(
            provider.value("github", None),
            ("one".into(), version.clone())
        );
        assert_eq!(
            provider.value("github", Some("other")),
            ("one".into(), version.clone())
        );
        home.set("github", "two");
        let (value, second) = provider.value("github", Some(&version));
        assert_eq!(value, "two");
        assert_ne!(second, version);
        // Stored anew, it is still the same.
        home.set("github", "two");
        assert_eq!(
            provider.get("github", Some(&second)),
            Told::Unchanged("github".into())
        );
        home.does(&["rm", "github"]);
        let (source, why) = provider.failure("github");
        assert!(
            source.contains("age store") && source.contains("github.age"),
            "{source}"
        );
        assert!(why.contains("no secret `github`"), "{why}");
        // Another process tells the same value by another version.
        home.set("github", "two");
        assert_ne!(home.provider().value("github", None).1, second);
        assert_eq!(provider.close(), "");
    }
}

#[test]
fn what_is_due_is_told() {
    let home = Home::ready(0);
    home.set("npm", "value");
    home.sources("npm: {rotate-every: 1ms}");
    let provider = home.provider();
    provider.ask("npm", None);
    let Some((
        Answer::Value {
            due,
            expires,
            version,
            ..
        },
        _,
    )) = provider.answer()
    else {
        panic!("there is one")
    };
    assert_eq!((due, expires), (true, None));
    provider.ask("npm", Some(&version));
    assert!(matches!(
        provider.answer(),
        Some((Answer::Unchanged { due: true, .. }, _))
    ));
}

#[test]
fn nobody_but_root_looks_into_it() {
    let home = Home::ready(USER);
    home.set("github", "value");
    for (sources, alone) in [("", true), ("other: {exec: [true]}", false)] {
        if !sources.is_empty() {
            home.sources(sources);
        }
        let provider = home.provider();
        provider.value("github", None);
        let pid = provider.child.id();
        // Of another program of the same user's, it can be read.
        let mut other = home
            .command("/usr/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let readable = |pid: u32, file: &str| {
            let open = format!("exec 3</proc/{pid}/{file}");
            home.command("/bin/sh")
                .args(["-c", &open])
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap()
                .success()
        };
        for file in ["mem", "environ", "maps"] {
            assert!(readable(other.id(), file), "{file}");
            assert!(!readable(pid, file), "{file}");
        }
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(
            fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(),
            0
        );
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        assert!(
            core.split_whitespace()
                .skip(4)
                .take(2)
                .all(|limit| limit == "0"),
            "{core}"
        );
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        // Commands may need what their caller has.
        assert!(
            status.contains(&format!("NoNewPrivs:\t{}", u8::from(alone))),
            "{status}"
        );
        assert_eq!(provider.close(), "");
    }
}

/// Landlock keeps it from changing and executing anything, and from connecting where no source is asked over a network.
#[test]
fn what_no_source_needs_is_given_up() {
    let home = Home::ready(0);
    home.set("a", "value");
    let trace = home.path("trace");
    let traced = |sources: &str| {
        home.sources(sources);
        let (ours, theirs) = aegis_sys::socket::pair().unwrap();
        drop(ours);
        let mut command = home.command("/usr/bin/strace");
        let traced = command
            .args([
                "-e",
                "trace=landlock_create_ruleset,landlock_restrict_self",
                "-X",
                "raw",
                "-o",
            ])
            .arg(&trace)
            .arg(home.path("aegis-secrets"))
            .stdin(theirs);
        assert!(traced.status().expect("strace starts").success());
        fs::read_to_string(&trace).unwrap()
    };
    let alone = traced("a: {rotate-every: 1d}");
    assert!(alone.contains("landlock_restrict_self"), "{alone}");
    assert!(
        alone
            .lines()
            .filter(|line| line.contains("restrict_self"))
            .all(|line| line.ends_with("= 0")),
        "{alone}"
    );
    let vault = traced("b: {vault: \"https://vault.example\", path: a/b, field: c}");
    assert!(vault.contains("landlock_restrict_self"), "{vault}");
    assert!(!traced("b: {exec: [cat]}").contains("restrict_self"));
}

#[test]
fn it_holds_nothing_of_its_caller_s_but_the_socket() {
    let home = Home::ready(0);
    let kept = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
    let provider = home.provider();
    drop(kept);
    assert!(matches!(provider.get("a", None), Told::Failed { .. }));
    for entry in fs::read_dir(format!("/proc/{}/fd", provider.child.id())).unwrap() {
        let file = fs::read_link(entry.unwrap().path()).unwrap_or_default();
        let file = file.to_string_lossy();
        let own = ["socket:", "pipe:", "/dev/null"];
        assert!(
            file.is_empty() || own.iter().any(|own| file.starts_with(own)),
            "{file}"
        );
    }
}

#[test]
fn a_slow_source_holds_up_no_other() {
    let home = Home::ready(0);
    let gate = fifo(&home, "gate");
    home.set("quick", "value");
    home.sources(&format!(
        "slow: {{exec: [cat, {}], timeout: 10m}}",
        gate.display()
    ));
    let provider = home.provider();
    for _ in 0..3 {
        provider.ask("slow", None);
    }
    assert_eq!(provider.value("quick", None).0, "value");
    fs::write(&gate, "opened\n").unwrap();
    // It ran once for all who asked meanwhile, and each of them has an answer.
    let told: Vec<_> = (0..3).map(|_| provider.told()).collect();
    let Told::Value(value, version) = &told[0] else {
        panic!("{told:?}")
    };
    assert_eq!(value, "opened");
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    // Within its ttl it is not run again.
    assert_eq!(
        provider.get("slow", Some(version)),
        Told::Unchanged("slow".into())
    );
}

#[test]
fn more_slow_sources_than_are_asked_at_once_all_end() {
    let home = Home::ready(0);
    let gate = fifo(&home, "gate");
    let lines = (0..40).map(|n| {
        format!(
            "s{n}: {{exec: [sh, -c, 'read -r x < {}; echo {n}'], timeout: 10m}}\n",
            gate.display()
        )
    });
    home.sources(&lines.collect::<String>());
    let provider = home.provider();
    for n in 0..40 {
        provider.ask(&format!("s{n}"), None);
    }
    // Whoever reads opens it anew, and a writer is there as long as one waits.
    let open = fs::File::options()
        .read(true)
        .write(true)
        .open(&gate)
        .unwrap();
    let mut values = std::collections::BTreeSet::new();
    for _ in 0..40 {
        std::io::Write::write_all(&mut &open, b"x\n").unwrap();
        let Told::Value(value, _) = provider.told() else {
            panic!("each has one")
        };
        values.insert(value.parse::<u32>().unwrap());
    }
    assert_eq!(values, (0..40).collect());
}

#[test]
fn commands_that_fail_are_named_and_nothing_of_them_is_told_to_the_broker() {
    let home = Home::ready(0);
    home.sources(
        "fails: {exec: [sh, -c, 'echo sesame; echo first >&2; echo sesame is wrong >&2; exit 3']}\n\
         none: {exec: [no-such-program, x]}\n\
         megabyte: {exec: [head, -c, '1048576', /dev/zero]}\n\
         endless: {exec: ['yes']}\n\
         talks: {exec: [sh, -c, 'yes sesame >&2'], timeout: 300ms}\n\
         lines: {exec: [sh, -c, 'echo sesame; echo two']}\n\
         empty: {exec: ['true']}\n\
         past: {exec: [echo, '{\"value\": \"sesame\", \"expires\": 1000}']}\n\
         terminal: {exec: [sh, -c, 'echo sesame </dev/tty']}\n",
    );
    let provider = home.provider();
    for (alias, source, why) in [
        ("fails", "command sh …", "it ended with status 3"),
        ("none", "command no-such-program …", "no such program"),
        (
            "megabyte",
            "command head …",
            "it printed more than 65536 bytes",
        ),
        ("endless", "command yes", "it printed more than"),
        ("talks", "command sh …", "it took longer than 0.3s"),
        ("lines", "command sh …", "a line feed"),
        ("empty", "command true", "it is empty"),
        ("past", "command echo", "it has expired"),
        ("terminal", "command sh …", "it ended with status"),
    ] {
        let failure = provider.failure(alias);
        assert!(failure.0.contains(source), "{failure:?}");
        assert!(
            failure.1.contains(why) && !failure.1.contains("sesame"),
            "{failure:?}"
        );
    }
    let said = provider.close();
    let fails = said
        .lines()
        .find(|line| line.contains("`fails`"))
        .expect("its caller is told");
    assert!(fails.ends_with(": … is wrong"), "{said}");
    assert!(!said.contains("first"), "{said}");
}

#[test]
fn a_command_has_no_input_no_terminal_and_a_session_of_its_own() {
    let home = Home::ready(USER);
    home.sources("it: {exec: [sh, -c, 'read -r line && exit 1; set -- $(cat /proc/self/stat); echo \"$5 $6 $7 $PPID $(pwd) $SET\"']}");
    let provider = home.provider_with(|command| command.env("SET", "by-the-caller"));
    let (value, _) = provider.value("it", None);
    let fields: Vec<&str> = value.split(' ').collect();
    // `cat` is in the group and session of its shell, whose parent is the provider.
    assert_eq!(fields[0], fields[1], "{value}");
    assert_eq!(
        fields[2..],
        ["0", &provider.child.id().to_string(), "/", "by-the-caller"],
        "{value}"
    );
    assert_ne!(fields[0], provider.child.id().to_string());
}

#[test]
fn what_takes_too_long_is_ended_with_all_that_it_started() {
    let home = Home::ready(0);
    let alive = fifo(&home, "alive");
    let script = format!("exec 3>{}; sleep 1000 & sleep 1000", alive.display());
    home.sources(&format!(
        "slow: {{exec: [sh, -c, '{script}'], timeout: 2s}}"
    ));
    let provider = home.provider();
    provider.ask("slow", None);
    until_closed(&alive);
    assert!(matches!(provider.told(), Told::Failed { why, .. } if why.contains("longer than 2s")));
}

#[test]
fn it_ends_with_its_broker_and_so_do_its_commands() {
    for how in ["closed", "killed"] {
        let home = Home::ready(0);
        let alive = fifo(&home, "alive");
        let script = format!("exec sleep 1000 3>{}", alive.display());
        home.sources(&format!(
            "slow: {{exec: [sh, -c, '{script}'], timeout: 10m}}"
        ));
        let mut provider = home.provider();
        provider.ask("slow", None);
        let opened = fs::File::open(&alive).unwrap();
        match how {
            "closed" => drop(provider.close()),
            _ => {
                provider.child.kill().unwrap();
                provider.child.wait().unwrap();
            }
        }
        let mut said = String::new();
        (&opened).read_to_string(&mut said).unwrap();
    }
}

#[test]
fn a_value_that_expires_is_got_again() {
    let home = Home::ready(0);
    let count = home.write("count", "");
    let script = |expires: &str| {
        format!(
            "it: {{exec: [sh, -c, 'echo x >>{0}; echo \"{{\\\"value\\\": \\\"v$(wc -l <{0})\\\", {expires}}}\"'], ttl: 10m}}",
            count.display()
        )
    };
    home.sources(&script("\\\"expires\\\": $(($(date +%s) + 2))"));
    let provider = home.provider();
    provider.ask("it", None);
    let Some((
        Answer::Value {
            expires: Some(expires),
            version,
            ..
        },
        value,
    )) = provider.answer()
    else {
        panic!("it expires")
    };
    assert_eq!(value, b"v1");
    // Its ttl is longer. Whatever is answered before, once it has expired there is a new one.
    loop {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        match provider.get("it", Some(&version)) {
            Told::Unchanged(_) => assert!(now <= expires, "it has expired"),
            Told::Value(value, _) => {
                assert_eq!(value, "v2");
                break;
            }
            failed => panic!("{failed:?}"),
        }
    }
}

#[test]
fn a_list_of_sources_that_is_wrong_is_named_and_nothing_of_it_told() {
    let home = Home::ready(0);
    home.set("a", "value");
    home.sources("a: {rotate-every: sesame}");
    let (_, why) = home.provider().failure("a");
    assert!(
        why.contains("secrets.yaml:1 is wrong")
            && why.contains("aegis secrets check")
            && !why.contains("sesame"),
        "{why}"
    );
    let error = home.try_does(&["check"]).unwrap_err();
    assert!(error.contains("secrets.yaml:1:19"), "{error}");
}

#[test]
fn whoever_is_no_broker_is_not_answered() {
    let home = Home::ready(0);
    home.set("a", "value");
    for message in [
        &b"{"[..],
        b"{\"get\": {}}",
        b"{\"set\": {\"alias\": \"a\"}}",
        b"\0\xff",
    ] {
        let provider = home.provider();
        provider.send(message);
        assert!(provider.answer().is_none());
        assert_eq!(provider.close(), "");
    }
    let provider = home.provider();
    for alias in ["../../x", "", "a/../a", &"a".repeat(1000)] {
        assert!(provider.failure(alias).1.contains("cannot be an alias"));
    }
    assert_eq!(provider.value("a", None).0, "value");
}
