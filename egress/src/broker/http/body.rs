//! Bodies, as they are passed on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::Going;
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

/// The body of a response, as it comes. Its end is that of the exchange.
pub(super) struct Passed {
    body: Incoming,
    exchange: Exchange,
    #[expect(dead_code, reason = "over when this is dropped")]
    going: Going,
}

impl Passed {
    pub fn new(body: Incoming, exchange: Exchange, going: Going) -> Self {
        Self {
            body,
            exchange,
            going,
        }
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
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.exchange.counts().came(length(frame)),
            Some(Err(error)) => self.exchange.error = Some(error.to_string()),
            None => {}
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
