//! The plan: a profile compiled to kernel terms. Pure data, a pure function of profile, request
//! and host facts ([`compile`]); it can be printed, hashed and tested without a
//! kernel. [`crate::apply`] carries it out and computes nothing.
//!
//! What a plan consists of is in `model`; each of the larger parts is compiled by a module of its
//! own, and the rest here.

pub mod authority;
mod environment;
pub mod files;
mod grants;
mod limits;
mod model;
mod own_places;

use std::path::PathBuf;

use aegis_profile::{LimitKey, Outbound, Profile};

use crate::error::Error;
use crate::facts::{HostFacts, Request};
use crate::seccomp;
use crate::types::{HOSTNAME, Identity, Network, SANDBOX_UID};
use aegis_sys::landlock;

pub use limits::{CORE_LIMIT, GroupLimits, Limits};
pub use model::{
    Degradation, Entry, Grant, InForce, Landlock, Memfd, Mount, Namespace, PathRule, Plan, Source,
};

/// Compiles a profile for a host. Pure: the same input gives the same plan.
pub fn compile(profile: &Profile, request: &Request, facts: &HostFacts) -> Result<Plan, Error> {
    refuse_what_waits(profile)?;
    let mut degraded = Vec::new();
    let identity = identity(facts);
    let network = match profile.capabilities.net_outbound {
        Outbound::Host(_) => Network::Host,
        Outbound::None(_) | Outbound::Named(_) => Network::None,
    };
    if facts.kernel.landlock_abi == 0 {
        return Err(Error::Unenforceable {
            origin: "this host".into(),
            what: "which programs may be executed and files read".into(),
            reason: "the kernel has no Landlock, or it is switched off".into(),
            help:
                "use Linux 5.13 or later with landlock in the lsm= list; `aegis doctor` says more"
                    .into(),
        });
    }
    let socket = socket(profile, facts);
    let syscalls = syscalls(profile, network, socket.is_some());
    let layout = files::lay_out(profile, request, facts, &identity, network)?;
    let mut grants = layout.grants;
    grants.extend(authority::beside_files(profile, socket));
    if grants.len() > MAX_GRANTS {
        return Err(Error::TooMuch {
            profile: profile.name.clone(),
            grants: grants.len(),
            most: MAX_GRANTS,
        });
    }
    let limits = limits::compile(profile, request, facts, &mut degraded)?;
    let landlock = landlock_ruleset(profile, facts, network, layout.rules, &mut degraded);
    let memfd = match (
        facts.kernel.memfd_noexec,
        facts.kernel.memfd_noexec_writable,
    ) {
        (true, true) => Memfd::Sysctl,
        (true, false) => Memfd::Supervised,
        (false, _) => Memfd::Unprotected,
    };
    if memfd == Memfd::Unprotected {
        degraded.push(Degradation {
            layer: "pid namespace",
            what: "vm.memfd_noexec is missing: a program can be executed from memory".into(),
            mend: "use Linux 6.3 or later".into(),
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
    if network.is_private() {
        namespaces.push(Namespace::Net);
    }
    Ok(Plan {
        version: 1,
        profile: profile.name.clone(),
        namespaces,
        hostname: HOSTNAME.into(),
        root: layout.root,
        mounts: layout.mounts,
        tmp_bytes: limits.tmp,
        landlock,
        seccomp: filter(profile, &syscalls, memfd)?,
        syscalls,
        network,
        memfd,
        umask: facts.umask,
        last_capability: facts.kernel.last_capability,
        limits,
        terminal: facts.terminal,
        environment: environment::environment(profile, facts, &identity),
        program: facts.command.path.clone(),
        argv: facts.command.argv.clone(),
        directory: layout.directory,
        keep_fds: request.keep_fds.clone(),
        grants,
        policy: None,
        variables: variables(facts),
        identity,
        degraded,
    })
}

/// What the format has and this build does not enforce is refused, never half-run.
fn refuse_what_waits(profile: &Profile) -> Result<(), Error> {
    let refuse = |origin: String, what: &str, reason: &str, help: &str| {
        Err(Error::Unenforceable {
            origin,
            what: what.into(),
            reason: reason.into(),
            help: help.into(),
        })
    };
    let capabilities = &profile.capabilities;
    if let Outbound::Named(list) = &capabilities.net_outbound
        && let Some(first) = list.first()
    {
        return refuse(
            first.origin.to_string(),
            "net.outbound by name",
            "the egress broker is not part of this version",
            "use `net.outbound: none`, or `net.outbound: host` for the host's whole network",
        );
    }
    if let Some((alias, secret)) = capabilities.secrets_use.iter().next() {
        return refuse(
            secret.origin.to_string(),
            &format!("the secret {alias:?}"),
            "secrets are put in by the egress broker, which is not part of this version",
            "remove `secrets.use`",
        );
    }
    let host = matches!(capabilities.net_outbound, Outbound::Host(_));
    if let (Some(port), false) = (capabilities.net_listen.first(), host) {
        return refuse(
            port.origin.to_string(),
            &format!("net.listen on port {}", port.value),
            "a port of a private network is published by the egress broker, which is not part of this version",
            "add `net.outbound: host`, or remove `net.listen`: programs inside may always listen for each other",
        );
    }
    if let (Some(rate), true) = (profile.limits.get(LimitKey::Net), host) {
        return refuse(
            rate.origin.to_string(),
            "limits.net",
            "the host's network is shared, and its traffic not shaped by this version",
            "remove `limits.net`, or use `net.outbound: none`",
        );
    }
    Ok(())
}

fn identity(facts: &HostFacts) -> Identity {
    let caller = &facts.caller;
    // Root of a user namespace that lacks the id is as limited as an ordinary user.
    if caller.uid != 0 || !caller.may_become_others {
        return Identity {
            uid: caller.uid,
            gid: caller.gid,
            switch: false,
        };
    }
    let (uid, gid) = match facts.work_owner {
        (0, _) => (SANDBOX_UID, SANDBOX_UID),
        (uid, 0) => (uid, SANDBOX_UID),
        owner => owner,
    };
    Identity {
        uid,
        gid,
        switch: true,
    }
}

fn landlock_ruleset(
    profile: &Profile,
    facts: &HostFacts,
    network: Network,
    rules: Vec<PathRule>,
    degraded: &mut Vec<Degradation>,
) -> Landlock {
    let abi = facts.kernel.landlock_abi;
    let mut lacks = |since: u32, what: &str| {
        if abi < since {
            degraded.push(Degradation {
                layer: "landlock",
                what: format!("ABI {abi}: {what}"),
                mend: format!("use a kernel with Landlock ABI {since}"),
            });
        }
    };
    lacks(
        2,
        "files cannot be moved between directories of a writable grant",
    );
    lacks(3, "truncation is bounded by the mounts alone");
    lacks(5, "device ioctls are bounded by seccomp alone");
    lacks(
        6,
        "abstract sockets and signals are bounded by namespaces alone",
    );
    let handled_fs = landlock::handled_fs(abi);
    let listen = network == Network::Host;
    if listen {
        lacks(4, "any TCP port can be bound");
    }
    Landlock {
        abi,
        handled_fs,
        handled_net: if abi >= 4 && listen {
            landlock::net::BIND_TCP
        } else {
            0
        },
        scoped: if abi >= 6 {
            landlock::scope::ABSTRACT_UNIX_SOCKET | landlock::scope::SIGNAL
        } else {
            0
        },
        paths: rules
            .into_iter()
            .map(|rule| PathRule {
                access: rule.access & handled_fs,
                ..rule
            })
            .filter(|rule| rule.access != 0)
            .collect(),
        bind: if listen {
            profile
                .capabilities
                .net_listen
                .iter()
                .map(|port| port.value)
                .collect()
        } else {
            Vec::new()
        },
    }
}

/// Each is asked of the policy, and recorded: a profile cannot have the record of its run grow without end.
const MAX_GRANTS: usize = 16_384;

/// Where a socket of the host is declared, if one is: it is there to be connected to.
fn socket<'p>(profile: &'p Profile, facts: &HostFacts) -> Option<&'p aegis_profile::Origin> {
    let capabilities = &profile.capabilities;
    let mut declared = (capabilities.files_write.iter()).chain(&capabilities.files_read);
    let home = &facts.caller.home;
    let is_socket = |spec: &aegis_profile::PathSpec| {
        let path = crate::facts::expand(spec, facts.skill.as_deref(), &facts.work, home);
        let found = path.and_then(|path| facts.paths.get(&path)?.as_ref().ok());
        found.is_some_and(|found| found.mode & libc::S_IFMT == libc::S_IFSOCK)
    };
    let socket = declared.find(|item| is_socket(&item.value))?;
    Some(&socket.origin)
}

fn syscalls(profile: &Profile, network: Network, socket: bool) -> seccomp::SyscallSpec {
    let asked = &profile.syscalls;
    let names = |list: &[aegis_profile::Declared<String>]| -> Vec<String> {
        list.iter().map(|name| name.value.clone()).collect()
    };
    seccomp::SyscallSpec {
        base: match asked.base.as_ref().map(|base| base.value) {
            None | Some(aegis_profile::SyscallBase::Default) => seccomp::Base::Default,
            Some(aegis_profile::SyscallBase::Minimal) => seccomp::Base::Minimal,
            Some(aegis_profile::SyscallBase::Learned) => seccomp::Base::Learned,
        },
        allow: names(&asked.allow),
        deny: names(&asked.deny),
        notify: true,
        network,
        watch_stderr: true,
        listens: !profile.capabilities.net_listen.is_empty(),
        unix_sockets: socket || asked.allow.iter().any(|name| name.value == "socket"),
    }
}

fn filter(
    profile: &Profile,
    spec: &seccomp::SyscallSpec,
    memfd: Memfd,
) -> Result<seccomp::Filter, Error> {
    let mut filter = seccomp::filter_for(spec).map_err(|error| {
        let text = error.to_string();
        let asked = &profile.syscalls;
        let origin = asked
            .allow
            .iter()
            .chain(&asked.deny)
            .find(|name| text.contains(&name.value))
            .map(|name| format!("{}: ", name.origin))
            .unwrap_or_default();
        Error::Syscalls(format!("{origin}{text}"))
    })?;
    if memfd == Memfd::Supervised {
        // What the profile refuses stays refused.
        filter.supervise(libc::SYS_memfd_create as u32);
    }
    Ok(filter)
}

fn variables(facts: &HostFacts) -> Vec<(String, PathBuf)> {
    let mut list = vec![
        ("$WORK".to_owned(), facts.work.clone()),
        ("$HOME".to_owned(), facts.caller.home.clone()),
    ];
    list.extend(
        facts
            .skill
            .clone()
            .map(|skill| ("$SKILL".to_owned(), skill)),
    );
    list.sort_by_key(|(_, path)| std::cmp::Reverse(path.as_os_str().len()));
    list
}

#[cfg(test)]
pub(crate) mod tests;
