//! Taking secrets out of responses. For that they have to come as they are, which requests ask for, or be decoded.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::task::{Context, Poll};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue,
    SEC_WEBSOCKET_EXTENSIONS,
};

use super::body::BodyError;
use crate::broker::judge::Refusal;
use crate::broker::secrets::{Patterns, Pause, Scrubber};

/// As many bytes a piece of a body may become when it is decoded. What is made to become more is an attack.
const MOST_DECODED: usize = 64 << 20;

/// Asks for a response that needs no decoding.
pub(super) fn ask_for_plain(headers: &mut HeaderMap) {
    if headers.contains_key(ACCEPT_ENCODING) {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    // They compress what is said on a web socket.
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
}

/// What masks values in a response.
pub(super) struct Filter {
    decoder: Option<Decoder>,
    scrubber: Scrubber,
    pause: Pause,
    ready: VecDeque<Frame<Bytes>>,
    has_ended: bool,
}

impl Filter {
    /// For a response, whose headers are masked by this.
    ///
    /// # Errors
    ///
    /// Its body is encoded in a way that is not known.
    pub fn new<B>(response: &mut Response<B>, patterns: Arc<Patterns>) -> Result<Self, Refusal> {
        let headers = response.headers_mut();
        patterns.mask_headers(headers);
        let decoder = decoder(headers)?;
        if decoder.is_some() {
            headers.remove(CONTENT_ENCODING);
            headers.remove(CONTENT_LENGTH);
        }
        Ok(Self {
            decoder,
            scrubber: Scrubber::new(patterns),
            pause: Pause::default(),
            ready: VecDeque::new(),
            has_ended: false,
        })
    }

    /// What is certain by now.
    pub fn next(&mut self) -> Option<Frame<Bytes>> {
        self.ready.pop_front()
    }

    /// Adds what has come; `None`: the end. Returns `false` when that was all, and nothing is left to be taken by [`Filter::next`].
    pub fn add(&mut self, frame: Option<Frame<Bytes>>) -> Result<bool, BodyError> {
        self.pause.end();
        match frame.map(Frame::into_data) {
            Some(Ok(bytes)) => {
                let decoded = match &mut self.decoder {
                    Some(decoder) => decoder.add(&bytes)?.into(),
                    None => bytes,
                };
                let certain = self.scrubber.add(&decoded);
                self.put(certain);
                Ok(true)
            }
            Some(Err(trailers)) => {
                self.end()?;
                self.ready.push_back(trailers);
                Ok(true)
            }
            None => {
                self.end()?;
                Ok(!self.ready.is_empty())
            }
        }
    }

    fn end(&mut self) -> Result<(), BodyError> {
        if !std::mem::replace(&mut self.has_ended, true) {
            let last = match &mut self.decoder {
                Some(decoder) => decoder.end()?,
                None => Vec::new(),
            };
            let certain = self.scrubber.add(&last);
            self.put(certain);
            let rest = self.scrubber.rest();
            self.put(rest);
        }
        Ok(())
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

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.held() == 0 && (self.decoder.is_none() || self.has_ended)
    }

    /// How many bytes are left.
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
    Gzip(MultiGzDecoder<Decoded>),
    Deflate(ZlibDecoder<Decoded>),
    Brotli(Box<DecompressorWriter<Decoded>>),
}

/// The decoder of a body, if it is encoded.
fn decoder(headers: &HeaderMap) -> Result<Option<Decoder>, Refusal> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let (first, more) = (codings.next(), codings.next());
    let Some(coding) = first else {
        return Ok(None);
    };
    let coding = coding.to_str().unwrap_or_default().to_ascii_lowercase();
    Ok(Some(match &*coding {
        _ if more.is_some() => return Err(not_decoded(&coding)),
        "identity" | "" => return Ok(None),
        "gzip" | "x-gzip" => Decoder::Gzip(MultiGzDecoder::new(Decoded::default())),
        "deflate" => Decoder::Deflate(ZlibDecoder::new(Decoded::default())),
        "br" => {
            let room = 4 << 10;
            Decoder::Brotli(Box::new(DecompressorWriter::new(Decoded::default(), room)))
        }
        _ => return Err(not_decoded(&coding)),
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
            Self::Brotli(decoder) => decoder.write_all(bytes)?,
        }
        Ok(self.take())
    }

    /// The end of it: an error if it comes too early.
    fn end(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish()?,
            Self::Deflate(decoder) => decoder.try_finish()?,
            Self::Brotli(decoder) => decoder.close()?,
        }
        Ok(self.take())
    }

    fn take(&mut self) -> Vec<u8> {
        let decoded = match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Deflate(decoder) => decoder.get_mut(),
            Self::Brotli(decoder) => decoder.get_mut(),
        };
        std::mem::take(&mut decoded.0)
    }
}

/// What was decoded, within bounds.
#[derive(Default)]
struct Decoded(Vec<u8>);

impl Write for Decoded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_DECODED {
            return Err(io::Error::other(
                "a small part of the response becomes too much when it is decoded",
            ));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
