//! What is taken out of responses from hosts that a secret is sent to. For that they have to come whole and as they are, which
//! requests ask for, or be decoded.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::task::{Context, Poll};

use flate2::write::{MultiGzDecoder, ZlibDecoder};
use hyper::Response;
use hyper::body::{Body, Bytes, Frame};
use hyper::ext::ReasonPhrase;
use hyper::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE, SEC_WEBSOCKET_EXTENSIONS, TE,
    TRANSFER_ENCODING,
};

use super::body::BodyError;
use crate::broker::judge::Refusal;
use crate::broker::secrets::{Looked, Pause, Scrubber};

/// As many bytes are decoded at once, about.
const PIECE: usize = 64 << 10;

/// As many bytes of an encoded body are decoded at once at most: of the most that they can become, [`PIECE`].
const ENCODED_PIECE: usize = 64;

/// Asks for a whole response that needs no decoding, in an encoding of text that has ASCII's bytes.
pub(super) fn ask_for_plain(headers: &mut HeaderMap) {
    if headers.contains_key(ACCEPT_ENCODING) {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    // The last compresses what is said on a web socket.
    for name in [RANGE, IF_RANGE, ACCEPT_CHARSET, SEC_WEBSOCKET_EXTENSIONS] {
        headers.remove(name);
    }
    let has = |headers: &HeaderMap, name: HeaderName, word: &str| {
        let mut values = headers.get_all(name).iter();
        values.any(|value| {
            let value = value.as_bytes().to_ascii_lowercase();
            memchr::memmem::find(&value, word.as_bytes()).is_some()
        })
    };
    if has(headers, TE, "trailers") {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
    if has(headers, ACCEPT, "charset") {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    }
}

/// What masks values in a response.
pub(super) struct Filter {
    decoder: Option<Decoder>,
    /// What is not decoded yet.
    encoded: Bytes,
    scrubber: Scrubber,
    looked: Looked,
    pause: Pause,
    ready: VecDeque<Frame<Bytes>>,
    /// Trailers, or nothing: what is left when all has been decoded.
    end: Option<Option<Frame<Bytes>>>,
}

/// Masks the values in the head of a response.
pub(super) fn mask_head<B>(response: &mut Response<B>, looked: &Looked) {
    looked.now().mask_headers(response.headers_mut());
    // Words of the server's own; the number says the same.
    response.extensions_mut().remove::<ReasonPhrase>();
}

impl Filter {
    /// For a response whose head is masked.
    ///
    /// # Errors
    ///
    /// Its body is encoded in a way that is not known.
    pub fn new<B: Body>(response: &mut Response<B>, looked: Looked) -> Result<Self, Refusal> {
        let is_empty = response.body().is_end_stream();
        let headers = response.headers_mut();
        let decoder = decoder(headers)?.filter(|_| !is_empty);
        if decoder.is_some() {
            headers.remove(CONTENT_ENCODING);
            headers.remove(CONTENT_LENGTH);
        }
        Ok(Self {
            decoder,
            encoded: Bytes::new(),
            scrubber: Scrubber::new(looked.clone()),
            looked,
            pause: Pause::default(),
            ready: VecDeque::new(),
            end: None,
        })
    }

    /// What is certain by now.
    ///
    /// # Errors
    ///
    /// It is not encoded as the response says.
    pub fn next(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        while self.ready.is_empty() && !self.encoded.is_empty() {
            self.decode()?;
        }
        if self.ready.is_empty()
            && let Some(trailers) = self.end.take()
        {
            let last = match &mut self.decoder {
                Some(decoder) => decoder.end()?,
                None => Vec::new(),
            };
            let mut rest = self.scrubber.add(&last);
            rest.extend(self.scrubber.rest());
            self.put(rest);
            self.ready.extend(trailers);
        }
        Ok(self.ready.pop_front())
    }

    fn decode(&mut self) -> io::Result<()> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        let mut decoded = Vec::new();
        while decoded.len() < PIECE && !self.encoded.is_empty() {
            let piece = self.encoded.split_to(self.encoded.len().min(ENCODED_PIECE));
            decoded.extend(decoder.add(&piece)?);
        }
        let certain = self.scrubber.add(&decoded);
        self.put(certain);
        Ok(())
    }

    /// Adds what has come, once nothing is certain any more; `None`: the end.
    pub fn add(&mut self, frame: Option<Frame<Bytes>>) {
        self.pause.end();
        match frame.map(Frame::into_data) {
            Some(Ok(bytes)) if self.decoder.is_some() => self.encoded = bytes,
            Some(Ok(bytes)) => {
                let certain = self.scrubber.add(&bytes);
                self.put(certain);
            }
            Some(Err(mut trailers)) => {
                if let Some(trailers) = trailers.trailers_mut() {
                    self.looked.now().mask_headers(trailers);
                }
                self.end = Some(Some(trailers));
            }
            None => self.end = Some(None),
        }
    }

    fn put(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.ready.push_back(Frame::data(bytes.into()));
        }
    }

    /// Comes when what is held back has been for long enough, and is ready then.
    pub fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.scrubber.held() == 0 {
            return Poll::Pending;
        }
        let paused = self.pause.poll(cx);
        if paused.is_ready() {
            let rest = self.scrubber.rest();
            self.put(rest);
        }
        paused
    }

    /// Whether nothing is left of it, when nothing more comes.
    pub fn is_empty(&self) -> bool {
        self.decoder.is_none() && self.held() == 0 && self.end.is_none()
    }

    /// How many bytes are left of what has come.
    pub fn held(&self) -> u64 {
        let ready = self.ready.iter().filter_map(Frame::data_ref);
        (self.scrubber.held() + ready.map(Bytes::len).sum::<usize>()) as u64
    }

    /// Whether it changes how long the body is.
    pub fn decodes(&self) -> bool {
        self.decoder.is_some()
    }
}

