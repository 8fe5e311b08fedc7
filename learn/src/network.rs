//! From sockets and addresses to `sockets`, `net.outbound` and `net.listen`; the rest is told.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use aegis_observation::{Address, End, How, Observation, Text};

use crate::evidence::{About, Did, Evidence};
use crate::forms::is_brokers;
use crate::line::{Key, Lines};
use crate::places;
use crate::rules::Rule;
use crate::surroundings::Network;

/// Services that the C library and others try, and do without.
const TRIED: [&str; 6] = [
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/run/systemd/userdb",
    "/var/lib/sss",
    "/run/systemd/resolve",
    "/dev/log",
];

const STREAM: u16 = 1;

/// Adds the lines and the notes.
pub(crate) fn add(lines: &mut Lines<'_, '_>, seen: &[&Observation], network: Network) {
    let listened: BTreeSet<u16> = (seen.iter().flat_map(|seen| &seen.addresses))
        .filter(|address| matches!(address.how, How::Bind | How::Listen))
        .filter_map(|address| internet(address).map(|end| end.port()))
        .collect();
    for (run, seen) in seen.iter().enumerate() {
        for address in &seen.addresses {
            match &address.of {
                End::Internet(end) => of_internet(lines, address, *end, run, network, &listened),
                End::Abstract(_) => private(lines, run),
                End::Path(path) => unix(lines, path, address.how, run),
            }
        }
        for socket in seen.sockets.iter().filter(|socket| socket.refused) {
            let family = family(socket.family);
            lines.notes.add(
                About::NotGranted,
                format!("a socket of the family {family}: it was refused"),
            );
        }
        for signal in &seen.signals_outside {
            lines.notes.add(
                About::NotGranted,
                format!("signal {signal} to a process outside"),
            );
        }
    }
}

fn internet(address: &Address) -> Option<SocketAddr> {
    match address.of {
        End::Internet(end) => Some(end),
        _ => None,
    }
}

fn family(number: u16) -> String {
    let known = match number {
        1 => "AF_UNIX",
        2 => "AF_INET",
        10 => "AF_INET6",
        16 => "AF_NETLINK",
        17 => "AF_PACKET",
        38 => "AF_ALG",
        40 => "AF_VSOCK",
        other => return other.to_string(),
    };
    known.to_owned()
}

fn private(lines: &mut Lines<'_, '_>, run: usize) {
    let evidence = Evidence::of(Did::Used, Path::new("a socket"), run);
    lines.word(Key::Sockets, "private", evidence, Rule::Sockets, None);
}

/// Whether programs try this socket and do without.
pub(crate) fn is_tried(path: &Text) -> bool {
    TRIED.iter().any(|tried| path.as_path().starts_with(tried))
}

/// A Unix socket with a path: inside, or the host's.
fn unix(lines: &mut Lines<'_, '_>, path: &Text, how: How, run: usize) {
    let at = path.as_path();
    if is_tried(path) {
        return;
    }
    let here = places::temporary(at) || at.starts_with(lines.around.home);
    let hosts = lines.around.host.look(at).is_some();
    match (here && !hosts, how) {
        (true, _) => private(lines, run),
        (false, How::Bind | How::Listen) => {
            let text = format!(
                "a Unix socket at {path}: they can be in the sandbox's /tmp, /dev/shm and home"
            );
            lines.notes.add(About::NotGranted, text);
        }
        (false, How::Connect | How::Send) => {
            let text = format!(
                "connecting to {path}, a socket of the host: whoever it leads to is outside"
            );
            lines.notes.add(About::NotGranted, text);
        }
    }
}

fn of_internet(
    lines: &mut Lines<'_, '_>,
    address: &Address,
    end: SocketAddr,
    run: usize,
    network: Network,
    listened: &BTreeSet<u16>,
) {
    let evidence = || Evidence::of(Did::Used, Path::new(&format!("{end}")), run);
    let host = Some("it reaches all that this host reaches");
    match (address.how, network) {
        (How::Connect | How::Send, Network::Host) => {
            lines.word(Key::Outbound, "host", evidence(), Rule::Network, host);
        }
        (How::Bind | How::Listen, Network::Host) => {
            lines.word(Key::Outbound, "host", evidence(), Rule::Network, host);
            // A port that the kernel chose is another one next time.
            if address.kind == STREAM && address.how == How::Bind && end.port() != 0 {
                let port = end.port().to_string();
                lines.word(Key::Listen, &port, evidence(), Rule::Network, None);
            }
        }
        // Inside, programs may listen for each other.
        (How::Bind | How::Listen, Network::Closed) => {}
        (How::Connect | How::Send, Network::Closed) => {
            if is_brokers(end) {
                let text = "hosts were reached by name: the audit log has each connection, and no address stands for one here";
                lines.notes.add(About::Network, text);
                return;
            }
            let loopback = is_loopback(end.ip());
            if loopback && listened.contains(&end.port()) {
                return;
            }
            let what = match (end.ip(), end.port()) {
                (IpAddr::V4(ip), _) if ip.octets() == [169, 254, 169, 254] => {
                    ", where a cloud hands out the machine's credentials"
                }
                (_, 53) => ", to look up names",
                _ if loopback => ", a service of this host",
                _ => "",
            };
            let text = format!("{end} was tried{what}; the network was closed");
            lines.notes.add(About::Network, text);
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_unspecified(),
        IpAddr::V6(ip) => {
            let mapped = ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback());
            ip.is_loopback() || ip.is_unspecified() || mapped
        }
    }
}
