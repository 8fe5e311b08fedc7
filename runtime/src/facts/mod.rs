//! Facts about this host and this call, gathered once, as a value that tests can make up.
//!
//! [`gather`] is the only reader of the host before a plan is applied; compiling from a
//! [`HostFacts`] is pure.

pub mod cgroups;
pub mod denied;
pub mod devices;
pub mod mounts;
pub mod names;
mod only;
pub mod paths;
pub mod plantable;
mod program;
mod spelling;
pub mod standard;
mod tree;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::types::{Fault, PathMap, SANDBOX_UID, StdioMode, trust};
use aegis_profile::{Args, Device, LimitKey, Outbound, PathSpec, Profile, Program};
use aegis_sys::{accounts, namespaces};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use paths::{Resolved, Trust};
pub use program::{Lookup, ProgramFacts, SCRIPT, interpreter, look_up};
use standard::Standard;
pub use variables::{Directories, TMP, expand};

/// The `PATH` of a sandbox whose profile says nothing about it: Debian's, for root and users alike.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const MEMFD_NOEXEC: &str = "/proc/sys/vm/memfd_noexec";

/// Directories that are links into `/usr` on a merged system and that programs look up.
const ROOT_LINKS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What the person asked for, besides the profile.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The command; empty: the profile's `run`.
    pub command: Vec<OsString>,
    /// Whether 0, 1, 2 are handed on, or passed on.
    pub stdio: StdioMode,
    /// Descriptors to hand on beside 0, 1, 2.
    pub keep_fds: Vec<i32>,
    /// Directories, free of links, that no grant may contain or lie in: the audit log, its keys, the approvals.
    pub reserved: Vec<PathBuf>,
    /// Files and directories, free of links, that no grant may allow to write or create: the policies in force.
    pub unwritable: Vec<PathBuf>,
    /// Files, and links on the path to them, that stay as they are in whatever is writable: the profile and what
    /// it extends.
    pub kept: Vec<PathBuf>,
    /// Directories that the path to one of these goes through and leaves again by `..`.
    pub passed: Vec<PathBuf>,
    /// Limits that the policy lets this host leave unenforced.
    pub may_be_missing: BTreeSet<String>,
    /// Whether the run is observed by its seccomp listener.
    pub observed: bool,
}

/// What the kernel offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFacts {
    /// Landlock's ABI; 0: none.
    pub landlock_abi: u32,
    /// The highest capability.
    pub last_capability: u8,
    /// Whether `vm.memfd_noexec` exists.
    pub memfd_noexec: bool,
    /// Whether this caller may write it: the host's root, unless `/proc/sys` is read-only.
    pub memfd_noexec_writable: bool,
    /// Processors that this process may use.
    pub processors: usize,
}

/// The caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Root, and not just root of a user namespace in which [`SANDBOX_UID`] is unmapped.
    pub may_become_others: bool,
    /// Its name in `/etc/passwd`, if it has one.
    pub name: Option<String>,
    /// Names of its group and of root's, as `/etc/group` has them.
    pub group: Option<String>,
    /// `$HOME`, else what `/etc/passwd` says, else `/`.
    pub home: PathBuf,
    /// The home directory in `/etc/passwd`, for a user who has an account there.
    pub account_home: Option<PathBuf>,
    /// What `$HOME` of a policy stands for, free of links: the account's, for a user who has one, since anybody can set
    /// `$HOME`. Both are home where a policy blocks.
    pub policy_home: PathBuf,
}

/// Resolved paths, by the path that was asked for.
pub type ResolvedPaths = PathMap<Result<Resolved, Fault>>;

/// What every front end needs to know of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The caller.
    pub caller: Caller,
    /// The kernel.
    pub kernel: KernelFacts,
    /// Control groups.
    pub cgroups: cgroups::Layout,
    /// The file mode creation mask.
    pub umask: u32,
    /// Which of 0, 1, 2 are the caller's controlling terminal.
    pub terminals: [bool; 3],
    /// What 0, 1, 2 are.
    pub standard: Standard,
}

impl Host {
    /// Whether one of 0, 1, 2 is the caller's controlling terminal.
    pub fn has_terminal(&self) -> bool {
        self.terminals.contains(&true)
    }
}

impl HostFacts {
    /// The links on the paths to what is asked for.
    pub fn links(&self) -> impl Iterator<Item = &paths::Link> {
        (self.paths.values().flatten())
            .chain(self.programs.values().filter_map(Lookup::resolved))
            .chain([&self.command.resolved])
            .chain(&self.command.interpreters)
            .flat_map(|found| &found.links)
    }

