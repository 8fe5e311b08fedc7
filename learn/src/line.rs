//! The lines of a profile: each one grant, with why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_profile::syntax::scalar;
use aegis_profile::{Declared, Device, Origin, PathSpec, Profile, Program, Variable, parse_str};

use crate::cover::Cover;
use crate::evidence::{About, Evidence, Notes, number};
use crate::places;
use crate::rules::Rule;
use crate::surroundings::{Access, Surroundings};

/// The key that a line is below, in the order in which they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `files.read`
    Read,
    /// `files.write`
    Write,
    /// `shell.exec`
    Execute,
    /// `net.outbound`: the host's network.
    Outbound,
    /// `net.listen`
    Listen,
    /// `sockets`
    Sockets,
    /// `devices`
    Devices,
    /// `environment.pass`
    Pass,
    /// `syscalls.allow`
    Calls,
}

impl Key {
    /// Whether its lines are places of the host.
    pub(crate) const fn is_place(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::Execute)
    }

    /// As a profile has it, below its section.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "files.read",
            Self::Write => "files.write",
            Self::Execute => "shell.exec",
            Self::Outbound => "net.outbound",
            Self::Listen => "net.listen",
            Self::Sockets => "sockets",
            Self::Devices => "devices",
            Self::Pass => "pass",
            Self::Calls => "allow",
        }
    }
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The key that it is below.
    pub key: Key,
    /// As it is written, without quotes: `-$WORK/data`, `git`.
    pub value: String,
    /// Where it is on the host: of paths and programs.
    pub place: PathBuf,
    /// What was seen.
    pub evidence: Evidence,
    /// What made this line of it.
    pub rule: Rule,
    /// What a person should think about.
    pub risk: Option<&'static str>,
}

/// How many bytes lines may take: a profile has a megabyte, and there are notes.
const ROOM: usize = 700 << 10;

/// The room for a comment beside a line, its indentation and its key.
const COMMENT: usize = 4 * 160 + 80;

/// A risk of `shell.exec`.
const WRITTEN: &str = "it executes what it has written";

/// Where what is learnt was declared: nowhere.
pub(crate) fn learnt<T>(value: T) -> Declared<T> {
    let file: Arc<str> = "learnt".into();
    let origin = Origin {
        file,
        line: 1,
        column: 1,
    };
    Declared { value, origin }
}

/// A path as a profile has it, from the innermost variable. `None`: it cannot be written in one.
pub(crate) fn spec(path: &Path, optional: bool, around: &Surroundings<'_>) -> Option<PathSpec> {
    let bases = [
        (Some(Variable::Work), Some(around.work)),
        (Some(Variable::Skill), around.skill),
        (Some(Variable::Home), Some(around.home)),
        (None, Some(Path::new("/"))),
    ];
    let mut innermost: Option<(usize, Option<Variable>, &Path)> = None;
    for (base, directory) in bases {
        // `/` as a variable would be the whole host.
        let possible = |at: &&Path| base.is_none() || at.parent().is_some();
        if let Some(directory) = directory.filter(possible)
            && let Ok(rest) = path.strip_prefix(directory)
        {
            let depth = directory.components().count();
            // Of those that are as deep, the first.
            if innermost.is_none_or(|(deepest, ..)| deepest < depth) {
                innermost = Some((depth, base, rest));
            }
        }
    }
    let (_, base, rest) = innermost?;
    Some(PathSpec {
        base,
        rest: rest.to_str()?.to_owned(),
        optional,
    })
}

/// A small profile with one line, as it is read: whoever prints a value can see that it comes back.
fn read_back(section: &str, key: &str, value: &str) -> Option<Profile> {
    let text = format!("aegis: 1\n{section}:\n  {key}: [{}]\n", scalar(value));
    parse_str(&text, "learnt").ok()
}

