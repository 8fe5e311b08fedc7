//! Datagrams of the sandbox: from whom, to which address, and answered from that very address. Clients take no other answer.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use rustix::net::sockopt as rustix_sockopt;
use tokio::net::UdpSocket;

/// The longest datagram, in bytes.
pub(crate) const LONGEST: usize = 1 << 16;

/// Where a datagram came from, and where it was sent to.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    from: SockaddrStorage,
    to: To,
}

#[derive(Clone, Copy, Debug)]
enum To {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// A socket that tells of each datagram which address it was sent to.
pub(crate) fn socket(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    match socket.local_addr()?.is_ipv4() {
        true => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        false => {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            // Otherwise only addresses of an interface can be answered from.
            rustix_sockopt::set_ipv6_freebind(&socket, true)?;
        }
    }
    UdpSocket::from_std(socket)
}

/// Receives one, if there is one. Returns its length, and its envelope where it can be answered.
pub(crate) fn receive(
    socket: &UdpSocket,
    packet: &mut [u8],
) -> io::Result<(usize, Option<Envelope>)> {
    let mut space = nix::cmsg_space!(in6_pktinfo, in_pktinfo);
    let mut buffers = [IoSliceMut::new(packet)];
    let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
    let received = recvmsg::<SockaddrStorage>(fd, &mut buffers, Some(&mut space), flags)?;
    let to = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(To::V4(info)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(To::V6(info)),
        _ => None,
    });
    let (length, from) = (received.bytes, received.address);
    let envelope = from.zip(to).map(|(from, to)| Envelope { from, to });
    Ok((length, envelope))
}

impl Envelope {
    /// The address that it was sent to.
    pub fn to(&self) -> IpAddr {
        match self.to {
            To::V4(info) => IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes()),
            To::V6(info) => IpAddr::from(info.ipi6_addr.s6_addr),
        }
    }

    /// Who sent it.
    pub fn from(&self) -> Option<SocketAddr> {
        let v4 = (self.from.as_sockaddr_in()).map(|from| SocketAddrV4::from(*from).into());
        v4.or_else(|| (self.from.as_sockaddr_in6()).map(|from| SocketAddrV6::from(*from).into()))
    }

    /// Answers it.
    pub fn answer(&self, socket: &UdpSocket, bytes: &[u8]) -> io::Result<()> {
        let bytes = [IoSlice::new(bytes)];
        let send = |control: ControlMessage<'_>| {
            let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
            sendmsg(fd, &bytes, &[control], flags, Some(&self.from))
        };
        match self.to {
            To::V4(info) => send(ControlMessage::Ipv4PacketInfo(&in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: info.ipi_addr,
                ..info
            }))?,
            To::V6(info) => send(ControlMessage::Ipv6PacketInfo(&in6_pktinfo {
                ipi6_ifindex: 0,
                ..info
            }))?,
        };
        Ok(())
    }
}
