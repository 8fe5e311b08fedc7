//! The new root: what the grants and the sandbox's own places come to in directories, mounts and
//! Landlock rules.
//!
//! `/usr` is mounted whole, read-only, once anything in it is granted: it is the same on every
//! host, and Landlock, not the mount, says which of its files may be read and executed. Every
//! other grant is a mount of its own.

use std::path::{Path, PathBuf};

use aegis_profile::{Device, Origin, PathSpec, Profile, Program, Variable};
use serde::Serialize;

use super::path_map::{PathMap, is_below, parents};
use super::{Entry, Identity, Mount, Network, PathRule, Source, bytes, devices};
use crate::error::Error;
use crate::facts::paths::{Fault, Kind, Resolved};
use crate::facts::{self, HostFacts, Lookup};
use crate::kernel::landlock::fs;

/// `$TMP`.
pub const TMP: &str = "/tmp";

/// The empty file and directory that [`Source::Mask`] shows.
pub const MASKED_FILE: &str = "/run/masked-file";
/// See [`MASKED_FILE`].
pub const MASKED_DIRECTORY: &str = "/run/masked-directory";

/// What of `/proc` tells about, or acts upon, the whole host.
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/interrupts",
    "/proc/irq",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
];

/// What is granted on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantKind {
    /// `files.read`.
    Read,
    /// `files.write`.
    Write,
    /// `shell.exec`, or the command itself.
    Exec,
}

impl GrantKind {
    /// The key of the profile that grants it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Read => "files.read",
            Self::Write => "files.write",
            Self::Exec => "shell.exec",
        }
    }
}

/// One grant, as it was compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// What.
    pub kind: GrantKind,
    /// On which path, free of links.
    #[serde(with = "bytes::path")]
    pub path: PathBuf,
    /// `FILE:LINE:COLUMN`, or "the command" and the like.
    pub from: String,
}

/// See the module's documentation.
pub(super) struct Layout {
    pub root: PathMap<Entry>,
    pub mounts: Vec<Mount>,
    pub rules: Vec<PathRule>,
    pub grants: Vec<Grant>,
    pub directory: PathBuf,
}

/// A host path to be mounted.
#[derive(Clone, Debug)]
struct Bind {
    found: Resolved,
    write: bool,
    exec: bool,
    /// Kept even below a mount with the same rights: nothing can be renamed over a mount point.
    pin: bool,
}

struct Builder<'a> {
    facts: &'a HostFacts,
    identity: &'a Identity,
    binds: PathMap<Bind>,
    links: PathMap<PathBuf>,
    rules: PathMap<u64>,
    grants: Vec<Grant>,
    root: PathMap<Entry>,
    mounts: Vec<Mount>,
}

const READ_TREE: u64 = fs::READ_FILE | fs::READ_DIR;
const WRITE_FILE: u64 = fs::READ_FILE | fs::WRITE_FILE | fs::TRUNCATE;
const WRITE_TREE: u64 = READ_TREE
    | fs::WRITE_FILE
    | fs::TRUNCATE
    | fs::REMOVE_DIR
    | fs::REMOVE_FILE
    | fs::MAKE_DIR
    | fs::MAKE_REG
    | fs::MAKE_SOCK
    | fs::MAKE_FIFO
    | fs::MAKE_SYM
    | fs::REFER;
const DEVICE: u64 = fs::READ_FILE | fs::WRITE_FILE | fs::IOCTL_DEV;

pub(super) fn lay_out(
    profile: &Profile,
    facts: &HostFacts,
    identity: &Identity,
    network: Network,
) -> Result<Layout, Error> {
    let mut builder = Builder {
        facts,
        identity,
        binds: PathMap::default(),
        links: PathMap::default(),
        rules: PathMap::default(),
        grants: Vec::new(),
        root: PathMap::default(),
        mounts: Vec::new(),
    };
    let capabilities = &profile.capabilities;
    for item in &capabilities.files_read {
        builder.path(&item.value, &item.origin, GrantKind::Read)?;
    }
    for item in &capabilities.files_write {
        builder.path(&item.value, &item.origin, GrantKind::Write)?;
    }
    for item in &capabilities.shell_exec {
        match &item.value {
            Program::Path(spec) => builder.path(spec, &item.origin, GrantKind::Exec)?,
            Program::Name { name, optional } => builder.program(name, *optional, &item.origin)?,
        }
    }
    builder.command();
    builder.protect_what_the_host_acts_upon();
    for link in &facts.root_links {
        builder.links.insert(link.at.clone(), link.target.clone());
    }
    if network == Network::Host
        && let Some(Ok(found)) = facts.paths.get(Path::new("/etc/resolv.conf"))
    {
        builder.grant(found, GrantKind::Read, "net.outbound: host".into());
    }
    builder.prune();
    builder.own_places();
    builder.devices(profile)?;
    Ok(builder.finish())
}

