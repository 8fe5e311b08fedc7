//! Real workloads: runs a command bare and under `aegis-run`, and compares the results.
//!
//! Both runs use the same paths, one after the other, in a workspace that is made anew for
//! each, so that nothing needs to be rewritten before their results are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::authority::Authority;
use crate::{USERS, User, Workspace, program, repository};

/// Seconds after which a run counts as hung.
const PATIENCE: &str = "240";

type Prepare = Box<dyn Fn(&Workspace)>;

/// What to run, and where.
pub struct Workload {
    profile: String,
    prepare: Prepare,
    skill: Option<PathBuf>,
    environment: Vec<(String, String)>,
    settings: Vec<String>,
    stdin: Vec<u8>,
    ignored: fn(&Path) -> bool,
    learnt: bool,
}

/// The result of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    /// The exit status; `None`: a signal.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Everything below `$WORK`, by its path there.
    pub files: BTreeMap<PathBuf, FileState>,
}

/// One file below `$WORK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: (u32, u32),
    /// The content of a file, or the target of a link.
    pub content: Vec<u8>,
}

impl Workload {
    /// A workload under a committed profile, given by its path in the repository.
    pub fn new(profile: &str) -> Self {
        Self {
            profile: profile.into(),
            prepare: Box::new(|_| ()),
            skill: None,
            environment: Vec::new(),
            settings: Vec::new(),
            stdin: Vec::new(),
            ignored: |_| false,
            learnt: true,
        }
    }

    /// Fills `$WORK` and `$HOME` before each run.
    pub fn prepare(mut self, prepare: impl Fn(&Workspace) + 'static) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// Puts a copy of this directory at `$SKILL`, beside the profile.
    pub fn skill(mut self, directory: &Path) -> Self {
        self.skill = Some(directory.into());
        self
    }

    /// A variable of the caller's environment, for both runs; placeholders in the value are filled in too.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// `--set KEY=VALUE`.
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.into());
        self
    }

    /// The content of standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Paths in `$WORK` whose content differs between two bare runs as well (times, inode numbers).
    pub fn ignoring(mut self, ignored: fn(&Path) -> bool) -> Self {
        self.ignored = ignored;
        self
    }

    /// It cannot be learnt, for this reason.
    pub fn cannot_be_learnt(mut self, _why: &str) -> Self {
        self.learnt = false;
        self
    }

    /// Runs it bare and under Aegis, as root and as an ordinary user, and fails unless a run under
    /// Aegis equals the bare one in everything, and so does one under a profile that was learnt of one run. `check` is called
    /// on both results. `{work}`, `{home}` and `{skill}` in the words are filled in.
    pub fn runs_the_same(&self, words: &[&str], check: impl Fn(&Finished)) {
        for user in USERS {
            let workspace = Workspace::new(user);
            let profile = self.profile(&workspace);
            let words: Vec<String> = words.iter().map(|word| fill_in(word, &workspace)).collect();
            let bare = self.outcome(&workspace, &words);
            let mut confined = vec![program("aegis-run").to_string_lossy().into_owned()];
            confined.extend(["--profile".into(), profile.to_string_lossy().into_owned()]);
            for setting in &self.settings {
                confined.extend(["--set".into(), setting.clone()]);
            }
            confined.push("--".into());
            confined.extend_from_slice(&words);
            let confined = self.outcome(&workspace, &confined);
            let told = format!("{words:?} as {user:?} under {}", self.profile);
            same(&bare, &confined, &told);
            check(&confined);
            if self.learnt && user == User::Root {
                self.is_learnt(&workspace, &profile, &words, &bare);
            }
        }
    }

    /// Learns from one run, and fails unless a run under the profile that comes of it equals the bare one, too, and that grants hardly
    /// more than the profile that was written by hand.
    fn is_learnt(&self, workspace: &Workspace, by_hand: &Path, words: &[String], bare: &Finished) {
        let place = workspace.work().with_file_name("skill");
        std::fs::create_dir_all(&place).expect("mkdir");
        let place = place.join("learnt.yaml").to_string_lossy().into_owned();
        let mut learn = vec![program("aegis-learn").to_string_lossy().into_owned()];
        learn.extend(["--force", "-o", &place].map(Into::into));
        for (name, _) in &self.environment {
            learn.extend(["--pass".into(), name.clone()]);
        }
        learn.push("--".into());
        learn.extend_from_slice(words);
        let learnt = self.outcome(workspace, &learn);
        let profile = std::fs::read_to_string(&place).unwrap_or_default();
        assert_eq!(
            learnt.status,
            Some(0),
            "{words:?} is not learnt: {}\n{profile}",
            learnt.stderr
        );
        self.fresh(workspace);
        let by_hand = by_hand.to_string_lossy();
        let mut options = vec!["--profile", &by_hand];
        for setting in &self.settings {
            options.extend(["--set", setting]);
        }
        let by_hand = Authority::of(workspace, &options, words);
        let of_learnt = Authority::of(workspace, &["--profile", &place], words);
        println!("{words:?}: learnt {of_learnt}; by hand {by_hand}");
        assert!(
            of_learnt.is_close_to(by_hand),
            "{words:?}: learnt {of_learnt}; by hand {by_hand}\n{profile}"
        );
        let mut confined = vec![program("aegis-run").to_string_lossy().into_owned()];
        confined.extend(["--quiet".into(), "--profile".into(), place, "--".into()]);
        confined.extend_from_slice(words);
        let confined = self.outcome(workspace, &confined);
        same(
            bare,
            &confined,
            &format!("{words:?} under what was learnt:\n{profile}\n"),
        );
    }

    fn outcome(&self, workspace: &Workspace, words: &[String]) -> Finished {
        self.fresh(workspace);
        let mut command = workspace.command("timeout");
        command
            .args(["--foreground", "-k", "5", PATIENCE])
            .args(words);
        for (name, value) in &self.environment {
            command.env(name, fill_in(value, workspace));
        }
        let input = workspace.write("input", &self.stdin);
        let input = std::fs::File::open(input).expect("standard input opens");
        let output = command.stdin(input).output().expect("the command starts");
        let mut files = BTreeMap::new();
        walk(&workspace.work(), Path::new(""), self.ignored, &mut files);
        Finished {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into(),
            // What a limit is worth on this host, which is told of profiles with one.
            stderr: String::from_utf8_lossy(&output.stderr)
                .split_inclusive('\n')
                .filter(|line| !line.starts_with("aegis-run: warning: limits."))
                .collect(),
            files,
        }
    }

    /// Empties `$WORK` and `$HOME`, and fills them.
    fn fresh(&self, workspace: &Workspace) {
        for dir in [workspace.work(), workspace.home()] {
            std::fs::remove_dir_all(&dir).expect("the last run's files can be removed");
            std::fs::create_dir(&dir).expect("mkdir");
            workspace.own(&dir);
        }
        (self.prepare)(workspace);
    }

    /// Puts the profile, and the skill, into the workspace, where either user can read them.
    fn profile(&self, workspace: &Workspace) -> PathBuf {
        let text = std::fs::read(repository(&self.profile));
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", self.profile));
        let Some(skill) = &self.skill else {
            return workspace.write("profile.yaml", text);
        };
        let profile = workspace.write("skill/aegis.yaml", text);
        copy(
            workspace,
            skill,
            profile.parent().expect("it lies in a directory"),
        );
        profile
    }
}