    /// What a policy is asked about a device: a word as it is declared, a path by the node that it leads to.
    pub fn device_name(&self, device: &Device) -> String {
        let real = match device {
            Device::Path(path) => self.devices.get(OsStr::new(path)),
            Device::Gpu | Device::Kvm | Device::Pty => None,
        };
        match real {
            Some(Ok(found)) => found.real.display().to_string(),
            _ => device.to_string(),
        }
    }
}

/// Reads what every front end needs.
pub fn host() -> Host {
    Host {
        caller: this_caller(),
        kernel: kernel_facts(),
        cgroups: cgroups::Layout::of_this_process(),
        umask: umask(),
        terminals: [0, 1, 2].map(aegis_sys::terminal::is_controlling),
        standard: Standard::of_caller(),
    }
}

/// Everything that the plan of a profile depends on, besides profile and request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// The host.
    pub host: Host,
    /// `$WORK`: the directory that the run was started in.
    pub work: PathBuf,
    /// Owner and group of `$WORK`.
    pub work_owner: (u32, u32),
    /// `$SKILL`, when the profile came from a file.
    pub skill: Option<PathBuf>,
    /// The caller's variables that the profile passes on.
    pub environment: BTreeMap<OsString, OsString>,
    /// Every path that the profile names, by its expanded form.
    pub paths: ResolvedPaths,
    /// The whole disks that the paths lie on, where block traffic is limited.
    pub disks: Vec<(u32, u32)>,
    /// Those of `/bin`, `/lib` and the like that are links, as on a merged system.
    pub root_links: Vec<paths::Link>,
    /// Every program that the profile names by a bare name, and where `PATH` has it.
    pub programs: BTreeMap<String, Lookup>,
    /// The command.
    pub command: ProgramFacts,
    /// What is denied inside of what is granted.
    pub denied: Vec<denied::Found>,
    /// What the host acts upon in the writable trees.
    pub plantable: plantable::Plantable,
    /// Device nodes present, of those that are declared.
    pub devices: ResolvedPaths,
    /// What is mounted where.
    pub mounts: Vec<mounts::Mount>,
    /// Whether Java has a list of authorities here.
    pub has_java: bool,
}

