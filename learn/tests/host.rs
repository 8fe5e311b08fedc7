//! A host that is made up, and observations of what happened there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aegis_learn::{
    About, Access, Fact, Host, Key, Kind, Options, Proposal, Standing, Surroundings, Usage, propose,
};
use aegis_observation::{
    Abi, Executed, Kind as Opened, Named, Observation, Opened as Open, Run, Text, Tier,
};

/// `$WORK` of the made-up runs.
pub const WORK: &str = "/home/ada/work";
/// `$HOME`.
pub const HOME: &str = "/home/ada";
/// `$SKILL`.
pub const SKILL: &str = "/srv/skill";

const PATH: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/sbin", "/bin"];

/// What blocks in the policy of the made-up host.
const SECRETS: [(&str, &str); 4] = [
    ("/home/ada/.ssh", "private keys"),
    ("/home/ada/work/.secret", "a secret of the project"),
    ("/etc/shadow", "the system's own secrets"),
    ("/home/ada/.bashrc", "it is executed outside the sandbox"),
];

#[derive(Clone, Debug)]
enum Entry {
    Directory,
    File {
        executable: bool,
        interpreter: Option<PathBuf>,
    },
    Link(PathBuf),
}

/// Files, directories and links by path.
#[derive(Clone, Debug, Default)]
pub struct Made {
    entries: BTreeMap<PathBuf, Entry>,
    path: Vec<PathBuf>,
    has_skill: bool,
    has_secret: bool,
}

impl Made {
    /// A host with shells, Python and a project.
    pub fn new() -> Self {
        let mut made = Self {
            path: PATH.map(PathBuf::from).to_vec(),
            ..Self::default()
        };
        for link in ["bin", "sbin", "lib", "lib64"] {
            made = made.link(&format!("/{link}"), &format!("/usr/{link}"));
        }
        for directory in [
            "/usr/local/bin",
            "/usr/sbin",
            "/tmp",
            "/run",
            "/etc",
            "/var/lib",
            WORK,
            SKILL,
        ] {
            made = made.directory(directory);
        }
        for program in ["dash", "python3.11", "cat", "ls", "env", "busybox", "git"] {
            made = made.program(format!("/usr/bin/{program}"));
        }
        made.link("/usr/bin/sh", "/usr/bin/dash")
            .link("/usr/bin/python3", "/usr/bin/python3.11")
            .link("/usr/bin/wget", "/usr/bin/busybox")
            .file("/usr/lib/x86_64-linux-gnu/libc.so.6")
            .file("/usr/lib/python3.11/json/__init__.py")
            .file("/usr/share/zoneinfo/Etc/UTC")
            .link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC")
            .file("/etc/passwd")
            .file("/etc/shadow")
            .file("/home/ada/.ssh/id_ed25519")
    }

    fn insert(mut self, path: &Path, entry: Entry) -> Self {
        for above in path.ancestors().skip(1) {
            self.entries
                .entry(above.to_owned())
                .or_insert(Entry::Directory);
        }
        self.entries.insert(path.to_owned(), entry);
        self
    }

    pub fn file(self, path: impl AsRef<Path>) -> Self {
        self.insert(
            path.as_ref(),
            Entry::File {
                executable: false,
                interpreter: None,
            },
        )
    }

    pub fn directory(self, path: impl AsRef<Path>) -> Self {
        self.insert(path.as_ref(), Entry::Directory)
    }

    pub fn program(self, path: impl AsRef<Path>) -> Self {
        self.insert(
            path.as_ref(),
            Entry::File {
                executable: true,
                interpreter: None,
            },
        )
    }

    pub fn script(self, path: &str, interpreter: &str) -> Self {
        let interpreter = Some(interpreter.into());
        self.insert(
            path.as_ref(),
            Entry::File {
                executable: true,
                interpreter,
            },
        )
    }

