//! The schema: committed, true to the parser, and the source of the reference page.

use crate::support;

use aegis_profile::schema;
use aegis_tests::assert_committed;

#[test]
fn the_committed_schema_is_up_to_date() {
    assert_committed("schema/profile.schema.json", &schema::json_text());
}

#[test]
fn the_committed_reference_page_is_up_to_date() {
    assert_committed("../docs/profile.md", &schema::reference_markdown());
}

#[test]
fn every_property_has_a_description() {
    fn check(value: &serde_json::Value, path: &str) {
        if let Some(properties) = value.get("properties").and_then(|p| p.as_object()) {
            for (name, property) in properties {
                let text = property["description"].as_str().unwrap_or("");
                assert!(text.len() > 10, "{path}.{name} has no description");
            }
        }
        if let Some(object) = value.as_object() {
            object
                .iter()
                .for_each(|(name, value)| check(value, &format!("{path}.{name}")));
        }
    }
    check(&schema::json(), "");
}

#[test]
fn every_example_of_the_schema_is_a_valid_profile_line() {
    let schema = schema::json();
    let mut tried = 0;
    for (section, definition) in [
        ("capabilities", "Capabilities"),
        ("environment", "Environment"),
        ("limits", "Limits"),
        ("syscalls", "Syscalls"),
    ] {
        for (key, property) in schema["$defs"][definition]["properties"]
            .as_object()
            .unwrap()
        {
            for example in property["examples"].as_array().into_iter().flatten() {
                // JSON is YAML.
                let text = format!("aegis: 1\n{section}: {{{key}: {example}}}\n");
                if let Err(error) = aegis_profile::parse_str(&text, "example.yaml") {
                    panic!("{text}{error}");
                }
                assert_eq!(support::schema_accepts(&text), Some(true), "{text}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 20, "only {tried} examples");
}

#[test]
fn the_reference_page_names_every_key() {
    let page = schema::reference_markdown();
    for key in [
        "aegis",
        "extends",
        "files.read",
        "secrets.use",
        "header",
        "pass",
        "disk-write",
        "deny",
    ] {
        assert!(page.contains(&format!("# `{key}`\n")), "{key} is missing");
    }
    for name in aegis_profile::builtin::names() {
        assert!(page.contains(&format!("| `{name}` |")), "{name} is missing");
    }
}
