//! From a front end's request, in kernel terms, to a plan: the only way to make a [`Plan`].
//!
//! Front ends do not decide what keeps a sandbox closed. This module does: namespaces, Landlock's scope, the
//! filter's boundary, limits that always hold, and that a policy is asked about everything that is reachable.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use aegis_sys::landlock::{self, fs};

use super::Secret;
use super::access::{DEVICE, READ_TREE, WRITE_TREE, rights};
use super::limits::{self, Limits};
use super::model::{Degraded, DeniedPaths, Grant, Landlock, Memfd, Namespace, PathRule, Plan};
use super::ops::{Op, Operation, Operations};
use super::reachable::Reachable;
use super::stdio::{Errors, Stdio};
use crate::error::Error;
use crate::facts::Host;
use crate::facts::paths::Kind;
use crate::seccomp::{self, SyscallSpec};
use crate::types::paths::parents;
use crate::types::{BrokerSocket, HOSTNAME, Identity, Network, PathMap, SANDBOX_UID, StdioMode};

/// A policy decides about each, and each is recorded: no profile can make its run's record grow without end.
const MAX_GRANTS: usize = 16_384;

/// Everything that a front end asks for.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name of the requester, usually a profile's.
    pub name: String,
    /// The user and group of the command; see [`identity`].
    pub identity: Identity,
    /// The new root.
    pub operations: Vec<Operation>,
    /// `LANDLOCK_ACCESS_FS_*` by path of the new root.
    pub rules: PathMap<u64>,
    /// Whether each mount may be used as it is mounted, in addition to `rules`: read, and, if it is
    /// writable or executable, written and executed.
    pub rules_of_mounts: bool,
    /// The network.
    pub network: Network,
    /// TCP ports that may be listened on in the host's network; of a private one, those that whoever takes
    /// [`Built::inward`](crate::supervise::Built::inward) publishes.
    pub listen: Vec<u16>,
    /// Sockets for the broker of a [`Network::Brokered`].
    pub listeners: Vec<BrokerSocket>,
    /// Secrets for the broker to put in.
    pub secrets: Vec<Secret>,
    /// System calls. Network, supervision and listening are set by [`assemble`].
    pub syscalls: SyscallSpec,
    /// Limits; see [`limits::compile`].
    pub limits: Limits,
    /// Variables that are passed on from the caller.
    pub passed: BTreeMap<OsString, OsString>,
    /// Variables that are set, over those.
    pub set: BTreeMap<OsString, OsString>,
    /// The file to execute.
    pub program: PathBuf,
    /// Arguments, the name first.
    pub argv: Vec<OsString>,
    /// Working directory, in the new root.
    pub directory: PathBuf,
    /// What is denied inside of what is granted, for those who read the plan; `operations` hide it.
    pub denied: Vec<DeniedPaths>,
    /// Whether 0, 1, 2 are handed on, or passed on.
    pub stdio: StdioMode,
    /// Descriptors to hand on beside 0, 1, 2; see [`crate::facts::refuse_locations`].
    pub keep_fds: Vec<i32>,
    /// Grants and their origins. Missing ones are added.
    pub grants: Vec<Grant>,
    /// What is degraded on this host.
    pub degraded: Vec<Degraded>,
    /// `$SKILL`, `$WORK` and `$HOME`: for printing paths as a profile declares them.
    pub variables: Vec<(String, PathBuf)>,
}

impl Spec {
    /// A command with nothing granted: an empty root, no network, no limits.
    pub fn new(name: impl Into<String>, program: PathBuf, identity: Identity) -> Self {
        Self {
            name: name.into(),
            identity,
            operations: Vec::new(),
            rules: PathMap::default(),
            rules_of_mounts: true,
            network: Network::None,
            listen: Vec::new(),
            listeners: Vec::new(),
            secrets: Vec::new(),
            syscalls: SyscallSpec::new(seccomp::Base::Default),
            limits: Limits::default(),
            passed: BTreeMap::new(),
            set: BTreeMap::new(),
            argv: vec![program.clone().into_os_string()],
            program,
            directory: "/".into(),
            denied: Vec::new(),
            stdio: StdioMode::default(),
            keep_fds: Vec::new(),
            grants: Vec::new(),
            degraded: Vec::new(),
            variables: Vec::new(),
        }
    }
}

