//! Sockets, addresses and devices.

use aegis_learn::{About, Key, Network, Options};
use aegis_observation::{Address, End, How, Observation};

use crate::host::{Made, Seen, notes, text, values};

fn seen(addresses: &[(How, End)]) -> Observation {
    let mut seen = Seen::new().0;
    for (how, of) in addresses {
        seen.addresses.insert(Address {
            how: *how,
            of: of.clone(),
            kind: 1,
        });
    }
    seen
}

fn internet(text: &str) -> End {
    End::Internet(text.parse().unwrap())
}

#[test]
fn sockets_inside_are_private_and_those_of_the_host_are_told() {
    let inside = [
        (How::Bind, End::Path(text("/tmp/s"))),
        (How::Connect, End::Abstract(text("x"))),
    ];
    let proposal = Made::new().learn(&seen(&inside));
    assert_eq!(values(&proposal, Key::Sockets), ["private"]);
    let outside = [
        (How::Connect, End::Path(text("/run/docker.sock"))),
        (How::Connect, End::Path(text("/var/run/nscd/socket"))),
        (How::Bind, End::Path(text("/run/app.sock"))),
    ];
    let proposal = Made::new().learn(&seen(&outside));
    assert!(values(&proposal, Key::Sockets).is_empty());
    assert_eq!(notes(&proposal, About::NotGranted).len(), 2);
}

#[test]
fn addresses_are_told_and_never_granted_unless_the_run_had_the_network() {
    let addresses = [
        (How::Connect, internet("203.0.113.7:443")),
        (How::Connect, internet("127.0.0.1:5432")),
        (How::Connect, internet("127.0.0.1:8080")),
        (How::Listen, internet("127.0.0.1:8080")),
        (How::Bind, internet("127.0.0.1:8080")),
        (How::Send, internet("9.9.9.9:53")),
        (How::Connect, internet("169.254.169.254:80")),
    ];
    let proposal = Made::new().learn(&seen(&addresses));
    assert!(proposal.lines.is_empty());
    assert_eq!(
        notes(&proposal, About::Network),
        [
            "127.0.0.1:5432 was tried, a service of this host; the network was closed",
            "169.254.169.254:80 was tried, where a cloud hands out the machine's credentials; the network was closed",
            "203.0.113.7:443 was tried; the network was closed",
            "9.9.9.9:53 was tried, to look up names; the network was closed",
        ]
    );
    let options = Options {
        network: Network::Host,
        ..Options::default()
    };
    let proposal = Made::new().learn_with(&[seen(&addresses)], None, &options);
    assert_eq!(values(&proposal, Key::Outbound), ["host"]);
    assert_eq!(values(&proposal, Key::Listen), ["8080"]);
    let proposal = Made::new().learn_with(&[Seen::new().0], None, &options);
    assert!(
        proposal.lines.is_empty(),
        "the network was there and not used"
    );
}

#[test]
fn devices_are_named() {
    let seen = Seen::new()
        // So the kernel has the name of what a sandbox's `/dev/ptmx` leads to.
        .device("/dev/pts/ptmx")
        .device("/dev/dri/renderD128")
        .device("/dev/ttyUSB0")
        .device("/dev/zero");
    let proposal = Made::new().learn(&seen.0);
    assert_eq!(
        values(&proposal, Key::Devices),
        ["/dev/ttyUSB0", "gpu", "pty"]
    );
}

#[test]
fn what_stands_for_a_name_is_told_once_and_as_that() {
    let addresses = [
        (How::Connect, internet("192.0.0.8:53")),
        (How::Connect, internet("25.240.0.1:443")),
        (How::Connect, internet("25.240.0.2:80")),
        (How::Connect, internet("203.0.113.7:443")),
    ];
    let proposal = Made::new().learn(&seen(&addresses));
    assert_eq!(
        notes(&proposal, About::Network),
        [
            "203.0.113.7:443 was tried; the network was closed",
            "hosts were reached by name: the audit log has each connection, and no address stands for one here",
        ]
    );
}
