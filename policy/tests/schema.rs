//! The schemas: committed, and in agreement with the reader of policies.

use crate::support::written;

use std::sync::LazyLock;

use aegis_policy::load::parse_str;
use aegis_policy::{schema, templates};
use aegis_tests::assert_committed;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    jsonschema::draft202012::new(&schema::bundled()).expect("the schema is a schema")
});

/// Whether the schema accepts a text; `None`: not YAML that a validator can be given.
fn schema_takes(text: &str) -> Option<bool> {
    let json = aegis_profile::yaml_to_json(text, "x.yaml").ok()?;
    Some(VALIDATOR.is_valid(&json))
}

fn assert_of_one_mind(text: &str) {
    let read = parse_str(text, "x.yaml");
    let taken = schema_takes(text).unwrap_or_else(|| panic!("{text}"));
    match (read, taken) {
        (Ok(_), false) => panic!("the schema refuses what is read:\n{text}"),
        (Err(error), true) => panic!("the schema takes what is refused:\n{text}{error}"),
        _ => {}
    }
}

#[test]
fn the_committed_schemas_are_up_to_date() {
    for (name, schema) in schema::all() {
        assert_committed(
            format!("schemas/{name}.schema.json"),
            &schema::text(&schema),
        );
    }
}

#[test]
fn each_contract_has_a_schema_of_its_own() {
    for (name, schema) in schema::all() {
        let id = schema["$id"].as_str().unwrap();
        assert!(id.ends_with(&format!("/{name}.schema.json")), "{id}");
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        if name != "policy" {
            let alone = jsonschema::draft202012::new(&schema).unwrap();
            assert!(alone.is_valid(&serde_json::json!([])), "{name}");
            assert!(!alone.is_valid(&serde_json::json!([{"id": "a"}])), "{name}");
        }
    }
    let policy = &schema::all()[3].1;
    for contract in ["capabilities", "network-egress", "secrets-boundary"] {
        let of = policy["properties"][contract].to_string();
        assert!(of.contains(&format!("{contract}.schema.json")), "{of}");
    }
}

#[test]
fn every_property_has_a_description() {
    fn check(value: &serde_json::Value, path: &str) -> usize {
        let properties = value.get("properties").and_then(|p| p.as_object());
        // Conditions and choices name keys without describing them.
        let own = properties.filter(|_| value.get("additionalProperties").is_some());
        let mut seen = 0;
        for (name, property) in own.into_iter().flatten() {
            let text = property["description"].as_str().unwrap_or("");
            assert!(text.len() > 5, "{path}.{name} has no description");
            seen += 1;
        }
        let object = value.as_object().into_iter().flatten();
        seen + object
            .map(|(name, v)| check(v, &format!("{path}.{name}")))
            .sum::<usize>()
    }
    assert!(check(&schema::bundled(), "") > 40);
}

#[test]
fn templates_are_taken() {
    for template in templates::ALL {
        assert_eq!(schema_takes(template.yaml), Some(true), "{}", template.name);
    }
}