/// Puts the workspace's paths into a text.
fn fill_in(text: &str, workspace: &Workspace) -> String {
    text.replace("{work}", &workspace.work().to_string_lossy())
        .replace("{home}", &workspace.home().to_string_lossy())
        .replace(
            "{skill}",
            &workspace.work().with_file_name("skill").to_string_lossy(),
        )
}

/// Copies a tree with its times, so that it belongs to the workspace's user.
pub fn copy(workspace: &Workspace, from: &Path, to: &Path) {
    let copied = workspace
        .command("cp")
        .args(["-a", "--no-preserve=ownership", "-T"])
        .arg(from)
        .arg(to)
        .status()
        .expect("cp starts");
    assert!(
        copied.success(),
        "cannot copy {} to {}",
        from.display(),
        to.display()
    );
}

/// Sets the same modification time on every file below a path, for results that contain it.
pub fn age(path: &Path) {
    let mut files = BTreeMap::new();
    walk(path, Path::new(""), |_| false, &mut files);
    for name in files.keys() {
        let file = std::fs::File::open(path.join(name)).expect("a file just made opens");
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        file.set_modified(then).expect("its time can be set");
    }
}

fn walk(
    top: &Path,
    below: &Path,
    ignored: fn(&Path) -> bool,
    files: &mut BTreeMap<PathBuf, FileState>,
) {
    let dir = top.join(below);
    let entries =
        std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries {
        let entry = entry.expect("a directory entry");
        let name = below.join(entry.file_name());
        if ignored(&name) {
            continue;
        }
        let meta = entry.metadata().expect("its metadata");
        let content = if meta.is_symlink() {
            let target = std::fs::read_link(entry.path()).expect("where the link leads");
            target.into_os_string().into_encoded_bytes()
        } else if meta.is_file() {
            std::fs::read(entry.path()).expect("root reads every file")
        } else {
            Vec::new()
        };
        files.insert(
            name.clone(),
            FileState {
                mode: meta.permissions().mode(),
                owner: (meta.uid(), meta.gid()),
                content,
            },
        );
        if meta.is_dir() {
            walk(top, &name, ignored, files);
        }
    }
}

/// Fails with the difference, not with two screens full of bytes.
fn same(bare: &Finished, confined: &Finished, told: &str) {
    let texts = (bare.status, &bare.stdout, &bare.stderr)
        == (confined.status, &confined.stdout, &confined.stderr);
    assert!(
        texts,
        "{told} differs\n=== bare: {:?}\n--- stdout\n{}--- stderr\n{}\n=== confined: {:?}\n--- stdout\n{}--- stderr\n{}",
        bare.status, bare.stdout, bare.stderr, confined.status, confined.stdout, confined.stderr
    );
    let names: BTreeSet<&PathBuf> = bare.files.keys().chain(confined.files.keys()).collect();
    let differing: Vec<String> = names
        .into_iter()
        .filter(|name| bare.files.get(*name) != confined.files.get(*name))
        .map(|name| {
            let show = |found: Option<&FileState>| match found {
                None => "missing".to_owned(),
                Some(found) => format!(
                    "mode {:o} owner {:?} {} bytes",
                    found.mode,
                    found.owner,
                    found.content.len()
                ),
            };
            let (bare, confined) = (bare.files.get(name), confined.files.get(name));
            format!(
                "{}: bare {}, confined {}",
                name.display(),
                show(bare),
                show(confined)
            )
        })
        .collect();
    assert!(
        differing.is_empty(),
        "{told} left other files:\n{}",
        differing.join("\n")
    );
}
