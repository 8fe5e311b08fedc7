//! DNS over UDP and TCP: packets in, answers out.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use rustix::net::sockopt as rustix_sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::broker::connect::{Acceptor, REST};
use crate::broker::dns::{LONGEST, answer};

/// A socket whose datagrams can be answered from the very address that each was sent to: clients take no other answer.
pub(crate) fn datagrams(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
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

/// Answers datagrams.
pub(crate) async fn udp(acceptor: Arc<Acceptor>, socket: UdpSocket) {
    let mut packet = vec![0; LONGEST + 1];
    loop {
        let received = || one(&acceptor, &socket, &mut packet);
        // An error is that of an earlier answer, to somebody who is gone.
        let _ = socket.async_io(Interest::READABLE, received).await;
    }
}

/// Answers one datagram.
fn one(acceptor: &Acceptor, socket: &UdpSocket, packet: &mut [u8]) -> io::Result<()> {
    let mut space = nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::in_pktinfo);
    let mut buffers = [IoSliceMut::new(packet)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let fd = socket.as_raw_fd();
    let received = recvmsg::<SockaddrStorage>(fd, &mut buffers, Some(&mut space), flags)?;
    let (length, from) = (received.bytes, received.address);
    let to = received.cmsgs()?.find(|message| {
        matches!(
            message,
            ControlMessageOwned::Ipv4PacketInfo(_) | ControlMessageOwned::Ipv6PacketInfo(_)
        )
    });
    let packet = packet.get(..length).unwrap_or_default();
    let Some(answer) = answer(packet, |name| acceptor.address(name)) else {
        return Ok(());
    };
    let answer = [IoSlice::new(&answer)];
    let send = |control: &[ControlMessage<'_>]| sendmsg(fd, &answer, control, flags, from.as_ref());
    match to {
        Some(ControlMessageOwned::Ipv4PacketInfo(mut info)) => {
            info.ipi_ifindex = 0;
            info.ipi_spec_dst = info.ipi_addr;
            send(&[ControlMessage::Ipv4PacketInfo(&info)])?;
        }
        Some(ControlMessageOwned::Ipv6PacketInfo(mut info)) => {
            info.ipi6_ifindex = 0;
            send(&[ControlMessage::Ipv6PacketInfo(&info)])?;
        }
        _ => {
            send(&[])?;
        }
    }
    Ok(())
}

/// Answers on connections.
pub(crate) async fn tcp(acceptor: Arc<Acceptor>, listener: TcpListener) {
    let host: Arc<str> = "DNS".into();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let Some(slot) = acceptor.table.slot(&host) else {
            acceptor.dialler.reporter.turned_away();
            continue;
        };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = talk(acceptor, stream) => {}
                // Who asks once a second waits as much as who never asks.
                () = slot.turned_out() => {}
            }
        });
    }
}

/// Messages with their length before them (RFC 1035, 4.2.2).
async fn talk(acceptor: Arc<Acceptor>, mut stream: TcpStream) -> io::Result<()> {
    let time = acceptor.dialler.limits.head;
    loop {
        let length = tokio::time::timeout(time, stream.read_u16()).await??;
        let length = usize::from(length);
        if length > LONGEST {
            return Ok(());
        }
        let mut packet = vec![0; length];
        tokio::time::timeout(time, stream.read_exact(&mut packet)).await??;
        let Some(answer) = answer(&packet, |name| acceptor.address(name)) else {
            return Ok(());
        };
        let mut message = (answer.len() as u16).to_be_bytes().to_vec();
        message.extend(answer);
        tokio::time::timeout(time, stream.write_all(&message)).await??;
    }
}
