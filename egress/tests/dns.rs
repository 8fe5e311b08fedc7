//! What programs inside find when they look up names.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use aegis_egress::Limits;
use aegis_egress::names::{FIRST, PREFIX};

use crate::world::{OPEN, World, curl, python};

/// Asks a name server over UDP or TCP and prints the code, and the addresses.
const ASK: &str = "
import socket, struct, sys
server, how, kind = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ':' in server else socket.AF_INET
for name in sys.argv[4:]:
    labels = b''.join(bytes([len(l)]) + l for l in name.encode('latin-1').split(b'.') if l)
    query = struct.pack('>6H', 4711, 0x100, 1, 0, 0, 0) + labels + b'\\0' + struct.pack('>2H', kind, 1)
    with socket.socket(family, socket.SOCK_DGRAM if how == 'udp' else socket.SOCK_STREAM) as s:
        s.settimeout(60)
        s.connect((server, 53))
        if how == 'udp':
            s.send(query)
            answer = s.recv(4096)
        else:
            s.sendall(struct.pack('>H', len(query)) + query)
            f = s.makefile('rb')
            answer = f.read(struct.unpack('>H', f.read(2))[0])
    code, answers = answer[3] & 15, struct.unpack('>H', answer[6:8])[0]
    print(code, *[socket.inet_ntoa(answer[-4:])][:answers])
";

fn in_block(address: Ipv4Addr) -> bool {
    (address.to_bits() ^ FIRST.to_bits()) >> (32 - PREFIX) == 0
}

#[test]
fn every_name_has_one_address_of_the_block_for_the_run() {
    World::new(OPEN).run(
        || {},
        |inside, ()| {
            let allowed = inside.address("allowed.example");
            let denied = inside.address("denied.example");
            assert!(in_block(allowed) && in_block(denied) && allowed != denied);
            assert_eq!(inside.address("Allowed.EXAMPLE."), allowed);
            assert_eq!(inside.address("denied.example"), denied);
        },
    );
}

#[test]
fn whichever_name_server_is_asked_answers_over_udp_and_tcp() {
    World::new(OPEN).run(
        || {},
        |inside, ()| {
            let known = format!("0 {}\n", inside.address("allowed.example"));
            for server in ["127.0.0.1", "9.9.9.9", "::1", "2620:fe::fe"] {
                for how in ["udp", "tcp"] {
                    let ask = |kind: &str, name: &str| python(ASK, &[server, how, kind, name]);
                    assert_eq!(ask("1", "allowed.example"), known, "{server} {how}");
                    // No addresses of IPv6, and no error: programs ask for both.
                    assert_eq!(ask("28", "allowed.example"), "0\n");
                    assert_eq!(ask("16", "secret.allowed.example"), "0\n");
                    assert_eq!(ask("1", "127.1"), "3\n");
                }
            }
        },
    );
}

#[test]
fn names_beyond_number_and_packets_of_any_kind_leave_others_served() {
    let mut world = World::new(OPEN);
    world
        .destinations
        .extend(["http://*.wild.example", "http://late.example"]);
    world.limits = Limits {
        names: 40,
        other_names: 20,
        ..world.limits
    };
    world.run(
        || {},
        |inside, ()| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect("127.0.0.1:53").unwrap();
            let mut packet = [0; 4096];
            for n in 0..2_000_u32 {
                let name =
                    hickory_proto::rr::Name::from_ascii(format!("{n}.other.example.")).unwrap();
                let question = aegis_egress::dns::question(&name, hickory_proto::rr::RecordType::A);
                socket.send(&question).unwrap();
                socket.recv(&mut packet).unwrap();
                // Whatever is sent, nothing or little comes back.
                let garbage: Vec<u8> = question
                    .iter()
                    .map(|byte| byte ^ (n as u8 | 0x80))
                    .collect();
                socket.send(&garbage[..n as usize % garbage.len()]).unwrap();
                socket.send(&[n as u8; 9_000]).unwrap();
            }
            drop(socket);
            // One that is too many is still told why.
            assert_eq!(inside.address("one-more.example"), FIRST);
            let (status, body, _) = curl(&["http://one-more.example/"]);
            assert_eq!(status, "403");
            assert!(body.contains("more than 20 names"), "{body}");
            for asked_for in ["allowed.example", "a.wild.example", "b.wild.example"] {
                assert_ne!(inside.address(asked_for), FIRST, "{asked_for}");
            }
            // Those that the profile has by name, whatever is looked up of the others.
            for n in 0..40 {
                inside.address(&format!("{n}.wild.example"));
            }
            assert_eq!(inside.address("40.wild.example"), FIRST);
            assert_ne!(inside.address("late.example"), FIRST);
            let nobody = Ipv4Addr::from_bits(FIRST.to_bits() + 41);
            let (_, body, _) = curl(&[&format!("http://{}/", IpAddr::from(nobody))]);
            assert!(body.contains("no name has this address"), "{body}");
        },
    );
}
