//! What a request asks for, and whether it may be passed on at all.

use std::net::IpAddr;

use aegis_policy::model::Scheme;
use aegis_policy::request::Destination;
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::http::uri::{PathAndQuery, Uri};
use hyper::{Method, Request};

use super::{Conversation, Stance, Version};
use crate::broker::judge::{LOCALHOST, Refusal};
use crate::broker::names::spelled;
use crate::protocol::LONGEST_PATH;

/// The longest method, in bytes.
const LONGEST_METHOD: usize = 32;

impl Conversation {
    /// What a request asks for; it is made ready to be passed on.
    ///
    /// # Errors
    ///
    /// It cannot be, whatever the policy says. That was told.
    pub(super) fn asked(&self, request: &mut Request<Incoming>) -> Result<Destination, Refusal> {
        if let Stance::Failed(refusal) = &self.stance {
            return Err(refusal.clone());
        }
        let mut to = self.to();
        let version = match request.version() {
            hyper::Version::HTTP_2 => Version::Two,
            _ => Version::One,
        };
        let own_name = self.own_name(request, version);
        if let Some(refusal) = self.fault(request, version, own_name.is_some()) {
            // Whoever is refused is told of the whole request, as far as it can be.
            if refusal.status == 403 {
                to.method = Some(request.method().to_string());
                to.path = Some(request.uri().path().to_owned());
            }
            return Err(self.dialler.refused(to, refusal));
        }
        to.method = Some(request.method().to_string());
        // What follows a `?` decides nothing, and often holds what nobody should record.
        to.path = Some(request.uri().path().to_owned());
        if let Some(own_name) = own_name {
            address(request, version, own_name);
        }
        without_other_http(request.headers_mut());
        Ok(to)
    }

    /// Why a request is not passed on, if it is not.
    fn fault(
        &self,
        request: &Request<Incoming>,
        version: Version,
        is_named: bool,
    ) -> Option<Refusal> {
        let path = request.uri().path();
        let refusal = match request.method() {
            _ if let Stance::Refuses(refusal) = &self.stance => refusal.clone(),
            &Method::CONNECT | &Method::TRACE => Refusal::of_broker(format!(
                "{} is refused: there is no proxy here, and no need of one",
                request.method()
            )),
            _ if version == Version::One && request.uri().authority().is_some() => {
                Refusal::of_broker(
                    "the target of the request is a whole URL, which only proxies take: set no proxy",
                )
            }
            _ if !is_named => Refusal::of_broker(format!(
                "the connection was made to {}, and the request does not name that as its one Host",
                self.host
            )),
            _ if !is_plain_or_chunked(request.headers()) => Refusal::with_status(
                400,
                "the one encoding in which bodies may be sent is `Transfer-Encoding: chunked`",
            ),
            // Servers differ in whether such a body is there at all: what follows could be a request of its own.
            &Method::GET | &Method::HEAD | &Method::DELETE
                if version == Version::One
                    && !request.body().is_end_stream()
                    && !self.dialler.judge.about_requests(&self.to()).is_empty() =>
            {
                Refusal::with_status(
                    400,
                    "a request of this method has no body where the policy tells requests apart",
                )
            }
            method if method.as_str().len() > LONGEST_METHOD => {
                Refusal::with_status(501, "this is not a method")
            }
            _ if let Err(refusal) = self.dialler.vault.check(request, &self.to()) => refusal,
            _ if path.len() > LONGEST_PATH => Refusal::with_status(414, "the path is too long"),
            _ => return None,
        };
        Some(refusal)
    }

    /// How the request names the host that was connected to, if it does that and names no other.
    fn own_name(&self, request: &Request<Incoming>, version: Version) -> Option<String> {
        let of_field = || own_name(request.headers(), &self.host, self.port);
        let uri = request.uri();
        match (version, uri.authority()) {
            (Version::One, _) | (Version::Two, None) => of_field(),
            (Version::Two, Some(authority)) => {
                let own = own_spelling(authority.as_str(), &self.host, self.port)?;
                let is_other = request.headers().contains_key(HOST) && of_field().is_none();
                let is_here = uri.scheme_str() == Some(Scheme::Https.name());
                (is_here && !is_other).then_some(own)
            }
        }
    }
}

/// Names the server, in the spelling that was compared: servers differ in what they make of others.
fn address(request: &mut Request<Incoming>, version: Version, own_name: String) {
    match version {
        Version::One => {
            *request.version_mut() = hyper::Version::HTTP_11;
            if let Ok(own_name) = HeaderValue::try_from(own_name) {
                request.headers_mut().insert(HOST, own_name);
            }
        }
        Version::Two => {
            request.headers_mut().remove(HOST);
            let path = request.uri().path_and_query().cloned();
            let uri = Uri::builder()
                .scheme(Scheme::Https.name())
                .authority(own_name)
                .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
            if let Ok(uri) = uri.build() {
                *request.uri_mut() = uri;
            }
        }
    }
}

/// The one `Host`, where it is this host: see [`own_spelling`].
fn own_name(headers: &HeaderMap, host: &str, port: u16) -> Option<String> {
    let mut all = headers.get_all(HOST).iter();
    match (all.next().map(HeaderValue::to_str), all.next()) {
        (Some(Ok(value)), None) => own_spelling(value, host, port),
        _ => None,
    }
}

/// What is named, where it is this host, and this port if it names one; in the spelling in which hosts are compared.
fn own_spelling(value: &str, host: &str, port: u16) -> Option<String> {
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
    (same_host && same_port).then_some(own)
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