/// Lines as they come together, each value once.
pub(crate) struct Lines<'a, 'h> {
    pub around: &'a Surroundings<'h>,
    pub notes: &'a mut Notes,
    lines: BTreeMap<(Key, String), Line>,
    /// What the lines reach, together with what is extended.
    pub cover: Cover,
}

impl<'a, 'h> Lines<'a, 'h> {
    pub fn new(around: &'a Surroundings<'h>, notes: &'a mut Notes, cover: Cover) -> Self {
        Self {
            around,
            notes,
            lines: BTreeMap::new(),
            cover,
        }
    }

    /// A file or a directory.
    pub fn path(&mut self, access: Access, path: &Path, evidence: Evidence, rule: Rule) {
        let own = path == self.around.work || Some(path) == self.around.skill;
        let optional = !own && access != Access::Write;
        let key = match access {
            Access::Read => Key::Read,
            Access::Write => Key::Write,
            Access::Execute => Key::Execute,
        };
        let written = spec(path, optional, self.around).and_then(|spec| {
            let value = spec.to_string();
            let profile = read_back("capabilities", key.name(), &value)?;
            let granted = &profile.capabilities;
            let same = match access {
                Access::Read => granted.files_read == [learnt(spec)],
                Access::Write => granted.files_write == [learnt(spec)],
                Access::Execute => granted.shell_exec == [learnt(Program::Path(spec))],
            };
            same.then_some(value)
        });
        let Some(value) = written else {
            return self.unwritable(&evidence, access);
        };
        let risk = self.risk(access, path, rule);
        self.cover.add(access, path.to_owned(), self.around);
        self.insert(key, value, path, evidence, rule, risk);
    }

