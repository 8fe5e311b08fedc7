//! Datagrams: what is asked for and let through is answered from the address that was asked, and is decided once a flow.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aegis_egress::protocol::Event;
use aegis_policy::model::Scheme;

use crate::world::{Inside, METADATA, OPEN, OTHER_PUBLIC, PRIVATE, PUBLIC, PUBLIC_V6, World};

const PORT: u16 = 5000;

/// Who has sent something to a server.
type Senders = Arc<Mutex<Vec<SocketAddr>>>;

/// A server that repeats what it is told.
fn echo(address: impl Into<IpAddr>) -> Senders {
    let socket = UdpSocket::bind((address.into(), PORT)).expect("bound");
    let senders = Senders::default();
    let known = senders.clone();
    std::thread::spawn(move || {
        let mut packet = vec![0; 1 << 16];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            known.lock().expect("not poisoned").push(from);
            let _ = socket.send_to(&packet[..length], from);
        }
    });
    senders
}

fn asking(destinations: &[&'static str]) -> World {
    let mut world = World::new(OPEN);
    world.destinations = destinations.to_vec();
    world
}

/// A socket inside that takes answers from there alone.
fn connected(to: impl Into<IpAddr>) -> UdpSocket {
    let to = to.into();
    let any = match to {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any).expect("bound");
    socket.connect((to, PORT)).expect("connected");
    socket
}

fn named(inside: &Inside, name: &str) -> UdpSocket {
    connected(inside.address(name))
}

fn is_echoed(socket: &UdpSocket, words: &[u8]) -> bool {
    socket.send(words).expect("sent");
    let mut answer = vec![0; 1 << 16];
    let length = socket.recv(&mut answer).expect("answered");
    answer[..length] == *words
}

#[test]
fn a_flow_is_answered_from_the_address_asked_and_decided_once() {
    let world = asking(&["udp://allowed.example:5000"]);
    world.run(
        || echo(PUBLIC),
        |inside, senders| {
            let sockets = [(); 3].map(|()| named(inside, "allowed.example"));
            for n in 0..20 {
                for socket in &sockets {
                    assert!(is_echoed(socket, format!("words {n}").as_bytes()));
                }
            }
            assert!(is_echoed(&sockets[0], &[7; 60_000]));
            assert!(is_echoed(&sockets[0], b""));
            let senders = senders.lock().unwrap().clone();
            let mut ports: Vec<u16> = senders.iter().map(SocketAddr::port).collect();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!((senders.len(), ports.len()), (62, 3));
            let (mut begun, mut ended) = (Vec::new(), Vec::new());
            for event in inside.end() {
                match event {
                    Event::Decided { decision, to, .. } => {
                        assert!(decision.verdict.lets_through());
                        begun.push((to.scheme, to.host, to.port, to.address));
                    }
                    Event::Ended { sent, received, .. } => {
                        assert_eq!(sent, received);
                        ended.push(sent);
                    }
                    other => panic!("{other:?}"),
                }
            }
            let to = (
                Scheme::Udp,
                "allowed.example".to_owned(),
                PORT,
                Some(PUBLIC.into()),
            );
            assert_eq!(begun, [to.clone(), to.clone(), to]);
            let each: u64 = (0..20).map(|n| format!("words {n}").len() as u64).sum();
            ended.sort_unstable();
            assert_eq!(ended, [each, each, each + 60_000]);
        },
    );
}

#[test]
fn what_is_not_let_through_does_not_leave_and_is_told_once() {
    let mut world = asking(&[
        "udp://allowed.example:5000",
        "udp://inner.example:5000",
        "udp://cloud.example:5000",
        "udp://blocked.example:5000",
        "tcp://tcp.example:5000",
    ]);
    world.policy = format!("{OPEN}  - {{id: no, hosts: [blocked.example], verdict: block}}\n");
    world.hosts = format!(
        "{PUBLIC} allowed.example blocked.example other.example tcp.example\n{PRIVATE} inner.example\n{} cloud.example\n",
        METADATA[0]
    );
    let servers = || [PUBLIC, PRIVATE, METADATA[0]].map(echo);
    world.run(servers, |inside, all| {
        for (name, why) in [
            ("other.example", "does not ask for udp://other.example:5000"),
            ("tcp.example", "does not ask for udp://tcp.example:5000"),
            ("blocked.example", ""),
            ("inner.example", "private"),
            ("cloud.example", "credentials"),
        ] {
            let socket = named(inside, name);
            for _ in 0..10 {
                socket.send(b"anybody?").expect("sent");
            }
            let (to, through, reason) = inside.ruling();
            assert_eq!((to.host.as_str(), through), (name, false), "{reason}");
            assert!(reason.contains(why), "{name}: {reason}");
        }
        assert!(is_echoed(&named(inside, "allowed.example"), b"words"));
        assert!(inside.ruling().1);
        let count = |senders: &Senders| senders.lock().unwrap().len();
        assert_eq!(all.each_ref().map(count), [1, 0, 0]);
        // A port that nobody asks datagrams for refuses at once, also that of the web.
        let quic = UdpSocket::bind("0.0.0.0:0").expect("bound");
        let to = (inside.address("allowed.example"), 443);
        quic.connect(to).expect("connected");
        quic.send(b"hello").expect("sent");
        let kind = quic.recv(&mut [0]).map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::ConnectionRefused));
    });
}