    pub fn link(self, path: &str, to: &str) -> Self {
        self.insert(path.as_ref(), Entry::Link(to.into()))
    }

    /// A host that has what was read and executed.
    pub fn like(seen: &Observation) -> Self {
        let written = |path: &Text| {
            seen.opened
                .iter()
                .any(|opened| opened.write && opened.path == *path)
        };
        let mut made = Self::new();
        for opened in seen.opened.iter().filter(|opened| !written(&opened.path)) {
            let (asked, path) = (opened.asked.as_path(), opened.path.as_path());
            made = match opened.kind {
                Opened::Directory => made.directory(path),
                _ => made.file(path),
            };
            if made.real(asked).as_deref() != Some(path) {
                made = made.insert(asked, Entry::Link(path.into()));
            }
        }
        for ran in seen.executed.iter().filter(|ran| !written(&ran.path)) {
            let (asked, path) = (ran.asked.as_path(), ran.path.as_path());
            made = made.program(path);
            if asked.starts_with(WORK) {
                made = made.insert(
                    asked,
                    Entry::File {
                        executable: true,
                        interpreter: None,
                    },
                );
            } else if made.real(asked).as_deref() != Some(path) {
                made = made.insert(asked, Entry::Link(path.into()));
            }
        }
        made
    }

    pub fn with_skill(mut self) -> Self {
        self.has_skill = true;
        self
    }

    /// With a secret in `$WORK`.
    pub fn with_secret(mut self) -> Self {
        self.has_secret = true;
        self
    }

    /// Links followed, in every part.
    fn real(&self, path: &Path) -> Option<PathBuf> {
        let parts = |path: &Path| -> Vec<PathBuf> {
            let below = path.strip_prefix("/").expect("an absolute path");
            below.iter().rev().map(PathBuf::from).collect()
        };
        let mut real = PathBuf::from("/");
        let mut ahead = parts(path);
        for _ in 0..256 {
            let Some(part) = ahead.pop() else {
                return self.entries.contains_key(&real).then_some(real);
            };
            if part == Path::new("..") {
                real.pop();
                continue;
            }
            let next = real.join(&part);
            match self.entries.get(&next)? {
                Entry::Link(to) => {
                    real = "/".into();
                    ahead.extend(parts(to));
                }
                _ => real = next,
            }
        }
        None
    }

    pub fn around(&self) -> Surroundings<'_> {
        Surroundings {
            work: Path::new(WORK),
            home: Path::new(HOME),
            skill: self.has_skill.then_some(Path::new(SKILL)),
            path: &self.path,
            host: self,
        }
    }

    /// What is proposed for one observation.
    pub fn learn(&self, seen: &Observation) -> Proposal {
        self.learn_with(std::slice::from_ref(seen), None, &Options::default())
    }

    pub fn learn_with(
        &self,
        seen: &[Observation],
        usage: Option<&Usage>,
        options: &Options,
    ) -> Proposal {
        let proposal = propose(seen, &self.around(), usage, options);
        // Whatever it is, it can be read.
        if let Err(error) = proposal.profile() {
            panic!("{error}\n{}", proposal.to_yaml());
        }
        proposal
    }
}

impl Host for Made {
    fn look(&self, path: &Path) -> Option<Fact> {
        let real = self.real(path)?;
        Some(match self.entries.get(&real)? {
            Entry::Directory => Fact {
                kind: Kind::Directory,
                real,
                executable: false,
                interpreter: None,
            },
            Entry::File {
                executable,
                interpreter,
            } => Fact {
                kind: Kind::File,
                executable: *executable,
                interpreter: interpreter.clone(),
                real,
            },
            Entry::Link(_) => return None,
        })
    }

    fn files_below(&self, directory: &Path, most: usize) -> usize {
        let below = self
            .entries
            .iter()
            .filter(|(path, _)| path.starts_with(directory));
        let files = below.filter(|(_, entry)| matches!(entry, Entry::File { .. }));
        files.take(most).count()
    }

