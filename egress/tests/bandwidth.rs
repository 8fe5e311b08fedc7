//! `limits.net`: never faster than the rate, both ways together and over all connections. Only lower bounds are asserted of time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::world::{OPEN, PUBLIC, World, curl, echo_server, http_server};

/// Bytes in a second.
const RATE: u64 = 1 << 20;

/// What may pass at once, as a time.
const AT_ONCE: Duration = Duration::from_millis(50);

fn bounded() -> World {
    let mut world = World::new(OPEN);
    world.bandwidth = Some(RATE);
    world
}

/// Sends bytes to a server that repeats them, and reads them back.
fn echo(stream: TcpStream, bytes: usize) {
    std::thread::scope(|scope| {
        let (mut reading, mut writing) = (&stream, &stream);
        scope.spawn(move || writing.write_all(&vec![7; bytes]).expect("written"));
        reading.read_exact(&mut vec![0; bytes]).expect("read");
    });
}

fn servers() {
    echo_server(PUBLIC, 7000);
    http_server(PUBLIC, 80);
}

#[test]
fn no_connection_and_no_number_of_them_is_faster_than_the_rate() {
    bounded().run(servers, |inside, ()| {
        for connections in [1, 8] {
            let began = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..connections {
                    let stream = inside.connect("allowed.example", 7000);
                    scope.spawn(move || echo(stream, RATE as usize / 2 / connections));
                }
            });
            // As much comes back.
            assert!(
                began.elapsed() + AT_ONCE >= Duration::from_secs(1),
                "{connections}"
            );
        }
        for _ in 0..9 {
            let (sent, received, error) = inside.ended();
            assert!(sent == received && error.is_none(), "{error:?}");
        }
    });
}

#[test]
fn requests_one_after_the_other_are_no_faster_either() {
    bounded().run(servers, |_, ()| {
        let began = Instant::now();
        let body = "x".repeat(32 << 10);
        for _ in 0..16 {
            let (status, said, _) = curl(&["--data", &body, "http://allowed.example/"]);
            assert!(status == "200" && said == body);
        }
        assert!(began.elapsed() + AT_ONCE >= Duration::from_secs(1));
    });
}

#[test]
fn one_that_has_much_to_say_leaves_others_their_turns() {
    bounded().run(servers, |inside, ()| {
        let mut long = inside.connect("allowed.example", 7000);
        let other = long.try_clone().expect("a copy");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut other = other;
                // Until it is closed.
                while other.write_all(&[7; 64 << 10]).is_ok() {}
            });
            long.read_exact(&mut [0; 64 << 10]).expect("it goes on");
            for _ in 0..3 {
                echo(inside.connect("allowed.example", 7000), 4_000);
            }
            assert_eq!(curl(&["http://allowed.example/"]).0, "200");
            long.read_exact(&mut [0; 64 << 10])
                .expect("it still goes on");
            long.shutdown(std::net::Shutdown::Both).expect("it is open");
        });
    });
}
