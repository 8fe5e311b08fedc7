//! What several tests need: the schema as a validator.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod generate;

use std::sync::LazyLock;

/// The schema, ready to validate.
pub static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    jsonschema::draft202012::new(&aegis_profile::schema::json()).expect("the schema is a schema")
});

/// Whether the schema accepts a text; `None`: not YAML that a validator can be given.
pub fn schema_accepts(text: &str) -> Option<bool> {
    let json = aegis_profile::yaml_to_json(text, "x.yaml").ok()?;
    Some(VALIDATOR.is_valid(&json))
}