    fn refused(&self, access: Access, path: &Path) -> Option<String> {
        let holds = |(secret, why): &&(&str, &str)| {
            let only_written = why.contains("executed outside") && access != Access::Write;
            let there = self.has_secret || !secret.starts_with(WORK);
            !only_written
                && there
                && (path.starts_with(secret) || Path::new(secret).starts_with(path))
        };
        SECRETS.iter().find(holds).map(|(_, why)| (*why).to_owned())
    }

    fn standing(&self, call: &str) -> Option<Standing> {
        Some(match call {
            "execve" | "mmap" | "openat" | "read" => Standing::Start,
            "keyctl" | "userfaultfd" => Standing::OnRequest,
            "bpf" | "mount" | "openat2" | "clone3" => Standing::Never,
            "made_up" => return None,
            _ => Standing::Granted,
        })
    }
}

/// An observation in the making.
pub struct Seen(pub Observation);

pub fn text(path: impl AsRef<OsStr>) -> Text {
    Text::from(path.as_ref())
}

impl Seen {
    pub fn new() -> Self {
        let run = Run {
            id: "1".into(),
            command: vec![text("sh"), text("-c"), text("true")],
            directory: text(WORK),
            profile: "00".into(),
            tier: Tier::Bpf,
            kernel: "6.12".into(),
            exit_status: Some(0),
        };
        Self(Observation {
            runs: vec![run],
            ..Observation::default()
        })
    }

    fn open(mut self, asked: &[u8], path: &[u8], kind: Opened, write: bool) -> Self {
        let (asked, path) = (OsStr::from_bytes(asked), OsStr::from_bytes(path));
        self.0.opened.insert(Open {
            asked: text(asked),
            path: text(path),
            kind,
            read: !write,
            write,
            deleted: false,
        });
        self
    }

    pub fn read(self, path: &str) -> Self {
        self.open(path.as_bytes(), path.as_bytes(), Opened::File, false)
    }

    pub fn read_through(self, asked: &str, path: &str) -> Self {
        self.open(asked.as_bytes(), path.as_bytes(), Opened::File, false)
    }

    pub fn read_bytes(self, path: &[u8]) -> Self {
        self.open(path, path, Opened::File, false)
    }

    pub fn write(self, path: &str) -> Self {
        self.open(path.as_bytes(), path.as_bytes(), Opened::File, true)
    }

    pub fn list(self, path: &str) -> Self {
        self.open(path.as_bytes(), path.as_bytes(), Opened::Directory, false)
    }

    pub fn device(self, path: &str) -> Self {
        self.open(path.as_bytes(), path.as_bytes(), Opened::Device, false)
    }

    pub fn exec(self, path: &str) -> Self {
        self.exec_as(path, path)
    }

    pub fn exec_as(mut self, asked: &str, path: &str) -> Self {
        let (asked, path) = (text(asked), text(path));
        self.0.executed.insert(Executed { asked, path });
        self
    }

    pub fn named(mut self, call: &str, path: &str, error: Option<&str>) -> Self {
        let error = error.map(str::to_owned);
        self.0.named.insert(Named {
            call: call.into(),
            path: text(path),
            error,
        });
        self
    }

    pub fn calls(mut self, calls: &[&str]) -> Self {
        let calls = calls.iter().map(|call| (*call).to_owned());
        self.0.calls.entry(Abi::Native).or_default().extend(calls);
        self
    }
}

/// The values of a key, as they are printed.
pub fn values(proposal: &Proposal, key: Key) -> Vec<&str> {
    let lines = proposal.lines.iter().filter(|line| line.key == key);
    lines.map(|line| line.value.as_str()).collect()
}

/// The notes about something.
pub fn notes(proposal: &Proposal, about: About) -> Vec<&str> {
    let notes = proposal.notes.iter().filter(|note| note.about == about);
    notes.map(|note| note.text.as_str()).collect()
}
