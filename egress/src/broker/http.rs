//! HTTP in the clear: every request on a connection is read by a real parser, and is decided for itself.
//!
//! A request is written anew for the server, from what was parsed, so both have read the same. Each connection from inside has
//! one to the outside; bodies stream, and keep their lengths.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aegis_policy::model::Scheme;
use aegis_policy::request::Destination;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1 as client;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::broker::connections::Slot;
use crate::broker::dial::{Dialled, Dialler};
use crate::broker::judge::{LOCALHOST, Refusal};
use crate::broker::names::spelled;
use crate::broker::stream::{Counts, Exchange, Inside, tunnel};
use crate::protocol::{LONGEST_PATH, encode};

/// The longest head of a request or of a response, in bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// The longest method, in bytes.
const LONGEST_METHOD: usize = 32;

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// A connection from inside.
pub(crate) struct Conversation {
    pub dialler: Arc<Dialler>,
    pub slot: Arc<Slot>,
    /// The name or address that was connected to.
    pub host: Arc<str>,
    pub port: u16,
    /// Why every request is refused, if it is.
    pub refused: Option<Refusal>,
    pub outside: Mutex<Option<Outside>>,
}

/// The connection that its requests are passed on to.
pub(crate) struct Outside {
    requests: client::SendRequest<Incoming>,
    address: IpAddr,
    counts: Arc<Counts>,
}

impl Conversation {
    /// Serves until either side ends it.
    pub async fn hold(self: Arc<Self>, inside: Inside) {
        let answer = |request| {
            let conversation = self.clone();
            async move {
                conversation.slot.is_busy();
                let answer = conversation.clone().pass_on(request).await;
                Ok::<_, Infallible>(
                    answer.unwrap_or_else(|refusal| refusal.answer(&conversation.host)),
                )
            }
        };
        let mut http = server::Builder::new();
        // Heads are passed on as they are.
        http.auto_date_header(false).preserve_header_case(true);
        http.max_buf_size(LONGEST_HEAD);
        http.timer(TokioTimer::new())
            .header_read_timeout(self.dialler.limits.head);
        let connection = http.serve_connection(TokioIo::new(inside), service_fn(answer));
        let served = tokio::select! {
            served = connection.with_upgrades() => served,
            () = self.slot.turned_out() => return,
        };
        if served.is_err_and(|error| error.is_parse()) {
            let refusal = Refusal::of_broker("this is not HTTP/1, which is declared for this port");
            self.dialler.refused(self.to(), refusal);
        }
    }

    fn to(&self) -> Destination {
        Destination::connection(Scheme::Http, &self.host, self.port)
    }

    /// What a request asks for.
    fn asked(&self, request: &Request<Incoming>) -> Result<(Destination, HeaderValue), Refusal> {
        let mut to = self.to();
        let headers = request.headers();
        let own_name = own_name(headers, &self.host, self.port);
        let fault = match (request.method(), request.uri().path()) {
            _ if self.refused.is_some() => self.refused.clone(),
            (&Method::CONNECT | &Method::TRACE, _) => Some(Refusal::of_broker(format!(
                "{} is refused: there is no proxy here, and no need of one",
                request.method()
            ))),
            _ if request.uri().authority().is_some() => Some(Refusal::of_broker(
                "the target of the request is a whole URL, which only proxies take: set no proxy",
            )),
            _ if own_name.is_none() => Some(Refusal::of_broker(format!(
                "the connection was made to {}, and the request does not name that as its one Host",
                self.host
            ))),
            _ if !is_plain_or_chunked(headers) => Some(Refusal::with_status(
                400,
                "the one encoding in which bodies may be sent is `Transfer-Encoding: chunked`",
            )),
            // Servers differ in whether such a body is there at all: what follows could be a request of its own.
            (&Method::GET | &Method::HEAD | &Method::DELETE, _)
                if !request.body().is_end_stream()
                    && !self.dialler.judge.about_requests(&self.to()).is_empty() =>
            {
                Some(Refusal::with_status(
                    400,
                    "a request of this method has no body where the policy tells requests apart",
                ))
            }
            (method, _) if method.as_str().len() > LONGEST_METHOD => {
                Some(Refusal::with_status(501, "this is not a method"))
            }
            (_, path) if path.len() > LONGEST_PATH => {
                Some(Refusal::with_status(414, "the path is too long"))
            }
            (method, path) => {
                to.method = Some(method.to_string());
                // What follows a `?` decides nothing, and often holds what nobody should record.
                to.path = Some(path.to_owned());
                None
            }
        };
        match (fault, own_name) {
            (None, Some(own_name)) => Ok((to, own_name)),
            (fault, _) => {
                let refusal = fault.unwrap_or_else(|| Refusal::of_broker("it names no Host"));
                Err(self.dialler.refused(to, refusal))
            }
        }
    }

