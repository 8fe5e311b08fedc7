//! From a profile to its request in kernel terms.

use std::path::PathBuf;

use aegis_profile::{Declared, Origin, PathSpec, Profile, Sockets, SyscallBase};

use super::assemble::{Spec, assemble, identity};
use super::{DeniedPaths, Plan, authority, environment, files, limits, network, secrets};
use crate::error::Error;
use crate::facts::denied::Found;
use crate::facts::{self, HostFacts, Inputs};
use crate::seccomp::{self, SyscallSpec, UnixSockets};

/// Compiles a profile for a host. Pure: the same input gives the same plan.
///
/// # Errors
/// The profile requests what cannot be granted, or what this host or build cannot enforce.
pub fn compile(profile: &Profile, request: &Inputs, facts: &HostFacts) -> Result<Plan, Error> {
    refuse_unsupported(profile)?;
    let host = &facts.host;
    let program = facts.command.path.clone();
    let identity = identity(host, facts.work_owner);
    let mut spec = Spec::new(&profile.name, program, identity);
    spec.network = network::of(profile);
    spec.listeners = network::listeners(profile);
    spec.listen = network::listen(profile);
    spec.rules_of_mounts = false;
    files::lay_out(&mut spec, profile, request, facts)?;
    let socket = socket(profile, facts);
    spec.grants
        .extend(authority::beside_files(profile, facts, socket));
    spec.limits = limits::compile(
        &profile.limits,
        &request.may_be_missing,
        host,
        facts.disks.clone(),
        spec.network,
        !spec.listen.is_empty(),
        &mut spec.degraded,
    )?;
    spec.secrets = secrets::secrets(profile);
    (spec.passed, spec.set) =
        environment::environment(profile, facts, &spec.identity, spec.network);
    let placeholders = spec
        .secrets
        .iter()
        .filter_map(|secret| secret.placeholder.clone());
    spec.set
        .extend(placeholders.map(|(name, value)| (name.into(), value.into())));
    spec.syscalls = syscalls(profile, socket.is_some());
    spec.syscalls.observed = request.observed;
    spec.argv.clone_from(&facts.command.argv);
    spec.stdio = request.stdio;
    spec.keep_fds.clone_from(&request.keep_fds);
    spec.variables = variables(facts);
    spec.denied = denied(facts);
    assemble(spec, host).map_err(|mut error| {
        if let Error::Syscalls { origin, name, .. } = &mut error {
            *origin = naming(profile, name);
        }
        error
    })
}

/// Refuses what [`compile`] would refuse on any host.
///
/// # Errors
/// The profile requests what this build cannot enforce, or a system call that there is not, or that cannot be granted.
pub fn check(profile: &Profile) -> Result<(), Error> {
    refuse_unsupported(profile)?;
    limits::check(&profile.limits, network::of(profile))?;
    let filter = seccomp::filter_for(&syscalls(profile, false));
    filter.map(drop).map_err(|error| Error::Syscalls {
        origin: naming(profile, &error.name),
        cause: error.to_string(),
        name: error.name,
    })
}

/// The line that names a system call.
fn naming(profile: &Profile, call: &str) -> Option<Origin> {
    let asked = &profile.syscalls;
    let mut named = asked.allow.iter().chain(&asked.deny);
    let item = named.find(|item| item.value == *call);
    item.map(|item| item.origin.clone())
}

/// Refuses what the format has but this build does not enforce: such a profile never runs half-enforced.
fn refuse_unsupported(profile: &Profile) -> Result<(), Error> {
    network::check(profile)?;
    secrets::check(profile)
}

/// Where a host socket is declared, if one is: it is declared to be connected to.
fn socket<'p>(profile: &'p Profile, facts: &HostFacts) -> Option<&'p Origin> {
    let capabilities = &profile.capabilities;
    let mut declared = (capabilities.files_write.iter())
        .chain(&capabilities.files_read)
        .chain(&capabilities.files_overlay);
    let home = &facts.host.caller.home;
    let is_socket = |spec: &PathSpec| {
        let path = facts::expand(spec, facts.skill.as_deref(), &facts.work, home);
        let found = path.and_then(|path| facts.paths.get(path.as_os_str())?.as_ref().ok());
        found.is_some_and(|found| found.mode & libc::S_IFMT == libc::S_IFSOCK)
    };
    let socket = declared.find(|item| is_socket(&item.value))?;
    Some(&socket.origin)
}

fn syscalls(profile: &Profile, socket: bool) -> SyscallSpec {
    let asked = &profile.syscalls;
    let names = |list: &[Declared<String>]| -> Vec<String> {
        list.iter().map(|name| name.value.clone()).collect()
    };
    let base = match asked.base.as_ref().map(|base| base.value) {
        None | Some(SyscallBase::Default) => seccomp::Base::Default,
        Some(SyscallBase::Minimal) => seccomp::Base::Minimal,
        Some(SyscallBase::Learned) => seccomp::Base::Learned,
    };
    let sockets = profile.capabilities.sockets.as_ref();
    let private = sockets.is_some_and(|sockets| sockets.value == Sockets::Private);
    SyscallSpec {
        allow: names(&asked.allow),
        deny: names(&asked.deny),
        unix_sockets: match socket || asked.allow.iter().any(|name| name.value == "socket") {
            true => UnixSockets::Any,
            false if private => UnixSockets::Private,
            false => UnixSockets::None,
        },
        ..SyscallSpec::new(base)
    }
}

fn denied(facts: &HostFacts) -> Vec<DeniedPaths> {
    let denied = |found: &Found| DeniedPaths {
        what: found.item.value.to_string(),
        from: (&found.item.origin).into(),
        paths: (found.there.iter())
            .map(|denied| denied.real.clone().into())
            .collect(),
    };
    facts.denied.iter().map(denied).collect()
}

fn variables(facts: &HostFacts) -> Vec<(String, PathBuf)> {
    let mut list = vec![
        ("$WORK".to_owned(), facts.work.clone()),
        ("$HOME".to_owned(), facts.host.caller.home.clone()),
    ];
    list.extend((facts.skill.clone()).map(|skill| ("$SKILL".to_owned(), skill)));
    list.sort_by_key(|(_, path)| std::cmp::Reverse(path.as_os_str().len()));
    list
}
