//! Taking values out of what comes back, in every spelling in which a server would repeat them. What is put in their place is as
//! long, so that lengths stay true.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aho_corasick::{AhoCorasick, MatchKind};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use hyper::header::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What is in the place of each byte.
const MASK: u8 = b'*';

/// A spelling that is shorter is too common to be one.
const SHORTEST: usize = 6;

/// As many spellings are looked for, of all values that there have been.
const MOST: usize = 1_024;

/// What may be the beginning of a value is held back no longer than this: programs wait for what has come.
const PAUSE: Duration = Duration::from_millis(20);

/// The spellings of all values.
#[derive(Default)]
pub(crate) struct Patterns {
    spellings: BTreeSet<Vec<u8>>,
    automaton: Option<AhoCorasick>,
    longest: usize,
}

impl Patterns {
    /// These, and those of further values.
    pub fn with<'v>(&self, values: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut all = self.spellings.clone();
        for value in values {
            if all.len() < MOST {
                all.extend(spellings(value));
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&all);
        Self {
            longest: all.iter().map(Vec::len).max().unwrap_or(0),
            // Too many of them for the library is more than there can be.
            automaton: automaton.ok().filter(|_| !all.is_empty()),
            spellings: all,
        }
    }

    /// Masks all values in what is whole.
    pub fn mask(&self, bytes: &mut [u8]) {
        let Some(automaton) = &self.automaton else {
            return;
        };
        let found: Vec<_> = automaton
            .find_iter(&*bytes)
            .map(|found| found.range())
            .collect();
        for place in found {
            bytes[place].fill(MASK);
        }
    }

    /// Masks all values in headers.
    pub fn mask_headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            let mut bytes = value.as_bytes().to_vec();
            self.mask(&mut bytes);
            if bytes != value.as_bytes()
                && let Ok(masked) = HeaderValue::from_bytes(&bytes)
            {
                *value = masked;
            }
        }
    }

    /// Where what may be the beginning of a value begins, at the end of some bytes.
    fn beginning(&self, bytes: &[u8]) -> usize {
        let first = (bytes.len() + 1).saturating_sub(self.longest);
        let may_begin = |at: &usize| {
            let end = &bytes[*at..];
            // The first spelling that is not before it, in the order of bytes, begins with it if any does.
            let mut from = self.spellings.range(end.to_vec()..);
            from.next()
                .is_some_and(|spelling| spelling.starts_with(end))
        };
        (first..bytes.len()).find(may_begin).unwrap_or(bytes.len())
    }
}

/// How a value may be spelled.
fn spellings(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![value.to_vec()];
    // In base64 it begins at any of three places within a group of letters. Those that its neighbours have a part in are left out.
    for before in 0..3_usize {
        let bytes = [&[0; 3][..before], value].concat();
        let first = (before * 8).div_ceil(6);
        let last = bytes.len() * 8 / 6;
        for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
            let encoded = encoding.encode(&bytes);
            all.extend(encoded.as_bytes().get(first..last).map(<[u8]>::to_vec));
        }
    }
    let percent = percent_encode(value, NON_ALPHANUMERIC).to_string();
    all.push(with_small_digits(&percent));
    all.push(percent.into_bytes());
    // What forms leave as it is (`application/x-www-form-urlencoded`).
    let form: String = url::form_urlencoded::byte_serialize(value).collect();
    all.push(form.into_bytes());
    if let Ok(text) = std::str::from_utf8(value)
        && let Ok(json) = serde_json::to_string(text)
    {
        let json = &json[1..json.len() - 1];
        all.push(json.as_bytes().to_vec());
        all.push(json.replace('/', "\\/").into_bytes());
    }
    all.retain(|spelling| spelling.len() >= SHORTEST || spelling == value);
    all
}

/// Percent-encoding with small digits.
fn with_small_digits(encoded: &str) -> Vec<u8> {
    let mut parts = encoded.split('%');
    let mut small = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        small.extend(["%", &digits.to_ascii_lowercase(), rest]);
    }
    small.into_bytes()
}

/// Masks what comes in pieces.
pub(crate) struct Scrubber {
    patterns: Arc<Patterns>,
    /// What may be the beginning of a value.
    held: Vec<u8>,
}

impl Scrubber {
    pub fn new(patterns: Arc<Patterns>) -> Self {
        let held = Vec::new();
        Self { patterns, held }
    }

    /// Adds a piece. Returns what is certain.
    pub fn add(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        self.patterns.mask(&mut bytes);
        self.held = bytes.split_off(self.patterns.beginning(&bytes));
        bytes
    }

    /// What is held back, when nothing more comes.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// How much is held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// When what is held back is let go.
#[derive(Default)]
pub(crate) struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    /// Comes when nothing has come for [`PAUSE`] since this was first asked.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = || Box::pin(sleep_until(Instant::now() + PAUSE));
        ready!(self.0.get_or_insert_with(sleep).as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(())
    }

    /// Something has come.
    pub fn end(&mut self) {
        self.0 = None;
    }
}

