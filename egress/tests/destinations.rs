//! Where a destination leads, and what is said of it: names, addresses, the host's loopback; to the client and to the launcher.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};

use aegis_egress::protocol::Event;

use crate::world::{
    METADATA, OPEN, PRIVATE, PUBLIC, World, curl, echo_server, http_server, json, rest,
};

#[test]
fn what_cannot_be_reached_is_told_as_the_gateways_failure() {
    let mut world = World::new(OPEN);
    world.destinations.push("http://unknown.example");
    world.run(
        || {},
        |inside, ()| {
            let (status, body, _) = curl(&["http://allowed.example/"]);
            assert_eq!(status, "502");
            assert!(body.contains("refused"), "{body}");
            // The address is for the record.
            assert!(!body.contains(&PUBLIC.to_string()), "{body}");
            assert_eq!(inside.ruling().0.address, Some(PUBLIC.into()));
            assert!(inside.ended().2.unwrap().contains("refused"));
            let (status, body, _) = curl(&["http://unknown.example/"]);
            assert_eq!(status, "502");
            assert!(
                body.contains("resolv.conf of the host: io error: no nameservers found"),
                "{body}"
            );
        },
    );
}

/// A name server of the host: it answers with the address that is in the cell, and keeps what it was asked.
fn name_server(address: &Arc<Mutex<Ipv4Addr>>) -> Arc<Mutex<Vec<String>>> {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    let (address, asked) = (address.clone(), Arc::<Mutex<Vec<String>>>::default());
    let names = asked.clone();
    std::thread::spawn(move || {
        let mut packet = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let answer = aegis_egress::dns::answer(&packet[..length], |name| {
                names.lock().unwrap().push(name.to_owned());
                *address.lock().unwrap()
            });
            if let Some(answer) = answer {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    asked
}

#[test]
fn nothing_is_asked_outside_before_it_is_let_through_and_a_name_leads_nowhere_private() {
    let mut world = World::new(OPEN);
    world.resolv_conf = "nameserver 127.0.0.1\n".to_owned();
    world.destinations = vec![
        "http://*.open.example",
        "http://*.inner.example",
        "http://169.254.169.254",
        "http://*.blocked.example",
    ];
    for rule in [
        "{id: inner, hosts: '*.inner.example', private-addresses: true, verdict: allow}",
        "{id: metadata, hosts: 169.254.169.254, private-addresses: true, verdict: allow}",
        "{id: never, hosts: '*.blocked.example', verdict: block}",
    ] {
        world.policy += &format!("  - {rule}\n");
    }
    let address = Arc::new(Mutex::new(PRIVATE));
    let set = address.clone();
    world.run(
        move || {
            for address in [
                PUBLIC,
                PRIVATE,
                METADATA[0],
                METADATA[1],
                Ipv4Addr::LOCALHOST,
            ] {
                http_server(address, 80);
            }
            name_server(&address)
        },
        |inside, asked| {
            // Data in the labels of a name reaches nobody.
            for name in ["c2VjcmV0.attacker.example", "c2VjcmV0.blocked.example"] {
                assert_eq!(curl(&[&format!("http://{name}/")]).0, "403");
                assert!(!inside.ruling().1);
            }
            assert!(asked.lock().unwrap().is_empty());
            let get = |name: &str, at: Ipv4Addr| {
                *set.lock().unwrap() = at;
                let (status, body, _) = curl(&[&format!("http://{name}/")]);
                let (to, through, _) = inside.ruling();
                assert_eq!(through, status == "200", "{body}");
                assert!(to.address.is_none_or(|address| address == at));
                status
            };
            let [link_local, azure] = METADATA;
            assert_eq!(get("a.open.example", PUBLIC), "200");
            assert_eq!(get("b.open.example", PRIVATE), "403");
            assert_eq!(get("c.open.example", Ipv4Addr::LOCALHOST), "403");
            assert_eq!(get("d.open.example", link_local), "403");
            assert_eq!(get("e.open.example", azure), "403");
            // Not even where private addresses are let through.
            assert_eq!(get("a.inner.example", PRIVATE), "200");
            assert_eq!(get("b.inner.example", link_local), "403");
            assert_eq!(get("c.inner.example", azure), "403");
            assert_eq!(get("169.254.169.254", link_local), "200");
            let asked = asked.lock().unwrap();
            assert!(asked.iter().all(|name| name.ends_with(".example")));
        },
    );
}

#[test]
fn loopback_is_the_hosts_where_the_profile_asks_for_localhost() {
    let rule = "{id: own, hosts: localhost, private-addresses: true, verdict: allow}";
    for (rules, served) in [
        (format!("{OPEN}  - {rule}\n"), true),
        (OPEN.to_owned(), false),
    ] {
        let mut world = World::new(&rules);
        world
            .destinations
            .extend(["http://localhost:8080", "tcp://localhost:7001"]);
        world.hosts += "127.0.0.1 localhost\n";
        world.run(
            || {
                for port in [7000, 7001] {
                    echo_server(Ipv4Addr::LOCALHOST, port);
                }
                http_server(Ipv4Addr::LOCALHOST, 8080)
            },
            |inside, asked| {
                for host in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
                    let (status, body, _) = curl(&[&format!("http://{host}:8080/")]);
                    assert_eq!(status == "200", served, "{host} {body}");
                    let (to, through, _) = inside.ruling();
                    assert_eq!((&*to.host, through), ("localhost", served));
                    assert_eq!(to.address, Some(Ipv4Addr::LOCALHOST.into()));
                }
                let heads = asked.lock().unwrap();
                assert!(
                    heads
                        .iter()
                        .all(|(head, _)| head.contains("Host: localhost:8080\r\n"))
                );
                let echoed = |port| {
                    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                    // It may be closed already.
                    let _ = (&stream).write_all(b"x");
                    let _ = stream.shutdown(Shutdown::Write);
                    rest(stream) == "x"
                };
                assert_eq!(echoed(7001), served);
                // A port at which the profile asks for another host.
                assert!(!echoed(7000));
            },
        );
    }
}

#[test]
fn the_launcher_is_told_the_line_that_would_allow_and_none_where_credentials_are() {
    let line = |event: Event| match event {
        Event::Refused { allow, .. } | Event::Decided { allow, .. } => allow,
        event => panic!("{event:?}"),
    };
    let policy = "aegis-policy: 1\nnetwork-egress: [{id: reads, hosts: allowed.example, methods: GET, verdict: allow}]\n";
    World::new(policy).run(
        || http_server(PUBLIC, 80),
        |inside, _| {
            curl(&["http://denied.example/"]);
            let allow = line(inside.event());
            assert_eq!(
                allow.as_deref(),
                Some("capabilities: {net.outbound: [\"http://denied.example\"]}")
            );
            curl(&["-d", "x", "http://allowed.example/"]);
            let allow = line(inside.event()).unwrap();
            assert!(
                allow.starts_with("network-egress: [{") && allow.contains("POST"),
                "{allow}"
            );
            curl(&["http://allowed.example/"]);
            assert_eq!(line(inside.event()), None);
            assert!(matches!(inside.event(), Event::Ended { .. }));
            let [link_local, azure] = METADATA;
            let in_block = Ipv4Addr::from_bits(aegis_egress::names::FIRST.to_bits() + 4_000);
            for address in [link_local, azure, in_block, aegis_egress::names::FIRST] {
                let (status, body, _) = curl(&[&format!("http://{address}/")]);
                assert_eq!(
                    (status.as_str(), line(inside.event())),
                    ("403", None),
                    "{address}"
                );
                assert!(json(&body)["allow"].is_null(), "{body}");
            }
        },
    );
}

#[test]
fn a_decision_that_is_too_long_as_it_is_sent_is_none() {
    // Twice as long with the escapes of JSON.
    let reason = "\\\\".repeat(20_000);
    let policy = format!(
        "aegis-policy: 1\nnetwork-egress: [{{id: shut, hosts: allowed.example, verdict: block, reason: \"{reason}\"}}]\n"
    );
    World::new(&policy).run(
        || {},
        |inside, ()| {
            let url = format!("http://allowed.example/{}", "x".repeat(8_000));
            assert_eq!(curl(&[&url]).0, "500");
            assert!(inside.ruling().2.contains("more rules apply"));
        },
    );
}
