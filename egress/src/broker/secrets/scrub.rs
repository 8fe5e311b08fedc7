//! Taking values out of what comes back, in the spellings in which servers repeat them. What is put in their place is as
//! long, so that lengths stay true.
//!
//! Bytes are looked at as they are, and once more with what URLs, JSON and HTML write in another way (`%2F`, `\\u002f`, `&#47;`, ...)
//! undone. **What is held back** is the end of what has come, where that is at least half of a value: shorter beginnings pass, since
//! whoever chooses the text that a server repeats would see them held back, and could guess a value letter by letter. Half of one that is
//! not completed is masked, and counted ([`Suspicions`]): a run in which that happens again and again gets no more secrets.

mod spelling;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use hyper::header::{HeaderMap, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::locked;
use spelling::{Unspelled, spellings, unspelled};

/// What is in the place of each byte.
const MASK: u8 = b'*';

/// As many earlier values are still looked for.
const MOST_EARLIER: usize = 64;

/// Half of a value is held back no longer than this: then it is masked.
const PAUSE: Duration = Duration::from_millis(20);

/// Less than so many letters are never half of a value: they are too common.
const SHORTEST_HALF: usize = 8;

/// As often half of a value may come without the rest of it, in one run.
const MOST_SUSPICIONS: u32 = 8;

/// How often half of a value came without the rest.
#[derive(Debug, Default)]
pub(crate) struct Suspicions(AtomicU32);

impl Suspicions {
    fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether somebody tries to have a value in parts.
    pub fn are_too_many(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MOST_SUSPICIONS
    }
}

/// The values that are looked for.
#[derive(Default)]
pub(crate) struct Patterns {
    /// Those that were in use before, the oldest first.
    earlier: VecDeque<Vec<u8>>,
    spellings: Vec<Vec<u8>>,
    automaton: Option<AhoCorasick>,
    longest: usize,
}

impl Patterns {
    /// Those in use now, and one that was before.
    ///
    /// # Errors
    ///
    /// They are too many to be looked for.
    pub fn with<'v>(
        &self,
        present: impl Iterator<Item = &'v [u8]>,
        before: Option<&[u8]>,
    ) -> Result<Self, Box<BuildError>> {
        let mut earlier = self.earlier.clone();
        earlier.extend(before.map(<[u8]>::to_vec));
        while earlier.len() > MOST_EARLIER {
            earlier.pop_front();
        }
        let present = present.map(spellings);
        let of_earlier = earlier.iter().map(|value| spellings(value));
        let mut all: Vec<Vec<u8>> = present.chain(of_earlier).flatten().collect();
        all.sort();
        all.dedup();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&all)?;
        Ok(Self {
            longest: all.iter().map(Vec::len).max().unwrap_or(0),
            automaton: Some(automaton).filter(|_| !all.is_empty()),
            spellings: all,
            earlier,
        })
    }

    /// Where values are.
    fn find(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let Some(automaton) = &self.automaton else {
            return Vec::new();
        };
        let mut found: Vec<(usize, usize)> = (automaton.find_iter(bytes))
            .map(|found| (found.start(), found.end()))
            .collect();
        if let Some(Unspelled { bytes, places }) = unspelled(bytes) {
            let within = automaton.find_iter(&bytes);
            found.extend(within.map(|found| (places[found.start()].0, places[found.end() - 1].1)));
        }
        found
    }

    /// Where the last half of a value or more begins, of which the rest has not come.
    fn unfinished(&self, bytes: &[u8]) -> Option<usize> {
        let plain = (self.longest_beginning(bytes)).map(|length| bytes.len() - length);
        // A letter may have come in part.
        let whole = &bytes[..bytes.len() - spelling::in_part(bytes)];
        let other = match unspelled(whole) {
            Some(Unspelled { bytes, places }) => {
                let length = self.longest_beginning(&bytes);
                length.map(|length| places[bytes.len() - length].0)
            }
            None => (self.longest_beginning(whole)).map(|length| whole.len() - length),
        };
        plain.into_iter().chain(other).min()
    }

    /// The most letters of a spelling, at least half of it, that some bytes end in.
    fn longest_beginning(&self, bytes: &[u8]) -> Option<usize> {
        let of = |spelling: &Vec<u8>| {
            let half = spelling.len().div_ceil(2).max(SHORTEST_HALF);
            let most = (spelling.len() - 1).min(bytes.len());
            let mut lengths = (half..=most).rev();
            lengths.find(|length| bytes.ends_with(&spelling[..*length]))
        };
        self.spellings.iter().filter_map(of).max()
    }

    /// Masks all values in what is whole.
    pub fn mask(&self, bytes: &mut [u8]) {
        for (from, to) in self.find(bytes) {
            bytes[from..to].fill(MASK);
        }
    }

    /// Masks all values in headers. A header in whose name one is, is left out.
    pub fn mask_headers(&self, headers: &mut HeaderMap) {
        let in_small_letters = |spelling: &Vec<u8>| spelling.to_ascii_lowercase();
        let small: Vec<Vec<u8>> = self.spellings.iter().map(in_small_letters).collect();
        let named: Vec<_> = (headers.keys())
            .filter(|name| {
                let name = name.as_str().as_bytes();
                small
                    .iter()
                    .any(|spelling| memchr::memmem::find(name, spelling).is_some())
            })
            .cloned()
            .collect();
        for name in named {
            headers.remove(name);
        }
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
}

