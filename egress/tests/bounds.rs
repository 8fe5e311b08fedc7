//! What one sandbox may use of the broker, and that others in it stay served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use aegis_egress::Limits;
use aegis_egress::protocol::Event;
use rustix::event::{PollFd, PollFlags};

use crate::world::{OPEN, OTHER_PUBLIC, PUBLIC, World, curl, echo_server, http_server, rest};

fn echoes(mut stream: &TcpStream) -> bool {
    let mut byte = [0];
    let said = stream
        .write_all(b"x")
        .and_then(|()| stream.read_exact(&mut byte));
    said.is_ok() && byte == *b"x"
}

#[test]
fn who_says_nothing_makes_room_for_others() {
    let mut world = World::new(OPEN);
    world.limits.waiting = 16;
    // Nobody is closed for another reason.
    world.limits.head = Duration::from_secs(1_000_000);
    world.run(
        || http_server(PUBLIC, 80),
        |inside, _| {
            let address = inside.address("allowed.example");
            let mut silent = Vec::new();
            for port in [80, 443, 53] {
                for _ in 0..200 {
                    let mut stream = TcpStream::connect((address, port)).unwrap();
                    // Some have begun to say something.
                    stream.write_all(b"\x16").unwrap();
                    silent.push(stream);
                }
                assert_eq!(curl(&["http://allowed.example/"]).0, "200", "{port}");
            }
            // They were closed, and not only forgotten.
            for stream in silent.drain(..silent.len() - 16) {
                rest(stream);
            }
        },
    );
}

/// Waits until all are closed but so many.
fn until_closed(open: &mut Vec<TcpStream>, left: usize) {
    while open.len() > left {
        let poll_for = |stream| PollFd::new(stream, PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = open.iter().map(poll_for).collect();
        rustix::event::poll(&mut fds, None).unwrap();
        let closed: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut closed = closed.into_iter();
        open.retain(|_| !closed.next().unwrap());
    }
    assert_eq!(open.len(), left);
}

#[test]
fn who_says_much_without_end_is_closed_and_others_are_served() {
    let mut world = World::new(OPEN);
    world.limits.waiting_bytes = 100_000;
    world.limits.head = Duration::from_secs(1_000_000);
    world.run(
        || http_server(PUBLIC, 80),
        |inside, _| {
            let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(50_000));
            let address = inside.address("allowed.example");
            let say = |_| {
                let mut stream = TcpStream::connect((address, 80)).unwrap();
                // It may be closed in the middle.
                let _ = stream.write_all(head.as_bytes());
                stream
            };
            // Of two there is room for what they have said.
            let mut open: Vec<TcpStream> = (0..20).map(say).collect();
            until_closed(&mut open, 2);
            assert_eq!(curl(&["http://allowed.example/"]).0, "200");
        },
    );
}

#[test]
fn who_takes_too_long_to_say_what_they_want_is_closed() {
    let mut world = World::new(OPEN);
    world.limits.head = Duration::from_millis(50);
    world.run(
        || {},
        |inside, ()| {
            for (port, begin) in [(80, "GET / HT"), (443, "\x16\x03\x01"), (53, "\0")] {
                for begin in ["", begin] {
                    let mut stream = inside.connect("allowed.example", port);
                    stream.write_all(begin.as_bytes()).unwrap();
                    rest(stream);
                }
            }
        },
    );
}

#[test]
fn one_host_cannot_take_all_connections_and_those_turned_away_are_counted() {
    let mut world = World::new(OPEN);
    world.destinations.push("tcp://other.example:7000");
    world.hosts += &format!("{OTHER_PUBLIC} other.example\n");
    world.limits = Limits {
        connections: 8,
        connections_to_one: 4,
        ..world.limits
    };
    world.run(
        || [PUBLIC, OTHER_PUBLIC].map(|address| echo_server(address, 7000)),
        |inside, _| {
            let connect = |name| inside.connect(name, 7000);
            let kept: Vec<_> = (0..4).map(|_| connect("allowed.example")).collect();
            assert!(kept.iter().all(echoes));
            assert!(!echoes(&connect("allowed.example")));
            assert!(echoes(&connect("other.example")));
            assert!(kept.iter().all(echoes));
            loop {
                if let Event::Flood { refusals } = inside.event() {
                    assert_eq!(refusals, 1);
                    break;
                }
            }
        },
    );
}

#[test]
fn a_thousand_connections_are_served_at_once() {
    World::new(OPEN).run(
        || echo_server(PUBLIC, 7000),
        |inside, ()| {
            let address = inside.address("allowed.example");
            let all: Vec<_> = (0..1_000)
                .map(|_| TcpStream::connect((address, 7000)).unwrap())
                .collect();
            // Each waits until it is told.
            for _ in 0..1_000 {
                assert!(inside.ruling().1);
            }
            assert!(all.iter().all(echoes));
        },
    );
}