/// Reads the host.
pub fn gather(
    profile: &Profile,
    skill: Option<&Path>,
    request: &Inputs,
) -> Result<HostFacts, Error> {
    refuse_locations(&request.keep_fds)?;
    let host = host();
    let (uid, home) = (host.caller.uid, &host.caller.home);
    let mut trust = Trust {
        uid,
        ..Trust::default()
    };
    let work = std::env::current_dir().map_err(Error::WorkingDirectory)?;
    let here = paths::resolve(&work, &trust)
        .map_err(|fault| Error::WorkingDirectory(std::io::Error::other(fault.to_string())))?;
    let work = here.real.clone();
    let skill = skill.map(|dir| paths::resolve(&work.join(dir), &trust));
    let skill = skill.transpose().map_err(Error::SkillDirectory)?;
    let skill = skill.map(|found| found.real);
    let projects: Vec<&Path> = [work.as_path()]
        .into_iter()
        .chain(skill.as_deref())
        .collect();

    let capabilities = &profile.capabilities;
    let expanded = |spec: &PathSpec| expand(spec, skill.as_deref(), &work, home);
    let zones = projects.iter().filter(|dir| **dir != Path::new("/"));
    trust.zones = zones.map(|dir| dir.to_path_buf()).collect();
    trust.root_links = root_links();

    // Writable trees first: a link in one of them is not trusted, by whatever name the tree
    // was declared.
    let mut found = ResolvedPaths::new();
    let mut writable = Vec::new();
    let writes = capabilities.files_write.iter();
    for path in writes.filter_map(|item| expanded(&item.value)) {
        if let Ok(tree) = look_at(&mut found, path, &trust)
            && tree.kind == paths::Kind::Directory
        {
            writable.push(tree.real.clone());
        }
    }
    trust.zones.extend(writable.iter().cloned());
    for (path, result) in &mut found {
        *result = paths::resolve(Path::new(path), &trust);
    }
    let reads = (capabilities.files_read.iter()).chain(&capabilities.files_overlay);
    for path in reads.filter_map(|item| expanded(&item.value)) {
        look_at(&mut found, path, &trust);
    }
    trust.to_system_programs = true;
    let environment = passed(profile);
    let directories = Directories {
        skill: skill.as_deref(),
        work: &work,
        home,
    };
    let path_variable = search_path(profile, &environment, directories);
    let mut programs = BTreeMap::new();
    for item in &capabilities.shell_exec {
        match &item.value {
            Program::Name { name, .. } => {
                programs.insert(name.clone(), look_up(name, &path_variable, &trust));
            }
            Program::Path(spec) => {
                // A path may be declared for reading too, under the stricter rule for links.
                if let Some(path) = expanded(spec) {
                    look_at(&mut found, path, &trust);
                }
            }
        }
    }
    look_at(&mut found, "/usr".into(), &trust);
    if let Outbound::Host(_) = capabilities.net_outbound {
        look_at(&mut found, "/etc/resolv.conf".into(), &trust);
    }
    let work_owner = (here.uid, here.gid);
    let run = profile.run.iter().map(|word| directories.in_word(word));
    let append = profile
        .args
        .as_ref()
        .is_some_and(|args| args.value == Args::Append);
    let command: Vec<OsString> = match &*request.command {
        given if append || given.is_empty() => run.chain(given.iter().cloned()).collect(),
        given => given.to_vec(),
    };
    let command = program::command(&command, &work, &path_variable, &trust)?;
    let resolved: Vec<&Resolved> = (found.values().flatten())
        .chain(programs.values().filter_map(Lookup::resolved))
        .chain([&command.resolved])
        .chain(&command.interpreters)
        .collect();
    let mounts = mounts::read().map_err(Error::Mounts)?;
    let denied = denied::find(
        &capabilities.files_deny,
        &resolved,
        &trust,
        &mounts,
        expanded,
    )?;
    // By a link in a writable tree, the next run would find what this run has put there.
    let mut kept = Vec::new();
    if !writable.is_empty() {
        kept.extend(request.kept.iter().cloned());
        let links = (resolved.iter()).flat_map(|found| found.links.iter());
        kept.extend(links.map(|link| link.at.clone()));
        kept.extend(
            denied
                .iter()
                .flat_map(|denied| denied.links.iter().cloned()),
        );
    }
    found.insert(work.clone().into(), Ok(here));
    let plantable = plantable::look(&writable, &projects, &kept, uid)?;
    let mut devices = ResolvedPaths::new();
    for path in (capabilities.devices.iter()).flat_map(|item| devices::nodes(&item.value)) {
        look_at(&mut devices, path, &trust);
    }
    let mut of_disks = [LimitKey::DiskRead, LimitKey::DiskWrite].into_iter();
    let disks = match of_disks.any(|key| profile.limits.get(key).is_some()) {
        true => disks(found.values().flatten().map(|path| path.dev)),
        false => Vec::new(),
    };
    let java = Path::new(trust::DIRECTORY).join(OsStr::from_bytes(trust::JAVA.to_bytes()));
    let is_brokered =
        matches!(&capabilities.net_outbound, Outbound::Named(list) if !list.is_empty());
    let has_java = is_brokered && java.exists();
    Ok(HostFacts {
        has_java,
        work_owner,
        host,
        work,
        skill,
        environment,
        disks,
        paths: found,
        root_links: trust.root_links,
        programs,
        command,
        denied,
        plantable,
        devices,
        mounts,
    })
}

/// Resolves a path, unless it was resolved before.
fn look_at<'f>(
    found: &'f mut ResolvedPaths,
    path: PathBuf,
    trust: &Trust,
) -> &'f Result<Resolved, Fault> {
    let resolve = |path: &OsString| paths::resolve(Path::new(path), trust);
    found.entry(path.into()).or_insert_with_key(resolve)
}

/// Refuses directories and locations (`O_PATH`) among 0, 1, 2 and `keep_fds`: a command that gets one
/// could bypass the mounts and Landlock.
pub fn refuse_locations(keep_fds: &[i32]) -> Result<(), Error> {
    let mut all = [0, 1, 2].into_iter().chain(keep_fds.iter().copied());
    match all.find(|fd| aegis_sys::files::is_location(*fd)) {
        Some(fd) => Err(Error::Descriptor(fd)),
        None => Ok(()),
    }
}

