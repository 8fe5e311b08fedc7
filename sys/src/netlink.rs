//! Route netlink (`rtnetlink(7)`): a network namespace in which every address leads to what listens inside.

use std::io;
use std::net::Ipv4Addr;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The address that loopback is given: the dummy of RFC 7600, which nobody else has. Without one that is not of 127.0.0.0/8
/// glibc asks for no addresses at all (`AI_ADDRCONFIG` of `getaddrinfo(3)`).
pub const OWN_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// The first of the addresses that a broker hands out for names in such a namespace. In any other network they are addresses
/// like others. Why this block: `egress/src/broker/names.rs`.
pub const NAMES: Ipv4Addr = Ipv4Addr::new(25, 240, 0, 0);

/// The length of that block's prefix.
pub const NAMES_PREFIX: u32 = 18;

/// The loopback device is the first of its namespace.
const LOOPBACK: [u8; 4] = 1_u32.to_ne_bytes();

/// `NLM_F_REQUEST`, `NLM_F_CREATE` and `NLM_F_ACK` of `netlink(7)`.
const ADD: u16 = 0x1 | 0x400 | 0x4;

/// Brings `lo` up in the current network namespace, gives it [`OWN_ADDRESS`], and has every address of IPv4 and, where
/// the kernel has it, IPv6 lead to it.
///
/// # Errors
///
/// The caller may not (`CAP_NET_ADMIN`), or this has been done already.
pub fn lead_everything_to_loopback() -> io::Result<()> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    let ask = |request: &Request| -> io::Result<()> {
        rustix::net::send(&socket, request.bytes(), SendFlags::empty())?;
        let mut answer = [0; 256];
        let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
        match errno_of(&answer[..length]) {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    };
    ask(&up())?;
    ask(&address())?;
    ask(&route(libc::AF_INET))?;
    match ask(&route(libc::AF_INET6)) {
        // A kernel without IPv6 has nothing that could be reached by it.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(()),
        asked => asked,
    }
}

/// The error that an acknowledgement (`NLMSG_ERROR`) tells; 0: there was none.
fn errno_of(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let error = i32::from_ne_bytes(*answer.get(16..)?.first_chunk()?);
    (i32::from(kind) == libc::NLMSG_ERROR).then_some(-error)
}

/// `struct ifinfomsg`.
fn up() -> Request {
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    Request::new(libc::RTM_NEWLINK, &[[0; 4], LOOPBACK, up, up], &[])
}

/// `struct ifaddrmsg`, with `IFA_LOCAL`.
fn address() -> Request {
    let head = [libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_HOST];
    let local = (libc::IFA_LOCAL, OWN_ADDRESS.octets());
    Request::new(libc::RTM_NEWADDR, &[head, LOOPBACK], &[local])
}

/// `struct rtmsg`: a local route to everything, with `RTA_OIF`.
fn route(family: i32) -> Request {
    let (table, protocol) = (libc::RT_TABLE_LOCAL, libc::RTPROT_STATIC);
    let kind = [table, protocol, libc::RT_SCOPE_HOST, libc::RTN_LOCAL];
    let device = (libc::RTA_OIF, LOOPBACK);
    Request::new(
        libc::RTM_NEWROUTE,
        &[[family as u8, 0, 0, 0], kind, [0; 4]],
        &[device],
    )
}

/// `struct nlmsghdr`, a message, and attributes. Nothing is allocated: this is sent between `fork` and `exec`.
struct Request {
    bytes: [u8; 48],
    length: usize,
}

impl Request {
    fn new(kind: u16, message: &[[u8; 4]], attributes: &[(u16, [u8; 4])]) -> Self {
        let length = 16 + message.len() * 4 + attributes.len() * 8;
        let mut request = Self {
            bytes: [0; 48],
            length: 0,
        };
        request.push((length as u32).to_ne_bytes());
        request.push_two(kind, ADD);
        // Its number, and its port: each is answered before the next.
        request.push([0; 4]);
        request.push([0; 4]);
        message.iter().for_each(|part| request.push(*part));
        for (attribute, value) in attributes {
            request.push_two(8, *attribute);
            request.push(*value);
        }
        request
    }

    fn push_two(&mut self, first: u16, second: u16) {
        let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
        self.push([a, b, c, d]);
    }

    fn push(&mut self, part: [u8; 4]) {
        self.bytes[self.length..self.length + 4].copy_from_slice(&part);
        self.length += 4;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
