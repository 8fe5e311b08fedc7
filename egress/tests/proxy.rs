//! The caller's proxy, which is the only way out of some networks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use aegis_egress::protocol::Proxies;

use crate::world::{OPEN, OTHER_PUBLIC, PUBLIC, World, curl, echo_server, rest};

/// Reached by the proxy alone.
const BEHIND: Ipv4Addr = Ipv4Addr::new(93, 184, 215, 99);

/// A proxy for whoever has the password, which has every address at [`PUBLIC`]. Returns the heads that it was sent.
fn proxy() -> Receiver<String> {
    let listener = TcpListener::bind((OTHER_PUBLIC, 3128)).expect("bound");
    let (send, heads) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = String::new();
            let mut byte = [0];
            while !head.ends_with("\r\n\r\n") {
                stream.read_exact(&mut byte).expect("a head");
                head.push(byte[0].into());
            }
            let port = (head.split([':', ' ']).nth(2)).and_then(|port| port.parse::<u16>().ok());
            let is_known = head.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n");
            send.send(head).expect("the test goes on");
            if !is_known {
                let _ = stream.write_all(b"HTTP/1.1 407 Who is it\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            let server = TcpStream::connect((PUBLIC, port.expect("a port"))).expect("a server");
            // The server's first words follow at once.
            let answer = b"HTTP/1.0 200 Connected\r\nVia: test\r\n\r\n";
            stream.write_all(answer).expect("it reads");
            let (from, to) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &from, &mut &to);
                to.shutdown(std::net::Shutdown::Write)
            });
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut &server, &mut &stream);
                stream.shutdown(std::net::Shutdown::Write)
            });
        }
    });
    heads
}

/// Says something, and that this is all.
fn say(mut stream: TcpStream, words: &[u8]) -> String {
    stream.write_all(words).expect("written");
    let _ = stream.shutdown(std::net::Shutdown::Write);
    rest(stream)
}

fn world(proxy: &str, except: &str) -> World {
    World {
        hosts: format!("{BEHIND} allowed.example\n{OTHER_PUBLIC} proxy.corp\n"),
        proxies: Proxies::of(|name| match name {
            "HTTPS_PROXY" => Some(proxy.to_owned()),
            "http_proxy" => Some(proxy.to_owned()),
            "no_proxy" => Some(except.to_owned()),
            _ => None,
        }),
        ..World::new(OPEN)
    }
}

#[test]
fn what_is_let_through_goes_through_the_callers_proxy() {
    world("http://me:secret@proxy.corp:3128", "").run(
        || {
            echo_server(PUBLIC, 7000);
            crate::world::http_server(PUBLIC, 80);
            std::sync::Mutex::new(proxy())
        },
        |inside, heads| {
            let echoed = say(inside.connect("allowed.example", 7000), b"through");
            assert_eq!(echoed, "through");
            let (to, through, _) = inside.ruling();
            assert!(through && to.address == Some(BEHIND.into()), "{to:?}");
            let (status, ..) = curl(&["http://allowed.example/"]);
            assert_eq!(status, "200");
            let heads = heads.lock().unwrap();
            for port in [7000, 80] {
                let head = heads.recv().expect("a head");
                let line = format!("CONNECT {BEHIND}:{port} HTTP/1.1\r\nHost: {BEHIND}:{port}\r\n");
                assert!(head.starts_with(&line), "{head}");
            }
        },
    );
}

#[test]
fn a_proxy_that_refuses_is_told_of_and_an_excepted_host_is_dialled() {
    world("http://proxy.corp:3128", "").run(
        || std::sync::Mutex::new(proxy()),
        |inside, _| {
            assert_eq!(say(inside.connect("allowed.example", 7000), b"x"), "");
            let (_, _, error) = inside.ended();
            let error = error.expect("why");
            assert!(error.contains("wants a name and a password"), "{error}");
        },
    );
    let mut direct = world("http://me:secret@proxy.corp:3128", ".example");
    direct.hosts = format!("{PUBLIC} allowed.example\n{OTHER_PUBLIC} proxy.corp\n");
    direct.run(
        || {
            echo_server(PUBLIC, 7000);
            std::sync::Mutex::new(proxy())
        },
        |inside, heads| {
            let echoed = say(inside.connect("allowed.example", 7000), b"directly");
            assert_eq!(echoed, "directly");
            assert!(heads.lock().unwrap().try_recv().is_err());
        },
    );
}
