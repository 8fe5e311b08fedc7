//! The sandbox's own places, which every profile gets without asking: `/proc` with its masks, `/dev`,
//! `/tmp`, the home directory, and the few files of `/etc` that are made here.

use std::path::{Path, PathBuf};

use aegis_profile::{Declared, Destination, Device, LimitKey, Outbound, Profile};

use super::access::{DEVICE, READ_TREE, WRITE_TREE, rights};
use super::files::Root;
use super::ops::{MASKED_DIRECTORY, MASKED_FILE, Op, Operation};
use super::stdio::Given;
use crate::error::Error;
use crate::facts::paths::{Kind, Resolved};
use crate::facts::{HostFacts, TMP, devices};
use crate::types::paths::{above, is_below};
use crate::types::{Identity, trust};
use aegis_sys::landlock::fs;
use aegis_sys::netlink;

/// The parts of `/proc` that show, or act upon, the whole host.
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

/// The names that a sandbox finds without asking anybody: its own.
const HOSTS: &str = "127.0.0.1 localhost aegis\n::1 localhost aegis\n";

/// Adds all these places to a root whose grants are known.
pub(super) fn add(root: &mut Root<'_>, profile: &Profile) -> Result<(), Error> {
    if let Some(origin) = &root.granted.executable_tmp
        && root.granted.covers(Path::new(TMP))
    {
        return Err(Error::Grant {
            origin: origin.clone(),
            what: "shell.exec: $TMP".into(),
            reason: format!("{TMP} is the host's, which another line grants"),
            help: format!("name what is to be executed by its path, such as {TMP}/DIRECTORY"),
        });
    }
    if let Outbound::Named(list) = &profile.capabilities.net_outbound
        && !list.is_empty()
    {
        add_names(root, list)?;
        add_trust(root);
    }
    add_directories(root);
    add_devices(root, profile)
}

fn add_directories(root: &mut Root<'_>) {
    for path in ["/proc", "/run"] {
        root.directory(Path::new(path));
    }
    root.make(Op::Directory { mode: 0 }.at(MASKED_DIRECTORY));
    root.make(Op::MountPoint.at(MASKED_FILE));
    add_private(root, Path::new(TMP), 0o1777);
    if root.granted.executable_tmp.is_some() {
        root.granted
            .rules
            .insert(TMP.into(), rights(true, true, true));
    }
    add_private(root, Path::new("/dev/shm"), 0o1777);
    root.link("/var/tmp", TMP);
    root.link("/var/run", "/run");
    let home = &root.facts.host.caller.home;
    let is_private = [TMP, "/dev/shm"].iter().any(|path| home == Path::new(path));
    if home.parent().is_some() && !is_private && !root.granted.covers(home) && !own_place(home) {
        add_private(root, home, 0o700);
    }
    root.mounts.push(Op::Proc.at("/proc"));
    root.mounts.extend(MASKED.map(|path| Op::Mask.at(path)));
    root.granted.rules.insert("/proc".into(), READ_TREE);
    *root.granted.rules.entry("/".into()).or_default() |= fs::READ_DIR;
    for (name, contents) in etc_files(root.facts, root.identity) {
        let path = Path::new("/etc").join(name);
        if !root.granted.binds.contains_key(path.as_os_str()) {
            root.file(&path, contents);
        }
    }
    // Everything in these two directories of the sandbox's own was granted, or made here.
    root.granted.rules.insert("/etc".into(), fs::READ_FILE);
    root.granted.rules.insert("/dev".into(), DEVICE);
    root.link("/etc/mtab", "/proc/self/mounts");
}

/// How hosts are found: where each name has an address of the run's own, in place of how the host finds them.
const NAMES: [&str; 3] = ["/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"];

/// Adds [`NAMES`]. Where the host's are granted, these are what is shown; no directory may hide them.
fn add_names(root: &mut Root<'_>, destinations: &[Declared<Destination>]) -> Result<(), Error> {
    let hiding = NAMES
        .iter()
        .find_map(|path| above(&root.granted.binds, Path::new(path)));
    if let (Some(bind), Some(Declared { origin, .. })) = (hiding, destinations.first()) {
        let directory = bind.found.real.display();
        return Err(Error::Grant {
            origin: origin.clone(),
            what: "net.outbound by name".into(),
            reason: format!(
                "{directory} is granted whole, and would hide the /etc/hosts, /etc/nsswitch.conf and /etc/resolv.conf by which names are found"
            ),
            help: format!("name what is needed in {directory}, or use `net.outbound: host`"),
        });
    }
    let granted = &mut root.granted;
    for path in NAMES.map(Path::new) {
        granted.binds.remove(path.as_os_str());
        granted.links.remove(path.as_os_str());
        granted.rules.remove(path.as_os_str());
        granted.grants.retain(|grant| grant.path() != Some(path));
    }
    let server = format!("nameserver {}\n", netlink::OWN_ADDRESS);
    root.file(Path::new("/etc/resolv.conf"), server);
    let switch = "passwd: files\ngroup: files\nhosts: files dns\n";
    root.file(Path::new("/etc/nsswitch.conf"), switch.to_owned());
    Ok(())
}

/// Adds the directory of those whom TLS trusts, in place of the host's: the broker speaks for hosts that are refused, and for those whose
/// requests have to be seen.
fn add_trust(root: &mut Root<'_>) {
    let path = Path::new(trust::DIRECTORY);
    let host = root.granted.binds.remove(path.as_os_str());
    root.directory(path);
    let trust = Op::Trust {
        host: host.map(|bind| bind.found.host_path(root.identity, false)),
        java: root.facts.has_java,
    };
    root.mounts.push(trust.at(path));
    root.granted.rules.insert(path.into(), READ_TREE);
}

