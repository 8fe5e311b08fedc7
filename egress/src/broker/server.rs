//! DNS over UDP and TCP: packets in, answers out.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::broker::connect::{Acceptor, REST};
use crate::broker::dns::{LONGEST, answer};
use crate::broker::packet;

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
    let (length, envelope) = packet::receive(socket, packet)?;
    let packet = packet.get(..length).unwrap_or_default();
    match (answer(packet, |name| acceptor.address(name)), envelope) {
        (Some(answer), Some(envelope)) => envelope.answer(socket, &answer),
        _ => Ok(()),
    }
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
