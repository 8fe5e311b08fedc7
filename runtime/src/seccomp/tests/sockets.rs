//! Which sockets the base sets allow, and what may be done with them.

use super::boundary::{ALLOW, EPERM, GARBAGE, ask, check};
use super::{super::*, spec};
use crate::types::Network;

const NO_FAMILY: Action = Action::Errno(libc::EAFNOSUPPORT as u16);
const NO_PROTOCOL: Action = Action::Errno(libc::EPROTONOSUPPORT as u16);

#[test]
fn sockets_are_of_plain_families_types_and_protocols() {
    let cloexec = 0o2_000_000;
    check(
        Base::Default,
        &[
            ("socket", &[1, 1 | cloexec, 0], ALLOW),
            ("socket", &[1 | GARBAGE, 1, 0], ALLOW),
            ("socket", &[2, 1 | cloexec, 6], ALLOW),
            ("socket", &[2, 2 | 0o4000, 17], ALLOW),
            ("socket", &[10, 1, 0], ALLOW),
            ("socket", &[16, 3 | cloexec, 0], ALLOW),
            ("socketpair", &[1, 1], ALLOW),
            // Another netlink, packets, VSOCK, ALG, XDP, Bluetooth, and IPv4 with garbage above VSOCK.
            ("socket", &[16, 3, 9], NO_FAMILY),
            ("socket", &[17, 3, 0x300], NO_FAMILY),
            ("socket", &[40, 1, 0], NO_FAMILY),
            ("socket", &[40 | GARBAGE, 1, 0], NO_FAMILY),
            ("socket", &[38, 5, 0], NO_FAMILY),
            ("socket", &[44, 3, 0], NO_FAMILY),
            ("socket", &[31, 3, 0], NO_FAMILY),
            ("socketpair", &[30, 1, 0], NO_FAMILY),
            // Raw, the old name of packets, and streams that Landlock's port rules do not see.
            ("socket", &[2, 3, 1], EPERM),
            ("socket", &[10, 3 | cloexec, 58], EPERM),
            ("socket", &[2, 10, 0x300], EPERM),
            ("socket", &[2, 1, 132], EPERM),
            ("socket", &[2, 1, 262], NO_PROTOCOL),
            ("socket", &[2, 2, 1], EPERM),
        ],
    );
}

#[test]
fn pings_need_the_hosts_network() {
    let host = SyscallSpec {
        network: Network::Host,
        ..spec(Base::Default)
    };
    assert_eq!(ask(&host, "socket", &[2, 2, 1]), ALLOW);
    assert_eq!(ask(&host, "socket", &[10, 2, 58]), ALLOW);
    assert_eq!(ask(&host, "socket", &[2, 3, 1]), EPERM);
}

#[test]
fn minimal_has_sockets_only_on_the_hosts_network() {
    let minimal = spec(Base::Minimal);
    let host = SyscallSpec {
        network: Network::Host,
        ..spec(Base::Minimal)
    };
    assert_eq!(ask(&minimal, "socket", &[2, 1]), EPERM);
    // As quiet as in `default`: the C library tries nscd.
    assert_eq!(
        ask(&minimal, "socket", &[1, 1]),
        Action::Errno(libc::EAFNOSUPPORT as u16)
    );
    assert_eq!(ask(&minimal, "socketpair", &[1, 1]), ALLOW);
    assert_eq!(ask(&host, "socket", &[2, 1]), ALLOW);
    assert_eq!(ask(&host, "connect", &[]), ALLOW);
}

#[test]
fn unix_sockets_by_path_have_to_be_asked_for() {
    let closed = SyscallSpec {
        unix_sockets: UnixSockets::None,
        ..spec(Base::Default)
    };
    let quiet = Action::Errno(libc::EAFNOSUPPORT as u16);
    for kind in [1, 2, 5, 1 | 0o2_000_000] {
        assert_eq!(ask(&closed, "socket", &[1, kind]), quiet);
        assert_eq!(ask(&spec(Base::Default), "socket", &[1, kind]), ALLOW);
    }
    assert_eq!(ask(&closed, "socketpair", &[1, 1 | 0o2_000_000]), ALLOW);
    // A datagram pair could send to any path.
    assert_ne!(ask(&closed, "socketpair", &[1, 2]), ALLOW);
}

#[test]
fn private_sockets_are_streams_and_packets_whose_addresses_the_supervisor_handles() {
    let private = SyscallSpec {
        unix_sockets: UnixSockets::Private,
        ..spec(Base::Minimal)
    };
    let quiet = Action::Errno(libc::EAFNOSUPPORT as u16);
    // SOCK_RAW of this family is SOCK_DGRAM (`net/unix/af_unix.c:unix_create`).
    for (kind, action) in [(1, ALLOW), (5, ALLOW), (2, quiet), (3, quiet), (9, quiet)] {
        assert_eq!(ask(&private, "socket", &[1, kind]), action, "{kind}");
        assert_eq!(
            ask(&private, "socket", &[1 | GARBAGE, kind | GARBAGE]),
            action
        );
    }
    assert_ne!(ask(&private, "socketpair", &[1, 2]), ALLOW);
    let attended = SyscallSpec {
        notify: true,
        ..private.clone()
    };
    let on_the_host = |spec: &SyscallSpec| SyscallSpec {
        network: Network::Host,
        listens: false,
        ..spec.clone()
    };
    assert_eq!(ask(&private, "listen", &[]), ALLOW);
    assert_eq!(ask(&on_the_host(&attended), "listen", &[]), Action::Notify);
    let alone = ask(&on_the_host(&private), "listen", &[]);
    assert_eq!(alone, Action::Errno(libc::EACCES as u16));
    for call in ["bind", "connect"] {
        assert_eq!(ask(&private, call, &[]), Action::Errno(libc::EACCES as u16));
        assert_eq!(ask(&attended, call, &[]), Action::Notify);
        let any = spec(Base::Default);
        assert_eq!(ask(&any, call, &[]), ALLOW);
    }
}

#[test]
fn a_port_of_the_host_is_listened_on_only_where_one_is_granted() {
    let host = |listens| SyscallSpec {
        network: Network::Host,
        listens,
        ..spec(Base::Default)
    };
    assert_eq!(ask(&host(false), "listen", &[3, 1]), EPERM);
    assert_eq!(ask(&host(true), "listen", &[3, 1]), ALLOW);
}
