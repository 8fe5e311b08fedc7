//! Where in a request secrets are put.

use aegis_policy::model::Inject;
use aegis_policy::request::Destination;
use data_encoding::{BASE64, BASE64_NOPAD};
use hyper::Request;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::http::uri::PathAndQuery;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_encode};
use zeroize::Zeroizing;

use super::{Held, Used, Value, Vault};
use crate::broker::judge::Refusal;

/// The longest that a header, or the query of a URL, becomes, in bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// The scheme of Basic (RFC 7617), compared without regard to case: user and password follow, in base64.
const BASIC: &[u8] = b"basic ";

impl Vault {
    /// Refuses a request that has a secret's placeholder, in a header or the URL, and does not lead to that secret's host; or that has it in the
    /// path, which servers log; or in the query, where it is put into headers alone.
    ///
    /// # Errors
    ///
    /// Where it is.
    pub fn check<B>(&self, request: &Request<B>, to: &Destination) -> Result<(), Refusal> {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let decoded = |part: &str| -> Vec<u8> { percent_decode(part.as_bytes()).collect() };
        let (decoded_path, decoded_query) = (decoded(path), decoded(query));
        let bound: Vec<&str> = (self.bound(to)).map(|held| &*held.secret.alias).collect();
        for held in &self.held {
            let Some(placeholder) = held.secret.placeholder.as_deref() else {
                continue;
            };
            let alias = &held.secret.alias;
            let is_in = |bytes: &[u8]| contains(bytes, placeholder.as_bytes());
            let in_path = is_in(path.as_bytes()) || is_in(&decoded_path);
            let in_query = is_in(query.as_bytes()) || is_in(&decoded_query);
            if !bound.contains(&&**alias) {
                let in_header = request.headers().iter().any(|(name, value)| {
                    is_in(name.as_str().as_bytes())
                        || is_in(value.as_bytes())
                        || basic(value).is_some_and(|(_, words)| is_in(&words))
                });
                if in_path || in_query || in_header {
                    let place = match in_header {
                        true => "a header",
                        false => "the URL",
                    };
                    return Err(Refusal::of_broker(format!(
                        "{place} has what stands for the secret {alias}, which is for {} alone{}",
                        held.secret.place(),
                        if held.secret.to == to.host && held.secret.port == to.port {
                            ", over TLS"
                        } else {
                            ""
                        }
                    )));
                }
            } else if in_path {
                return Err(Refusal::of_broker(format!(
                    "the path has what stands for the secret {alias}, which is never put into paths"
                )));
            } else if in_query && held.secret.query.is_none() {
                return Err(Refusal {
                    allow: Some(format!("secrets.use: {{{alias}: {{query: NAME}}}}")),
                    ..Refusal::of_broker(format!(
                        "the URL has what stands for the secret {alias}, which is put into headers alone"
                    ))
                });
            }
        }
        Ok(())
    }

    /// Puts what belongs into a request to a destination.
    ///
    /// # Errors
    ///
    /// A secret cannot be had, or its value has no place there.
    pub async fn put_in<B>(
        &self,
        request: &mut Request<B>,
        to: &Destination,
    ) -> Result<Vec<Used>, Refusal> {
        let mut used = Vec::new();
        for held in self.bound(to) {
            let is_meant = |value: &HeaderValue| held.is_in(value);
            let in_header = held.header.is_some() || request.headers().values().any(is_meant);
            let in_query = held.secret.query.is_some();
            if !in_header && !in_query {
                continue;
            }
            let value = self.current(held).await?;
            if in_header {
                held.put_into_headers(request.headers_mut(), &value)?;
                used.push(held.used(Inject::Header, &value));
            }
            if let Some(name) = &held.secret.query {
                held.put_into_query(request, name, &value)?;
                used.push(held.used(Inject::Query, &value));
            }
        }
        Ok(used)
    }
}

impl Held {
    fn used(&self, inject: Inject, value: &Value) -> Used {
        Used {
            alias: self.secret.alias.clone(),
            inject,
            version: value.version.clone(),
        }
    }

    /// Whether a header has what stands for it.
    fn is_in(&self, value: &HeaderValue) -> bool {
        self.secret.placeholder.as_ref().is_some_and(|placeholder| {
            let is_in = |bytes: &[u8]| contains(bytes, placeholder.as_bytes());
            is_in(value.as_bytes()) || basic(value).is_some_and(|(_, words)| is_in(&words))
        })
    }

