//! What counts as a difference between two profiles, and how it is reported.

use aegis_profile::{Diff, Item, diff, parse_str};

fn between(a: &str, b: &str) -> Diff {
    let parsed = |name: &str, body: &str| {
        let text = format!("aegis: 1\n{body}\n");
        parse_str(&text, name).unwrap_or_else(|error| panic!("{text}{error}"))
    };
    diff(&parsed("a.yaml", a), &parsed("b.yaml", b))
}

fn told(items: &[Item]) -> Vec<String> {
    items
        .iter()
        .map(|i| match &i.instead_of {
            Some(instead) => format!("{} {} instead of {instead}", i.key, i.value),
            None => format!("{} {}", i.key, i.value),
        })
        .collect()
}

/// The second profile may do nothing that the first may not.
const COVERED: &[(&str, &str)] = &[
    (
        "capabilities: {files.read: [$WORK]}",
        "capabilities: {files.read: [$WORK/out, -$WORK]}",
    ),
    (
        "capabilities: {files.write: [/srv]}",
        "capabilities: {files.read: [/srv/a], files.write: [/srv/b/c]}",
    ),
    (
        "capabilities: {shell.exec: [/opt]}",
        "capabilities: {files.read: [/opt/lib], shell.exec: [/opt/bin/x]}",
    ),
    (
        "",
        "capabilities: {files.read: [$TMP/x], files.write: [$TMP]}",
    ),
    (
        "capabilities: {shell.exec: [git, sh]}",
        "capabilities: {shell.exec: [-sh]}",
    ),
    (
        "capabilities: {net.outbound: host}",
        "capabilities: {net.outbound: [\"https://a.b\"]}",
    ),
    (
        "capabilities: {net.outbound: [\"https://*.b\", \"tcp://c:443\"]}",
        "capabilities: {net.outbound: [\"https://a.b\", \"https://*.a.b\", \"https://c\"]}",
    ),
    (
        "capabilities: {files.read: [$WORK], files.deny: [$WORK/a/b, \"**/.env\"]}",
        "capabilities: {files.read: [$WORK], files.deny: [$WORK/a, \"**/.env\", /srv/x]}",
    ),
    // What is not granted need not be denied.
    (
        "capabilities: {shell.exec: [git], files.deny: [$HOME/.ssh, \"**/.env\"]}",
        "capabilities: {shell.exec: [git]}",
    ),
    ("limits: {time: 1h}", "limits: {time: 5m, memory: 1G}"),
    (
        "environment: {pass: [A]}",
        "environment: {pass: [A]}\nname: other\nrun: [x]\ndescription: y",
    ),
    ("", "syscalls: {base: minimal, deny: [read]}"),
    ("", "syscalls: {base: default}"),
    (
        "syscalls: {deny: [socket]}",
        "syscalls: {base: learned, allow: []}",
    ),
];

