//! Bodies, as they are passed on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::Going;
use super::budget::Gauge;
use super::filter::Filter;
use crate::broker::stream::{Counts, Exchange};

/// The body of a request, as it goes out.
pub(super) struct Outgoing {
    body: Incoming,
    counts: Arc<Counts>,
}

impl Outgoing {
    pub fn new(body: Incoming, counts: Arc<Counts>) -> Self {
        Self { body, counts }
    }

    /// What nothing was taken of.
    pub fn into_inner(self) -> Incoming {
        self.body
    }
}

/// Why a body ends before its end.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response, as it comes. Its end is that of the exchange.
pub(super) struct Passed {
    body: Incoming,
    exchange: Exchange,
    #[expect(dead_code, reason = "over when this is dropped")]
    going: Going,
    filter: Option<Filter>,
    gauge: Option<Gauge>,
    /// Nothing more comes for the filter.
    has_ended: bool,
}

impl Passed {
    pub fn new(
        body: Incoming,
        exchange: Exchange,
        going: Going,
        filter: Option<Filter>,
        gauge: Option<Gauge>,
    ) -> Self {
        Self {
            body,
            exchange,
            going,
            filter,
            gauge,
            has_ended: false,
        }
    }

    fn fail(
        &mut self,
        error: impl Into<BodyError>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let error = error.into();
        self.exchange.error = Some(error.to_string());
        Poll::Ready(Some(Err(error)))
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |bytes| bytes.len() as u64)
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.counts.went(length(frame));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for Passed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if let Some(filter) = &mut this.filter {
                match filter.next() {
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Ok(None) if this.has_ended => return Poll::Ready(None),
                    Ok(None) => {}
                    Err(error) => return this.fail(error),
                }
            }
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame.transpose(),
                Poll::Pending => {
                    let waits = this.filter.as_mut().map(|filter| filter.poll_pause(cx));
                    match waits {
                        Some(Poll::Ready(())) => continue,
                        _ => return Poll::Pending,
                    }
                }
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return this.fail(error),
            };
            if let Some(frame) = &frame {
                this.exchange.counts().came(length(frame));
                let came = this.gauge.as_mut().map(|gauge| gauge.came(length(frame)));
                if let Some(Err(refusal)) = came {
                    return this.fail(refusal.reason);
                }
            }
            let Some(filter) = &mut this.filter else {
                return Poll::Ready(frame.map(Ok));
            };
            this.has_ended = frame.as_ref().is_none_or(Frame::is_trailers);
            filter.add(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.filter.as_ref().is_none_or(Filter::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.filter {
            Some(filter) if filter.decodes() => SizeHint::default(),
            Some(filter) => {
                let (hint, held) = (self.body.size_hint(), filter.held());
                let mut whole = SizeHint::new();
                whole.set_lower(hint.lower() + held);
                if let Some(upper) = hint.upper() {
                    whole.set_upper(upper + held);
                }
                whole
            }
            None => self.body.size_hint(),
        }
    }
}
