//! Strategies: profiles as a person might write them, as text.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// A list of some of `items`, in YAML's flow form.
fn some(items: &'static [&'static str]) -> impl Strategy<Value = String> {
    subsequence(items.to_vec(), 0..=items.len())
        .prop_shuffle()
        .prop_map(|items| {
            format!(
                "[{}]",
                items
                    .iter()
                    .map(|i| format!("{i:?}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        })
}

const PATHS: &[&str] = &[
    "$WORK",
    "$WORK/out",
    "$WORK/out/deep",
    "$WORK/outer",
    "$SKILL",
    "$HOME/.config",
    "$TMP/x",
    "/usr/share/x",
    "-/usr/share/x",
    "-/opt",
    "/opt/a",
    "-$WORK",
    "/a b/c",
    "/ünï",
    "$WORK/\\[x\\]",
];
const DENIED: &[&str] = &[
    "$WORK/out/secret",
    "$WORK/out",
    "**/.env",
    "$WORK/**/.env",
    "$WORK/out/**/a/key",
];
const PROGRAMS: &[&str] = &[
    "git",
    "-git",
    "sh",
    "python3",
    "[",
    "true",
    "/usr/bin/git",
    "/usr/bin",
    "-/opt",
    "$WORK/target",
    "$WORK/out",
];
const HOSTS: &[&str] = &[
    "https://a.example",
    "https://*.example",
    "https://b.a.example:8443",
    "http://a.example:443",
    "tcp://a.example:443",
    "udp://192.0.2.7:53",
    "tcp://[2001:db8::1]:1",
    "https://*.a.example",
];
const NAMES: &[&str] = &["LANG", "TERM", "TZ", "y", "null", "true"];
const CALLS: &[&str] = &["read", "write", "openat2", "socket", "ptrace"];

fn optional(
    key: &'static str,
    value: impl Strategy<Value = String>,
) -> impl Strategy<Value = Option<String>> {
    proptest::option::of(value.prop_map(move |value| format!("{key}: {value}")))
}

fn map(lines: Vec<Option<String>>) -> String {
    format!(
        "{{{}}}",
        lines.into_iter().flatten().collect::<Vec<_>>().join(", ")
    )
}

/// A word of any characters that a profile may hold.
fn any_text() -> impl Strategy<Value = String> {
    "[ -~äß€\u{1F600}]{0,12}|yes|0x1f|-|1:30|a: b|a #b|- a|\\$WORK/x|\\?|!x|&x|\\*x"
        .prop_map(|text: String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn capabilities(additive: bool) -> impl Strategy<Value = String> {
    let words: &'static [&'static str] = if additive {
        &["[]"]
    } else {
        &["none", "host", "[]"]
    };
    let secrets: &'static [&'static str] = if additive {
        &["{}", "{gh: {to: a.example, env: T}}"]
    } else {
        &[
            "{gh: {to: b.example, header: \"X-Key: {}\"}}",
            "{gh: {to: a.example, env: T}, k8s: {to: \"[::1]\", env: K}}",
        ]
    };
    (
        optional("files.read", some(PATHS)),
        optional("files.write", some(PATHS)),
        optional("shell.exec", some(PROGRAMS)),
        optional(
            "net.outbound",
            prop_oneof![some(HOSTS), select(words).prop_map(str::to_owned)],
        ),
        optional(
            "net.listen",
            select(&["[]", "[80]", "[443, 80]"][..]).prop_map(str::to_owned),
        ),
        optional("secrets.use", select(secrets).prop_map(str::to_owned)),
        optional("devices", some(&["gpu", "kvm", "/dev/ttyS0"])),
        optional("files.deny", some(if additive { &[] } else { DENIED })),
        optional(
            "sockets",
            select(if additive {
                &["private"][..]
            } else {
                &["none", "private"]
            })
            .prop_map(str::to_owned),
        ),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i)| map(vec![a, b, c, d, e, f, g, h, i]))
}

fn limits() -> impl Strategy<Value = String> {
    let size = || {
        (1..5000_u32, select(&["B", "K", "MiB", "G", "T"][..])).prop_map(|(n, u)| format!("{n}{u}"))
    };
    let rate = || size().prop_map(|s| s + "/s");
    (
        optional(
            "time",
            (1..5000_u32, select(&["ms", "s", "m", "h", "d"][..]))
                .prop_map(|(n, u)| format!("{n}{u}")),
        ),
        optional("memory", size()),
        optional(
            "cpu",
            (10..100_000_u32).prop_map(|n| format!("{}.{:03}", n / 1000, n % 1000)),
        ),
        optional("pids", (1..4_194_304_u32).prop_map(|n| n.to_string())),
        optional("file-size", size()),
        optional("disk-read", rate()),
        optional("net", rate()),
        optional("must-hold", some(&["memory", "cpu", "pids"])),
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| map(vec![a, b, c, d, e, f, g, h]))
}

fn sections(additive: bool) -> impl Strategy<Value = String> {
    let environment = (
        optional("pass", some(NAMES)),
        optional(
            "set",
            proptest::collection::btree_map(select(NAMES), any_text(), 0..3).prop_map(|entries| {
                map(entries
                    .into_iter()
                    .map(|(k, v)| Some(format!("{k:?}: {v}")))
                    .collect())
            }),
        ),
    )
        .prop_map(|(a, b)| map(vec![a, b]));
    let syscalls = (
        optional(
            "base",
            select(&["default", "minimal", "learned"][..]).prop_map(str::to_owned),
        ),
        optional("allow", some(CALLS)),
        optional("deny", some(CALLS)),
    )
        .prop_map(|(a, b, c)| map(vec![a, b, c]));
    (
        optional("name", "[a-z]{1,8}".prop_map(|n| format!("{n:?}"))),
        optional("description", any_text()),
        optional(
            "run",
            proptest::collection::vec(any_text(), 1..4)
                .prop_map(|words| format!("[prog, {}]", words.join(", "))),
        ),
        optional("capabilities", capabilities(additive)),
        optional("environment", environment),
        optional("limits", limits()),
        optional("syscalls", syscalls),
    )
        .prop_map(move |(a, b, c, d, e, f, g)| {
            // Keys that replace instead of adding are left out where only adding is tested.
            let lines = if additive {
                vec![a, b, d]
            } else {
                vec![a, b, c, d, e, f, g]
            };
            lines
                .into_iter()
                .flatten()
                .map(|line| line + "\n")
                .collect()
        })
}

/// A valid profile.
pub fn profile() -> impl Strategy<Value = String> {
    sections(false).prop_map(|body| format!("aegis: 1\n{body}"))
}

/// A valid profile that says only what adds up when merged.
pub fn additive_profile() -> impl Strategy<Value = String> {
    sections(true).prop_map(|body| format!("aegis: 1\n{body}"))
}

/// A valid profile with one thing changed, which may make it invalid.
pub fn mutated_profile() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "0",
        "-1",
        "1.5",
        "true",
        "null",
        "[]",
        "{}",
        "\"\"",
        "5m",
        "512M",
        "50M/s",
        "/proc",
        "..",
        "$NOPE",
        "*",
        "host",
        "[host]",
        "extra: 1",
        "https://A.b",
        "x",
    ];
    (
        profile(),
        any::<prop::sample::Index>(),
        select(WORDS),
        any::<bool>(),
    )
        .prop_map(|(text, at, word, replace)| {
            // Cut at the places where one value or key ends and another begins.
            let seams: Vec<usize> = text
                .match_indices([' ', ',', '[', '{', '}', ']'])
                .map(|(i, _)| i)
                .collect();
            let Some(&from) = seams.get(at.index(seams.len().max(1))) else {
                return text;
            };
            let to = match replace {
                true => seams
                    .iter()
                    .copied()
                    .find(|i| *i > from)
                    .unwrap_or(text.len()),
                false => from + 1,
            };
            format!("{} {word} {}", &text[..from + 1], &text[to.max(from + 1)..])
        })
}