/// Adds a private writable directory, unless the host's is granted in its place.
fn add_private(root: &mut Root<'_>, path: &Path, mode: u32) {
    if root.granted.covers(path) {
        return;
    }
    root.directory(path);
    let exec = path == Path::new(TMP) && root.granted.executable_tmp.is_some();
    root.mounts.push(Op::Private { exec }.at(path));
    root.make(Op::Directory { mode }.at(path));
    root.granted.rules.insert(path.into(), WRITE_TREE);
}

/// The files of `/etc` that name users, groups and hosts, unless the host's are granted.
fn etc_files(facts: &HostFacts, identity: &Identity) -> Vec<(&'static str, String)> {
    let user = user_name(facts, identity);
    let group = name(facts.host.caller.group.as_ref(), identity);
    let Identity { uid, gid, .. } = *identity;
    let home = facts.host.caller.home.display();
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
        ("hosts", HOSTS.into()),
    ]
}

/// The name of the command's user inside.
pub(super) fn user_name(facts: &HostFacts, identity: &Identity) -> String {
    name(facts.host.caller.name.as_ref(), identity)
}

/// The caller's own name, of a user or group, unless the command is another user.
fn name(own: Option<&String>, identity: &Identity) -> String {
    let own = own.filter(|_| !identity.switch);
    own.map_or_else(|| "aegis".into(), String::clone)
}

fn add_devices(root: &mut Root<'_>, profile: &Profile) -> Result<(), Error> {
    let always = |path: &&str| (PathBuf::from(path), None);
    let mut nodes: Vec<_> = devices::ALWAYS.iter().map(always).collect();
    let callers = root.facts.host.terminals;
    let terminals = [0, 1, 2].map(|fd: usize| match root.stdio.given[fd] {
        Given::Terminal => true,
        Given::Own => callers[fd],
        Given::Pipe => false,
    });
    // What is written through the caller's could not be counted.
    let counts = profile.limits.get(LimitKey::Output).is_some();
    let has_terminal = root.stdio.has_terminal() || terminals.contains(&true) && !counts;
    if has_terminal {
        nodes.push((devices::TERMINAL.into(), None));
    }
    root.link("/dev/fd", "/proc/self/fd");
    for (fd, path) in devices::STANDARD.iter().enumerate() {
        // The terminal's own node belongs to its user, who may not be the command's; this one is for everybody.
        match has_terminal && terminals[fd] {
            true => root.link(path, "tty"),
            false => root.link(path, &format!("/proc/self/fd/{fd}")),
        }
    }
    for item in &profile.capabilities.devices {
        if item.value == Device::Pty {
            root.directory(Path::new("/dev/pts"));
            root.link("/dev/ptmx", "pts/ptmx");
            root.mounts.push(Op::Pseudoterminals.at("/dev/pts"));
            let rights = DEVICE | fs::READ_DIR;
            root.granted.rules.insert("/dev/pts".into(), rights);
            continue;
        }
        for found in declared_nodes(item, root.facts)? {
            root.granted.add_links(found);
            if found.kind == Kind::Directory {
                let path = &found.real;
                let rights = DEVICE | fs::READ_DIR;
                root.granted.rules.insert(path.into(), rights);
                root.directory(path);
                let name = Some(root.facts.device_name(&item.value));
                root.mounts.push(device(path.clone(), name));
            } else if nodes.iter().all(|(known, _)| *known != found.real) {
                nodes.push((
                    found.real.clone(),
                    Some(root.facts.device_name(&item.value)),
                ));
            }
        }
    }
    for (path, name) in nodes {
        root.mount_point(&path);
        root.mounts.push(device(path, name));
    }
    Ok(())
}

fn device(path: PathBuf, name: Option<String>) -> Operation {
    let at = path.clone();
    Op::Device { path, name }.at(at)
}

/// The nodes of one declared device that this host has: at least one, all in `/dev`.
fn declared_nodes<'a>(
    item: &Declared<Device>,
    facts: &'a HostFacts,
) -> Result<Vec<&'a Resolved>, Error> {
    let fail = |reason: String, help: &str| Error::Grant {
        origin: item.origin.clone(),
        what: format!("devices: {}", item.value),
        reason,
        help: help.into(),
    };
    let present: Vec<&Resolved> = devices::nodes(&item.value)
        .iter()
        .filter_map(|path| facts.devices.get(path.as_os_str())?.as_ref().ok())
        .collect();
    if present.is_empty() {
        return Err(fail(
            "this host has no such device".into(),
            "remove it, or run where the device is",
        ));
    }
    // Directories of devices are known ones: a directory such as /dev/shm has files.
    let is_device = |found: &Resolved| match found.mode & libc::S_IFMT {
        libc::S_IFCHR | libc::S_IFBLK => true,
        libc::S_IFDIR => !matches!(item.value, Device::Path(_)),
        _ => false,
    };
    for found in &present {
        let wrong = match found.real.starts_with("/dev") {
            false => format!("it leads to {}, out of /dev", found.real.display()),
            true if !is_device(found) => format!("{} is not a device", found.real.display()),
            true => continue,
        };
        return Err(fail(wrong, "name a device node"));
    }
    Ok(present)
}

/// Whether a path is, or lies in, a place that the sandbox makes itself, and so cannot be granted.
pub(super) fn own_place(path: &Path) -> bool {
    ["/proc", "/sys", "/dev", MASKED_FILE, MASKED_DIRECTORY]
        .iter()
        .any(|own| is_below(path, Path::new(own)))
}
