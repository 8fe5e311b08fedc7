//! HTTP, in the clear or in TLS that is opened: every request on a connection is read by a real parser, and is decided for itself.
//!
//! A request is written anew for the server, from what was parsed, so both have read the same. Each connection from inside has
//! one to the outside, which speaks the same version; bodies stream, and keep their lengths.

mod body;
mod budget;
mod filter;
mod outside;
mod refusal;
mod request;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aegis_policy::model::Scheme;
use aegis_policy::request::Destination;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{HeaderMap, UPGRADE};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::broker::connections::Slot;
use crate::broker::dial::Dialler;
use crate::broker::judge::Refusal;
use crate::broker::secrets::Scrubbing;
use crate::broker::stream::{Exchange, tunnel_and_count};

use body::{BodyError, Outgoing, Passed};
use budget::Gauge;
pub(crate) use budget::Tally;
use filter::Filter;
pub(crate) use outside::Outside;

/// The longest head of a request or of a response, in bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// Requests on one connection that go on at once (HTTP/2).
const AT_ONCE: u32 = 100;

/// Bytes of one body, and of all on a connection, that are sent ahead of whoever reads them (HTTP/2). With the protocol's own 64 KiB,
/// a distant server is half as fast.
const WINDOW: u32 = 256 << 10;
const WINDOWS: u32 = 1 << 20;

type Answer = Response<BoxBody<Bytes, BodyError>>;

/// A connection from inside.
pub(crate) struct Conversation {
    dialler: Arc<Dialler>,
    slot: Arc<Slot>,
    /// The name or address that was connected to.
    host: Arc<str>,
    port: u16,
    scheme: Scheme,
    stance: Stance,
    /// The connection that its requests are passed on to.
    outside: Mutex<Option<Outside>>,
    /// Requests that go on.
    going: AtomicUsize,
}

/// What becomes of its requests.
pub(crate) enum Stance {
    /// Each is decided.
    Decides,
    /// Each is refused.
    Refuses(Refusal),
    /// Nobody was reached, or nobody who may be, which was told already.
    Failed(Refusal),
}

/// A version of HTTP, as a connection is begun in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1, and 1.0.
    One,
    /// HTTP/2.
    Two,
}

impl Conversation {
    /// A connection to a [slot](Slot)'s host. `outside`: it exists already.
    pub fn new(
        dialler: Arc<Dialler>,
        slot: Arc<Slot>,
        (scheme, port): (Scheme, u16),
        stance: Stance,
        outside: Option<Outside>,
    ) -> Arc<Self> {
        Arc::new(Self {
            host: slot.host().clone(),
            dialler,
            slot,
            port,
            scheme,
            stance,
            outside: Mutex::new(outside),
            going: AtomicUsize::new(0),
        })
    }

