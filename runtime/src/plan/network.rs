//! `net.outbound` and `net.listen`: which network there is, and through which sockets a broker serves it.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use aegis_policy::model::Scheme;
use aegis_profile::{Declared, Destination, Outbound, Profile};

use crate::error::Error;
use crate::types::{BrokerSocket, INWARD, Network, Protocol};

/// Where names are looked up.
const DNS: u16 = 53;

/// Those of the web, where who asks for a host that is not declared is told so.
const WEB: [u16; 2] = [80, 443];

/// As many sockets are handed to the broker: what one message holds, with room.
const MOST_SOCKETS: usize = 240;

/// As many ports are published, each on two addresses of the host.
const MOST_PUBLISHED: usize = 16;

/// The network of a profile.
pub(super) fn of(profile: &Profile) -> Network {
    match &profile.capabilities.net_outbound {
        Outbound::Host(_) => Network::Host,
        Outbound::Named(list) if !list.is_empty() => Network::Brokered,
        Outbound::None(_) | Outbound::Named(_) => Network::None,
    }
}

fn named(profile: &Profile) -> &[Declared<Destination>] {
    match &profile.capabilities.net_outbound {
        Outbound::Named(list) => list,
        Outbound::None(_) | Outbound::Host(_) => &[],
    }
}

fn is_udp(to: &Declared<Destination>) -> bool {
    Scheme::named(&to.value.scheme) == Some(Scheme::Udp)
}

/// What the broker serves in the sandbox's network: the look-up of names, each port that is declared, and those of the web.
pub(super) fn listeners(profile: &Profile) -> Vec<BrokerSocket> {
    let destinations = named(profile);
    if destinations.is_empty() {
        return Vec::new();
    }
    let ports = |udp: bool| {
        let declared = destinations.iter().filter(move |to| is_udp(to) == udp);
        declared.map(|to| to.value.port).chain([DNS])
    };
    let udp: BTreeSet<u16> = ports(true).collect();
    let tcp: BTreeSet<u16> = ports(false).chain(WEB).collect();
    let sockets = (udp.into_iter().map(|port| (Protocol::Udp, port)))
        .chain(tcp.into_iter().map(|port| (Protocol::Tcp, port)));
    let socket = |(protocol, port)| BrokerSocket {
        protocol,
        address: (Ipv6Addr::UNSPECIFIED, port).into(),
    };
    sockets.map(socket).collect()
}

/// The TCP ports that may be listened on: of the host, or published there.
pub(super) fn listen(profile: &Profile) -> Vec<u16> {
    let listen = profile.capabilities.net_listen.iter();
    let ports: BTreeSet<u16> = listen.map(|port| port.value).collect();
    ports.into_iter().collect()
}

/// Refuses what cannot be had in a private network.
///
/// # Errors
/// The profile requests such.
pub(super) fn check(profile: &Profile) -> Result<(), Error> {
    let destinations = named(profile);
    for Declared { value: to, origin } in destinations {
        if to.port == DNS {
            return Err(Error::unenforceable(
                origin,
                format!("port {DNS} of {}", to.host),
                "in the sandbox's own network that is where names are looked up, which nobody else is asked",
                "remove it: each name that is connected to is found",
            ));
        }
    }
    if of(profile) == Network::Host {
        return Ok(());
    }
    check_published(profile)?;
    let published = listen(profile).len();
    let inward = match published {
        0 => 0,
        published => 2 * published + INWARD.v4 + INWARD.v6,
    };
    let most = MOST_SOCKETS - inward;
    if let Some(Declared { origin, .. }) = destinations.last()
        && listeners(profile).len() > most
    {
        // Those of names are not declared.
        let ports = most - 2;
        return Err(Error::unenforceable(
            origin,
            format!("more than {ports} ports"),
            "each is a socket that is handed to the broker",
            "name fewer, or use `net.outbound: host` for the host's whole network",
        ));
    }
    Ok(())
}

/// Refuses ports that nobody inside could listen on, and too many.
fn check_published(profile: &Profile) -> Result<(), Error> {
    let served: Vec<u16> = (listeners(profile).iter())
        .filter(|socket| socket.protocol == Protocol::Tcp)
        .map(|socket| socket.address.port())
        .collect();
    for Declared {
        value: port,
        origin,
    } in &profile.capabilities.net_listen
    {
        if !served.contains(port) {
            continue;
        }
        let mut destinations = named(profile).iter();
        let declared = destinations.find(|to| to.value.port == *port && !is_udp(to));
        let reason = match declared {
            Some(Declared { value: to, origin }) => format!(
                "`net.outbound` names that port of {} ({origin}), and inside it leads there, at every address",
                to.host
            ),
            None => "with hosts by name, the egress broker serves that port inside".to_owned(),
        };
        return Err(Error::unenforceable(
            origin,
            format!("net.listen on port {port}"),
            &reason,
            "listen on another port, such as 8080 or 8081",
        ));
    }
    let listen = &profile.capabilities.net_listen;
    match listen.get(MOST_PUBLISHED) {
        Some(port) if self::listen(profile).len() > MOST_PUBLISHED => Err(Error::unenforceable(
            &port.origin,
            format!("more than {MOST_PUBLISHED} published ports"),
            "each is a socket of the host's, and one more",
            "name fewer, or use `net.outbound: host` for the host's whole network",
        )),
        _ => Ok(()),
    }
}