/// The command's identity: the caller's; or, if the caller is root, that of `owner`, who owns what it works on.
pub fn identity(host: &Host, owner: (u32, u32)) -> Identity {
    let caller = &host.caller;
    // Root of a user namespace without that id is as limited as an ordinary user.
    let switch = caller.uid == 0 && caller.may_become_others;
    let (uid, gid) = match owner {
        _ if !switch => (caller.uid, caller.gid),
        (0, _) => (SANDBOX_UID, SANDBOX_UID),
        (uid, 0) => (uid, SANDBOX_UID),
        owner => owner,
    };
    Identity { uid, gid, switch }
}

/// Makes the plan. Pure: the same input gives the same plan.
///
/// # Errors
/// The operations make no valid root, the system calls make no valid filter, too much is requested, or this
/// host cannot enforce it.
pub fn assemble(spec: Spec, host: &Host) -> Result<Plan, Error> {
    check(&spec, host)?;
    let mut degraded = spec.degraded;
    let root = Operations::new(spec.operations).map_err(|error| Error::Root(error.to_string()))?;
    let mut rules = spec.rules;
    if spec.rules_of_mounts {
        add_rules_of_mounts(&root, &mut rules);
    }
    let stdio = Stdio::of(spec.stdio, &host.standard, spec.limits.output.is_some());
    let syscalls = SyscallSpec {
        notify: true,
        watch_stderr: stdio.errors == Errors::Watched,
        network: spec.network,
        listens: !spec.listen.is_empty(),
        pinned: spec.limits.processors.is_some(),
        ..spec.syscalls
    };
    let mut grants = spec.grants;
    let asked = Reachable {
        root: &root,
        rules: &rules,
        network: spec.network,
        listen: &spec.listen,
        passed: &spec.passed,
        syscalls: &syscalls,
    };
    asked.add_missing(&mut grants);
    asked.except_hidden(&mut grants);
    if grants.len() > MAX_GRANTS {
        return Err(Error::TooMuch {
            profile: spec.name,
            grants: grants.len(),
            most: MAX_GRANTS,
        });
    }
    let limits = limits::held(spec.limits, host);
    let published = match spec.network.is_private() {
        true => spec.listen.clone(),
        false => Vec::new(),
    };
    let landlock = landlock_ruleset(host, spec.network, &rules, spec.listen, &mut degraded);
    let memfd = match (host.kernel.memfd_noexec, host.kernel.memfd_noexec_writable) {
        (true, true) => Memfd::Sysctl,
        (true, false) => Memfd::Supervised,
        (false, _) => Memfd::Unprotected,
    };
    if memfd == Memfd::Unprotected {
        degraded.push(Degraded {
            layer: "pid namespace",
            what: "vm.memfd_noexec is missing: a program can be executed from memory".into(),
            fix: "use Linux 6.3 or later".into(),
        });
    }
    let mut namespaces = vec![
        Namespace::User,
        Namespace::Mount,
        Namespace::Pid,
        Namespace::Ipc,
        Namespace::Uts,
        Namespace::Cgroup,
    ];
    if spec.network.is_private() {
        namespaces.push(Namespace::Net);
    }
    let mut environment = spec.passed;
    environment.extend(spec.set);
    Ok(Plan {
        version: 1,
        profile: spec.name,
        namespaces,
        hostname: HOSTNAME.into(),
        root,
        landlock,
        seccomp: filter(&syscalls, memfd)?,
        syscalls,
        network: spec.network,
        listeners: spec.listeners,
        published,
        memfd,
        umask: host.umask,
        last_capability: host.kernel.last_capability,
        limits,
        terminal: host.has_terminal() && spec.stdio == StdioMode::Inherit,
        stdio,
        environment,
        program: spec.program,
        argv: spec.argv,
        directory: spec.directory,
        keep_fds: spec.keep_fds,
        grants,
        denied: spec.denied,
        secrets: spec.secrets,
        opened: Vec::new(),
        policy: None,
        variables: spec.variables,
        identity: spec.identity,
        degraded,
    })
}