    /// Serves until either side ends it.
    pub async fn hold<S>(self: Arc<Self>, inside: S, version: Version)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let answer = |request| {
            let conversation = self.clone();
            async move {
                let going = Going::new(conversation.clone());
                let answer = conversation.clone().pass_on(request, going).await;
                Ok::<_, Infallible>(
                    answer.unwrap_or_else(|refusal| refusal.answer(&conversation.host)),
                )
            }
        };
        let (io, service) = (TokioIo::new(inside), service_fn(answer));
        let served = async {
            match version {
                Version::One => {
                    let mut http = http1::Builder::new();
                    // Heads are passed on as they are.
                    http.auto_date_header(false).preserve_header_case(true);
                    http.max_buf_size(LONGEST_HEAD);
                    http.timer(TokioTimer::new())
                        .header_read_timeout(self.dialler.limits.head);
                    http.serve_connection(io, service).with_upgrades().await
                }
                Version::Two => {
                    let mut http = http2::Builder::new(TokioExecutor::new());
                    http.auto_date_header(false)
                        .timer(TokioTimer::new())
                        .max_concurrent_streams(AT_ONCE)
                        .max_header_list_size(LONGEST_HEAD as u32)
                        .max_send_buf_size(LONGEST_HEAD)
                        .initial_stream_window_size(WINDOW)
                        .initial_connection_window_size(WINDOWS);
                    http.serve_connection(io, service).await
                }
            }
        };
        let served = tokio::select! {
            served = served => served,
            () = self.slot.turned_out() => return,
        };
        if served.is_err_and(|error| error.is_parse()) {
            let refusal = Refusal::of_broker(match self.scheme {
                Scheme::Http => "this is not HTTP/1, which is declared for this port",
                _ => "this is not HTTP, of which the requests have to be seen",
            });
            self.dialler.refused(self.to(), refusal);
        }
    }

    fn to(&self) -> Destination {
        Destination::connection(self.scheme, &self.host, self.port)
    }

    async fn pass_on(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        going: Going,
    ) -> Result<Answer, Refusal> {
        let mut to = self.asked(&mut request)?;
        let inside =
            (request.headers().contains_key(UPGRADE)).then(|| hyper::upgrade::on(&mut request));
        let judge = &self.dialler.judge;
        let mut turn = None;
        if judge.has_budgets && judge.is_asked_for(&to).is_ok() {
            if request.headers().contains_key(UPGRADE) {
                let why = "what is said after an upgrade is in no budget, and the policy has some";
                return Err(self.dialler.refused(to, Refusal::of_broker(why)));
            }
            let counted = Turn::new(&self);
            to.request_size = budget::size(&request);
            to.requests_last_minute = Some(counted.before);
            turn = Some(counted);
        }
        let (mut response, mut exchange) = self.exchange(to, request, turn.as_mut()).await?;
        self.slot.was_heard();
        exchange.counts().came(length_of_response(&response));
        let looked = self.dialler.vault.looked(exchange.to());
        if let Some(looked) = &looked {
            filter::mask_head(&mut response, looked);
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(inside) = inside else {
                let wrong = "the server changes to another protocol, and was not asked to";
                exchange.error = Some(wrong.to_owned());
                return Err(Refusal::with_status(502, wrong));
            };
            let outside = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let (Ok(inside), Ok(outside)) = (inside.await, outside.await) {
                    let (inside, outside) = (TokioIo::new(inside), TokioIo::new(outside));
                    match looked {
                        Some(looked) => {
                            let outside = Scrubbing::new(outside, looked);
                            tunnel_and_count(inside, outside, &mut exchange).await;
                        }
                        None => tunnel_and_count(inside, outside, &mut exchange).await,
                    }
                }
                drop(going);
            });
            return Ok(response.map(|_| Full::default().map_err(|never| match never {}).boxed()));
        }
        let mut gauge = None;
        if turn.is_some() {
            let (to, head) = (exchange.to().clone(), length_of_response(&response));
            let length = response.body().size_hint().exact();
            let held = Gauge::new(self.dialler.clone(), to, head, length);
            let held = held.inspect_err(|refusal| exchange.error = Some(refusal.reason.clone()));
            gauge = Some(held?);
        }
        let filter = looked
            .map(|looked| Filter::new(&mut response, looked))
            .transpose();
        let filter = filter.inspect_err(|refusal| exchange.error = Some(refusal.reason.clone()))?;
        Ok(response.map(|body| Passed::new(body, exchange, going, filter, gauge).boxed()))
    }

    /// Has the request decided, and sends it; returns the head of the response.
    async fn exchange(
        &self,
        to: Destination,
        mut request: Request<Incoming>,
        mut turn: Option<&mut Turn<'_>>,
    ) -> Result<(Response<Incoming>, Exchange), Refusal> {
        loop {
            let mut kept = self.outside.lock().await;
            let was_kept = kept.as_ref().is_some_and(Outside::is_open);
            if !was_kept {
                *kept = None;
            }
            let version = match request.version() {
                hyper::Version::HTTP_2 => Version::Two,
                _ => Version::One,
            };
            let mut exchange = match (&*kept, self.scheme) {
                (None, Scheme::Http) => {
                    let (outside, exchange) = Outside::http(&self.dialler, to.clone()).await?;
                    *kept = Some(outside);
                    exchange
                }
                (None, _) => {
                    let outside = Outside::again(&self.dialler, self.to(), version).await?;
                    let exchange = self.begin(to.clone(), &outside).await?;
                    *kept = Some(outside);
                    exchange
                }
                (Some(outside), _) => self.begin(to.clone(), outside).await?,
            };
            let Some(outside) = &mut *kept else {
                continue;
            };
            // From here on it may have been sent, whatever becomes of who asked.
            if let Some(turn) = &mut turn {
                turn.is_kept = true;
            }
            let sent = match outside.shared() {
                Some(mut shared) => {
                    drop(kept);
                    self.put_secrets_in(&mut request, &to, &mut exchange)
                        .await?;
                    let counts = exchange.counts().clone();
                    counts.went(length_of_request(&request));
                    shared
                        .send(request.map(|body| Outgoing::new(body, counts)))
                        .await
                }
                None => {
                    self.put_secrets_in(&mut request, &to, &mut exchange)
                        .await?;
                    let counts = exchange.counts().clone();
                    counts.went(length_of_request(&request));
                    outside
                        .send(request.map(|body| Outgoing::new(body, counts)))
                        .await
                }
            };
            let failed = match sent {
                Ok(response) => return Ok((response, exchange)),
                Err(failed) => failed,
            };
            let error = failed.error.to_string();
            exchange.error = Some(error.clone());
            match failed.unsent {
                // The server closed a connection that was kept, before anything of the request was sent.
                Some(again) if was_kept => request = again.map(Outgoing::into_inner),
                _ => return Err(Refusal::with_status(502, format!("{}: {error}", self.host))),
            }
        }
    }

    /// Puts the secrets into a request that belong there, if the policy lets them.
    async fn put_secrets_in(
        &self,
        request: &mut Request<Incoming>,
        to: &Destination,
        exchange: &mut Exchange,
    ) -> Result<(), Refusal> {
        let vault = &self.dialler.vault;
        if vault.looked(to).is_none() {
            return Ok(());
        }
        filter::ask_for_plain(request.headers_mut());
        let put = async {
            let used = vault.put_in(request, to).await?;
            self.dialler.use_secrets(&used, &to.host).await
        };
        put.await
            .inspect_err(|refusal| exchange.error = Some(refusal.in_full()))
    }

    /// Begins a request on a connection that exists.
    async fn begin(&self, to: Destination, outside: &Outside) -> Result<Exchange, Refusal> {
        let at = Destination {
            address: Some(outside.address()),
            ..to
        };
        let (at, decision) = self.dialler.again(at)?;
        self.dialler.begin(at, decision, Arc::default()).await
    }
}

