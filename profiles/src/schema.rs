//! The JSON Schema of the format, for editors and validators, and the reference page written from it.
//!
//! Both come from the one list of keys, `shape`. A schema cannot say everything that the parser
//! checks: duplicate keys, anchors and characters that hide text are gone before a validator sees the file;
//! numbers that overflow and second spellings of IPv6 addresses are beyond a pattern.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::shape;

/// The address that editors know the schema by.
const ID: &str = "https://aegis.invalid/schemas/profile-1.json";

/// The JSON Schema (2020-12) of a profile.
pub fn json() -> Value {
    let mut schema = documented();
    each_object(&mut schema, &mut |object| {
        object.retain(|key, _| !key.starts_with("x-"))
    });
    if let Value::Object(root) = &mut schema {
        root.insert("$id".to_owned(), ID.into());
        root.insert("title".to_owned(), "Aegis profile".into());
    }
    schema
}

/// [`json`] as the text of a file.
pub fn json_text() -> String {
    let mut text = serde_json::to_string_pretty(&json()).unwrap_or_default();
    text.push('\n');
    text
}

/// The schema with the notes that the reference page is made of.
fn documented() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<shape::File>().to_value();
    tidy(&mut schema);
    schema
}

/// What schemars makes of a type, as Aegis's files are read: no `null`, and texts in one line.
pub fn tidy(schema: &mut Value) {
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

/// The reference page of the format: every key with its meaning, form, default and an example.
pub fn reference_markdown() -> String {
    let schema = documented();
    let mut page = String::from(include_str!("schema/preface.md"));
    page.push_str("\n## Top of the file\n");
    keys(&mut page, &schema["properties"], shape::File::KEYS, 3, "");
    for (name, definition, keys_of) in [
        ("capabilities", "Capabilities", shape::Capabilities::KEYS),
        ("environment", "Environment", shape::Environment::KEYS),
        ("limits", "Limits", shape::Limits::KEYS),
        ("syscalls", "Syscalls", shape::Syscalls::KEYS),
    ] {
        let section = &schema["$defs"][definition];
        let _ = write!(page, "\n## `{name}`\n\n{}\n", text(section, "description"));
        keys(&mut page, &section["properties"], keys_of, 3, name);
        if name == "capabilities" {
            let secret = &schema["$defs"]["SecretUse"];
            let _ = write!(
                page,
                "\n#### One secret\n\n{}\n",
                text(secret, "description")
            );
            keys(
                &mut page,
                &secret["properties"],
                shape::SecretUse::KEYS,
                5,
                "secret",
            );
        }
    }
    page.push_str("\n## Built-in profiles\n\n| name | what it is for | extends |\n|---|---|---|\n");
    for name in crate::builtin::names() {
        let file = format!("builtin:{name}");
        if let Some(Ok(profile)) = crate::builtin::text(name).map(|t| crate::parse_str(t, &file)) {
            let extends: Vec<_> = profile
                .extends
                .iter()
                .map(|e| format!("`{}`", e.value))
                .collect();
            let about = profile.description.unwrap_or_default();
            let _ = writeln!(page, "| `{name}` | {about} | {} |", extends.join(", "));
        }
    }
    page
}

fn keys(page: &mut String, properties: &Value, names: &[&str], depth: usize, section: &str) {
    for name in names {
        let key = &properties[*name];
        let _ = write!(
            page,
            "\n{} `{name}`\n\n{}\n",
            "#".repeat(depth),
            text(key, "description")
        );
        let default = text(key, "x-default");
        if default.is_empty() {
            let _ = write!(page, "\nSee [below](#{name}).\n");
            continue;
        }
        let _ = write!(
            page,
            "\n- form: {}\n- default: {default}\n",
            text(key, "x-form")
        );
        if let Some(example) = key["examples"].get(0) {
            let example = flow(example);
            let _ = match section {
                "" | "secret" => writeln!(page, "- example: `{name}: {example}`"),
                _ => writeln!(page, "- example: `{section}: {{{name}: {example}}}`"),
            };
        }
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// A value in YAML's flow form, as a person would write it.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains([':', '{', ' ', ',']) => format!("\"{text}\""),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(flow).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(k, v)| format!("{k}: {}", flow(v)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}
