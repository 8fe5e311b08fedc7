//! The connection that requests are passed on to.

use std::net::IpAddr;
use std::sync::Arc;

use aegis_policy::request::Destination;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Outgoing;
use super::{AT_ONCE, LONGEST_HEAD, Version, WINDOW, WINDOWS};
use crate::broker::dial::{Dialled, Dialler};
use crate::broker::judge::Refusal;
use crate::broker::stream::Exchange;
use crate::broker::tls::{HTTP1, HTTP2};

/// A connection to a server.
pub(crate) struct Outside {
    requests: Requests,
    address: IpAddr,
    /// Of TLS, that the connection was let through: each request has an exchange of its own.
    connection: Option<Arc<Exchange>>,
}

enum Requests {
    One(http1::SendRequest<Outgoing>),
    Two(http2::SendRequest<Outgoing>),
}

/// A request that was not answered.
pub(super) struct Failed {
    pub error: hyper::Error,
    /// Nothing of it was sent.
    pub unsent: Option<Request<Outgoing>>,
}

impl Outside {
    /// In the clear, for a request that is decided by this.
    pub async fn http(
        dialler: &Arc<Dialler>,
        to: Destination,
    ) -> Result<(Self, Exchange), Refusal> {
        let dialled = dialler.dial(to, true).await?;
        let Dialled {
            stream,
            address,
            mut exchange,
        } = dialled;
        match Requests::begin(stream, Version::One).await {
            Ok(requests) => {
                let connection = None;
                let outside = Self {
                    requests,
                    address,
                    connection,
                };
                Ok((outside, exchange))
            }
            Err(error) => {
                exchange.error = Some(error.to_string());
                Err(Refusal::with_status(502, error.to_string()))
            }
        }
    }

    /// In TLS, in one of the protocols that are offered; none is HTTP/1.1. Returns the one that the server has chosen, if it has.
    pub async fn https(
        dialler: &Arc<Dialler>,
        to: Destination,
        offered: Vec<Vec<u8>>,
    ) -> Result<(Self, Option<Vec<u8>>), Refusal> {
        let host = to.host.clone();
        let dialled = dialler.dial(to, true).await?;
        let Dialled {
            stream,
            address,
            mut exchange,
        } = dialled;
        let mut failed = |error: String| {
            exchange.error = Some(error.clone());
            Refusal::with_status(502, format!("{host}: {error}"))
        };
        let Some(tls) = &dialler.tls else {
            return Err(failed("TLS is not opened in this run".to_owned()));
        };
        let connect = tls.connect(stream, &host, offered);
        let stream = match tokio::time::timeout(dialler.limits.dial, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed("no answer to TLS in time".to_owned())),
        };
        let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let version = match chosen.as_deref() {
            Some(HTTP2) => Version::Two,
            Some(HTTP1) | None => Version::One,
            Some(_) => return Err(failed("the server chose what was not offered".to_owned())),
        };
        match Requests::begin(stream, version).await {
            Ok(requests) => {
                let outside = Self {
                    requests,
                    address,
                    connection: Some(Arc::new(exchange)),
                };
                Ok((outside, chosen))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// In TLS once more, in the version that is spoken inside.
    pub async fn again(
        dialler: &Arc<Dialler>,
        to: Destination,
        version: Version,
    ) -> Result<Self, Refusal> {
        let offered = match version {
            Version::One => HTTP1,
            Version::Two => HTTP2,
        };
        let offered = vec![offered.to_vec()];
        let host = to.host.clone();
        let (outside, _) = Self::https(dialler, to, offered).await?;
        match outside.version() == version {
            true => Ok(outside),
            false => {
                let why = format!("{host}: it speaks another version of HTTP now");
                Err(Refusal::with_status(502, why))
            }
        }
    }

    /// Where it leads.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether a request may be sent, as far as is known.
    pub fn is_open(&self) -> bool {
        match &self.requests {
            Requests::One(requests) => !requests.is_closed(),
            Requests::Two(requests) => !requests.is_closed(),
        }
    }

    /// The version that is spoken.
    pub fn version(&self) -> Version {
        match &self.requests {
            Requests::One(_) => Version::One,
            Requests::Two(_) => Version::Two,
        }
    }

    /// The same connection, if several requests at once may be sent on it.
    pub fn shared(&self) -> Option<Self> {
        match &self.requests {
            Requests::One(_) => None,
            Requests::Two(requests) => Some(Self {
                requests: Requests::Two(requests.clone()),
                address: self.address,
                connection: self.connection.clone(),
            }),
        }
    }

    /// Sends a request, and waits for the head of its response.
    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Failed> {
        let sent = match &mut self.requests {
            Requests::One(requests) => {
                let _ = requests.ready().await;
                requests.try_send_request(request).await
            }
            Requests::Two(requests) => {
                let _ = requests.ready().await;
                requests.try_send_request(request).await
            }
        };
        sent.map_err(|mut failed| Failed {
            unsent: failed.take_message(),
            error: failed.into_error(),
        })
    }
}

impl Requests {
    async fn begin<S>(stream: S, version: Version) -> Result<Self, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        // The errors of a connection are those of its requests.
        match version {
            Version::One => {
                let mut http = http1::Builder::new();
                http.preserve_header_case(true).max_buf_size(LONGEST_HEAD);
                let (requests, connection) = http.handshake(io).await?;
                tokio::spawn(connection.with_upgrades());
                Ok(Self::One(requests))
            }
            Version::Two => {
                let mut http = http2::Builder::new(TokioExecutor::new());
                http.timer(TokioTimer::new())
                    .max_concurrent_streams(AT_ONCE)
                    .max_header_list_size(LONGEST_HEAD as u32)
                    .max_send_buf_size(LONGEST_HEAD)
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(WINDOWS);
                let (requests, connection) = http.handshake(io).await?;
                tokio::spawn(connection);
                Ok(Self::Two(requests))
            }
        }
    }
}
