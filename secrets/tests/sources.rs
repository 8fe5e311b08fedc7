//! `secrets.yaml`: what it says, and every mistake with its place and the fix.

use std::path::Path;
use std::time::Duration;

use aegis_secrets::sources::{Entry, Source, Sources, parse};

fn parsed(text: &str) -> Result<Sources, String> {
    let file = Path::new("/home/ana/.config/aegis/secrets.yaml");
    parse(file, Some(Path::new("/home/ana")), text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn sources_are_read() {
    let sources = parsed(
        "github: {sops: team/secrets.yaml, key: github.token}\n\
         dotted: {sops: ~/team.json, key: [a, \"b.c\", \"0\"]}\n\
         stripe: {vault: \"https://vault.example:8200/\", path: secret/my/app, field: stripe, token-file: /run/token, rotate-every: 90d, timeout: 5s}\n\
         home: {vault: \"http://localhost:8200\", path: secret/a, field: b}\n\
         openai: {exec: [bw, get, password, openai], ttl: 10m}\n\
         npm: {rotate-every: 30d, on-rotate: [/usr/bin/new-token, 5], timeout: 1m}\n",
    )
    .unwrap();
    let source = |alias: &str| sources[alias].source.clone().unwrap();
    let shown = |alias: &str| source(alias).to_string();
    assert_eq!(
        shown("github"),
        "SOPS file /home/ana/.config/aegis/team/secrets.yaml, key github.token"
    );
    assert_eq!(
        shown("dotted"),
        "SOPS file /home/ana/team.json, key a.b.c.0"
    );
    assert_eq!(
        shown("stripe"),
        "vault https://vault.example:8200, path secret/my/app, field stripe"
    );
    assert_eq!(shown("openai"), "command bw …");
    assert!(matches!(source("dotted"), Source::Sops { key, .. } if key == ["a", "b.c", "0"]));
    assert!(
        matches!(source("stripe"), Source::Vault { token, .. } if token == Path::new("/run/token"))
    );
    assert!(
        matches!(source("home"), Source::Vault { token, .. } if token == Path::new("/home/ana/.vault-token"))
    );
    assert!(
        matches!(source("openai"), Source::Exec { ttl: Some(ttl), .. } if ttl == Duration::from_secs(600))
    );
    assert_eq!(
        sources["stripe"].rotate_every,
        Some(Duration::from_secs(90 * 86_400))
    );
    assert_eq!(sources["stripe"].timeout, Duration::from_secs(5));
    assert_eq!(sources["openai"].timeout, Duration::from_secs(20));
    assert_eq!(
        sources["npm"],
        Entry {
            source: None,
            rotate_every: Some(Duration::from_secs(30 * 86_400)),
            on_rotate: Some(vec!["/usr/bin/new-token".into(), "5".into()]),
            timeout: Duration::from_secs(60),
        }
    );
}

#[test]
fn mistakes_have_a_place_and_a_fix() {
    for (text, place, fragments) in [
        (
            "a b: {exec: [x]}",
            "1:1",
            &["cannot be an alias", "up to 64 letters"][..],
        ),
        ("a: {}", "1:1", &["says nothing", "name a source"]),
        ("a: x", "1:4", &["expected a source, found text"]),
        ("- a", "1:1", &["expected aliases with their sources"]),
        (
            "a: {exce: [x]}",
            "1:5",
            &["unknown key \"exce\"", "did you mean `exec`?"],
        ),
        (
            "a: {exec: [x], vault: \"https://h\"}",
            "1:16",
            &["in one entry", "remove one of them"],
        ),
        (
            "a: {exec: \"bw get it\"}",
            "1:11",
            &["`exec` is a list", "`exec: [bw, get, it]`"],
        ),
        ("a: {exec: []}", "1:11", &["names no program"]),
        (
            "a: {exec: [./x]}",
            "1:12",
            &["not a program", "is absolute"],
        ),
        (
            "a: {exec: [x, ~]}",
            "1:15",
            &["expected a word of a command, found nothing"],
        ),
        (
            "a: {exec: [x], rotate-every: 1d}",
            "1:16",
            &["means nothing beside `exec`"],
        ),
        (
            "a: {exec: [x], key: b}",
            "1:16",
            &["`key` means nothing beside `exec`"],
        ),
        (
            "a: {exec: [x], ttl: 10}",
            "1:21",
            &["a time needs a unit", "write `10s`"],
        ),
        (
            "a: {exec: [x], timeout: 11m}",
            "1:25",
            &["longer than anybody waits"],
        ),
        (
            "a: {sops: f}",
            "1:5",
            &["`key` is missing", "add `key: a.b`"],
        ),
        ("a: {sops: f, key: a..b}", "1:19", &["leads to no value"]),
        ("a: {sops: f, key: sops.mac}", "1:19", &["not in it"]),
        (
            "a: {sops: ~ana/f, key: a}",
            "1:11",
            &["not the path of a file"],
        ),
        (
            "a: {sops: \"/\", key: a}",
            "1:11",
            &["not the path of a file"],
        ),
        (
            "a: {sops: f, key: a, timeout: 1s}",
            "1:22",
            &["`timeout` means nothing beside `sops`"],
        ),
        (
            "a: {vault: \"http://vault.example\", path: secret/a, field: b}",
            "1:12",
            &["for everybody to read", "`https://vault.example`"],
        ),
        (
            "a: {vault: \"https://h\", path: secret, field: b}",
            "1:31",
            &["not a path in Vault"],
        ),
        (
            "a: {vault: \"https://h\", path: secret/a}",
            "1:5",
            &["`field` is missing"],
        ),
        ("a: {ttl: 1m}", "1:5", &["means nothing without a source"]),
        (
            "a: {rotate-every: 1d, timeout: 1s}",
            "1:23",
            &["means nothing without a source"],
        ),
        ("a: {exec: [x]}\na: {exec: [y]}", "2:1", &["given twice"]),
        ("a: &b {exec: [x]}", "1:4", &["anchors"]),
    ] {
        let error = parsed(text).expect_err(text);
        assert!(
            error.contains(&format!("secrets.yaml:{place}")),
            "{text}: {error}"
        );
        for fragment in fragments {
            assert!(error.contains(fragment), "{text}: {fragment}: {error}");
        }
    }
    let error = parsed("a: {exec: []}\nb: {}\n").unwrap_err();
    assert!(
        error.contains(":1:11") && error.contains(":2:1"),
        "all of them: {error}"
    );
}
