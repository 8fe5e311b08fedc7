//! Committed files that a test keeps up to date.

use std::path::Path;

/// Compares a committed file with what it should be; `AEGIS_BLESS=1` writes it instead.
///
/// # Panics
///
/// It is out of date.
#[track_caller]
pub fn assert_committed(path: impl AsRef<Path>, expected: &str) {
    let path = path.as_ref();
    if std::env::var_os("AEGIS_BLESS").is_some() {
        std::fs::write(path, expected).expect("a committed file can be written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == expected,
        "{} is out of date: run the tests with AEGIS_BLESS=1 to write it anew",
        path.display()
    );
}