#[test]
fn addresses_of_both_kinds_are_destinations_and_answer_as_themselves() {
    let mut world = asking(&[
        "udp://93.184.215.15:5000",
        "udp://[2606:2800:220:1::1]:5000",
        "udp://localhost:5000",
    ]);
    world.policy = format!(
        "{OPEN}  - {{id: own, hosts: [localhost], private-addresses: true, verdict: allow}}\n"
    );
    world.hosts = "127.0.0.1 localhost\n".to_owned();
    let servers = || {
        let v6: IpAddr = PUBLIC_V6.parse().expect("an address");
        [OTHER_PUBLIC.into(), v6, Ipv4Addr::LOCALHOST.into()].map(echo)
    };
    world.run(servers, |inside, _| {
        let v6: IpAddr = PUBLIC_V6.parse().expect("an address");
        for to in [OTHER_PUBLIC.into(), v6, Ipv4Addr::LOCALHOST.into()] {
            assert!(is_echoed(&connected(to), b"words"));
            let (_, through, reason) = inside.ruling();
            assert!(through, "{to}: {reason}");
        }
    });
}

#[test]
fn one_flow_more_than_there_may_be_ends_the_one_that_was_idle_longest() {
    let mut world = asking(&["udp://allowed.example:5000"]);
    world.limits.flows = 2;
    world.run(
        || echo(PUBLIC),
        |inside, _| {
            let [first, second, third] = [(); 3].map(|()| named(inside, "allowed.example"));
            assert!(is_echoed(&first, b"first") && is_echoed(&second, b"second one"));
            assert!(is_echoed(&first, b"again"));
            assert!(is_echoed(&third, b"third"));
            assert_eq!(inside.ended(), (10, 10, None));
            assert!(is_echoed(&first, b"and again"));
            let rest = inside.end();
            let begun = |event: &&Event| matches!(event, Event::Decided { .. });
            // The third.
            assert_eq!(rest.iter().filter(begun).count(), 1, "{rest:?}");
        },
    );
}

#[test]
fn an_idle_flow_ends_and_the_next_datagram_is_decided_again() {
    let mut world = asking(&["udp://allowed.example:5000"]);
    world.limits.idle_flow = Duration::from_millis(20);
    world.run(
        || echo(PUBLIC),
        |inside, _| {
            let socket = named(inside, "allowed.example");
            for _ in 0..3 {
                socket.send(b"words").expect("sent");
                assert!(inside.ruling().1);
                assert_eq!(inside.ended().0, 5);
            }
        },
    );
}

#[test]
fn a_proxy_carries_none_and_that_is_told() {
    let mut world = asking(&["udp://allowed.example:5000"]);
    world.proxies.https = Some("http://127.0.0.1:3128".to_owned());
    world.run(
        || echo(PUBLIC),
        |inside, senders| {
            named(inside, "allowed.example")
                .send(b"words")
                .expect("sent");
            let (_, _, error) = inside.ended();
            let error = error.expect("it failed");
            assert!(error.contains("carries no datagrams"), "{error}");
            assert!(error.contains("no_proxy"), "{error}");
            assert!(senders.lock().unwrap().is_empty());
        },
    );
}

#[test]
fn a_server_that_is_not_there_is_told_of() {
    let mut world = asking(&["udp://allowed.example:5000"]);
    world.limits.idle_flow = Duration::from_millis(500);
    world.run(
        || (),
        |inside, ()| {
            let socket = named(inside, "allowed.example");
            socket.send(b"nobody").expect("sent");
            let (sent, received, error) = inside.ended();
            assert_eq!((sent, received), (6, 0));
            assert!(error.is_some_and(|error| error.contains("refused")));
        },
    );
}

#[test]
fn datagrams_are_in_the_bandwidth() {
    let mut world = asking(&["udp://allowed.example:5000"]);
    world.bandwidth = Some(1 << 20);
    world.run(
        || echo(PUBLIC),
        |inside, _| {
            let socket = named(inside, "allowed.example");
            let began = Instant::now();
            for _ in 0..16 {
                assert!(is_echoed(&socket, &[7; 32 << 10]));
            }
            assert!(began.elapsed() >= Duration::from_millis(950));
        },
    );
}

#[test]
fn a_flood_of_them_leaves_others_served() {
    let mut world = asking(&["udp://allowed.example:5000"]);
    world.hosts = format!("{PUBLIC} allowed.example other.example\n");
    world.run(
        || echo(PUBLIC),
        |inside, _| {
            let to = (inside.address("other.example"), PORT);
            for _ in 0..2_000 {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
                for _ in 0..10 {
                    socket.send_to(&[7; 1_000], to).expect("sent");
                }
            }
            let socket = named(inside, "allowed.example");
            socket
                .set_read_timeout(Some(Duration::from_millis(200)))
                .expect("a socket");
            let mut answer = [0; 16];
            std::thread::scope(|scope| {
                // What is let through waits until its turn to be told.
                scope.spawn(|| while !inside.ruling().1 {});
                // What comes when a buffer is full is lost.
                while !matches!(socket.recv(&mut answer), Ok(5)) {
                    socket.send(b"words").expect("sent");
                }
            });
        },
    );
}
