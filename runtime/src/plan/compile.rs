//! From a profile to its request in kernel terms.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use aegis_policy::model::Scheme;
use aegis_profile::{
    Declared, Destination, Origin, Outbound, PathSpec, Profile, Sockets, SyscallBase,
};

use super::assemble::{Spec, assemble, identity};
use super::{DeniedPaths, Plan, authority, environment, files, limits};
use crate::error::Error;
use crate::facts::denied::Found;
use crate::facts::{self, HostFacts, Inputs};
use crate::seccomp::{self, SyscallSpec, UnixSockets};
use crate::types::{BrokerSocket, Network, Protocol};

/// Where names are looked up.
const DNS: u16 = 53;

/// As many sockets are handed to the broker: what one message holds, with room.
const MOST_PORTS: usize = 200;

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
    spec.network = network(profile);
    if let Outbound::Named(list) = &profile.capabilities.net_outbound
        && spec.network == Network::Brokered
    {
        spec.listeners = listeners(list);
    }
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
        &mut spec.degraded,
    )?;
    (spec.passed, spec.set) = environment::environment(profile, facts, &spec.identity);
    let listen = profile.capabilities.net_listen.iter();
    spec.listen = listen.map(|port| port.value).collect();
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

fn network(profile: &Profile) -> Network {
    match &profile.capabilities.net_outbound {
        Outbound::Host(_) => Network::Host,
        Outbound::Named(list) if !list.is_empty() => Network::Brokered,
        Outbound::None(_) | Outbound::Named(_) => Network::None,
    }
}

/// Refuses what [`compile`] would refuse on any host.
///
/// # Errors
/// The profile requests what this build cannot enforce, or a system call that there is not, or that cannot be granted.
pub fn check(profile: &Profile) -> Result<(), Error> {
    refuse_unsupported(profile)?;
    limits::check(&profile.limits, network(profile))?;
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
    let refuse = |origin: &Origin, what: &str, reason: &str, help: &str| {
        Err(Error::unenforceable(origin, what, reason, help))
    };
    let capabilities = &profile.capabilities;
    let (host, named) = match &capabilities.net_outbound {
        Outbound::None(_) => (false, &[][..]),
        Outbound::Host(_) => (true, &[][..]),
        Outbound::Named(list) => (false, &**list),
    };
    for Declared { value: to, origin } in named {
        if Scheme::named(&to.scheme) == Some(Scheme::Udp) {
            return refuse(
                origin,
                &format!("datagrams to {}", to.host),
                "the egress broker of this version passes connections on, and no datagrams",
                "use `tcp`, or `net.outbound: host` for the host's whole network",
            );
        }
        if to.port == DNS {
            return refuse(
                origin,
                &format!("port {DNS} of {}", to.host),
                "in the sandbox's own network that is where names are looked up, which nobody else is asked",
                "remove it: each name that is connected to is found",
            );
        }
    }
    if let Some(Declared { origin, .. }) = named.get(MOST_PORTS)
        && listeners(named).len() > MOST_PORTS
    {
        let what = format!("more than {MOST_PORTS} ports");
        let help = "name fewer, or use `net.outbound: host` for the host's whole network";
        return refuse(
            origin,
            &what,
            "each is a socket that is handed to the broker",
            help,
        );
    }
    if let Some((alias, secret)) = capabilities.secrets_use.iter().next() {
        return refuse(
            &secret.origin,
            &format!("the secret {alias:?}"),
            "the egress broker of this version puts no secrets in",
            "remove `secrets.use`",
        );
    }
    if let (Some(port), false) = (capabilities.net_listen.first(), host) {
        return refuse(
            &port.origin,
            &format!("net.listen on port {}", port.value),
            "the egress broker of this version publishes no port of a private network",
            "add `net.outbound: host`, or remove `net.listen`: programs inside may always listen for each other",
        );
    }
    Ok(())
}

/// What the broker serves in the sandbox's network: the look-up of names, each port that is declared, and those of the web,
/// where who asks for another host is told so.
fn listeners(destinations: &[Declared<Destination>]) -> Vec<BrokerSocket> {
    let declared = destinations.iter().map(|to| to.value.port);
    let ports: BTreeSet<u16> = declared.chain([80, 443]).collect();
    let names = [(Protocol::Udp, DNS), (Protocol::Tcp, DNS)].into_iter();
    let sockets = names.chain(ports.into_iter().map(|port| (Protocol::Tcp, port)));
    let socket = |(protocol, port)| BrokerSocket {
        protocol,
        address: (Ipv6Addr::UNSPECIFIED, port).into(),
    };
    sockets.map(socket).collect()
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
