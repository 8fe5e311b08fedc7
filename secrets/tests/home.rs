//! A person with a home, and what they do with their secrets.

use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use aegis_secrets::protocol::{Answer, LONGEST, Question, decode};
use aegis_sys::socket;

/// A user whom nothing on this host belongs to.
pub const USER: u32 = 20_000;

/// Nobody waits longer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// A home directory, and the program where everybody may execute it.
pub struct Home {
    directory: tempfile::TempDir,
    uid: u32,
}

impl Home {
    /// Of a user, without any file of Aegis's.
    pub fn of(uid: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        mode(directory.path(), 0o755);
        // By another process: a child of another test would inherit what is open for writing, and then it is not executed.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_aegis-secrets"))
            .arg(directory.path().join("aegis-secrets"))
            .status();
        assert!(copied.expect("cp starts").success());
        let home = Self { directory, uid };
        fs::create_dir(home.path("home")).expect("a directory");
        home.own("home");
        home
    }

    /// One whose store has a key.
    pub fn ready(uid: u32) -> Self {
        let home = Self::of(uid);
        home.does(&["init"]);
        home
    }

    /// A path beside the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The file of a secret.
    pub fn secret(&self, alias: &str) -> PathBuf {
        self.path(&format!("home/.local/share/aegis/secrets/{alias}.age"))
    }

    pub fn key(&self) -> PathBuf {
        self.path("home/.config/aegis/secrets.key")
    }

    pub fn own(&self, name: &str) {
        let id = Some(self.uid);
        std::os::unix::fs::chown(self.path(name), id, id).expect("root");
    }

    /// Writes a file that nobody else may read.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("directories");
        fs::write(&path, text).expect("written");
        mode(&path, 0o600);
        self.own(name);
        path
    }

    /// Writes `secrets.yaml`.
    pub fn sources(&self, text: &str) {
        self.write("home/.config/aegis/secrets.yaml", text);
    }

    /// A program of this user's.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .uid(self.uid)
            .gid(self.uid);
        command
    }

    pub fn program(&self, words: &[&str]) -> Command {
        let mut command = self.command(self.path("aegis-secrets"));
        command.args(words);
        command
    }

    /// What the program answers.
    pub fn try_does(&self, words: &[&str]) -> Result<serde_json::Value, String> {
        let output = self.program(words).output().expect("it starts");
        answer(&output)
    }

    #[track_caller]
    pub fn does(&self, words: &[&str]) -> serde_json::Value {
        self.try_does(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Stores a secret.
    pub fn try_set(&self, alias: &str, value: &[u8]) -> Result<serde_json::Value, String> {
        let mut command = self.program(&["set", alias]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // Where it does not read, it says why.
        let _ = child.stdin.take().expect("piped").write_all(value);
        answer(&child.wait_with_output().expect("it ends"))
    }

    #[track_caller]
    pub fn set(&self, alias: &str, value: &str) {
        self.try_set(alias, value.as_bytes()).expect("stored");
    }

    /// Why a secret cannot be had, by `check`.
    #[track_caller]
    pub fn why(&self, alias: &str) -> String {
        let output = self.program(&["check", alias]).output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let checked: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let why = checked[0]["why"].as_str().expect("it says why").to_owned();
        let source = checked[0]["source"].as_str().expect("it says whence");
        assert!(!source.is_empty());
        why
    }

    /// Starts a provider.
    pub fn provider(&self) -> Provider {
        self.provider_with(|command| command)
    }

    pub fn provider_with(&self, with: impl Fn(&mut Command) -> &mut Command) -> Provider {
        let (ours, theirs) = socket::pair().expect("a pair");
        let mut command = self.program(&[]);
        command.stdin(theirs).stderr(Stdio::piped());
        let child = with(&mut command).spawn().expect("it starts");
        for what in [
            rustix::net::sockopt::Timeout::Recv,
            rustix::net::sockopt::Timeout::Send,
        ] {
            rustix::net::sockopt::set_socket_timeout(&ours, what, Some(PATIENCE)).expect("set");
        }
        Provider {
            socket: Some(ours),
            child,
        }
    }
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn answer(output: &Output) -> Result<serde_json::Value, String> {
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice(&output.stdout).expect("JSON")),
        _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A provider, and the broker's end of its socket.
pub struct Provider {
    socket: Option<OwnedFd>,
    pub child: Child,
}

/// A value, with its version; or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Value(String, String),
    Unchanged(String),
    Failed {
        alias: String,
        source: String,
        why: String,
    },
}

impl Provider {
    pub fn send(&self, message: &[u8]) {
        let socket = self.socket.as_ref().expect("open");
        socket::send(socket.as_fd(), message, &[]).expect("sent");
    }

    pub fn ask(&self, alias: &str, known: Option<&str>) {
        let (alias, known) = (alias.to_owned(), known.map(str::to_owned));
        self.send(&Question::Get { alias, known }.encode());
    }

    /// The next answer. `None`: it has ended.
    pub fn answer(&self) -> Option<(Answer, Vec<u8>)> {
        let mut buffer = vec![0; LONGEST];
        let socket = self.socket.as_ref().expect("open");
        let (length, _) = socket::receive(socket.as_fd(), &mut buffer).expect("in time");
        (length > 0).then(|| {
            let (answer, value) = decode(&buffer[..length]).expect("an answer");
            (answer, value.to_vec())
        })
    }

    #[track_caller]
    pub fn told(&self) -> Told {
        match self.answer().expect("it goes on") {
            (Answer::Value { version, .. }, value) => {
                Told::Value(String::from_utf8(value).expect("text"), version)
            }
            (Answer::Unchanged { alias, .. }, _) => Told::Unchanged(alias),
            (Answer::Failed { alias, source, why }, _) => Told::Failed { alias, source, why },
        }
    }

    #[track_caller]
    pub fn get(&self, alias: &str, known: Option<&str>) -> Told {
        self.ask(alias, known);
        self.told()
    }

    /// A value and its version.
    #[track_caller]
    pub fn value(&self, alias: &str, known: Option<&str>) -> (String, String) {
        match self.get(alias, known) {
            Told::Value(value, version) => (value, version),
            other => panic!("{other:?}"),
        }
    }

    /// Where it was looked for, and why it cannot be had.
    #[track_caller]
    pub fn failure(&self, alias: &str) -> (String, String) {
        match self.get(alias, None) {
            Told::Failed {
                alias: of,
                source,
                why,
            } => {
                assert_eq!(of, alias);
                (source, why)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Closes the socket, and waits for the end. Returns what it said on standard error.
    pub fn close(mut self) -> String {
        self.socket = None;
        let mut said = String::new();
        let errors = self.child.stderr.take();
        if let Some(mut errors) = errors {
            std::io::Read::read_to_string(&mut errors, &mut said).expect("text");
        }
        assert!(self.child.wait().expect("it ends").success(), "{said}");
        said
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.socket = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
