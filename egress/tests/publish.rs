//! Published ports: who connects outside reaches what listens inside at that port, and nothing else.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use aegis_egress::protocol::Event;

use crate::world::{Inside, OPEN, World, echo_server, in_network_of, this_network};

const PORT: u16 = 8080;

/// Publishes a port, through so many sockets of each family.
fn published(sockets: usize) -> World {
    let mut world = World::new(OPEN);
    world.published = (vec![PORT], sockets);
    world
}

fn connect() -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("it is published")
}

/// What comes back of these words from a server that repeats them, until it closes.
fn echoed(words: &[u8]) -> std::io::Result<Vec<u8>> {
    let stream = connect();
    let (mut reading, mut writing) = (&stream, &stream);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Where nobody listens, the connection is reset.
            let _ = writing.write_all(words);
            let _ = writing.shutdown(Shutdown::Write);
        });
        let mut all = Vec::new();
        reading.read_to_end(&mut all).map(|_| all)
    })
}

/// Whether a connection is reset.
fn is_reset() -> bool {
    let read = connect().read(&mut [0]);
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

/// What the launcher is told of so many connections to the port: how many failed, bytes received and sent.
fn told(inside: &Inside, connections: u64) -> (u64, u64, u64) {
    let (mut count, mut sum) = (0, (0, 0, 0));
    while count < connections {
        match inside.event() {
            Event::Entered {
                failed,
                port: PORT,
                received,
                sent,
                times,
                ..
            } => {
                count += times;
                sum = (sum.0 + failed, sum.1 + received, sum.2 + sent);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(count, connections);
    sum
}

#[test]
fn what_listens_inside_is_reached_by_one_after_the_other_over_the_same_sockets() {
    published(2).run(this_network, |inside, outside: &File| {
        echo_server(Ipv4Addr::LOCALHOST, PORT);
        in_network_of(outside, || {
            for n in 0..50_usize {
                let words = format!("{n} ").repeat(n * 1_000).into_bytes();
                assert!(echoed(&words).expect("served") == words, "{n}");
            }
            // Some of them end it in the middle, with much unread on both sides.
            for _ in 0..20 {
                let mut stream = connect();
                stream.write_all(&[7; 100_000]).expect("written");
                stream.read_exact(&mut [0; 10]).expect("read");
            }
            std::thread::scope(|scope| {
                for n in 0..20 {
                    scope.spawn(move || {
                        let words = [n; 300_000];
                        assert!(echoed(&words).expect("served") == words);
                    });
                }
            });
        });
        let (_, received, sent) = told(inside, 90);
        let whole: usize = (0..50).map(|n| format!("{n} ").len() * n * 1_000).sum();
        let least = (whole + 20 * 300_000) as u64;
        assert!(received >= least && sent >= least, "{received} {sent}");
    });
}

#[test]
fn where_nobody_listens_connections_are_reset_until_somebody_does_at_either_loopback() {
    published(1).run(this_network, |inside, outside: &File| {
        for _ in 0..3 {
            assert!(in_network_of(outside, is_reset));
        }
        // At another address of the sandbox's, or another port, nobody is reached.
        echo_server(Ipv4Addr::new(10, 0, 0, 1), PORT);
        echo_server(Ipv4Addr::LOCALHOST, PORT + 1);
        assert!(in_network_of(outside, is_reset));
        echo_server(Ipv6Addr::LOCALHOST, PORT);
        for _ in 0..3 {
            let words = in_network_of(outside, || echoed(b"here"));
            assert_eq!(words.expect("served"), b"here");
        }
        echo_server(Ipv4Addr::LOCALHOST, PORT);
        let words = in_network_of(outside, || echoed(b"and here"));
        assert_eq!(words.expect("served"), b"and here");
        assert_eq!(told(inside, 8).0, 4);
    });
}

#[test]
fn who_comes_when_all_sockets_are_in_use_is_served_when_one_is_free() {
    published(2).run(this_network, |_, outside: &File| {
        echo_server(Ipv4Addr::LOCALHOST, PORT);
        in_network_of(outside, || {
            let mut open = [connect(), connect()];
            for stream in &mut open {
                stream.write_all(b"x").expect("written");
                stream.read_exact(&mut [0]).expect("served");
            }
            let mut late = connect();
            late.write_all(b"y").expect("written");
            late.set_nonblocking(true).expect("a socket");
            let kind = late.read(&mut [0]).map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::WouldBlock));
            late.set_nonblocking(false).expect("a socket");
            drop(open);
            let mut word = [0];
            late.read_exact(&mut word).expect("served");
            assert_eq!(&word, b"y");
        });
    });
}

#[test]
fn nothing_is_lost_that_was_sent_before_the_end() {
    const BYTES: usize = 1 << 20;
    published(1).run(this_network, |inside, outside: &File| {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let listener = TcpListener::bind(at).expect("bound");
        let (sent, begin) = mpsc::channel();
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("accepted");
                stream.shutdown(Shutdown::Write).expect("shut down");
                begin.recv().expect("it was sent");
                let mut all = Vec::new();
                stream.read_to_end(&mut all).map(|_| all.len())
            });
            in_network_of(outside, || {
                let mut stream = connect();
                assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
                stream.write_all(&[7; BYTES]).expect("written");
                stream.shutdown(Shutdown::Write).expect("shut down");
                sent.send(()).expect("it waits");
            });
            let received = server.join().expect("it ends");
            assert_eq!(received.expect("no error"), BYTES);
        });
        assert_eq!(told(inside, 1).0, 0);
    });
}

#[test]
fn what_goes_through_is_in_the_bandwidth() {
    let mut world = published(1);
    world.bandwidth = Some(1 << 20);
    world.run(this_network, |_, outside: &File| {
        echo_server(Ipv4Addr::LOCALHOST, PORT);
        let began = Instant::now();
        in_network_of(outside, || {
            let words = vec![7; 1 << 19];
            assert!(echoed(&words).expect("served") == words);
        });
        assert!(began.elapsed() >= Duration::from_millis(950));
    });
}