    fn put_into_headers(&self, headers: &mut HeaderMap, value: &Value) -> Result<(), Refusal> {
        let unfit = || {
            Refusal::with_status(
                502,
                format!(
                    "the secret {}: its value cannot be in a header",
                    self.secret.alias
                ),
            )
        };
        let secret = |bytes: &[u8]| -> Result<HeaderValue, Refusal> {
            let mut value = HeaderValue::from_bytes(bytes).map_err(|_| unfit())?;
            value.set_sensitive(true);
            Ok(value)
        };
        if let Some(placeholder) = &self.secret.placeholder {
            for header in headers.values_mut() {
                let placeholder = placeholder.as_bytes();
                if contains(header.as_bytes(), placeholder) {
                    let bytes = replaced(header.as_bytes(), placeholder, &value.bytes);
                    let bytes = bytes.ok_or_else(unfit)?;
                    *header = secret(&bytes)?;
                } else if let Some((scheme, words)) = basic(header)
                    && contains(&words, placeholder)
                {
                    let words = replaced(&words, placeholder, &value.bytes).ok_or_else(unfit)?;
                    let encoded = Zeroizing::new(BASE64.encode(&words));
                    *header = secret(&[&scheme, encoded.as_bytes()].concat())?;
                }
            }
        }
        if let (Some(name), Some((_, form))) = (&self.header, &self.secret.header) {
            let bytes = replaced(form.as_bytes(), b"{}", &value.bytes).ok_or_else(unfit)?;
            headers.insert(name, secret(&bytes)?);
        }
        Ok(())
    }

    /// Sets a parameter, in place of all of that name; what stands for the value elsewhere in the query is replaced. The path is the one that was
    /// decided.
    fn put_into_query<B>(
        &self,
        request: &mut Request<B>,
        name: &str,
        value: &Value,
    ) -> Result<(), Refusal> {
        let encoded = Zeroizing::new(percent_encode(&value.bytes, NON_ALPHANUMERIC).to_string());
        let uri = request.uri();
        let own = |parameter: &&str| {
            let key = parameter.split('=').next().unwrap_or_default();
            percent_decode(key.as_bytes()).eq(name.bytes())
        };
        let others = uri.query().unwrap_or_default().split('&');
        let others = others.filter(|parameter| !parameter.is_empty() && !own(parameter));
        let mut query = String::new();
        for other in others {
            query.push_str(other);
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        let query = match &self.secret.placeholder {
            Some(placeholder) => {
                replaced(query.as_bytes(), placeholder.as_bytes(), encoded.as_bytes())
            }
            None => Some(Zeroizing::new(query.into_bytes())),
        };
        let no_url = || {
            let alias = &self.secret.alias;
            Refusal::with_status(502, format!("the secret {alias}: it makes no URL"))
        };
        let query = query.ok_or_else(no_url)?;
        let all = [uri.path().as_bytes(), b"?", &query, encoded.as_bytes()].concat();
        let path = Zeroizing::new(all);
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(path.as_slice()).ok();
        let uri = hyper::Uri::from_parts(parts).map_err(|_| no_url())?;
        *request.uri_mut() = uri;
        Ok(())
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// With every occurrence of a part replaced. `None`: it would become longer than a head may be.
fn replaced(bytes: &[u8], part: &[u8], by: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let places: Vec<usize> = memchr::memmem::find_iter(bytes, part).collect();
    // In one allocation: what is left behind by one that grows is not wiped.
    let length = bytes.len() + places.len() * by.len();
    if length > LONGEST_HEAD {
        return None;
    }
    let mut new = Zeroizing::new(Vec::with_capacity(length));
    let mut rest = 0;
    for place in places {
        new.extend_from_slice(&bytes[rest..place]);
        new.extend_from_slice(by);
        rest = place + part.len();
    }
    new.extend_from_slice(&bytes[rest..]);
    Some(new)
}

/// The user and password of a header with `Basic`, and what precedes them.
fn basic(header: &HeaderValue) -> Option<(Vec<u8>, Zeroizing<Vec<u8>>)> {
    let bytes = header.as_bytes();
    let scheme = bytes.get(..BASIC.len())?;
    if !scheme.eq_ignore_ascii_case(BASIC) {
        return None;
    }
    let words = bytes[BASIC.len()..].trim_ascii();
    let words = words
        .strip_suffix(b"==")
        .or(words.strip_suffix(b"="))
        .unwrap_or(words);
    let words = BASE64_NOPAD.decode(words).ok()?;
    Some((scheme.to_vec(), Zeroizing::new(words)))
}
