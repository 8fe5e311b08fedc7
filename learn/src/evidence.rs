//! What was seen, for a line of a profile: why it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aegis_observation::Text;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Did {
    /// It was executed.
    Executed,
    /// It interpreted a script.
    Interpreted,
    /// It is a library, of which code is mapped.
    Mapped,
    /// It was opened to be read.
    Read,
    /// It was opened to be written.
    Wrote,
    /// It was made, renamed or removed.
    Made,
    /// Its mode, owner, times or attributes were changed.
    Changed,
    /// As a directory, it was listed.
    Listed,
    /// As a socket, address or device, it was used.
    Used,
    /// It was looked at by name: `stat`, `access`, `readlink`.
    LookedAt,
}

impl Did {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Interpreted => "interprets a script",
            Self::Mapped => "mapped as a library",
            Self::Read => "read",
            Self::Wrote => "written",
            Self::Made => "made or removed",
            Self::Changed => "attributes changed",
            Self::Listed => "listed",
            Self::Used => "used",
            Self::LookedAt => "looked at",
        }
    }
}

/// Why something is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What was done, and to what.
    pub done: BTreeMap<Did, BTreeSet<PathBuf>>,
    /// The observations in which it was, counted from 0 in the order of their JSON.
    pub runs: BTreeSet<usize>,
}

impl Evidence {
    pub(crate) fn of(did: Did, path: &Path, run: usize) -> Self {
        Self {
            done: [(did, [path.to_owned()].into())].into(),
            runs: [run].into(),
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (did, paths) in other.done {
            self.done.entry(did).or_default().extend(paths);
        }
        self.runs.extend(other.runs);
    }

    /// Whether this was done.
    pub fn has(&self, did: Did) -> bool {
        self.done.contains_key(&did)
    }

    /// Whether nothing else was done.
    pub fn is_only(&self, did: Did) -> bool {
        self.done.keys().eq([&did])
    }

    /// What something was done to.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.done.values().flatten().map(PathBuf::as_path)
    }

    /// In words. `line` is what is granted; `runs` how many observations there are.
    pub fn words(&self, line: &Path, runs: usize) -> String {
        let mut words: Vec<String> = Vec::new();
        for (did, paths) in &self.done {
            let below = |path: &PathBuf| {
                let name = match line.as_os_str().is_empty() {
                    true => Path::new(path.file_name()?),
                    false => path.strip_prefix(line).ok()?,
                };
                (!name.as_os_str().is_empty()).then(|| Text::from(name.as_os_str()).to_string())
            };
            let names: Vec<String> = paths.iter().filter_map(below).collect();
            let did = did.word();
            words.push(match &names[..] {
                [] => did.to_owned(),
                [one, two, _, _, ..] => format!("{did}: {} such as {one}, {two}", names.len()),
                few => format!("{did}: {}", few.join(", ")),
            });
        }
        let mut words = words.join("; ");
        if self.runs.len() < runs && !self.runs.is_empty() {
            words += &format!("; in {} of {runs} runs", self.runs.len());
        }
        words
    }
}

/// What a person should know that no line of a profile says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// What it is about.
    pub about: About,
    /// What it says.
    pub text: String,
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Something is missing from the observation.
    Incomplete,
    /// How runs ended, where they might have done more.
    End,
    /// Where it begins.
    Place,
    /// A secret was asked for.
    Secret,
    /// Something was tried that is not granted.
    NotGranted,
    /// What cannot be written in a profile.
    Unwritable,
    /// A grant that a person should think about.
    Risk,
    /// An address was tried.
    Network,
    /// A system call was refused.
    Call,
    /// What a built-in profile grants beyond what was seen.
    Beyond,
    /// What is gone after the run.
    Gone,
}

impl About {
    /// The heading of such notes.
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::End => "how it ended",
            Self::Place => "where it begins",
            Self::Secret => "secrets asked for",
            Self::NotGranted => "not granted",
            Self::Unwritable => "cannot be written in a profile",
            Self::Risk => "to be thought about",
            Self::Network => "network",
            Self::Call => "system calls",
            Self::Beyond => "granted beyond what was seen",
            Self::Gone => "gone after the run",
        }
    }
}

/// Notes, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(BTreeSet<Note>);

impl Notes {
    pub fn add(&mut self, about: About, text: impl Into<String>) {
        let text = text.into();
        self.0.insert(Note { about, text });
    }

    /// Sorted by what they are about.
    pub fn done(self) -> Vec<Note> {
        self.0.into_iter().collect()
    }
}

/// `1 program`, `3 programs`.
pub(crate) fn number(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
