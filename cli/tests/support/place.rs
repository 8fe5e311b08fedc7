//! Where a test starts `aegis-run`, and where it records.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use super::{status, stderr};

/// `aegis-run` in a directory of its own, recording in another.
pub struct Place(pub tempfile::TempDir, tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let place = Self(dir, tempfile::tempdir().expect("a directory"));
        // On a new machine the first run makes its user's signing key, and reports that.
        static KEY: Once = Once::new();
        KEY.call_once(|| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_aegis-run"));
            command.current_dir(place.0.path()).stdin(Stdio::null());
            command.arg("--audit").arg(place.1.path().join("first"));
            let output = command.arg("true").output().expect("aegis-run starts");
            assert_eq!(status(&output), 0, "{}", stderr(&output));
        });
        place
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aegis-run"));
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command.arg("--audit").arg(self.log());
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command()
            .args(words)
            .output()
            .expect("aegis-run starts")
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("a file");
    }

    pub fn log(&self) -> std::path::PathBuf {
        self.1.path().join("audit")
    }

    /// Forgets what was signed last in the log.
    pub fn forget(&self) {
        let log = fs::canonicalize(self.1.path())
            .expect("a directory")
            .join("audit");
        let uid = rustix::process::geteuid().as_raw();
        let state = aegis_audit::places::State::of(uid, &|name| std::env::var_os(name));
        let name = aegis_policy::Hash::of(log.as_os_str().as_encoded_bytes());
        let file = state
            .expect("a state")
            .keys
            .join(format!("signed-{name}.json"));
        let _ = fs::remove_file(file);
    }

    /// The records in the log.
    pub fn records(&self) -> Vec<serde_json::Value> {
        aegis_tests::audit_log::records(&self.log())
    }

    pub fn report(&self, name: &str) -> serde_json::Value {
        let text = fs::read(self.0.path().join(name)).expect("a report");
        serde_json::from_slice(&text).expect("the report is JSON")
    }
}