/// The kernel's features, each asked of the kernel.
pub fn kernel_facts() -> KernelFacts {
    let memfd_noexec_may = |access| accessat(CWD, MEMFD_NOEXEC, access, AtFlags::EACCESS).is_ok();
    let memfd_noexec_writable = memfd_noexec_may(Access::WRITE_OK);
    KernelFacts {
        landlock_abi: aegis_sys::landlock::abi(),
        memfd_noexec_writable,
        last_capability: aegis_sys::capabilities::last(),
        memfd_noexec: memfd_noexec_writable || memfd_noexec_may(Access::EXISTS),
        processors: aegis_sys::process::processors(),
    }
}

/// The whole disks (major, minor) that file systems are on, by their device numbers: limits on block
/// traffic are set for these.
pub fn disks(devices: impl Iterator<Item = u64>) -> Vec<(u32, u32)> {
    let mut disks: Vec<(u32, u32)> = devices
        .map(|device| whole_disk((libc::major(device), libc::minor(device))))
        // Major 0: not on a block device (tmpfs, overlay, network).
        .filter(|(major, _)| *major != 0)
        .collect();
    disks.sort_unstable();
    disks.dedup();
    disks
}

/// The disk of a partition; any other device is its own.
pub(crate) fn whole_disk(device: (u32, u32)) -> (u32, u32) {
    let dir = format!("/sys/dev/block/{}:{}", device.0, device.1);
    let disk = || -> Option<(u32, u32)> {
        let dir = std::fs::canonicalize(dir).ok()?;
        if !dir.join("partition").exists() {
            return None;
        }
        let text = std::fs::read_to_string(dir.parent()?.join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    disk().unwrap_or(device)
}

fn root_links() -> Vec<paths::Link> {
    ROOT_LINKS
        .into_iter()
        .filter_map(|at| {
            let target = rustix::fs::readlink(at, Vec::new()).ok()?;
            Some(paths::Link {
                at: at.into(),
                target: OsString::from_vec(target.into_bytes()).into(),
            })
        })
        .collect()
}

/// The mask can be read only by setting it for a moment; there is only one thread.
fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

fn passed(profile: &Profile) -> BTreeMap<OsString, OsString> {
    (profile.environment.pass.iter())
        .filter_map(|name| std::env::var_os(&name.value).map(|value| ((&name.value).into(), value)))
        .collect()
}

/// The `PATH` that programs will be looked up in: set, passed, or the default.
fn search_path(
    profile: &Profile,
    passed: &BTreeMap<OsString, OsString>,
    directories: Directories<'_>,
) -> OsString {
    let set = profile.environment.set.get("PATH");
    (set.map(|set| directories.in_value(&set.value)))
        .or_else(|| passed.get(OsStr::new("PATH")).cloned())
        .unwrap_or_else(|| DEFAULT_PATH.into())
}

/// The caller of this process.
pub fn this_caller() -> Caller {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    caller(uid.as_raw(), gid.as_raw())
}

fn caller(uid: u32, gid: u32) -> Caller {
    let may_become_others = uid == 0 && namespaces::has_user(SANDBOX_UID).unwrap_or(false);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home = home.filter(|home| home.is_absolute());
    let user = accounts::user(uid);
    let account_home = (user.as_ref().and_then(|user| user.home.clone()))
        .filter(|home| home.is_absolute())
        .map(|home| without_dots(home, uid));
    let home = home.map(|home| without_dots(home, uid));
    let home = (home.or_else(|| account_home.clone())).unwrap_or_else(|| "/".into());
    let policy_home = match &account_home {
        Some(account) if uid != 0 => account,
        _ => &home,
    };
    let policy_home = std::fs::canonicalize(policy_home).unwrap_or_else(|_| policy_home.clone());
    // Root's sandboxes run under a name of their own.
    let named = !may_become_others;
    Caller {
        uid,
        gid,
        may_become_others,
        name: user.filter(|_| named).and_then(|user| user.name),
        group: named.then(|| accounts::group(gid)).flatten(),
        home,
        account_home,
        policy_home,
    }
}

/// A path that can be compared as text.
fn without_dots(path: PathBuf, uid: u32) -> PathBuf {
    let plain: PathBuf = path.components().collect();
    if plain
        .components()
        .all(|part| part != std::path::Component::ParentDir)
    {
        return plain;
    }
    let trust = Trust {
        uid,
        ..Trust::default()
    };
    paths::resolve(&plain, &trust).map_or_else(|_| "/".into(), |found| found.real)
}
