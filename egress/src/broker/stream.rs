//! The two ends of a connection: bytes are counted at the one outside, and the one inside is closed so that what was said
//! last still arrives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aegis_policy::Decision;
use aegis_policy::request::Destination;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, split};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::broker::bandwidth::{Bandwidth, Way};
use crate::broker::connections::Slot;
use crate::broker::events::Reporter;
use crate::broker::judge::Refusal;

/// As many bytes are passed on at once, each way.
const PIECE: usize = 4 << 10;

/// The same where more comes than that, for as many connections as there is [room](LARGE_PIECES) for.
const LARGE_PIECE: usize = 128 << 10;

/// As many pieces may be large at a time.
static LARGE_PIECES: Semaphore = Semaphore::const_new(64);

/// Bytes each way, so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    received: AtomicU64,
    sent: AtomicU64,
}

/// A connection whose bytes are counted, and pass as fast as they may.
pub(crate) struct Counted {
    stream: TcpStream,
    counts: Arc<Counts>,
    /// In, and out.
    ways: Option<[Way; 2]>,
}

impl Counted {
    /// `bandwidth`: what it shares with others; `None`: nothing bounds it.
    pub fn new(stream: TcpStream, counts: Arc<Counts>, bandwidth: Option<&Arc<Bandwidth>>) -> Self {
        let way = |bandwidth: &Arc<Bandwidth>| Way::new(bandwidth.clone());
        Self {
            stream,
            counts,
            ways: bandwidth.map(|bandwidth| [way(bandwidth), way(bandwidth)]),
        }
    }

