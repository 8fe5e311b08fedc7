//! Ports of the host's loopback that are published (`net.listen`): taken before this process joins the sandbox's network, opened when the
//! broker is to serve them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// As many connections wait until they are accepted.
const WAITING: i32 = 128;

/// A port of one loopback address.
pub(super) struct Published {
    pub port: u16,
    pub socket: OwnedFd,
    at: IpAddr,
}

/// Takes a port at 127.0.0.1 and, where the host has it, at `::1`.
pub(super) fn bind(port: u16) -> Result<Vec<Published>, String> {
    let take = |at: IpAddr| {
        let socket = bound(SocketAddr::new(at, port))?;
        Ok(Published { port, socket, at })
    };
    let told = |at: IpAddr| move |errno| refusal(port, at, errno);
    let [v4, v6] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let first = take(v4).map_err(told(v4))?;
    match take(v6) {
        Ok(second) => Ok(vec![first, second]),
        // A host without IPv6 has no such address.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => Ok(vec![first]),
        Err(errno) => Err(refusal(port, v6, errno)),
    }
}

fn bound(at: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match at {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    // Connections of an earlier run that have ended keep nobody from the port; whoever listens there does.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &at)?;
    Ok(socket)
}

fn refusal(port: u16, at: IpAddr, errno: Errno) -> String {
    let at = SocketAddr::new(at, port);
    let help = match errno {
        Errno::ADDRINUSE => "end what listens there, or name another port in `net.listen`",
        Errno::ACCESS => {
            "ports below net.ipv4.ip_unprivileged_port_start, commonly 1024, are root's: name a higher one in `net.listen`"
        }
        _ => "name another port in `net.listen`",
    };
    format!("port {port} cannot be published at {at}: {errno}\n  help: {help}")
}

impl Published {
    /// Opens it: until then, who connects is refused.
    pub fn listen(&self) -> Result<(), String> {
        rustix::net::listen(&self.socket, WAITING)
            .map_err(|errno| refusal(self.port, self.at, errno))
    }
}
