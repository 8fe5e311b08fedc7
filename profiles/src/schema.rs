//! The JSON Schema of the format, for editors and validators, and the reference page written from it.
//!
//! Both come from the one table of keys, `format`. A schema cannot say everything that the parser
//! checks: duplicate keys, anchors and characters that hide text are gone before a validator sees the file;
//! numbers that overflow and second spellings of IPv6 addresses are beyond a pattern.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::form::{Key, Keyed, Section};
use crate::format::Profile;
use crate::yaml::yaml_to_json;

/// The address that editors know the schema by.
const ID: &str = "https://aegis.invalid/schemas/profile-1.json";

/// The JSON Schema (2020-12) of a profile.
pub fn json() -> Value {
    let mut definitions = Map::new();
    let mut schema = of_section(Profile::SECTION, &mut definitions);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["$id"] = ID.into();
    schema["title"] = "Aegis profile".into();
    schema["$defs"] = definitions.into();
    // What one key of a secret needs of the others, the schema of a single key cannot say.
    let secret = &mut schema["$defs"]["SecretUse"];
    secret["anyOf"] =
        json!([{"required": ["header"]}, {"required": ["query"]}, {"required": ["env"]}]);
    secret["dependentRequired"] = json!({"like": ["env"]});
    schema
}

/// The schema of a section; those of the sections below become definitions.
fn of_section(section: &Section, definitions: &mut Map<String, Value>) -> Value {
    let keys = section.keys.iter().map(|key| {
        let mut schema = (key.schema)();
        if let Some(example) = example(key) {
            schema["examples"] = json!([example]);
        }
        if let Some(below) = (key.section)() {
            let schema = of_section(below, definitions);
            definitions.insert(below.name.to_owned(), schema);
        }
        (key.name, key.about, key.default == REQUIRED, schema)
    });
    object(section.about, keys, json!({}))
}

/// The schema of a map: its description; for each key the name, the description, whether it is required, and
/// the schema of its value; and what else the schema has.
pub fn object(
    about: &str,
    keys: impl Iterator<Item = (&'static str, &'static str, bool, Value)>,
    mut schema: Value,
) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, about, needed, mut value) in keys {
        value["description"] = about.trim().into();
        properties.insert(name.into(), value);
        required.extend(needed.then_some(name));
    }
    schema["type"] = "object".into();
    schema["description"] = about.trim().into();
    schema["additionalProperties"] = false.into();
    schema["properties"] = properties.into();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// Stands in place of the default of a required key.
const REQUIRED: &str = "required";

fn example(key: &Key) -> Option<Value> {
    yaml_to_json(key.example, "example").ok()
}

/// [`json()`] as the text of a file.
pub fn json_text() -> String {
    let mut text = serde_json::to_string_pretty(&json()).unwrap_or_default();
    text.push('\n');
    text
}

/// The reference page of the format: every key with its meaning, form, default and an example.
pub fn reference_markdown() -> String {
    let mut page = String::from(include_str!("schema/preface.md"));
    page.push_str("\n## Top of the file\n");
    keys(&mut page, Profile::SECTION, 3, "");
    for key in Profile::SECTION.keys {
        let Some(section) = (key.section)() else {
            continue;
        };
        let about = section.about.trim();
        let _ = write!(page, "\n## `{}`\n\n{about}\n", key.name);
        keys(&mut page, section, 3, key.name);
        for secret in section.keys.iter().filter_map(|key| (key.section)()) {
            let about = secret.about.trim();
            let _ = write!(page, "\n#### One secret\n\n{about}\n");
            keys(&mut page, secret, 5, "");
        }
    }
    page.push_str("\n## Built-in profiles\n\n| name | what it is for | extends |\n|---|---|---|\n");
    for name in crate::builtin::names() {
        let file = format!("builtin:{name}");
        if let Some(Ok(profile)) =
            crate::builtin::text(name).map(|t| crate::parse::parse_str(t, &file))
        {
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

/// `below`: the section that the keys stand in, for an example in one line.
fn keys(page: &mut String, section: &Section, depth: usize, below: &str) {
    for Key {
        name,
        about,
        form,
        default,
        example,
        ..
    } in section.keys
    {
        let (level, about) = ("#".repeat(depth), about.trim());
        let _ = write!(page, "\n{level} `{name}`\n\n{about}\n");
        if form.is_empty() {
            let _ = write!(page, "\nSee [below](#{name}).\n");
            continue;
        }
        let _ = write!(page, "\n- form: {form}\n- default: {default}\n");
        let _ = match (*example, below) {
            ("", _) => Ok(()),
            (example, "") => writeln!(page, "- example: `{name}: {example}`"),
            (example, below) => writeln!(page, "- example: `{below}: {{{name}: {example}}}`"),
        };
    }
}