    /// The connection itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads no more than is there when it is its turn.
    fn poll_read_in_turn(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some([way, _]) = &mut self.ways else {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        };
        ready!(self.stream.poll_read_ready(cx))?;
        let there =
            usize::try_from(rustix::io::ioctl_fionread(&self.stream)?).unwrap_or(usize::MAX);
        let wanted = there.min(buffer.remaining());
        if wanted == 0 {
            // The end, an error, or no more yet.
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let turn = ready!(way.poll_turn(cx, wanted));
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(turn));
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut piece);
        let count = piece.filled().len();
        buffer.advance(count);
        way.passed(count);
        read
    }

    /// Writes as much as it is its turn to.
    fn poll_write_in_turn(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = match &mut self.ways {
            Some([_, way]) if !bytes.is_empty() => {
                ready!(self.stream.poll_write_ready(cx))?;
                &bytes[..ready!(way.poll_turn(cx, bytes.len()))]
            }
            _ => bytes,
        };
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, piece));
        self.wrote(&written);
        Poll::Ready(written)
    }

    fn wrote(&mut self, written: &io::Result<usize>) {
        let Ok(count) = written else {
            return;
        };
        self.counts.went(*count as u64);
        if let Some([_, way]) = &mut self.ways {
            way.passed(*count);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(self.poll_read_in_turn(cx, buffer));
        let count = buffer.filled().len() - before;
        self.counts.came(count as u64);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_in_turn(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.ways.is_some() {
            let first = bytes.iter().find(|bytes| !bytes.is_empty());
            return self.poll_write_in_turn(cx, first.map_or(&[], |bytes| bytes));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bytes));
        self.wrote(&written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.ways.is_none() && self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Something that was let through and goes on. When it is dropped, the launcher is told that it is over.
pub(crate) struct Exchange {
    id: u64,
    to: Destination,
    reporter: Reporter,
    counts: Arc<Counts>,
    /// What was counted when it began.
    began: (u64, u64),
    pub error: Option<String>,
}

impl Exchange {
    /// Begins when the launcher was sent the message that it is let through.
    ///
    /// # Errors
    ///
    /// The broker is ending.
    pub async fn begin(
        reporter: &Reporter,
        to: Destination,
        decision: Decision,
        counts: Arc<Counts>,
    ) -> Result<Self, Refusal> {
        let (id, sent) = reporter.let_through(to.clone(), decision).await;
        // From here on its end is told, also if that is now.
        let exchange = Self {
            began: counts.now(),
            id,
            to,
            reporter: reporter.clone(),
            counts,
            error: None,
        };
        let ending = |_| Refusal::with_status(503, "the run is ending");
        sent.await.map(|()| exchange).map_err(ending)
    }

    /// What was let through.
    pub fn to(&self) -> &Destination {
        &self.to
    }

    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

impl Counts {
    /// So many bytes were sent.
    pub fn went(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes were received.
    pub fn came(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sent, and received.
    pub fn now(&self) -> (u64, u64) {
        let (sent, received) = (&self.sent, &self.received);
        (
            sent.load(Ordering::Relaxed),
            received.load(Ordering::Relaxed),
        )
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let (sent, received) = self.counts.now();
        let counts = (sent - self.began.0, received - self.began.1);
        self.reporter
            .ended(self.id, self.to.clone(), counts, self.error.take());
    }
}

/// Passes on what either side says, until both have ended.
pub(crate) async fn tunnel(
    inside: impl AsyncRead + AsyncWrite + Unpin,
    outside: impl AsyncRead + AsyncWrite + Unpin,
    exchange: &mut Exchange,
) {
    exchange.error = pass_on(inside, outside)
        .await
        .err()
        .map(|error| error.to_string());
}

/// The same, for what is no exchange.
pub(crate) async fn pass_on(
    one: impl AsyncRead + AsyncWrite + Unpin,
    other: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut from_one, mut to_one) = split(one);
    let (mut from_other, mut to_other) = split(other);
    tokio::try_join!(
        pass(&mut from_one, &mut to_other, |_| ()),
        pass(&mut from_other, &mut to_one, |_| ())
    )
    .map(drop)
}

/// The same as [`tunnel`], where nobody else counts what passes.
pub(crate) async fn tunnel_and_count(
    inside: impl AsyncRead + AsyncWrite + Unpin,
    outside: impl AsyncRead + AsyncWrite + Unpin,
    exchange: &mut Exchange,
) {
    let (mut from_inside, mut to_inside) = split(inside);
    let (mut from_outside, mut to_outside) = split(outside);
    let counts = exchange.counts();
    let passed = tokio::try_join!(
        pass(&mut from_inside, &mut to_outside, |bytes| counts
            .went(bytes)),
        pass(&mut from_outside, &mut to_inside, |bytes| counts
            .came(bytes))
    );
    exchange.error = passed.err().map(|error| error.to_string());
}

/// Passes on what one side says, until it has ended.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: impl Fn(u64),
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut large = None;
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
        count(length as u64);
        if length == piece.len()
            && large.is_none()
            && let Ok(room) = LARGE_PIECES.try_acquire()
        {
            large = Some(room);
            piece = vec![0; LARGE_PIECE];
        }
    }
}

/// A stream of which something was read already.
pub(crate) struct Resumed<S> {
    first: Vec<u8>,
    /// How much of that was read again.
    at: usize,
    stream: S,
}

impl<S> Resumed<S> {
    pub fn new(first: Vec<u8>, stream: S) -> Self {
        let at = 0;
        Self { first, at, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Resumed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let rest = &self.first[self.at..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.at += length;
        if self.at == self.first.len() {
            self.first = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Resumed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How long, and for how many bytes, what still comes from inside is read after the last answer. Closing a socket with unread
/// bytes resets the connection: who is still writing fails, and does not read the answer.
const LINGER: (Duration, u64) = (Duration::from_secs(30), 64 << 20);

/// A connection from inside. When it is dropped, it is closed so that the last answer arrives.
pub(crate) struct Inside {
    /// `None`: it was dropped.
    stream: Option<TcpStream>,
    slot: Arc<Slot>,
}

impl Inside {
    pub fn new(stream: TcpStream, slot: Arc<Slot>) -> Self {
        let _ = stream.set_nodelay(true);
        let stream = Some(stream);
        Self { stream, slot }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("there until it is dropped"))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        let slot = self.slot.clone();
        let linger = async move {
            slot.lingers();
            let _ = stream.shutdown().await;
            let (mut rest, mut nowhere) = (stream.take(LINGER.1), tokio::io::sink());
            tokio::select! {
                _ = tokio::io::copy(&mut rest, &mut nowhere) => {}
                () = slot.turned_out() => {}
            }
        };
        // Without a runtime the broker is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER.0, linger));
        }
    }
}

impl AsyncRead for Inside {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(self.stream().poll_read(cx, buffer));
        match self.slot.says(buffer.filled().len() - before) {
            true => Poll::Ready(read),
            false => Poll::Ready(Err(io::Error::other(
                "too much is waiting to be understood",
            ))),
        }
    }
}

impl AsyncWrite for Inside {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
