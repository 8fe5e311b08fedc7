//! Shared by several tests: the programs and their output.

pub mod place;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// `aegis WORDS...` in a directory, with nothing to read.
pub fn aegis(directory: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_aegis"))
        .args(words)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("aegis starts")
}

/// The exit status, as a shell's `$?` has it.
pub fn status(output: &Output) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let signal = output.status.signal().map(|signal| 128 + signal);
    output.status.code().or(signal).expect("an end")
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// Standard output, parsed as JSON.
pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}