/// The values that are looked for now: they change while bodies are on their way.
#[derive(Clone, Default)]
pub(crate) struct Looked {
    pub patterns: Arc<Mutex<Arc<Patterns>>>,
    pub suspicions: Arc<Suspicions>,
}

impl Looked {
    /// As they are now.
    pub fn now(&self) -> Arc<Patterns> {
        locked(&self.patterns).clone()
    }
}

/// Masks what comes in pieces.
pub(crate) struct Scrubber {
    looked: Looked,
    /// The end of what has come, as it came.
    context: Vec<u8>,
    /// As much of that was not passed on.
    held: usize,
}

impl Scrubber {
    pub fn new(looked: Looked) -> Self {
        Self {
            looked,
            context: Vec::new(),
            held: 0,
        }
    }

    /// Adds a piece. Returns what is certain.
    pub fn add(&mut self, piece: &[u8]) -> Vec<u8> {
        let patterns = self.looked.now();
        let mut raw = std::mem::take(&mut self.context);
        let passed = raw.len() - self.held;
        let was_held = self.held > 0;
        raw.extend_from_slice(piece);
        let mut masked = raw.clone();
        let mut completed = false;
        for (from, to) in patterns.find(&raw) {
            masked[from..to].fill(MASK);
            completed |= to > passed && from < passed + self.held;
        }
        let unfinished = patterns
            .unfinished(&raw)
            .map_or(raw.len(), |from| from.max(passed));
        if was_held && !completed && unfinished > passed {
            // It went on as something else.
            self.looked.suspicions.note();
        }
        self.held = raw.len() - unfinished;
        // Each letter may be spelled by several.
        let keep = (patterns.longest * spelling::LONGEST)
            .max(self.held)
            .min(raw.len());
        self.context = raw.split_off(raw.len() - keep);
        masked[passed..unfinished].to_vec()
    }

    /// What is held back, masked: nothing more comes, or not soon.
    pub fn rest(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        if held > 0 {
            self.looked.suspicions.note();
        }
        vec![MASK; held]
    }

    /// How much is held back.
    pub fn held(&self) -> usize {
        self.held
    }
}

