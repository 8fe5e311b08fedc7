//! What several tests need: the schema as a validator, and a committed file that a test keeps up to date.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod generate;

use std::path::Path;
use std::sync::LazyLock;

/// The schema, ready to validate.
pub static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    jsonschema::draft202012::new(&aegis_profile::schema::json()).expect("the schema is a schema")
});

/// Whether the schema accepts a text; `None` when it is no YAML that could be shown to a validator.
pub fn schema_accepts(text: &str) -> Option<bool> {
    let json = aegis_profile::yaml_to_json(text, "x.yaml").ok()?;
    Some(VALIDATOR.is_valid(&json))
}

/// Compares a committed file with what it should be; `AEGIS_BLESS=1` writes it instead.
pub fn assert_committed(relative: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(relative);
    if std::env::var_os("AEGIS_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file is in a directory")).unwrap();
        std::fs::write(&path, expected).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == expected,
        "{relative} is out of date: run the tests with AEGIS_BLESS=1 to write it anew"
    );
}
