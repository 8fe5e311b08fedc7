//! A real terminal: a private tmux server whose keys and screen a test writes and reads.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Workspace;

/// How long a screen may take to show what is expected.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shell in a terminal, as a person has one.
pub const OUTER: &str = "PS1='outer> ' exec bash --norc --noprofile -i";

/// The polling interval; nothing relies on it.
const PACE: Duration = Duration::from_millis(20);

/// A terminal of 100 columns and 30 lines with one command in it.
pub struct Terminal<'a> {
    workspace: &'a Workspace,
    socket: tempfile::TempDir,
}

impl<'a> Terminal<'a> {
    /// Opens one, as the workspace's user in `$WORK`, that runs a shell command line. It stays open
    /// when the command ends.
    pub fn open(workspace: &'a Workspace, command: &str) -> Self {
        let socket = tempfile::Builder::new()
            .prefix("aegis-tmux-")
            .tempdir()
            .expect("a directory");
        workspace.own(socket.path());
        let terminal = Self { workspace, socket };
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            command,
        ]);
        terminal
    }

    fn socket(&self) -> &Path {
        self.socket.path()
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = self
            .workspace
            .command("tmux")
            .arg("-S")
            .arg(self.socket().join("socket"))
            .args(words)
            .output()
            .expect("tmux starts");
        assert!(
            output.status.success(),
            "tmux {words:?}: {}",
            crate::text(&output)
        );
        String::from_utf8_lossy(&output.stdout).into()
    }

    /// Types a line.
    pub fn line(&self, text: &str) {
        self.keys(text);
        self.key("Enter");
    }

    /// Types a text.
    pub fn keys(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Presses a key, by tmux's name for it: `C-c`.
    pub fn key(&self, name: &str) {
        self.tmux(&["send-keys", name]);
    }

    /// Changes the window's size.
    pub fn resize(&self, columns: u16, lines: u16) {
        self.tmux(&[
            "resize-window",
            "-x",
            &columns.to_string(),
            "-y",
            &lines.to_string(),
        ]);
    }

    /// Everything shown since the start, without trailing blanks.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J", "-S", "-"])
            .trim_end()
            .to_owned()
    }

    /// Waits until the screen passes a test; returns that screen.
    pub fn wait(&self, what: &str, passes: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if passes(&screen) {
                return screen;
            }
            assert!(
                Instant::now() < deadline,
                "no {what} after {PATIENCE:?} on the screen:\n{screen}"
            );
            std::thread::sleep(PACE);
        }
    }

    /// Waits until a program with one of these names owns the terminal, that is, gets the keys.
    /// A shell says that it continues a job before it hands the terminal over.
    pub fn foreground(&self, names: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.tmux(&["display-message", "-p", "#{pane_current_command}"]);
            let found = found.trim_end();
            if names.contains(&found) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "none of {names:?} gets the terminal, {found} has it:\n{}",
                self.screen()
            );
            std::thread::sleep(PACE);
        }
    }

    /// Waits until the last line is this prompt, with nothing typed yet.
    pub fn prompt(&self, prompt: &str, count: usize) -> String {
        self.wait(&format!("{prompt:?}, for the {count}th time"), |screen| {
            let prompts = screen
                .lines()
                .filter(|line| line.starts_with(prompt))
                .count();
            prompts == count && screen.lines().next_back() == Some(prompt)
        })
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // Ends everything that still runs in it; the server is already gone if a test ended it.
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.socket().join("socket"))
            .arg("kill-server")
            .output();
    }
}
