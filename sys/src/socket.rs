//! Unix sockets: a pair that carries whole messages and descriptors (`unix(7)`), connecting, network namespaces.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use super::check;

/// The most descriptors in one message: `SCM_MAX_FD` of `unix(7)`.
pub const MAX_DESCRIPTORS: usize = 253;

const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS));

/// A connected pair, both close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        kind,
        flags,
        None,
    )?)
}

/// Sends one message, with at most [`MAX_DESCRIPTORS`] descriptors.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let bytes = [IoSlice::new(bytes)];
    rustix::net::sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message into `bytes`. Returns its length (0: the other side is closed) and its descriptors.
///
/// A side that is closed with something unread in it resets the connection. The kernel says that first, and once: what
/// the other side has sent before is received after it.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut receive = || {
        let mut bytes = [IoSliceMut::new(bytes)];
        rustix::net::recvmsg(socket, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)
    };
    let received = match rustix::io::retry_on_intr(&mut receive) {
        Err(Errno::CONNRESET) => rustix::io::retry_on_intr(receive),
        result => result,
    };
    let length = received?.bytes;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok((length, fds))
}

/// Whether a message waits to be received, or the other side was closed.
pub fn has_message(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).is_ok()
        && !fds[0].revents().is_empty()
}

/// Whether the other side of the socket was closed.
pub fn peer_is_gone(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).is_ok()
        && fds[0].revents().contains(PollFlags::HUP)
}

/// `connect(2)` to an address as a caller has given it.
pub fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    let length = address.len() as libc::socklen_t;
    // SAFETY: the address is as long as said, and outlives the call; the kernel takes it for bytes.
    check(unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length) }).map(|_| ())
}

/// `bind(2)` to an address as a caller has given it.
pub fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    let length = address.len() as libc::socklen_t;
    // SAFETY: as for `connect`.
    check(unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length) }).map(|_| ())
}

/// Takes a TCP socket from its connection, which ends at once: it can be connected again (`connect(2)` to `AF_UNSPEC`).
pub fn disconnect(socket: BorrowedFd<'_>) -> io::Result<()> {
    let nowhere = [0; size_of::<libc::sockaddr>()];
    connect(socket, &nowhere)?;
    // The end of the old connection is no error of the next.
    rustix::net::sockopt::socket_error(socket)?.or(Ok(()))
}

/// Bytes that were sent on a TCP connection, its end included, of which the other side has not said that it has them: `SIOCOUTQ` of
/// `tcp(7)`.
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// A number for the network namespace of a socket: `SO_NETNS_COOKIE` (Linux 5.14). It is never used again.
pub fn network_namespace(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: both are as long as said, and outlive the call.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &mut length,
        )
    })?;
    Ok(cookie)
}

/// The number of the [network namespace](network_namespace) that this process is in.
pub fn own_network_namespace() -> io::Result<u64> {
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    network_namespace(socket.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_before_a_reset_is_received() {
        let (ours, theirs) = pair().unwrap();
        send(ours.as_fd(), b"never read", &[]).unwrap();
        send(theirs.as_fd(), b"why it failed", &[]).unwrap();
        drop(theirs);
        let mut bytes = [0; 64];
        let (length, _) = receive(ours.as_fd(), &mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"why it failed");
        assert_eq!(receive(ours.as_fd(), &mut bytes).unwrap().0, 0);
    }
}