/// A request that is counted. It is not, if nothing comes of it.
struct Turn<'c> {
    conversation: &'c Conversation,
    before: u64,
    is_kept: bool,
}

impl<'c> Turn<'c> {
    fn new(conversation: &'c Conversation) -> Self {
        let tally = &conversation.dialler.tally;
        Self {
            before: tally.count(&conversation.host, Instant::now()),
            conversation,
            is_kept: false,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            let tally = &self.conversation.dialler.tally;
            tally.take_back(&self.conversation.host);
        }
    }
}

/// A request that goes on. When the last of a connection is over, that waits again.
struct Going(Arc<Conversation>);

impl Going {
    fn new(conversation: Arc<Conversation>) -> Self {
        conversation.going.fetch_add(1, Ordering::Relaxed);
        conversation.slot.is_busy();
        Self(conversation)
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if self.0.going.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.slot.waits();
        }
    }
}

/// The bytes of a head's fields, as HTTP/1.1 writes them, and of the empty line after them.
fn length_of(headers: &HeaderMap) -> u64 {
    let fields = headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 4);
    (fields.sum::<usize>() + 2) as u64
}

/// The same of a whole head, with the line before the fields.
fn length_of_request<B>(request: &Request<B>) -> u64 {
    let path = request
        .uri()
        .path_and_query()
        .map_or(1, |path| path.as_str().len());
    let line = request.method().as_str().len() + path + " HTTP/1.1 \r\n".len();
    line as u64 + length_of(request.headers())
}

/// The same of a response.
fn length_of_response<B>(response: &Response<B>) -> u64 {
    let reason = response.status().canonical_reason().unwrap_or_default();
    let line = "HTTP/1.1 200 \r\n".len() + reason.len();
    line as u64 + length_of(response.headers())
}