#[test]
fn what_the_launcher_does_not_read_is_counted_and_told_when_it_does() {
    const REFUSED: u64 = 2_000;
    let mut world = World::new(OPEN);
    world.limits.untold = 8;
    world.run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            let address = inside.address("denied.example");
            for _ in 0..REFUSED {
                rest(TcpStream::connect((address, 7000)).unwrap());
            }
            std::thread::scope(|scope| {
                // It waits until its decision is read.
                let let_through = scope.spawn(|| curl(&["http://allowed.example/"]));
                let (mut told, mut counted, mut decided) = (0, 0, false);
                while told + counted < REFUSED || !decided {
                    match inside.event() {
                        Event::Refused { .. } => told += 1,
                        Event::Flood { refusals } => counted += refusals,
                        Event::Decided { decision, .. } => {
                            decided |= decision.verdict.lets_through()
                        }
                        _ => {}
                    }
                }
                assert_eq!(told + counted, REFUSED);
                // Some did not fit into the socket.
                assert!(counted > 0);
                assert_eq!(let_through.join().unwrap().0, "200");
            });
            assert_eq!(asked.lock().unwrap().len(), 1);
        },
    );
}

#[test]
fn at_the_end_of_a_run_all_that_went_on_ends_and_is_told() {
    const REFUSED: u64 = 700;
    let mut world = World::new(OPEN);
    // Nothing is told later than it could be.
    world.limits.decisions_at_once = 10_000;
    world.run(
        || (echo_server(PUBLIC, 7000), http_server(PUBLIC, 80)),
        |inside, (_, asked)| {
            let open = inside.connect("allowed.example", 7000);
            assert!(echoes(&open));
            assert_eq!(curl(&["http://allowed.example/"]).0, "200");
            let address = inside.address("denied.example");
            for _ in 0..REFUSED {
                rest(TcpStream::connect((address, 7000)).unwrap());
            }
            // More than there is room for in the socket.
            let (mut refused, mut begun, mut ended) = (0, Vec::new(), Vec::new());
            for event in inside.end() {
                match event {
                    Event::Refused { .. } => refused += 1,
                    Event::Flood { refusals } => refused += refusals,
                    Event::Decided { id, to, .. } => begun.push((id, to)),
                    Event::Ended {
                        id,
                        to,
                        sent,
                        received,
                        ..
                    } => {
                        assert_eq!(to.address, Some(PUBLIC.into()));
                        assert!(sent > 0 && received > 0);
                        ended.push((id, to));
                    }
                    Event::Prepared { .. }
                    | Event::Secret { .. }
                    | Event::Entered { .. }
                    | Event::Ready {}
                    | Event::Failed { .. } => {
                        panic!("{event:?}")
                    }
                }
            }
            assert_eq!(refused, REFUSED);
            ended.sort_by_key(|(id, _)| *id);
            assert_eq!(begun.len(), 2);
            assert_eq!(begun, ended);
            assert_eq!(asked.lock().unwrap().len(), 1);
            rest(open);
        },
    );
}

#[test]
fn refusals_beyond_the_rate_are_counted() {
    let mut world = World::new(OPEN);
    world.policy += "  - {id: shut, hosts: allowed.example, paths: /shut/**, verdict: block}\n";
    world.limits.decisions_at_once = 5;
    world.limits.decision_interval = Duration::from_secs(1_000_000);
    world.run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            let url = format!("http://allowed.example/shut/{}", "x".repeat(3_000));
            for _ in 0..20 {
                assert_eq!(curl(&[&url]).0, "403");
            }
            let (mut told, mut counted) = (0, 0);
            for event in inside.end() {
                match event {
                    Event::Decided { to, decision, .. } => {
                        // As it was decided: replay decides it again.
                        assert_eq!(decision.rules.len(), 2);
                        assert!(to.path.unwrap().len() > 3_000);
                        told += 1;
                    }
                    Event::Flood { refusals } => counted += refusals,
                    event => panic!("{event:?}"),
                }
            }
            assert_eq!((told, counted), (5, 15));
            assert!(asked.lock().unwrap().is_empty());
        },
    );
}

#[test]
fn heads_that_wait_for_their_turn_are_bounded_too() {
    let mut world = World::new(OPEN);
    world.limits.waiting_bytes = 100_000;
    // Nothing is ever let through.
    world.limits.decisions_at_once = 0;
    world.limits.decision_interval = Duration::from_secs(1_000_000);
    world.run(
        || http_server(PUBLIC, 80),
        |inside, asked| {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: allowed.example\r\nX: {}\r\n\r\n",
                "x".repeat(50_000)
            );
            let address = inside.address("allowed.example");
            let mut open: Vec<TcpStream> = (0..20)
                .map(|_| {
                    let mut stream = TcpStream::connect((address, 80)).unwrap();
                    // It may be closed in the middle.
                    let _ = stream.write_all(head.as_bytes());
                    stream
                })
                .collect();
            until_closed(&mut open, 2);
            assert!(asked.lock().unwrap().is_empty());
        },
    );
}

#[test]
fn who_announces_a_query_longer_than_any_is_closed() {
    let mut world = World::new(OPEN);
    world.limits.head = Duration::from_secs(1_000_000);
    world.run(
        || {},
        |inside, ()| {
            let mut stream = inside.connect("allowed.example", 53);
            stream.write_all(b"\xff\xff").unwrap();
            assert_eq!(rest(stream), "");
        },
    );
}