    fn risk(&self, access: Access, path: &Path, rule: Rule) -> Option<&'static str> {
        let Surroundings {
            work, skill, home, ..
        } = *self.around;
        let in_work = path.starts_with(work);
        match access {
            Access::Write if in_work => None,
            Access::Write if skill.is_some_and(|skill| path.starts_with(skill)) => {
                Some("it changes the skill itself")
            }
            Access::Write => Some("it changes files outside of $WORK"),
            Access::Read if path.starts_with(home) && !in_work => {
                let own = skill.is_some_and(|skill| path.starts_with(skill));
                (!own).then_some("it is in your home")
            }
            Access::Read if self.around.is_program(path) => {
                Some("what can be read can be executed by the loader")
            }
            Access::Execute if rule == Rule::MadePrograms => Some(WRITTEN),
            _ => None,
        }
    }

    /// Says what cannot be written in a profile.
    fn unwritable(&mut self, evidence: &Evidence, access: Access) {
        let what = match access {
            Access::Read => "reading",
            Access::Write => "writing",
            Access::Execute => "executing",
        };
        for path in evidence.paths() {
            let shown = aegis_observation::Text::from(path.as_os_str());
            self.notes.add(About::Unwritable, format!("{what} {shown}"));
        }
    }

    /// A program by its name.
    pub fn named_program(&mut self, name: &str, path: &Path, evidence: Evidence) -> bool {
        let program = Program::Name {
            name: name.to_owned(),
            optional: false,
        };
        let value = program.to_string();
        let same = read_back("capabilities", "shell.exec", &value)
            .is_some_and(|profile| profile.capabilities.shell_exec == [learnt(program.clone())]);
        if same {
            self.cover.program(&program, self.around);
            self.insert(Key::Execute, value, path, evidence, Rule::ByName, None);
        }
        same
    }

    /// A device.
    pub fn device(&mut self, device: Device, path: &Path, evidence: Evidence) {
        let value = device.to_string();
        let risk = (device != Device::Pty).then_some("a driver of the kernel's to attack");
        let same = read_back("capabilities", "devices", &value)
            .is_some_and(|profile| profile.capabilities.devices == [learnt(device)]);
        match same {
            true => self.insert(Key::Devices, value, path, evidence, Rule::SingleFiles, risk),
            false => self.unwritable(&evidence, Access::Read),
        }
    }

    /// `shell.exec: $TMP`, which is no place of the host.
    pub fn own_tmp(&mut self, evidence: Evidence) {
        let place = Path::new("$TMP");
        let (rule, risk) = (Rule::MadePrograms, Some(WRITTEN));
        self.insert(Key::Execute, "$TMP".into(), place, evidence, rule, risk);
    }

    /// A word, number or name that is known to be valid.
    pub fn word(
        &mut self,
        key: Key,
        value: &str,
        evidence: Evidence,
        rule: Rule,
        risk: Option<&'static str>,
    ) {
        self.insert(key, value.to_owned(), Path::new(""), evidence, rule, risk);
    }

    /// A variable that is passed on.
    pub fn variable(&mut self, name: &str) {
        let same = read_back("environment", "pass", name)
            .is_some_and(|profile| profile.environment.pass == [learnt(name.to_owned())]);
        match same {
            true => self.word(Key::Pass, name, Evidence::default(), Rule::Variables, None),
            false => self
                .notes
                .add(About::Unwritable, format!("the variable {name:?}")),
        }
    }

    fn insert(
        &mut self,
        key: Key,
        value: String,
        place: &Path,
        evidence: Evidence,
        rule: Rule,
        risk: Option<&'static str>,
    ) {
        use std::collections::btree_map::Entry;
        match self.lines.entry((key, value.clone())) {
            Entry::Occupied(mut there) => there.get_mut().evidence.add(evidence),
            Entry::Vacant(free) => {
                free.insert(Line {
                    key,
                    value,
                    place: place.to_owned(),
                    evidence,
                    rule,
                    risk,
                });
            }
        }
    }

    /// Whether a directory may be granted with everything below it.
    pub fn is_tree(&self, access: Access, directory: &Path) -> bool {
        let Surroundings {
            work, skill, home, ..
        } = *self.around;
        let above = |own: &Path| own.starts_with(directory) && own != directory;
        self.around.is_directory(directory)
            && !places::broad(directory, home)
            && !places::own(directory)
            && directory != Path::new("/dev/shm")
            && !above(work)
            && !skill.is_some_and(above)
            && !home.starts_with(directory)
            && self.around.host.refused(access, directory).is_none()
    }

    /// The lines, sorted by key and value; without those that others reach anyway, and without those for which a profile
    /// has no room.
    pub fn done(self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.lines.into_values().collect();
        // What reaches more comes first. What the first of two reach each other's is kept.
        lines.sort_by_cached_key(|line| {
            let depth = line.place.components().count();
            (depth, line.key == Key::Read, line.key, line.value.clone())
        });
        let mut kept: Vec<Line> = Vec::new();
        let mut by_place: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for line in lines {
            let reaches = |at: &&usize| {
                let wide = kept[**at].key;
                wide == line.key || line.key == Key::Read
            };
            let above = line
                .place
                .ancestors()
                .filter_map(|above| by_place.get(above));
            let wider = above.flatten().find(reaches).copied();
            match (line.key.is_place(), wider) {
                (true, Some(wider)) => kept[wider].evidence.add(line.evidence),
                (true, None) => {
                    let real = self.around.real(&line.place);
                    let places = real.into_iter().chain([line.place.clone()]);
                    for place in places {
                        by_place.entry(place).or_default().push(kept.len());
                    }
                    kept.push(line);
                }
                (false, _) => kept.push(line),
            }
        }
        kept.sort_by(|a, b| (a.key, &a.value).cmp(&(b.key, &b.value)));
        let mut room = ROOM;
        let all = kept.len();
        kept.retain(|line| {
            // Escapes can double a value, and a comment stands beside it.
            let size = 2 * line.value.len() + COMMENT;
            room = room.saturating_sub(size);
            room > 0
        });
        if kept.len() < all {
            let text = format!(
                "{} too many to be written",
                number(all - kept.len(), "line")
            );
            self.notes.add(About::Incomplete, text);
        }
        kept
    }
}
