//! A committed file that a test keeps up to date.
#![expect(clippy::disallowed_methods, reason = "a test of files reads them")]

use std::path::Path;

/// Compares a committed file with what it should be; `AEGIS_BLESS=1` writes it instead.
pub fn assert_committed(relative: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(relative);
    if std::env::var_os("AEGIS_BLESS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == expected,
        "{relative} is out of date: run the tests with AEGIS_BLESS=1 to write it anew"
    );
}
