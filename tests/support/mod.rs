//! Shared by the tests of whole programs: the built programs, the two users, a workspace.
//!
//! Tests run as root, since they start the same thing as root and as an ordinary user. Without root
//! they fail; they are not skipped.

pub mod audit_log;
pub mod authority;
mod committed;
pub mod host;
pub mod outcome;
pub mod packages;
mod stage;
pub mod terminal;
pub mod workload;

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

pub use committed::assert_committed;
pub use stage::{attacks_directory, program};

/// The ids of the ordinary user; nothing on the host belongs to them.
pub const ORDINARY: u32 = 20_000;

/// A policy that permits whatever a profile declares: only the effect of the profile is tested.
pub const EVERYTHING: &str = include_str!("../policies/everything.yaml");

/// Who starts `aegis-run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// uid 0.
    Root,
    /// [`ORDINARY`], without supplementary groups and capabilities.
    Ordinary,
}

/// Both, for tests that hold for either.
pub const USERS: [User; 2] = [User::Root, User::Ordinary];

/// A directory of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A fresh directory that belongs to `user`, with a home beside it.
pub struct Workspace {
    dir: tempfile::TempDir,
    /// Separate, so that a test may fill or lose the other's file system.
    state: tempfile::TempDir,
    /// Its owner.
    pub user: User,
}

impl Workspace {
    /// Makes one.
    pub fn new(user: User) -> Self {
        Self::below(user, &std::env::temp_dir())
    }

    /// Makes one in a directory that everybody may search; records are stored elsewhere.
    pub fn below(user: User, directory: &Path) -> Self {
        Self::with_records(user, directory, &std::env::temp_dir())
    }

    /// The same, with the records in another directory.
    pub fn with_records(user: User, directory: &Path, records: &Path) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("aegis-ws-")
            .tempdir_in(directory)
            .expect("a temporary directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("chmod");
        let state = tempfile::Builder::new()
            .prefix("aegis-state-")
            .tempdir_in(records)
            .expect("a temporary directory");
        let workspace = Self { dir, state, user };
        workspace.own(workspace.state.path());
        for sub in ["work", "home"] {
            std::fs::create_dir(workspace.dir.path().join(sub)).expect("mkdir");
            workspace.own(&workspace.dir.path().join(sub));
        }
        workspace.key();
        workspace.policy(EVERYTHING);
        workspace
    }

    /// Provides the signing key for records: a run that makes one reports it on standard error.
    fn key(&self) {
        // The first of the test vectors of RFC 8032.
        const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n";
        const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\n";
        static OF_ROOT: Once = Once::new();
        match self.user {
            User::Ordinary => {
                let keys = self.state.path().join("aegis/keys");
                std::fs::create_dir_all(&keys).expect("mkdir");
                let (secret, public) = (keys.join("audit.key"), keys.join("audit.pub"));
                std::fs::write(&secret, SECRET).expect("write");
                std::fs::write(&public, PUBLIC).expect("write");
                for (path, mode) in [
                    (&self.state.path().join("aegis"), 0o700),
                    (&keys, 0o700),
                    (&secret, 0o600),
                    (&public, 0o600),
                ] {
                    let mode = std::fs::Permissions::from_mode(mode);
                    std::fs::set_permissions(path, mode).expect("chmod");
                    self.own(path);
                }
            }
            // Root's key is the machine's, and is made once.
            User::Root => OF_ROOT.call_once(|| {
                let mut command = self.command(program("aegis-run"));
                command.args(["--policy", "standard", "--audit"]);
                command.arg(self.state.path().join("first"));
                let made = command.arg("true").output();
                made.unwrap_or_else(|error| panic!("{command:?}: {error}"));
            }),
        }
    }

    /// Gives a path to the workspace's user.
    pub fn own(&self, path: &Path) {
        if self.user == User::Ordinary {
            chown(path, Some(ORDINARY), Some(ORDINARY)).expect("chown");
        }
    }

    /// `$WORK`.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// `$HOME`.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A directory outside of everything that a profile names with `$WORK` or `$HOME`, but owned by the user.
    pub fn outside(&self) -> PathBuf {
        let outside = self.dir.path().join("outside");
        if !outside.exists() {
            std::fs::create_dir(&outside).expect("mkdir");
            self.own(&outside);
        }
        outside
    }

    /// Where the user's records, keys and approvals are; root's are in `/var`.
    pub fn state(&self) -> PathBuf {
        self.state.path().to_path_buf()
    }

    /// Writes the user's policy.
    pub fn policy(&self, text: &str) -> PathBuf {
        self.write("config/aegis/policy.yaml", text)
    }

    /// Writes a file owned by the user, given its path relative to the workspace (`work/a.txt`).
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(path);
        if let Some(parent) = path.parent()
            && !parent.exists()
        {
            std::fs::create_dir_all(parent).expect("mkdir");
            let mut dir = parent;
            while dir != self.dir.path() {
                self.own(dir);
                dir = dir.parent().expect("below the workspace");
            }
        }
        std::fs::write(&path, contents).expect("write");
        self.own(&path);
        path
    }

    /// Writes `profile.yaml` beside `work`; returns its path.
    pub fn profile(&self, text: &str) -> PathBuf {
        self.write("profile.yaml", text)
    }

    /// A command as the workspace's user, in `$WORK`, with a small environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.work())
            .env_clear()
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.dir.path().join("config"))
            .env("XDG_STATE_HOME", self.state())
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LANG", "C.UTF-8");
        if self.user == User::Ordinary {
            // Also drops the supplementary groups, as the standard library does for root.
            command.uid(ORDINARY).gid(ORDINARY);
        }
        command
    }

    /// `aegis-run --profile PROFILE -- COMMAND...`.
    pub fn aegis(&self, profile: &Path, words: &[&str]) -> Command {
        let mut command = self.command(program("aegis-run"));
        command.arg("--profile").arg(profile).arg("--").args(words);
        command
    }

    /// Runs [`Workspace::aegis`] under a profile given as text.
    pub fn run(&self, profile: &str, words: &[&str]) -> Output {
        let profile = self.profile(profile);
        self.aegis(&profile, words)
            .output()
            .expect("aegis-run starts")
    }
}

/// Standard output and error of a run, as text, for messages of failed assertions.
pub fn text(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
