//! Each format expresses each key of a profile, or says that it does not.

use std::collections::BTreeSet;

use aegis_export::{Effect, Format, Key};
use serde_json::Value;

use crate::support::Case;

/// What a key does to what a command may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A format that does not express it permits less.
    Grants,
    /// A format that does not express it permits more.
    TakesAway,
    /// No profile with it has a plan, or it says nothing of what may be done.
    Nothing,
}
use Kind::{Grants, Nothing, TakesAway};

const BASE: &str = "extends: [base]\n";

/// For each key of a profile its kind, the lines to begin with, and those that have the key.
const SAMPLES: &[(&str, Kind, &str, &str)] = &[
    ("aegis", Nothing, "", ""),
    ("name", Nothing, "", ""),
    ("description", Nothing, "", ""),
    ("extends", Nothing, "", ""),
    ("args", Nothing, "", ""),
    ("baseline", Nothing, "", ""),
    ("secrets.use.to", Nothing, "", ""),
    ("secrets.use.header", Nothing, "", ""),
    ("secrets.use.env", Nothing, "", ""),
    ("secrets.use.like", Nothing, "", ""),
    ("secrets.use.query", Nothing, "", ""),
    ("secrets.use.ttl", Nothing, "", ""),
    ("run", Grants, "run: [/bin/true]", "run: [/bin/false]"),
    (
        "files.read",
        Grants,
        "",
        "capabilities: {files.read: [/etc/fstab]}",
    ),
    (
        "files.write",
        Grants,
        "",
        "capabilities: {files.write: [/var/lib/dpkg]}",
    ),
    (
        "files.overlay",
        Grants,
        "",
        "capabilities: {files.overlay: [/var/lib/dpkg]}",
    ),
    (
        "files.deny",
        TakesAway,
        "capabilities: {files.read: [/var/lib/dpkg]}",
        "capabilities: {files.read: [/var/lib/dpkg], files.deny: [/var/lib/dpkg/info]}",
    ),
    (
        "shell.exec",
        Grants,
        "",
        "capabilities: {shell.exec: [cat]}",
    ),
    (
        "net.outbound",
        Grants,
        "",
        "capabilities: {net.outbound: host}",
    ),
    (
        "net.outbound",
        Grants,
        "",
        "capabilities: {net.outbound: [\"https://example.org\"]}",
    ),
    (
        "net.listen",
        Grants,
        "capabilities: {net.outbound: host}",
        "capabilities: {net.outbound: host, net.listen: [8080]}",
    ),
    ("sockets", Grants, "", "capabilities: {sockets: private}"),
    ("devices", Grants, "", "capabilities: {devices: [pty]}"),
    (
        "environment.pass",
        Grants,
        "",
        "environment: {pass: [EDITOR]}",
    ),
    (
        "environment.set",
        Grants,
        "",
        "environment: {set: {EDITOR: ed}}",
    ),
    ("syscalls.base", TakesAway, "", "syscalls: {base: minimal}"),
    ("syscalls.allow", Grants, "", "syscalls: {allow: [keyctl]}"),
    ("syscalls.deny", TakesAway, "", "syscalls: {deny: [ptrace]}"),
    ("limits.time", TakesAway, "", "limits: {time: 7s}"),
    ("limits.memory", TakesAway, "", "limits: {memory: 77M}"),
    ("limits.cpu", TakesAway, "", "limits: {cpu: 0.5}"),
    ("limits.pids", TakesAway, "", "limits: {pids: 77}"),
    ("limits.files", TakesAway, "", "limits: {files: 77}"),
    (
        "limits.file-size",
        TakesAway,
        "",
        "limits: {file-size: 77M}",
    ),
    ("limits.output", TakesAway, "", "limits: {output: 77M}"),
    ("limits.tmp", TakesAway, "", "limits: {tmp: 77M}"),
    (
        "limits.disk-read",
        TakesAway,
        "",
        "limits: {disk-read: 77M/s}",
    ),
    (
        "limits.disk-write",
        TakesAway,
        "",
        "limits: {disk-write: 77M/s}",
    ),
    // Without the host's network there is nothing to limit.
    ("limits.net", Nothing, "", "limits: {net: 77M/s}"),
    (
        "limits.must-hold",
        TakesAway,
        "limits: {time: 7s}",
        "limits: {time: 7s, must-hold: [time]}",
    ),
];

/// The keys of the schema, without `capabilities.`.
fn keys() -> BTreeSet<String> {
    let schema = aegis_profile::schema::json();
    let mut keys = BTreeSet::new();
    collect(&schema, &schema, "", &mut keys);
    keys
}

fn collect(schema: &Value, at: &Value, name: &str, keys: &mut BTreeSet<String>) {
    if let Some(reference) = at["$ref"].as_str() {
        let section = reference.trim_start_matches("#/$defs/");
        return collect(schema, &schema["$defs"][section], name, keys);
    }
    if let Some(below) = at["properties"].as_object() {
        for (key, at) in below {
            let name = match name {
                "" | "capabilities" => key.clone(),
                name => format!("{name}.{key}"),
            };
            collect(schema, at, &name, keys);
        }
    } else if at["additionalProperties"].is_object()
        && at["additionalProperties"]["$ref"].is_string()
    {
        collect(schema, &at["additionalProperties"], name, keys);
    } else {
        keys.insert(name.to_owned());
    }
}

#[test]
fn each_key_has_a_sample() {
    let samples: BTreeSet<String> = SAMPLES.iter().map(|(key, ..)| (*key).to_owned()).collect();
    assert_eq!(
        samples,
        keys(),
        "a key of the format needs a line in SAMPLES, and an answer of each format"
    );
}

#[test]
fn each_format_expresses_each_key_or_lists_it() {
    for (key, kind, without, with) in SAMPLES.iter().filter(|(_, kind, ..)| *kind != Nothing) {
        let case = |lines: &str| match lines.starts_with("run") {
            true => Case::running(&format!("{BASE}{lines}"), &[]),
            false => Case::of(&format!("{BASE}{lines}")),
        };
        let (without, with) = (case(without), case(with));
        for format in Format::ALL {
            let losses = with.export(format).losses;
            let listed = losses.iter().any(|loss| {
                let of = loss.key.to_string();
                let of = of.trim_start_matches("capabilities.");
                let is_wide_enough = *kind == Grants || loss.effect == Effect::Wider;
                is_wide_enough && (*key == of || key.starts_with(&format!("{of}.")))
            });
            let expressed = without.directives(format) != with.directives(format);
            assert!(listed || expressed, "{format:?} has nothing of {key}");
        }
    }
}

/// Some of them have an own `/etc/resolv.conf` to show for it, and the network is closed.
#[test]
fn each_format_says_that_no_host_is_reached_by_name() {
    let named = Case::of(&format!(
        "{BASE}capabilities: {{net.outbound: [\"https://example.org\"]}}"
    ));
    let closed = Case::of(BASE);
    for format in Format::ALL {
        let told = |case: &Case| {
            let losses = case.export(format).losses;
            let mut of_names = losses.iter().filter(|loss| loss.what.contains("by name"));
            of_names.any(|loss| loss.key == Key::Outbound && loss.effect == Effect::Narrower)
        };
        assert!(told(&named), "{format:?}");
        assert!(!told(&closed), "{format:?}");
    }
}
