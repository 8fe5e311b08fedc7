//! The structure of the workspace, read from the code and compared with the documents.

mod documents;
mod modules;
mod source;
mod unsafe_code;

use std::path::PathBuf;

/// A file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    aegis_tests::repository(path)
}

/// The text of a file of the repository.
#[track_caller]
fn read(path: &str) -> String {
    let file = repository(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