/// What undoes an encoding.
enum Decoder {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

/// The decoder of a body, if it is encoded.
fn decoder(headers: &HeaderMap) -> Result<Option<Decoder>, Refusal> {
    let one = |name: HeaderName| -> Result<Option<String>, Refusal> {
        let mut codings = headers.get_all(name).iter();
        let (first, more) = (codings.next(), codings.next());
        let text = first.map(|coding| coding.to_str().unwrap_or("?").trim().to_ascii_lowercase());
        match more {
            Some(_) => Err(not_decoded("several codings")),
            None => Ok(text),
        }
    };
    if let Some(coding) = one(TRANSFER_ENCODING)?.filter(|coding| coding != "chunked") {
        return Err(not_decoded(&coding));
    }
    if let Some(kind) =
        one(CONTENT_TYPE)?.filter(|kind| kind.contains("utf-16") || kind.contains("utf-32"))
    {
        return Err(not_decoded(&kind));
    }
    Ok(Some(match one(CONTENT_ENCODING)?.as_deref() {
        None | Some("identity" | "") => return Ok(None),
        Some("gzip" | "x-gzip") => Decoder::Gzip(MultiGzDecoder::new(Vec::new())),
        Some("deflate") => Decoder::Deflate(ZlibDecoder::new(Vec::new())),
        Some(coding) => return Err(not_decoded(coding)),
    }))
}

fn not_decoded(coding: &str) -> Refusal {
    Refusal::with_status(
        502,
        format!(
            "the response is encoded by {coding:?}, though it was to come as it is: nobody can look for secrets in it"
        ),
    )
}

impl Decoder {
    fn add(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(bytes)?,
            Self::Deflate(decoder) => decoder.write_all(bytes)?,
        }
        Ok(self.take())
    }

    /// The end of it: an error if it comes too early.
    fn end(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish()?,
            Self::Deflate(decoder) => decoder.try_finish()?,
        }
        Ok(self.take())
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
        })
    }
}