/// A stream whose bytes are masked as they are read.
pub(crate) struct Scrubbing<S> {
    stream: S,
    scrubber: Scrubber,
    pause: Pause,
    /// What was masked, and is still to be read.
    ready: Vec<u8>,
    has_ended: bool,
}

impl<S> Scrubbing<S> {
    pub fn new(stream: S, patterns: Arc<Patterns>) -> Self {
        Self {
            stream,
            scrubber: Scrubber::new(patterns),
            pause: Pause::default(),
            ready: Vec::new(),
            has_ended: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Scrubbing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.ready.is_empty() && !this.has_ended {
            let mut piece = [0; 4096];
            let mut read = ReadBuf::new(&mut piece);
            match Pin::new(&mut this.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    this.has_ended = true;
                    this.ready = this.scrubber.rest();
                }
                Poll::Ready(Ok(())) => {
                    this.pause.end();
                    this.ready = this.scrubber.add(read.filled());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if this.scrubber.held() > 0 => {
                    ready!(this.pause.poll(cx));
                    this.ready = this.scrubber.rest();
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        let length = this.ready.len().min(buffer.remaining());
        buffer.put_slice(&this.ready[..length]);
        this.ready.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Scrubbing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = b"s3cr3t/value+with\"all=";

    fn patterns() -> Arc<Patterns> {
        Arc::new(Patterns::default().with([VALUE].into_iter()))
    }

    fn spelled() -> Vec<Vec<u8>> {
        let around = |before: &str, after: &str| {
            let text = [before.as_bytes(), VALUE, after.as_bytes()].concat();
            [
                data_encoding::BASE64.encode(&text),
                data_encoding::BASE64URL.encode(&text),
            ]
        };
        let mut all = vec![
            VALUE.to_vec(),
            b"s3cr3t%2Fvalue%2Bwith%22all%3D".to_vec(),
            b"s3cr3t%2fvalue%2bwith%22all%3d".to_vec(),
            br#"{"a": "s3cr3t/value+with\"all="}"#.to_vec(),
            br#"{"a": "s3cr3t\/value+with\"all="}"#.to_vec(),
        ];
        for (before, after) in [
            ("", ""),
            ("u:", ""),
            ("a", "b"),
            ("user:", ":x"),
            ("abc", "de"),
        ] {
            all.extend(around(before, after).map(String::into_bytes));
        }
        all
    }

    /// Whether anything of a value's spelling is left that would do.
    fn is_clean(original: &[u8], masked: &[u8]) -> bool {
        let kept = original.iter().zip(masked).filter(|(a, b)| a == b).count();
        original.len() == masked.len() && masked.contains(&MASK) && kept <= original.len() - 20
    }

    #[test]
    fn a_value_is_masked_in_every_spelling_and_in_pieces_of_any_size() {
        for text in spelled() {
            let whole = [b"before ", &text[..], b" after"].concat();
            for size in [1, 2, 3, 7, whole.len()] {
                let mut scrubber = Scrubber::new(patterns());
                let pieces = whole.chunks(size).map(|piece| scrubber.add(piece));
                let mut masked = pieces.collect::<Vec<_>>().concat();
                masked.extend(scrubber.rest());
                let shown = String::from_utf8_lossy(&masked);
                assert!(
                    masked.starts_with(b"before ") && masked.ends_with(b" after"),
                    "{shown}"
                );
                assert!(
                    is_clean(&text, &masked[7..masked.len() - 6]),
                    "{size}: {shown}"
                );
            }
        }
    }

    #[test]
    fn only_what_may_be_a_beginning_is_held_back() {
        let mut scrubber = Scrubber::new(patterns());
        assert_eq!(scrubber.add(b"data: hello\n\n"), b"data: hello\n\n");
        assert_eq!(scrubber.add(b"an s3cr"), b"an ");
        assert_eq!(scrubber.held(), 4);
        assert_eq!(scrubber.add(b"eam"), b"s3cream");
        assert_eq!(scrubber.add(b"s3cr3t/value+with\"all"), b"");
        assert_eq!(scrubber.rest(), b"s3cr3t/value+with\"all");
        // Nothing at all without values.
        let mut scrubber = Scrubber::new(Arc::default());
        assert_eq!(scrubber.add(VALUE), VALUE);
    }

    #[test]
    fn headers_are_masked_too() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-echo",
            HeaderValue::from_static("got s3cr3t/value+with\"all="),
        );
        headers.insert("x-other", HeaderValue::from_static("nothing"));
        patterns().mask_headers(&mut headers);
        assert_eq!(
            headers["x-echo"],
            format!("got {}", "*".repeat(VALUE.len()))
        );
        assert_eq!(headers["x-other"], "nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_pauses_is_not_held_up() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut server, client) = tokio::io::duplex(64);
        let mut client = Scrubbing::new(client, patterns());
        server.write_all(b"ping s3").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(client.read(&mut buffer).await.unwrap(), 5);
        assert_eq!(client.read(&mut buffer).await.unwrap(), 2);
        server.write_all(VALUE).await.unwrap();
        drop(server);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, vec![MASK; VALUE.len()]);
    }
}
