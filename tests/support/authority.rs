//! How much a profile lets a command do: files within reach, programs, system calls.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Workspace, program, text};

/// What a compiled plan grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Files that may be read or written.
    pub files: usize,
    /// Files that may be executed.
    pub programs: usize,
    /// System calls that may be made.
    pub calls: usize,
}

impl Authority {
    /// Of a profile, given by the options of `aegis-run`.
    pub fn of(workspace: &Workspace, options: &[&str], words: &[String]) -> Self {
        let output = (workspace.command(program("aegis-run")))
            .arg("--explain=json")
            .args(options)
            .arg("--")
            .args(words)
            .output()
            .expect("aegis-run starts");
        let plan: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
        let plan = &plan["plan"];
        let (mut files, mut programs) = (BTreeSet::new(), BTreeSet::new());
        for grant in plan["grants"].as_array().expect("a list") {
            let what = &grant["what"];
            let (Some(action), Some(path)) = (what["action"].as_str(), what["path"].as_str())
            else {
                continue;
            };
            let path = PathBuf::from(path);
            match action {
                "files.read" | "files.write" => files.insert(path),
                "shell.exec" => programs.insert(path),
                _ => false,
            };
        }
        let executable = |path: &Path| {
            path.metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let calls = plan["seccomp"]["rules"].as_object().expect("an object");
        Self {
            files: below(&files, |_| true),
            programs: below(&programs, executable),
            calls: calls.len(),
        }
    }

    /// Whether none of it is more than one and a half times that of another. Three more are no matter.
    pub fn is_close_to(self, other: Self) -> bool {
        let close = |own: usize, other: usize| own * 2 <= other * 3 || own <= other + 3;
        close(self.files, other.files)
            && close(self.programs, other.programs)
            && close(self.calls, other.calls)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            files,
            programs,
            calls,
        } = self;
        write!(f, "{files} files, {programs} programs, {calls} calls")
    }
}

/// How many of what lies at or below some paths is counted; each once.
fn below(tops: &BTreeSet<PathBuf>, counted: impl Fn(&Path) -> bool) -> usize {
    let mut number = 0;
    // In order: what is above comes before what is below.
    let mut last: Option<&Path> = None;
    for top in tops {
        if last.is_some_and(|last| top.starts_with(last)) {
            continue;
        }
        last = Some(top);
        let mut ahead = vec![(top.clone(), top.is_dir())];
        while let Some((path, is_directory)) = ahead.pop() {
            if !is_directory {
                number += usize::from(counted(&path));
                continue;
            }
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            ahead.extend(entries.map(|entry| {
                let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
                (entry.path(), is_directory)
            }));
        }
    }
    number
}