/// Refuses what no front end may request, and what no host without Landlock can enforce.
fn check(spec: &Spec, host: &Host) -> Result<(), Error> {
    let refuse = |what: &str, reason: &str, help: &str| {
        Err(Error::unenforceable("this host", what, reason, help))
    };
    if host.kernel.landlock_abi == 0 {
        return refuse(
            "which programs may be executed and files read",
            "the kernel has no Landlock, or it is switched off",
            "use Linux 5.13 or later with landlock in the lsm= list; `aegis doctor` says more",
        );
    }
    if spec.identity != identity(host, (spec.identity.uid, spec.identity.gid)) {
        return refuse(
            "running as this user",
            "the command runs as the caller, and never as root of the host",
            "take the identity from `plan::identity`",
        );
    }
    if !spec.listeners.is_empty() && spec.network != Network::Brokered {
        return refuse(
            "listeners of a broker",
            "the network of this run has no broker",
            "use `Network::Brokered`",
        );
    }
    Ok(())
}

/// Adds what each mount allows.
fn add_rules_of_mounts(root: &Operations, rules: &mut PathMap<u64>) {
    for operation in root.iter() {
        let access = match &operation.op {
            // Everything made in it or mounted below it may be read.
            Op::Tmpfs { .. } if operation.at.parent().is_none() => READ_TREE,
            Op::Private { exec: true } => rights(true, true, true),
            Op::Tmpfs { .. } | Op::Private { .. } => WRITE_TREE,
            Op::Bind {
                source,
                write,
                exec,
                overlay,
            } => rights(source.kind == Kind::Directory, *write || *overlay, *exec),
            Op::Device { .. } => DEVICE,
            Op::Pseudoterminals => DEVICE | fs::READ_DIR,
            _ => continue,
        };
        *rules.entry(operation.at.clone().into()).or_default() |= access;
    }
}

fn landlock_ruleset(
    host: &Host,
    network: Network,
    rules: &PathMap<u64>,
    listen: Vec<u16>,
    degraded: &mut Vec<Degraded>,
) -> Landlock {
    let abi = host.kernel.landlock_abi;
    let mut needs = |since: u32, what: &str| {
        if abi < since {
            degraded.push(Degraded {
                layer: "landlock",
                what: format!("ABI {abi}: {what}"),
                fix: format!("use a kernel with Landlock ABI {since}"),
            });
        }
    };
    needs(
        2,
        "files cannot be moved between directories of a writable grant",
    );
    needs(3, "truncation is bounded by the mounts alone");
    needs(5, "device ioctls are bounded by seccomp alone");
    needs(
        6,
        "abstract sockets and signals are bounded by namespaces alone",
    );
    let handled_fs = landlock::handled_fs(abi);
    // In a private network the command may listen on any port.
    let host_network = network == Network::Host;
    if host_network {
        needs(4, "any TCP port can be bound");
    }
    let ports = abi >= 4 && host_network;
    // Landlock also grants the rights of every directory above: a rule that adds nothing to those is left out.
    let above = |path: &OsString| {
        parents(Path::new(path))
            .filter_map(|dir| rules.get(dir.as_os_str()))
            .fold(0, |all, access| all | access)
    };
    Landlock {
        abi,
        handled_fs,
        handled_net: match ports {
            true => landlock::net::BIND_TCP,
            false => 0,
        },
        scoped: match abi >= 6 {
            true => landlock::scope::ABSTRACT_UNIX_SOCKET | landlock::scope::SIGNAL,
            false => 0,
        },
        paths: rules
            .iter()
            .filter(|(path, access)| **access & !above(path) & handled_fs != 0)
            .map(|(path, access)| PathRule {
                path: path.into(),
                access: access & handled_fs,
            })
            .collect(),
        bind: match ports {
            true => listen,
            false => Vec::new(),
        },
    }
}

fn filter(spec: &SyscallSpec, memfd: Memfd) -> Result<seccomp::Filter, Error> {
    let mut filter = seccomp::filter_for(spec).map_err(|error| Error::Syscalls {
        origin: None,
        cause: error.to_string(),
        name: error.name,
    })?;
    if memfd == Memfd::Supervised {
        filter.supervise_memfds();
    }
    Ok(filter)
}