/// When what is held back is masked.
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
    pub fn new(stream: S, looked: Looked) -> Self {
        Self {
            stream,
            scrubber: Scrubber::new(looked),
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

    fn looked() -> Looked {
        let patterns = Patterns::default().with([VALUE].into_iter(), None);
        Looked {
            patterns: Arc::new(Mutex::new(Arc::new(patterns.unwrap()))),
            ..Looked::default()
        }
    }

    fn spelled() -> Vec<Vec<u8>> {
        let around = |before: &str, after: &str| {
            let text = [before.as_bytes(), VALUE, after.as_bytes()].concat();
            [
                data_encoding::BASE64.encode(&text),
                data_encoding::BASE64URL.encode(&text),
                data_encoding::BASE64.encode(&text).replace('/', "\\/"),
                data_encoding::BASE64
                    .encode(&text)
                    .replace('/', "%2F")
                    .replace('+', "%2b")
                    .replace('=', "%3D"),
            ]
        };
        let mut all: Vec<Vec<u8>> = [
            "s3cr3t/value+with\"all=",
            "s3cr3t%2Fvalue%2Bwith%22all%3D",
            "s3cr3t%2fvalue%2bwith%22all%3d",
            "s3cr3t/value%2Bwith%22all%3D",
            r#"{"a": "s3cr3t/value+with\"all="}"#,
            r#"{"a": "s3cr3t\/value+with\"all="}"#,
            r#"{"a": "s3cr3t/value\u002Bwith\u0022all="}"#,
            "<b>s3cr3t/value&#43;with&quot;all=</b>",
            "<b>s3cr3t&#x2F;value&#x2B;with&#34;all&#61;</b>",
            "7333637233742f76616c75652b7769746822616c6c3d",
            "7333637233742F76616C75652B7769746822616C6C3D",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into();
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

    fn in_pieces(text: &[u8], size: usize, looked: &Looked) -> Vec<u8> {
        let mut scrubber = Scrubber::new(looked.clone());
        let pieces = text.chunks(size).map(|piece| scrubber.add(piece));
        let mut masked = pieces.collect::<Vec<_>>().concat();
        masked.extend(scrubber.rest());
        masked
    }

    #[test]
    fn a_value_is_masked_in_every_spelling_and_in_pieces_of_any_size() {
        for text in spelled() {
            let whole = [b"before ", &text[..], b" after"].concat();
            for size in [1, 2, 3, 7, 4096] {
                let masked = in_pieces(&whole, size, &looked());
                let shown = String::from_utf8_lossy(&masked);
                assert_eq!(masked.len(), whole.len());
                assert!(
                    masked.starts_with(b"before ") && masked.ends_with(b" after"),
                    "{shown}"
                );
                let inner = &masked[7..masked.len() - 6];
                let kept = text.iter().zip(inner).filter(|(a, b)| a == b).count();
                // Of what comes in pieces, a first half passes before it is known what it is.
                let most = if size == 4096 {
                    text.len() - 18
                } else {
                    text.len() - 8
                };
                assert!(inner.contains(&MASK) && kept <= most, "{size}: {shown}");
            }
        }
    }

    #[test]
    fn what_is_less_than_half_of_a_value_is_not_held_back() {
        let mut scrubber = Scrubber::new(looked());
        for short in [&b"data: hello\n\n"[..], b"an s3cr", b"s3cr3t/val"] {
            assert_eq!(scrubber.add(short), short);
        }
        assert_eq!(scrubber.held(), 0);
        let half = b" s3cr3t/value";
        assert_eq!(scrubber.add(half), b" ");
        assert_eq!(scrubber.add(b"-more"), b"s3cr3t/value-more");
        // Nothing at all without values.
        let mut scrubber = Scrubber::new(Looked::default());
        assert_eq!(scrubber.add(VALUE), VALUE);
    }

    #[test]
    fn half_of_a_value_that_is_not_completed_is_masked_and_counted() {
        let looked = looked();
        let mut scrubber = Scrubber::new(looked.clone());
        for _ in 0..=MOST_SUSPICIONS {
            assert!(!looked.suspicions.are_too_many());
            assert_eq!(scrubber.add(b" s3cr3t/value+wi"), b" ");
            // A pause. What comes after it belongs to what was before.
            assert_eq!(scrubber.rest(), [MASK; 15]);
            let masked = scrubber.add(b"th\"all= and");
            assert!(
                masked.starts_with(b"*******") && masked.ends_with(b" and"),
                "{masked:?}"
            );
        }
        assert!(looked.suspicions.are_too_many());
    }

    #[test]
    fn all_present_values_are_looked_for_however_many_there_were() {
        let mut patterns = Patterns::default();
        let value = |n: usize| format!("the-value-number-{n:05}").into_bytes();
        for n in 0..300_usize {
            let before = n.checked_sub(1).map(value);
            let present = value(n);
            patterns = patterns
                .with([&present[..]].into_iter(), before.as_deref())
                .unwrap();
            for known in n.saturating_sub(MOST_EARLIER)..=n {
                let mut text = value(known);
                patterns.mask(&mut text);
                assert!(text.iter().all(|byte| *byte == MASK), "{n} {known}");
            }
        }
    }

    #[test]
    fn headers_are_masked_too() {
        let mut headers = HeaderMap::new();
        let patterns = Patterns::default().with([&b"s3cr3t-name"[..], VALUE].into_iter(), None);
        headers.insert(
            "x-echo",
            HeaderValue::from_static("got s3cr3t/value+with\"all="),
        );
        headers.insert("x-other", HeaderValue::from_static("nothing"));
        headers.insert("x-s3cr3t-name", HeaderValue::from_static("1"));
        patterns.unwrap().mask_headers(&mut headers);
        assert_eq!(
            headers["x-echo"],
            format!("got {}", "*".repeat(VALUE.len()))
        );
        assert_eq!(headers["x-other"], "nothing");
        assert_eq!(headers.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_pauses_is_not_held_up() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut server, client) = tokio::io::duplex(64);
        let mut client = Scrubbing::new(client, looked());
        server.write_all(b"ping s3cr3t/value").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(client.read(&mut buffer).await.unwrap(), 5);
        assert_eq!(client.read(&mut buffer).await.unwrap(), 12);
        assert_eq!(buffer[..12], [MASK; 12]);
        server.write_all(VALUE).await.unwrap();
        drop(server);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, vec![MASK; VALUE.len()]);
    }
}