#[test]
fn the_schema_and_the_reader_are_of_one_mind_case_by_case() {
    let rule =
        |r: &str| format!("aegis-policy: 1\ncapabilities:\n  - {{id: a, verdict: allow, {r}}}\n");
    for (on, items) in [
        (
            "files.read",
            [
                "/",
                "/a",
                "/a/**",
                "$WORK",
                "$WORK/**/x*.c",
                "/**",
                "/a**",
                "/a/",
                "//a",
                "/./a",
                "/a/..",
                "/..a",
                "/.hidden",
                "$WORKS/a",
                "$TMP/a",
                "a",
                "~/a",
                "/a?",
                "\"/a{b}\"",
                "\"/a b/größer\"",
                "\"\"",
                "8080",
                "true",
                "[]",
                "[/a]",
                "[/a, b]",
                "[[/a]]",
                "{a: b}",
                "null",
                "/a/***",
                "/***",
            ]
            .as_slice(),
        ),
        (
            "shell.exec",
            &[
                "git",
                "python3*",
                "\"[\"",
                "g++",
                "/usr/bin/git",
                "a/b",
                "$HOME/bin/**",
                "7",
                "\"*\"",
                "$X/a",
                "\"a\\tb\"",
            ],
        ),
        (
            "net.listen",
            &[
                "80",
                "0",
                "65535",
                "65536",
                "\"80\"",
                "8000-8999",
                "080-090",
                "-1",
                "a",
                "1.5",
                "[80, 90-99]",
                "\"\"",
            ],
        ),
        ("net.host", &["host", "hosts", "[host]", "1"]),
        (
            "tool.exec",
            &[
                "report",
                "$HOME/skills/**",
                "sha256:abc",
                "\"re*\"",
                "rep/ort",
                "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            ],
        ),
        (
            "environment.pass",
            &["LANG", "\"LC_*\"", "\"a?\"", "[A, B]", "7"],
        ),
        ("[files.read, net.listen]", &["/a", "80"]),
        ("[shell.exec, files.write]", &["/a/**", "git"]),
        ("[devices, files.raed]", &["gpu"]),
        ("[]", &["gpu"]),
        ("7", &["gpu"]),
    ] {
        for item in items {
            assert_of_one_mind(&rule(&format!("on: {on}, match: {item}")));
        }
    }
    let common = "on: devices, match: gpu";
    for more in [
        "mode: warn",
        "mode: enforce",
        "mode: of",
        "otherwise: true",
        "otherwise: \"true\"",
        "otherwise: 1",
        "reason: words",
        "reason: \"\"",
        "reason: 7",
        "reason: [a]",
        "whatever: 1",
        "reason: null",
    ] {
        assert_of_one_mind(&rule(&format!("{common}, {more}")));
    }
    let egress = |r: &str| format!("aegis-policy: 1\nnetwork-egress:\n  - {{id: a, {r}}}\n");
    for host in [
        "a.org",
        "\"*.a.org\"",
        "\"*.org\"",
        "\"*\"",
        "\"*.*.org\"",
        "a.*",
        "A.org",
        "a.org.",
        "a..org",
        "-a.org",
        "localhost",
        "127.0.0.1",
        "127.1",
        "256.0.0.1",
        "0x7f.1",
        "a.1",
        "1.a",
        "\"*.1\"",
        "\"*.127.0.0.1\"",
        "a_b.org",
        "\"[::1]\"",
        "\"::1\"",
        "\"a:80\"",
        "https://a.org",
        "a.org/x",
        "\"\"",
        "1",
        "[]",
        "[a.org, 10.0.0.1]",
        "xn--bcher-kva.example",
    ] {
        for verdict in ["allow", "review"] {
            assert_of_one_mind(&egress(&format!("hosts: {host}, verdict: {verdict}")));
        }
    }
    for more in [
        "ports: 443",
        "ports: [443, 80]",
        "ports: 0",
        "ports: \"443\"",
        "ports: 65536",
        "ports: []",
        "methods: GET",
        "methods: get",
        "methods: [GET, M-SEARCH]",
        "methods: []",
        "paths: /v1/**",
        "paths: v1",
        "paths: /a//b",
        "paths: $WORK/a",
        "paths: /",
        "schemes: https",
        "schemes: [tcp, udp]",
        "schemes: ftp",
        "private-addresses: true",
        "private-addresses: yes",
        "budget: {}",
        "budget: {requests: 5/m}",
        "budget: {requests: 0/m}",
        "budget: {requests: 5/s}",
        "budget: {request-size: 1M, response-size: 5KiB}",
        "budget: {request-size: 1m}",
        "budget: {size: 1M}",
        "budget: 5/m",
    ] {
        assert_of_one_mind(&egress(&format!("hosts: a.org, verdict: allow, {more}")));
    }
    for missing in [
        "hosts: a.org",
        "verdict: allow",
        "hosts: a.org, verdict: block, on: devices",
    ] {
        assert_of_one_mind(&egress(missing));
    }
    for secret in [
        "alias: gh, to: a.org, inject: header",
        "alias: \"g*\", to: [a.org, \"*.b.org\"], inject: [header, query]",
        "alias: gh, to: a.org, inject: env",
        "alias: gh, to: \"*\", inject: header",
        "alias: gh, to: a.org",
        "alias: gh, inject: header",
        "to: a.org, inject: header",
        "alias: [gh], to: a.org, inject: header",
        "alias: \"\", to: a.org, inject: header",
        "alias: gh, to: [], inject: header",
        "alias: gh, to: a.org, inject: []",
        "alias: gh, to: a.org, inject: header, value: hunter2",
        "alias: \"g?\", to: a.org, inject: header",
    ] {
        assert_of_one_mind(&format!(
            "aegis-policy: 1\nsecrets-boundary:\n  - {{id: a, verdict: allow, {secret}}}\n"
        ));
    }
    for line in [
        "name: x",
        "name: \"\"",
        "name: 7",
        "name: [x]",
        "limits: {memory: 2G, time: 30m, pids: 512, cpu: 1.5}",
        "limits: {memory: 2}",
        "limits: {pids: 0}",
        "limits: {pids: \"5\"}",
        "limits: {cpus: 1}",
        "limits: {disk-read: 5M/s}",
        "limits: {}",
        "limits: []",
        "may-be-missing: [disk-read, disk-write]",
        "may-be-missing: [disk-raed]",
        "may-be-missing: []",
        "may-be-missing: disk-read",
        "limits: {must-hold: [memory, cpu], memory: 2G}",
        "limits: {must-hold: [memroy]}",
        "limits: {must-hold: []}",
        "limits: {must-hold: memory}",
        "audit-failure: stop",
        "audit-failure: continue",
        "audit-failure: go",
        "approval-passphrase: $scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$JbN2hANm9NOw4h5BRHZnbjzQ6Jr0QwNWojTOC2WgIbU",
        "approval-passphrase: $scrypt$ln=13,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$JbN2hANm9NOw4h5BRHZnbjzQ6Jr0QwNWojTOC2WgIbU",
        "approval-passphrase: correct horse",
        "approval-passphrase: [a]",
        "rego: [a.rego, b/c.rego]",
        "rego: [a.rgo]",
        "rego: [/a.rego]",
        "rego: [../a.rego]",
        "rego: [a//b.rego]",
        "rego: [a/./b.rego]",
        "rego: []",
        "rego: a.rego",
        "rego: [.rego]",
        "rego: [..rego]",
        "capabilities: []",
        "capabilities: {}",
        "capabilities: [a]",
        "network-egress: 7",
        "extends: [a]",
    ] {
        assert_of_one_mind(&format!("aegis-policy: 1\n{line}\n"));
    }
    for version in [
        "aegis-policy: 2",
        "aegis-policy: \"1\"",
        "aegis-policy: one",
        "name: x",
    ] {
        assert_of_one_mind(&format!("{version}\n"));
    }
    for id in [
        "a",
        "A",
        "a-b_c.d",
        "-a",
        "\"\"",
        "7a",
        "a b",
        "null",
        "limits.memory",
        "limits",
    ] {
        assert_of_one_mind(&format!(
            "aegis-policy: 1\ncapabilities:\n  - {{id: {id}, on: devices, match: gpu, verdict: allow}}\n"
        ));
    }
}

#[test]
fn what_is_generated_is_taken_about_as_often_as_refused() {
    let mut runner = TestRunner::deterministic();
    let made = (0..300).map(|_| written::policy().new_tree(&mut runner).unwrap().current());
    let taken = made
        .filter(|text| parse_str(text, "x.yaml").is_ok())
        .count();
    assert!((30..270).contains(&taken), "{taken} of 300");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Policies of likely and unlikely parts: schema and reader both accept one, or both refuse it.
    #[test]
    fn the_schema_and_the_reader_are_of_one_mind(text in written::policy()) {
        assert_of_one_mind(&text);
    }
}