    async fn pass_on(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Answer, Refusal> {
        let (to, own_name) = self.asked(&request)?;
        // In the spelling that was compared: servers differ in what they make of others.
        request.headers_mut().insert(HOST, own_name);
        without_other_http(request.headers_mut());
        let inside =
            (request.headers().contains_key(UPGRADE)).then(|| hyper::upgrade::on(&mut request));
        *request.version_mut() = Version::HTTP_11;
        let (mut response, mut exchange) = self.exchange(to, request).await?;
        self.slot.was_heard();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(inside) = inside else {
                let wrong = "the server changes to another protocol, and was not asked to";
                exchange.error = Some(wrong.to_owned());
                return Err(Refusal::with_status(502, wrong));
            };
            let outside = hyper::upgrade::on(&mut response);
            let conversation = self.clone();
            tokio::spawn(async move {
                if let (Ok(inside), Ok(outside)) = (inside.await, outside.await) {
                    tunnel(TokioIo::new(inside), TokioIo::new(outside), &mut exchange).await;
                }
                drop(conversation);
            });
            return Ok(response.map(|_| Full::default().map_err(|never| match never {}).boxed()));
        }
        let slot = self.slot.clone();
        Ok(response.map(|body| {
            let passed = Passed {
                body,
                exchange,
                slot,
            };
            passed.boxed()
        }))
    }

    /// Has the request decided, and sends it; returns the head of the response.
    async fn exchange(
        &self,
        to: Destination,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Incoming>, Exchange), Refusal> {
        let mut kept = self.outside.lock().await;
        loop {
            let before = kept.take();
            let was_kept = before.is_some();
            let (mut outside, mut exchange) = match before {
                Some(outside) if !outside.requests.is_closed() => {
                    let at = Destination {
                        address: Some(outside.address),
                        ..to.clone()
                    };
                    let (at, decision) = self.dialler.again(at).await?;
                    let counts = outside.counts.clone();
                    let exchange = self.dialler.begin(at, decision, counts).await?;
                    (outside, exchange)
                }
                _ => self.open(to.clone()).await?,
            };
            let _ = outside.requests.ready().await;
            let sent = outside.requests.try_send_request(request).await;
            let mut failed = match sent {
                Ok(response) => {
                    *kept = Some(outside);
                    return Ok((response, exchange));
                }
                Err(failed) => failed,
            };
            let error = failed.error().to_string();
            exchange.error = Some(error.clone());
            match failed.take_message() {
                // The server closed a connection that was kept, before anything of the request was sent.
                Some(again) if was_kept => request = again,
                _ => return Err(Refusal::with_status(502, format!("{}: {error}", self.host))),
            }
        }
    }

    async fn open(&self, to: Destination) -> Result<(Outside, Exchange), Refusal> {
        let Dialled {
            stream,
            address,
            mut exchange,
        } = self.dialler.dial(to).await?;
        let mut http = client::Builder::new();
        http.preserve_header_case(true).max_buf_size(LONGEST_HEAD);
        let (requests, connection) = match http.handshake(TokioIo::new(stream)).await {
            Ok(both) => both,
            Err(error) => {
                exchange.error = Some(error.to_string());
                return Err(Refusal::with_status(502, error.to_string()));
            }
        };
        // Its errors are those of its requests.
        tokio::spawn(connection.with_upgrades());
        let outside = Outside {
            requests,
            address,
            counts: exchange.counts().clone(),
        };
        Ok((outside, exchange))
    }
}

/// The one `Host`, where it is this host, and this port if it names one; in the spelling in which hosts are compared.
fn own_name(headers: &HeaderMap, host: &str, port: u16) -> Option<HeaderValue> {
    let mut all = headers.get_all(HOST).iter();
    let (Some(Ok(value)), None) = (all.next().map(HeaderValue::to_str), all.next()) else {
        return None;
    };
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (name, named_port) = match value.rsplit_once(':') {
        Some((name, port)) if is_port(port) => (name, Some(port)),
        _ => (value, None),
    };
    let same_port = named_port.is_none_or(|named| named.parse() == Ok(port));
    let spelled = spelled(name)?;
    let is_loopback = || (spelled.parse()).is_ok_and(|address: IpAddr| address.is_loopback());
    let same_host = spelled == host || (host == LOCALHOST && is_loopback());
    let mut own = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    if named_port.is_some() {
        own += &format!(":{port}");
    }
    let own = HeaderValue::try_from(own).ok();
    own.filter(|_| same_host && same_port)
}

/// Whether a body, if there is one, is sent as it is or in chunks, and nothing else is said of it.
fn is_plain_or_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let first = codings.next();
    first.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        && codings.next().is_none()
}

