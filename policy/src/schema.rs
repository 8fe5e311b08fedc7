//! The JSON Schemas of the three contracts and of a whole policy, for editors and validators.
//!
//! They come from the one list of keys, `shape`. A schema cannot say everything that `load` checks: ids
//! that are given twice, ranges of ports that end before they begin, numbers that overflow, second spellings
//! of IPv6 addresses, Rego files that are missing.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::shape;

/// The address that editors know the schemas by, with a schema's file name after it.
const BASE: &str = "https://aegis.invalid/schemas/";

/// Every schema: its name, and the schema.
pub fn all() -> [(&'static str, Value); 4] {
    [
        (
            "capabilities",
            contract::<shape::CapabilityRule>("capabilities", "Aegis policy: capabilities"),
        ),
        (
            "network-egress",
            contract::<shape::EgressRule>("network-egress", "Aegis policy: network egress"),
        ),
        (
            "secrets-boundary",
            contract::<shape::SecretRule>("secrets-boundary", "Aegis policy: secrets boundary"),
        ),
        ("policy", titled::<shape::File>("policy", "Aegis policy")),
    ]
}

/// The schema of a whole policy with those of the contracts in it: one document that needs no other.
pub fn bundled() -> Value {
    let [capabilities, egress, secrets, (_, mut policy)] = all();
    if let Some(Value::Object(inside)) = policy.get_mut("$defs") {
        for (name, schema) in [capabilities, egress, secrets] {
            inside.insert(name.to_owned(), schema);
        }
    }
    policy
}

/// A schema as the text of a file.
pub fn text(schema: &Value) -> String {
    let mut text = serde_json::to_string_pretty(schema).unwrap_or_default();
    text.push('\n');
    text
}

/// A contract: a list of rules.
fn contract<R: JsonSchema>(name: &str, title: &str) -> Value {
    let mut rule = titled::<R>(name, title);
    let mut take = |key: &str| rule.as_object_mut().and_then(|rule| rule.remove(key));
    let (dialect, id, title) = (take("$schema"), take("$id"), take("title"));
    let mut inside = match take("$defs") {
        Some(Value::Object(inside)) => inside,
        _ => Map::new(),
    };
    let about = rule["description"].clone();
    inside.insert("Rule".into(), rule);
    json!({
        "$schema": dialect,
        "$id": id,
        "title": title,
        "description": about,
        "type": "array",
        "items": {"$ref": "#/$defs/Rule"},
        "$defs": inside,
    })
}

fn titled<T: JsonSchema>(name: &str, title: &str) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    if let Value::Object(root) = &mut schema {
        root.insert("$id".into(), format!("{BASE}{name}.schema.json").into());
        root.insert("title".into(), title.into());
    }
    schema
}

/// What schemars makes of a type, as Aegis's files are read: no `null`, and texts in one line.
fn tidy(schema: &mut Value) {
    each_object(schema, &mut |object| {
        refuse_null(object);
        if let Some(Value::String(text)) = object.get_mut("description") {
            *text = unwrap_lines(text);
        }
    });
}

/// An absent key is absent: `null` is no way to say it. For `Option`, schemars thinks otherwise.
fn refuse_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|t| t != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

/// Doc comments are broken into lines for the reader of the source; a page breaks its own.
fn unwrap_lines(text: &str) -> String {
    text.split("\n\n")
        .map(|p| p.replace('\n', " "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object
                .values_mut()
                .for_each(|value| each_object(value, change));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|value| each_object(value, change)),
        _ => {}
    }
}
