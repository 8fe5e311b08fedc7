//! The JSON Schemas of the three contracts and of a whole policy, for editors and validators.
//!
//! They come from the declarations of the keys, which are also used for reading. A schema cannot say everything
//! that `load` checks:
//! ids that are given twice, ranges of ports that end before they begin, numbers that overflow, second spellings of
//! IPv6 addresses, Rego files that are missing.

use aegis_profile::schema::object;
use serde_json::{Value, json};

use crate::load::SECTIONS;
use crate::model::keys::Keyed;
use crate::model::{Budget, CapabilityRule, EgressRule, Rule, SecretRule};

/// The address that editors know the schemas by, with a schema's file name after it.
const BASE: &str = "https://aegis.invalid/schemas/";

/// Every schema: its name, and the schema.
pub fn all() -> [(&'static str, Value); 4] {
    [
        contract::<CapabilityRule>("Aegis policy: capabilities", json!({})),
        contract::<EgressRule>(
            "Aegis policy: network egress",
            json!({"Budget": Budget::schema()}),
        ),
        contract::<SecretRule>("Aegis policy: secrets boundary", json!({})),
        ("policy", policy()),
    ]
}

/// The schema of a whole policy that contains those of the contracts: one self-contained document.
pub fn bundled() -> Value {
    let [capabilities, egress, secrets, (_, mut policy)] = all();
    for (name, schema) in [capabilities, egress, secrets] {
        policy["$defs"][name] = schema;
    }
    policy
}

/// A schema as the text of a file.
pub fn text(schema: &Value) -> String {
    let mut text = serde_json::to_string_pretty(schema).unwrap_or_default();
    text.push('\n');
    text
}

fn policy() -> Value {
    let mut limits = aegis_profile::schema::json()["$defs"]["Limits"].take();
    limits["description"] =
        "Ceilings for every profile: what asks for more gets as much as this; and limits that must hold as they say.".into();
    let keys = SECTIONS.iter().enumerate();
    let schema = object(
        "An Aegis policy: what may be granted, whatever a profile asks for. What no rule covers is blocked.",
        keys.map(|(at, key)| (key.name, key.about, at == 0, (key.schema)())),
        json!({"$defs": {"Limits": limits}}),
    );
    titled(schema, "policy", "Aegis policy")
}

/// A contract: a list of rules.
fn contract<R: Rule>(title: &str, mut inside: Value) -> (&'static str, Value) {
    let rule = R::schema();
    let schema = json!({
        "description": rule["description"],
        "type": "array",
        "items": {"$ref": "#/$defs/Rule"},
    });
    inside["Rule"] = rule;
    let mut schema = titled(schema, R::CONTRACT, title);
    schema["$defs"] = inside;
    (R::CONTRACT, schema)
}

fn titled(mut schema: Value, name: &str, title: &str) -> Value {
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["$id"] = format!("{BASE}{name}.schema.json").into();
    schema["title"] = title.into();
    schema
}