/// The name that the command's user has inside.
pub(super) fn user_name(facts: &HostFacts, identity: &Identity) -> String {
    match &facts.caller.name {
        Some(name) if !identity.switch => name.clone(),
        _ => "aegis".into(),
    }
}

impl Builder<'_> {
    fn path(&mut self, spec: &PathSpec, origin: &Origin, kind: GrantKind) -> Result<(), Error> {
        if spec.base == Some(Variable::Tmp) {
            // The private directory is there and writable, whatever is declared in it.
            return Ok(());
        }
        let fail = |reason: String, help: &str| Error::Grant {
            origin: origin.clone(),
            what: format!("{}: {}", kind.key(), spec),
            reason,
            help: help.into(),
        };
        let facts = self.facts;
        let home = &facts.caller.home;
        let Some(path) = facts::expand(spec, facts.skill.as_deref(), &facts.work, home) else {
            return Err(fail(
                "there is no $SKILL: this profile is not a file".into(),
                "use a profile file, or name the path",
            ));
        };
        let found = match facts.paths.get(&path) {
            Some(Ok(found)) => found,
            Some(Err(Fault::Missing(_) | Fault::NotADirectory(_))) if spec.optional => {
                return Ok(());
            }
            // A user's built-in profile may name what only root may look at: that is as if absent.
            Some(Err(Fault::Denied(_))) if spec.optional => return Ok(()),
            Some(Err(fault @ Fault::Missing(_))) => {
                return Err(fail(
                    fault.to_string(),
                    &format!("make it first, or write `-{spec}` to skip it when it is not there"),
                ));
            }
            Some(Err(fault @ (Fault::LinkLeaves { .. } | Fault::ForeignLink { .. }))) => {
                return Err(fail(
                    fault.to_string(),
                    "a program in a sandbox could have made this link: declare the path that it leads to",
                ));
            }
            Some(Err(fault)) => {
                return Err(fail(
                    fault.to_string(),
                    "name a path that this user can reach",
                ));
            }
            None => {
                return Err(fail(
                    "it was not looked up".into(),
                    "report this as a bug of Aegis",
                ));
            }
        };
        if found.real == Path::new("/") && spec.optional {
            // `-$WORK` of a run that was started in `/`.
            return Ok(());
        }
        if found.real == Path::new("/") || own_place(&found.real) {
            return Err(fail(
                format!("it leads to {}", found.real.display()),
                "the sandbox has its own there; name what you need below it",
            ));
        }
        self.grant(found, kind, origin.to_string());
        Ok(())
    }

    fn program(&mut self, name: &str, optional: bool, origin: &Origin) -> Result<(), Error> {
        let fail = |reason: String| Error::Grant {
            origin: origin.clone(),
            what: format!("shell.exec: {name}"),
            reason,
            help: format!(
                "install it, name its path, or write `-{name}` to skip it when it is not there"
            ),
        };
        match self.facts.programs.get(name) {
            Some(Lookup::Found { path, resolved }) => {
                let (path, resolved) = (path.clone(), resolved.clone());
                self.executable(&path, &resolved, origin.to_string());
                Ok(())
            }
            Some(Lookup::Unusable { .. } | Lookup::Absent) | None if optional => Ok(()),
            Some(Lookup::Unusable { path, fault }) => Err(fail(match fault {
                Some(fault) => fault.to_string(),
                None => format!("{} is not an executable file", path.display()),
            })),
            Some(Lookup::Absent) | None => {
                Err(fail("no directory of the sandbox's PATH has it".into()))
            }
        }
    }

    fn executable(&mut self, _asked: &Path, found: &Resolved, from: String) {
        self.grant(found, GrantKind::Exec, from);
    }

    /// The command's own file, and the interpreters that its first line names: granted with it.
    fn command(&mut self) {
        let command = &self.facts.command;
        self.grant(&command.resolved, GrantKind::Exec, "the command".into());
        for interpreter in &command.interpreters {
            let from = format!("the first line of {}", command.resolved.real.display());
            self.grant(&interpreter.resolved, GrantKind::Exec, from);
        }
    }

    fn grant(&mut self, found: &Resolved, kind: GrantKind, from: String) {
        self.links(found);
        self.grants.push(Grant {
            kind,
            path: found.real.clone(),
            from,
        });
        let tree = found.kind == Kind::Directory;
        let access = match (kind, tree) {
            (GrantKind::Read, true) => READ_TREE,
            (GrantKind::Read, false) => fs::READ_FILE,
            (GrantKind::Write, true) => WRITE_TREE,
            (GrantKind::Write, false) => WRITE_FILE,
            (GrantKind::Exec, true) => READ_TREE | fs::EXECUTE,
            (GrantKind::Exec, false) => fs::READ_FILE | fs::EXECUTE,
        };
        *self.rules.entry(found.real.clone()).or_default() |= access;
        let write = kind == GrantKind::Write;
        let exec = kind == GrantKind::Exec;
        if let (false, Some(usr)) = (write, self.usr())
            && found.real.starts_with("/usr")
        {
            let usr = usr.clone();
            self.bind(&usr, false, true);
            return;
        }
        self.bind(found, write, exec);
    }

    /// `/usr`, when it is the system's: a directory of root's that nobody else may write.
    fn usr(&self) -> Option<&Resolved> {
        match self.facts.paths.get(Path::new("/usr")) {
            Some(Ok(found))
                if found.links.is_empty() && found.uid == 0 && found.mode & 0o022 == 0 =>
            {
                Some(found)
            }
            _ => None,
        }
    }

    fn bind(&mut self, found: &Resolved, write: bool, exec: bool) {
        let bind = self
            .binds
            .entry(found.real.clone())
            .or_insert_with(|| Bind {
                found: found.clone(),
                write: false,
                exec: false,
                pin: false,
            });
        bind.write |= write;
        bind.exec |= exec;
    }

    fn links(&mut self, found: &Resolved) {
        for link in &found.links {
            self.links.insert(link.at.clone(), link.target.clone());
        }
    }

    /// Makes the files that the host's own programs act upon later read-only in writable trees, and
    /// pins the directories on the way, so that they cannot be renamed out of it.
    fn protect_what_the_host_acts_upon(&mut self) {
        for facts::plantable::Found { tree, target } in &self.facts.plantable.present {
            if self.binds.get(&target.real).is_some_and(|bind| bind.write) {
                continue; // Declared by name: somebody wants it.
            }
            let exec = self.binds.get(&target.real).is_some_and(|bind| bind.exec);
            self.pin(target.clone(), false, exec);
            for dir in parents(&target.real).take_while(|dir| *dir != tree.as_path()) {
                if !self.binds.contains(dir) {
                    // Found again by path when applied: only its descendant was looked up.
                    let found = Resolved {
                        real: dir.to_path_buf(),
                        links: Vec::new(),
                        ino: 0,
                        kind: Kind::Directory,
                        ..target.clone()
                    };
                    let exec = self.binds.get(tree).is_some_and(|bind| bind.exec);
                    self.pin(found, true, exec);
                }
            }
        }
    }

    fn pin(&mut self, found: Resolved, write: bool, exec: bool) {
        let path = found.real.clone();
        let bind = Bind {
            found,
            write,
            exec,
            pin: true,
        };
        self.binds.insert(path, bind);
    }

    /// Drops what a mount above shows already, with the same rights.
    fn prune(&mut self) {
        let redundant: Vec<PathBuf> =
            self.binds
                .iter()
                .filter(|(path, bind)| {
                    !bind.pin
                        && self.binds.above(path).is_some_and(|above| {
                            above.write == bind.write && above.exec == bind.exec
                        })
                })
                .map(|(path, _)| path.to_path_buf())
                .collect();
        self.binds
            .retain(|path, _| !redundant.iter().any(|other| other == path));
    }

    /// `/proc`, `/dev`, `/tmp`, the home directory, and the few files of `/etc` made here.
    fn own_places(&mut self) {
        for path in ["/proc", "/run"] {
            self.directory(Path::new(path));
        }
        self.root
            .insert(MASKED_DIRECTORY, Entry::Directory { mode: 0 });
        self.root.insert(MASKED_FILE, Entry::MountPoint);
        self.scratch(Path::new(TMP), 0o1777);
        self.scratch(Path::new("/dev/shm"), 0o1777);
        self.link("/var/tmp", TMP);
        self.link("/var/run", "/run");
        let home = self.facts.caller.home.clone();
        if home.parent().is_some() && !self.covered(&home) && !own_place(&home) {
            self.scratch(&home, 0o700);
        }
        self.mounts.push(Mount {
            at: "/proc".into(),
            source: Source::Proc,
            write: false,
            exec: false,
        });
        for path in MASKED {
            self.mounts.push(Mount {
                at: path.into(),
                source: Source::Mask,
                write: false,
                exec: false,
            });
        }
        self.rules.insert("/proc", READ_TREE);
        *self.rules.entry("/").or_default() |= fs::READ_DIR;
        for (name, contents) in self.own_files() {
            let path = Path::new("/etc").join(name);
            if !self.binds.contains(&path) {
                self.file(&path, contents);
            }
        }
        // Whatever is in these two directories of the sandbox's own was granted, or made here.
        self.rules.insert("/etc", fs::READ_FILE);
        self.rules.insert("/dev", DEVICE);
        self.link("/etc/mtab", "/proc/self/mounts");
    }

    fn own_files(&self) -> Vec<(&'static str, String)> {
        let user = user_name(self.facts, self.identity);
        let group = match &self.facts.caller.group {
            Some(name) if !self.identity.switch => name.clone(),
            _ => "aegis".into(),
        };
        let Identity { uid, gid, .. } = *self.identity;
        let home = self.facts.caller.home.display();
        vec![
            (
                "passwd",
                format!(
                    "root:x:0:0:root:/root:/bin/sh\n{user}:x:{uid}:{gid}::{home}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
                ),
            ),
            (
                "group",
                format!("root:x:0:\n{group}:x:{gid}:\nnogroup:x:65534:\n"),
            ),
            (
                "hosts",
                "127.0.0.1 localhost aegis\n::1 localhost aegis\n".into(),
            ),
        ]
    }

    fn devices(&mut self, profile: &Profile) -> Result<(), Error> {
        let mut nodes: Vec<PathBuf> = devices::ALWAYS.iter().map(PathBuf::from).collect();
        // By way of it, what is written to the terminal could not be counted.
        if self.facts.terminal && profile.limits.output.is_none() {
            nodes.push("/dev/tty".into());
        }
        for (path, target) in devices::LINKS {
            self.link(path, target);
        }
        for item in &profile.capabilities.devices {
            if item.value == Device::Pty {
                self.directory(Path::new("/dev/pts"));
                self.link("/dev/ptmx", "pts/ptmx");
                self.mounts.push(Mount {
                    at: "/dev/pts".into(),
                    source: Source::Pseudoterminals,
                    write: true,
                    exec: false,
                });
                self.rules.insert("/dev/pts", DEVICE | fs::READ_DIR);
                continue;
            }
            let wanted = devices::nodes(&item.value);
            let present: Vec<&Resolved> = wanted
                .iter()
                .filter_map(|path| {
                    self.facts
                        .devices
                        .get(path)
                        .and_then(|found| found.as_ref().ok())
                })
                .collect();
            if present.is_empty() {
                return Err(Error::Grant {
                    origin: item.origin.clone(),
                    what: format!("devices: {}", item.value),
                    reason: "this host has no such device".into(),
                    help: "remove it, or run where the device is".into(),
                });
            }
            for found in present {
                if !found.real.starts_with("/dev") {
                    return Err(Error::Grant {
                        origin: item.origin.clone(),
                        what: format!("devices: {}", item.value),
                        reason: format!("it leads to {}, out of /dev", found.real.display()),
                        help: "name a device node".into(),
                    });
                }
                self.links(found);
                if found.kind == Kind::Directory {
                    self.rules.insert(found.real.clone(), DEVICE | fs::READ_DIR);
                    self.directory(&found.real);
                    self.mounts.push(Mount {
                        at: found.real.clone(),
                        source: Source::Device {
                            path: found.real.clone(),
                        },
                        write: true,
                        exec: false,
                    });
                } else {
                    nodes.push(found.real.clone());
                }
            }
        }
        for path in nodes {
            self.mount_point(&path);
            self.mounts.push(Mount {
                at: path.clone(),
                source: Source::Device { path },
                write: true,
                exec: false,
            });
        }
        Ok(())
    }

    /// Whether a host mount shows this path.
    fn covered(&self, path: &Path) -> bool {
        self.binds.contains(path) || self.binds.above(path).is_some()
    }

    fn scratch(&mut self, path: &Path, mode: u32) {
        if self.covered(path) {
            return;
        }
        self.directory(path);
        self.root
            .insert(path.to_path_buf(), Entry::Directory { mode });
        self.rules.insert(path.to_path_buf(), WRITE_TREE);
        self.mounts.push(Mount {
            at: path.to_path_buf(),
            source: Source::Scratch,
            write: true,
            exec: false,
        });
    }

    /// Makes a directory and those above it, where the root's own tmpfs shows.
    fn directory(&mut self, path: &Path) {
        for dir in std::iter::once(path).chain(parents(path)) {
            if dir == Path::new("/") || self.root.contains(dir) || self.covered(dir) {
                continue;
            }
            self.root
                .entry(dir.to_path_buf())
                .or_insert(Entry::Directory { mode: 0o755 });
        }
    }

    fn parents(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
    }

    fn file(&mut self, path: &Path, contents: String) {
        self.parents(path);
        self.root
            .insert(path.to_path_buf(), Entry::File { contents });
    }

    fn mount_point(&mut self, path: &Path) {
        self.parents(path);
        if !self.covered(path) || self.binds.contains(path) && self.binds.above(path).is_none() {
            self.root.insert(path.to_path_buf(), Entry::MountPoint);
        }
    }

    fn link(&mut self, path: &str, target: &str) {
        let path = Path::new(path);
        if !self.covered(path) && !self.links.contains(path) {
            self.links.insert(path.to_path_buf(), target.into());
        }
    }

    fn finish(mut self) -> Layout {
        let binds: Vec<Bind> = self.binds.iter().map(|(_, bind)| bind.clone()).collect();
        for bind in binds {
            let path = bind.found.real.clone();
            if self.binds.above(&path).is_none() {
                if bind.found.kind == Kind::Directory {
                    self.parents(&path);
                    self.root
                        .insert(path.clone(), Entry::Directory { mode: 0o755 });
                } else {
                    self.mount_point(&path);
                }
            }
            self.mounts.push(Mount {
                at: path.clone(),
                source: Source::Host {
                    idmap: self.idmap(&bind.found),
                    dev: bind.found.dev,
                    ino: bind.found.ino,
                    path,
                },
                write: bind.write,
                exec: bind.exec,
            });
        }
        let links = std::mem::take(&mut self.links);
        for (at, target) in links.iter() {
            // Below a host mount the link is there already; where a directory of the sandbox's own
            // stands instead, that is what programs shall find.
            if !self.covered(at) && !self.root.contains(at) {
                self.parents(at);
                let target = target.clone();
                self.root.insert(at, Entry::Symlink { target });
            }
        }
        self.mounts
            .sort_by(|a, b| a.at.as_os_str().cmp(b.at.as_os_str()));
        let work = &self.facts.work;
        let directory = if self.covered(work) || self.root.contains(work) {
            self.facts.work.clone()
        } else {
            "/".into()
        };
        Layout {
            root: self.root,
            mounts: self.mounts,
            rules: without_redundant(&self.rules),
            grants: self.grants,
            directory,
        }
    }

    /// Started by root, the command is somebody else: what belongs to another user is mounted so
    /// that it appears as the command's own. The system's own places are open to everybody anyway.
    fn idmap(&self, found: &Resolved) -> Option<(u32, u32)> {
        let system = found.real.starts_with("/usr") || found.real.starts_with("/etc");
        let own = found.uid == self.identity.uid;
        let mappable = matches!(found.kind, Kind::Directory | Kind::File);
        (self.identity.switch && !system && !own && mappable).then_some((found.uid, found.gid))
    }
}

/// The rules that add something to those above them: Landlock grants what any directory above does.
fn without_redundant(rules: &PathMap<u64>) -> Vec<PathRule> {
    let above = |path: &Path| {
        parents(path)
            .filter_map(|dir| rules.get(dir))
            .fold(0, |all, access| all | access)
    };
    rules
        .iter()
        .filter(|(path, access)| **access & !above(path) != 0)
        .map(|(path, access)| PathRule {
            path: path.to_path_buf(),
            access: *access,
        })
        .collect()
}

/// Places that the sandbox makes itself.
fn own_place(path: &Path) -> bool {
    [
        "/proc",
        "/sys",
        "/dev",
        "/run/masked-file",
        "/run/masked-directory",
    ]
    .iter()
    .any(|own| is_below(path, Path::new(own)))
}