/// What the second profile may do and the first may not.
const BEYOND: &[(&str, &str, &[&str])] = &[
    (
        "capabilities: {files.read: [$WORK/out]}",
        "capabilities: {files.read: [$WORK, $WORK/a]}",
        &["files.read $WORK"],
    ),
    (
        "capabilities: {files.read: [/srv/a]}",
        "capabilities: {files.read: [-/srv/ab]}",
        &["files.read /srv/ab"],
    ),
    (
        "capabilities: {files.read: [$WORK], files.deny: [$WORK/a, $WORK/**/key, \"**/.env\"]}",
        "capabilities: {files.read: [$WORK], files.deny: [$WORK/a/b, $WORK/x/**/key, $WORK/**/.env]}",
        &[
            "files.deny not denied instead of $WORK/a",
            "files.deny not denied instead of $WORK/**/key",
            "files.deny not denied instead of **/.env",
        ],
    ),
    (
        "capabilities: {files.read: [$WORK]}",
        "capabilities: {files.write: [$WORK/out]}",
        &["files.write $WORK/out"],
    ),
    (
        "",
        "capabilities: {files.read: [/a/b], files.write: [/a], shell.exec: [-git, /a/c]}",
        &["files.write /a", "shell.exec git", "shell.exec /a/c"],
    ),
    (
        "capabilities: {shell.exec: [git]}",
        "capabilities: {shell.exec: [/usr/bin/git]}",
        &["shell.exec /usr/bin/git"],
    ),
    (
        "capabilities: {net.outbound: [\"https://a.b\"]}",
        "capabilities: {net.outbound: host}",
        &["net.outbound host"],
    ),
    (
        "capabilities: {net.outbound: [\"https://*.b\"]}",
        "capabilities: {net.outbound: [\"https://b\", \"https://a.b:8443\", \"http://a.b\", \"https://a.b\"]}",
        &[
            "net.outbound https://b:443",
            "net.outbound https://a.b:8443",
            "net.outbound http://a.b:80",
        ],
    ),
    (
        "capabilities: {net.listen: [80]}",
        "capabilities: {net.listen: [80, 81]}",
        &["net.listen 81"],
    ),
    (
        "capabilities: {devices: [gpu]}",
        "capabilities: {devices: [gpu, kvm]}",
        &["devices kvm"],
    ),
    (
        "capabilities: {secrets.use: {g: {to: a.b, env: T}}}",
        "capabilities: {secrets.use: {g: {to: c.d, env: T}}}",
        &["secrets.use g to c.d, env T instead of g to a.b, env T"],
    ),
    (
        "limits: {time: 5m, pids: 5}",
        "limits: {time: 1h}",
        &[
            "limits.time 1h instead of 5m",
            "limits.pids not limited instead of 5",
        ],
    ),
    (
        "limits: {memory: 1G, pids: 5, must-hold: [memory, pids]}",
        "limits: {memory: 1G, must-hold: [memory]}",
        &["limits.pids not limited instead of 5"],
    ),
    (
        "limits: {memory: 1G, pids: 5, must-hold: [memory, pids]}",
        "limits: {memory: 1G, pids: 5, must-hold: [pids]}",
        &["limits.must-hold need not hold instead of memory"],
    ),
    (
        "environment: {set: {A: x}}",
        "environment: {set: {A: y, B: z}, pass: [A, C]}",
        &[
            "environment.pass C",
            "environment.set A=y instead of A=x",
            "environment.set B=z",
        ],
    ),
    (
        "syscalls: {base: minimal, deny: [socket]}",
        "syscalls: {allow: [ptrace]}",
        &[
            "syscalls.base default instead of minimal",
            "syscalls.allow ptrace",
            "syscalls.base socket instead of deny socket",
        ],
    ),
    (
        "syscalls: {base: learned}",
        "syscalls: {base: learned, allow: [read, write], deny: [write]}",
        &["syscalls.allow read"],
    ),
];

#[test]
fn what_is_covered_is_no_difference() {
    for (a, b) in COVERED {
        let only_b = between(a, b).only_b;
        assert!(only_b.is_empty(), "{a}\n{b}\n{:?}", told(&only_b));
    }
}

#[test]
fn what_goes_beyond_is_listed() {
    for (a, b, expected) in BEYOND {
        assert_eq!(told(&between(a, b).only_b), *expected, "{a}\n{b}");
    }
}

#[test]
fn a_difference_is_told_to_people_and_as_json() {
    let difference = between(
        "limits: {time: 5m}",
        "limits: {time: 1h}\ncapabilities: {shell.exec: [git]}",
    );
    assert_eq!(
        difference.render("old", "new"),
        "old may do nothing that new may not\nonly new may:\n+ shell.exec   git\n+ limits.time  1h  (old: 5m)\n"
    );
    let json = serde_json::to_value(&difference).unwrap();
    assert_eq!(json["only_b"][0]["origin"], "b.yaml:3:29");
    assert_eq!(json["only_b"][1]["instead_of"], "5m");
    assert!(json["only_a"].as_array().unwrap().is_empty());
    let same = between("", "");
    assert_eq!(same.render("old", "new"), "old and new may do the same\n");
}
