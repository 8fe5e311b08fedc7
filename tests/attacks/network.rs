//! Attacks through the network: item 20.

use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};

use super::{Attack, Control, PLAIN, Scene, Sign};

/// Starts listeners on the host's loopback: `{port}`, `{port6}`.
fn listeners(scene: &mut Scene) {
    let four = TcpListener::bind("127.0.0.1:0").expect("bind");
    let six = TcpListener::bind("[::1]:0").expect("bind");
    scene.name("port", four.local_addr().expect("an address").port());
    scene.name("port6", six.local_addr().expect("an address").port());
    scene.keep((four, six));
}

fn receiver(scene: &mut Scene) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_nonblocking(true).expect("non-blocking");
    scene.name("port", socket.local_addr().expect("an address").port());
    scene.keep(socket);
}

fn received(scene: &Scene) -> Option<String> {
    match scene
        .kept::<UdpSocket>()
        .expect("a receiver")
        .recv(&mut [0; 8])
    {
        Ok(_) => Some("the datagram arrived".into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("recv: {error}"),
    }
}

const HOST: &str = "aegis: 1\ncapabilities: {net.outbound: host}\n";
const EMPTY_LIST: &str = "aegis: 1\ncapabilities: {net.outbound: []}\n";

pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 20,
        what: "TCP to a listener on the host's loopback, IPv4 and IPv6, MPTCP, fast open",
        held_by: "net namespace",
        words: &["{bin}/network", "connect", "{port}", "{port6}"],
        prepare: listeners,
        ..PLAIN
    },
    Attack {
        item: 20,
        what: "TCP to the host's loopback, with an empty list of destinations",
        held_by: "net namespace",
        words: &["{bin}/network", "connect", "{port}", "{port6}"],
        profile: EMPTY_LIST,
        prepare: listeners,
        ..PLAIN
    },
    Attack {
        item: 20,
        what: "UDP to a receiver on the host's loopback",
        held_by: "net namespace",
        words: &["{bin}/network", "datagrams", "{port}"],
        prepare: receiver,
        sign: Sign::Host(received),
        ..PLAIN
    },
    Attack {
        item: 20,
        what: "a way out: routes and network devices",
        held_by: "net namespace",
        words: &["{bin}/network", "outwards"],
        ..PLAIN
    },
    Attack {
        item: 20,
        what: "raw and packet sockets",
        held_by: "seccomp: families, types, protocols",
        words: &["{bin}/network", "sockets"],
        control: Control::SucceedsForRoot,
        ..PLAIN
    },
    Attack {
        item: 20,
        what: "raw and packet sockets, with the host's network granted",
        held_by: "seccomp: families, types, protocols",
        words: &["{bin}/network", "sockets"],
        profile: HOST,
        control: Control::SucceedsForRoot,
        ..PLAIN
    },
    Attack {
        item: 20,
        what: "vsock and netlink sockets other than routes",
        held_by: "seccomp: families, types, protocols",
        words: &["{bin}/network", "families"],
        ..PLAIN
    },
    Attack {
        item: 20,
        what: "vsock and netlink sockets, with the host's network granted",
        held_by: "seccomp: families, types, protocols",
        words: &["{bin}/network", "families"],
        profile: HOST,
        ..PLAIN
    },
    Attack {
        item: 20,
        what: "listening on a port of the host's network that is not granted",
        held_by: "Landlock: bind; seccomp: listen",
        words: &["{bin}/network", "listen"],
        profile: HOST,
        ..PLAIN
    },
];
