//! The result of `aegis-run`: its status, its messages, and the report it wrote.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::{Workspace, program, text};

/// One run with a report.
#[derive(Debug)]
pub struct Ran {
    /// Status, standard output, standard error.
    pub output: Output,
    /// The report; null where there is none.
    pub report: Value,
}

impl Ran {
    /// Runs a command under a profile, with a report.
    pub fn new(workspace: &Workspace, profile: &Path, words: &[&str]) -> Self {
        let report = workspace.outside().join("report.json");
        let _ = std::fs::remove_file(&report);
        let output = workspace
            .command(program("aegis-run"))
            .arg("--profile")
            .arg(profile)
            .arg("--report")
            .arg(&report)
            .arg("--")
            .args(words)
            .output()
            .expect("aegis-run starts");
        let report = match std::fs::read(&report) {
            Ok(bytes) => serde_json::from_slice(&bytes).expect("the report is JSON"),
            Err(_) => Value::Null,
        };
        Self { output, report }
    }

    /// Asserts the exit status.
    #[track_caller]
    pub fn exits(&self, status: i32) -> &Self {
        assert_eq!(self.output.status.code(), Some(status), "{}", self.told());
        if !self.report.is_null() {
            assert_eq!(self.report["exit_status"], status, "{}", self.told());
        }
        self
    }

    /// Asserts the report's `cause`.
    #[track_caller]
    pub fn because(&self, cause: &str) -> &Self {
        assert_eq!(self.report["cause"], cause, "{}", self.told());
        self
    }

    /// Asserts that the last line of standard error has all of these.
    #[track_caller]
    pub fn last_says(&self, parts: &[&str]) -> &Self {
        let stderr = String::from_utf8_lossy(&self.output.stderr);
        let last = stderr.lines().last().unwrap_or_default();
        for part in parts {
            assert!(last.contains(part), "no {part:?} in {}", self.told());
        }
        self
    }

    /// Asserts that a limit ended the run, and that the last line says so and where the limit is set.
    #[track_caller]
    pub fn ended_by(&self, status: i32, key: &str) {
        self.exits(status).because(&format!("{key}-limit"));
        self.last_says(&["ended by the", key, ".yaml:", &format!("limits.{key})")]);
        assert_eq!(self.limits_met(), [key], "{}", self.told());
    }

    /// Asserts that the command failed by itself after it met a limit, and that the last line says so and
    /// where the limit is set.
    #[track_caller]
    pub fn held_back_by(&self, status: i32, key: &str) {
        self.exits(status).because("exited");
        self.last_says(&[
            "held back",
            "by the",
            key,
            ".yaml:",
            &format!("limits.{key})"),
        ]);
        assert_eq!(self.limits_met(), [key], "{}", self.told());
    }

    /// The report's `limits_met` and `limits_guessed`.
    pub fn limits_met(&self) -> Vec<&str> {
        let list = |field: &str| self.report[field].as_array().expect("a list").iter();
        let all = list("limits_met").chain(list("limits_guessed"));
        all.filter_map(|key| key.as_str()).collect()
    }

    /// Whether the report lists something that begins like this as degraded.
    pub fn degraded(&self, what: &str) -> bool {
        let list = self.report["degraded"].as_array().expect("a list");
        let mut texts = list.iter().filter_map(|entry| entry["what"].as_str());
        texts.any(|text| text.starts_with(what))
    }

    /// Standard output without white space around it.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).trim().into()
    }

    /// Text for messages of failed assertions.
    pub fn told(&self) -> String {
        format!("{}\n{}", text(&self.output), self.report)
    }
}

/// Runs `command`, which must be refused with this status, must print only the reason, and must not
/// execute the `touch started` that it asks for. Returns the output.
#[track_caller]
pub fn refused(workspace: &Workspace, command: &mut Command, status: i32) -> String {
    let output = command.output().expect("aegis-run starts");
    let told = text(&output);
    assert_eq!(output.status.signal(), None, "{command:?}: {told}");
    assert_eq!(output.status.code(), Some(status), "{command:?}: {told}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.starts_with("aegis-run: error: "),
        "{command:?}: {told}"
    );
    assert!(!stderr.contains("panicked"), "{command:?}: {told}");
    assert!(output.stdout.is_empty(), "{command:?}: {told}");
    assert!(
        !workspace.work().join("started").exists(),
        "{command:?} started its command: {told}"
    );
    stderr.into()
}