/// Takes out what asks to go on in another kind of HTTP, or in TLS: further requests would be decided by nobody. A server that
/// is not asked stays with this one.
fn without_other_http(headers: &mut HeaderMap) {
    let protocols = headers.get_all(UPGRADE).iter();
    let mut protocols = protocols.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_other = protocols.any(|protocol| {
        let protocol = protocol.trim_ascii().to_ascii_lowercase();
        [&b"h2"[..], b"http", b"tls"]
            .iter()
            .any(|other| protocol.starts_with(other))
    });
    if is_other {
        headers.remove(UPGRADE);
        headers.remove(HeaderName::from_static("http2-settings"));
    }
}

/// What is told of a refusal inside.
#[derive(Serialize)]
struct Told<'r> {
    error: &'static str,
    host: &'r str,
    #[serde(flatten)]
    refusal: &'r Refusal,
}

impl Refusal {
    fn answer(&self, host: &str) -> Answer {
        let error = match self.status {
            500.. => "not reached",
            _ => "refused by the sandbox",
        };
        let refusal = self;
        let mut body = encode(&Told {
            error,
            host,
            refusal,
        });
        body.push(b'\n');
        let body = Full::from(body).map_err(|never| match never {});
        let mut answer = Response::new(body.boxed());
        *answer.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::FORBIDDEN);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        answer
    }
}

/// The body of a response, as it comes. Its end is that of the exchange.
struct Passed {
    body: Incoming,
    exchange: Exchange,
    slot: Arc<Slot>,
}

impl Drop for Passed {
    fn drop(&mut self) {
        self.slot.waits();
    }
}

impl Body for Passed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &frame {
            self.exchange.error = Some(error.to_string());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        // `collect` would keep the last of each name.
        lines.fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        })
    }

    #[test]
    fn the_one_host_has_to_be_the_one_connected_to() {
        let is = |hosts: &[&str], host: &str| {
            let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            own_name(&headers(&lines), host, 8080).is_some()
        };
        for same in [
            "a.example",
            "A.Example",
            "a.example.",
            "a.example:8080",
            "a.example.:8080",
        ] {
            assert!(is(&[same], "a.example"), "{same}");
        }
        for other in [
            "",
            "b.example",
            "a.example:80",
            "a.example:",
            "a.example:8080:8080",
            "a.example:+8080",
            "a.example@b.example",
            "b.example#a.example",
            "a.example b.example",
            "a.example,b.example",
        ] {
            assert!(!is(&[other], "a.example"), "{other}");
        }
        assert!(!is(&[], "a.example") && !is(&["a.example", "a.example"], "a.example"));
        assert!(is(&["10.0.0.7:8080"], "10.0.0.7") && is(&["[fd00::1]:8080"], "fd00::1"));
        assert!(!is(&["fd00::1"], "fd00::1") && !is(&["[fd00::2]"], "fd00::1"));
        assert!(is(&["localhost"], "localhost") && is(&["127.0.0.1:8080"], "localhost"));
        assert!(!is(&["10.0.0.1"], "localhost") && !is(&["127.0.0.1"], "a.example"));
        // As it is passed on.
        for (said, host, own) in [
            ("A.Example.", "a.example", "a.example"),
            ("A.Example.:08080", "a.example", "a.example:8080"),
            ("[FD00::1]:8080", "fd00::1", "[fd00::1]:8080"),
            ("[::1]", "localhost", "localhost"),
        ] {
            let own_name = own_name(&headers(&[("host", said)]), host, 8080);
            assert_eq!(own_name.unwrap(), own, "{said}");
        }
    }

    #[test]
    fn a_body_is_sent_plainly_or_in_chunks() {
        let is = |codings: &[&str]| {
            let lines = codings.iter().map(|coding| ("transfer-encoding", *coding));
            is_plain_or_chunked(&headers(&lines.collect::<Vec<_>>()))
        };
        assert!(is(&[]) && is(&["chunked"]) && is(&["Chunked"]));
        for wrong in [
            &["gzip, chunked"][..],
            &["chunked", "chunked"],
            &["gzip", "chunked"],
            &["chunked, identity"],
            &["chunked;x"],
            &["xchunked"],
            &[""],
        ] {
            assert!(!is(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn nobody_goes_on_in_a_kind_of_http_that_is_not_looked_into() {
        for other in ["h2c", "websocket, H2C", "TLS/1.2", "HTTP/2.0"] {
            let mut headers = headers(&[("upgrade", other), ("http2-settings", "AAMAAABk")]);
            without_other_http(&mut headers);
            assert!(headers.is_empty(), "{other}");
        }
        let mut headers = headers(&[("upgrade", "websocket")]);
        without_other_http(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
