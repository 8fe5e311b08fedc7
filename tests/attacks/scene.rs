//! The scene of an attack: a workspace, victims beside it, and names for its command line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::Around;
use crate::{User, Workspace, attacks_directory, program};

/// A process that an attack might end, with the pipes to talk to it.
struct Victim {
    child: Child,
    to: File,
    from: File,
}

/// See the module's documentation. Dropping it ends everything that it started.
pub struct Scene {
    /// The workspace, below `/var/tmp`.
    pub workspace: Workspace,
    /// The sandbox around the attack.
    pub around: Around,
    names: BTreeMap<String, String>,
    victims: Vec<Victim>,
    kept: Vec<Box<dyn std::any::Any>>,
}

impl Scene {
    /// A scene for one attempt.
    pub fn new(user: User, around: Around) -> Self {
        let workspace = Workspace::below(user, Path::new("/var/tmp"));
        let mut scene = Self {
            workspace,
            around,
            names: BTreeMap::new(),
            victims: Vec::new(),
            kept: Vec::new(),
        };
        let work = scene.workspace.work();
        for (name, path) in [
            ("work", work.clone()),
            ("home", scene.workspace.home()),
            ("out", scene.workspace.outside()),
            ("base", work.parent().expect("a parent").to_path_buf()),
            ("bin", attacks_directory().to_path_buf()),
        ] {
            scene.name(name, path.display());
        }
        let neighbour = scene.start_victim();
        scene.name("neighbour", neighbour);
        scene
    }

    /// Sets the value of a name in braces.
    pub fn name(&mut self, name: &str, value: impl ToString) {
        self.names.insert(name.into(), value.to_string());
    }

    /// The value of a name.
    pub fn value(&self, name: &str) -> &str {
        &self.names[name]
    }

    /// Replaces names in braces.
    pub fn fill(&self, text: &str) -> String {
        let replaced = |text: String, (name, value): (&String, &String)| {
            text.replace(&format!("{{{name}}}"), value)
        };
        self.names.iter().fold(text.to_owned(), replaced)
    }

    /// The words before the attack's own: nothing, bwrap, firejail, or aegis-run.
    pub fn launcher(&self, profile: &str) -> Vec<String> {
        let words: &[&str] = match self.around {
            Around::Bare => &[],
            Around::Bubblewrap => &[
                "bwrap",
                "--unshare-all",
                "--die-with-parent",
                "--ro-bind",
                "/",
                "/",
                "--dev",
                "/dev",
                "--proc",
                "/proc",
                "--tmpfs",
                "/tmp",
                "--bind",
                "{work}",
                "{work}",
            ],
            Around::Firejail => &[
                // It waits for whatever the attack leaves behind.
                "timeout",
                "--foreground",
                "--kill-after=1",
                "10",
                "firejail",
                "--quiet",
                "--noprofile",
                "--caps.drop=all",
                "--nonewprivs",
                "--noroot",
                "--seccomp",
                "--net=none",
                "--ipc-namespace",
                "--private-dev",
                "--keep-var-tmp",
                "--read-only=/",
                "--read-write={work}",
                "--",
            ],
            Around::Aegis => {
                let profile = self.workspace.profile(&self.fill(profile));
                let launcher = program("aegis-run");
                return vec![
                    launcher.display().to_string(),
                    "--profile".into(),
                    profile.display().to_string(),
                    "--".into(),
                ];
            }
        };
        words.iter().map(|word| self.fill(word)).collect()
    }

    /// Starts a process of the user, outside of any sandbox, leading its own group. Returns its pid.
    pub fn start_victim(&mut self) -> u32 {
        let mut child = self
            .workspace
            .command("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a process starts");
        let to = OwnedFd::from(child.stdin.take().expect("a pipe"));
        let from = OwnedFd::from(child.stdout.take().expect("a pipe"));
        let pid = child.id();
        self.victims.push(Victim {
            child,
            to: to.into(),
            from: from.into(),
        });
        pid
    }

    /// The process group of the neighbour; the attack's launcher runs in it as well.
    pub fn group(&self) -> i32 {
        self.victims[0].child.id() as i32
    }

    /// Keeps something until the end: a listener, a lock.
    pub fn keep(&mut self, thing: impl std::any::Any) {
        self.kept.push(Box::new(thing));
    }

    /// The value of this type that [`Scene::keep`] took.
    pub fn kept<T: 'static>(&self) -> Option<&T> {
        self.kept.iter().find_map(|thing| thing.downcast_ref())
    }

    /// The pids of victims that somebody has ended: those alive echo.
    pub fn dead(&self) -> Vec<u32> {
        let echoes = |victim: &&Victim| {
            let (mut to, mut from) = (&victim.to, &victim.from);
            to.write_all(b"?")
                .and_then(|()| from.read_exact(&mut [0]))
                .is_ok()
        };
        self.victims
            .iter()
            .filter(|victim| !echoes(victim))
            .map(|victim| victim.child.id())
            .collect()
    }

    /// Copies a program in a process of its own: a program being written cannot be executed.
    pub fn copy(&self, from: &Path, to: &str) -> PathBuf {
        let to = PathBuf::from(self.fill(to));
        let status = Command::new("cp")
            .arg(from)
            .arg(&to)
            .status()
            .expect("cp starts");
        assert!(status.success(), "cp {} {}", from.display(), to.display());
        self.workspace.own(&to);
        to
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for victim in &mut self.victims {
            let _ = victim.child.kill();
            let _ = victim.child.wait();
        }
    }
}
